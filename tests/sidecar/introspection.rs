//! The issuer's word about tokens: asked once, remembered for a while, never trusted beyond what it says.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::mint::{Token, epoch_seconds, other_key};
use tests::wait::eventually;
use tollgate_contract::{Access, PathMatch, RouteConfig, ScopesConfig, TokenProfile, ValidationMode};

use crate::world::{PATIENCE, World};

/// The issuer alone judges, and each answer is kept so long.
pub(super) async fn world_with_cache(mode: ValidationMode, millis: u64) -> World {
    let world = World::start(FakeIssuer::start().await, mode, |config| {
        config.issuers[0].introspection.cache_millis = millis;
    })
    .await;
    world.await_ready().await;
    world
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
    for (status, body, reason) in [(200, "{}", "idp_error"), (500, "", "idp_unreachable")] {
        world.issuer.fault(Endpoint::Introspect, Fault::Answer(status, body.into()));
        assert_eq!(world.get(&failing).await.verdict(), (503, reason));
    }
    world.issuer.mend();
    assert_eq!(world.get(&failing).await.verdict(), (200, "-"));
}

#[tokio::test]
async fn a_failed_question_is_503_and_never_a_verdict() {
    let active = json!({"active": true}).to_string();
    let faults = [
        (Fault::Answer(500, String::new()), "idp_unreachable"),
        (Fault::Answer(502, "<html>".into()), "idp_unreachable"),
        (Fault::Answer(404, json!({"errorCode": "E0000007"}).to_string()), "idp_error"),
        (Fault::Answer(400, json!({"error": "invalid_request"}).to_string()), "idp_error"),
        (Fault::Answer(401, json!({"error": "invalid_client"}).to_string()), "idp_error"),
        (Fault::Answer(200, "<html>".into()), "idp_error"),
        (Fault::Answer(200, String::new()), "idp_error"),
        (Fault::Answer(200, "[true]".into()), "idp_error"),
        (Fault::Answer(200, "{}".into()), "idp_error"),
        (Fault::Answer(200, json!({"active": "false"}).to_string()), "idp_error"),
        (Fault::Answer(200, json!({"error": "temporarily_unavailable"}).to_string()), "idp_error"),
        (Fault::Answer(201, active), "idp_error"),
        (Fault::Redirect, "idp_error"),
        (Fault::Oversize(1 << 20), "idp_error"),
        (Fault::Limited(20), "idp_rate_limited"),
        (Fault::TooManyAtOnce, "idp_rate_limited"),
        (Fault::Close, "idp_unreachable"),
        (Fault::Half, "idp_unreachable"),
        (Fault::Hang, "idp_unreachable"),
    ];
    let wires = [
        (Wire::Down, "idp_unreachable"),
        (Wire::Garbage, "idp_error"),
        (Wire::StrangeCertificate, "idp_unreachable"),
        (Wire::OtherName, "idp_unreachable"),
    ];
    let broken = |fault: Option<Fault>, wire: Wire, reason: &'static str| async move {
        let world = World::ready(ValidationMode::LocalAndIntrospection).await;
        world.issuer.wire(wire);
        if let Some(fault) = &fault {
            world.issuer.fault(Endpoint::Introspect, fault.clone());
        }
        let answer = world.get(&world.issuer.active(&world.issuer.token())).await;
        assert_eq!(answer.verdict(), (503, reason), "{fault:?}, {wire:?}");
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        let expected = if matches!(fault, Some(Fault::Limited(_))) { 19..=60 } else { 1..=10 };
        assert!(expected.contains(&seconds), "{fault:?}, {wire:?}: {seconds}");
        assert_eq!(world.issuer.hits(Endpoint::Elsewhere), 0, "credentials follow no redirect");
        assert_eq!(world.app_hits(), 0);
    };
    let faults = faults.into_iter().map(|(fault, reason)| Box::pin(broken(Some(fault), Wire::Good, reason)));
    let wires = wires.into_iter().map(|(wire, reason)| Box::pin(broken(None, wire, reason)));
    join_all(faults.chain(wires)).await;
}

