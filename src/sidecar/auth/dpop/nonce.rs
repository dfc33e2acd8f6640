//! Nonces that proofs must carry where the policy wants them (RFC 9449 section 9): made from a key of this process and
//! the time, so that nothing is stored for strangers. Pure but for the key. A nonce is public and good for many proofs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

/// Each nonce is handed out for so long and taken for twice that. Longer would let proofs be made further ahead of
/// their use, shorter would cost callers who are seldom here a second request each time.
const PERIOD: Duration = Duration::from_secs(5 * 60);

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It is the one handed out now.
    Current,
    /// It is the one before; its holder should be told the current one.
    Previous,
    /// It is older, another pod's, or made up.
    Unknown,
}

/// The nonces of this process.
pub(super) struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    pub(super) fn new() -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()) }
    }

    /// The nonce to hand out.
    pub(super) fn current(&self, now: SystemTime) -> String {
        self.of(period(now))
    }

    /// The same as a header value.
    pub(super) fn header(&self, now: SystemTime) -> Option<HeaderValue> {
        HeaderValue::try_from(self.current(now)).ok()
    }

    /// What this nonce is worth now.
    pub(super) fn judge(&self, nonce: &str, now: SystemTime) -> Freshness {
        let period = period(now);
        if nonce == self.of(period) {
            Freshness::Current
        } else if period.checked_sub(1).is_some_and(|previous| nonce == self.of(previous)) {
            Freshness::Previous
        } else {
            Freshness::Unknown
        }
    }

    /// 128 bits, in characters that a header and a claim can carry.
    fn of(&self, period: u64) -> String {
        let tag = hmac::sign(&self.key, &period.to_be_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..16).unwrap_or_default())
    }
}

fn period(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / PERIOD.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_nonce_is_current_then_previous_then_unknown() {
        let nonces = Nonces::new();
        let nonce = nonces.current(at(3_000));
        assert_eq!(nonces.header(at(3_299)).unwrap(), nonce.as_str());
        for (time, worth) in [
            (3_000, Freshness::Current),
            (3_299, Freshness::Current),
            (3_300, Freshness::Previous),
            (3_599, Freshness::Previous),
            (3_600, Freshness::Unknown),
            (2_999, Freshness::Unknown),
        ] {
            assert_eq!(nonces.judge(&nonce, at(time)), worth, "{time}");
        }
    }

    #[test]
    fn nobody_elses_nonce_is_known() {
        let nonces = Nonces::new();
        let other = Nonces::new().current(at(3_000));
        for nonce in ["", "a", other.as_str(), &format!("{}=", nonces.current(at(3_000)))] {
            assert_eq!(nonces.judge(nonce, at(3_000)), Freshness::Unknown, "{nonce}");
        }
    }
}
