//! The issuer's word about tokens: asked once, remembered for a while, never trusted beyond what it says.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire, mount_credentials};
use tests::mint::epoch_seconds;
use tests::wait::eventually;
use tollgate_contract::{ClientAuthMethod, ProblemCode, ValidationMode};

use crate::world::{PATIENCE, World, problem};

/// The issuer alone judges, and each answer is kept so long.
async fn world_with_cache(mode: ValidationMode, millis: u64) -> World {
    let world = World::start(FakeIssuer::start().await, mode, |config| {
        config.issuers[0].introspection.cache_millis = millis;
    })
    .await;
    world.await_ready().await;
    world
}

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

#[tokio::test]
async fn an_answer_is_remembered_and_a_hundred_callers_ask_once() {
    for mode in [ValidationMode::Introspection, ValidationMode::LocalAndIntrospection] {
        let world = World::ready(mode).await;
        let token = world.issuer.active(&world.issuer.token());
        world.issuer.fault(Endpoint::Introspect, Fault::Delay(Duration::from_millis(200)));
        let answers = join_all((0..100).map(|_| world.get(&token))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(world.get(&token).await.status, 200);
        assert_eq!(world.issuer.hits(Endpoint::Introspect), 1, "{mode:?}");
        let active = "tollgate_introspections_total{issuer=\"okta\",outcome=\"active\"}";
        assert_eq!(world.metric(active).await, 1);
    }
}

#[tokio::test]
async fn a_revoked_token_passes_no_longer_than_its_answer_is_fresh() {
    for mode in [ValidationMode::Introspection, ValidationMode::LocalAndIntrospection] {
        let world = world_with_cache(mode, 500).await;
        let token = world.issuer.active(&world.issuer.token());
        assert_eq!(world.get(&token).await.status, 200);
        world.issuer.revoke(&token);
        assert_eq!(world.get(&token).await.status, 200, "still fresh");
        eventually("the revocation is noticed", Duration::from_secs(3), || async {
            match world.get(&token).await.verdict() {
                (401, "inactive") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn without_a_cache_every_request_asks() {
    let world = world_with_cache(ValidationMode::LocalAndIntrospection, 0).await;
    let token = world.issuer.active(&world.issuer.token());
    for _ in 0..3 {
        assert_eq!(world.get(&token).await.status, 200);
    }
    assert_eq!(world.issuer.hits(Endpoint::Introspect), 3);
    world.issuer.revoke(&token);
    assert_eq!(world.get(&token).await.verdict(), (401, "inactive"));
}

#[tokio::test]
async fn an_answer_never_outlives_the_token() {
    let world = World::ready(ValidationMode::Introspection).await;
    let token = world.issuer.token().claim("exp", json!(epoch_seconds() + 2));
    let text = world.issuer.active(&token);
    assert_eq!(world.get(&text).await.status, 200);
    world.issuer.revoke(&text);
    eventually("the issuer is asked again at the token's expiry", Duration::from_secs(5), || async {
        match world.get(&text).await.verdict() {
            (401, "inactive") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_inactive_answer_is_remembered_and_a_failure_never() {
    let world = World::ready(ValidationMode::LocalAndIntrospection).await;
    let token = world.issuer.token().signed();
    for _ in 0..3 {
        assert_eq!(world.get(&token).await.verdict(), (401, "inactive"));
    }
    assert_eq!(world.issuer.hits(Endpoint::Introspect), 1);
    let failing = world.issuer.active(&world.issuer.token());
    world.issuer.fault(Endpoint::Introspect, Fault::Answer(500, String::new()));
    assert_eq!(world.get(&failing).await.verdict(), (503, "idp_unreachable"));
    world.issuer.mend();
    assert_eq!(world.get(&failing).await.verdict(), (200, "-"));
}

#[tokio::test]
async fn a_failed_question_is_503_and_never_a_verdict() {
    let world = World::ready(ValidationMode::LocalAndIntrospection).await;
    let active = json!({"active": true}).to_string();
    let rows = [
        (Fault::Answer(500, String::new()), "idp_unreachable"),
        (Fault::Answer(502, "<html>".into()), "idp_unreachable"),
        (Fault::Answer(404, json!({"errorCode": "E0000007"}).to_string()), "idp_error"),
        (Fault::Answer(400, json!({"error": "invalid_request"}).to_string()), "idp_error"),
        (Fault::Answer(401, json!({"error": "invalid_client"}).to_string()), "idp_error"),
        (Fault::Answer(200, "<html>".into()), "idp_error"),
        (Fault::Answer(200, String::new()), "idp_error"),
        (Fault::Answer(200, "[true]".into()), "idp_error"),
        (Fault::Answer(201, active), "idp_error"),
        (Fault::Redirect, "idp_error"),
        (Fault::Oversize(1 << 20), "idp_error"),
        (Fault::Limited(20), "idp_rate_limited"),
        (Fault::Close, "idp_unreachable"),
        (Fault::Hang, "idp_unreachable"),
    ];
    for (fault, reason) in rows {
        world.issuer.fault(Endpoint::Introspect, fault.clone());
        let answer = world.get(&world.issuer.active(&world.issuer.token())).await;
        assert_eq!(answer.verdict(), (503, reason), "{fault:?}");
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        let expected = if reason == "idp_rate_limited" { 19..=22 } else { 1..=10 };
        assert!(expected.contains(&seconds), "{fault:?}: {seconds}");
    }
    assert_eq!(world.issuer.hits(Endpoint::Elsewhere), 0, "credentials follow no redirect");
    for (wire, reason) in [
        (Wire::Down, "idp_unreachable"),
        (Wire::Garbage, "idp_error"),
        (Wire::StrangeCertificate, "idp_unreachable"),
        (Wire::OtherName, "idp_unreachable"),
    ] {
        world.issuer.mend();
        world.issuer.wire(wire);
        let answer = world.get(&world.issuer.active(&world.issuer.token())).await;
        assert_eq!(answer.verdict(), (503, reason), "{wire:?}");
    }
    assert_eq!(world.app_hits(), 0);
}

#[tokio::test]
async fn an_active_answer_is_checked_before_it_counts() {
    let world = World::ready(ValidationMode::Introspection).await;
    let now = epoch_seconds();
    let rows = [
        ("active a string", json!({"active": "true"}), "inactive"),
        ("active missing", json!({"active": null}), "inactive"),
        ("another issuer", json!({"iss": "https://evil.example"}), "issuer_mismatch"),
        ("another audience", json!({"aud": "api://other"}), "audience_mismatch"),
        ("no audience", json!({"aud": null}), "audience_mismatch"),
        ("expired", json!({"exp": now - 61}), "expired"),
        ("no expiry", json!({"exp": null}), "malformed_token"),
        ("not yet", json!({"nbf": now + 120}), "not_yet_valid"),
        ("a refresh token by its type", json!({"token_type": "refresh_token"}), "wrong_token_type"),
        ("a refresh token by its id", json!({"jti": "oar123"}), "wrong_token_type"),
        ("an ID token by its id", json!({"jti": "ID.123"}), "wrong_token_type"),
        ("an ID token by its audience", json!({"aud": "0oaApi"}), "wrong_token_type"),
        ("no id", json!({"jti": null}), "wrong_token_type"),
        ("bound", json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}), "sender_mismatch"),
        ("bound to no thumbprint", json!({"cnf": {"jkt": "x"}}), "malformed_token"),
        ("DPoP", json!({"token_type": "DPoP"}), "sender_mismatch"),
        ("scope a number", json!({"scope": 1}), "malformed_token"),
    ];
    for (nth, (name, changes, reason)) in rows.into_iter().enumerate() {
        let mut answer = world.issuer.token().answer();
        for (member, value) in changes.as_object().expect("an object") {
            if value.is_null() {
                answer.as_object_mut().expect("an object").remove(member);
            } else {
                answer[member] = value.clone();
            }
        }
        let token = format!("opaque-{nth}");
        world.issuer.answer(&token, answer);
        assert_eq!(world.get(&token).await.verdict(), (401, reason), "{name}");
    }
    assert_eq!(world.app_hits(), 0);
}

#[tokio::test]
async fn what_is_certainly_bad_costs_no_question() {
    let world = World::ready(ValidationMode::Introspection).await;
    eventually("the keys are there", PATIENCE, || async {
        if world.report().await.issuers[0].key_ids.is_empty() { Err("no keys") } else { Ok(()) }
    })
    .await;
    let good = world.issuer.token();
    let now = epoch_seconds();
    for (name, token, reason) in [
        ("bad signature", good.signed_by(tests::mint::other_key()), "bad_signature"),
        ("expired", good.clone().claim("exp", json!(now - 61)).signed(), "expired"),
        ("audience", good.clone().claim("aud", json!("api://other")).signed(), "audience_mismatch"),
        ("issuer", good.clone().claim("iss", json!("https://evil.example")).signed(), "issuer_mismatch"),
        ("bound to a certificate", good.clone().claim("cnf", json!({"x5t#S256": "x"})).signed(), "sender_mismatch"),
    ] {
        assert_eq!(world.get(&token).await.verdict(), (401, reason), "{name}");
    }
    assert_eq!(world.issuer.hits(Endpoint::Introspect), 0);
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

#[tokio::test]
async fn where_the_issuer_judges_alone_no_key_is_waited_for() {
    let issuer = FakeIssuer::start().await;
    issuer.fault(Endpoint::Keys, Fault::Answer(503, String::new()));
    let world = World::start(issuer, ValidationMode::Introspection, |_| {}).await;
    world.await_ready().await;
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.status, 200);
}

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
    let forged = world.issuer.token().signed_by(tests::mint::other_key());
    opaque.answer(&forged, opaque.token().answer());
    assert_eq!(world.get(&forged).await.verdict(), (401, "bad_signature"));
}