#[tokio::test]
async fn an_active_answer_is_checked_before_it_counts() {
    let world = World::ready(ValidationMode::Introspection).await;
    let now = epoch_seconds();
    let rows = [
        ("active false", json!({"active": false}), "inactive"),
        ("another issuer", json!({"iss": "https://evil.example"}), "issuer_mismatch"),
        ("another audience", json!({"aud": "api://other"}), "audience_mismatch"),
        ("no audience", json!({"aud": null}), "audience_mismatch"),
        ("expired", json!({"exp": now - 61}), "expired"),
        ("no expiry", json!({"exp": null}), "malformed_token"),
        ("not yet", json!({"nbf": now + 120}), "not_yet_valid"),
        ("a refresh token by its type", json!({"token_type": "refresh_token"}), "wrong_token_type"),
        ("a refresh token by its id", json!({"jti": "oar579Mcp7OUsNTlo0g3"}), "wrong_token_type"),
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

/// Where the issuer alone judges, readiness is not about its keys.
async fn await_keys(world: &World) {
    eventually("the keys are there", PATIENCE, || async {
        if world.report().await.issuers[0].key_ids.is_empty() { Err("no keys") } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn what_is_certainly_bad_costs_no_question() {
    let world = World::ready(ValidationMode::Introspection).await;
    await_keys(&world).await;
    let good = world.issuer.token();
    let now = epoch_seconds();
    for (name, token, reason) in [
        ("bad signature", good.signed_by(other_key()), "bad_signature"),
        ("expired", good.clone().claim("exp", json!(now - 61)).signed(), "expired"),
        ("audience", good.clone().claim("aud", json!("api://other")).signed(), "audience_mismatch"),
        ("issuer", good.clone().claim("iss", json!("https://evil.example")).signed(), "issuer_mismatch"),
        (
            "bound to a certificate",
            good.clone().claim("cnf", json!({"x5t#S256": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})).signed(),
            "sender_mismatch",
        ),
        ("a logout token", good.clone().header("typ", json!("logout+jwt")).signed(), "wrong_token_type"),
        (
            "a proof under an unknown key",
            good.clone().header("typ", json!("dpop+jwt")).header("kid", json!("x")).signed(),
            "wrong_token_type",
        ),
        ("an ID token for us", good.clone().claim("nonce", json!("n")).signed(), "wrong_token_type"),
        ("a life of two days", good.clone().claim("exp", json!(now + 2 * 86_400)).signed(), "malformed_token"),
        (
            "the same without kid",
            good.clone().claim("exp", json!(now + 2 * 86_400)).header("kid", json!(null)).signed(),
            "malformed_token",
        ),
    ] {
        // Whatever its issuer would say of it.
        world.issuer.answer(&token, good.answer());
        assert_eq!(world.get(&token).await.verdict(), (401, reason), "{name}");
    }
    assert_eq!(world.issuer.hits(Endpoint::Introspect), 0);
}

#[tokio::test]
async fn a_token_that_is_certainly_its_issuers_keeps_to_the_profile_and_the_lifetime_of_the_policy() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::Introspection, |config| {
        config.issuers[0].token_profile = TokenProfile::Rfc9068;
        config.issuers[0].max_token_lifetime_seconds = 3_600;
    })
    .await;
    world.await_ready().await;
    await_keys(&world).await;
    let now = epoch_seconds();
    let good = world.issuer.token().header("typ", json!("at+jwt")).claim("client_id", json!("0oaCaller"));
    let lasting = good.clone().claim("exp", json!(now + 7_200));
    for (name, token, expected) in [
        ("good", good.clone(), (200, "-")),
        ("Okta's own form", world.issuer.token(), (401, "wrong_token_type")),
        ("without jti", good.clone().claim("jti", json!(null)), (401, "malformed_token")),
        ("of two hours", lasting.clone(), (401, "malformed_token")),
    ] {
        let text = token.signed();
        world.issuer.answer(&text, good.answer());
        assert_eq!(world.get(&text).await.verdict(), expected, "{name}");
    }
    world.issuer.answer("opaque", lasting.answer());
    assert_eq!(world.get("opaque").await.verdict(), (401, "malformed_token"), "an opaque one by what is said of it");
}

#[tokio::test]
async fn refresh_and_id_tokens_of_okta_behind_a_custom_domain_do_not_pass() {
    let domain = "https://login.acme.example";
    let issuer = FakeIssuer::start().await;
    let introspection = format!("{}/v1/introspect", issuer.url());
    let world = World::start(issuer, ValidationMode::Introspection, |config| {
        config.issuers[0].url = domain.into();
        config.issuers[0].endpoints.introspection = Some(introspection);
        config.token_broker = None;
    })
    .await;
    world.await_ready().await;
    for (jti, expected) in [
        (json!("AT.abc"), (200, "-")),
        (json!("oar579Mcp7OUsNTlo0g3"), (401, "wrong_token_type")),
        (json!("ID.abc"), (401, "wrong_token_type")),
        (json!("a-uuid"), (401, "wrong_token_type")),
        (json!(null), (401, "wrong_token_type")),
    ] {
        let token = format!("opaque-{jti}").replace('"', "");
        world.issuer.answer(&token, Token::of(domain).claim("jti", jti).answer());
        assert_eq!(world.get(&token).await.verdict(), expected, "{token}");
    }
}

#[tokio::test]
async fn where_both_must_agree_a_scope_that_the_answer_lacks_is_none() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::LocalAndIntrospection, |config| {
        config.routes = ["items", "admin"].map(route_with_scope).into();
    })
    .await;
    world.await_ready().await;
    let token = world.issuer.token();
    let text = token.clone().claim("scp", json!(["admin", "items"])).signed();
    world.issuer.answer(&text, token.claim("scp", json!(["items", "other"])).answer());
    for _ in 0..2 {
        let answer = world.get_path("/items", &text).await;
        assert_eq!((answer.status, &answer.body["scopes"]), (200, &json!("items")), "the app sees what both say");
        assert_eq!(world.get_path("/admin", &text).await.verdict(), (403, "insufficient_scope"));
    }
}

#[tokio::test]
async fn nothing_that_fails_locally_is_asked_about_where_both_must_agree() {
    let world = World::ready(ValidationMode::LocalAndIntrospection).await;
    let good = world.issuer.token();
    let now = epoch_seconds();
    for (name, token, reason) in [
        ("bad signature", good.signed_by(other_key()), "bad_signature"),
        ("unknown key", good.clone().header("kid", json!("unknown")).signed(), "unknown_key"),
        ("expired", good.clone().claim("exp", json!(now - 61)).signed(), "expired"),
        ("an ID token", good.clone().claim("nonce", json!("n")).signed(), "wrong_token_type"),
        ("encrypted", "eyJ.a.b.c.d".into(), "encrypted_token"),
        ("opaque", "opaque".into(), "malformed_token"),
    ] {
        world.issuer.answer(&token, good.answer());
        assert_eq!(world.get(&token).await.verdict(), (401, reason), "{name}");
    }
    assert_eq!(world.issuer.hits(Endpoint::Introspect), 0);
}

#[tokio::test]
async fn what_a_route_needs_is_looked_at_on_every_request_and_never_remembered() {
    for mode in [ValidationMode::Local, ValidationMode::Introspection, ValidationMode::LocalAndIntrospection] {
        let world = World::start(FakeIssuer::start().await, mode, |config| {
            config.routes = ["items", "admin"].map(route_with_scope).into();
        })
        .await;
        world.await_ready().await;
        let token = world.issuer.active(&world.issuer.token());
        for _ in 0..2 {
            assert_eq!(world.get_path("/items", &token).await.verdict(), (200, "-"), "{mode:?}");
            assert_eq!(world.get_path("/admin", &token).await.verdict(), (403, "insufficient_scope"), "{mode:?}");
        }
        let asked = usize::from(mode != ValidationMode::Local);
        assert_eq!(world.issuer.hits(Endpoint::Introspect), asked, "the verdict itself is remembered");
        assert_eq!(world.app_hits(), 2);
    }
}

/// `/<scope>` for those who hold the scope of that name.
fn route_with_scope(scope: &str) -> RouteConfig {
    RouteConfig {
        name: scope.into(),
        path: PathMatch::Prefix(format!("/{scope}")),
        methods: Vec::new(),
        access: Access::Authenticated,
        scopes: ScopesConfig { all_of: vec![scope.into()], any_of: Vec::new() },
        issuers: Vec::new(),
        when: None,
    }
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
