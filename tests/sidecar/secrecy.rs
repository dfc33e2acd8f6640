//! What must never be told: secrets, tokens, people's passwords. Not in a log at any level, not on the admin port, not in
//! an answer to a refused request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::issuer::{Endpoint, Fault, Wire, mount_credentials};
use tests::mint::other_key;
use tollgate_contract::{ProblemCode, ValidationMode};
use tracing_subscriber::EnvFilter;

use crate::scene::Log;
use crate::world::{World, problem};

/// Everything of ours, and of the libraries what the sidecar's most verbose setting shows.
const FILTER: &str = "warn,tollgate_sidecar=trace,tollgate_runtime=trace";

#[tokio::test]
async fn secrets_and_tokens_are_told_to_nobody() {
    let told = Log::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt().json().with_env_filter(EnvFilter::new(FILTER));
    subscriber.with_writer(move || writer.clone()).init();
    let world = World::ready(ValidationMode::LocalAndIntrospection).await;
    let issuer = &world.issuer;
    let mut answers = Vec::new();

    let basic = |secret| format!("Basic {}", STANDARD.encode(format!("0oaCaller:{secret}")));
    let (right, wrong) = (basic("s3cret-of-caller"), basic("wrong-secret"));
    issuer.client("0oaCaller", &["s3cret-of-caller"]);
    let grant = "grant_type=client_credentials";
    let issued = world.post_token(&[("authorization", &right)], grant).await;
    let issued = issued.body["access_token"].as_str().expect("a token").to_owned();
    for (headers, form) in [
        (vec![("authorization", wrong.as_str())], grant.to_owned()),
        (vec![("authorization", right.as_str())], "grant_type=password&username=ann&password=hunter2".into()),
        (vec![("authorization", right.as_str())], format!("{grant}&client_secret=s3cret-of-caller")),
        (vec![], format!("{grant}&client_id=0oaCaller&client_secret=wrong-secret&scope=admin")),
        (vec![], format!("{grant}&client_id=0oaCaller&client_secret=wrong-secret")),
        (vec![], format!("{grant}&client_assertion=e30.assertion.AA")),
    ] {
        answers.push(world.post_token(&headers, &form).await);
    }

    let good = issuer.token();
    let tokens = [
        issuer.active(&good),
        issued,
        good.signed_by(other_key()),
        good.clone().claim("iss", json!("https://evil.example")).signed(),
        good.clone().claim("aud", json!("api://other")).signed(),
        good.clone().claim("exp", json!(1)).signed(),
        good.clone().header("kid", json!("unknown")).signed(),
        "an-opaque-token-0123456789".to_owned(),
    ];
    for token in &tokens {
        answers.push(world.get(token).await);
    }
    // Failures of every kind are told, and must tell nothing else.
    for fault in [Fault::Answer(401, json!({"error": "invalid_client"}).to_string()), Fault::Close] {
        issuer.fault(Endpoint::Introspect, fault.clone());
        issuer.fault(Endpoint::Token, fault);
        answers.push(world.get(&issuer.active(&issuer.token())).await);
        answers.push(world.post_token(&[("authorization", &wrong)], grant).await);
    }
    issuer.wire(Wire::StrangeCertificate);
    answers.push(world.get(&issuer.active(&issuer.token())).await);
    answers.push(world.post_token(&[("authorization", &wrong)], grant).await);
    world.await_problems(&[problem(ProblemCode::IssuerBadTls), problem(ProblemCode::CredentialsRefused)]).await;
    mount_credentials(world.credentials.path(), "0oaApi", "next-secret", Some("api-secret"));
    world.await_problems(&[problem(ProblemCode::IssuerBadTls)]).await;
    issuer.mend();
    issuer.fault(Endpoint::Introspect, Fault::Limited(5));
    issuer.fault(Endpoint::Token, Fault::Limited(5));
    answers.push(world.get(&issuer.active(&issuer.token())).await);
    answers.push(world.post_token(&[("authorization", &wrong)], grant).await);

    world.log.lines(answers.len()).await;
    let refused: Vec<_> = answers.iter().map(|answer| format!("{:?} {}", answer.headers, answer.body)).collect();
    let places = [
        ("the log", told.text()),
        ("the access log", world.log.text()),
        ("the admin port", world.admin_pages().await),
        ("an answer", refused.join("\n")),
    ];
    assert!(places[0].1.contains("questions about tokens are not answered"), "the log is watched");
    assert!(places[0].1.contains("api://other"), "at its most verbose");
    let mut secrets: Vec<&str> = vec!["api-secret", "next-secret", "s3cret-of-caller", "wrong-secret", "hunter2"];
    secrets.extend([right.as_str(), wrong.as_str(), "e30.assertion.AA"].iter().map(|text| &text[text.len() - 12..]));
    secrets.extend(tokens.iter().map(|token| &token[token.len() - 20..]));
    for (place, text) in places {
        for secret in &secrets {
            assert!(!text.contains(secret), "{place} tells {secret}");
        }
    }
}
