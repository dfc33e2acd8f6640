//! The token endpoint for callers, through the whole sidecar.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::wait::eventually;
use tollgate_contract::ValidationMode;

use crate::world::{PATIENCE, World};

type Headers<'a> = &'a [(&'a str, &'a str)];

const GRANT: &str = "grant_type=client_credentials";

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn client_credentials_become_a_token_that_opens_the_api() {
    let world = World::ready(ValidationMode::Local).await;
    let authorization = basic("0oaCaller", "s3cret");
    let answer = world.post_token(&[("authorization", &authorization)], GRANT).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((&answer.body["token_type"], &answer.body["scope"]), (&json!("Bearer"), &json!("items")));
    assert!(answer.body["expires_in"].as_u64().is_some_and(|left| (3590..=3600).contains(&left)));
    let token = answer.body["access_token"].as_str().expect("a token");
    assert_eq!(world.get(token).await.status, 200);
    let asked = &world.issuer.seen(Endpoint::Token)[0];
    assert_eq!(asked.line, "POST /oauth2/default/v1/token");
    assert_eq!(asked.authorization.as_deref(), Some(authorization.as_str()), "passed on as it came");
    let form = [("grant_type", "client_credentials"), ("scope", "items")];
    assert_eq!(asked.form, form.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn credentials_in_the_form_go_on_in_the_form() {
    let world = World::ready(ValidationMode::Local).await;
    let form = format!("{GRANT}&client_id=0oaCaller&client_secret=s3cret&scope=items%3Awrite%20items&ignored=1");
    let answer = world.post_token(&[], &form).await;
    assert_eq!((answer.status, &answer.body["scope"]), (200, &json!("items items:write")));
    let asked = &world.issuer.seen(Endpoint::Token)[0];
    assert_eq!(asked.authorization, None);
    assert_eq!(asked.form.get("client_secret").map(String::as_str), Some("s3cret"));
    assert!(!asked.form.contains_key("ignored"));
}

#[tokio::test]
async fn swagger_uis_dialog_works_with_blank_user_and_password_only() {
    let world = World::ready(ValidationMode::Local).await;
    let authorization = basic("0oaCaller", "s3cret");
    let headers = [("authorization", authorization.as_str()), ("x-requested-with", "XMLHttpRequest")];
    let answer = world.post_token(&headers, "grant_type=password&username=&password=&scope=items").await;
    assert_eq!(answer.status, 200);
    let asked = &world.issuer.seen(Endpoint::Token)[0].form;
    assert_eq!(asked.get("grant_type").map(String::as_str), Some("client_credentials"));
    assert!(!asked.contains_key("username") && !asked.contains_key("password"));
    let answer = world.post_token(&headers, "grant_type=password&username=ann&password=hunter2&scope=items").await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("unsupported_grant_type")));
    assert!(!answer.body.to_string().contains("hunter2"));
    assert_eq!(world.issuer.hits(Endpoint::Token), 1, "a person's password goes nowhere");
    let wrong = basic("0oaCaller", "wrong");
    let headers = [("authorization", wrong.as_str()), ("x-requested-with", "XMLHttpRequest")];
    let answer = world.post_token(&headers, "grant_type=password").await;
    assert_eq!((answer.status, &answer.body["error"]), (401, &json!("invalid_client")));
    let description = "The client secret supplied for a confidential client is invalid.";
    assert_eq!(answer.body["error_description"], description, "the page shows Okta's own words");
    assert!(!answer.header("www-authenticate").starts_with("Basic"), "no password dialog over the page");
}

