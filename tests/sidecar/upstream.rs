//! The way to the app: HTTP/2, TLS, addresses, and what is said when there is no way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tests::app::{AnyBody, App, Protocol, body};
use tests::certificates::Authority;
use tests::http2;
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;
use tokio::sync::Semaphore;
use tollgate_contract::{ProblemCode, SidecarReport};

use crate::scene::{PATIENCE, Scene, options, public, reason, request};

/// Everything under `/` is public, at an app that speaks HTTP/2.
pub(crate) fn over_http2(app: u16) -> Value {
    let mut config = public(app);
    config["upstream"]["protocol"] = json!("H2c");
    config
}

fn with_tls(mut config: Value, name: &str, ca_file: &std::path::Path) -> Value {
    config["upstream"]["tls"] = json!({"serverName": name, "caFile": ca_file});
    config
}

/// An app that says what it got, and sends everything back.
async fn echo(protocol: Protocol, tls: Option<tokio_rustls::TlsAcceptor>) -> App {
    App::start(protocol, tls, |request| async move {
        let (parts, upload) = request.into_parts();
        let upload = upload.collect().await.expect("a body");
        let trailers = upload.trailers().map(|trailers| trailers.len()).unwrap_or_default();
        let lines: Vec<String> =
            parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        let text = format!("{} {} {:?}\n{}\n", parts.method, parts.uri, parts.version, lines.join("\n"));
        let mut answer = Response::new(body([text.into_bytes(), upload.to_bytes().to_vec()].concat()));
        answer.headers_mut().insert("x-trailers", HeaderValue::from(trailers));
        answer
    })
    .await
}

#[tokio::test]
async fn an_app_of_http2_gets_requests_of_http1_callers() {
    let app = echo(Protocol::Http2, None).await;
    let scene = Scene::start(&over_http2(app.port())).await;
    let headers = ["te: trailers, gzip", "connection: te, x-gone", "x-gone: 1", "cookie: a=1", "x-stays: 1"];
    let (head, text) = scene.raw(request("POST", "/a%20b?c=%2f", &headers, "hello")).await;
    let text = String::from_utf8(text.bytes).expect("text");
    assert_eq!(head.status(), 200, "{text}");
    assert!(text.starts_with("POST http://api.test/a%20b?c=%2f HTTP/2.0\n"), "{text}");
    assert!(text.ends_with("\nhello"), "{text}");
    for line in ["te: trailers", "cookie: a=1", "x-stays: 1", "content-length: 5"] {
        assert!(text.lines().any(|held| held == line), "{line} in {text}");
    }
    for name in ["x-gone", "connection", "host", "transfer-encoding"] {
        assert!(!text.lines().any(|held| held.starts_with(&format!("{name}:"))), "{name} in {text}");
    }
    // Chunks with trailers, a HEAD, and a caller of HTTP/1.0.
    let chunked = "PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n";
    let (head, text) = scene.raw(chunked).await;
    assert_eq!((head.header("x-trailers"), text.bytes.ends_with(b"\nabc")), (Some("1"), true));
    let (head, text) = scene.raw(request("HEAD", "/x", &[], "")).await;
    assert_eq!((head.status(), text.bytes.len()), (200, 0));
    let mut old = Raw::connect(scene.address()).await;
    old.send("GET /old HTTP/1.0\r\n\r\n").await;
    let head = old.head().await.expect("an answer");
    let text = String::from_utf8(old.body(&head, "GET").await.bytes).expect("text");
    assert_eq!(head.status(), 200);
    assert!(text.starts_with(&format!("GET http://127.0.0.1:{}/old HTTP/2.0\n", app.port())), "{text}");
    assert!(old.is_closed().await);
}

#[tokio::test]
async fn trailers_of_an_app_of_http2_reach_callers_that_take_them() {
    let app = App::start(Protocol::Http2, None, |_| async {
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))]);
        let frames = [Ok(Frame::data("hello".into())), Ok(Frame::trailers(trailers))];
        let body: AnyBody = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let mut answer = Response::new(body);
        answer.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        answer
    })
    .await;
    let scene = Scene::start(&over_http2(app.port())).await;
    let (_, body) = scene.get("/", &["te: trailers"]).await;
    assert_eq!((body.bytes.as_slice(), body.trailers), (&b"hello"[..], vec!["x-sum: 7".to_owned()]));
}

