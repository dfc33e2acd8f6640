//! The table of hostile and odd tokens, through the whole sidecar: what is refused, how and why, and what passes. Rows
//! carry the number of the requirement that they prove:
//!
//! 1-5 how a token is sent and a refusal said (RFC 6750, RFC 9110), 12-16 form, header, times, audience and keys
//! (RFC 7515, 7517, 7519), 17-21 the best practice (RFC 8725), 22-23 the access token profile (RFC 9068).

pub(crate) mod forms;
pub(crate) mod good;
pub(crate) mod meanings;
pub(crate) mod scene;

use std::collections::BTreeSet;

use serde_json::Value;
use tests::issuer::Endpoint;
use tests::wait::eventually;
use tollgate_contract::ValidationMode;

use self::scene::{Row, Scene, Sent};
use crate::world::{Answer, PATIENCE};

#[tokio::test]
async fn hostile_tokens_are_refused_with_their_reason_and_never_reach_the_app() {
    let scene = Scene::start().await;
    let rows: Vec<Row> = [forms::rows(&scene), meanings::rows(&scene)].into_iter().flatten().collect();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    for row in &rows {
        let answer = scene.send(&row.sent).await;
        assert_eq!(answer.verdict(), (row.status, row.reason), "{}", row.name);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", row.name);
        check_challenge(row, &answer);
        let everything = format!("{:?} {}", answer.headers, answer.body);
        assert!(!everything.contains("evil") && !everything.contains("eyJ"), "{}: {everything}", row.name);
    }
    assert_eq!(scene.world.app_hits(), 0);
    let statements: BTreeSet<u8> = rows.iter().map(|row| row.statement).collect();
    assert!((1..=5).chain(12..=23).all(|statement| statements.contains(&statement)), "{statements:?}");
    let reasons: BTreeSet<&str> = rows.iter().map(|row| row.reason).collect();
    let all = [
        "audience_mismatch",
        "bad_request",
        "bad_signature",
        "encrypted_token",
        "expired",
        "inactive",
        "insufficient_scope",
        "issuer_mismatch",
        "malformed_token",
        "missing_token",
        "not_yet_valid",
        "sender_mismatch",
        "unknown_key",
        "unsupported_algorithm",
        "wrong_token_type",
    ];
    assert_eq!(reasons, BTreeSet::from(all));
}

#[tokio::test]
async fn good_tokens_pass_whatever_their_form() {
    let scene = Scene::start().await;
    let rows = [good::of_okta(&scene), good::of_others(&scene)].concat();
    let count = rows.len();
    for (name, token) in rows {
        passes(&scene, name, &token).await;
    }
    let token = scene.okta().signed();
    for header in [format!("bearer {token}"), format!("BEARER   {token}")] {
        assert_eq!(scene.world.get_with(&[&header]).await.status, 200, "{header}");
    }
    assert_eq!(scene.world.app_hits(), count + 2);
}

/// What the issuer has signed and the policy does not want, no answer makes good.
#[tokio::test]
async fn where_the_issuer_judges_alone_its_yes_makes_no_wrong_token_good() {
    let scene = Scene::start_in(ValidationMode::Introspection).await;
    let issuer = &scene.world.issuer;
    let typed = forms::rows(&scene).into_iter().filter(|row| row.reason == "wrong_token_type");
    let rows: Vec<Row> = meanings::rows(&scene).into_iter().chain(typed).collect();
    assert!(rows.len() >= 90, "{} rows", rows.len());
    for row in &rows {
        let Sent::Token(token) = &row.sent else { panic!("{} is no token", row.name) };
        issuer.answer(token, scene.okta().answer());
        // Its audience is looked at first, as that takes no key.
        let reason = if row.name == "an ID token for our own client" { "audience_mismatch" } else { row.reason };
        assert_eq!(scene.world.get(token).await.verdict(), (401, reason), "{}", row.name);
    }
    // All of them but this are wrong by themselves; this is only in the wrong hands.
    let asked = issuer.seen(Endpoint::Introspect);
    let asked: Vec<_> = asked.iter().filter_map(|seen| seen.form.get("token")).collect();
    let bound = rows.iter().find(|row| row.name == "bound to a DPoP key").map(|row| &row.sent);
    assert!(matches!(bound, Some(Sent::Token(token)) if asked == [token]), "{asked:?}");
    for (name, token) in good::of_okta(&scene) {
        issuer.answer(&token, scene.okta().answer());
        passes(&scene, name, &token).await;
    }
}

/// 503 is no verdict: on a busy machine a question may take longer than a caller is let wait.
async fn passes(scene: &Scene, name: &str, token: &str) {
    eventually("the token is judged", PATIENCE, || async {
        match scene.world.get(token).await.verdict() {
            (503, reason) => Err(reason.to_owned()),
            verdict => {
                assert_eq!(verdict, (200, "-"), "{name}");
                Ok(())
            }
        }
    })
    .await;
}

/// RFC 6750 section 3: the scheme and a realm always, an error code where something was sent, no attribute twice, and
/// in a description only the characters that it may hold.
fn check_challenge(row: &Row, answer: &Answer) {
    let challenge = answer.header("www-authenticate");
    let attributes = challenge.strip_prefix("Bearer ").unwrap_or_else(|| panic!("{}: {challenge:?}", row.name));
    let attributes: Vec<(&str, &str)> = attributes.split("\", ").filter_map(|one| one.split_once("=\"")).collect();
    let values = |name: &str| {
        attributes
            .iter()
            .filter(|(one, _)| *one == name)
            .map(|(_, value)| value.trim_end_matches('"'))
            .collect::<Vec<_>>()
    };
    assert_eq!(values("realm"), ["items"], "{}: {challenge}", row.name);
    let error: Vec<&str> = if row.error.is_empty() { Vec::new() } else { vec![row.error] };
    assert_eq!(values("error"), error, "{}: {challenge}", row.name);
    assert_eq!(values("scope").is_empty(), row.reason != "insufficient_scope", "{}: {challenge}", row.name);
    for description in values("error_description") {
        let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(description.bytes().all(allowed), "{}: {challenge}", row.name);
    }
    let names: BTreeSet<&str> = attributes.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), attributes.len(), "{}: an attribute twice in {challenge}", row.name);
    assert!(matches!(answer.body["detail"], Value::String(_)), "{}", row.name);
}
