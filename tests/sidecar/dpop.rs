//! Tokens that are bound to a key (RFC 9449) through the whole sidecar: their holder gets in, a thief does not, and each
//! failure says what it is.

use http::Method;
use serde_json::{Value, json};
use tests::issuer::{Endpoint, FakeIssuer};
use tests::keys::KeyPair;
use tests::mint::{Token, epoch_seconds};
use tests::proof::{Proof, thumbprint};
use tollgate_contract::{Algorithm, DpopMode, DpopNonce, IssuerConfig, SidecarConfig, ValidationMode};
use tollgate_sidecar::Limits;

use crate::world::{Answer, World};

/// Names and values.
type Headers = Vec<(&'static str, String)>;

const API: &str = "https://api.acme.test";
const ITEMS: &str = "https://api.acme.test/items";

/// A sidecar that takes bound tokens.
async fn accepting(change: impl FnOnce(&mut IssuerConfig)) -> World {
    let issuer = FakeIssuer::start().await;
    let world = World::start(issuer, ValidationMode::Local, |config| reached(config, change)).await;
    world.await_ready().await;
    world
}

fn reached(config: &mut SidecarConfig, change: impl FnOnce(&mut IssuerConfig)) {
    config.external_urls = vec![API.into()];
    config.issuers[0].dpop = DpopMode::Accept;
    change(&mut config.issuers[0]);
}

fn bound(world: &World, key: &KeyPair) -> Token {
    world.issuer.token().claim("cnf", json!({"jkt": thumbprint(key)}))
}

fn proof(key: &'static KeyPair, token: &str) -> Proof {
    Proof::of(key, ITEMS, token, epoch_seconds())
}

fn holder() -> &'static KeyPair {
    KeyPair::shared(Algorithm::Es256)
}

/// `GET /items` with these headers.
async fn get(world: &World, headers: &[(&str, &str)]) -> Answer {
    world.send(Method::GET, "/items", headers).await
}

async fn prove(world: &World, token: &str, proof: &str) -> Answer {
    get(world, &[("authorization", &format!("DPoP {token}")), ("dpop", proof)]).await
}

#[tokio::test]
async fn the_holder_of_the_key_gets_in_whatever_kind_of_key_it_is() {
    let world = accepting(|_| {}).await;
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa] {
        let key = KeyPair::shared(algorithm);
        let token = bound(&world, key).signed();
        for _ in ["judged", "remembered"] {
            let answer = prove(&world, &token, &proof(key, &token).text()).await;
            assert_eq!((answer.status, &answer.body["subject"]), (200, &json!("0oaCaller")), "{algorithm:?}");
            assert_eq!(answer.header("dpop-nonce"), "");
        }
    }
    let unbound = world.issuer.token().signed();
    assert_eq!(world.get(&unbound).await.status, 200, "others go on as before");
}

