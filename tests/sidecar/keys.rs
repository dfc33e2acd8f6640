//! Keys and metadata of the issuer: rotation, unknown ids, broken answers, outages, each healing by itself.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::mint::{other_key, signing_key};
use tests::wait::eventually;
use tokio::time::Instant;
use tollgate_contract::{ProblemCode, ValidationMode};

use crate::world::{PATIENCE, World, problem};

/// Waits until the refresh that an unknown `kid` or a test asks for has been seen.
async fn hits_reach(world: &World, endpoint: Endpoint, count: usize) {
    eventually("the endpoint is asked", PATIENCE, || async {
        let hits = world.issuer.hits(endpoint);
        if hits >= count { Ok(()) } else { Err(hits) }
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_fetched_once_however_many_tokens_carry_it() {
    let world = World::ready(ValidationMode::Local).await;
    let before = world.issuer.hits(Endpoint::Keys);
    world.issuer.publish(&[signing_key().jwk(), other_key().jwk()]);
    world.issuer.fault(Endpoint::Keys, Fault::Delay(Duration::from_millis(300)));
    let new = || world.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    let tokens: Vec<String> = (0..50).map(|_| new()).collect();
    let answers = join_all(tokens.iter().map(|token| world.get(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{:?}", answers.iter().find(|a| a.status != 200));
    // One fetch answers all who came before it began; who came while it ran may cause one more.
    assert!(world.issuer.hits(Endpoint::Keys) - before <= 2);
    let kids = world.report().await.issuers[0].key_ids.clone();
    assert_eq!(kids, [signing_key().kid, other_key().kid]);
    assert_eq!(world.metric("tollgate_keys{issuer=\"okta\"}").await, 2);
}

#[tokio::test]
async fn a_known_key_never_waits_for_a_fetch_that_hangs() {
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.fault(Endpoint::Keys, Fault::Hang);
    let unknown = world.issuer.token().header("kid", json!("unknown")).signed();
    let known = world.issuer.token().signed();
    let begun = Instant::now();
    let waiting = async { (world.get(&unknown).await.verdict().0, begun.elapsed()) };
    let passing = async { (world.get(&known).await.verdict().0, begun.elapsed()) };
    let ((refused, waited), (passed, at_once)) = tokio::join!(waiting, passing);
    assert_eq!((refused, passed), (503, 200));
    assert!(at_once < Duration::from_secs(1), "{at_once:?}");
    assert!(waited < Duration::from_secs(4), "two seconds and no more: {waited:?}");
}

#[tokio::test]
async fn strangers_cannot_make_the_sidecar_hammer_the_issuer() {
    let world = World::ready(ValidationMode::Local).await;
    let before = world.issuer.hits(Endpoint::Keys);
    let mut verdicts = Vec::new();
    for nth in 0..20 {
        let forged = world.issuer.token().header("kid", json!(format!("forged-{nth}"))).signed_by(other_key());
        let answer = world.get(&forged).await;
        if answer.status == 503 {
            assert!((1..=10).contains(&answer.header("retry-after").parse::<u64>().expect("seconds")));
        }
        verdicts.push((answer.status, answer.body["reason"].as_str().expect("a reason").to_owned()));
    }
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == (401, "unknown_key".to_owned())).count(), 3);
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == (503, "overloaded".to_owned())).count(), 17);
    assert_eq!(world.issuer.hits(Endpoint::Keys) - before, 3);
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200, "known keys are not touched by it");
}

#[tokio::test]
async fn a_key_that_leaves_the_set_stops_verifying_at_once_remembered_verdicts_included() {
    let world = World::ready(ValidationMode::Local).await;
    let token = world.issuer.token().signed();
    assert_eq!(world.get(&token).await.status, 200);
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.publish(&[other_key().jwk()]);
    // The new key's first token brings the new set.
    let new = world.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    assert_eq!(world.get(&new).await.status, 200);
    assert_eq!(world.get(&token).await.verdict(), (401, "unknown_key"));
}

#[tokio::test]
async fn a_key_replaced_under_its_kid_or_named_by_none_is_found_by_its_first_token() {
    for mode in [ValidationMode::Local, ValidationMode::Introspection] {
        for kid in [json!(signing_key().kid), json!(null)] {
            let world = World::ready(mode).await;
            let old = world.issuer.active(&world.issuer.token().header("kid", kid.clone()));
            eventually("the keys are there", PATIENCE, || async {
                if world.report().await.issuers[0].key_ids.is_empty() { Err("no keys") } else { Ok(()) }
            })
            .await;
            assert_eq!(world.get(&old).await.status, 200, "{mode:?} {kid}");
            let mut replaced = other_key().jwk();
            replaced["kid"] = json!(signing_key().kid);
            world.issuer.publish(&[replaced]);
            let token = world.issuer.token().header("kid", kid.clone());
            let new = token.signed_by(other_key());
            world.issuer.answer(&new, token.answer());
            assert_eq!(world.get(&new).await.verdict(), (200, "-"), "{mode:?} {kid}");
        }
    }
}

#[tokio::test]
async fn forged_signatures_cost_one_fetch_and_keep_no_new_key_from_being_found() {
    let world = World::ready(ValidationMode::Local).await;
    let before = world.issuer.hits(Endpoint::Keys);
    for nth in 0..20 {
        let kid = if nth % 2 == 0 { json!(signing_key().kid) } else { json!(null) };
        let forged = world.issuer.token().header("kid", kid).signed_by(other_key());
        assert_eq!(world.get(&forged).await.verdict(), (401, "bad_signature"));
    }
    // One, and perhaps another where this took longer than ten seconds.
    assert!((1..=2).contains(&(world.issuer.hits(Endpoint::Keys) - before)));
    world.issuer.publish(&[signing_key().jwk(), other_key().jwk()]);
    let new = world.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    assert_eq!(world.get(&new).await.status, 200);
}

#[tokio::test]
async fn a_forged_signature_is_one_though_the_keys_cannot_be_fetched() {
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.fault(Endpoint::Keys, Fault::Hang);
    let forged = world.issuer.token().signed_by(other_key());
    let known = world.issuer.token().signed();
    let (refused, passed) = tokio::join!(world.get(&forged), world.get(&known));
    assert_eq!(refused.verdict(), (401, "bad_signature"));
    assert_eq!(passed.status, 200);
}

#[tokio::test]
async fn a_bad_set_leaves_the_good_one_in_force() {
    let world = World::ready(ValidationMode::Local).await;
    let before = world.issuer.hits(Endpoint::Keys);
    world.issuer.publish(&[json!({"kty": "EC", "kid": "x", "crv": "P-256", "x": "AA", "y": "AA"})]);
    let unknown = world.issuer.token().header("kid", json!("x")).signed();
    assert_eq!(world.get(&unknown).await.verdict(), (503, "idp_error"));
    hits_reach(&world, Endpoint::Keys, before + 1).await;
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200);
    world.await_problems(&[problem(ProblemCode::IssuerBadResponse)]).await;
    world.issuer.publish(&[signing_key().jwk(), other_key().jwk()]);
    world.await_problems(&[]).await;
    assert_eq!(world.report().await.issuers[0].key_ids.len(), 2, "it heals by itself");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_skipped() {
    let issuer = FakeIssuer::start().await;
    let mut short = other_key().jwk();
    short["n"] = json!("AQAB");
    let mut encryption = other_key().jwk();
    encryption["use"] = json!("enc");
    issuer.publish(&[json!("no object"), json!({"kty": "oct", "k": "AA"}), short, encryption, signing_key().jwk()]);
    let world = World::start(issuer, ValidationMode::Local, |_| {}).await;
    world.await_ready().await;
    assert_eq!(world.report().await.issuers[0].key_ids, [signing_key().kid]);
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200);
}

