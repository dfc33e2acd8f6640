//! Refusals as gRPC callers understand them: status 200, and in the head the trailers that end a call without a message.
//! https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Trailers-Only". Pure.
//!
//! Browsers' gRPC-Web is told by HTTP statuses, which its clients map to the same codes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::Full;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::grpc::GRPC_STATUS;
use crate::reason::Reason;
use crate::rejection::Rejection;

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// `grpc-message` is percent-encoded but for printable ASCII without the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

/// `application/grpc`, also with a suffix such as `+proto`.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let (front, rest) = content_type.split_at(content_type.len().min("application/grpc".len()));
    front.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The refusal without the headers that both forms have.
pub(super) fn response(rejection: &Rejection) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.headers_mut() = status(rejection.reason, rejection.detail);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The end of a call.
pub(super) fn status(reason: Reason, detail: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(GRPC_STATUS, HeaderValue::from(code(reason)));
    let message = format!("{}: {detail}", reason.as_str());
    if let Ok(message) = HeaderValue::try_from(utf8_percent_encode(&message, ENCODED).to_string()) {
        headers.insert(GRPC_MESSAGE, message);
    }
    headers
}

/// The status code of gRPC that belongs to a reason.
fn code(reason: Reason) -> u16 {
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
        | Reason::InvalidClient => UNAUTHENTICATED,
        // gRPC has one method, POST: a policy without it does not permit the call.
        Reason::InsufficientScope | Reason::ClaimsDenied | Reason::RouteDenied | Reason::MethodNotAllowed => {
            PERMISSION_DENIED
        }
        Reason::BadRequest
        | Reason::BadPath
        | Reason::UnsupportedMediaType
        | Reason::InvalidScope
        | Reason::UnsupportedGrantType => INVALID_ARGUMENT,
        Reason::BodyTooLarge | Reason::HeadersTooLarge | Reason::CallerLimited => RESOURCE_EXHAUSTED,
        Reason::RequestTimeout | Reason::UpstreamTimeout => DEADLINE_EXCEEDED,
        Reason::IdpUnreachable
        | Reason::IdpRateLimited
        | Reason::IdpError
        | Reason::UpstreamUnreachable
        | Reason::UpgradeRefused
        | Reason::Overloaded => UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content_type, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC+json", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/grp", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(is_asked_for(&headers), is_grpc, "{content_type}");
        }
        assert!(!is_asked_for(&HeaderMap::new()));
    }

    #[test]
    fn every_reason_has_the_code_that_its_status_stands_for() {
        for reason in Reason::ALL {
            let expected: &[u16] = match crate::rescue::status(reason).as_u16() {
                401 => &[16],
                403 | 405 => &[7],
                400 | 415 => &[3],
                413 | 429 | 431 => &[8],
                408 | 504 => &[4],
                502 | 503 => &[14],
                other => panic!("{reason:?} has status {other}"),
            };
            assert_eq!(&[code(reason)], expected, "{reason:?}");
        }
    }

    #[test]
    fn the_message_is_percent_encoded() {
        let response = response(&Rejection::new(Reason::Expired, "100 % of it\nis over: ä."));
        assert_eq!(response.headers()[GRPC_MESSAGE], "expired: 100 %25 of it%0Ais over: %C3%A4.");
        assert_eq!(response.headers()[GRPC_STATUS], "16");
        assert_eq!(response.status(), 200);
    }
}
