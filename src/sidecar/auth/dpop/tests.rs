//! Every check of RFC 9449 section 4.3 refuses what fails it, and nothing that it allows.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tollgate_contract::Algorithm;

use super::*;
use crate::testkit::compact;
use crate::testkit::keys::KeyPair;
use crate::testkit::proof::{Proof, thumbprint};

const NOW: u64 = 1_800_000_000;
const TOKEN: &[u8] = b"a.good.token";

/// A good proof by the shared key of this algorithm.
fn by(algorithm: Algorithm) -> Proof {
    let token = std::str::from_utf8(TOKEN).unwrap();
    Proof::of(KeyPair::shared(algorithm), "https://api.acme.test/items", token, NOW).claim("jti", json!("proof-1"))
}

fn good() -> Proof {
    by(Algorithm::Es256)
}

fn dpop(change: impl FnOnce(&mut IssuerConfig)) -> Dpop {
    let mut issuer =
        IssuerConfig::new("okta", "https://acme.okta.test/oauth2/default", vec!["api://default".to_owned()]);
    issuer.dpop = DpopMode::Accept;
    change(&mut issuer);
    let urls = ExternalUrls::parse(&["https://api.acme.test".to_owned()], false).unwrap();
    Dpop::new(&[issuer], &urls, 1 << 10)
}

