//! Entries for fuzzing what an issuer sends, or whoever stands in its place: its key set, its metadata, its answer
//! about a token.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use reqwest::Url;
use serde_json::Value;

use super::discovery::{Metadata, Needs};
use super::http::Reply;
use super::introspection::read;
use super::keys::KeySet;
use crate::jose::{Algorithm, PublicKey};

const ISSUER: &str = "https://acme.okta.test/oauth2/default";

/// A key set. Whatever is in it, the keys that come out are public, strong, few, and stay the same when the set is read
/// again.
pub fn jwks(data: &[u8]) {
    let Ok(set) = KeySet::parse(data, &Algorithm::ALL) else { return };
    assert!((1..=32).contains(&set.len()));
    // Members beside the keys may hold what other readers refuse.
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let entries = document["keys"].as_array().expect("keys are a list");
    let sound: HashSet<[u8; 32]> = entries.iter().filter(|entry| is_sound(entry)).filter_map(thumbprint).collect();
    for key in set.candidates(None) {
        assert!(sound.contains(&key.public().thumbprint()), "a key that must not verify");
        assert!(key.is_in_force());
        assert!(!key.public().verifies(Algorithm::Rs256, b"message", b"signature"));
    }
    let again = KeySet::parse(data, &Algorithm::ALL).expect("what was read can be read again").following(&set);
    let same = set.candidates(None).zip(again.candidates(None)).all(|(a, b)| Arc::ptr_eq(a, b));
    assert!(same && again.len() == set.len(), "the same set holds other keys");
    // Okta's tokens are checked with RSA alone: other keys in the set must then be none.
    if let Ok(rsa) = KeySet::parse(data, &[Algorithm::Rs256]) {
        assert!(rsa.len() <= set.len());
    }
}

/// By rules written anew: public, made for signatures, and an RSA modulus of 2048 bits at least.
fn is_sound(entry: &Value) -> bool {
    let octets =
        |name: &str| entry[name].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
    let modulus: Vec<u8> = octets("n").into_iter().skip_while(|byte| *byte == 0).collect();
    let strong = match entry["kty"].as_str() {
        Some("RSA") => modulus.len() > 256 || (modulus.len() == 256 && modulus[0] & 0x80 != 0),
        Some("EC") => octets("x").len() >= 32 && octets("x").len() == octets("y").len(),
        Some("OKP") => octets("x").len() == 32,
        _ => false,
    };
    let public = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().all(|name| entry[name].is_null());
    strong && public && (entry["use"].is_null() || entry["use"] == "sig")
}

fn thumbprint(entry: &Value) -> Option<[u8; 32]> {
    PublicKey::from_jwk(entry.as_object()?, &Algorithm::ALL).ok().map(|key| key.thumbprint())
}

/// A metadata document. One that is used names exactly our issuer, and its endpoints are https without secrets in them.
pub fn metadata(data: &[u8]) {
    let needs = Needs { keys: true, tokens: false, introspection: false };
    let Ok(metadata) = Metadata::default().completed_by(data, ISSUER, needs, false) else { return };
    // Members that nobody needs may hold what other readers refuse.
    if let Ok(document) = serde_json::from_slice::<Value>(data) {
        assert_eq!(document["issuer"], ISSUER);
    }
    let Metadata { jwks_uri, token_endpoint, introspection_endpoint } = metadata;
    assert!(jwks_uri.is_some(), "the policy needs it");
    for url in [jwks_uri, token_endpoint, introspection_endpoint].into_iter().flatten() {
        assert_eq!(url.scheme(), "https");
        assert!(url.host_str().is_some_and(|host| !host.is_empty()), "{url}");
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{url}");
        assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url), "it reads differently when it is written");
    }
}

/// An answer about a token: active only by the one boolean, and never in another status than 200.
pub fn introspection(data: &[u8]) {
    let reply = |status| Reply { status, cache_control: None, body: Bytes::copy_from_slice(data) };
    if let Ok(Some(members)) = read(&reply(StatusCode::OK)) {
        let document: Value = serde_json::from_slice(data).expect("any reader reads it");
        assert_eq!(document["active"], Value::Bool(true));
        assert_eq!(Value::Object(members), document, "two readers, two answers");
    }
    for status in [StatusCode::NO_CONTENT, StatusCode::FOUND, StatusCode::UNAUTHORIZED, StatusCode::BAD_GATEWAY] {
        assert!(read(&reply(status)).is_err());
    }
}
