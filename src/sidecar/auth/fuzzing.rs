//! Entries for fuzzing what a caller sends: its `Authorization` header, a signed token, the claims in it, a DPoP proof.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use tollgate_contract::{DpopMode, IssuerConfig, TokenProfile};

use super::Presented;
use super::claims::{Claims, Kept, Rules};
use super::credentials::{Credentials, Scheme};
use super::dpop::{Dpop, Sent};
use super::jwt::{Jws, Shape};
use crate::external::ExternalUrls;
use crate::identity::{Binding, Identity, Thumbprint};
use crate::idp::TokenDigest;
use crate::jose::{Algorithm, json};

const NOW: u64 = 1_800_000_000;
const AUDIENCE: &str = "api://default";
/// The thumbprint of the key that made the corpus' good proof.
const HOLDER: &str = "hMGsbjEKfez21HXcQfeS8j4QQV-qfV96YDuUZqAh2aE";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Each line is one header's value. What is taken is in the one header there is, whole, and a `b64token` of bounded
/// length.
pub fn authorization(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(3) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(AUTHORIZATION, value);
        }
    }
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let presented = Presented {
        method: &Method::GET,
        path: "/",
        query: None,
        headers: &headers,
        from,
        certificate: None,
        may_be_subprotocol: false,
    };
    let Ok(credentials) = Credentials::of(&presented) else { return };
    assert_eq!(headers.len(), 1, "two credentials are none");
    assert_eq!(Scheme::attempted(&headers), Some(credentials.scheme()));
    let Ok(token) = credentials.token() else { return };
    assert!((1..=16 * 1024).contains(&token.len()));
    let of_a_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    assert!(token.chars().all(of_a_token), "{token:?}");
    assert!(!token.trim_end_matches('=').contains('='), "padding within: {token:?}");
    let word = match credentials.scheme() {
        Scheme::Bearer => "bearer",
        Scheme::Dpop => "dpop",
    };
    let value = headers[AUTHORIZATION].as_bytes();
    let rest = value.strip_suffix(token.as_bytes()).expect("the token ends the header");
    let rest = std::str::from_utf8(rest).expect("scheme and spaces are ASCII");
    assert_eq!(rest.trim_end_matches(' ').to_ascii_lowercase(), word);
    assert!(rest.ends_with(' '));
}

/// A token. One that is read is exactly three parts, each in its one spelling, with a header and claims that any JSON
/// reader reads alike, and an algorithm that was allowed.
pub fn jws(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    let Ok(jws) = Jws::parse(token) else { return };
    assert_eq!(Shape::of(token), Shape::Signed);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { panic!("{} parts", parts.len()) };
    for part in [header, claims, signature] {
        let decoded = URL_SAFE_NO_PAD.decode(part).expect("each part is base64url");
        assert!(!decoded.is_empty());
        assert_eq!(URL_SAFE_NO_PAD.encode(decoded), **part, "another spelling of the same bytes");
    }
    let object = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("any reader reads it")
    };
    let (header, claims) = (object(header), object(claims));
    assert!(header.is_object() && claims.is_object());
    for allowed in [&[Algorithm::Rs256][..], &Algorithm::ALL] {
        for profile in [TokenProfile::Okta, TokenProfile::Rfc9068] {
            let Ok(algorithm) = jws.check_header(allowed, profile) else { continue };
            assert!(allowed.contains(&algorithm));
            assert_eq!(header["alg"], algorithm.as_str());
            assert!(["crit", "b64", "zip"].iter().all(|name| header.get(name).is_none()));
            assert!(header["kid"].is_null() || header["kid"].as_str().is_some_and(|kid| kid.len() <= 256));
            assert!(profile == TokenProfile::Okta || header["typ"].is_string());
        }
    }
    assert!(jws.algorithm(&[]).is_err());
}

