//! Remembers good verdicts, so that a token is judged once and not on every request. A verdict holds while it is fresh
//! and while the key that verified the token is in force; until the token ends it is still known that it was good once.
//! It decides nothing else; policy is evaluated per request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

use crate::identity::{Identity, IdentityHeaders};
use crate::idp::{Key, TokenDigest};
use crate::jose::Object;

/// As many tokens as a busy API sees in an hour. Only tokens that were good once are in it: a flood of strangers'
/// tokens pushes none out.
const CAPACITY: usize = 100_000;

/// What a verdict takes in memory with headers of the usual length and without claims: 60 MB when the cache is full,
/// nothing before. Longer headers and, where they are kept, claims count as well, and fewer tokens fit.
const VERDICT_BYTES: u64 = 600;

/// Subject, client and scopes of most tokens.
const USUAL_HEADERS: u64 = 100;

/// A good verdict.
#[derive(Clone)]
pub(crate) struct Decision {
    pub(crate) identity: Arc<Identity>,
    /// The key that verified the signature; `None` where the issuer alone judged.
    pub(crate) key: Option<Arc<Key>>,
    /// Until then it serves without a question.
    fresh_until_millis: u64,
    /// Until then it may serve where the issuer limits our questions.
    stale_until_millis: u64,
    /// When the token ends, whatever anybody says.
    ends_millis: u64,
    /// About what it takes in memory.
    bytes: u64,
}

impl Decision {
    /// A verdict that is fresh until the token ends.
    pub(crate) fn new(identity: Arc<Identity>, key: Option<Arc<Key>>, ends: SystemTime) -> Self {
        let ends = millis(ends);
        let headers = bytes_of_headers(&identity.headers).saturating_sub(USUAL_HEADERS);
        let bytes = VERDICT_BYTES + headers + identity.claims.as_deref().map_or(0, bytes_of);
        Self { identity, key, fresh_until_millis: ends, stale_until_millis: ends, ends_millis: ends, bytes }
    }

    /// One that is fresh until `until`, and may serve for so long after that where there is a limit; neither outlives
    /// the token.
    pub(crate) fn fresh_until(self, until: SystemTime, max_stale: Duration) -> Self {
        let fresh_until_millis = millis(until).min(self.ends_millis);
        let stale_until_millis = millis(until + max_stale).min(self.ends_millis);
        Self { fresh_until_millis, stale_until_millis, ..self }
    }

    /// The same verdict, taken for fresh until `until` without a new word of the issuer: it serves no longer under a
    /// limit than before.
    pub(crate) fn prolonged_until(self, until: SystemTime) -> Self {
        Self { fresh_until_millis: millis(until).min(self.ends_millis), ..self }
    }

    /// The same verdict where the issuer limits our questions, taken for fresh until `until` at most; `None` when it is
    /// too old for that.
    pub(crate) fn served_stale(self, now: SystemTime, until: SystemTime) -> Option<Self> {
        let fresh_until_millis = millis(until).min(self.stale_until_millis);
        (millis(now) < self.stale_until_millis).then_some(Self { fresh_until_millis, ..self })
    }

    fn stands(&self, now_millis: u64) -> bool {
        now_millis < self.ends_millis && self.key.as_ref().is_none_or(|key| key.is_in_force())
    }
}

/// Good verdicts by the token's digest. `quick_cache` because a hit is a shared lock and a flag, where moka also
/// records each read in a queue.
pub(crate) struct DecisionCache {
    decisions: Cache<TokenDigest, Decision, ByMemory>,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<TokenDigest, Decision> for ByMemory {
    fn weight(&self, _: &TokenDigest, decision: &Decision) -> u64 {
        decision.bytes
    }
}

impl DecisionCache {
    pub(crate) fn new() -> Self {
        Self { decisions: Cache::with_weighter(CAPACITY, CAPACITY as u64 * VERDICT_BYTES, ByMemory) }
    }

    /// The verdict on a token seen before, if it is fresh.
    pub(crate) fn find(&self, token: &TokenDigest, now: SystemTime) -> Option<Decision> {
        let now = millis(now);
        let decision = self.decisions.get(token)?;
        if !decision.stands(now) {
            self.decisions.remove(token);
            return None;
        }
        (now < decision.fresh_until_millis).then_some(decision)
    }

    /// The verdict on a token that was good once and has not ended, fresh or not.
    pub(crate) fn earlier(&self, token: &TokenDigest, now: SystemTime) -> Option<Decision> {
        self.decisions.get(token).filter(|decision| decision.stands(millis(now)))
    }

    /// Remembers a verdict, unless the token has ended.
    pub(crate) fn remember(&self, token: TokenDigest, decision: Decision, now: SystemTime) {
        if decision.stands(millis(now)) {
            self.decisions.insert(token, decision);
        }
    }

