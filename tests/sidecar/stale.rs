//! While the issuer limits us, its earlier answers serve a while longer, and never beyond the token or its key.

use std::time::Duration;

use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::mint::{epoch_seconds, other_key};
use tests::wait::eventually;
use tollgate_contract::ValidationMode;

use crate::world::{PATIENCE, World};

/// Answers are fresh for half a second, and may serve longer while the issuer limits us.
async fn world_with_stale(mode: ValidationMode, max_stale: Duration) -> World {
    let world = World::start(FakeIssuer::start().await, mode, |config| {
        config.issuers[0].introspection.cache_millis = 500;
        config.issuers[0].introspection.max_stale_millis = max_stale.as_millis().try_into().expect("it fits");
    })
    .await;
    world.await_ready().await;
    world
}

const STALE: &str = "tollgate_stale_answers_total{issuer=\"okta\"}";

#[tokio::test]
async fn under_a_limit_an_answer_serves_for_max_stale_and_is_counted() {
    for mode in [ValidationMode::Introspection, ValidationMode::LocalAndIntrospection] {
        let world = world_with_stale(mode, Duration::from_secs(4)).await;
        let token = world.issuer.active(&world.issuer.token());
        assert_eq!(world.get(&token).await.status, 200);
        world.issuer.fault(Endpoint::Introspect, Fault::Limited(60));
        eventually("the stale answer serves", PATIENCE, || async {
            assert_eq!(world.get(&token).await.verdict(), (200, "-"), "{mode:?}");
            if world.metric(STALE).await > 0 { Ok(()) } else { Err("still fresh") }
        })
        .await;
        let new = world.issuer.active(&world.issuer.token());
        assert_eq!(world.get(&new).await.verdict(), (503, "idp_rate_limited"), "there is no answer to serve");
        eventually("the stale answer ends", PATIENCE, || async {
            match world.get(&token).await.verdict() {
                (503, "idp_rate_limited") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_stale_answer_never_outlives_the_token() {
    let world = world_with_stale(ValidationMode::Introspection, Duration::from_secs(600)).await;
    let token = world.issuer.active(&world.issuer.token().claim("exp", json!(epoch_seconds() + 3)));
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.fault(Endpoint::Introspect, Fault::Limited(60));
    eventually("the token ends", PATIENCE, || async {
        match world.get(&token).await.verdict() {
            (503, "idp_rate_limited") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(world.metric(STALE).await > 0);
}

#[tokio::test]
async fn a_stale_answer_ends_with_the_key_that_verified_the_token() {
    let world = world_with_stale(ValidationMode::LocalAndIntrospection, Duration::from_secs(600)).await;
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.fault(Endpoint::Introspect, Fault::Limited(60));
    eventually("the stale answer serves", PATIENCE, || async {
        assert_eq!(world.get(&token).await.status, 200);
        if world.metric(STALE).await > 0 { Ok(()) } else { Err("still fresh") }
    })
    .await;
    world.issuer.publish(&[other_key().jwk()]);
    // The new key's first token brings the new set.
    let new = world.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    assert_eq!(world.get(&new).await.verdict(), (503, "idp_rate_limited"));
    assert_eq!(world.get(&token).await.verdict(), (401, "unknown_key"));
}

#[tokio::test]
async fn an_outage_is_no_limit_and_serves_no_stale_answer() {
    let world = world_with_stale(ValidationMode::LocalAndIntrospection, Duration::from_secs(600)).await;
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.wire(Wire::Down);
    eventually("the answer is no longer fresh", PATIENCE, || async {
        match world.get(&token).await.verdict() {
            (503, "idp_unreachable") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(world.metric(STALE).await, 0);
}

#[tokio::test]
async fn a_limit_that_ends_ends_the_stale_answer_with_it() {
    let world = world_with_stale(ValidationMode::Introspection, Duration::from_secs(600)).await;
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.fault(Endpoint::Introspect, Fault::TooManyAtOnce);
    eventually("the stale answer serves", PATIENCE, || async {
        assert_eq!(world.get(&token).await.status, 200);
        if world.metric(STALE).await > 0 { Ok(()) } else { Err("still fresh") }
    })
    .await;
    world.issuer.revoke(&token);
    world.issuer.mend();
    eventually("the issuer is asked again", PATIENCE * 2, || async {
        match world.get(&token).await.verdict() {
            (401, "inactive") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
