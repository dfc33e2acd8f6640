//! Answers to the letter: challenges by policy and by what was tried, problems, and the form of gRPC.

use std::time::Duration;

use http_body_util::BodyExt;
use tollgate_contract::DpopMode;

use super::*;
use crate::external::ExternalUrls;
use crate::reason::Reason;

const DETAIL: &str = "One \"sentence\".";

fn policy(modes: &[DpopMode]) -> Policy {
    let issuers: Vec<_> = modes
        .iter()
        .enumerate()
        .map(|(nth, mode)| {
            serde_json::json!({
                "name": format!("okta-{nth}"), "url": format!("https://acme-{nth}.okta.test/oauth2/default"),
                "audiences": ["api://default"], "validation": "Local", "introspection": {"cacheMillis": 0},
                "clockSkewSeconds": 60, "dpop": mode,
            })
        })
        .collect();
    let config = serde_json::json!({
        "namespace": "shop", "name": "items", "issuers": issuers, "defaultAccess": "Authenticated", "routes": [],
        "externalUrls": ["https://api.acme.test/shop"], "upstream": {"port": 8000}, "logLevel": "info",
    });
    Policy::from_file(config.to_string().as_bytes()).unwrap()
}

fn challenges(modes: &[DpopMode], reason: Reason, context: Context<'_>) -> Vec<String> {
    let answer = Rescue::new(&policy(modes)).answer(&Rejection::new(reason, DETAIL), context, Form::Problem);
    let values = answer.headers().get_all(header::WWW_AUTHENTICATE);
    values.iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn tried<'a>(authorization: Option<&'static str>, urls: &'a ExternalUrls) -> Attempt<'a> {
    let authorization = authorization.map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value)));
    Attempt::of(&HeaderMap::from_iter(authorization), urls)
}

const DESCRIBED: &str = r#"error_description="One 'sentence'.""#;
const ALGS: &str = r#"algs="RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA""#;

#[test]
fn every_401_carries_a_challenge_and_nothing_else_but_403_for_scope() {
    for reason in Reason::ALL {
        let has_challenge = !challenges(&[DpopMode::Refuse], reason, Context::None).is_empty();
        let wants = status(reason) == StatusCode::UNAUTHORIZED || reason == Reason::InsufficientScope;
        assert_eq!(has_challenge, wants, "{reason:?}");
    }
}

