//! Every refusal says why, in the words of the RFCs: status, problem, challenges to the letter, gRPC's own form, and the
//! metadata by which a client finds out what is wanted.

use std::collections::BTreeSet;

use http::header::{self, HeaderMap};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use tests::issuer::FakeIssuer;
use tollgate_contract::{DpopMode, SidecarConfig, ValidationMode};
use tollgate_sidecar::policy::Policy;
use tollgate_sidecar::reason::Reason;
use tollgate_sidecar::rejection::Rejection;
use tollgate_sidecar::rescue::{Attempt, Context, Form, Rescue, status};

use crate::world::{Answer, World};

const METADATA: &str = "/.well-known/oauth-protected-resource/shop";

async fn world(change: impl FnOnce(&mut SidecarConfig)) -> World {
    let world = World::start(FakeIssuer::start().await, ValidationMode::Local, |config| {
        config.external_urls = vec!["https://api.acme.test/shop".into()];
        config.issuers[0].dpop = DpopMode::Accept;
        change(config);
    })
    .await;
    world.await_ready().await;
    world
}

/// A challenge, as a client reads it.
#[derive(Debug, PartialEq)]
struct Challenge {
    scheme: String,
    attributes: Vec<(String, String)>,
}

impl Challenge {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads what RFC 9110 section 11.6.1 allows a server to write with quoted values and one challenge in a field line;
/// panics at anything else, at an attribute that is there twice (RFC 6750 section 3), and at characters that RFC 6750
/// does not allow in a value.
fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    values.map(|value| challenge(value.to_str().expect("visible ASCII"))).collect()
}

fn challenge(text: &str) -> Challenge {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let (scheme, mut rest) = text.split_once(' ').expect("a scheme and at least one attribute");
    assert!(is_token(scheme), "{text}");
    let mut attributes: Vec<(String, String)> = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("an attribute with a quoted value");
        assert!(is_token(name) && attributes.iter().all(|(own, _)| own != name), "{name} in {text}");
        let (value, after) = after.split_once('"').expect("the value's end");
        let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(value.bytes().all(allowed), "{value} in {text}");
        attributes.push((name.to_owned(), value.to_owned()));
        if after.is_empty() {
            return Challenge { scheme: scheme.to_owned(), attributes };
        }
        rest = after.strip_prefix(", ").expect("a comma before the next attribute");
    }
}

#[test]
#[should_panic(expected = "error in")]
fn the_reader_of_challenges_takes_no_attribute_twice() {
    challenge(r#"Bearer error="a", error="b""#);
}

fn policy() -> Policy {
    let policy = json!({
        "namespace": "shop", "name": "items", "defaultAccess": "Authenticated", "routes": [],
        "issuers": [{
            "name": "okta", "url": "https://acme.okta.test/oauth2/default", "audiences": ["api://default"],
            "validation": "Local", "introspection": {"cacheMillis": 0}, "clockSkewSeconds": 60, "dpop": "Accept",
        }],
        "externalUrls": ["https://api.acme.test/shop"], "upstream": {"port": 8000}, "logLevel": "info",
    });
    Policy::from_file(policy.to_string().as_bytes()).expect("a policy")
}

#[test]
fn every_reason_has_a_status_a_problem_challenges_to_the_letter_and_a_grpc_status() {
    let policy = policy();
    let rescue = Rescue::new(&policy);
    for (authorization, reason) in ["Bearer abc", "DPoP abc"].into_iter().flat_map(|a| Reason::ALL.map(|r| (a, r))) {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(authorization))]);
        let context = Context::Credentials(Attempt::of(&headers, &policy.external_urls));
        let rejection = Rejection::new(reason, "A sentence \"with\" ticks \\ and ümlauts.");
        let problem = rescue.answer(&rejection, context, Form::Problem);
        assert_eq!(problem.status(), status(reason));
        assert!(problem.status().is_client_error() || problem.status().is_server_error(), "{reason:?}");
        assert_eq!(problem.headers()["content-type"], "application/problem+json");
        let named = challenges(problem.headers());
        let expected = match (reason, problem.status().as_u16()) {
            (Reason::InvalidClient | Reason::InsufficientScope | Reason::BadRequest, _) => 1,
            (_, 401) => 2,
            _ => 0,
        };
        assert_eq!(named.len(), expected, "{reason:?} {named:?}");
        assert!(named.iter().filter(|one| one.attribute("error").is_some()).count() <= 1, "{named:?}");
        assert!(named.iter().all(|one| one.attribute("realm") == Some("items")), "{named:?}");

        let grpc = rescue.answer(&rejection, context, Form::Grpc);
        assert_eq!(
            (grpc.status().as_u16(), &grpc.headers()["content-type"]),
            (200, &HeaderValue::from_static("application/grpc"))
        );
        let code: u16 = grpc.headers()["grpc-status"].to_str().expect("digits").parse().expect("a number");
        assert!([3, 4, 7, 8, 14, 16].contains(&code), "{reason:?} is {code}");
        assert_eq!(code == 16, problem.status() == 401, "{reason:?}");
        let message = grpc.headers()["grpc-message"].to_str().expect("ASCII");
        assert!(message.starts_with(&format!("{}: A sentence", reason.as_str())), "{message}");
        assert_eq!(challenges(grpc.headers()), named, "both are told the same");
    }
}

