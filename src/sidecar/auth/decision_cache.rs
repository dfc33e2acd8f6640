//! Remembers good verdicts, so that a token is judged once and not on every request. A verdict holds while it is fresh
//! and while the key that verified the token is in force. It decides nothing else; policy is evaluated per request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quick_cache::sync::Cache;

use crate::identity::Identity;
use crate::idp::{Key, TokenDigest};

/// As many tokens as a busy API sees in an hour; about 60 MB when full, nothing before.
const CAPACITY: usize = 100_000;

/// A good verdict.
#[derive(Clone)]
pub(crate) struct Decision {
    pub(crate) identity: Arc<Identity>,
    /// The key that verified the signature; `None` where the issuer alone judged.
    pub(crate) key: Option<Arc<Key>>,
    fresh_until_millis: u64,
}

impl Decision {
    pub(crate) fn new(identity: Arc<Identity>, key: Option<Arc<Key>>, fresh_until: SystemTime) -> Self {
        Self { identity, key, fresh_until_millis: millis(fresh_until) }
    }
}

/// Good verdicts by the token's digest. `quick_cache` because a hit is a shared lock and a flag, where moka also
/// records each read in a queue.
pub(crate) struct DecisionCache {
    decisions: Cache<TokenDigest, Decision>,
}

impl DecisionCache {
    pub(crate) fn new() -> Self {
        Self { decisions: Cache::new(CAPACITY) }
    }

    /// The verdict on a token seen before, if it still holds.
    pub(crate) fn find(&self, token: &TokenDigest, now: SystemTime) -> Option<Arc<Identity>> {
        let decision = self.decisions.get(token)?;
        let holds =
            millis(now) < decision.fresh_until_millis && decision.key.as_ref().is_none_or(|key| key.is_in_force());
        if holds {
            return Some(decision.identity);
        }
        self.decisions.remove(token);
        None
    }

    /// Remembers a verdict, unless it holds for this request only.
    pub(crate) fn remember(&self, token: TokenDigest, decision: Decision, now: SystemTime) {
        if millis(now) < decision.fresh_until_millis {
            self.decisions.insert(token, decision);
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::identity::{IdentityHeaders, Scopes};
    use crate::idp::KeySet;
    use crate::jose::Algorithm;
    use crate::testkit::RsaKey;

    fn identity() -> Arc<Identity> {
        let issuer = HeaderValue::from_static("https://acme.example");
        let headers = IdentityHeaders { subject: None, client_id: None, scopes: None, issuer };
        let scopes = Scopes::default();
        Arc::new(Identity {
            issuer: "okta".into(),
            subject: None,
            client_id: None,
            scopes,
            expires_at: 0,
            bound_to: None,
            headers,
        })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_verdict_holds_until_it_is_no_longer_fresh() {
        let cache = DecisionCache::new();
        let token = TokenDigest::of(b"t");
        cache.remember(token, Decision::new(identity(), None, at(100)), at(50));
        assert!(cache.find(&token, at(99)).is_some());
        assert!(cache.find(&TokenDigest::of(b"other"), at(99)).is_none());
        assert!(cache.find(&token, at(100)).is_none());
        cache.remember(token, Decision::new(identity(), None, at(100)), at(100));
        assert!(cache.find(&token, at(99)).is_none(), "it was for one request only");
    }

    #[test]
    fn a_verdict_ends_when_its_key_leaves_the_issuers_set() {
        let parse = |key: &RsaKey, kid: &str, previous: &KeySet| {
            KeySet::parse(json!({"keys": [key.jwk(kid)]}).to_string().as_bytes(), &[Algorithm::Rs256], previous).unwrap()
        };
        let old = parse(RsaKey::first(), "first", &KeySet::default());
        let key = old.candidates(None).next().cloned();
        let cache = DecisionCache::new();
        let token = TokenDigest::of(b"t");
        cache.remember(token, Decision::new(identity(), key, at(100)), at(50));
        assert!(cache.find(&token, at(60)).is_some());
        old.retire_all_but(&parse(RsaKey::second(), "second", &old));
        assert!(cache.find(&token, at(60)).is_none());
    }
}