#[tokio::test]
async fn many_requests_share_a_connection_of_http2_and_more_are_opened_where_it_is_full() {
    for (streams, expected) in [(100, 1), (3, 4)] {
        let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (opened, counted) = (Arc::clone(&gate), Arc::clone(&waiting));
        let app = App::start(Protocol::Http2Streams(streams), None, move |_| {
            let (opened, counted) = (Arc::clone(&opened), Arc::clone(&counted));
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                opened.acquire().await.expect("never closed").forget();
                Response::new(body("ok"))
            }
        })
        .await;
        let scene = Scene::with(&over_http2(app.port()), |options| options.workers = 1.try_into().ok()).await;
        let asked = join_all((0..10).map(|_| scene.get("/", &[])));
        let released = async {
            eventually("all ten are at the app", PATIENCE, || async {
                let waiting = waiting.load(Ordering::SeqCst);
                if waiting == 10 { Ok(()) } else { Err(waiting) }
            })
            .await;
            gate.add_permits(10);
        };
        let (answers, ()) = futures::future::join(asked, released).await;
        assert!(answers.iter().all(|(head, _)| head.status() == 200));
        assert!(app.connections() <= expected, "{} connections for {streams} streams", app.connections());
        assert!(streams == 100 || app.connections() > 1, "{} connections", app.connections());
    }
}

#[tokio::test]
async fn requests_and_websockets_at_an_app_of_either_protocol_take_places_until_they_end() {
    for (protocol, name) in [(Protocol::Http1, "Http1"), (Protocol::Http2, "H2c")] {
        let app = App::start(protocol, None, |request| async move {
            if request.uri().path() == "/endless" {
                let frames = futures::stream::iter([Ok(Frame::data("x".into()))]).chain(futures::stream::pending());
                return Response::new(StreamBody::new(frames).boxed_unsync());
            }
            tests::websocket::echo(request).await
        })
        .await;
        let mut config = public(app.port());
        config["upstream"]["protocol"] = json!(name);
        let scene = Scene::with(&config, |options| options.limits.upstream_connections = 16).await;
        let mut answer = Raw::connect(scene.address()).await;
        answer.send(request("GET", "/endless", &[], "")).await;
        assert_eq!(answer.head().await.expect("an answer").status(), 200);
        answer.chunk().await;
        let by_upgrade = tests::websocket::by_upgrade(scene.address(), "/", &[]).await.expect("a WebSocket");
        let by_connect = tests::websocket::by_connect(scene.address(), "/", &[]).await.expect("a WebSocket");
        scene.await_metric("tollgate_upstream_in_flight 3").await;
        drop(by_upgrade);
        scene.await_metric("tollgate_upstream_in_flight 2").await;
        drop((by_connect, answer));
        scene.await_metric("tollgate_upstream_in_flight 0").await;
    }
}

#[tokio::test]
async fn an_upload_to_an_app_of_http2_that_goes_on_after_its_answer_keeps_its_place_and_is_ended() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let app = App::start(Protocol::Http2, None, move |mut request| {
        let counted = Arc::clone(&counted);
        async move {
            tokio::spawn(async move {
                while request.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                counted.store(usize::MAX, Ordering::SeqCst);
            });
            Response::new(body(""))
        }
    })
    .await;
    let scene = Scene::start(&over_http2(app.port())).await;
    let mut client = http2::Client::connect(scene.address()).await;
    let request = http::Request::post("http://api.test/").body(()).expect("a request");
    let (answer, mut upload) = client.send(request, false).await;
    upload.send_data("x".into(), false).expect("room");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    scene.await_metric("tollgate_upstream_in_flight 1").await;
    eventually("the app is told that there is no more", PATIENCE, || async {
        let read = read.load(Ordering::SeqCst);
        if read == usize::MAX { Ok(()) } else { Err(read) }
    })
    .await;
    scene.await_metric("tollgate_upstream_in_flight 0").await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
}

#[tokio::test]
async fn an_app_of_http2_that_answers_and_takes_no_more_keeps_nobody_waiting() {
    const STREAMS: u32 = 4;
    let unread = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&unread);
    let app = App::start(Protocol::Http2Streams(STREAMS), None, move |request| {
        if request.method() == http::Method::POST {
            kept.lock().expect("no panic").push(request);
        }
        async { Response::new(body("ok")) }
    })
    .await;
    let scene = Scene::with(&over_http2(app.port()), |options| options.workers = 1.try_into().ok()).await;
    let mut client = http2::Client::connect(scene.address()).await;
    let mut uploads = Vec::new();
    for _ in 0..STREAMS {
        let request = http::Request::post("http://api.test/").body(()).expect("a request");
        let (answer, mut upload) = client.send(request, false).await;
        upload.send_data(vec![b'x'; 4 << 20].into(), false).expect("it waits for room");
        assert_eq!(answer.await.expect("an answer").status(), 200);
        uploads.push(upload);
    }
    scene.await_metric(&format!("tollgate_upstream_in_flight {STREAMS}")).await;
    scene.await_metric("tollgate_upstream_in_flight 0").await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn an_app_that_says_goaway_finishes_what_it_has_and_loses_nothing() {
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, counted) = (Arc::clone(&gate), Arc::clone(&waiting));
    let app = App::start(Protocol::Http2, None, move |request| {
        let (opened, counted) = (Arc::clone(&opened), Arc::clone(&counted));
        async move {
            if request.uri().path() == "/slow" {
                counted.fetch_add(1, Ordering::SeqCst);
                opened.acquire().await.expect("never closed").forget();
            }
            Response::new(body("ok"))
        }
    })
    .await;
    let scene = Scene::with(&over_http2(app.port()), |options| options.workers = 1.try_into().ok()).await;
    let slow = scene.get("/slow", &[]);
    let others = async {
        eventually("the slow one is at the app", PATIENCE, || async {
            if waiting.load(Ordering::SeqCst) == 1 { Ok(()) } else { Err("not yet") }
        })
        .await;
        app.leave();
        for number in 0..20 {
            let (head, body) = scene.raw(request("POST", "/", &[], "pay")).await;
            assert_eq!(head.status(), 200, "{number}: {}", String::from_utf8_lossy(&body.bytes));
        }
        gate.add_permits(1);
    };
    let ((head, body), ()) = futures::future::join(slow, others).await;
    assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"ok"[..]));
    assert!(app.connections() > 1);
}

