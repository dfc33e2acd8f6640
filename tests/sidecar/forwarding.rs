//! What reaches the app and what comes back: targets, methods and bodies as they were sent.

use std::collections::BTreeSet;

use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Reply, Upstream, ok};
use tests::wait::eventually;

use crate::scene::{PATIENCE, Scene, public, reason, request};

#[tokio::test]
async fn target_bytes_arrive_as_they_were_sent() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    for target in [
        "/",
        "/items",
        "/items/",
        "/a%20b/%C3%A9/%7e",
        "/a;v=1/b",
        "/A/b+c/~d/(e)",
        "/items?q=1&q=2",
        "/items?next=/../%2e%2e//x%00\\&%zz",
        "/items?",
        "/caf\u{e9}",
    ] {
        let (head, body) = scene.get(target, &[]).await;
        assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"hello"[..]), "{target}");
        assert_eq!(app.last().head.start_line(), format!("GET {target} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_path_that_could_mean_two_things_is_400_and_never_forwarded() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    for target in [
        "/docs/../items",
        "/docs/%2e%2e/items",
        "/docs/..;/items",
        "//items",
        "/docs%2fitems",
        "/docs%5citems",
        "/items%00",
        "/%2569tems",
        "/items%",
        "*",
        "http://api.test/docs/../items",
    ] {
        let (head, body) = scene.get(target, &[]).await;
        assert_eq!((head.status(), reason(&body).as_str()), (400, "bad_path"), "{target}");
        assert_eq!(head.header("content-type"), Some("application/problem+json"));
        assert_eq!(head.header("www-authenticate"), None);
    }
    // What is no target at all never becomes a request; it is refused without a reason.
    for target in ["?items", "items", "#x", "\\items", "/it ems"] {
        assert_eq!(scene.get(target, &[]).await.0.status(), 400, "{target}");
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn an_absolute_target_becomes_a_path_and_must_fit_the_host() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, _) = scene.get("http://api.test/items?x=1", &[]).await;
    assert_eq!(head.status(), 200);
    assert_eq!(app.last().head.start_line(), "GET /items?x=1 HTTP/1.1");
    assert_eq!(app.last().head.header("host"), Some("api.test"));
    let (head, body) = scene.get("http://other.test/items", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (400, "bad_request"));
    assert_eq!(app.arrived().len(), 1);
}

#[tokio::test]
async fn a_fragment_never_reaches_the_app_nor_the_choice_of_a_route() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    scene.get("/docs#/../items", &[]).await;
    assert_eq!(app.last().head.start_line(), "GET /docs HTTP/1.1");
}

#[tokio::test]
async fn connect_and_trace_are_refused() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    for (method, target) in [("CONNECT", "api.test:443"), ("TRACE", "/items"), ("CONNECT", "/items")] {
        let (head, _) = scene.raw(request(method, target, &[], "")).await;
        assert!(matches!(head.status(), 400 | 405), "{method} {target}: {}", head.start_line());
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn odd_methods_and_bodies_pass() {
    let app = Upstream::start(|request| ok(&String::from_utf8_lossy(&request.body.bytes))).await;
    let scene = Scene::start(&public(app.port())).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"] {
        let (head, body) = scene.raw(request(method, "/items", &[], "a body")).await;
        assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"a body"[..]), "{method}");
        assert_eq!(app.last().head.start_line(), format!("{method} /items HTTP/1.1"));
        assert_eq!(app.last().head.header("content-length"), Some("6"));
        let chunks = "6\r\na body\r\n0\r\n\r\n";
        let request = format!("{method} /items HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let (head, body) = scene.raw(request).await;
        assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"a body"[..]), "{method} in chunks");
    }
}

#[tokio::test]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let app = Upstream::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                      5\r\nhello\r\n0\r\nx-sum: 7\r\nconnection: x-sum\r\n\r\n";
        Reply::Bytes(answer.into())
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, body) = scene
        .raw(
            "POST /items HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-check, x-tollgate-subject\r\n\
             te: trailers\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nx-check: 5\r\nX-Tollgate-Subject: admin\r\n\r\n",
        )
        .await;
    let seen = app.last();
    assert_eq!(seen.body.bytes, b"abcde");
    assert_eq!(seen.body.trailers, ["x-check: 5"]);
    assert_eq!(seen.head.header("content-length"), None);
    assert_eq!(head.status(), 200);
    assert_eq!(body.bytes, b"hello");
    assert_eq!(
        body.trailers,
        Vec::<String>::new(),
        "a header named by Connection is not forwarded, in trailers either"
    );
}

