//! What helps a sidecar and is no policy: keys to start with while the issuer is away, and how many share its limit.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::issuer::{Endpoint, FakeIssuer, Fault};
use tests::mint::{epoch_seconds, other_key, signing_key};
use tests::wait::eventually;
use tollgate_contract::{EndpointsConfig, ProblemCode, ValidationMode};

use crate::world::{PATIENCE, World, problem};

const HOUR: u64 = 3_600;

fn write(path: &Path, hints: &Value) {
    std::fs::write(path, hints.to_string()).expect("a file");
}

/// Keys that were fetched so many seconds ago.
fn seed(keys: &[Value], age: u64) -> Value {
    let keys = json!({"fetchedAt": epoch_seconds() - age, "jwks": json!({"keys": keys}).to_string()});
    json!({"issuers": [{"name": "okta", "keys": keys}]})
}

/// These hints, with keys that are said to be this issuer's unless they are said to be another's.
fn of(issuer: &FakeIssuer, hints: &Value) -> Value {
    let mut hints = hints.clone();
    if let Some(keys) = hints.pointer_mut("/issuers/0/keys").filter(|keys| keys.get("source").is_none()) {
        keys["source"] = json!({"issuer": issuer.url()});
    }
    hints
}

/// A sidecar with a hints file that holds this.
async fn hinted(issuer: FakeIssuer, mode: ValidationMode, hints: &Value) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hints.json");
    write(&path, &of(&issuer, hints));
    let world = World::start_as(|options| options.hints = path, issuer, mode, |_| {}).await;
    (world, folder)
}

#[tokio::test]
async fn with_seeded_keys_a_cold_sidecar_checks_tokens_while_its_issuer_is_away() {
    let (world, _folder) =
        hinted(FakeIssuer::away().await, ValidationMode::Local, &seed(&[signing_key().jwk()], 23 * HOUR)).await;
    assert!(world.is_ready().await, "at once");
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200);
    assert_eq!(world.get(&world.issuer.token().signed_by(other_key())).await.verdict(), (401, "bad_signature"));
    let unknown = world.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    assert_eq!(world.get(&unknown).await.verdict(), (503, "idp_unreachable"), "a seed is no last word");
    world.await_problems(&[problem(ProblemCode::IssuerUnreachable)]).await;
}

#[tokio::test]
async fn the_first_fetch_ends_the_seed_and_no_later_seed_comes_back() {
    let (world, folder) =
        hinted(FakeIssuer::away().await, ValidationMode::Local, &seed(&[other_key().jwk()], HOUR)).await;
    let old = world.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    assert_eq!(world.get(&old).await.status, 200);
    world.issuer.mend();
    world.await_problems(&[]).await;
    eventually("the issuer's own keys are in force", PATIENCE, || async {
        let kids = world.report().await.issuers[0].key_ids.clone();
        if kids == [signing_key().kid] { Ok(()) } else { Err(format!("{kids:?}")) }
    })
    .await;
    assert_eq!(world.get(&old).await.verdict(), (401, "unknown_key"), "remembered verdicts included");
    // The hints are read again: sharers tell that they were.
    let mut hints = seed(&[other_key().jwk()], 0);
    hints["issuers"][0]["sharers"] = json!(2);
    write(&folder.path().join("hints.json"), &of(&world.issuer, &hints));
    world.issuer.limit(600, Duration::from_secs(60));
    eventually("the hints are in use", PATIENCE, || async {
        world.post_token(&[], "grant_type=client_credentials&client_id=0oaCaller&client_secret=s3cret").await;
        let share = world.gauge("tollgate_idp_share{issuer=\"okta\",calls=\"token\"}").await;
        if share == Some(75.0) { Ok(()) } else { Err(format!("{share:?}")) }
    })
    .await;
    assert_eq!(world.report().await.issuers[0].key_ids, [signing_key().kid]);
}