#[tokio::test]
async fn an_app_that_speaks_no_http2_is_502() {
    let app = echo(Protocol::Http1, None).await;
    let scene = Scene::start(&over_http2(app.port())).await;
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
}

#[tokio::test]
async fn a_caller_that_leaves_resets_its_stream_alone() {
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let counter = Arc::clone(&dropped);
    let app = App::start(Protocol::Http2, None, move |request| {
        let counts = Counts(Arc::clone(&counter));
        async move {
            if request.uri().path() == "/slow" {
                let _counts = counts;
                std::future::pending::<()>().await;
            }
            Response::new(body("ok"))
        }
    })
    .await;
    let scene = Scene::with(&over_http2(app.port()), |options| options.workers = 1.try_into().ok()).await;
    scene.get("/", &[]).await;
    let before = dropped.load(Ordering::SeqCst);
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/slow", &[], "")).await;
    eventually("it is at the app", PATIENCE, || async {
        let metrics = scene.metrics().await;
        if metrics.contains("tollgate_requests_in_flight 1") { Ok(()) } else { Err("not in flight") }
    })
    .await;
    drop(caller);
    eventually("the app sees that nobody waits any more", PATIENCE, || async {
        if dropped.load(Ordering::SeqCst) > before { Ok(()) } else { Err("still at work") }
    })
    .await;
    assert_eq!((scene.get("/", &[]).await.0.status(), app.connections()), (200, 1));
}

#[tokio::test]
async fn tls_to_the_app_is_spoken_with_either_protocol() {
    let ca = Authority::new("App CA");
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.crt");
    ca.write(&ca_file);
    for (protocol, alpn, version) in
        [(Protocol::Http1, "http/1.1", "GET /x HTTP/1.1"), (Protocol::Http2, "h2", "GET https://api.test/x HTTP/2.0")]
    {
        let app = echo(protocol, Some(ca.server("app.internal").acceptor(&[alpn]))).await;
        let config = if protocol == Protocol::Http1 { public(app.port()) } else { over_http2(app.port()) };
        let scene = Scene::start(&with_tls(config, "app.internal", &ca_file)).await;
        for _ in 0..3 {
            let (head, text) = scene.get("/x", &[]).await;
            let text = String::from_utf8(text.bytes).expect("text");
            assert_eq!(head.status(), 200, "{text}");
            assert!(text.starts_with(version), "{text}");
        }
    }
}

#[tokio::test]
async fn an_app_that_cannot_prove_its_name_gets_nothing() {
    let (ca, strangers) = (Authority::new("App CA"), Authority::new("Strange CA"));
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.crt");
    ca.write(&ca_file);
    let cases = [
        ("a strange CA", Protocol::Http1, Some(strangers.server("app.internal").acceptor(&[])), Some("app.internal")),
        ("another name", Protocol::Http1, Some(ca.server("other.internal").acceptor(&[])), Some("app.internal")),
        ("no TLS", Protocol::Http1, None, Some("app.internal")),
        ("no HTTP/2 by ALPN", Protocol::Http2, Some(ca.server("app.internal").acceptor(&[])), Some("app.internal")),
    ];
    for (what, protocol, tls, name) in cases {
        let app = echo(protocol, tls).await;
        let config = if protocol == Protocol::Http1 { public(app.port()) } else { over_http2(app.port()) };
        let scene = Scene::start(&with_tls(config, name.expect("a name"), &ca_file)).await;
        let (head, body) = scene.get("/", &[]).await;
        assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"), "{what}");
    }
}