#[test]
fn without_credentials_the_challenges_name_no_error() {
    let none = ExternalUrls::default();
    let context = Context::Credentials(tried(None, &none));
    for (modes, expected) in [
        (&[DpopMode::Refuse][..], vec![r#"Bearer realm="items""#.to_owned()]),
        (&[DpopMode::Accept], vec![r#"Bearer realm="items""#.to_owned(), format!(r#"DPoP realm="items", {ALGS}"#)]),
        (
            &[DpopMode::Require, DpopMode::Refuse],
            vec![r#"Bearer realm="items""#.to_owned(), format!(r#"DPoP realm="items", {ALGS}"#)],
        ),
        (&[DpopMode::Require, DpopMode::Require], vec![format!(r#"DPoP realm="items", {ALGS}"#)]),
    ] {
        assert_eq!(challenges(modes, Reason::MissingToken, context), expected, "{modes:?}");
    }
}

#[test]
fn the_scheme_that_was_tried_carries_the_error() {
    let none = ExternalUrls::default();
    let (bearer, dpop) = (tried(Some("Bearer abc"), &none), tried(Some("dpop abc"), &none));
    let plain_bearer = || r#"Bearer realm="items""#.to_owned();
    let plain_dpop = || format!(r#"DPoP realm="items", {ALGS}"#);
    let bearer_says = |error: &str| format!(r#"Bearer realm="items", error="{error}", {DESCRIBED}"#);
    let dpop_says = |error: &str| format!(r#"DPoP realm="items", error="{error}", {DESCRIBED}, {ALGS}"#);
    for (mode, attempt, reason, expected) in [
        (DpopMode::Refuse, bearer, Reason::Expired, vec![bearer_says("invalid_token")]),
        (DpopMode::Refuse, dpop, Reason::SenderMismatch, vec![bearer_says("invalid_token")]),
        (DpopMode::Accept, bearer, Reason::Expired, vec![bearer_says("invalid_token"), plain_dpop()]),
        (DpopMode::Accept, bearer, Reason::SenderMismatch, vec![bearer_says("invalid_token"), plain_dpop()]),
        (DpopMode::Accept, dpop, Reason::Expired, vec![plain_bearer(), dpop_says("invalid_token")]),
        (DpopMode::Accept, dpop, Reason::DpopMissing, vec![plain_bearer(), dpop_says("invalid_dpop_proof")]),
        (DpopMode::Accept, dpop, Reason::DpopInvalid, vec![plain_bearer(), dpop_says("invalid_dpop_proof")]),
        (DpopMode::Accept, dpop, Reason::DpopReplayed, vec![plain_bearer(), dpop_says("invalid_dpop_proof")]),
        (DpopMode::Accept, dpop, Reason::DpopNonceRequired, vec![plain_bearer(), dpop_says("use_dpop_nonce")]),
        (DpopMode::Require, bearer, Reason::DpopMissing, vec![dpop_says("invalid_token")]),
        (DpopMode::Require, bearer, Reason::Expired, vec![dpop_says("invalid_token")]),
    ] {
        assert_eq!(challenges(&[mode], reason, Context::Credentials(attempt)), expected, "{mode:?} {reason:?}");
    }
}

#[test]
fn a_missing_scope_names_the_scopes_and_offers_no_other_scheme() {
    let none = ExternalUrls::default();
    let scope = |attempt| Context::Scope(attempt, "a b");
    let expected = format!(r#"Bearer realm="items", error="insufficient_scope", {DESCRIBED}, scope="a b""#);
    let attempt = tried(Some("Bearer abc"), &none);
    assert_eq!(challenges(&[DpopMode::Accept], Reason::InsufficientScope, scope(attempt)), [expected]);
    let expected = format!(r#"DPoP realm="items", error="insufficient_scope", {DESCRIBED}, scope="a b", {ALGS}"#);
    let attempt = tried(Some("DPoP abc"), &none);
    assert_eq!(challenges(&[DpopMode::Accept], Reason::InsufficientScope, scope(attempt)), [expected]);
}

#[test]
fn two_credentials_are_an_invalid_request_and_a_broken_request_has_no_challenge() {
    let none = ExternalUrls::default();
    let context = Context::Credentials(tried(Some("Bearer abc"), &none));
    let expected = format!(r#"Bearer realm="items", error="invalid_request", {DESCRIBED}"#);
    assert_eq!(challenges(&[DpopMode::Accept], Reason::BadRequest, context), [expected]);
    assert!(challenges(&[DpopMode::Accept], Reason::BadRequest, Context::None).is_empty());
}

#[test]
fn every_challenge_names_the_metadata_of_the_url_that_was_used() {
    let policy = policy(&[DpopMode::Accept]);
    let context = Context::Credentials(tried(Some("Bearer abc"), &policy.external_urls));
    let metadata = r#"resource_metadata="https://api.acme.test/.well-known/oauth-protected-resource/shop""#;
    for reason in [Reason::MissingToken, Reason::Expired] {
        let challenges = challenges(&[DpopMode::Accept], reason, context);
        assert!(challenges.iter().all(|challenge| challenge.ends_with(metadata)), "{challenges:?}");
    }
}

#[tokio::test]
async fn the_body_is_a_problem_with_the_reason() {
    let rescue = Rescue::new(&policy(&[DpopMode::Refuse]));
    let response = rescue.answer(&Rejection::new(Reason::RouteDenied, DETAIL), Context::None, Form::Problem);
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "type": "https://tollgate.dev/reasons/route_denied", "title": "This path is closed", "status": 403,
            "detail": DETAIL, "reason": "route_denied",
        })
    );
}

#[tokio::test]
async fn a_grpc_caller_gets_the_same_headers_and_no_body() {
    let rescue = Rescue::new(&policy(&[DpopMode::Accept]));
    let nonce = HeaderValue::from_static("abc");
    let rejection = Rejection::new(Reason::DpopNonceRequired, "A nonce.").dpop_nonce(Some(nonce));
    let none = ExternalUrls::default();
    let context = Context::Credentials(tried(Some("DPoP abc"), &none));
    let response = rescue.answer(&rejection, context, Form::Grpc);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "16");
    assert_eq!(response.headers()["grpc-message"], "dpop_nonce_required: A nonce.");
    assert_eq!(response.headers()[DPOP_NONCE], "abc");
    assert_eq!(response.headers().get_all(header::WWW_AUTHENTICATE).iter().count(), 2);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[test]
fn retry_after_is_rounded_up_and_allow_is_listed() {
    let rescue = Rescue::new(&policy(&[DpopMode::Refuse]));
    let rejection = Rejection::new(Reason::Overloaded, "Busy.").retry_after(Duration::from_millis(1_001));
    let response = rescue.answer(&rejection, Context::None, Form::Problem);
    assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    let rejection = Rejection::new(Reason::MethodNotAllowed, DETAIL);
    let response = rescue.answer(&rejection, Context::Allow(MethodSet::GET), Form::Problem);
    assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
}

#[test]
fn the_answer_on_the_wire_has_its_length() {
    let rejection = Rejection::new(Reason::Overloaded, "Busy.");
    let wire = String::from_utf8(Rescue::new(&policy(&[DpopMode::Refuse])).answer_and_close(&rejection)).unwrap();
    let (head, body) = wire.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
}