#[tokio::test]
async fn oktas_errors_come_back_with_status_code_and_words() {
    let world = World::ready(ValidationMode::Local).await;
    for (id, secret, description) in [
        ("0oaCaller", "wrong", "The client secret supplied for a confidential client is invalid."),
        ("0oaNobody", "s3cret", "Invalid value for 'client_id' parameter."),
    ] {
        let answer = world.post_token(&[("authorization", &basic(id, secret))], GRANT).await;
        assert_eq!((answer.status, &answer.body["error"]), (401, &json!("invalid_client")));
        assert_eq!(answer.body["error_description"], description);
        assert!(answer.header("www-authenticate").starts_with("Basic realm="));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let denied = json!({"error": "access_denied", "error_description": "Policy evaluation failed.", "errorId": "oae1"});
    world.issuer.fault(Endpoint::Token, Fault::Answer(400, denied.to_string()));
    let answer = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], GRANT).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, json!({"error": "access_denied", "error_description": "Policy evaluation failed."}));
}

#[tokio::test]
async fn requests_that_need_no_issuer_to_be_refused_do_not_reach_it() {
    let world = World::ready(ValidationMode::Local).await;
    let authorization = basic("0oaCaller", "s3cret");
    let with = ("authorization", authorization.as_str());
    let rows: [(&str, Headers<'_>, &str, u16, &str); 9] = [
        ("no credentials", &[], GRANT, 401, "invalid_client"),
        ("no grant", &[with], "", 400, "invalid_request"),
        ("grant twice", &[with], "grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        ("another grant", &[with], "grant_type=authorization_code&code=1", 400, "unsupported_grant_type"),
        ("a scope not offered", &[with], "grant_type=client_credentials&scope=admin", 400, "invalid_scope"),
        ("two credentials", &[with], "grant_type=client_credentials&client_secret=s3cret", 400, "invalid_request"),
        ("an assertion", &[], "grant_type=client_credentials&client_assertion=e30.e30.AA", 400, "invalid_request"),
        ("a proof", &[with, ("dpop", "e30.e30.AA")], GRANT, 400, "invalid_request"),
        ("a bearer token", &[("authorization", "Bearer abc")], GRANT, 401, "invalid_client"),
    ];
    for (name, headers, form, status, error) in rows {
        let answer = world.post_token(headers, form).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{name}");
        assert_eq!(answer.header("cache-control"), "no-store", "{name}");
    }
    assert_eq!(world.issuer.hits(Endpoint::Token), 0);
    assert_eq!(world.app_hits(), 0, "the path is the broker's, never the app's");
}

#[tokio::test]
async fn equal_requests_share_one_token_and_a_wrong_secret_shares_nothing() {
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.fault(Endpoint::Token, Fault::Delay(Duration::from_millis(200)));
    let authorization = basic("0oaCaller", "s3cret");
    let headers = [("authorization", authorization.as_str())];
    let answers = join_all((0..50).map(|_| world.post_token(&headers, GRANT))).await;
    let first = &answers[0].body["access_token"];
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body["access_token"] == *first));
    let again = world.post_token(&headers, GRANT).await;
    assert_eq!(&again.body["access_token"], first);
    assert_eq!(world.issuer.hits(Endpoint::Token), 1);
    assert_eq!(world.metric("tollgate_broker_requests_total{outcome=\"cached\"}").await, 1);
    world.issuer.mend();
    let wrong = world.post_token(&[("authorization", &basic("0oaCaller", "wrong"))], GRANT).await;
    assert_eq!((wrong.status, &wrong.body["error"]), (401, &json!("invalid_client")));
    let wider = world.post_token(&headers, &format!("{GRANT}&scope=items+items%3Awrite")).await;
    assert_ne!(&wider.body["access_token"], first, "other scopes are another token");
    let in_form = format!("{GRANT}&client_id=0oaCaller&client_secret=s3cret");
    assert_ne!(&world.post_token(&[], &in_form).await.body["access_token"], first, "another method is another token");
    assert_eq!(world.issuer.hits(Endpoint::Token), 4);
}

