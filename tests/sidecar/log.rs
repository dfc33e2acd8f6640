//! The access log: one line a request, and nothing in it that must not leave.

use serde_json::{Value, json};
use tests::issuer::{FakeIssuer, Outage};
use tests::upstream::{Reply, Upstream, ok};
use tollgate_contract::{OnOutage, ValidationMode};
use tollgate_sidecar::policy::PolicyError;
use tollgate_sidecar::{AccessLogTo, Sidecar, StartError};

use crate::scene::{Scene, items, options, public, request};
use crate::world::World;

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
        ("protocol", json!("h1")),
        ("path", json!("/items/7")),
        ("status", json!(200)),
        ("route", json!("write")),
        ("issuer", json!("okta")),
        ("client_id", json!("0oaCaller")),
        ("bytes_in", json!(5)),
        ("bytes_out", json!(5)),
        ("reason", Value::Null),
        ("aborted", Value::Null),
        ("unasked", Value::Null),
        ("grpc_status", Value::Null),
    ] {
        assert_eq!(line[member], expected, "{member} in {line}");
    }
    let (all, app_only) = (line["duration_ms"].as_f64().unwrap(), line["upstream_ms"].as_f64().unwrap());
    assert!(app_only > 0.0 && all >= app_only, "{line}");
    assert!(
        line["timestamp"].as_str().is_some_and(|ts| ts.ends_with('Z') && ts.len() == "2026-01-01T00:00:00.000Z".len())
    );

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
        scene
            .metrics()
            .await
            .contains(r#"tollgate_requests_total{route="all",method="GET",protocol="h1",status="2xx",reason=""} 1"#)
    );
    assert_eq!(scene.log.text(), "");
}

#[tokio::test]
async fn the_policy_can_turn_the_log_off() {
    let app = Upstream::start(|_| ok("hello")).await;
    let mut config = public(app.port());
    config["accessLog"] = json!({"enabled": false, "oneIn": 1});
    let scene = Scene::start(&config).await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
    scene
        .await_metric(r#"tollgate_requests_total{route="all",method="GET",protocol="h1",status="2xx",reason=""} 1"#)
        .await;
    assert_eq!(scene.log.text(), "");
}

#[tokio::test]
async fn of_answered_requests_some_are_logged_and_of_refused_and_failed_ones_all() {
    let app = Upstream::start(|request| match request.head.target() {
        "/fails" => Reply::Bytes(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec()),
        "/breaks-off" => Reply::BytesAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec()),
        _ => ok("hello"),
    })
    .await;
    let mut config = public(app.port());
    config["accessLog"] = json!({"enabled": true, "oneIn": u32::MAX});
    let scene = Scene::start(&config).await;
    for _ in 0..20 {
        assert_eq!(scene.get("/good", &[]).await.0.status(), 200);
    }
    scene.get("/a/../b", &[]).await;
    scene.get("/fails", &[]).await;
    let mut caller = tests::raw::Raw::connect(scene.address()).await;
    caller.send(request("GET", "/breaks-off", &[], "")).await;
    assert_eq!(caller.head().await.expect("a head").status(), 200);
    assert_eq!(caller.rest().await, b"12345");
    let lines = scene.log.lines(3).await;
    let seen: Vec<_> = lines.iter().map(|line| (&line["path"], &line["status"], &line["aborted"])).collect();
    assert_eq!(
        seen,
        [
            (&json!("/a/../b"), &json!(400), &Value::Null),
            (&json!("/fails"), &json!(500), &Value::Null),
            (&json!("/breaks-off"), &json!(200), &json!(true)),
        ]
    );
    let mut never = public(app.port());
    never["accessLog"] = json!({"enabled": true, "oneIn": 0});
    let refused = Sidecar::start(options(&never)).await.err().expect("a refusal");
    assert!(matches!(refused, StartError::Policy(PolicyError::AccessLog(0))), "{refused}");
}

#[tokio::test]
async fn a_grpc_calls_line_has_its_status() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntrailer: grpc-status\r\ntransfer-encoding: chunked";
        Reply::Bytes(format!("{head}\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 5\r\n\r\n").into_bytes())
    })
    .await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let grpc = "content-type: application/grpc+proto";
    scene.raw(request("POST", "/docs", &[grpc, "te: trailers"], "12345")).await;
    scene.raw(request("POST", "/items", &[grpc, "te: trailers"], "12345")).await;
    scene.raw(request("POST", "/docs", &["te: trailers"], "12345")).await;
    let lines = scene.log.lines(3).await;
    assert_eq!((&lines[0]["status"], &lines[0]["grpc_status"]), (&json!(200), &json!(5)), "{}", lines[0]);
    assert_eq!((&lines[1]["reason"], &lines[1]["grpc_status"]), (&json!("missing_token"), &json!(16)), "{}", lines[1]);
    assert_eq!(lines[2]["grpc_status"], Value::Null, "no gRPC call, whatever the app says: {}", lines[2]);
}

#[tokio::test]
async fn who_passes_unasked_in_an_outage_is_marked_and_always_logged() {
    let world = World::start(FakeIssuer::start().await, ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].introspection.on_outage = OnOutage::AcceptLocallyValid { max_duration_millis: 900_000 };
        config.issuers[0].introspection.cache_millis = 0;
        config.access_log.one_in = u32::MAX;
    })
    .await;
    world.await_ready().await;
    let token = world.issuer.active(&world.issuer.token());
    assert_eq!(world.get(&token).await.status, 200);
    world.issuer.suffer(Outage::ServerError);
    assert_eq!(world.get(&token).await.status, 200);
    let line = &world.log.lines(1).await[0];
    assert_eq!((&line["unasked"], &line["status"], &line["reason"]), (&json!(true), &json!(200), &Value::Null));
    assert_eq!(world.log.text().lines().count(), 1, "the answered one is left out");
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
