//! What a gRPC call came to, as far as HTTP shows it: the status in trailers, or in the head of an answer without a
//! message. Pure. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

use http::{HeaderMap, HeaderName};

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The code of `grpc-status`, where it is one.
pub(crate) fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// Whether a code says that the server failed, and not that the caller asked for the wrong thing: UNKNOWN,
/// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS, by OpenTelemetry's conventions for RPC.
pub(crate) fn is_failure(status: u16) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_status_is_a_number() {
        for (value, expected) in [("0", Some(0)), ("14", Some(14)), ("", None), ("ok", None), ("-1", None)] {
            let headers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(value))]);
            assert_eq!(status(&headers), expected, "{value:?}");
        }
        assert_eq!(status(&HeaderMap::new()), None);
    }
}
