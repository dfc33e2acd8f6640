//! Keys ahead of need: which keys a sidecar is given to start with while its issuer cannot be reached, when an issuer is
//! asked for them again, and what of its answers may be used. Of whom they are held, and who is asked next, `supplies`
//! decides. It asks nobody.

mod supplies;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tollgate_api::validated::Issuer;
use tollgate_contract::{Hints, IssuerHints, KeySource, ProblemCode, SeededKeys};

pub use supplies::{Supplies, Turn};

/// Between two looks at an issuer's keys: Okta rotates them four times a year, and in an emergency the sidecars see it first.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// First wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// No failure is retried more rarely than this.
const LAST_RETRY: Duration = Duration::from_secs(5 * 60);

/// A fetch that has not ended by then never will; see the time-outs where it is made.
const LONGEST_FETCH: Duration = Duration::from_secs(60);

/// An issuer is said to be in trouble after so many failures in a row: one lost packet is no news.
const FAILURES_THAT_COUNT: u32 = 3;

/// Sidecars use keys for so long after they were fetched, in seconds.
const LIFE_SECONDS: u64 = 24 * 60 * 60;

/// Keys that are still the same are written again when they are as old as this, less up to a quarter by chance, in seconds.
const RENEWAL_SECONDS: u64 = 8 * 60 * 60;

/// As many keys as a sidecar looks at.
const MOST_KEYS: usize = 32;

/// Thirty-two RSA keys of 4096 bits take 24 kB. Eight issuers with the most fit twice into a ConfigMap.
const LARGEST_SET: usize = 64 * 1024;

/// What of a public key verifies signatures (RFC 7517, RFC 7518, RFC 8037). No private member is among these.
const MEMBERS: [&str; 10] = ["kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y"];

/// Where keys are fetched, and with what trust. Whoever shares all of it shares what was fetched: no tenant's settings can
/// put keys before another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// What sidecars are told of it.
    pub named: KeySource,
    /// Whether `http://` may be used.
    pub allow_http: bool,
}

impl Source {
    /// Where the keys of this issuer come from; `ca_bundle` is the [`digest`] of what its ConfigMap holds.
    #[must_use]
    pub fn of(issuer: &Issuer, ca_bundle: Option<String>) -> Self {
        Self {
            named: KeySource { issuer: issuer.url.clone(), jwks: issuer.endpoints.jwks.clone(), ca_bundle },
            allow_http: issuer.allow_http,
        }
    }
}

/// Of a CA bundle: SHA-256 in hexadecimal digits.
#[must_use]
pub fn digest(ca_bundle: &[u8]) -> String {
    format!("{:x}", Sha256::digest(ca_bundle))
}

/// What one source has brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supply {
    /// The last good key set.
    held: Option<Fetched>,
    failures: u32,
    failure: Option<ProblemCode>,
    /// When to ask next; at once when absent.
    due: Option<Instant>,
}

/// A key set, and when it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fetched {
    jwks: String,
    /// Seconds since the epoch.
    at: u64,
}

impl Supply {
    /// Whether the source is to be asked.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// The same; if so the caller asks, and nobody else until that has ended.
    pub fn begin(&mut self, now: Instant) -> bool {
        let is_due = self.is_due(now);
        if is_due {
            self.due = Some(now + LONGEST_FETCH);
        }
        is_due
    }

    /// The source was not asked after all.
    pub fn put_back(&mut self) {
        self.due = None;
    }

    /// A fetch has brought this set at this second of the epoch. Jitter is 0.0 to 1.0.
    pub fn fetched(&mut self, jwks: String, epoch_seconds: u64, now: Instant, jitter: f64) {
        let due = Some(now + INTERVAL.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0)));
        *self = Self { held: Some(Fetched { jwks, at: epoch_seconds }), failures: 0, failure: None, due };
    }

    /// A fetch has failed. What was fetched before stays.
    pub fn failed(&mut self, failure: ProblemCode, now: Instant, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(failure);
        let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(self.failures - 1));
        self.due = Some(now + doubled.min(LAST_RETRY).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)));
    }

    /// How the operator finds the issuer; `None` while it does not know.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        match self.failure {
            Some(failure) if self.failures >= FAILURES_THAT_COUNT => Some(View::Fails(failure)),
            _ => self.held.as_ref().map(|_| View::Answers),
        }
    }
}

/// How the operator itself finds an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// It gave its keys.
    Answers,
    /// It failed several times in a row, the last time like this.
    Fails(ProblemCode),
}

/// What is known of the issuers of one resource, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seeds {
    keys: BTreeMap<String, SeededKeys>,
    views: BTreeMap<String, View>,
}

