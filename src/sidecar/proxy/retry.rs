//! Decides whether a request that came to no answer is sent once more. Pure: what went wrong is read from an error, what
//! follows from it is `again`'s. An app must never act twice on one request unless it has said that it has not acted
//! yet, or the request asks for nothing but to be told.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::Method;

/// The end of a connection that the app closed while it was idle is on its way when a request is sent on it, and arrives
/// within a round trip. What ends later was in use, or its app was busy: it may have acted.
const STALE: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection was closed before any of the request was sent.
    Unsent,
    /// The app did not process it, as its connection was to end: GOAWAY (RFC 9113 section 6.8).
    GoneAway,
    /// The app did not process it: REFUSED_STREAM (RFC 9113 section 8.7).
    Refused,
    /// The connection ended before the head of the answer did.
    HungUp,
    /// Whatever else: what the app said is no answer, it ended the request alone, or the request itself broke off.
    Other,
}

/// Where a request is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// On a connection that nobody has used yet, or another of HTTP/2.
    Elsewhere,
    /// On any that takes requests: nothing is wrong with the one.
    Anywhere,
}

/// What an attempt was like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// The connection had been used before, so the app may have closed it meanwhile.
    pub(super) is_reused: bool,
    /// The request asks for no change.
    pub(super) is_safe: bool,
    /// From its sending to its failing.
    pub(super) took: Duration,
}

impl Failure {
    /// A stream that GOAWAY counts among the processed ones is not ended by it: it is answered still, or breaks with the
    /// connection.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::HungUp;
        }
        let Some(source) = error.source() else { return Self::Other };
        if let Some(error) = source.downcast_ref::<h2::Error>() {
            return match error.reason() {
                _ if error.is_remote() && error.is_go_away() => Self::GoneAway,
                Some(h2::Reason::REFUSED_STREAM) if error.is_remote() && error.is_reset() => Self::Refused,
                _ if error.get_io().is_some_and(is_end) => Self::HungUp,
                _ => Self::Other,
            };
        }
        if source.downcast_ref::<io::Error>().is_some_and(is_end) { Self::HungUp } else { Self::Other }
    }
}

/// Whether, and where, a request is sent again that failed so.
pub(super) fn again(failure: Failure, circumstances: Circumstances) -> Option<Again> {
    let Circumstances { is_reused, is_safe, took } = circumstances;
    match failure {
        Failure::Unsent if is_reused => Some(Again::Elsewhere),
        Failure::GoneAway => Some(Again::Elsewhere),
        Failure::Refused => Some(Again::Anywhere),
        Failure::HungUp if is_reused && is_safe && took < STALE => Some(Again::Elsewhere),
        Failure::Unsent | Failure::HungUp | Failure::Other => None,
    }
}

/// Whether a request asks for no change (RFC 9110 section 9.2.1): an app may have acted on it before it hung up, and a
/// DELETE that was done answers 404 the second time.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The other side's end, in one of its forms.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_app_has_not_acted_on_is_sent_again() {
        use Again::{Anywhere, Elsewhere};
        assert!(STALE <= Duration::from_secs(1), "longer than any round trip to a neighbour");
        let soon = STALE - Duration::from_millis(1);
        for (failure, is_reused, is_safe, took, expected) in [
            (Failure::Unsent, true, false, soon, Some(Elsewhere)),
            (Failure::Unsent, true, true, STALE, Some(Elsewhere)),
            (Failure::Unsent, false, true, soon, None),
            (Failure::GoneAway, false, false, STALE, Some(Elsewhere)),
            (Failure::GoneAway, true, true, soon, Some(Elsewhere)),
            (Failure::Refused, false, false, STALE, Some(Anywhere)),
            (Failure::Refused, true, true, soon, Some(Anywhere)),
            (Failure::HungUp, true, true, soon, Some(Elsewhere)),
            (Failure::HungUp, true, true, STALE, None),
            (Failure::HungUp, true, false, soon, None),
            (Failure::HungUp, false, true, soon, None),
            (Failure::Other, true, true, soon, None),
            (Failure::Other, false, false, STALE, None),
        ] {
            let circumstances = Circumstances { is_reused, is_safe, took };
            assert_eq!(again(failure, circumstances), expected, "{failure:?}, {circumstances:?}");
        }
    }

    #[test]
    fn what_is_safe_asks_for_no_change() {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
        let unsafe_ = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT, Method::TRACE];
        assert!(safe.iter().all(is_safe) && !unsafe_.iter().any(is_safe));
        assert!(!is_safe(&Method::from_bytes(b"get").unwrap()));
    }
}
