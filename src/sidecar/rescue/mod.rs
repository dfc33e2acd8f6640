//! The one place where a refusal becomes an answer: status by reason, the challenges of RFC 6750 and RFC 9449, the body of
//! RFC 9457, or the trailers that gRPC wants. It decides no refusal and holds nothing that a caller, the issuer or the
//! app said.

mod challenge;
mod grpc;
mod words;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

pub use self::challenge::Attempt;
pub use self::words::status;

use self::challenge::Challenges;
use self::words::title;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::route::MethodSet;

/// The nonce that proofs must carry (RFC 9449 section 8.1).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

const STOPS: &str = "The pod stops.";

/// Turns refusals into answers for one API.
#[derive(Debug, Clone)]
pub struct Rescue {
    challenges: Challenges,
}

/// What an answer needs beside the rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context<'a> {
    /// Nothing.
    None,
    /// Credentials were looked for.
    Credentials(Attempt<'a>),
    /// The scopes that the route asks for.
    Scope(Attempt<'a>, &'a str),
    /// The methods that the path takes.
    Allow(MethodSet),
}

/// How a caller wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A status and a problem (RFC 9457).
    Problem,
    /// Status 200 and `grpc-status`, which stands in the head when there is no message ("Trailers-Only").
    Grpc,
}

/// RFC 9457, with the reason as an extension member.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
}

impl Form {
    /// By the request's content type.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        if grpc::is_asked_for(headers) { Self::Grpc } else { Self::Problem }
    }
}

impl Rescue {
    /// For the API of this policy.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self { challenges: Challenges::new(&policy.config) }
    }

    /// The answer to a refused request.
    #[must_use]
    pub fn answer(&self, rejection: &Rejection, context: Context<'_>, form: Form) -> Response<Full<Bytes>> {
        let mut response = match form {
            Form::Problem => problem_response(rejection),
            Form::Grpc => grpc::response(rejection),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for challenge in self.challenges.of(rejection, context) {
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                headers.append(header::WWW_AUTHENTICATE, challenge);
            }
        }
        if let Some(after) = rejection.retry_after {
            // Rounded up: one who comes back when told must not be early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(nonce) = &rejection.dpop_nonce {
            headers.insert(DPOP_NONCE, nonce.clone());
        }
        if let (Context::Allow(methods), Form::Problem) = (context, form)
            && let Ok(methods) = HeaderValue::try_from(methods.to_string())
        {
            headers.insert(header::ALLOW, methods);
        }
        response
    }

    /// The same answer as bytes on the wire, for a connection that is not worth a request.
    #[must_use]
    pub fn answer_and_close(&self, rejection: &Rejection) -> Vec<u8> {
        let status = status(rejection.reason);
        let body = problem(rejection, status);
        let mut wire = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        wire.extend_from_slice(&body);
        wire
    }
}

/// The end of a gRPC stream that cannot go on.
pub(crate) fn grpc_trailers(reason: Reason) -> HeaderMap {
    grpc::status(reason, title(reason))
}

/// The same where the sidecar stops.
pub(crate) fn grpc_trailers_of_drain() -> HeaderMap {
    grpc::status(Reason::Overloaded, STOPS)
}

/// What cannot be answered because the sidecar stops; another pod can.
pub(crate) fn stops() -> Rejection {
    Rejection::new(Reason::Overloaded, STOPS)
}

fn problem_response(rejection: &Rejection) -> Response<Full<Bytes>> {
    let status = status(rejection.reason);
    let mut response = Response::new(Full::new(problem(rejection, status)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn problem(rejection: &Rejection, status: StatusCode) -> Bytes {
    let reason = rejection.reason.as_str();
    let problem = Problem {
        r#type: format!("https://tollgate.dev/reasons/{reason}"),
        title: title(rejection.reason),
        status: status.as_u16(),
        detail: rejection.detail,
        reason,
    };
    serde_json::to_vec(&problem).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
