//! Token responses and errors in the shape of RFC 6749 sections 5.1 and 5.2: never cached, and nothing of the issuer's
//! in them but the members that OAuth names. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::idp::{IdpError, Reply};
use crate::reason::Reason;

/// A description is a sentence; more would be a page of somebody's.
const LONGEST_DESCRIPTION: usize = 300;

/// What the caller gets, and the reason when it is no token. It may hold a token: there is no `Debug`.
pub struct BrokerAnswer {
    /// The whole answer.
    pub response: Response<Full<Bytes>>,
    /// Absent when a token was handed out.
    pub reason: Option<Reason>,
}

/// Why a caller gets no token. Shared by all who asked the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    description: String,
    reason: Reason,
    retry_after: Option<Duration>,
}

/// A token as the issuer gave it.
pub(super) struct Token {
    pub(super) access_token: SecretString,
    pub(super) token_type: String,
    pub(super) scope: Option<String>,
    /// In seconds, from when it was asked for.
    pub(super) expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    error_description: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &str, description: &str) -> Self {
        let reason = Reason::BadRequest;
        Self { status, error: error.to_owned(), description: description.to_owned(), reason, retry_after: None }
    }

    pub(super) fn because(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether the issuer does not take the credentials.
    pub(super) fn refuses_credentials(&self) -> bool {
        self.error == "invalid_client"
    }

    /// Whether the issuer said no to the request itself: asked the same again at once, it says the same.
    pub(super) fn is_the_issuers(&self) -> bool {
        self.status.is_client_error() && self.status != StatusCode::TOO_MANY_REQUESTS
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(super) fn error(&self) -> &str {
        &self.error
    }

    fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

/// What the issuer's answer means for the caller.
pub(super) fn read(reply: Result<Reply, IdpError>) -> Result<Token, Refusal> {
    let reply = reply.map_err(|error| unavailable(&error))?;
    let unusable = || unavailable(&IdpError::BadResponse("the token response is not RFC 6749's"));
    if reply.status == StatusCode::OK {
        let body: TokenBody = serde_json::from_slice(&reply.body).map_err(|_| unusable())?;
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&body.access_token) || !printable(&body.token_type) {
            return Err(unusable());
        }
        return Ok(Token {
            access_token: body.access_token.into(),
            token_type: body.token_type,
            scope: body.scope.filter(|scope| !scope.is_empty()),
            expires_in: body.expires_in,
        });
    }
    if !matches!(reply.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(unusable());
    }
    let body: ErrorBody = serde_json::from_slice(&reply.body).map_err(|_| unusable())?;
    let is_code = (1..=64).contains(&body.error.len())
        && body.error.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_code {
        return Err(unusable());
    }
    let reason = match body.error.as_str() {
        "invalid_client" | "unauthorized_client" | "access_denied" => Reason::InvalidClient,
        "invalid_scope" => Reason::InvalidScope,
        "unsupported_grant_type" => Reason::UnsupportedGrantType,
        _ => Reason::BadRequest,
    };
    let description = described(&body.error_description.unwrap_or_default());
    Err(Refusal { status: reply.status, error: body.error, description, reason, retry_after: None })
}

/// The characters that RFC 6749 section 5.2 allows, and not too many.
fn described(text: &str) -> String {
    let allowed = |c: &char| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
    text.chars().filter(allowed).take(LONGEST_DESCRIPTION).collect()
}

fn unavailable(error: &IdpError) -> Refusal {
    let refusal = match error {
        IdpError::RateLimited { .. } => Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "The authorization server limits token requests; try again later.",
        )
        .because(Reason::CallerLimited),
        IdpError::Crowded { .. } | IdpError::Busy => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "Too many token requests are being made; try again later.",
        )
        .because(error.reason()),
        IdpError::Unreachable | IdpError::BadTls | IdpError::Down(_) => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "The authorization server cannot be reached.",
        )
        .because(error.reason()),
        IdpError::BadResponse(_)
        | IdpError::Garbled(_)
        | IdpError::ClientRefused
        | IdpError::CredentialsMissing
        | IdpError::CaBundleMissing
        | IdpError::CaBundleUnusable => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "The authorization server gave no usable answer.",
        )
        .because(error.reason()),
    };
    refusal.retry_after(error.retry_after())
}

#[derive(Serialize)]
struct TokenMembers<'a> {
    access_token: &'a str,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

#[derive(Serialize)]
struct ErrorMembers<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_description: &'a str,
}

impl BrokerAnswer {
    /// Hands out a token with `expires_in` seconds left.
    pub(super) fn token(token: &Token, expires_in: Option<u64>) -> Self {
        let members = TokenMembers {
            access_token: token.access_token.expose_secret(),
            token_type: &token.token_type,
            expires_in,
            scope: token.scope.as_deref(),
        };
        Self { response: json(StatusCode::OK, &members), reason: None }
    }

    /// Says why there is no token. `headers` are the request's.
    pub(super) fn refusal(refusal: &Refusal, headers: &HeaderMap) -> Self {
        let members = ErrorMembers { error: &refusal.error, error_description: &refusal.description };
        let mut response = json(refusal.status, &members);
        if refusal.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge(headers));
        }
        if let Some(after) = refusal.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        Self { response, reason: Some(refusal.reason) }
    }
}

