//! The access log: one line a request, and nothing in it that must not leave.

use serde_json::{Value, json};
use tests::issuer::FakeIssuer;
use tests::upstream::{Upstream, ok};
use tollgate_sidecar::AccessLogTo;

use crate::scene::{Scene, items, public, request};

#[tokio::test]
async fn a_line_says_who_asked_for_what_and_what_came_of_it() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let token = issuer.token().claim("cid", json!("0oaCaller")).claim("scp", json!(["items:write"])).signed();
    let authorization = format!("authorization: Bearer {token}");
    scene
        .raw(request(
            "POST",
            "/items/7?secret=in-query",
            &[&authorization, "referer: https://in-referer.test"],
            "12345",
        ))
        .await;
    scene.get("/items?secret=in-query", &[&authorization]).await;
    scene.get("/items?access_token=in-query", &[]).await;
    let lines = scene.log.lines(3).await;

    let line = &lines[0];
    for (member, expected) in [
        ("method", json!("POST")),
        ("path", json!("/items/7")),
        ("status", json!(200)),
        ("route", json!("write")),
        ("issuer", json!("okta")),
        ("client_id", json!("0oaCaller")),
        ("bytes_in", json!(5)),
        ("bytes_out", json!(5)),
        ("reason", Value::Null),
        ("aborted", Value::Null),
    ] {
        assert_eq!(line[member], expected, "{member} in {line}");
    }
    let (all, app_only) = (line["duration_ms"].as_f64().unwrap(), line["upstream_ms"].as_f64().unwrap());
    assert!(app_only > 0.0 && all >= app_only, "{line}");
    assert!(line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z') && ts.len() == "2026-01-01T00:00:00.000Z".len()));

    assert_eq!((&lines[1]["status"], &lines[1]["reason"]), (&json!(403), &json!("insufficient_scope")));
    assert_eq!(lines[1]["client_id"], json!("0oaCaller"), "a known caller is named when refused, too");
    assert_eq!((&lines[2]["status"], &lines[2]["reason"]), (&json!(401), &json!("missing_token")));
    assert_eq!((&lines[2]["client_id"], &lines[2]["upstream_ms"]), (&Value::Null, &Value::Null));

    let text = scene.log.text();
    let signature = token.rsplit('.').next().expect("a signature");
    for leak in ["in-query", "in-referer", signature, "Bearer"] {
        assert!(!text.contains(leak), "{leak} in {text}");
    }
}

#[tokio::test]
async fn what_is_refused_before_a_route_is_logged_as_such() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    scene.get("/a/../\"b\"", &[]).await;
    let line = &scene.log.lines(1).await[0];
    assert_eq!(
        (&line["route"], &line["reason"], &line["path"]),
        (&json!("(none)"), &json!("bad_path"), &json!("/a/../\"b\""))
    );
}

#[tokio::test]
async fn the_log_can_be_off() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::with(&public(app.port()), |options| options.access_log = AccessLogTo::Off).await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
    assert!(
        scene.metrics().await.contains(r#"tollgate_requests_total{route="all",method="GET",status="2xx",reason=""} 1"#)
    );
    assert_eq!(scene.log.text(), "");
}

#[tokio::test]
async fn lines_are_not_lost_when_the_sidecar_stops() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    for _ in 0..50 {
        scene.get("/", &[]).await;
    }
    let log = scene.log.clone();
    assert!(scene.sidecar.shutdown().await);
    assert_eq!(log.text().lines().count(), 50);
}
