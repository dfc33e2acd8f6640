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

/// The items API with eight places at an app that answers nobody, and who holds one.
struct Crowded {
    issuer: FakeIssuer,
    app: ManualUpstream,
    scene: Scene,
    held: Vec<(Raw, Raw)>,
}

impl Crowded {
    async fn start() -> Self {
        let (issuer, app) = (FakeIssuer::start().await, ManualUpstream::start().await);
        let mut config = items(app.port(), &issuer);
        config["trustedProxies"] = json!(["127.0.0.0/8"]);
        let scene = Scene::with(&config, |options| options.limits.upstream_connections = 8).await;
        Self { issuer, app, scene: scene.into_ready().await, held: Vec::new() }
    }

    /// A new token of this subject.
    fn token(&self, subject: &str) -> String {
        let id = format!("AT.{}", self.held.len());
        let token = self.issuer.token().claim("sub", json!(subject)).claim("jti", json!(id)).signed();
        format!("authorization: Bearer {token}")
    }

    /// Takes a place; `Err` is what a refusal says.
    async fn take(&mut self, path: &str, header: &str) -> Result<(), String> {
        let mut caller = Raw::connect(self.scene.address()).await;
        caller.send(request("GET", path, &[header], "")).await;
        let at_app = async {
            let mut upstream = self.app.accept().await;
            upstream.head().await.expect("a request");
            upstream
        };
        tokio::select! {
            upstream = at_app => self.held.push((caller, upstream)),
            head = caller.head() => {
                let head = head.expect("an answer");
                let body = caller.body(&head, "GET").await;
                assert_eq!((head.status(), reason(&body).as_str()), (503, "overloaded"), "{path}");
                assert_eq!(head.header("retry-after"), Some("1"));
                let problem: Value = serde_json::from_slice(&body.bytes).expect("a problem");
                return Err(problem["detail"].as_str().expect("a sentence").to_owned());
            }
        }
        Ok(())
    }

    /// How many places a caller gets, and what it is told then.
    async fn take_all(&mut self, path: &str, header: impl Fn(&Self) -> String) -> (usize, String) {
        for number in 0.. {
            let header = header(self);
            if let Err(detail) = self.take(path, &header).await {
                return (number, detail);
            }
        }
        unreachable!("there is an end")
    }

    /// Some other caller gets a place. Two that are told apart by a hash may fall together, not three times.
    async fn take_another(&mut self, path: &str, headers: [String; 3]) {
        for header in headers {
            if self.take(path, &header).await.is_ok() {
                return;
            }
        }
        panic!("there is no place for another");
    }
}

const OF_THIS_CALLER: &str = "Too many requests of this caller are waiting for the API.";

#[tokio::test]
async fn no_caller_takes_all_places_at_the_app() {
    let mut crowded = Crowded::start().await;
    let stranger = |_: &Crowded| "x-forwarded-for: 198.51.100.1".to_owned();
    assert_eq!(crowded.take_all("/docs", stranger).await, (4, OF_THIS_CALLER.to_owned()));
    // Many tokens of a subject get it no more.
    assert_eq!(crowded.take_all("/items", |all| all.token("greedy")).await, (3, OF_THIS_CALLER.to_owned()));
    let others = ["other", "another", "third"].map(|subject| crowded.token(subject));
    crowded.take_another("/items", others).await;
    let full = "Too many requests are waiting for the API.";
    for (path, header) in [("/docs", stranger(&crowded)), ("/items", crowded.token("greedy"))] {
        assert_eq!(crowded.take(path, &header).await, Err(full.to_owned()));
    }
    crowded.scene.await_metric("tollgate_upstream_in_flight 8").await;
    crowded.held.clear();
    crowded.scene.await_metric("tollgate_upstream_in_flight 0").await;
    assert_eq!(crowded.take_all("/items", |all| all.token("greedy")).await, (6, OF_THIS_CALLER.to_owned()));
}