/// Claims, or the members of an introspection answer. What passes is for us, in time, an access token, the same when it
/// is written anew, and fit for headers.
pub fn claims(data: &[u8]) {
    let Some(members) = json::object(data) else { return };
    if members.values().all(is_exact) {
        let anew = json::object(Value::Object(members.clone()).to_string().as_bytes());
        assert_eq!(anew.as_ref(), Some(&members), "it reads differently when it is written");
    }
    let audiences = [AUDIENCE.to_owned()];
    let kept = Kept { whole: true, ..Kept::default() };
    for (profile, okta) in [(TokenProfile::Okta, true), (TokenProfile::Rfc9068, false)] {
        let rules = Rules {
            audiences: &audiences,
            clock_skew: Duration::from_secs(60),
            max_lifetime: Duration::from_secs(86_400),
            profile,
            own_client: Some("own".into()),
            okta,
            kept: &kept,
        };
        let claims = Claims::new(members.clone());
        let certainly_bad = claims.refuse_certainly_bad(&rules, now()).is_err();
        let token = claims.judge_token(&rules, now());
        let answer = claims.judge_answer("https://acme.okta.test/oauth2/default", None, &rules, now());
        assert!(!certainly_bad || token.is_err(), "certainly bad, and accepted");
        for facts in [token, answer].into_iter().flatten() {
            let exp = members["exp"].as_f64().expect("exp is a number");
            assert!((NOW as f64) < exp + 60.0, "expired");
            for name in ["nbf", "iat"] {
                assert!(
                    members.get(name).is_none_or(|time| time.as_f64().is_some_and(|time| time <= NOW as f64 + 60.0))
                );
            }
            let named = |aud: &str| {
                members["aud"] == aud || members["aud"].as_array().is_some_and(|all| all.iter().any(|one| one == aud))
            };
            assert!(named(AUDIENCE) && !named("own"));
            assert!(["nonce", "at_hash", "c_hash", "s_hash"].iter().all(|name| !members.contains_key(*name)));
            assert!(
                members.get("jti").is_none_or(|jti| jti
                    .as_str()
                    .is_some_and(|jti| !jti.starts_with("ID.") && !jti.starts_with("RT.")))
            );
            let Ok(identity) = facts.into_identity(&"okta".into(), &HeaderValue::from_static("https://acme.okta.test"))
            else {
                continue;
            };
            let header =
                |value: &Option<HeaderValue>| value.as_ref().map(|value| value.to_str().expect("printable").to_owned());
            assert_eq!(header(&identity.headers.subject).as_deref(), members.get("sub").and_then(Value::as_str));
            let scopes = header(&identity.headers.scopes);
            assert!(scopes.is_none_or(|scopes| scopes.split(' ').all(|scope| identity.has_scope(scope))));
            assert_eq!(identity.claims.as_deref(), Some(&members));
        }
    }
}

/// Fractions are read to the last digit but one.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// A DPoP proof, beside a token that is bound to [`HOLDER`]. One that passes is signed by the holder, for this request
/// and this token, now; and never passes twice.
pub fn dpop(data: &[u8]) {
    const URL: &str = "https://api.acme.test/items";
    let issuer =
        IssuerConfig { dpop: DpopMode::Accept, ..IssuerConfig::new("okta", "https://acme.okta.test", Vec::new()) };
    let urls = ExternalUrls::parse(&["https://api.acme.test".to_owned()], false).expect("a sound URL");
    let dpop = Dpop::new(&[issuer], &urls, 16);
    let Ok(proof) = HeaderValue::from_bytes(data) else { return };
    let headers = HeaderMap::from_iter([(HeaderName::from_static("dpop"), proof)]);
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let presented = Presented {
        method: &Method::GET,
        path: "/items",
        query: None,
        headers: &headers,
        from,
        certificate: None,
        may_be_subprotocol: false,
    };
    let sent = Sent { scheme: Scheme::Dpop, token: TokenDigest::of(b"token"), presented, now: now() };
    let identity = |bound_to: &str| Identity {
        expires_at: NOW + 600,
        bound_to: Thumbprint::parse(bound_to).map(Binding::Key),
        ..Identity::blank()
    };
    assert!(dpop.check(&identity("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), &sent).is_err(), "nobody's key");
    if dpop.check(&identity(HOLDER), &sent).is_err() {
        return;
    }
    assert!(dpop.check(&identity(HOLDER), &sent).is_err(), "a proof passed twice");
    let part = |nth: usize| -> Value {
        let part =
            std::str::from_utf8(data).expect("a proof is ASCII").split('.').nth(nth).expect("a proof has three parts");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("any reader reads it")
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!(header["typ"], "dpop+jwt");
    assert!(header["jwk"]["d"].is_null() && header["jwk"]["k"].is_null());
    assert_eq!((&claims["htm"], &claims["htu"]), (&Value::from("GET"), &Value::from(URL)));
    assert_eq!(claims["ath"], URL_SAFE_NO_PAD.encode(TokenDigest::of(b"token").octets()));
    assert!(claims["iat"].as_f64().is_some_and(|iat| (iat - NOW as f64).abs() <= 120.0));
    assert!(claims["jti"].as_str().is_some_and(|jti| !jti.is_empty()));
}
