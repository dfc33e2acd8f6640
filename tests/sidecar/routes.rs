//! Who gets in, over real sockets: routes, methods, scopes, and what the answer tells.

use serde_json::json;
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use tests::upstream::{Upstream, ok};

use crate::scene::{Scene, items, reason, request};

#[tokio::test]
async fn each_rule_answers_with_its_status_reason_and_challenge() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let with =
        |scopes: &[&str]| format!("authorization: Bearer {}", issuer.token().claim("scp", json!(scopes)).signed());
    let (reader, other) = (with(&["items"]), with(&["other"]));
    let nobody = "x-nobody: 1".to_owned();
    let bare = r#"Bearer realm="items""#;
    for (method, target, who, status, why, challenge) in [
        ("GET", "/docs", &nobody, 200, "", ""),
        ("GET", "/docs/a", &reader, 200, "", ""),
        ("GET", "/items", &reader, 200, "", ""),
        ("HEAD", "/items", &reader, 200, "", ""),
        ("GET", "/items/", &reader, 200, "", ""),
        ("GET", "/else", &other, 200, "", ""),
        ("GET", "/items", &nobody, 401, "missing_token", bare),
        ("GET", "/else", &nobody, 401, "missing_token", bare),
        ("GET", "/Docs", &nobody, 401, "missing_token", bare),
        ("GET", "/Items", &nobody, 401, "missing_token", bare),
        ("GET", "/docs;x", &nobody, 401, "missing_token", bare),
        ("GET", "/items", &other, 403, "insufficient_scope", r#"scope="items""#),
        ("GET", "/ITEMS;x/", &other, 403, "insufficient_scope", r#"scope="items""#),
        ("GET", "/%69tems", &other, 403, "insufficient_scope", r#"scope="items""#),
        ("POST", "/items", &reader, 403, "insufficient_scope", r#"scope="items:write""#),
        ("DELETE", "/items", &nobody, 401, "missing_token", bare),
        ("DELETE", "/items", &reader, 405, "method_not_allowed", ""),
        ("BREW", "/items/pot", &reader, 405, "method_not_allowed", ""),
        ("GET", "/internal", &reader, 403, "route_denied", ""),
        ("GET", "/INTERNAL;x/y", &reader, 403, "route_denied", ""),
        ("GET", "/internal", &nobody, 403, "route_denied", ""),
        ("GET", "/docs/../items", &nobody, 400, "bad_path", ""),
    ] {
        let before = app.arrived().len();
        let (head, body) = scene.raw(request(method, target, &[who], "")).await;
        let what = format!("{method} {target}");
        assert_eq!(head.status(), status, "{what}");
        assert_eq!(app.arrived().len() - before, usize::from(status == 200), "{what}");
        let challenged = head.header("www-authenticate").unwrap_or_default();
        match challenge {
            "" => assert_eq!(challenged, "", "{what}"),
            whole if whole == bare => assert_eq!(challenged, whole, "{what}"),
            part => assert!(
                challenged.contains(part) && challenged.contains(r#"error="insufficient_scope""#),
                "{what}: {challenged}"
            ),
        }
        if status != 200 {
            assert_eq!(reason(&body), why, "{what}");
        }
        let allow = (status == 405).then_some("GET, HEAD, POST");
        assert_eq!(head.header("allow"), allow, "{what}");
    }
}

#[tokio::test]
async fn two_credentials_are_an_invalid_request() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let token = format!("authorization: Bearer {}", issuer.token().signed());
    let (head, body) = scene.get("/items", &[&token, &token]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (400, "bad_request"));
    assert!(head.header("www-authenticate").is_some_and(|value| value.contains(r#"error="invalid_request""#)));
}

#[tokio::test]
async fn a_token_in_the_query_is_no_token() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let (head, body) = scene.get(&format!("/items?access_token={}", issuer.token().signed()), &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (401, "missing_token"));
}

#[tokio::test]
async fn a_caller_without_a_token_is_refused_before_it_sends_its_body() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("POST /items HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("an answer").status(), 401, "and no 100 before it");
}

#[tokio::test]
async fn the_token_endpoint_takes_post_only_and_short_forms_only() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let (head, _) = scene.raw(request(method, "/token", &[], "")).await;
        assert_eq!((head.status(), head.header("allow")), (405, Some("POST")), "{method}");
    }
    let form = ["content-type: application/x-www-form-urlencoded"];
    let large = "x".repeat(64 * 1024 + 1);
    let (head, body) = scene.raw(request("POST", "/token", &form, &large)).await;
    assert_eq!((head.status(), reason(&body).as_str()), (413, "body_too_large"));
    let chunked = format!(
        "POST /token HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    let (head, _) = scene.raw(chunked).await;
    assert_eq!(head.status(), 413);
    assert!(app.arrived().is_empty(), "the token endpoint is ours, never the app's");
}

#[tokio::test]
async fn a_token_request_is_answered_and_never_forwarded() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    // 0oaCaller:s3cret
    let headers = ["content-type: application/x-www-form-urlencoded", "authorization: Basic MG9hQ2FsbGVyOnMzY3JldA=="];
    for target in ["/token", "/%74oken"] {
        let (head, body) = scene.raw(request("POST", target, &headers, "grant_type=client_credentials")).await;
        assert_eq!(head.status(), 200, "{target}");
        assert_eq!(head.header("cache-control"), Some("no-store"));
        assert!(head.header("x-request-id").is_some());
        let answer: serde_json::Value = serde_json::from_slice(&body.bytes).expect("JSON");
        assert!(answer["access_token"].is_string());
    }
    assert!(app.arrived().is_empty());
    let lines = scene.log.lines(2).await;
    assert_eq!((&lines[0]["route"], &lines[0]["bytes_in"]), (&json!("(token)"), &json!(29)));
}
