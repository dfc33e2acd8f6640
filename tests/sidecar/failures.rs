//! When the app or the caller fails: the answer says whose fault it is, and nothing is sent twice that must not be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Reply, Upstream, ok};
use tests::wait::eventually;

use crate::scene::{PATIENCE, Scene, items, public, reason, request};

#[tokio::test]
async fn an_app_that_is_not_there_is_502() {
    let port = ManualUpstream::start().await.port();
    let scene = Scene::start(&public(port)).await;
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn an_app_that_hangs_up_is_502_and_asked_once_on_a_new_connection() {
    let app = Upstream::start(|_| Reply::BytesAndClose(Vec::new())).await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
    assert_eq!(app.arrived().len(), 1);
}

#[tokio::test]
async fn an_app_that_talks_nonsense_is_502() {
    for nonsense in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
    {
        let app = Upstream::start(move |_| Reply::BytesAndClose(nonsense.into())).await;
        let scene = Scene::start(&public(app.port())).await;
        let (head, body) = scene.get("/", &[]).await;
        assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"), "{nonsense:?}");
    }
}

/// Answers the first request on each connection and hangs up on the second, as a keep-alive timeout at the wrong moment.
async fn forgetful() -> Upstream {
    let served = AtomicUsize::new(usize::MAX);
    Upstream::start(move |request| {
        let first_on_it = served.swap(request.connection, Ordering::SeqCst) != request.connection;
        if first_on_it { ok("") } else { Reply::BytesAndClose(Vec::new()) }
    })
    .await
}

#[tokio::test]
async fn what_is_safe_to_send_twice_survives_a_connection_that_died_unseen() {
    let app = forgetful().await;
    let scene = Scene::with(&public(app.port()), |options| options.workers = 1.try_into().ok()).await;
    for method in ["GET", "HEAD", "OPTIONS", "GET"] {
        let (head, _) = scene.raw(request(method, "/", &[], "")).await;
        assert_eq!(head.status(), 200, "{method}");
    }
    // The first request opened a connection; each later one died on a kept one and was sent again on a new one.
    assert_eq!(app.arrived().len(), 7);
    assert!(scene.metrics().await.contains("tollgate_upstream_retries_total 3"));
}

#[tokio::test]
async fn what_may_have_happened_is_not_sent_twice() {
    for (method, body) in [("POST", "pay"), ("POST", ""), ("PUT", "body"), ("PUT", ""), ("DELETE", "")] {
        let refused = request(method, "/", &[], body);
        let app = forgetful().await;
        let scene = Scene::with(&public(app.port()), |options| options.workers = 1.try_into().ok()).await;
        assert_eq!(scene.get("/", &[]).await.0.status(), 200);
        let (head, body) = scene.raw(&refused).await;
        assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
        assert_eq!(app.arrived().len(), 2);
    }
}

#[tokio::test]
async fn what_an_app_has_answered_with_nonsense_is_not_sent_twice() {
    let served = AtomicUsize::new(usize::MAX);
    let app = Upstream::start(move |request| {
        let first_on_it = served.swap(request.connection, Ordering::SeqCst) != request.connection;
        if first_on_it { ok("") } else { Reply::BytesAndClose(b"HTTP/1.1 abc\r\n\r\n".into()) }
    })
    .await;
    let scene = Scene::with(&public(app.port()), |options| options.workers = 1.try_into().ok()).await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
    assert_eq!(app.arrived().len(), 2, "the app has seen it, and lives");
}

#[tokio::test]
async fn a_connection_that_the_app_has_closed_is_not_used_again() {
    let app = Upstream::start(|_| Reply::BytesAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into())).await;
    let scene = Scene::with(&public(app.port()), |options| options.workers = 1.try_into().ok()).await;
    for number in 0..10 {
        // A POST would be lost on a dead connection; the app's hanging up takes a moment to arrive.
        let (head, _) = eventually("the connection to be seen closed", PATIENCE, || async {
            let (head, body) = scene.raw(request("POST", "/", &[], "pay")).await;
            if head.status() == 200 { Ok((head, body)) } else { Err(head.start_line().to_owned()) }
        })
        .await;
        assert_eq!(head.status(), 200, "{number}");
    }
}

/// An app that is given so long for the head of an answer.
fn impatient(app: u16, response_header: Duration) -> Value {
    let mut config = public(app);
    let millis = u64::try_from(response_header.as_millis()).expect("a short time");
    config["upstream"]["timeouts"] =
        json!({"connectMillis": 1_000, "responseHeaderMillis": millis, "idleMillis": 300_000});
    config
}

#[tokio::test]
async fn an_app_that_never_answers_is_504() {
    let app = Upstream::start(|_| Reply::Never).await;
    let scene = Scene::start(&impatient(app.port(), Duration::from_millis(300))).await;
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (504, "upstream_timeout"));
    let (head, body) = scene.raw(request("POST", "/", &[], "body")).await;
    assert_eq!((head.status(), reason(&body).as_str()), (504, "upstream_timeout"));
    assert_eq!(app.arrived().len(), 2, "a timeout is not tried again");
}