#[tokio::test]
async fn each_form_of_the_metadata_is_found() {
    for missing in [&[][..], &[Endpoint::Metadata], &[Endpoint::Metadata, Endpoint::LegacyMetadata]] {
        let issuer = FakeIssuer::start().await;
        for endpoint in missing {
            issuer.fault(*endpoint, Fault::Answer(404, json!({"errorCode": "E0000007"}).to_string()));
        }
        let world = World::start(issuer, ValidationMode::Local, |_| {}).await;
        world.await_ready().await;
        assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200, "without {missing:?}");
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_or_without_https_is_never_used() {
    let changes = [
        ("issuer", json!("https://evil.example")),
        ("issuer", json!("https://127.0.0.1/oauth2/default/")),
        ("jwks_uri", json!("http://127.0.0.1:9/keys")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("jwks_uri", json!(null)),
    ];
    for (name, value) in changes {
        let issuer = FakeIssuer::start().await;
        let good = issuer.url();
        issuer.metadata(name, value.clone());
        let world = World::start(issuer, ValidationMode::Local, |_| {}).await;
        world.await_problems(&[problem(ProblemCode::IssuerBadResponse)]).await;
        assert!(!world.is_ready().await, "{name} {value}");
        assert_eq!(world.issuer.hits(Endpoint::Keys), 0, "{name} {value}");
        let mended = if name == "issuer" { json!(good) } else { json!(format!("{good}/v1/keys")) };
        world.issuer.metadata(name, mended);
        world.await_ready().await;
        world.await_problems(&[]).await;
    }
}

#[tokio::test]
async fn a_cold_sidecar_without_its_issuer_answers_503_and_heals() {
    let faults = [
        (Wire::Down, ProblemCode::IssuerUnreachable, "idp_unreachable"),
        (Wire::StrangeCertificate, ProblemCode::IssuerBadTls, "idp_unreachable"),
        (Wire::OtherName, ProblemCode::IssuerBadTls, "idp_unreachable"),
        (Wire::Garbage, ProblemCode::IssuerBadResponse, "idp_error"),
    ];
    for (wire, code, reason) in faults {
        let issuer = FakeIssuer::start().await;
        issuer.wire(wire);
        let world = World::start(issuer, ValidationMode::Local, |_| {}).await;
        world.await_problems(&[problem(code)]).await;
        assert!(!world.is_ready().await, "{wire:?}");
        let token = world.issuer.token();
        assert_eq!(world.get(&token.signed()).await.verdict(), (503, reason), "{wire:?}");
        let no_kid = token.header("kid", json!(null)).signed();
        assert_eq!(world.get(&no_kid).await.verdict(), (503, reason), "{wire:?}");
        assert_eq!(world.app_hits(), 0, "{wire:?}");
        world.issuer.mend();
        world.await_ready().await;
        world.await_problems(&[]).await;
        assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200, "{wire:?}");
    }
}

#[tokio::test]
async fn an_outage_after_the_first_load_changes_neither_readiness_nor_known_keys() {
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.wire(Wire::Down);
    let unknown = world.issuer.token().header("kid", json!("unknown")).signed();
    assert_eq!(world.get(&unknown).await.verdict(), (503, "idp_unreachable"));
    world.await_problems(&[problem(ProblemCode::IssuerUnreachable)]).await;
    assert!(world.is_ready().await);
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200);
}