fn identity(bound_to: Option<&KeyPair>) -> Identity {
    let bound_to = bound_to.and_then(|key| Thumbprint::parse(&thumbprint(key))).map(Binding::Key);
    Identity { expires_at: NOW + 600, bound_to, ..Identity::blank() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn send_at(
    dpop: &Dpop,
    identity: &Identity,
    scheme: Scheme,
    proofs: &[&str],
    now: u64,
) -> Result<Option<HeaderValue>, Rejection> {
    let mut headers = HeaderMap::new();
    for proof in proofs {
        headers.append("dpop", HeaderValue::from_bytes(proof.as_bytes()).unwrap());
    }
    let presented = Presented {
        method: &Method::GET,
        path: "/items",
        query: None,
        headers: &headers,
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
        may_be_subprotocol: false,
    };
    dpop.check(identity, &Sent { scheme, token: TokenDigest::of(TOKEN), presented, now: at(now) })
}

/// A token bound to the shared ES256 key, with this proof.
fn prove(dpop: &Dpop, proof: &str) -> Result<Option<HeaderValue>, Rejection> {
    send_at(dpop, &identity(Some(KeyPair::shared(Algorithm::Es256))), Scheme::Dpop, &[proof], NOW)
}

#[test]
fn a_good_proof_of_every_algorithm_passes() {
    for algorithm in Algorithm::ALL {
        let identity = identity(Some(KeyPair::shared(algorithm)));
        let proof = by(algorithm).text();
        assert_eq!(send_at(&dpop(|_| {}), &identity, Scheme::Dpop, &[&proof], NOW), Ok(None), "{algorithm:?}");
    }
}

#[test]
fn forms_that_rfc_9449_allows_pass() {
    for (name, proof) in [
        ("a query in htu", good().claim("htu", json!("https://api.acme.test/items?page=2"))),
        ("capitals in htu's host", good().claim("htu", json!("https://API.acme.test:443/items"))),
        ("a fraction of a second", good().claim("iat", json!(NOW as f64 + 0.25))),
        ("a nonce that nobody asked for", good().claim("nonce", json!("anything"))),
        ("claims of the client's own", good().claim("exp", json!(1)).claim("x", json!({"a": []}))),
        (
            "a key id and a URL, which nobody looks at",
            good().header("kid", json!("k")).header("jku", json!("https://x")),
        ),
        ("a jti of 256 characters", good().claim("jti", json!("j".repeat(256)))),
        ("a minute and the skew old", good().claim("iat", json!(NOW - 120))),
        ("a minute and the skew ahead", good().claim("iat", json!(NOW + 120))),
    ] {
        assert_eq!(prove(&dpop(|_| {}), &proof.text()), Ok(None), "{name}");
    }
}

#[test]
fn each_check_of_a_proof_refuses_what_fails_it() {
    let other: &KeyPair = Box::leak(Box::new(KeyPair::generate(Algorithm::Es256)));
    let text = good().text();
    let (input, _) = text.rsplit_once('.').unwrap();
    let private = {
        let mut jwk = KeyPair::shared(Algorithm::Es256).public();
        jwk["d"] = json!("AAAA");
        jwk
    };
    let with_jwk = |name: &str, value: Value| {
        let mut jwk = KeyPair::shared(Algorithm::Es256).public();
        jwk[name] = value;
        good().header("jwk", jwk).text()
    };
    let hmac = good().header("alg", json!("HS256")).header("jwk", json!({"kty": "oct", "k": "AAAA"})).text();
    let unsigned = good().header("alg", json!("none")).unsigned();
    let twice = good().over(&compact::text(&good().claims).replacen('{', r#"{"htm":"POST","#, 1));
    let cases = [
        // 1: the header
        ("nothing", String::new(), Fault::Form),
        ("no JWT", "proof".into(), Fault::Form),
        ("two proofs in one header", format!("{text}, {text}"), Fault::Form),
        ("9 KiB", good().claim("x", json!("x".repeat(9_000))).text(), Fault::Unreadable),
        ("no ASCII", "pröf".into(), Fault::Unreadable),
        // 2: a JWS
        ("no signature", format!("{input}."), Fault::Form),
        ("a JWE", "a.b.c.d.e".into(), Fault::Form),
        ("crit", good().header("crit", json!(["x"])).text(), Fault::Form),
        ("b64", good().header("b64", json!(false)).text(), Fault::Form),
        // 4: the type
        ("no typ", good().header("typ", Value::Null).text(), Fault::Type),
        ("typ JWT", good().header("typ", json!("JWT")).text(), Fault::Type),
        ("typ at+jwt", good().header("typ", json!("at+jwt")).text(), Fault::Type),
        ("typ in capitals", good().header("typ", json!("DPOP+JWT")).text(), Fault::Type),
        ("typ a list", good().header("typ", json!(["dpop+jwt"])).text(), Fault::Type),
        // 5: the algorithm
        ("no alg", good().header("alg", Value::Null).text(), Fault::Algorithm),
        ("alg none", good().header("alg", json!("none")).text(), Fault::Algorithm),
        ("alg none without a signature", unsigned, Fault::Form),
        ("alg HS256", hmac, Fault::Algorithm),
        ("alg RSA-OAEP", good().header("alg", json!("RSA-OAEP")).text(), Fault::Algorithm),
        ("alg ES256K", good().header("alg", json!("ES256K")).text(), Fault::Algorithm),
        ("alg in small letters", good().header("alg", json!("es256")).text(), Fault::Algorithm),
        // 7: the key
        ("no jwk", good().header("jwk", Value::Null).text(), Fault::NoKey),
        ("a key id instead", good().header("jwk", Value::Null).header("kid", json!("k")).text(), Fault::NoKey),
        ("jwk a string", good().header("jwk", json!("{}")).text(), Fault::NoKey),
        ("a private key", good().header("jwk", private).text(), Fault::PrivateKey),
        ("an empty jwk", good().header("jwk", json!({})).text(), Fault::UnfitKey),
        ("a symmetric jwk", good().header("jwk", json!({"kty": "oct", "k": "AAAA"})).text(), Fault::PrivateKey),
        ("an RSA key", good().header("jwk", KeyPair::shared(Algorithm::Rs256).public()).text(), Fault::UnfitKey),
        ("another curve", good().header("jwk", KeyPair::shared(Algorithm::Es384).public()).text(), Fault::UnfitKey),
        ("a point off the curve", with_jwk("y", json!(URL_SAFE_NO_PAD.encode([1; 32]))), Fault::UnfitKey),
        ("a key for encryption", with_jwk("use", json!("enc")), Fault::UnfitKey),
        ("a key for another algorithm", with_jwk("alg", json!("ES384")), Fault::UnfitKey),
        // 3: the claims
        ("claims that are no object", good().over("[]"), Fault::Claims),
        ("claims that are no JSON", good().over("htm=GET"), Fault::Claims),
        ("a claim twice", twice, Fault::Claims),
        ("no htm", good().claim("htm", Value::Null).text(), Fault::Claims),
        ("htm a list", good().claim("htm", json!(["GET"])).text(), Fault::Claims),
        ("no htu", good().claim("htu", Value::Null).text(), Fault::Claims),
        ("htu a number", good().claim("htu", json!(1)).text(), Fault::Claims),
        ("no iat", good().claim("iat", Value::Null).text(), Fault::Claims),
        ("iat a string", good().claim("iat", json!(NOW.to_string())).text(), Fault::Claims),
        ("no jti", good().claim("jti", Value::Null).text(), Fault::Claims),
        ("jti a number", good().claim("jti", json!(1)).text(), Fault::Claims),
        ("jti empty", good().claim("jti", json!("")).text(), Fault::Claims),
        ("jti endless", good().claim("jti", json!("j".repeat(257))).text(), Fault::Claims),
        ("no ath", good().claim("ath", Value::Null).text(), Fault::Claims),
        ("nonce a number", good().claim("nonce", json!(1)).text(), Fault::Claims),
        // 8 and 9: the request
        ("another method", good().claim("htm", json!("POST")).text(), Fault::Method),
        ("the method in small letters", good().claim("htm", json!("get")).text(), Fault::Method),
        ("another path", good().claim("htu", json!("https://api.acme.test/other")).text(), Fault::Url),
        ("another host", good().claim("htu", json!("https://evil.example/items")).text(), Fault::Url),
        ("another scheme", good().claim("htu", json!("http://api.acme.test/items")).text(), Fault::Url),
        ("a path alone", good().claim("htu", json!("/items")).text(), Fault::Url),
        // 11: the time
        ("too old", good().claim("iat", json!(NOW - 121)).text(), Fault::Time),
        ("too far ahead", good().claim("iat", json!(NOW + 121)).text(), Fault::Time),
        ("iat in milliseconds", good().claim("iat", json!(NOW * 1000)).text(), Fault::Time),
        ("iat before 1970", good().claim("iat", json!(-1)).text(), Fault::Time),
        ("iat beyond integers", good().claim("iat", json!(1e300)).text(), Fault::Time),
        // 12: the token and its key
        ("another token's hash", good().claim("ath", json!("A".repeat(43))).text(), Fault::TokenHash),
        (
            "the hash with padding",
            good().claim("ath", json!(format!("{}=", good().claims["ath"].as_str().unwrap()))).text(),
            Fault::TokenHash,
        ),
        ("an empty hash", good().claim("ath", json!("")).text(), Fault::TokenHash),
        ("a thief's own key", good().header("jwk", other.public()).signed_by(other).text(), Fault::OtherKey),
        ("a thief's own key of another kind", by(Algorithm::EdDsa).text(), Fault::OtherKey),
        // 6: the signature
        ("a thief's signature under the victim's key", good().signed_by(other).text(), Fault::Signature),
        ("one letter of the claims", good().forged("jti", json!("proof-2")), Fault::Signature),
        ("half of the signature", text[..text.len() - 46].to_owned(), Fault::Signature),
    ];
    for (name, proof, fault) in cases {
        assert_eq!(prove(&dpop(|_| {}), &proof), Err(fault.rejection()), "{name}");
    }
}

#[test]
fn one_proof_must_come_and_only_one() {
    let (dpop, identity) = (dpop(|_| {}), identity(Some(KeyPair::shared(Algorithm::Es256))));
    let (proof, other) = (good().text(), good().claim("jti", json!("proof-2")).text());
    let send = |proofs: &[&str]| send_at(&dpop, &identity, Scheme::Dpop, proofs, NOW);
    assert_eq!(send(&[]), Err(Fault::Missing.rejection()));
    assert_eq!(send(&[&proof, &other]), Err(Fault::Repeated.rejection()));
    assert_eq!(send(&[&proof, &proof]), Err(Fault::Repeated.rejection()));
    assert_eq!(send(&[&proof]), Ok(None), "neither attempt used it up");
}

#[test]
fn the_scheme_must_fit_the_token_and_the_issuers_setting() {
    let key = KeyPair::shared(Algorithm::Es256);
    let proof = good().text();
    for (mode, scheme, bound, expected) in [
        (DpopMode::Refuse, Scheme::Bearer, false, None),
        (DpopMode::Refuse, Scheme::Bearer, true, Some(Fault::NotTaken)),
        (DpopMode::Refuse, Scheme::Dpop, false, Some(Fault::NotBound)),
        (DpopMode::Refuse, Scheme::Dpop, true, Some(Fault::NotTaken)),
        (DpopMode::Accept, Scheme::Bearer, false, None),
        (DpopMode::Accept, Scheme::Bearer, true, Some(Fault::SentAsBearer)),
        (DpopMode::Accept, Scheme::Dpop, false, Some(Fault::NotBound)),
        (DpopMode::Accept, Scheme::Dpop, true, None),
        (DpopMode::Require, Scheme::Bearer, false, Some(Fault::BoundOnly)),
        (DpopMode::Require, Scheme::Bearer, true, Some(Fault::SentAsBearer)),
        (DpopMode::Require, Scheme::Dpop, false, Some(Fault::NotBound)),
        (DpopMode::Require, Scheme::Dpop, true, None),
    ] {
        let dpop = dpop(|issuer| issuer.dpop = mode);
        let sent = send_at(&dpop, &identity(bound.then_some(key)), scheme, &[&proof], NOW);
        assert_eq!(sent, expected.map_or(Ok(None), |fault| Err(fault.rejection())), "{mode:?} {scheme:?} {bound}");
    }
}

#[test]
fn where_nobodys_bound_tokens_are_taken_the_scheme_is_refused_before_the_token_is_judged() {
    for (mode, refused) in [(DpopMode::Refuse, true), (DpopMode::Accept, false), (DpopMode::Require, false)] {
        let dpop = dpop(|issuer| issuer.dpop = mode);
        assert_eq!(dpop.check_scheme(Scheme::Dpop).is_err(), refused, "{mode:?}");
        assert_eq!(dpop.check_scheme(Scheme::Bearer), Ok(()), "{mode:?}");
    }
}

#[test]
fn a_token_of_no_known_issuer_is_refused() {
    let mut stranger = identity(None);
    stranger.issuer = "other".into();
    assert!(send_at(&dpop(|_| {}), &stranger, Scheme::Bearer, &[], NOW).is_err());
}

#[test]
fn a_proof_is_taken_once_for_as_long_as_it_counts() {
    let (dpop, identity) = (dpop(|_| {}), identity(Some(KeyPair::shared(Algorithm::Es256))));
    let send = |proof: &str, now| send_at(&dpop, &identity, Scheme::Dpop, &[proof], now);
    let proof = good().claim("iat", json!(NOW + 60)).text();
    assert_eq!(send(&proof, NOW), Ok(None));
    for later in [0, 1, 60, 179, 180] {
        assert_eq!(send(&proof, NOW + later), Err(Fault::Replayed.rejection()), "{later}");
    }
    assert_eq!(send(&proof, NOW + 181), Err(Fault::Time.rejection()));
    let made_anew = good().claim("iat", json!(NOW + 1)).text();
    assert_eq!(send(&made_anew, NOW), Err(Fault::Replayed.rejection()), "the same jti, signed again");
    assert_eq!(send(&good().claim("jti", json!("proof-2")).text(), NOW), Ok(None));
}

#[test]
fn a_proof_that_was_refused_is_not_used_up() {
    let (dpop, identity) = (dpop(|_| {}), identity(Some(KeyPair::shared(Algorithm::Es256))));
    let forged = good().forged("jti", json!("proof-2"));
    assert_eq!(prove(&dpop, &forged), Err(Fault::Signature.rejection()));
    let good = good().claim("jti", json!("proof-2")).text();
    assert_eq!(send_at(&dpop, &identity, Scheme::Dpop, &[&good], NOW), Ok(None));
}

#[test]
fn a_nonce_is_asked_for_then_taken_and_renewed_in_time() {
    let dpop = dpop(|issuer| issuer.dpop_nonce = DpopNonce::PerPod);
    let identity = identity(Some(KeyPair::shared(Algorithm::Es256)));
    let mut nth = 0;
    let mut send = |nonce: Option<&str>, now: u64| {
        nth += 1;
        let proof = good().claim("iat", json!(now)).claim("jti", json!(format!("proof-{nth}")));
        let proof = proof.claim("nonce", nonce.map_or(Value::Null, |nonce| json!(nonce))).text();
        send_at(&dpop, &identity, Scheme::Dpop, &[&proof], now)
    };
    let refused = send(None, NOW).unwrap_err();
    assert_eq!(refused.reason, Fault::Nonce.rejection().reason);
    let nonce = refused.dpop_nonce.unwrap().to_str().unwrap().to_owned();
    assert_eq!(send(Some("made up"), NOW).unwrap_err().reason, refused.reason);
    assert_eq!(send(Some(&nonce), NOW), Ok(None), "the newest is known already");
    assert_eq!(send(Some(&nonce), NOW + 1), Ok(None), "it is good for many proofs");
    let renewed = send(Some(&nonce), NOW + 300).unwrap().unwrap();
    assert_ne!(renewed, nonce.as_str());
    assert_eq!(send(Some(renewed.to_str().unwrap()), NOW + 300), Ok(None));
    assert!(send(Some(&nonce), NOW + 600).is_err(), "it is too old");
}

#[test]
fn a_nonce_excuses_from_no_other_check() {
    let dpop = dpop(|issuer| issuer.dpop_nonce = DpopNonce::PerPod);
    let nonce = dpop.nonces.current(at(NOW));
    let good = || good().claim("nonce", json!(nonce));
    assert_eq!(prove(&dpop, &good().claim("iat", json!(NOW - 121)).text()), Err(Fault::Time.rejection()));
    assert_eq!(prove(&dpop, &good().text()), Ok(None));
    assert_eq!(prove(&dpop, &good().text()), Err(Fault::Replayed.rejection()));
}
