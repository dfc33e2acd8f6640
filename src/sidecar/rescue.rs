//! The one place where a refusal becomes an answer: status by reason, the challenge of RFC 6750, the body of RFC 9457.
//! It decides no refusal and holds nothing that a caller, the issuer or the app said.
//!
//! 401 where a token could fix it, 403 where it could not, 400 for a broken request, 5xx where it is not the caller's
//! fault.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::route::MethodSet;

/// The nonce that proofs must carry (RFC 9449 section 8.1).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Turns refusals into answers for one API.
#[derive(Debug, Clone)]
pub struct Rescue {
    /// The challenge's realm, safe inside quotes.
    realm: Box<str>,
}

/// What an answer needs beside the rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context<'a> {
    /// Nothing.
    None,
    /// The fault lies in how credentials were sent (RFC 6750 `invalid_request`).
    Credentials,
    /// The scopes that the route asks for.
    Scope(&'a str),
    /// The methods that the path takes.
    Allow(MethodSet),
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

impl Rescue {
    /// For the API of this name.
    #[must_use]
    pub fn new(api: &str) -> Self {
        Self { realm: quotable(api).into() }
    }

    /// The answer to a refused request.
    #[must_use]
    pub fn answer(&self, rejection: &Rejection, context: Context<'_>) -> Response<Full<Bytes>> {
        let status = status(rejection.reason);
        let mut response = Response::new(Full::new(problem(rejection, status)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge(rejection, context) {
            insert(headers, header::WWW_AUTHENTICATE, &challenge);
        }
        if let Some(after) = rejection.retry_after {
            // Rounded up: one who comes back when told must not be early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            insert(headers, header::RETRY_AFTER, &seconds.to_string());
        }
        if let Some(nonce) = &rejection.dpop_nonce {
            headers.insert(DPOP_NONCE, nonce.clone());
        }
        if let Context::Allow(methods) = context {
            insert(headers, header::ALLOW, &methods.to_string());
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

    /// RFC 6750 section 3: the realm always, an error code only where credentials were sent.
    fn challenge(&self, rejection: &Rejection, context: Context<'_>) -> Option<String> {
        let realm = &self.realm;
        let described = |error: &str| {
            format!(r#"Bearer realm="{realm}", error="{error}", error_description="{}""#, quotable(rejection.detail))
        };
        match (rejection.reason, context) {
            (Reason::MissingToken, _) => Some(format!(r#"Bearer realm="{realm}""#)),
            (Reason::InvalidClient, _) => Some(format!(r#"Basic realm="{realm}""#)),
            (Reason::InsufficientScope, Context::Scope(scope)) => {
                Some(format!(r#"{}, scope="{}""#, described("insufficient_scope"), quotable(scope)))
            }
            (Reason::InsufficientScope, _) => Some(described("insufficient_scope")),
            (Reason::BadRequest, Context::Credentials) => Some(described("invalid_request")),
            (reason, _) if status(reason) == StatusCode::UNAUTHORIZED => Some(described("invalid_token")),
            _ => None,
        }
    }
}

/// The status that belongs to a reason.
#[must_use]
pub fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::MissingToken
        | Reason::MalformedToken
        | Reason::UnsupportedAlgorithm
        | Reason::UnknownKey
        | Reason::BadSignature
        | Reason::Expired
        | Reason::NotYetValid
        | Reason::IssuerMismatch
        | Reason::AudienceMismatch
        | Reason::WrongTokenType
        | Reason::EncryptedToken
        | Reason::Inactive
        | Reason::SenderMismatch
        | Reason::DpopMissing
        | Reason::DpopInvalid
        | Reason::DpopReplayed
        | Reason::DpopNonceRequired
        | Reason::InvalidClient => StatusCode::UNAUTHORIZED,
        Reason::InsufficientScope | Reason::ClaimsDenied | Reason::RouteDenied => StatusCode::FORBIDDEN,
        Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Reason::BadRequest | Reason::BadPath | Reason::InvalidScope | Reason::UnsupportedGrantType => {
            StatusCode::BAD_REQUEST
        }
        Reason::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::CallerLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::IdpUnreachable | Reason::IdpRateLimited | Reason::IdpError | Reason::Overloaded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::UpstreamUnreachable => StatusCode::BAD_GATEWAY,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What a reason means, for a person, the same for every request.
fn title(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingToken => "An access token is needed",
        Reason::MalformedToken => "The access token is malformed",
        Reason::UnsupportedAlgorithm => "The access token is signed with an algorithm that is not accepted",
        Reason::UnknownKey => "The access token is signed with an unknown key",
        Reason::BadSignature => "The access token's signature is wrong",
        Reason::Expired => "The access token has expired",
        Reason::NotYetValid => "The access token is not valid yet",
        Reason::IssuerMismatch => "The access token is from another issuer",
        Reason::AudienceMismatch => "The access token is for another audience",
        Reason::WrongTokenType => "The token is no access token",
        Reason::EncryptedToken => "The access token is encrypted",
        Reason::Inactive => "The access token is not active",
        Reason::InsufficientScope => "The access token lacks a scope",
        Reason::ClaimsDenied => "The access token's claims do not allow this",
        Reason::RouteDenied => "This path is closed",
        Reason::MethodNotAllowed => "This path does not take this method",
        Reason::BadRequest => "The request is malformed",
        Reason::BadPath => "The path is ambiguous",
        Reason::SenderMismatch => "The access token is bound to another sender",
        Reason::DpopMissing => "A proof of possession is needed",
        Reason::DpopInvalid => "The proof of possession does not hold",
        Reason::DpopReplayed => "The proof of possession was used before",
        Reason::DpopNonceRequired => "The proof of possession needs a nonce",
        Reason::UnsupportedMediaType => "The media type is not accepted",
        Reason::BodyTooLarge => "The body is too large",
        Reason::HeadersTooLarge => "The headers are too large",
        Reason::RequestTimeout => "The request took too long to arrive",
        Reason::CallerLimited => "Too many requests",
        Reason::InvalidClient => "The client credentials are missing or wrong",
        Reason::InvalidScope => "The scope is not available here",
        Reason::UnsupportedGrantType => "The grant is not available here",
        Reason::IdpUnreachable => "The authorization server cannot be reached",
        Reason::IdpRateLimited => "The authorization server limits requests",
        Reason::IdpError => "The authorization server failed",
        Reason::UpstreamUnreachable => "The API cannot be reached",
        Reason::UpstreamTimeout => "The API did not answer in time",
        Reason::Overloaded => "Too busy",
    }
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

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Only what RFC 6750 section 3 allows in a quoted attribute: no quote, no backslash, nothing outside ASCII.
fn quotable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='!' | '#'..='[' | ']'..='~') { c } else { '\'' }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    fn answer(reason: Reason, context: Context<'_>) -> Response<Full<Bytes>> {
        Rescue::new("items").answer(&Rejection::new(reason, "One \"sentence\"."), context)
    }

    fn challenge(reason: Reason, context: Context<'_>) -> Option<String> {
        answer(reason, context).headers().get(header::WWW_AUTHENTICATE).map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn every_401_carries_a_challenge_and_nothing_else_but_403_for_scope() {
        for reason in Reason::ALL {
            let has_challenge = challenge(reason, Context::None).is_some();
            let wants = status(reason) == StatusCode::UNAUTHORIZED || reason == Reason::InsufficientScope;
            assert_eq!(has_challenge, wants, "{reason:?}");
        }
    }

    #[test]
    fn without_credentials_the_challenge_names_no_error() {
        assert_eq!(challenge(Reason::MissingToken, Context::None).unwrap(), r#"Bearer realm="items""#);
    }

    #[test]
    fn a_bad_token_is_invalid_token_with_a_safe_description() {
        assert_eq!(
            challenge(Reason::Expired, Context::Credentials).unwrap(),
            r#"Bearer realm="items", error="invalid_token", error_description="One 'sentence'.""#
        );
    }

    #[test]
    fn a_missing_scope_names_the_scopes() {
        assert_eq!(
            challenge(Reason::InsufficientScope, Context::Scope("a b")).unwrap(),
            r#"Bearer realm="items", error="insufficient_scope", error_description="One 'sentence'.", scope="a b""#
        );
    }

    #[test]
    fn two_credentials_are_an_invalid_request_and_a_broken_request_has_no_challenge() {
        assert!(challenge(Reason::BadRequest, Context::Credentials).unwrap().contains(r#"error="invalid_request""#));
        assert_eq!(challenge(Reason::BadRequest, Context::None), None);
    }

    #[tokio::test]
    async fn the_body_is_a_problem_with_the_reason() {
        let response = answer(Reason::RouteDenied, Context::None);
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "https://tollgate.dev/reasons/route_denied", "title": "This path is closed", "status": 403,
                "detail": "One \"sentence\".", "reason": "route_denied",
            })
        );
    }

    #[test]
    fn retry_after_is_rounded_up_and_allow_is_listed() {
        let rejection = Rejection::new(Reason::Overloaded, "Busy.").retry_after(Duration::from_millis(1_001));
        let response = Rescue::new("items").answer(&rejection, Context::None);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let response = answer(Reason::MethodNotAllowed, Context::Allow(MethodSet::GET));
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }

    #[test]
    fn the_answer_on_the_wire_has_its_length() {
        let rejection = Rejection::new(Reason::Overloaded, "Busy.");
        let wire = String::from_utf8(Rescue::new("items").answer_and_close(&rejection)).unwrap();
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
    }
}