#[tokio::test]
async fn redirects_and_endless_bodies_are_refused() {
    for fault in [Fault::Redirect, Fault::Oversize(1 << 20), Fault::Answer(200, "<html>".into())] {
        let issuer = FakeIssuer::start().await;
        issuer.fault(Endpoint::Keys, fault.clone());
        let world = World::start(issuer, ValidationMode::Local, |_| {}).await;
        world.await_problems(&[problem(ProblemCode::IssuerBadResponse)]).await;
        assert!(!world.is_ready().await, "{fault:?}");
        assert_eq!(world.issuer.hits(Endpoint::Elsewhere), 0, "a redirect is not followed");
    }
}

#[tokio::test]
async fn a_ca_bundle_that_comes_late_is_taken_into_use() {
    let issuer = FakeIssuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let late = folder.path().join("ca.crt");
    let named = late.display().to_string();
    let world = World::start(issuer, ValidationMode::Local, |config| config.issuers[0].ca_file = Some(named)).await;
    world.await_problems(&[problem(ProblemCode::CaBundleMissing)]).await;
    assert_eq!(world.get(&world.issuer.token().signed()).await.verdict(), (503, "idp_error"));
    std::fs::write(&late, "no certificate").expect("a file");
    world.await_problems(&[problem(ProblemCode::CaBundleUnusable)]).await;
    std::fs::copy(world.issuer.ca_file(), &late).expect("a file");
    world.await_ready().await;
    world.await_problems(&[]).await;
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200);
}

#[tokio::test]
async fn without_the_private_ca_the_issuer_is_not_trusted() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::Local, |config| {
        config.issuers[0].ca_file = None;
    })
    .await;
    world.await_problems(&[problem(ProblemCode::IssuerBadTls)]).await;
    assert!(!world.is_ready().await);
}
