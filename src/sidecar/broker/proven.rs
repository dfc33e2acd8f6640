//! Whose credentials the issuer has taken before: their token requests are no stranger's. Kept as keyed digests, bounded,
//! and only for credentials that the issuer accepted, so no flood of made-up ones gets in. It opens nothing by itself: the
//! issuer judges every request.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::cache::CredentialsDigest;

/// More than an API has clients; 100 bytes each.
const CAPACITY: usize = 8192;

/// A client that asks now and then during a working day stays known.
const REMEMBERED_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// Credentials, with when the issuer last took them.
pub(super) struct Proven {
    taken_at: Cache<CredentialsDigest, Instant>,
}

impl Proven {
    pub(super) fn new() -> Self {
        Self { taken_at: Cache::new(CAPACITY) }
    }

    /// Whether the issuer took these not too long ago.
    pub(super) fn holds(&self, credentials: &CredentialsDigest, now: Instant) -> bool {
        self.taken_at.get(credentials).is_some_and(|taken_at| now.duration_since(taken_at) < REMEMBERED_FOR)
    }

    /// The issuer took these.
    pub(super) fn remember(&self, credentials: CredentialsDigest, now: Instant) {
        self.taken_at.insert(credentials, now);
    }

    /// The issuer refused these.
    pub(super) fn forget(&self, credentials: &CredentialsDigest) {
        self.taken_at.remove(credentials);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::TokenCache;
    use super::super::request::Credentials;
    use super::*;

    fn body(secret: &str) -> Credentials {
        Credentials::Body { client_id: "0oa1".into(), client_secret: secret.into() }
    }

    #[test]
    fn only_what_the_issuer_took_is_known_and_not_for_ever() {
        let (cache, proven, now) = (TokenCache::new().unwrap(), Proven::new(), Instant::now());
        let (right, wrong) = (cache.credentials(&body("right")), cache.credentials(&body("wrong")));
        proven.remember(right, now);
        assert!(proven.holds(&right, now) && !proven.holds(&wrong, now));
        assert!(proven.holds(&right, now + REMEMBERED_FOR / 2));
        assert!(!proven.holds(&right, now + REMEMBERED_FOR));
        proven.forget(&right);
        assert!(!proven.holds(&right, now));
    }

    #[test]
    fn a_million_clients_leave_the_table_at_its_bound() {
        let (cache, proven, now) = (TokenCache::new().unwrap(), Proven::new(), Instant::now());
        for number in 0..1_000_000 {
            proven.remember(cache.credentials(&body(&number.to_string())), now);
        }
        assert!(proven.taken_at.len() <= CAPACITY);
    }
}