#[tokio::test]
async fn a_token_that_proves_inactive_is_not_handed_out_again() {
    let world = World::ready(ValidationMode::LocalAndIntrospection).await;
    let authorization = basic("0oaCaller", "s3cret");
    let headers = [("authorization", authorization.as_str())];
    let first = world.post_token(&headers, GRANT).await.body["access_token"].clone();
    assert_eq!(world.post_token(&headers, GRANT).await.body["access_token"], first);
    // Minted tokens are unknown to introspection here, as if revoked at once.
    let verdict = world.get(first.as_str().expect("a token")).await;
    assert_eq!(verdict.verdict(), (401, "inactive"));
    assert_ne!(world.post_token(&headers, GRANT).await.body["access_token"], first);
}

#[tokio::test]
async fn nothing_of_the_issuers_answer_passes_but_what_oauth_names() {
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.token_extras(json!({"refresh_token": "r", "id_token": "i", "device_secret": "d", "x": {"y": 1}}));
    let answer = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], GRANT).await;
    let mut members: Vec<_> = answer.body.as_object().expect("an object").keys().cloned().collect();
    members.sort();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"]);
}

#[tokio::test]
async fn a_limited_or_broken_issuer_is_told_from_a_wrong_request() {
    let rows = [
        (Fault::Limited(20), 429, "temporarily_unavailable"),
        (Fault::Answer(500, "<html>secret page</html>".into()), 503, "temporarily_unavailable"),
        (Fault::Answer(404, json!({"errorCode": "E0000007"}).to_string()), 503, "server_error"),
        (Fault::Answer(400, "<html>secret page</html>".into()), 503, "server_error"),
        (Fault::Answer(200, "<html>secret page</html>".into()), 503, "server_error"),
        (Fault::Redirect, 503, "server_error"),
        (Fault::Oversize(1 << 20), 503, "server_error"),
        (Fault::Close, 503, "temporarily_unavailable"),
        (Fault::Hang, 503, "temporarily_unavailable"),
    ];
    for (fault, status, error) in rows {
        let world = World::ready(ValidationMode::Local).await;
        world.issuer.fault(Endpoint::Token, fault.clone());
        let answer = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], GRANT).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{fault:?}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{fault:?}");
        assert!(!answer.body.to_string().contains("secret page"), "{fault:?}");
        assert_eq!(world.issuer.hits(Endpoint::Elsewhere), 0, "credentials follow no redirect");
    }
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.wire(Wire::Down);
    let answer = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], GRANT).await;
    assert_eq!((answer.status, &answer.body["error"]), (503, &json!("temporarily_unavailable")));
}

#[tokio::test]
async fn without_swagger_form_the_password_grant_is_refused() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::Local, |config| {
        config.token_broker.as_mut().expect("a broker").swagger_form = false;
    })
    .await;
    world.await_ready().await;
    let answer = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], "grant_type=password").await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("unsupported_grant_type")));
}

#[tokio::test]
async fn a_callers_own_limit_is_told_to_that_caller_and_stops_nobody_else() {
    let world = World::ready(ValidationMode::Local).await;
    world.issuer.client("0oaOther", &["other-secret"]);
    // Nothing is handed out twice. The limit is wider than the one that the caller will hear of.
    world.issuer.lifetime(0);
    world.issuer.limit(1_200, Duration::from_secs(60));
    let (caller, other) = (basic("0oaCaller", "s3cret"), basic("0oaOther", "other-secret"));
    for known in [&caller, &other] {
        assert_eq!(world.post_token(&[("authorization", known)], GRANT).await.status, 200);
    }
    world.issuer.fault(Endpoint::Token, Fault::Limited(30));
    let limited = world.post_token(&[("authorization", &caller)], GRANT).await;
    assert_eq!((limited.status, &limited.body["error"]), (429, &json!("temporarily_unavailable")));
    world.issuer.mend();
    let asked = world.issuer.hits(Endpoint::Token);
    let again = world.post_token(&[("authorization", &caller)], GRANT).await;
    assert_eq!(again.status, 429, "the issuer is left in peace until then");
    assert!(again.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    assert_eq!(world.issuer.hits(Endpoint::Token), asked);
    assert_eq!(world.post_token(&[("authorization", &other)], GRANT).await.status, 200);
}

#[tokio::test]
async fn a_refused_request_is_not_asked_again_at_once() {
    let world = World::ready(ValidationMode::Local).await;
    let no = json!({"error": "invalid_scope", "error_description": "No scopes."});
    world.issuer.fault(Endpoint::Token, Fault::Answer(400, no.to_string()));
    for _ in 0..20 {
        let answer = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], GRANT).await;
        assert_eq!((answer.status, &answer.body), (400, &no));
    }
    assert_eq!(world.issuer.hits(Endpoint::Token), 1);
    world.issuer.mend();
    let wider = format!("{GRANT}&scope=items%3Awrite");
    let other = world.post_token(&[("authorization", &basic("0oaCaller", "s3cret"))], &wider).await;
    assert_eq!(other.status, 200, "another request is another question");
}

