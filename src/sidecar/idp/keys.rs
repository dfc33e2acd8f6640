//! An issuer's published key set (RFC 7517): which of its keys may be used, and which of them are still in force. Pure.
//! A key that cannot be used is skipped, never fatal; a set without any usable key is no set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde_json::Value;

use crate::jose::{Algorithm, PublicKey};

/// Okta publishes two or three; more than this many helps only who wants us to check signatures all day.
const MOST_KEYS: usize = 32;

/// The longest `kid` that is looked at, in a set or in a token; Okta's have 43 characters.
pub(crate) const LONGEST_KID: usize = 256;

/// A public key that verifies signatures of one issuer.
///
/// The signature check is aws-lc-rs on a key parsed once, not jsonwebtoken: that parses the header again in its own
/// way (duplicate members pass) and costs 21 us where this costs 15.5 us for RS256.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    public: PublicKey,
    retired: AtomicBool,
}

impl Key {
    fn of(jwk: &Value, algorithms: &[Algorithm]) -> Option<Self> {
        let jwk = jwk.as_object()?;
        let kid = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(kid) => Some(kid.as_str().filter(|kid| kid.len() <= LONGEST_KID)?.into()),
        };
        let public = PublicKey::from_jwk(jwk, algorithms).ok()?;
        Some(Self { kid, public, retired: AtomicBool::new(false) })
    }

    /// What verifies.
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// False once the key has left the issuer's set: what it verified before counts no more.
    pub(crate) fn is_in_force(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    fn equals(&self, other: &Self) -> bool {
        self.kid == other.kid && self.public.equals(&other.public)
    }
}