#[tokio::test]
async fn one_stranger_leaves_room_for_others_and_all_of_them_leave_some_for_who_has_a_token() {
    let mut crowded = Crowded::start().await;
    let from = |address: u8| format!("x-forwarded-for: 198.51.100.{address}");
    assert_eq!(crowded.take_all("/docs", |_| from(1)).await.0, 4);
    crowded.take_another("/docs", [2, 3, 4].map(from)).await;
    let mut told = Vec::new();
    for address in 5..40 {
        told.extend(crowded.take("/docs", &from(address)).await.err());
    }
    assert!(
        told.iter().any(|detail| detail == "Too many requests without a token are waiting for the API."),
        "{told:?}"
    );
    assert_eq!(crowded.held.len(), 6);
    let token = crowded.token("somebody");
    crowded.take("/items", &token).await.expect("a place");
}

#[tokio::test]
async fn a_connection_that_breaks_late_was_in_use() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.workers = 1.try_into().ok()).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/", &[], "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("an answer").status(), 200);
    caller.send(request("GET", "/", &[], "")).await;
    upstream.head().await.expect("the second request, on the kept connection");
    let began = std::time::Instant::now();
    eventually("the app is at it for a while", PATIENCE, || async {
        if began.elapsed() > Duration::from_millis(1_100) { Ok(()) } else { Err("not yet") }
    })
    .await;
    drop(upstream);
    let head = caller.head().await.expect("an answer");
    assert_eq!((head.status(), reason(&caller.body(&head, "GET").await).as_str()), (502, "upstream_unreachable"));
    assert!(scene.metrics().await.contains("tollgate_upstream_retries_total 0"));
}

/// Begins an upload, and has the app answer before its end.
async fn answered_early(scene: &Scene, app: &ManualUpstream, answer: &str) -> (Raw, Raw) {
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send(answer).await;
    let head = caller.head().await.expect("an answer");
    assert_eq!(head.status(), 200);
    caller.body(&head, "POST").await;
    (caller, upstream)
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_answer_keeps_its_place_and_is_ended() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"] {
        let (mut caller, mut upstream) = answered_early(&scene, &app, answer).await;
        scene.await_metric("tollgate_upstream_in_flight 1").await;
        assert!(!upstream.rest().await.ends_with(b"0\r\n\r\n"), "what came is taken for all there is");
        scene.await_metric("tollgate_upstream_in_flight 0").await;
        assert!(caller.is_closed().await);
    }
}

#[tokio::test]
async fn an_app_that_answers_and_takes_no_more_holds_nobodys_connection() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let (mut caller, upstream) = answered_early(&scene, &app, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    const MUCH: usize = 64 << 20;
    let chunk = [format!("{MUCH:x}\r\n").into_bytes(), vec![b'x'; MUCH]].concat();
    assert!(caller.send_for(Duration::from_secs(1), &chunk).await < MUCH, "the app is not read from");
    scene.await_metric("tollgate_upstream_in_flight 1").await;
    drop(caller);
    scene.await_metric("tollgate_upstream_in_flight 0").await;
    scene.await_metric("tollgate_connections 0").await;
    drop(upstream);
}

#[tokio::test]
async fn an_upload_that_ends_after_its_answer_costs_no_connection() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.workers = 1.try_into().ok()).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (mut caller, mut upstream) = answered_early(&scene, &app, answer).await;
    caller.send("0\r\n\r\n").await;
    assert_eq!(upstream.exactly(12).await, b"2\r\nab\r\n0\r\n\r\n");
    scene.await_metric("tollgate_upstream_in_flight 0").await;
    for way in [&mut caller, &mut Raw::connect(scene.address()).await] {
        way.send(request("GET", "/", &[], "")).await;
        upstream.head().await.expect("a request on the kept connection");
        upstream.send(answer).await;
        assert_eq!(way.head().await.expect("an answer").status(), 200);
    }
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