impl Seeds {
    /// Adds what is known of an issuer. `written` is what this resource's hints said so far: it stays while it is right,
    /// and serves when nothing has been fetched since the operator started. `spread` is the resource's uid.
    pub fn add(
        &mut self,
        issuer: &Issuer,
        source: &Source,
        supply: &Supply,
        written: Option<&IssuerHints>,
        epoch_seconds: u64,
        spread: &str,
    ) {
        let written = written.and_then(|hints| hints.keys.as_ref()).filter(|keys| keys.source == source.named);
        let age = |keys: &SeededKeys| epoch_seconds.checked_sub(keys.fetched_at);
        let keys = match &supply.held {
            Some(held) => match written {
                Some(keys) if keys.jwks == held.jwks && age(keys).is_some_and(|age| age < renewal(spread)) => {
                    keys.clone()
                }
                _ => SeededKeys { fetched_at: held.at, jwks: held.jwks.clone(), source: source.named.clone() },
            },
            None => match written {
                Some(keys) => keys.clone(),
                None => return self.see(issuer, supply),
            },
        };
        if age(&keys).is_some_and(|age| age < LIFE_SECONDS) {
            self.keys.insert(issuer.name.clone(), keys);
        }
        self.see(issuer, supply);
    }

    /// Keeps what this resource's hints said so far of an issuer that cannot be asked, for want of its CA bundle.
    pub fn keep(&mut self, issuer: &Issuer, written: Option<&IssuerHints>, epoch_seconds: u64) {
        let is_of = |source: &KeySource| source.issuer == issuer.url && source.jwks == issuer.endpoints.jwks;
        let is_young =
            |keys: &SeededKeys| epoch_seconds.checked_sub(keys.fetched_at).is_some_and(|age| age < LIFE_SECONDS);
        let written = written.and_then(|hints| hints.keys.clone());
        let written = written.filter(|keys| keys.source.ca_bundle.is_some() && is_of(&keys.source) && is_young(keys));
        self.keys.extend(written.map(|keys| (issuer.name.clone(), keys)));
    }

    fn see(&mut self, issuer: &Issuer, supply: &Supply) {
        self.views.extend(supply.view().map(|view| (issuer.name.clone(), view)));
    }

    /// Keys for the issuer of this name.
    #[must_use]
    pub fn keys(&self, issuer: &str) -> Option<&SeededKeys> {
        self.keys.get(issuer)
    }

    /// How the operator finds the issuer of this name.
    #[must_use]
    pub fn view(&self, issuer: &str) -> Option<View> {
        self.views.get(issuer).copied()
    }
}

/// Resources that share an issuer are not all written at one time.
fn renewal(spread: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    spread.hash(&mut hasher);
    RENEWAL_SECONDS - hasher.finish() % (RENEWAL_SECONDS / 4)
}

/// What a hints file says of an issuer.
#[must_use]
pub fn written<'a>(hints: &'a Hints, issuer: &str) -> Option<&'a IssuerHints> {
    hints.issuers.iter().find(|hints| hints.name == issuer)
}

/// Where an issuer's metadata may be, in the order to ask: RFC 8414's form, the older one that appends, and OpenID
/// Connect's. As the sidecar asks.
#[must_use]
pub fn metadata_addresses(issuer: &str) -> Vec<String> {
    let start = issuer.find("://").map_or(0, |scheme| scheme + 3);
    let path = issuer[start..].find('/').map_or(issuer.len(), |slash| start + slash);
    let (origin, path) = issuer.split_at(path);
    let mut all = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{issuer}/.well-known/oauth-authorization-server"),
        format!("{issuer}/.well-known/openid-configuration"),
    ];
    all.dedup();
    all
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// The key set's URL in an issuer's metadata; `None` when they are another's (RFC 8414 section 3.3), or no metadata.
#[must_use]
pub fn jwks_uri(body: &[u8], issuer: &str, allow_http: bool) -> Option<String> {
    let Metadata { issuer: named, jwks_uri } = serde_json::from_slice(body).ok()?;
    let is_allowed = jwks_uri.starts_with("https://") || (allow_http && jwks_uri.starts_with("http://"));
    (named == issuer && is_allowed).then_some(jwks_uri)
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<BTreeMap<String, Value>>,
}

/// The public keys of a key set, in an order of their own and with nothing but what verifies signatures: a set that only
/// looks different is the same. `None` when it is no key set, has no public key, or is too large.
#[must_use]
pub fn public_keys(body: &[u8]) -> Option<String> {
    let KeySet { keys } = serde_json::from_slice(body).ok()?;
    let keys: BTreeSet<String> = keys.into_iter().filter_map(public_key).take(MOST_KEYS).collect();
    let set = format!("{{\"keys\":[{}]}}", keys.iter().map(String::as_str).collect::<Vec<_>>().join(","));
    (!keys.is_empty() && set.len() <= LARGEST_SET).then_some(set)
}

