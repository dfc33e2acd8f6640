//! What of a gRPC call HTTP shows: what it came to (the status in trailers, or in the head of an answer without a message),
//! and where its messages begin and end. Pure. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

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

/// One octet that says whether a message is compressed, four of its length.
const PREFIX: usize = 5;

/// Where a stream of messages stands: a status may follow a whole one only. Nothing of a message is kept or judged.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    prefix: [u8; PREFIX],
    held: usize,
    left: usize,
}

impl Messages {
    /// These bytes have passed.
    pub(crate) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = if self.left > 0 { self.left } else { PREFIX - self.held }.min(bytes.len());
            let (passed, rest) = bytes.split_at(taken);
            if self.left > 0 {
                self.left -= taken;
            } else {
                self.prefix[self.held..][..taken].copy_from_slice(passed);
                self.held += taken;
                if self.held == PREFIX {
                    let [_, length @ ..] = self.prefix;
                    (self.held, self.left) = (0, u32::from_be_bytes(length) as usize);
                }
            }
            bytes = rest;
        }
    }

    /// Whether every message that was begun has passed whole.
    pub(crate) fn are_whole(&self) -> bool {
        self.held == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says_however_it_is_cut() {
        let stream = [&b"\0\0\0\0\x05hello\x01\0\0\x01\0"[..], &[7; 256], b"\0\0\0\0\0\0\0\0\0\x01x"].concat();
        let ends = [0, 10, 10 + 5 + 256, 10 + 5 + 256 + 5, stream.len()];
        for piece in 1..=stream.len() {
            let (mut messages, mut passed) = (Messages::default(), 0);
            for bytes in stream.chunks(piece) {
                messages.advance(bytes);
                passed += bytes.len();
                assert_eq!(messages.are_whole(), ends.contains(&passed), "{passed} bytes in pieces of {piece}");
            }
        }
        assert!(Messages::default().are_whole());
    }

    #[test]
    fn a_status_is_a_number() {
        for (value, expected) in [("0", Some(0)), ("14", Some(14)), ("", None), ("ok", None), ("-1", None)] {
            let headers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(value))]);
            assert_eq!(status(&headers), expected, "{value:?}");
        }
        assert_eq!(status(&HeaderMap::new()), None);
    }
}