#[tokio::test]
async fn each_failure_has_its_reason_and_its_challenge() {
    let world = accepting(|_| {}).await;
    let thief: &KeyPair = Box::leak(Box::new(KeyPair::generate(Algorithm::Es256)));
    let (token, unbound) = (bound(&world, holder()).signed(), world.issuer.token().signed());
    let (dpop, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
    let good = || proof(holder(), &token);
    let (now, hash) = (epoch_seconds(), "A".repeat(43));
    let expired = bound(&world, holder()).claim("exp", json!(now - 100)).signed();
    let two = [good().text(), good().text()];
    let table: [(&str, Headers, &str, &str); 6] = [
        ("as Bearer", vec![("authorization", bearer.clone())], "sender_mismatch", "Bearer invalid_token"),
        (
            "as Bearer with a proof",
            vec![("authorization", bearer), ("dpop", good().text())],
            "sender_mismatch",
            "Bearer invalid_token",
        ),
        (
            "an unbound token as DPoP",
            vec![("authorization", format!("DPoP {unbound}")), ("dpop", proof(holder(), &unbound).text())],
            "sender_mismatch",
            "DPoP invalid_token",
        ),
        (
            "an expired token",
            vec![("authorization", format!("DPoP {expired}")), ("dpop", proof(holder(), &expired).text())],
            "expired",
            "DPoP invalid_token",
        ),
        ("no proof", vec![("authorization", dpop.clone())], "dpop_missing", "DPoP invalid_dpop_proof"),
        (
            "two proofs",
            vec![("authorization", dpop.clone()), ("dpop", two[0].clone()), ("dpop", two[1].clone())],
            "dpop_invalid",
            "DPoP invalid_dpop_proof",
        ),
    ];
    for (name, headers, reason, challenge) in table {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = get(&world, &headers).await;
        assert_eq!((answer.verdict(), challenge_of(&answer).as_str()), ((401, reason), challenge), "{name}");
    }
    let invalid = ("dpop_invalid", "DPoP invalid_dpop_proof");
    for (name, proof, (reason, challenge)) in [
        ("no JWT", "proof".to_owned(), invalid),
        ("typ JWT", good().header("typ", json!("JWT")).text(), invalid),
        ("alg none", good().header("alg", json!("none")).unsigned(), invalid),
        ("no key", good().header("jwk", Value::Null).text(), invalid),
        ("a private key", good().header("jwk", private(holder())).text(), invalid),
        ("another kind of key", good().header("jwk", KeyPair::shared(Algorithm::Rs256).public()).text(), invalid),
        ("another method", good().claim("htm", json!("POST")).text(), invalid),
        ("another path", good().claim("htu", json!(format!("{API}/other"))).text(), invalid),
        ("the address it really came to", good().claim("htu", json!("http://127.0.0.1/items")).text(), invalid),
        ("two minutes and a little old", good().claim("iat", json!(now - 130)).text(), invalid),
        ("made ahead", good().claim("iat", json!(now + 130)).text(), invalid),
        ("another token's hash", good().claim("ath", json!(hash)).text(), invalid),
        ("no hash", good().claim("ath", Value::Null).text(), invalid),
        ("no jti", good().claim("jti", Value::Null).text(), invalid),
        ("a forged jti", good().forged("jti", json!("other")), invalid),
        ("a thief's signature", good().signed_by(thief).text(), invalid),
        ("a thief's key", proof(thief, &token).text(), ("sender_mismatch", "DPoP invalid_token")),
    ] {
        let answer = prove(&world, &token, &proof).await;
        assert_eq!((answer.verdict(), challenge_of(&answer).as_str()), ((401, reason), challenge), "{name}");
    }
    assert_eq!(world.app_hits(), 0);
    assert_eq!(prove(&world, &token, &good().text()).await.status, 200, "none of it did the holder any harm");
}

fn private(key: &KeyPair) -> Value {
    let mut jwk = key.public();
    jwk["d"] = json!("AAAA");
    jwk
}

/// Scheme and error of the challenge that carries one.
fn challenge_of(answer: &Answer) -> String {
    let challenges = answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().expect("ASCII"));
    let with_error: Vec<String> = challenges
        .filter_map(|challenge| {
            let scheme = challenge.split(' ').next()?;
            let error = challenge.split(r#"error=""#).nth(1)?.split('"').next()?;
            Some(format!("{scheme} {error}"))
        })
        .collect();
    with_error.join(" and ")
}

#[tokio::test]
async fn the_host_that_a_caller_names_makes_no_url() {
    let world = accepting(|_| {}).await;
    let token = bound(&world, holder()).signed();
    let elsewhere = proof(holder(), &token).claim("htu", json!("https://evil.example/items")).text();
    let authorization = format!("DPoP {token}");
    let mut headers = vec![("authorization", authorization.as_str()), ("host", "evil.example"), ("dpop", &elsewhere)];
    headers.push(("x-forwarded-host", "evil.example"));
    assert_eq!(get(&world, &headers).await.verdict(), (401, "dpop_invalid"));
}

#[tokio::test]
async fn a_proof_is_taken_once_also_when_the_tokens_verdict_is_remembered() {
    let world = accepting(|_| {}).await;
    let token = bound(&world, holder()).signed();
    let first = proof(holder(), &token);
    assert_eq!(prove(&world, &token, &first.text()).await.status, 200);
    let again = prove(&world, &token, &first.text()).await;
    assert_eq!((again.verdict(), challenge_of(&again).as_str()), ((401, "dpop_replayed"), "DPoP invalid_dpop_proof"));
    let other_token = bound(&world, holder()).signed();
    let same_id = proof(holder(), &other_token).claim("jti", first.claims["jti"].clone());
    assert_eq!(prove(&world, &other_token, &same_id.text()).await.verdict(), (401, "dpop_replayed"));
    assert_eq!(prove(&world, &token, &proof(holder(), &token).text()).await.status, 200);
}

#[tokio::test]
async fn a_remembered_verdict_helps_no_thief() {
    let world = accepting(|_| {}).await;
    let thief: &KeyPair = Box::leak(Box::new(KeyPair::generate(Algorithm::Es256)));
    let token = bound(&world, holder()).signed();
    assert_eq!(prove(&world, &token, &proof(holder(), &token).text()).await.status, 200);
    assert_eq!(world.get(&token).await.verdict(), (401, "sender_mismatch"));
    assert_eq!(get(&world, &[("authorization", &format!("DPoP {token}"))]).await.verdict(), (401, "dpop_missing"));
    assert_eq!(prove(&world, &token, &proof(thief, &token).text()).await.verdict(), (401, "sender_mismatch"));
    assert_eq!(world.app_hits(), 1);
    assert_eq!(world.metric("tollgate_decision_cache_hits_total").await, 3, "each was a remembered verdict");
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token_whatever_the_setting() {
    for (mode, scheme, reason) in [
        (DpopMode::Refuse, "Bearer", "sender_mismatch"),
        (DpopMode::Refuse, "DPoP", "sender_mismatch"),
        (DpopMode::Accept, "Bearer", "sender_mismatch"),
        (DpopMode::Require, "Bearer", "sender_mismatch"),
    ] {
        let world = accepting(|issuer| issuer.dpop = mode).await;
        let token = bound(&world, holder()).signed();
        let headers = [("authorization", format!("{scheme} {token}")), ("dpop", proof(holder(), &token).text())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(get(&world, &headers).await.verdict(), (401, reason), "{mode:?} {scheme}");
    }
}

#[tokio::test]
async fn where_dpop_is_required_a_bearer_token_gets_nobody_in() {
    let world = accepting(|issuer| issuer.dpop = DpopMode::Require).await;
    let (unbound, token) = (world.issuer.token().signed(), bound(&world, holder()).signed());
    for _ in ["judged", "remembered"] {
        let answer = world.get(&unbound).await;
        assert_eq!((answer.verdict(), challenge_of(&answer).as_str()), ((401, "dpop_missing"), "DPoP invalid_token"));
    }
    assert_eq!(prove(&world, &token, &proof(holder(), &token).text()).await.status, 200);
}

#[tokio::test]
async fn a_nonce_is_asked_for_and_then_enough() {
    let world = accepting(|issuer| issuer.dpop_nonce = DpopNonce::PerPod).await;
    let token = bound(&world, holder()).signed();
    let asked = prove(&world, &token, &proof(holder(), &token).text()).await;
    assert_eq!(asked.verdict(), (401, "dpop_nonce_required"));
    assert_eq!(challenge_of(&asked), "DPoP use_dpop_nonce");
    assert_eq!(asked.header("cache-control"), "no-store");
    let nonce = json!(asked.header("dpop-nonce"));
    for _ in ["judged", "remembered"] {
        let answer = prove(&world, &token, &proof(holder(), &token).claim("nonce", nonce.clone()).text()).await;
        assert_eq!(answer.status, 200);
    }
    let made_up = prove(&world, &token, &proof(holder(), &token).claim("nonce", json!("made up")).text()).await;
    assert_eq!(made_up.verdict(), (401, "dpop_nonce_required"));
    let thief: &KeyPair = Box::leak(Box::new(KeyPair::generate(Algorithm::Es256)));
    let stolen = prove(&world, &token, &proof(thief, &token).claim("nonce", nonce).text()).await;
    assert_eq!((stolen.verdict(), stolen.header("dpop-nonce")), ((401, "sender_mismatch"), ""));
}

#[tokio::test]
async fn an_answer_of_introspection_binds_a_token_like_its_own_claims() {
    let issuer = FakeIssuer::start().await;
    let mode = ValidationMode::Introspection;
    let world = World::start(issuer, mode, |config| reached(config, |_| {})).await;
    world.await_ready().await;
    let mut answer = bound(&world, holder()).answer();
    answer["token_type"] = json!("DPoP");
    world.issuer.answer("opaque-token", answer);
    let taken = prove(&world, "opaque-token", &proof(holder(), "opaque-token").text()).await;
    assert_eq!(taken.status, 200);
    assert_eq!(world.get("opaque-token").await.verdict(), (401, "sender_mismatch"));
    assert_eq!(world.issuer.hits(Endpoint::Introspect), 1, "the second was remembered");
}

#[tokio::test]
async fn a_token_that_needs_another_scope_says_so_in_its_own_scheme() {
    let issuer = FakeIssuer::start().await;
    let world = World::start(issuer, ValidationMode::Local, |config| {
        reached(config, |_| {});
        config.routes = serde_json::from_value(json!([
            {"name": "items", "path": {"prefix": "/items"}, "access": "Authenticated", "scopes": {"allOf": ["more"]}},
        ]))
        .expect("routes");
    })
    .await;
    world.await_ready().await;
    let token = bound(&world, holder()).signed();
    let answer = prove(&world, &token, &proof(holder(), &token).text()).await;
    assert_eq!(
        (answer.verdict(), challenge_of(&answer).as_str()),
        ((403, "insufficient_scope"), "DPoP insufficient_scope")
    );
}

#[tokio::test]
async fn one_key_cannot_take_the_room_for_proofs_from_the_others() {
    let issuer = FakeIssuer::start().await;
    // Four places in each of the 64 parts, one of them for one key.
    let limits = Limits { dpop_proofs: 1 << 8, ..Limits::default() };
    let world = World::start_within(limits, issuer, ValidationMode::Local, |config| reached(config, |_| {})).await;
    world.await_ready().await;
    let (mut used, token) = (Vec::new(), bound(&world, holder()).signed());
    let limited = loop {
        let proof = proof(holder(), &token).text();
        let answer = prove(&world, &token, &proof).await;
        if answer.status != 200 {
            break answer;
        }
        used.push(proof);
        assert!(used.len() <= 1 << 6, "one key has room for 64");
    };
    assert_eq!(limited.verdict(), (429, "caller_limited"));
    assert!(limited.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{:?}", limited.headers);
    assert_eq!(limited.header("www-authenticate"), "", "no other token would help");
    for proof in used {
        assert_eq!(prove(&world, &token, &proof).await.verdict(), (401, "dpop_replayed"));
    }
    let other: &KeyPair = Box::leak(Box::new(KeyPair::generate(Algorithm::Es256)));
    let token = bound(&world, other).signed();
    assert_eq!(prove(&world, &token, &proof(other, &token).text()).await.status, 200, "another key goes on");
    let unbound = world.issuer.token().signed();
    assert_eq!(world.get(&unbound).await.status, 200, "bearer tokens need no room");
}

#[tokio::test]
async fn without_room_for_proofs_new_ones_wait_and_used_ones_stay_used() {
    let issuer = FakeIssuer::start().await;
    // One place in each of the 64 parts.
    let limits = Limits { dpop_proofs: 64, ..Limits::default() };
    let world = World::start_within(limits, issuer, ValidationMode::Local, |config| reached(config, |_| {})).await;
    world.await_ready().await;
    let token = bound(&world, holder()).signed();
    let mut used = Vec::new();
    let full = loop {
        let proof = proof(holder(), &token).text();
        let answer = prove(&world, &token, &proof).await;
        if answer.status != 200 {
            break answer;
        }
        used.push(proof);
        assert!(used.len() <= 64, "there is room for 64");
    };
    assert_eq!(full.verdict(), (503, "overloaded"));
    assert!(full.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{:?}", full.headers);
    assert_eq!(full.header("www-authenticate"), "", "the caller did nothing wrong");
    for proof in used {
        assert_eq!(prove(&world, &token, &proof).await.verdict(), (401, "dpop_replayed"));
    }
    let unbound = world.issuer.token().signed();
    assert_eq!(world.get(&unbound).await.status, 200, "bearer tokens need no room");
}