#[tokio::test]
async fn the_clock_for_the_answer_starts_at_the_end_of_a_slow_upload() {
    const PIECES: usize = 8;
    let app = Upstream::start(|request| ok(&request.body.bytes.len().to_string())).await;
    let patience = Duration::from_millis(1_000);
    let scene = Scene::start(&impatient(app.port(), patience)).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {PIECES}\r\n\r\n")).await;
    let mut ticks = tokio::time::interval(patience / 4);
    for _ in 0..PIECES {
        ticks.tick().await;
        caller.send("x").await;
    }
    let head = caller.head().await.expect("an answer");
    assert_eq!(head.status(), 200, "the upload took longer than the app may");
}

#[tokio::test]
async fn an_upload_that_stands_still_is_408() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&impatient(app.port(), Duration::from_millis(300))).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").await;
    let _upstream = app.accept().await;
    let head = caller.head().await.expect("an answer");
    let body = caller.body(&head, "POST").await;
    assert_eq!((head.status(), reason(&body).as_str()), (408, "request_timeout"));
}

#[tokio::test]
async fn more_requests_than_may_wait_for_the_app_are_503() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.limits.upstream_connections = 1).await;
    let mut first = Raw::connect(scene.address()).await;
    first.send(request("GET", "/first", &[], "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    let (head, body) = scene.get("/second", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (503, "overloaded"));
    assert_eq!(head.header("retry-after"), Some("1"));
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(first.head().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn nobody_takes_all_places_at_the_app() {
    let (issuer, app) = (FakeIssuer::start().await, ManualUpstream::start().await);
    let scene = Scene::with(&items(app.port(), &issuer), |options| options.limits.upstream_connections = 8).await;
    let scene = scene.into_ready().await;
    let of = |subject| format!("authorization: Bearer {}", issuer.token().claim("sub", json!(subject)).signed());
    let (greedy, newcomer) = (of("greedy"), of("newcomer"));
    let mut held = Vec::new();
    let mut hold = async |path: &str, header: &str| {
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("GET", path, &[header], "")).await;
        let mut upstream = app.accept().await;
        upstream.head().await.expect("a request");
        held.push((caller, upstream));
    };
    // Each takes what it gets; a second token of the same subject gets it nothing.
    for _ in 0..6 {
        hold("/docs", "accept: */*").await;
    }
    hold("/items", &greedy).await;
    let again = of("greedy");
    for (path, header, detail) in [
        ("/docs", "accept: */*", "Too many requests without a token are waiting for the API."),
        ("/docs", &again, "Too many requests without a token are waiting for the API."),
    ] {
        let (head, body) = scene.get(path, &[header]).await;
        assert_eq!((head.status(), reason(&body).as_str()), (503, "overloaded"), "{path}");
        let problem: Value = serde_json::from_slice(&body.bytes).expect("a problem");
        assert_eq!(problem["detail"], detail);
        assert_eq!(head.header("retry-after"), Some("1"));
    }
    hold("/items", &newcomer).await;
    assert_eq!(held.len(), 8);
    scene.await_metric("tollgate_upstream_in_flight 8").await;
    drop(held);
    scene.await_metric("tollgate_upstream_in_flight 0").await;
}

#[tokio::test]
async fn a_caller_with_many_tokens_is_one_caller() {
    let (issuer, app) = (FakeIssuer::start().await, ManualUpstream::start().await);
    let scene = Scene::with(&items(app.port(), &issuer), |options| options.limits.upstream_connections = 8).await;
    let scene = scene.into_ready().await;
    let mut held = Vec::new();
    let token = |number: usize| issuer.token().claim("jti", json!(format!("AT.{number}"))).signed();
    for number in 0..6 {
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("GET", "/items", &[&format!("authorization: Bearer {}", token(number))], "")).await;
        let mut upstream = app.accept().await;
        upstream.head().await.expect("a request");
        held.push((caller, upstream));
    }
    let (head, body) = scene.get("/items", &[&format!("authorization: Bearer {}", token(6))]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (503, "overloaded"));
    let problem: Value = serde_json::from_slice(&body.bytes).expect("a problem");
    assert_eq!(problem["detail"], "Too many requests of this caller are waiting for the API.");
}

#[tokio::test]
async fn a_caller_that_stops_reading_does_not_hold_the_app_for_ever() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.limits.unread = Duration::from_millis(200)).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/", &[], "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    const MUCH: usize = 256 << 20;
    upstream.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n")).await;
    let taken = upstream.send_for(PATIENCE, &vec![b'x'; MUCH]).await;
    assert!(taken < MUCH, "all of it was taken for a caller that reads nothing");
    assert_eq!(scene.log.lines(1).await[0]["aborted"], true);
    assert!(upstream.is_closed().await);
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::with(&public(app.port()), |options| options.limits.head = Duration::from_millis(200)).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    assert!(caller.is_closed().await);
    assert!(app.arrived().is_empty());
}