/// What the report says of files.
async fn problem(scene: &Scene) -> Option<ProblemCode> {
    let report: SidecarReport = serde_json::from_str(&scene.admin("/config").await.1).expect("a report");
    report.problems.iter().find(|problem| problem.issuer.is_empty()).map(|problem| problem.code)
}

/// The bundle alone is trusted, and it has to hold something.
#[tokio::test]
async fn without_a_ca_the_app_gets_nothing_until_there_is_one_and_a_broken_one_changes_nothing() {
    let ca = Authority::new("App CA");
    let folder = tempfile::tempdir().expect("a folder");
    let (ca_file, empty) = (folder.path().join("ca.crt"), folder.path().join("empty.crt"));
    std::fs::write(&empty, "").expect("a file");
    let app = echo(Protocol::Http1, Some(ca.server("app.internal").acceptor(&[]))).await;
    let issuer = FakeIssuer::start().await;
    let mut config = public(app.port());
    config["issuers"][0]["url"] = json!(issuer.url());
    config["issuers"][0]["caFile"] = json!(issuer.ca_file());
    for file in [&empty, &ca_file] {
        let scene = Scene::start(&with_tls(config.clone(), "app.internal", file)).await;
        let (head, body) = scene.get("/", &[]).await;
        assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
        assert_eq!(problem(&scene).await, Some(ProblemCode::UpstreamCaMissing));
        eventually("nothing else is missing", PATIENCE, || async {
            let (head, why) = scene.admin("/readyz").await;
            assert_eq!(head.status(), 503);
            if why.contains("CA certificates") { Ok(()) } else { Err(why) }
        })
        .await;
        ca.write(file);
        let scene = scene.into_ready().await;
        assert_eq!((problem(&scene).await, scene.get("/", &[]).await.0.status()), (None, 200));
        std::fs::write(file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("a file");
        eventually("the report says so", PATIENCE, || async {
            let said = problem(&scene).await;
            if said == Some(ProblemCode::UpstreamCaMissing) { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
        assert_eq!(scene.get("/", &[]).await.0.status(), 200, "the last good one stays in force");
        assert_eq!(scene.admin("/readyz").await.0.status(), 200);
    }
}

#[tokio::test]
async fn a_new_ca_is_taken_without_a_restart() {
    let (old, new) = (Authority::new("Old CA"), Authority::new("New CA"));
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.crt");
    old.write(&ca_file);
    let app = echo(Protocol::Http1, Some(new.server("app.internal").acceptor(&[]))).await;
    let scene = Scene::start(&with_tls(public(app.port()), "app.internal", &ca_file)).await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 502);
    new.write(&ca_file);
    eventually("the new CA is trusted", PATIENCE, || async {
        let (head, _) = scene.get("/", &[]).await;
        if head.status() == 200 { Ok(()) } else { Err(head.start_line().to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn the_pods_own_address_is_used_where_the_app_listens_there() {
    let app = Upstream::start(|_| ok("hello")).await;
    let mut config = public(app.port());
    config["upstream"]["address"] = json!("Pod");
    let error = Box::pin(tollgate_sidecar::Sidecar::start(options(&config))).await.err().expect("a refusal");
    assert!(format!("{:#}", anyhow::Error::from(error)).contains("POD_IP"));
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    let scene = Scene::with(&config, |options| options.pod_ip = Some(address)).await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
}

#[tokio::test]
async fn a_body_that_stands_still_ends() {
    let app = App::start(Protocol::Http1, None, |_| async {
        let first = futures::stream::iter([Ok(Frame::data("first".into()))]);
        let never = futures::stream::pending();
        let body = StreamBody::new(first.chain(never));
        Response::new(body.boxed_unsync())
    })
    .await;
    let mut config = public(app.port());
    config["upstream"]["timeouts"] = json!({"connectMillis": 1000, "responseHeaderMillis": 20_000, "idleMillis": 300});
    let scene = Scene::start(&config).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/", &[], "")).await;
    caller.head().await.expect("an answer");
    assert_eq!(caller.chunk().await.bytes, b"first");
    assert!(caller.is_closed().await, "nobody waits for ever");
    assert_eq!(scene.log.lines(1).await[0]["aborted"], true);
}

#[tokio::test]
async fn an_app_that_takes_no_connection_in_time_is_504() {
    // A port whose backlog is full: connections are neither taken nor refused.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut filling = Vec::new();
    for _ in 0..5_000 {
        let connecting = tokio::net::TcpStream::connect(("127.0.0.1", port));
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(stream) => filling.push(stream),
            Err(_) => break,
        }
    }
    let mut config = public(port);
    config["upstream"]["timeouts"] = json!({"connectMillis": 300, "responseHeaderMillis": 20_000, "idleMillis": 300});
    let scene = Scene::start(&config).await;
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (504, "upstream_timeout"));
}