#[tokio::test]
async fn keys_that_are_too_old_broken_or_from_the_future_are_not_used() {
    let mut future = seed(&[signing_key().jwk()], 0);
    future["issuers"][0]["keys"]["fetchedAt"] = json!(epoch_seconds() + HOUR);
    let mut broken = seed(&[], 0);
    broken["issuers"][0]["keys"]["jwks"] = json!("<html>");
    let mut of_another = seed(&[signing_key().jwk()], 0);
    of_another["issuers"][0]["name"] = json!("another");
    let from = |source: Value| {
        let mut moved = seed(&[signing_key().jwk()], 0);
        moved["issuers"][0]["keys"]["source"] = source;
        moved
    };
    let of_an_earlier_url = from(json!({"issuer": "https://earlier.test/oauth2/default"}));
    let of_no_source = from(json!({}));
    let private = {
        let mut jwk = signing_key().jwk();
        jwk["d"] = json!("AQAB");
        seed(&[jwk], 0)
    };
    let malformed = json!({"issuers": 7});
    for hints in [
        seed(&[signing_key().jwk()], 24 * HOUR),
        future,
        broken,
        of_another,
        of_an_earlier_url,
        of_no_source,
        private,
        malformed,
    ] {
        let (world, _folder) = hinted(FakeIssuer::away().await, ValidationMode::Local, &hints).await;
        assert!(!world.is_ready().await, "{hints}");
        assert_eq!(world.get(&world.issuer.token().signed()).await.verdict(), (503, "idp_unreachable"), "{hints}");
        world.issuer.mend();
        world.await_ready().await;
    }
}

#[tokio::test]
async fn where_the_issuer_is_asked_too_seeded_keys_make_ready_but_let_nobody_pass() {
    let mode = ValidationMode::LocalAndIntrospection;
    let (world, _folder) = hinted(FakeIssuer::away().await, mode, &seed(&[signing_key().jwk()], HOUR)).await;
    assert!(world.is_ready().await);
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.verdict(), (503, "idp_unreachable"));
    world.issuer.mend();
    eventually("the issuer is asked", PATIENCE, || async {
        match world.get(&token).await.verdict() {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn endpoints_that_the_policy_gives_are_used_and_nothing_is_discovered() {
    let issuer = FakeIssuer::start().await;
    for endpoint in [Endpoint::Metadata, Endpoint::LegacyMetadata, Endpoint::OpenIdMetadata] {
        issuer.fault(endpoint, Fault::Answer(404, "{}".into()));
    }
    let base = issuer.url();
    let world = World::start(issuer, ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].endpoints = EndpointsConfig {
            jwks: Some(format!("{base}/v1/keys")),
            token: Some(format!("{base}/v1/token")),
            introspection: Some(format!("{base}/v1/introspect")),
        };
    })
    .await;
    world.await_ready().await;
    assert_eq!(world.get(&world.issuer.active(&world.issuer.token())).await.status, 200);
    for endpoint in [Endpoint::Metadata, Endpoint::LegacyMetadata, Endpoint::OpenIdMetadata] {
        assert_eq!(world.issuer.hits(endpoint), 0, "{endpoint:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_moved_is_found_again() {
    let world = World::ready(ValidationMode::LocalAndIntrospection).await;
    let good = world.issuer.url();
    let metadata = world.issuer.hits(Endpoint::Metadata);
    world.issuer.fault(Endpoint::Introspect, Fault::Answer(404, json!({"errorCode": "E0000007"}).to_string()));
    world.issuer.metadata("introspection_endpoint", json!(format!("{good}/elsewhere")));
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.verdict(), (503, "idp_error"));
    eventually("the metadata is read again", PATIENCE, || async {
        if world.issuer.hits(Endpoint::Metadata) > metadata { Ok(()) } else { Err("not yet") }
    })
    .await;
    eventually("the new address is asked", PATIENCE, || async {
        world.get(&world.issuer.active(&world.issuer.token())).await;
        if world.issuer.hits(Endpoint::Elsewhere) > 0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!(world.issuer.hits(Endpoint::Metadata), metadata + 1, "and once");
}
