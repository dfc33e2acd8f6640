//! This API's own client, as whom the issuer is asked: its credentials, how they are sent, and how they change.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, mount_credentials};
use tests::wait::eventually;
use tollgate_contract::{ClientAuthMethod, ProblemCode, ValidationMode};

use crate::introspection::world_with_cache;
use crate::world::{PATIENCE, World, problem};

#[tokio::test]
async fn the_question_is_a_post_with_our_credentials_and_the_token_in_the_body() {
    let world = World::ready(ValidationMode::Introspection).await;
    let token = world.issuer.active(&world.issuer.token());
    let answer = world.get(&token).await;
    assert_eq!(answer.status, 200);
    let identity = json!({
        "subject": "0oaCaller", "client-id": "0oaCaller", "scopes": "items", "issuer": world.issuer.url(),
    });
    assert_eq!(answer.body, identity, "Okta's other names mean the same");
    let asked = &world.issuer.seen(Endpoint::Introspect)[0];
    assert_eq!(asked.line, "POST /oauth2/default/v1/introspect");
    let basic = format!("Basic {}", STANDARD.encode("0oaApi:api-secret"));
    assert_eq!(asked.authorization.as_deref(), Some(basic.as_str()));
    assert_eq!(asked.form.get("token"), Some(&token));
    assert_eq!(asked.form.get("token_type_hint").map(String::as_str), Some("access_token"));
    assert_eq!(asked.form.len(), 2);
}

#[tokio::test]
async fn credentials_go_into_the_form_where_the_policy_says_so() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::Introspection, |config| {
        let client = config.issuers[0].client.as_mut().expect("a client");
        client.auth_method = ClientAuthMethod::ClientSecretPost;
    })
    .await;
    world.await_ready().await;
    assert_eq!(world.get(&world.issuer.active(&world.issuer.token())).await.status, 200);
    let asked = &world.issuer.seen(Endpoint::Introspect)[0];
    assert_eq!(asked.authorization, None);
    assert_eq!(asked.form.get("client_id").map(String::as_str), Some("0oaApi"));
    assert_eq!(asked.form.get("client_secret").map(String::as_str), Some("api-secret"));
}

fn mount(world: &World, secret: &str, previous: Option<&str>) {
    mount_credentials(world.credentials.path(), "0oaApi", secret, previous);
}

#[tokio::test]
async fn secrets_rotate_without_a_restart_and_while_both_are_active() {
    let world = world_with_cache(ValidationMode::LocalAndIntrospection, 0).await;
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.status, 200);
    // The new secret is mounted before the issuer knows it: the previous one carries on.
    mount(&world, "next-secret", Some("api-secret"));
    eventually("the new secret is tried", PATIENCE, || async {
        assert_eq!(world.get(&token).await.status, 200, "no request suffers");
        let basic = format!("Basic {}", STANDARD.encode("0oaApi:next-secret"));
        let tried =
            world.issuer.seen(Endpoint::Introspect).iter().any(|seen| seen.authorization.as_ref() == Some(&basic));
        if tried { Ok(()) } else { Err("only the old one") }
    })
    .await;
    // The old one is ended at the issuer: the new one carries on.
    world.issuer.client("0oaApi", &["next-secret"]);
    assert_eq!(world.get(&token).await.status, 200);
    assert!(world.report().await.problems.is_empty());
}

#[tokio::test]
async fn a_refused_client_is_reported_and_heals_with_the_right_secret() {
    let world = world_with_cache(ValidationMode::LocalAndIntrospection, 0).await;
    let token = world.issuer.active(&world.issuer.token());
    world.issuer.client("0oaApi", &["rolled-at-okta"]);
    assert_eq!(world.get(&token).await.verdict(), (503, "idp_error"));
    world.await_problems(&[problem(ProblemCode::CredentialsRefused)]).await;
    assert!(world.is_ready().await);
    mount(&world, "rolled-at-okta", None);
    world.await_problems(&[]).await;
    assert_eq!(world.get(&token).await.status, 200);
}

#[tokio::test]
async fn missing_credentials_are_reported_and_taken_when_they_appear() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("later");
    let named = dir.display().to_string();
    let world = World::start(FakeIssuer::start().await, ValidationMode::Introspection, |config| {
        config.issuers[0].client.as_mut().expect("a client").credentials_dir = named;
    })
    .await;
    world.await_problems(&[problem(ProblemCode::CredentialsMissing)]).await;
    assert!(!world.is_ready().await);
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.verdict(), (503, "idp_error"));
    mount_credentials(Path::new(&dir), "0oaApi", "api-secret\n", None);
    world.await_ready().await;
    world.await_problems(&[]).await;
    assert_eq!(world.get(&token).await.status, 200);
}