    /// The token is no longer good.
    pub(crate) fn forget(&self, token: &TokenDigest) {
        self.decisions.remove(token);
    }
}

/// What is not shared with other verdicts.
fn bytes_of_headers(headers: &IdentityHeaders) -> u64 {
    let own = [&headers.subject, &headers.client_id, &headers.scopes];
    own.into_iter().flatten().map(|value| value.len() as u64).sum::<u64>() + headers.claims.bytes()
}

/// About what an object's members take in memory: names, values, and the tree's nodes.
fn bytes_of(object: &Object) -> u64 {
    object.iter().map(|(name, value)| 64 + name.len() as u64 + bytes_of_value(value)).sum()
}

fn bytes_of_value(value: &Value) -> u64 {
    let beside = match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(bytes_of_value).sum(),
        Value::Object(members) => bytes_of(members),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() as u64 + beside
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::idp::KeySet;
    use crate::jose::Algorithm;
    use crate::testkit::RsaKey;

    fn identity() -> Arc<Identity> {
        Arc::new(Identity::blank())
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
        assert!(cache.find(&token, at(99)).is_none(), "the token had ended");
    }

    #[test]
    fn a_token_is_known_until_it_ends_though_its_verdict_is_no_longer_fresh() {
        let cache = DecisionCache::new();
        let token = TokenDigest::of(b"t");
        let decision = Decision::new(identity(), None, at(100)).fresh_until(at(60), Duration::from_secs(20));
        cache.remember(token, decision, at(50));
        assert!(cache.find(&token, at(59)).is_some());
        assert!(cache.find(&token, at(60)).is_none());
        assert!(cache.earlier(&token, at(99)).is_some());
        assert!(cache.earlier(&token, at(100)).is_none());
        let earlier = cache.earlier(&token, at(60)).unwrap();
        let stale = earlier.clone().served_stale(at(79), at(90)).unwrap();
        cache.remember(token, stale, at(79));
        assert!(cache.find(&token, at(79)).is_some());
        assert!(cache.find(&token, at(80)).is_none(), "no longer than it may serve");
        assert!(earlier.clone().served_stale(at(80), at(90)).is_none());
        let prolonged = earlier.prolonged_until(at(62));
        let again = prolonged.clone().served_stale(at(80), at(90));
        assert!(again.is_none(), "only a new word of the issuer starts the time again");
        cache.remember(token, prolonged, at(61));
        assert!(cache.find(&token, at(61)).is_some());
        assert!(cache.find(&token, at(62)).is_none());
        cache.forget(&token);
        assert!(cache.earlier(&token, at(62)).is_none());
    }

    #[test]
    fn neither_freshness_nor_staleness_outlives_the_token() {
        let hour = Duration::from_secs(3600);
        let decision = Decision::new(identity(), None, at(100)).fresh_until(at(90), hour);
        assert!(decision.clone().served_stale(at(99), at(101)).is_some());
        assert!(decision.clone().served_stale(at(100), at(101)).is_none());
        let cache = DecisionCache::new();
        let token = TokenDigest::of(b"t");
        cache.remember(token, decision.prolonged_until(at(7000)), at(95));
        assert!(cache.find(&token, at(99)).is_some());
        assert!(cache.find(&token, at(100)).is_none());
    }

    #[test]
    fn a_verdict_ends_when_its_key_leaves_the_issuers_set() {
        let parse = |key: &RsaKey, kid: &str, previous: &KeySet| {
            let set = json!({"keys": [key.jwk(kid)]}).to_string();
            KeySet::parse(set.as_bytes(), &[Algorithm::Rs256]).unwrap().following(previous)
        };
        let old = parse(RsaKey::first(), "first", &KeySet::default());
        let key = old.candidates(None).next().cloned();
        let cache = DecisionCache::new();
        let token = TokenDigest::of(b"t");
        cache.remember(token, Decision::new(identity(), key, at(100)), at(50));
        assert!(cache.find(&token, at(60)).is_some());
        old.retire_all_but(&parse(RsaKey::second(), "second", &old));
        assert!(cache.earlier(&token, at(60)).is_none());
        assert!(cache.find(&token, at(60)).is_none());
    }

    #[test]
    fn long_headers_count_for_what_they_take() {
        let with = |scopes: usize| {
            let scopes: Vec<String> = (0..scopes).map(|nth| format!("scope-{nth:04}")).collect();
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            Decision::new(Arc::new(Identity::blank().with_scopes(&scopes)), None, at(100)).bytes
        };
        assert_eq!(with(9), VERDICT_BYTES);
        assert_eq!(with(1_000), VERDICT_BYTES + 11 * 1_000 - 1 - USUAL_HEADERS);
    }

    #[test]
    fn claims_count_for_what_they_take() {
        let with = |claims: Value| {
            let Value::Object(claims) = claims else { panic!("an object") };
            let identity = Identity { claims: Some(Arc::new(claims)), ..Arc::into_inner(identity()).unwrap() };
            Decision::new(Arc::new(identity), None, at(100))
        };
        assert_eq!(Decision::new(identity(), None, at(100)).bytes, VERDICT_BYTES);
        assert!(with(json!({"groups": vec![0; 5_000]})).bytes > 5_000 * 16);
        assert!(with(json!({"a": {"b": "x".repeat(9_000)}})).bytes > 9_000);
        // Six times as much as fits.
        let cache = DecisionCache::new();
        for nth in 0..600u32 {
            let decision = with(json!({"text": "x".repeat(600_000)}));
            cache.remember(TokenDigest::of(&nth.to_be_bytes()), decision, at(50));
        }
        assert!(cache.decisions.weight() <= CAPACITY as u64 * VERDICT_BYTES, "{}", cache.decisions.weight());
        assert!(cache.decisions.len() > 10);
    }
}
