//! An issuer's published keys (RFC 7517), parsed into what verifies signatures. Pure. A key that cannot be used is
//! skipped, never fatal; a set without any usable key is no set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// Okta publishes two or three; more than this many helps only who wants us to check signatures all day.
const MOST_KEYS: usize = 32;

/// The longest `kid` that is looked at, in a set or in a token; Okta's have 43 characters.
pub(crate) const LONGEST_KID: usize = 256;

/// A public key that verifies RS256 signatures of one issuer.
///
/// The signature check is aws-lc-rs on a key parsed once, not jsonwebtoken: that parses the header again in its own
/// way (duplicate members pass) and costs 21 us where this costs 15.5 us.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    fingerprint: [u8; 32],
    public: ParsedPublicKey,
    retired: AtomicBool,
}

impl Key {
    /// Whether `signature` is this key's RS256 signature of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }

    /// False once the key has left the issuer's set: what it verified before counts no more.
    pub(crate) fn is_in_force(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
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

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: String,
    e: String,
    d: Option<Value>,
}

impl KeySet {
    /// Reads a JWKS. Keys that `previous` already holds stay the same objects, so that decisions made with them hold.
    pub(crate) fn parse(body: &[u8], previous: &Self) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(body).map_err(|_| "the key set is not a JWKS")?;
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for key in document.keys.into_iter().filter_map(parse_key).take(MOST_KEYS) {
            if keys.iter().any(|held| held.fingerprint == key.fingerprint) {
                continue;
            }
            let held = previous.keys.iter().find(|held| held.fingerprint == key.fingerprint && held.is_in_force());
            keys.push(held.cloned().unwrap_or_else(|| Arc::new(key)));
        }
        if keys.is_empty() { Err("the key set holds no usable RSA signing key") } else { Ok(Self { keys }) }
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

fn parse_key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_deref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
        && jwk.alg.as_deref().is_none_or(|alg| alg == "RS256");
    // A published private part means that anybody can sign.
    if jwk.kty != "RSA" || !signs || jwk.d.is_some() {
        return None;
    }
    if jwk.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
        return None;
    }
    let modulus = unsigned(&jwk.n)?;
    let exponent = unsigned(&jwk.e)?;
    if !(2048..=8192).contains(&bits(&modulus)) || modulus.last()? & 1 == 0 {
        return None;
    }
    // Odd and at least 3; beyond 33 bits it only slows us down.
    if exponent.last()? & 1 == 0 || exponent.as_slice() == [1] || bits(&exponent) > 33 {
        return None;
    }
    let fingerprint = fingerprint(jwk.kid.as_deref(), &modulus, &exponent);
    let components = RsaPublicKeyComponents { n: modulus, e: exponent };
    let public = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
    Some(Key { kid: jwk.kid.map(Into::into), fingerprint, public, retired: AtomicBool::new(false) })
}

/// A Base64urlUInt (RFC 7518 section 2) without the leading zero octets that some servers add.
fn unsigned(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes.get(first..)?.to_vec())
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn fingerprint(kid: Option<&str>, modulus: &[u8], exponent: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [kid.unwrap_or_default().as_bytes(), modulus, exponent] {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;
    use serde_json::json;

    use super::*;
    use crate::testkit::RsaKey;

    fn parse(document: &Value) -> Result<KeySet, &'static str> {
        KeySet::parse(document.to_string().as_bytes(), &KeySet::default())
    }

    fn sign(key: &RsaKey, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
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
        assert!(KeySet::parse(b"<html>", &KeySet::default()).is_err());
    }

    #[test]
    fn an_ambiguous_kid_is_tried_in_full() {
        let set = parse(&json!({"keys": [RsaKey::first().jwk("same"), RsaKey::second().jwk("same")]})).unwrap();
        let signature = sign(RsaKey::second(), b"message");
        assert!(set.candidates(Some("same")).any(|key| key.verifies(b"message", &signature)));
        assert_eq!(set.candidates(Some("other")).count(), 0);
        assert_eq!(set.candidates(None).count(), 2);
    }

    #[test]
    fn a_leading_zero_octet_is_no_obstacle() {
        let mut jwk = RsaKey::first().jwk("zero");
        let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        jwk["n"] = json!(URL_SAFE_NO_PAD.encode([&[0], modulus.as_slice()].concat()));
        let set = parse(&json!({"keys": [jwk]})).unwrap();
        let signature = sign(RsaKey::first(), b"message");
        assert!(set.candidates(None).all(|key| key.verifies(b"message", &signature)));
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
        let new = KeySet::parse(json!({"keys": [second]}).to_string().as_bytes(), &old).unwrap();
        old.retire_all_but(&new);
        let in_force = |kid| old.candidates(Some(kid)).all(|key| key.is_in_force());
        assert!(!in_force("first"));
        assert!(in_force("second"));
    }

    #[test]
    fn the_same_id_with_another_modulus_is_another_key() {
        let old = parse(&json!({"keys": [RsaKey::first().jwk("kid")]})).unwrap();
        let replaced = json!({"keys": [RsaKey::second().jwk("kid")]});
        let new = KeySet::parse(replaced.to_string().as_bytes(), &old).unwrap();
        old.retire_all_but(&new);
        assert!(old.candidates(None).all(|key| !key.is_in_force()));
    }
}
