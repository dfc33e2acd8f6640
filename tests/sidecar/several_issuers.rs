//! Several issuers in one policy: who judges which token, each by its own settings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, mount_credentials};
use tests::mint::{epoch_seconds, other_key};
use tollgate_contract::ValidationMode;

use crate::world::World;

#[tokio::test]
async fn opaque_tokens_go_to_the_one_issuer_that_judges_alone() {
    let opaque = FakeIssuer::start().await;
    let (url, ca) = (opaque.url(), opaque.ca_file().display().to_string());
    opaque.client("0oaApi", &["api-secret"]);
    let world = World::start(FakeIssuer::start().await, ValidationMode::Local, |config| {
        let mut second = config.issuers[0].clone();
        second.name = "opaque".into();
        second.url = url;
        second.ca_file = Some(ca);
        second.validation = ValidationMode::Introspection;
        config.issuers.push(second);
    })
    .await;
    world.await_ready().await;
    opaque.answer("opaque-token", opaque.token().answer());
    let answer = world.get("opaque-token").await;
    assert_eq!((answer.status, &answer.body["issuer"]), (200, &json!(opaque.url())));
    assert_eq!(world.get("another-token").await.verdict(), (401, "inactive"));
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200, "the other issuer's JWTs stay local");
    assert_eq!((world.issuer.hits(Endpoint::Introspect), opaque.hits(Endpoint::Introspect)), (0, 2));
    // A token that says it is of the local issuer is judged locally, whatever the other would say of it.
    let forged = world.issuer.token().signed_by(other_key());
    opaque.answer(&forged, opaque.token().answer());
    assert_eq!(world.get(&forged).await.verdict(), (401, "bad_signature"));
}

#[tokio::test]
async fn each_issuer_has_its_own_client_audiences_and_skew() {
    let second = FakeIssuer::start().await;
    second.client("0oaOther", &["other-secret"]);
    let folder = tempfile::tempdir().expect("a folder");
    mount_credentials(folder.path(), "0oaOther", "other-secret", None);
    let world = World::start(FakeIssuer::start().await, ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].clock_skew_seconds = 0;
        let mut other = config.issuers[0].clone();
        other.name = "partner".into();
        other.url = second.url();
        other.ca_file = Some(second.ca_file().display().to_string());
        other.audiences = vec!["api://partner".into()];
        other.clock_skew_seconds = 120;
        other.client.as_mut().expect("a client").credentials_dir = folder.path().display().to_string();
        config.issuers.push(other);
    })
    .await;
    world.await_ready().await;
    let (ours, theirs) = (world.issuer.token(), second.token().claim("aud", json!("api://partner")));
    let ahead = json!(epoch_seconds() + 60);
    for (name, answer, expected) in [
        ("ours", world.get(&world.issuer.active(&ours)).await, (200, "-")),
        ("theirs", world.get(&second.active(&theirs)).await, (200, "-")),
        (
            "ours for their audience",
            world.get(&world.issuer.active(&ours.clone().claim("aud", json!("api://partner")))).await,
            (401, "audience_mismatch"),
        ),
        (
            "theirs for our audience",
            world.get(&second.active(&theirs.clone().claim("aud", json!("api://default")))).await,
            (401, "audience_mismatch"),
        ),
        (
            "ours beyond our skew",
            world.get(&world.issuer.active(&ours.clone().claim("nbf", ahead.clone()))).await,
            (401, "not_yet_valid"),
        ),
        ("theirs within their skew", world.get(&second.active(&theirs.clone().claim("nbf", ahead))).await, (200, "-")),
        ("ours, active at theirs alone", world.get(&activated_elsewhere(&world, &second)).await, (401, "inactive")),
    ] {
        assert_eq!(answer.verdict(), expected, "{name}");
    }
    let by = |issuer: &FakeIssuer, client: &str| {
        let basic = Some(format!("Basic {}", STANDARD.encode(client)));
        issuer.seen(Endpoint::Introspect).iter().all(|seen| seen.authorization == basic)
    };
    assert!(by(&world.issuer, "0oaApi:api-secret"));
    assert!(by(&second, "0oaOther:other-secret"), "each client is shown to its own issuer alone");
}

fn activated_elsewhere(world: &World, elsewhere: &FakeIssuer) -> String {
    let token = world.issuer.token();
    let text = token.signed();
    elsewhere.answer(&text, token.answer());
    text
}
