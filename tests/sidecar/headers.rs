//! Headers that cross the proxy: nobody but the sidecar speaks for a caller's identity.

use serde_json::json;
use tests::issuer::FakeIssuer;
use tests::upstream::{Reply, Upstream, ok};

use crate::scene::{Scene, items, public};

const SPOOFED: [&str; 11] = [
    "X-Tollgate-Subject: admin",
    "x-tollgate-client-id: admin",
    "X_Tollgate_Subject: admin",
    "X-Tollgate_Scopes: admin",
    "x.tollgate.issuer: admin",
    "X~Tollgate~Subject: admin",
    "X-TOLLGATE-SCOPES: admin",
    "X-Tollgate-Anything: admin",
    "X_Forwarded_Host: admin",
    "X-HTTP-Method-Override: admin",
    "X-Original-URL: admin",
];

#[tokio::test]
async fn a_public_route_carries_no_identity_whatever_the_caller_says() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    scene.get("/", &[&SPOOFED[..], &["authorization: Bearer some.thing.else"]].concat()).await;
    let head = app.last().head;
    assert!(!head.as_str().to_lowercase().contains("tollgate"), "{}", head.as_str());
    assert!(!head.as_str().contains("admin"), "{}", head.as_str());
    assert_eq!(head.header("authorization"), Some("Bearer some.thing.else"), "the caller's own stays");
}

#[tokio::test]
async fn identity_comes_from_the_token_alone() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let token = issuer
        .token()
        .claim("sub", json!("user@example.test"))
        .claim("cid", json!("0oaCaller"))
        .claim("scp", json!(["other", "items"]))
        .signed();
    let authorization = format!("authorization: Bearer {token}");
    // The second time the verdict is remembered.
    for _ in 0..2 {
        let headers = [&SPOOFED[..], &[&authorization, "connection: x-tollgate-subject, x-tollgate-issuer"]].concat();
        let (head, _) = scene.get("/items", &headers).await;
        assert_eq!(head.status(), 200);
        let head = app.last().head;
        assert!(!head.as_str().contains("admin"), "{}", head.as_str());
        assert_eq!(head.header("x-tollgate-subject"), Some("user@example.test"));
        assert_eq!(head.header("x-tollgate-client-id"), Some("0oaCaller"));
        assert_eq!(head.header("x-tollgate-scopes"), Some("items other"));
        assert_eq!(head.header("x-tollgate-issuer"), Some(issuer.url().as_str()));
        assert_eq!(head.header("authorization"), Some(format!("Bearer {token}").as_str()));
    }
}

