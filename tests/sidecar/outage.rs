//! Okta is gone: who still passes, for how long, and who never does. How each kind of outage is lived through is a test of
//! endurance.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Outage};
use tests::mint::{epoch_seconds, other_key, signing_key};
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;
use tollgate_contract::{OnOutage, ValidationMode};

use crate::scene::{Scene, items, reason};
use crate::world::{PATIENCE, World};

/// A sidecar that asks and checks, and this is what it does in an outage.
pub(crate) async fn asking(on_outage: OnOutage, cache_millis: u64) -> World {
    let world = World::start(FakeIssuer::start().await, ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].introspection.on_outage = on_outage;
        config.issuers[0].introspection.cache_millis = cache_millis;
    })
    .await;
    world.await_ready().await;
    world
}

/// Locally sound tokens pass for so long.
pub(crate) fn lenient(max_duration: Duration) -> OnOutage {
    OnOutage::AcceptLocallyValid { max_duration_millis: max_duration.as_millis().try_into().expect("it fits") }
}

/// A new token that is good and active.
pub(crate) fn sound(world: &World) -> String {
    world.issuer.active(&world.issuer.token())
}

#[tokio::test]
async fn without_an_answer_a_sound_token_passes_for_max_duration_and_no_longer() {
    let world = asking(lenient(Duration::from_secs(3)), 60_000).await;
    assert_eq!(world.get(&sound(&world)).await.status, 200);
    world.issuer.suffer(Outage::Down);
    assert_eq!(world.get(&sound(&world)).await.verdict(), (200, "-"));
    let token = sound(&world);
    eventually("the trust ends", PATIENCE, || async {
        match world.get(&token).await.verdict() {
            (503, "idp_unreachable") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(world.get(&sound(&world)).await.verdict(), (503, "idp_unreachable"));
    world.issuer.mend();
    eventually("the issuer speaks again", PATIENCE, || async {
        match world.get(&sound(&world)).await.verdict() {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_not_taken_on_trust() {
    let issuer = FakeIssuer::start().await;
    issuer.suffer(Outage::Down);
    let world = World::start(issuer, ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].introspection.on_outage = lenient(Duration::from_secs(900));
    })
    .await;
    assert_eq!(world.get(&sound(&world)).await.verdict(), (503, "idp_unreachable"));
    assert_eq!(world.app_hits(), 0);
}

#[tokio::test]
async fn only_an_outage_opens_and_only_what_is_sound_passes() {
    for mode in [ValidationMode::LocalAndIntrospection, ValidationMode::Introspection] {
        let world = World::start(FakeIssuer::start().await, mode, |config| {
            config.issuers[0].introspection.on_outage = lenient(Duration::from_secs(900));
        })
        .await;
        world.await_ready().await;
        eventually("the keys are there", PATIENCE, || async {
            if world.report().await.issuers[0].key_ids.is_empty() { Err("no keys") } else { Ok(()) }
        })
        .await;
        assert_eq!(world.get(&sound(&world)).await.status, 200);
        // The issuer answers, and says no, or that our settings are wrong: that is no outage.
        let (missing, refused) = (json!({"errorCode": "E0000007"}), json!({"error": "invalid_client"}));
        for (status, body) in [(404, missing), (401, refused)] {
            world.issuer.fault(Endpoint::Introspect, Fault::Answer(status, body.to_string()));
            assert_eq!(world.get(&sound(&world)).await.verdict(), (503, "idp_error"), "{mode:?}, {status}");
        }
        world.issuer.mend();
        let good = sound(&world);
        eventually("the issuer is asked again", PATIENCE, || async {
            match world.get(&good).await.verdict() {
                (200, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        world.issuer.suffer(Outage::ServerError);
        assert_eq!(world.get(&sound(&world)).await.status, 200, "{mode:?}");
        let expired = world.issuer.token().claim("exp", json!(epoch_seconds() - 61));
        let elsewhere = world.issuer.token().claim("aud", json!("api://other"));
        for (name, token, expected) in [
            ("a bad signature", world.issuer.token().signed_by(other_key()), (401, "bad_signature")),
            ("expired", world.issuer.active(&expired), (401, "expired")),
            ("another audience", world.issuer.active(&elsewhere), (401, "audience_mismatch")),
        ] {
            assert_eq!(world.get(&token).await.verdict(), expected, "{mode:?}, {name}");
        }
        let unknown = world.issuer.token().header("kid", json!("unknown")).signed_by(other_key());
        assert_eq!(world.get(&unknown).await.status, 503, "{mode:?}");
        if mode == ValidationMode::Introspection {
            world.issuer.answer("opaque", world.issuer.token().answer());
            assert_eq!(world.get("opaque").await.verdict(), (503, "idp_unreachable"));
        }
    }
}

#[tokio::test]
async fn a_limit_is_no_outage() {
    let world = asking(lenient(Duration::from_secs(900)), 0).await;
    let token = sound(&world);
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.fault(Endpoint::Introspect, Fault::Limited(30));
    assert_eq!(world.get(&token).await.verdict(), (503, "idp_rate_limited"));
    assert_eq!(world.get(&sound(&world)).await.verdict(), (503, "idp_rate_limited"));
    assert_eq!(world.metric("tollgate_outage_acceptances_total{issuer=\"okta\"}").await, 0);
}

#[tokio::test]
async fn a_queue_is_no_outage() {
    let world = asking(lenient(Duration::from_secs(900)), 60_000).await;
    assert_eq!(world.get(&sound(&world)).await.status, 200);
    let revoked = sound(&world);
    world.issuer.revoke(&revoked);
    // The issuer answers, but late: more ask than may at once, and who comes last waits in vain.
    world.issuer.fault(Endpoint::Introspect, Fault::Delay(Duration::from_secs(3)));
    let before = world.issuer.hits(Endpoint::Introspect);
    let others: Vec<String> = (0..20).map(|_| sound(&world)).collect();
    let first = join_all(others.iter().map(|token| world.get(token)));
    let late = async {
        eventually("the issuer has its hands full", PATIENCE, || async {
            let asked = world.issuer.hits(Endpoint::Introspect) - before;
            if asked >= 12 { Ok(()) } else { Err(format!("{asked} questions")) }
        })
        .await;
        world.get(&revoked).await
    };
    let (first, late) = tokio::join!(first, late);
    for answer in first {
        assert!(matches!(answer.verdict(), (200, _) | (503, "overloaded")), "{answer:?}");
    }
    assert!(matches!(late.verdict(), (401, "inactive") | (503, "overloaded")), "{late:?}");
    assert_eq!(world.metric("tollgate_outage_acceptances_total{issuer=\"okta\"}").await, 0);
}

#[tokio::test]
async fn the_issuers_last_word_counts_in_an_outage() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::Introspection, |config| {
        config.issuers[0].introspection.on_outage = lenient(Duration::from_secs(900));
        config.issuers[0].introspection.cache_millis = 200;
    })
    .await;
    world.await_ready().await;
    // What the issuer says of this token is less than what its claims say.
    let token = world.issuer.token().claim("scp", json!(["items", "admin"]));
    let text = token.signed();
    world.issuer.answer(&text, token.clone().claim("scp", json!(["items"])).answer());
    assert_eq!(world.get(&text).await.body["scopes"], "items");
    // It says no more than that the type is wrong, which it may be said to mend; and never that the token is active.
    let mut other_type = token.answer();
    other_type["token_type"] = json!("N_A");
    let refused = world.issuer.token().signed();
    world.issuer.answer(&refused, other_type);
    assert_eq!(world.get(&refused).await.verdict(), (401, "wrong_token_type"));
    world.issuer.suffer(Outage::Down);
    let never_asked = sound(&world);
    eventually("the answer is no longer fresh", PATIENCE, || async {
        let before = world.metric("tollgate_outage_acceptances_total{issuer=\"okta\"}").await;
        let answer = world.get(&text).await;
        assert_eq!((answer.status, &answer.body["scopes"]), (200, &json!("items")), "no wider than before");
        if before > 0 { Ok(()) } else { Err("still fresh") }
    })
    .await;
    assert_eq!(world.get(&never_asked).await.status, 200);
    eventually("the refusal is no longer repeated", PATIENCE, || async {
        match world.get(&refused).await.verdict() {
            (503, _) => Ok(()),
            (401, _) => Err("still repeated"),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_starts_in_an_outage_checks_tokens_with_the_keys_it_was_given() {
    join_all(Outage::ALL.map(|outage| Box::pin(start_cold(outage)))).await;
}

async fn start_cold(outage: Outage) {
    let (app, issuer) = (Upstream::start(|_| ok("")).await, FakeIssuer::start().await);
    issuer.suffer(outage);
    let folder = tempfile::tempdir().expect("a folder");
    let hints = folder.path().join("hints.json");
    let jwks = json!({"keys": [signing_key().jwk()]}).to_string();
    let keys = json!({"fetchedAt": epoch_seconds() - 3600, "jwks": jwks, "source": {"issuer": issuer.url()}});
    let seed = json!({"issuers": [{"name": "okta", "keys": keys}]});
    std::fs::write(&hints, seed.to_string()).expect("a file");
    let mut config = items(app.port(), &issuer);
    config.as_object_mut().expect("an object").remove("tokenBroker");
    let scene = Scene::with(&config, |options| options.hints = hints).await.into_ready().await;
    let verdict = async |token: &str| {
        let (head, body) = scene.get("/items", &[&format!("authorization: Bearer {token}")]).await;
        let status = head.status();
        (status, if status == 200 { String::new() } else { reason(&body) })
    };
    let old = issuer.token().signed();
    assert_eq!(verdict(&old).await.0, 200, "{outage:?}");
    assert_eq!(verdict(&issuer.token().signed_by(other_key())).await, (401, "bad_signature".into()), "{outage:?}");
    let new = issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    assert_eq!(verdict(&new).await.0, 503, "{outage:?}: nobody can say whether there is such a key");
    // Okta has rotated its keys meanwhile: the first live set ends what was given.
    issuer.publish(&[other_key().jwk()]);
    issuer.mend();
    eventually("the live keys are in force", PATIENCE * 2, || async {
        match (verdict(&new).await.0, verdict(&old).await) {
            (200, (401, reason)) if reason == "unknown_key" => Ok(()),
            other => Err(format!("{outage:?}: {other:?}")),
        }
    })
    .await;
}
