//! Reads an issuer's answer to a question about a token (RFC 7662 section 2.2): whether it is one, and whether it says
//! that the token is active. Only a plain no is a no. What an active answer is worth is not decided here.

use http::StatusCode;
use serde_json::Value;

use super::error::IdpError;
use super::http::Reply;
use crate::jose::json::{self, Object};

/// The members of an answer that says `active: true`; `None` for `active: false`.
pub(super) fn read(reply: &Reply) -> Result<Option<Object>, IdpError> {
    if reply.status != StatusCode::OK {
        return Err(IdpError::BadResponse("introspection did not end with status 200"));
    }
    let members = json::object(&reply.body).ok_or(IdpError::Garbled("introspection gave no JSON object"))?;
    match members.get("active") {
        Some(Value::Bool(active)) => Ok(active.then_some(members)),
        // The issuer is there and understood us, so this is no outage; and no verdict either.
        _ => Err(IdpError::BadResponse("introspection does not say whether the token is active")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        Reply { status, cache_control: None, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn true_and_false_are_the_only_verdicts() {
        assert!(read(&reply(200, r#"{"active":true}"#)).unwrap().is_some());
        assert!(read(&reply(200, r#"{"active":false}"#)).unwrap().is_none());
        for body in [
            r#"{"active":"true"}"#,
            r#"{"active":"false"}"#,
            r#"{"active":1}"#,
            r#"{"active":0}"#,
            r#"{"active":null}"#,
            r#"{"active":[true]}"#,
            r#"{"Active":true}"#,
            r#"{"error":"temporarily_unavailable"}"#,
            "{}",
        ] {
            assert!(matches!(read(&reply(200, body)), Err(IdpError::BadResponse(_))), "{body}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_no_verdict() {
        for body in ["", "true", "[true]", "<html>active</html>", r#"{"active":true,"active":false}"#] {
            assert!(matches!(read(&reply(200, body)), Err(IdpError::Garbled(_))), "{body}");
        }
        for (status, body) in [
            (201, r#"{"active":true}"#),
            (204, ""),
            (302, r#"{"active":true}"#),
            (400, r#"{"error":"invalid_request"}"#),
            (403, r#"{"active":true}"#),
            (404, r#"{"errorCode":"E0000007"}"#),
        ] {
            assert!(matches!(read(&reply(status, body)), Err(IdpError::BadResponse(_))), "{status} {body}");
        }
    }
}