#[tokio::test]
async fn headers_of_the_hop_stay_on_the_hop_both_ways() {
    let app = Upstream::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nconnection: x-app-secret\r\nx-app-secret: 1\r\nkeep-alive: timeout=9\r\n\
                      x-kept: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n";
        Reply::Bytes(answer.into())
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let sent = ["connection: x-secret, keep-alive", "x-secret: 1", "keep-alive: timeout=5", "x-kept: 2", "cookie: c=3"];
    let (answer, _) = scene.get("/", &sent).await;
    let request = app.last().head;
    for name in ["x-secret", "keep-alive", "connection"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!((request.header("x-kept"), request.header("cookie")), (Some("2"), Some("c=3")));
    for name in ["x-app-secret", "keep-alive", "connection"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!((answer.header("x-kept"), answer.all("set-cookie")), (Some("2"), vec!["a=1", "b=2"]));
}

#[tokio::test]
async fn the_app_learns_who_asked_and_for_what() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    scene.get("/", &[trace]).await;
    let head = app.last().head;
    assert_eq!(head.header("host"), Some("api.test"));
    assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.header("x-forwarded-proto"), Some("http"));
    assert_eq!(head.header("x-forwarded-host"), Some("api.test"));
    assert_eq!(head.header("forwarded"), Some("for=127.0.0.1;proto=http"));
    assert_eq!(head.header("traceparent"), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    scene.get("/", &["x-forwarded-for: 9.9.9.9", "x-forwarded-proto: https", "forwarded: for=9.9.9.9"]).await;
    let head = app.last().head;
    assert_eq!(head.header("x-forwarded-for"), Some("9.9.9.9, 127.0.0.1"));
    assert_eq!(head.header("x-forwarded-proto"), Some("https"));
    assert_eq!(head.header("forwarded"), Some("for=9.9.9.9, for=127.0.0.1;proto=http"));
}

#[tokio::test]
async fn one_request_id_is_seen_by_the_app_the_caller_and_the_log() {
    let app = Upstream::start(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nx-request-id: apps-own\r\ncontent-length: 0\r\n\r\n".into())
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, _) = scene.get("/", &["x-request-id: Good_id-1"]).await;
    assert_eq!(head.header("x-request-id"), Some("Good_id-1"));
    assert_eq!(app.last().head.header("x-request-id"), Some("Good_id-1"));
    for bad in ["x-request-id: a b", "x-request-id: a\"b", "x-request-id:", "x-ignored: 1"] {
        let (head, _) = scene.get("/", &[bad]).await;
        let id = head.header("x-request-id").expect("an id").to_owned();
        assert_eq!(id.len(), 32, "{bad}: {id}");
        assert_eq!(app.last().head.header("x-request-id"), Some(id.as_str()));
    }
    let (refused, _) = scene.get("//", &["x-request-id: Good_id-2"]).await;
    assert_eq!(refused.header("x-request-id"), Some("Good_id-2"));
    let lines = scene.log.lines(6).await;
    assert_eq!((&lines[0]["request_id"], &lines[5]["request_id"]), (&json!("Good_id-1"), &json!("Good_id-2")));
}

#[tokio::test]
async fn the_host_must_be_one_and_sane() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    for hosts in
        ["", "host: a\r\nhost: a\r\n", "host: a\r\nhost: b\r\n", "host: a/b\r\n", "host: u@a\r\n", "host: a, b\r\n"]
    {
        let (head, _) = scene.raw(format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(head.status(), 400, "{hosts:?}");
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_with_the_reason() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, _) = scene.get("/", &[&format!("x-large: {}", "x".repeat(30_000))]).await;
    assert_eq!(head.status(), 200);
    let (head, body) = scene.get("/", &[&format!("x-large: {}", "x".repeat(33_000))]).await;
    assert_eq!((head.status(), crate::scene::reason(&body).as_str()), (431, "headers_too_large"));
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (head, _) = scene.get("/", &many).await;
    assert_eq!(head.status(), 431);
    let (head, _) = scene.get("/", &[&format!("x-huge: {}", "x".repeat(200_000))]).await;
    assert_eq!(head.status(), 431);
    assert_eq!(app.arrived().len(), 1);
}

/// The items API with claims handed on.
fn with_claims(app: u16, issuer: &FakeIssuer) -> serde_json::Value {
    let mut config = items(app, issuer);
    config["upstream"]["claimHeaders"] = json!([
        {"claim": ["email"], "header": "x-user"},
        {"claim": ["org", "team"], "header": "x-team-id"},
        {"claim": ["groups"], "header": "x-groups"},
        {"claim": ["roles"], "header": "x-roles", "arrays": "Comma"},
        {"claim": ["level"], "header": "x-level"},
    ]);
    config
}

#[tokio::test]
async fn claims_reach_the_app_as_headers_that_nobody_else_can_set() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&with_claims(app.port(), &issuer)).await;
    let token = issuer
        .token()
        .claim("scp", json!(["items"]))
        .claim("email", json!("ada@example.test"))
        .claim("org", json!({"team": 7}))
        .claim("groups", json!(["J\u{f6}rgs", "ops"]))
        .claim("roles", json!(["reader", "writer"]))
        .signed();
    let authorization = format!("authorization: Bearer {token}");
    let spoofed = ["X-User: evil", "x_user: evil", "X.Team_Id: evil", "x-level: evil", "connection: x-user, x-groups"];
    for _ in 0..2 {
        let (head, _) = scene.get("/items", &[&spoofed[..], &[&authorization]].concat()).await;
        assert_eq!(head.status(), 200);
        let head = app.last().head;
        assert!(!head.as_str().contains("evil"), "{}", head.as_str());
        assert_eq!(head.header("x-user"), Some("ada@example.test"));
        assert_eq!(head.header("x-team-id"), Some("7"));
        assert_eq!(head.header("x-groups"), Some(r#"["J\u00f6rgs","ops"]"#));
        assert_eq!(head.header("x-roles"), Some("reader,writer"));
        assert_eq!(head.header("x-level"), None, "the token has no such claim");
    }
    // On a public route there is no identity, and no way to pretend one.
    scene.get("/docs", &[&spoofed[..], &[&authorization]].concat()).await;
    let head = app.last().head;
    assert_eq!(head.target(), "/docs");
    for name in ["x-user", "x-team-id", "x-groups", "x-roles", "x-level", "x_user"] {
        assert_eq!(head.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_claim_that_fits_into_no_header_is_refused_where_a_token_counts() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&with_claims(app.port(), &issuer)).await;
    for (claim, value) in [
        ("email", json!("ada\r\nx-level: 9")),
        ("email", json!("J\u{f6}rg")),
        ("email", json!({"a": 1})),
        ("roles", json!(["a,b"])),
    ] {
        let token = issuer.token().claim("scp", json!(["items"])).claim(claim, value.clone()).signed();
        let authorization = format!("authorization: Bearer {token}");
        for _ in 0..2 {
            let (head, body) = scene.get("/items", &[&authorization]).await;
            assert_eq!((head.status(), crate::scene::reason(&body).as_str()), (403, "claims_denied"), "{value}");
        }
        assert_eq!(scene.get("/docs", &[&authorization]).await.0.status(), 200);
    }
    assert!(app.arrived().iter().all(|request| request.head.target() == "/docs"));
}

#[tokio::test]
async fn the_app_gets_no_credentials_where_they_are_stripped() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let mut config = items(app.port(), &issuer);
    config["upstream"]["authorization"] = json!("Strip");
    let scene = Scene::ready(&config).await;
    let token = issuer.token().claim("scp", json!(["items"])).signed();
    let authorization = format!("Authorization: Bearer {token}");
    for target in ["/items", "/docs"] {
        let (head, _) = scene.get(target, &[&authorization, "DPoP: proof", "cookie: a=b"]).await;
        assert_eq!(head.status(), 200, "{target}");
        let head = app.last().head;
        assert_eq!((head.target(), head.header("authorization"), head.header("dpop")), (target, None, None));
        assert_eq!(head.header("cookie"), Some("a=b"));
    }
    // The challenge still knows what was tried.
    let poor = issuer.token().claim("scp", json!(["other"])).signed();
    let (head, _) = scene.get("/items", &[&format!("authorization: Bearer {poor}")]).await;
    assert!(head.header("www-authenticate").is_some_and(|challenge| challenge.contains("insufficient_scope")));
}

#[tokio::test]
async fn a_malformed_trace_context_ends_here() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let sound = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    scene.get("/", &[sound, "tracestate: a=1", "tracestate: b=2"]).await;
    assert_eq!(app.last().head.all("tracestate"), ["a=1", "b=2"]);
    for malformed in [&["traceparent: 00-zz-00f067aa0ba902b7-01"][..], &[sound, sound]] {
        scene.get("/", &[malformed, &["tracestate: a=1"]].concat()).await;
        let head = app.last().head;
        assert!(!head.as_str().contains("trace"), "{}", head.as_str());
    }
}