fn errors(answer: &Answer) -> Vec<(String, Option<String>)> {
    let challenges = challenges(&answer.headers);
    challenges.iter().map(|one| (one.scheme.clone(), one.attribute("error").map(str::to_owned))).collect()
}

#[tokio::test]
async fn a_caller_without_credentials_learns_what_is_taken_and_no_error() {
    let world = world(|_| {}).await;
    for headers in [&[][..], &[("authorization", "Basic YTpi")], &[("authorization", "Negotiate abc")]] {
        let answer = world.send(Method::GET, "/items?access_token=abc", headers).await;
        assert_eq!(answer.verdict(), (401, "missing_token"));
        assert_eq!(errors(&answer), [("Bearer".into(), None), ("DPoP".into(), None)], "{headers:?}");
    }
}

#[tokio::test]
async fn two_ways_to_send_a_token_are_an_invalid_request() {
    let world = world(|_| {}).await;
    let token = world.issuer.token().signed();
    let bearer = format!("Bearer {token}");
    let invalid = [("Bearer".to_owned(), Some("invalid_request".to_owned()))];
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    let answer = world.send(Method::GET, "/items", &twice).await;
    assert_eq!((answer.verdict(), errors(&answer)), ((400, "bad_request"), invalid.to_vec()));
    let target = format!("/items?access_token={token}");
    let answer = world.send(Method::GET, &target, &[("authorization", &bearer)]).await;
    assert_eq!((answer.verdict(), errors(&answer)), ((400, "bad_request"), invalid.to_vec()));
    let answer = world.send(Method::GET, &target, &[]).await;
    assert_eq!(answer.verdict(), (401, "missing_token"), "a token in the query is none");
    assert_eq!(world.app_hits(), 0);
}

#[tokio::test]
async fn a_refusal_repeats_nothing_of_the_token() {
    let world = world(|_| {}).await;
    let secret = "SECRET-SUBJECT";
    for token in [
        world.issuer.token().claim("sub", json!(secret)).claim("exp", json!(1)).signed(),
        world.issuer.token().claim("sub", json!(secret)).claim("aud", json!(secret)).signed(),
        world.issuer.token().claim("iss", json!(format!("https://{secret}.example"))).signed(),
        world.issuer.token().header("alg", json!(secret)).signed(),
        format!("{secret}.{secret}.{secret}"),
        secret.to_owned(),
    ] {
        let answer = world.get(&token).await;
        assert_eq!(answer.status, 401, "{token}");
        let told = format!("{:?} {}", answer.headers, answer.body);
        assert!(!told.contains(secret) && !told.contains(&token[..20.min(token.len())]), "{told}");
        assert!(!told.contains(token.rsplit('.').next().expect("a last part")), "{told}");
    }
}