/// `None` for a key that is secret (`oct`), or that its owner has published with its private part: nobody should use it.
fn public_key(mut key: BTreeMap<String, Value>) -> Option<String> {
    let is_public = matches!(key.get("kty")?.as_str()?, "RSA" | "EC" | "OKP") && !key.contains_key("d");
    key.retain(|member, _| MEMBERS.contains(&member.as_str()));
    is_public.then(|| serde_json::to_string(&key).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::render::tests::validated;

    const HOUR: u64 = 3_600;
    const NOW: u64 = 1_000_000_000;

    fn issuer() -> Issuer {
        validated().issuers.remove(0)
    }

    fn source() -> Source {
        Source::of(&issuer(), Some(digest(b"a bundle")))
    }

    fn supply(jwks: &str) -> Supply {
        let mut supply = Supply::default();
        supply.fetched(jwks.to_owned(), NOW, Instant::now(), 0.5);
        supply
    }

    /// Hints that were written so many seconds ago.
    fn hints(jwks: &str, age: u64, source: &Source) -> IssuerHints {
        let keys = SeededKeys { fetched_at: NOW - age, jwks: jwks.to_owned(), source: source.named.clone() };
        IssuerHints { name: "okta".to_owned(), sharers: None, keys: Some(keys) }
    }

    /// What sidecars are told: the set, and its age.
    fn told(supply: &Supply, written: Option<&IssuerHints>) -> Option<(String, u64)> {
        let mut seeds = Seeds::default();
        seeds.add(&issuer(), &source(), supply, written, NOW, "uid-of-items");
        seeds.keys("okta").map(|keys| (keys.jwks.clone(), NOW - keys.fetched_at))
    }

    fn said(jwks: &str, age: u64) -> Option<(String, u64)> {
        Some((jwks.to_owned(), age))
    }

    #[test]
    fn other_keys_are_told_at_once_and_the_same_ones_not_again_for_hours() {
        assert_eq!(told(&supply("new"), None), said("new", 0));
        assert_eq!(told(&supply("new"), Some(&hints("old", HOUR, &source()))), said("new", 0));
        assert_eq!(told(&supply("same"), Some(&hints("same", 5 * HOUR, &source()))), said("same", 5 * HOUR));
        assert_eq!(told(&supply("same"), Some(&hints("same", 8 * HOUR, &source()))), said("same", 0));
    }

    #[test]
    fn what_was_told_before_holds_while_nothing_is_fetched_and_not_for_more_than_a_day() {
        let none = Supply::default();
        assert_eq!(told(&none, Some(&hints("old", 23 * HOUR, &source()))), said("old", 23 * HOUR));
        assert_eq!(told(&none, Some(&hints("old", 24 * HOUR, &source()))), None);
        assert_eq!(told(&none, None), None);
    }

    #[test]
    fn keys_of_another_issuer_endpoint_or_trust_are_nobodys() {
        let mut moved = issuer();
        moved.url = "https://acme.okta.com/oauth2/other".to_owned();
        let mut given = issuer();
        given.endpoints.jwks = Some("https://keys.acme.com/keys".to_owned());
        let others = [
            Source::of(&moved, Some(digest(b"a bundle"))),
            Source::of(&given, Some(digest(b"a bundle"))),
            Source::of(&issuer(), Some(digest(b"another bundle"))),
            Source::of(&issuer(), None),
        ];
        for other in others {
            assert_ne!(other, source());
            assert_eq!(told(&Supply::default(), Some(&hints("old", 0, &other))), None, "{other:?}");
            let fresh = told(&supply("same"), Some(&hints("same", HOUR, &other)));
            assert_eq!(fresh, said("same", 0), "{other:?}: written anew, with the right source");
        }
    }

    #[test]
    fn an_issuer_that_cannot_be_asked_for_want_of_its_bundle_keeps_what_it_had() {
        let kept = |source: &Source, age| {
            let mut seeds = Seeds::default();
            seeds.keep(&issuer(), Some(&hints("old", age, source)), NOW);
            seeds.keys("okta").is_some()
        };
        assert!(kept(&source(), HOUR));
        assert!(!kept(&source(), 24 * HOUR));
        assert!(!kept(&Source::of(&issuer(), None), HOUR), "it had no bundle then");
        let mut moved = issuer();
        moved.url.push('x');
        assert!(!kept(&Source::of(&moved, Some(digest(b"a bundle"))), HOUR));
    }

    #[test]
    fn a_source_is_asked_once_at_a_time_and_less_often_the_longer_it_fails() {
        let start = Instant::now();
        let mut supply = Supply::default();
        assert!(supply.begin(start));
        assert!(!supply.begin(start), "it is being asked");
        supply.fetched("set".to_owned(), NOW, start, 1.0);
        assert!(!supply.begin(start + Duration::from_secs(11 * 60)));
        let mut at = start + Duration::from_secs(12 * 60);
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert!(supply.begin(at), "after {wait} s");
            supply.failed(ProblemCode::IssuerUnreachable, at, 1.0);
            at += Duration::from_secs(wait);
            assert!(!supply.begin(at - Duration::from_secs(1)));
        }
    }

    #[test]
    fn one_failure_is_no_news_and_three_are() {
        let now = Instant::now();
        let mut supply = Supply::default();
        assert_eq!(supply.view(), None);
        supply.fetched("set".to_owned(), NOW, now, 0.5);
        let mut views = Vec::new();
        for _ in 0..3 {
            supply.failed(ProblemCode::IssuerBadTls, now, 0.5);
            views.push(supply.view());
        }
        let fails = View::Fails(ProblemCode::IssuerBadTls);
        assert_eq!(views, [Some(View::Answers), Some(View::Answers), Some(fails)]);
        assert_eq!(told(&supply, None), said("set", 0), "what was fetched stays");
        supply.fetched("set".to_owned(), NOW, now, 0.5);
        assert_eq!(supply.view(), Some(View::Answers));
    }

    #[test]
    fn metadata_are_asked_for_where_sidecars_ask() {
        assert_eq!(
            metadata_addresses("https://acme.okta.com/oauth2/default"),
            [
                "https://acme.okta.com/.well-known/oauth-authorization-server/oauth2/default",
                "https://acme.okta.com/oauth2/default/.well-known/oauth-authorization-server",
                "https://acme.okta.com/oauth2/default/.well-known/openid-configuration",
            ]
        );
        let org = metadata_addresses("https://acme.okta.com");
        assert_eq!(org.len(), 2);
        assert_eq!(org[0], "https://acme.okta.com/.well-known/oauth-authorization-server");
    }

    #[test]
    fn metadata_of_another_issuer_or_without_https_are_none() {
        let uri = |issuer: &str, uri: &str, allow_http| {
            let body = json!({"issuer": issuer, "jwks_uri": uri}).to_string();
            jwks_uri(body.as_bytes(), "https://a.example", allow_http)
        };
        let https = "https://keys.example/keys";
        assert_eq!(uri("https://a.example", https, false).as_deref(), Some(https));
        assert_eq!(uri("https://a.example/", https, false), None);
        assert_eq!(uri("https://a.example", "http://keys.example/keys", false), None);
        assert_eq!(uri("https://a.example", "file:///etc/passwd", true), None);
        assert!(uri("https://a.example", "http://keys.example/keys", true).is_some());
        assert_eq!(jwks_uri(b"<html>", "https://a.example", true), None);
    }

    #[test]
    fn only_what_verifies_signatures_is_kept_of_a_key_set_and_its_order_does_not_matter() {
        let [one, two] = [json!({"kty": "RSA", "kid": "1", "n": "AQ", "e": "AQAB"}), json!({"kty": "EC", "kid": "2"})];
        let mut adorned = one.clone();
        adorned["x5c"] = json!(["MIIB"]);
        let set = |keys: &[&Value]| public_keys(json!({"keys": keys}).to_string().as_bytes());
        let plain = set(&[&one, &two]).expect("a set");
        assert_eq!(set(&[&two, &adorned]), Some(plain.clone()));
        assert!(!plain.contains("x5c") && plain.contains("AQAB"), "{plain}");
    }

    #[test]
    fn private_and_secret_keys_never_reach_the_hints() {
        let public = json!({"kty": "RSA", "kid": "public", "n": "AQ", "e": "AQAB"});
        let private = json!({"kty": "RSA", "kid": "private", "n": "AQ", "e": "AQAB", "d": "c2VjcmV0"});
        let secret = json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"});
        let set = public_keys(json!({"keys": [public, private, secret]}).to_string().as_bytes()).expect("a set");
        assert!(set.contains("public") && !set.contains("private") && !set.contains("secret"), "{set}");
        assert_eq!(public_keys(json!({"keys": [private, secret]}).to_string().as_bytes()), None);
    }

    #[test]
    fn what_is_no_key_set_or_too_large_is_refused() {
        for bad in ["", "<html>", "[]", r#"{"keys": 7}"#, r#"{"keys": []}"#, r#"{"keys": ["key"]}"#] {
            assert_eq!(public_keys(bad.as_bytes()), None, "{bad}");
        }
        let large = json!({"keys": [{"kty": "RSA", "n": "A".repeat(LARGEST_SET), "e": "AQAB"}]});
        assert_eq!(public_keys(large.to_string().as_bytes()), None);
    }
}
