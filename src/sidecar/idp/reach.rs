//! Where an issuer is reached now: its endpoints, each with what the issuer counts its calls with. It decides when that
//! knowledge is old.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::discovery::Metadata;
use super::governor::{Bucket, Governor};
use super::line::Endpoint;

/// Metadata hardly ever changes; about once a day it is read again, by each process at another time.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer's endpoints.
pub(super) struct Reach {
    pub(super) jwks: Option<Endpoint>,
    pub(super) token: Option<Endpoint>,
    pub(super) introspection: Option<Endpoint>,
    old_at: Instant,
}

impl Reach {
    /// As the metadata says. `dice` is in 0..1.
    pub(super) fn new(metadata: Metadata, governor: &Governor, now: Instant, dice: f64) -> Self {
        let Metadata { jwks_uri, token_endpoint, introspection_endpoint } = metadata;
        Self {
            jwks: jwks_uri.map(|url| Endpoint::document(url, governor)),
            token: token_endpoint.map(|url| Endpoint::called(url, governor)),
            introspection: introspection_endpoint.map(|url| Endpoint::called(url, governor)),
            old_at: now + LIFE.mul_f64(0.8 + 0.2 * dice),
        }
    }

    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.old_at <= now
    }

    /// Whether the keys lie where `other` says.
    pub(super) fn has_keys_where(&self, other: &Self) -> bool {
        let url = |reach: &Self| reach.jwks.as_ref().map(|jwks| jwks.url.clone());
        url(self) == url(other)
    }

    /// The buckets of the calls that callers cause.
    pub(super) fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        [&self.token, &self.introspection].into_iter().flatten().map(|endpoint| &endpoint.bucket)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    fn reach(keys: &str, dice: f64, now: Instant) -> Reach {
        let url = |text: &str| Url::parse(text).ok();
        let metadata = Metadata {
            jwks_uri: url(keys),
            token_endpoint: url("https://acme.example/oauth2/default/v1/token"),
            introspection_endpoint: url("https://acme.example/oauth2/default/v1/introspect"),
        };
        Reach::new(metadata, &Governor::new(Duration::from_secs(60)), now, dice)
    }

    #[test]
    fn metadata_grows_old_in_about_a_day_and_not_everywhere_at_once() {
        let now = Instant::now();
        let after =
            |dice, hours: u64| reach("https://a.example/k", dice, now).is_old(now + Duration::from_secs(3_600 * hours));
        assert!(!after(0.0, 19) && after(0.0, 20));
        assert!(!after(1.0, 23) && after(1.0, 24));
    }

    #[test]
    fn keys_that_moved_are_noticed() {
        let now = Instant::now();
        let here = reach("https://a.example/keys", 0.0, now);
        assert!(here.has_keys_where(&reach("https://a.example/keys", 1.0, now)));
        assert!(!here.has_keys_where(&reach("https://b.example/keys", 0.0, now)));
        assert!(!here.has_keys_where(&reach("", 0.0, now)));
    }

    #[test]
    fn token_requests_and_questions_are_counted_together_where_the_issuer_does() {
        let reach = reach("https://a.example/keys", 0.0, Instant::now());
        let buckets: Vec<_> = reach.buckets().collect();
        assert!(buckets.len() == 2 && Arc::ptr_eq(buckets[0], buckets[1]));
    }
}