#[tokio::test]
async fn the_challenge_leads_to_the_metadata_and_they_name_the_resource() {
    let world = world(|config| {
        config.routes = serde_json::from_value(json!([
            {"name": "closed", "path": {"prefix": "/.well-known"}, "access": "Denied"},
            {"name": "read", "path": {"prefix": "/items"}, "access": "Authenticated", "scopes": {"allOf": ["read"]}},
        ]))
        .expect("routes");
    })
    .await;
    let refused = world.send(Method::GET, "/items", &[("host", "evil.example")]).await;
    for challenge in challenges(&refused.headers) {
        let url = challenge.attribute("resource_metadata").expect("where the metadata are");
        assert_eq!(url, format!("https://api.acme.test{METADATA}"));
    }
    let metadata = world.send(Method::GET, METADATA, &[("host", "evil.example")]).await;
    assert_eq!((metadata.status, metadata.header("content-type")), (200, "application/json"));
    assert_eq!(metadata.header("cache-control"), "public, max-age=300");
    let algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
    let expected = json!({
        "resource": "https://api.acme.test/shop",
        "authorization_servers": [world.issuer.url()],
        "scopes_supported": ["items", "items:write", "read"],
        "bearer_methods_supported": ["header"],
        "resource_name": "items",
        "dpop_signing_alg_values_supported": algorithms,
    });
    assert_eq!(metadata.body, expected);
    assert_eq!(world.app_hits(), 0);
    let line = &world.log.lines(2).await[1];
    assert_eq!((&line["route"], &line["status"]), (&json!("(metadata)"), &json!(200)));
}

#[tokio::test]
async fn metadata_are_read_only_and_stand_nowhere_else() {
    let world = world(|_| {}).await;
    let head = world.send(Method::HEAD, METADATA, &[]).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let answer = world.send(method.clone(), METADATA, &[]).await;
        assert_eq!((answer.verdict(), answer.header("allow")), ((405, "method_not_allowed"), "GET, HEAD"), "{method}");
    }
    for other in ["/.well-known/oauth-protected-resource", &format!("{METADATA}/"), &format!("{METADATA}/x")] {
        assert_eq!(world.send(Method::GET, other, &[]).await.status, 401, "{other} is the app's");
    }
    let without = World::ready(ValidationMode::Local).await;
    assert_eq!(without.send(Method::GET, METADATA, &[]).await.status, 401);
    let refused = without.send(Method::GET, "/items", &[]).await;
    assert_eq!(challenges(&refused.headers)[0].attribute("resource_metadata"), None);
}

#[tokio::test]
async fn a_grpc_caller_is_told_in_its_own_way() {
    let world = world(|_| {}).await;
    let grpc = ("content-type", "application/grpc+proto");
    let expired = format!("Bearer {}", world.issuer.token().claim("exp", json!(1)).signed());
    for (headers, code, reason) in [
        (vec![grpc], "16", "missing_token"),
        (vec![grpc, ("authorization", expired.as_str())], "16", "expired"),
        (vec![grpc, ("authorization", "Bearer a"), ("authorization", "Bearer b")], "3", "bad_request"),
    ] {
        let answer = world.send(Method::POST, "/shop.Items/List", &headers).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc"), "{reason}");
        assert_eq!(answer.header("grpc-status"), code, "{reason}");
        assert!(answer.header("grpc-message").starts_with(&format!("{reason}: ")), "{:?}", answer.headers);
        assert!(!challenges(&answer.headers).is_empty(), "{reason}");
        assert_eq!((answer.header("content-length"), &answer.body), ("0", &Value::Null), "{reason}");
    }
    assert_eq!(world.app_hits(), 0);
    let line = &world.log.lines(2).await[1];
    assert_eq!((&line["status"], &line["reason"]), (&json!(200), &json!("expired")));
    let metric =
        r#"tollgate_requests_total{route="(default)",method="POST",protocol="h1",status="4xx",reason="expired"}"#;
    assert_eq!(world.metric(metric).await, 1);
}

#[test]
fn the_user_guide_explains_every_reason_with_what_is_sent() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md")).expect("the guide");
    let listed: BTreeSet<String> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.splitn(4, '|').take(3).map(str::trim).collect::<Vec<_>>().join(" "))
        .collect();
    let rescue = Rescue::new(&policy());
    let sent = |reason: Reason| {
        let grpc = rescue.answer(&Rejection::new(reason, "A sentence."), Context::None, Form::Grpc);
        let code = grpc.headers()["grpc-status"].to_str().expect("digits").to_owned();
        format!("{}` {} {code}", reason.as_str(), status(reason).as_u16())
    };
    assert_eq!(listed, Reason::ALL.map(sent).into());
}