/// A script in a page (Swagger UI says so) shows the error itself; for `Basic` the browser would put its own password
/// dialog before it, so such a caller gets a scheme that no browser knows.
fn challenge(headers: &HeaderMap) -> HeaderValue {
    let script = headers.get("x-requested-with").is_some_and(|value| value == "XMLHttpRequest");
    HeaderValue::from_static(if script { r#"xBasic realm="token""# } else { r#"Basic realm="token""# })
}

fn json(status: StatusCode, members: &impl Serialize) -> Response<Full<Bytes>> {
    // Strings and numbers serialize without fail; were that ever untrue, an empty body says nothing wrong.
    let body = serde_json::to_vec(members).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Result<Reply, IdpError> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Reply { status, cache_control: None, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    fn refusal(status: u16, body: &str) -> (u16, String, String, Reason) {
        let refusal = read(reply(status, body)).err().unwrap();
        (refusal.status.as_u16(), refusal.error, refusal.description, refusal.reason)
    }

    #[test]
    fn a_token_is_read_and_what_oauth_does_not_name_is_left_out() {
        let body = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"items",
            "refresh_token":"r","id_token":"i","x":1}"#;
        let token = read(reply(200, body)).ok().unwrap();
        let answer = BrokerAnswer::token(&token, Some(7));
        assert_eq!(answer.response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.response.headers()[PRAGMA], "no-cache");
        let text = serde_json::to_value(TokenMembers {
            access_token: token.access_token.expose_secret(),
            token_type: &token.token_type,
            expires_in: Some(7),
            scope: token.scope.as_deref(),
        })
        .unwrap();
        let expected =
            serde_json::json!({"access_token": "t", "token_type": "Bearer", "expires_in": 7, "scope": "items"});
        assert_eq!(text, expected);
    }

    #[test]
    fn oktas_errors_keep_status_code_and_description() {
        let cases = [
            (401, "invalid_client", Reason::InvalidClient),
            (401, "access_denied", Reason::InvalidClient),
            (403, "access_denied", Reason::InvalidClient),
            (400, "invalid_scope", Reason::InvalidScope),
            (400, "unsupported_grant_type", Reason::UnsupportedGrantType),
            (400, "use_dpop_nonce", Reason::BadRequest),
        ];
        for (status, error, reason) in cases {
            let body = serde_json::json!({"error": error, "error_description": "Because.", "errorId": "secret"});
            let expected = (status, error.to_owned(), "Because.".to_owned(), reason);
            assert_eq!(refusal(status, &body.to_string()), expected);
        }
    }

    #[test]
    fn descriptions_are_cut_to_what_rfc_6749_allows() {
        let long = "x".repeat(2_000);
        for (text, expected) in [
            ("a \"quoted\" \\ word\r\nSet-Cookie: x\u{e9}", "a quoted  wordSet-Cookie: x".to_owned()),
            (long.as_str(), "x".repeat(LONGEST_DESCRIPTION)),
        ] {
            let body = serde_json::json!({"error": "invalid_client", "error_description": text});
            assert_eq!(refusal(401, &body.to_string()).2, expected);
        }
    }

    #[test]
    fn what_is_no_oauth_answer_never_reaches_the_caller() {
        for (status, body) in [
            (200, "<html>"),
            (200, "{}"),
            (200, r#"{"access_token":"a b","token_type":"Bearer"}"#),
            (200, r#"{"access_token":"","token_type":"Bearer"}"#),
            (200, r#"{"access_token":"t"}"#),
            (302, r#"{"access_token":"t","token_type":"Bearer"}"#),
            (400, "<html>"),
            (400, r#"{"error":"<script>"}"#),
            (400, r#"{"errorCode":"E0000001","errorSummary":"x"}"#),
            (404, r#"{"error":"not_found"}"#),
            (418, r#"{"error":"teapot"}"#),
        ] {
            let (got, error, description, reason) = refusal(status, body);
            assert_eq!((got, error.as_str(), reason), (503, "server_error", Reason::IdpError), "{status} {body}");
            assert_eq!(description, "The authorization server gave no usable answer.");
        }
    }

    #[test]
    fn a_limit_is_429_and_an_outage_503_each_with_a_time() {
        let limited = read(Err(IdpError::RateLimited { retry_after: Duration::from_millis(8_500) })).err().unwrap();
        let answer = BrokerAnswer::refusal(&limited, &HeaderMap::new());
        assert_eq!(answer.response.status(), 429);
        assert_eq!(answer.response.headers()[RETRY_AFTER], "9");
        assert_eq!(answer.reason, Some(Reason::CallerLimited));
        for error in [IdpError::Unreachable, IdpError::BadTls, IdpError::Down(502)] {
            let down = read(Err(error)).err().unwrap();
            let answer = BrokerAnswer::refusal(&down, &HeaderMap::new());
            assert_eq!((answer.response.status().as_u16(), down.error.as_str()), (503, "temporarily_unavailable"));
            assert!(answer.response.headers().contains_key(RETRY_AFTER));
        }
    }

    #[test]
    fn a_refused_client_is_challenged_but_a_page_gets_no_password_dialog() {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", "No.");
        let mut headers = HeaderMap::new();
        let challenge = |headers: &HeaderMap| {
            BrokerAnswer::refusal(&refusal, headers).response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned()
        };
        assert!(challenge(&headers).starts_with("Basic "));
        headers.insert("x-requested-with", HeaderValue::from_static("XMLHttpRequest"));
        assert!(challenge(&headers).starts_with("xBasic "));
    }
}