#[tokio::test]
async fn trailers_of_the_app_reach_a_caller_that_takes_them() {
    let app = Upstream::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n\
                      0\r\ngrpc-status: 0\r\n\r\n";
        Reply::Bytes(answer.into())
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let (_, body) = scene.get("/", &["te: trailers"]).await;
    assert_eq!(body.trailers, ["grpc-status: 0"]);
    assert_eq!(app.last().head.header("te"), Some("trailers"));
}

#[tokio::test]
async fn head_keeps_the_length_and_has_no_body() {
    let app = Upstream::start(|request| match request.head.start_line() {
        "HEAD /sized HTTP/1.1" => Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".into()),
        _ => Reply::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into()),
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    for (target, length) in [("/sized", Some("1234")), ("/chunked", None)] {
        caller.send(request("HEAD", target, &[], "")).await;
        let head = caller.head().await.expect("an answer");
        assert_eq!((head.status(), head.header("content-length")), (200, length), "{target}");
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let app = Upstream::start(|request| match request.head.target() {
        "/304" => Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 9\r\n\r\n".into()),
        "/103" => Reply::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into(),
        ),
        _ => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".into()),
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    for (target, status) in [("/204", 204), ("/304", 304), ("/103", 200), ("/204", 204)] {
        caller.send(request("GET", target, &[], "")).await;
        let head = caller.head().await.expect("an answer");
        caller.body(&head, "GET").await;
        assert_eq!(head.status(), status, "{target}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_passed_on_whole() {
    let app = Upstream::start(|_| Reply::BytesAndClose(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".into())).await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, body) = scene.get("/", &[]).await;
    assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"until the end"[..]));
}

#[tokio::test]
async fn http_1_0_is_served_without_a_host() {
    let app = Upstream::start(|_| ok("old")).await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, body) = scene.raw("GET /items HTTP/1.0\r\n\r\n").await;
    assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"old"[..]));
    assert_eq!(app.last().head.start_line(), "GET /items HTTP/1.1");
    assert_eq!(app.last().head.header("host"), Some(format!("127.0.0.1:{}", app.port()).as_str()));
}

#[tokio::test]
async fn one_connection_of_a_caller_serves_many_requests_over_one_to_the_app() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    // On a busy machine a request may come before the connection is back in the pool.
    eventually("twenty requests in a row come over one connection", PATIENCE, || async {
        let mut caller = Raw::connect(scene.address()).await;
        let before = app.arrived().len();
        for _ in 0..20 {
            caller.send(request("GET", "/", &[], "")).await;
            let head = caller.head().await.expect("an answer");
            assert_eq!(caller.body(&head, "GET").await.bytes, b"hello");
        }
        let used: BTreeSet<usize> = app.arrived()[before..].iter().map(|request| request.connection).collect();
        if used.len() == 1 { Ok(()) } else { Err(format!("{used:?}")) }
    })
    .await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = Upstream::start(|request| ok(request.head.target())).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(format!("{}{}", request("GET", "/1", &[], ""), request("POST", "/2", &[], "body"))).await;
    for expected in ["/1", "/2"] {
        let head = caller.head().await.expect("an answer");
        assert_eq!(caller.body(&head, "GET").await.bytes, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_100_is_told_when_the_app_is_there_to_read() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("PUT /items HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    let mut upstream = app.accept().await;
    let head = upstream.head().await.expect("a request");
    assert_eq!(head.header("expect"), None, "answered by us");
    assert_eq!(caller.head().await.expect("a word").status(), 100);
    caller.send("body").await;
    assert_eq!(upstream.exactly(4).await, b"body");
    upstream.send("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("an answer").status(), 201);
}

#[tokio::test]
async fn an_upgrade_is_dropped_and_a_switch_unasked_is_502() {
    let app = Upstream::start(|request| match request.head.target() {
        "/switch" => Reply::Bytes(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".into(),
        ),
        _ => ok("plain"),
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let headers = ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"];
    let (head, _) = scene.get("/", &headers).await;
    assert_eq!(head.status(), 200);
    let seen = app.last().head;
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let (head, body) = scene.get("/switch", &[]).await;
    assert_eq!((head.status(), reason(&body).as_str()), (502, "upgrade_refused"));
}