/// The usable keys of an issuer's current set; empty before the first load.
#[derive(Default)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWKS for tokens signed with one of `algorithms`.
    pub(crate) fn parse(body: &[u8], algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(body).map_err(|_| "the key set is not a JWKS")?;
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for key in document.keys.iter().filter_map(|jwk| Key::of(jwk, algorithms)).take(MOST_KEYS) {
            if !keys.iter().any(|held| held.equals(&key)) {
                keys.push(Arc::new(key));
            }
        }
        if keys.is_empty() { Err("the key set holds no usable signing key") } else { Ok(Self { keys }) }
    }

    /// The same set as the one after `held`, whose keys stay the same objects where they stay, so that decisions made with
    /// them hold.
    pub(crate) fn following(mut self, held: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = held.keys.iter().find(|held| held.is_in_force() && held.equals(key)) {
                *key = Arc::clone(same);
            }
        }
        self
    }

    /// The keys that may have made a token's signature: all with this `kid` (an ambiguous `kid` is tried in full), or
    /// every key for a token without one.
    pub(crate) fn candidates<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Key>> {
        self.keys.iter().filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
    }

    /// Takes out of force every key that `next` does not hold.
    pub(crate) fn retire_all_but(&self, next: &Self) {
        for key in &self.keys {
            if !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.retire();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The ids, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.keys.iter().filter_map(|key| key.kid.as_deref().map(str::to_owned)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::testkit::RsaKey;
    use crate::testkit::keys::KeyPair;

    const RS256: [Algorithm; 1] = [Algorithm::Rs256];

    fn parse(document: &Value) -> Result<KeySet, &'static str> {
        KeySet::parse(document.to_string().as_bytes(), &RS256)
    }

    fn verifies(key: &Key, signature: &[u8]) -> bool {
        key.public().verifies(Algorithm::Rs256, b"message", signature)
    }

    #[test]
    fn one_bad_key_never_spoils_the_set() {
        let good = RsaKey::first().jwk("good");
        let with = |change: &dyn Fn(&mut Value)| {
            let mut bad = RsaKey::second().jwk("bad");
            change(&mut bad);
            bad
        };
        let bad_keys = [
            ("encryption", with(&|key| key["use"] = json!("enc"))),
            ("no verify", with(&|key| key["key_ops"] = json!(["sign"]))),
            ("RS512", with(&|key| key["alg"] = json!("RS512"))),
            ("PS256", with(&|key| key["alg"] = json!("PS256"))),
            ("unknown kty", with(&|key| key["kty"] = json!("EC"))),
            ("secret", json!({"kty": "oct", "kid": "bad", "k": "AAAA"})),
            ("short", with(&|key| key["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 255])))),
            ("2047 bits", with(&|key| key["n"] = json!(URL_SAFE_NO_PAD.encode([0x7f; 256])))),
            ("even modulus", with(&|key| key["n"] = json!(URL_SAFE_NO_PAD.encode([0xfe; 256])))),
            ("huge", with(&|key| key["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 1025])))),
            ("e = 1", with(&|key| key["e"] = json!("AQ"))),
            ("e = 0", with(&|key| key["e"] = json!("AA"))),
            ("e even", with(&|key| key["e"] = json!("AQAA"))),
            ("e too long", with(&|key| key["e"] = json!(URL_SAFE_NO_PAD.encode([1; 32])))),
            ("padded n", with(&|key| key["n"] = json!(format!("{}==", key["n"].as_str().unwrap())))),
            ("no n", with(&|key| key["n"] = Value::Null)),
            ("kid a number", with(&|key| key["kid"] = json!(7))),
            ("kid endless", with(&|key| key["kid"] = json!("k".repeat(LONGEST_KID + 1)))),
            ("private part published", with(&|key| key["d"] = json!("AQAB"))),
            ("no object", json!("key")),
        ];
        for (name, bad) in bad_keys {
            let set = parse(&json!({"keys": [bad, good]})).unwrap();
            assert_eq!(set.ids(), ["good"], "{name}");
            assert!(parse(&json!({"keys": [bad]})).is_err(), "{name} alone is a failed fetch");
        }
    }

    #[test]
    fn what_is_not_a_key_set_is_refused() {
        for document in [json!([]), json!({}), json!({"keys": {}}), json!({"keys": []}), json!("keys")] {
            assert!(parse(&document).is_err(), "{document}");
        }
        assert!(KeySet::parse(b"<html>", &RS256).is_err());
    }

    #[test]
    fn an_ambiguous_kid_is_tried_in_full() {
        let set = parse(&json!({"keys": [RsaKey::first().jwk("same"), RsaKey::second().jwk("same")]})).unwrap();
        let signature = RsaKey::second().sign(b"message");
        assert!(set.candidates(Some("same")).any(|key| verifies(key, &signature)));
        assert_eq!(set.candidates(Some("other")).count(), 0);
        assert_eq!(set.candidates(None).count(), 2);
    }

    #[test]
    fn keys_of_other_kinds_under_one_kid_are_tried_for_their_own_algorithms() {
        let kinds = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
        let keys: Vec<_> = kinds.iter().map(|kind| KeyPair::shared(*kind).jwk("same")).collect();
        let body = json!({"keys": keys}).to_string();
        let set = KeySet::parse(body.as_bytes(), &kinds).unwrap();
        for kind in kinds {
            let signature = KeyPair::shared(kind).sign(kind, b"message");
            let signers = |algorithm| {
                let candidates = set.candidates(Some("same"));
                candidates.filter(|key| key.public().verifies(algorithm, b"message", &signature)).count()
            };
            assert_eq!(kinds.map(signers), kinds.map(|other| usize::from(other == kind)), "{kind:?}");
        }
        let unlisted = KeySet::parse(body.as_bytes(), &[Algorithm::EdDsa]).unwrap();
        assert_eq!(unlisted.len(), 1, "keys that serve no algorithm of the issuer's are not kept");
    }

    #[test]
    fn a_leading_zero_octet_is_no_obstacle() {
        let mut jwk = RsaKey::first().jwk("zero");
        let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        jwk["n"] = json!(URL_SAFE_NO_PAD.encode([&[0], modulus.as_slice()].concat()));
        let set = parse(&json!({"keys": [jwk]})).unwrap();
        let signature = RsaKey::first().sign(b"message");
        assert!(set.candidates(None).all(|key| verifies(key, &signature)));
    }

    #[test]
    fn a_set_is_capped() {
        let keys: Vec<_> = (0..100).map(|nth| RsaKey::first().jwk(&format!("k{nth}"))).collect();
        assert_eq!(parse(&json!({"keys": keys})).unwrap().len(), MOST_KEYS);
    }

    #[test]
    fn a_key_that_stays_is_the_same_object_and_one_that_left_is_retired() {
        let (first, second) = (RsaKey::first().jwk("first"), RsaKey::second().jwk("second"));
        let old = parse(&json!({"keys": [first, second]})).unwrap();
        let new = parse(&json!({"keys": [second]})).unwrap().following(&old);
        old.retire_all_but(&new);
        let in_force = |kid| old.candidates(Some(kid)).all(|key| key.is_in_force());
        assert!(!in_force("first"));
        assert!(in_force("second"));
    }

    #[test]
    fn the_same_key_for_another_algorithm_is_another_key() {
        let both = [Algorithm::Rs256, Algorithm::Ps256];
        let set = |alg: &str, previous: &KeySet| {
            let mut jwk = RsaKey::first().jwk("kid");
            jwk["alg"] = json!(alg);
            KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), &both).unwrap().following(previous)
        };
        let old = set("RS256", &KeySet::default());
        old.retire_all_but(&set("RS256", &old));
        assert!(old.candidates(None).all(|key| key.is_in_force()));
        old.retire_all_but(&set("PS256", &old));
        assert!(old.candidates(None).all(|key| !key.is_in_force()));
    }

    #[test]
    fn the_same_id_with_another_modulus_is_another_key() {
        let old = parse(&json!({"keys": [RsaKey::first().jwk("kid")]})).unwrap();
        let replaced = json!({"keys": [RsaKey::second().jwk("kid")]});
        let new = parse(&replaced).unwrap().following(&old);
        old.retire_all_but(&new);
        assert!(old.candidates(None).all(|key| !key.is_in_force()));
    }
}