#[tokio::test]
async fn one_client_with_good_credentials_cannot_spend_what_others_need() {
    let issuer = Arc::new(FakeIssuer::start().await);
    issuer.limit(600, Duration::from_secs(60));
    // Nothing is handed out twice.
    issuer.lifetime(0);
    let folder = tempfile::tempdir().expect("a folder");
    let hints = folder.path().join("hints.json");
    std::fs::write(&hints, json!({"issuers": [{"name": "okta", "sharers": 1}]}).to_string()).expect("a file");
    let choose = |options: &mut tollgate_sidecar::Options| options.hints = hints;
    let world = World::start_as(choose, Arc::clone(&issuer), ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].introspection.cache_millis = 50;
    })
    .await;
    world.await_ready().await;
    let known = issuer.active(&issuer.token());
    assert_eq!(world.get(&known).await.status, 200);
    let greedy = basic("0oaCaller", "s3cret");
    let mut turned_away = 0;
    for _ in 0..160 {
        let answer = world.post_token(&[("authorization", &greedy)], GRANT).await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        turned_away += u32::from(answer.status == 503);
    }
    // An eighth of a quarter of 600; the first call was a stranger's.
    assert_eq!((issuer.hits(Endpoint::Token), turned_away), (19, 160 - 19));
    issuer.client("0oaOther", &["other-secret"]);
    assert_eq!(world.post_token(&[("authorization", &basic("0oaOther", "other-secret"))], GRANT).await.status, 200);
    let asked = issuer.hits(Endpoint::Introspect);
    eventually("the known token is asked about again", PATIENCE, || async {
        assert_eq!(world.get(&known).await.status, 200);
        if issuer.hits(Endpoint::Introspect) > asked { Ok(()) } else { Err("its answer is fresh") }
    })
    .await;
    assert_eq!(world.get(&issuer.active(&issuer.token())).await.status, 200);
}

#[tokio::test]
async fn who_is_turned_away_by_us_hears_503_and_when_to_come_back() {
    let issuer = FakeIssuer::start().await;
    // A share of less than a call a minute for strangers.
    issuer.limit(60, Duration::from_secs(60));
    let world = World::start(issuer, ValidationMode::Local, |_| {}).await;
    world.await_ready().await;
    let mut shed = 0;
    for number in 0..10 {
        let answer = world.post_token(&[("authorization", &basic(&format!("0oa{number}"), "guess"))], GRANT).await;
        if answer.status != 401 {
            assert_eq!((answer.status, &answer.body["error"]), (503, &json!("temporarily_unavailable")));
            assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
            shed += 1;
        }
    }
    assert!(shed >= 8, "{shed}");
    assert!(world.issuer.hits(Endpoint::Token) <= 2);
    assert!(world.metric("tollgate_idp_refused_total{issuer=\"okta\",calls=\"token\",lane=\"stranger\"}").await >= 8);
}
