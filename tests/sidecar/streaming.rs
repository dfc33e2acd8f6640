//! Bodies flow: a piece is passed on when it comes, the slower side sets the pace, and nothing is collected.

use std::time::Duration;

use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Upstream, ok};

use crate::scene::{Scene, public};

#[tokio::test]
async fn an_upload_reaches_the_app_piece_by_piece() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut upstream = app.accept().await;
    assert_eq!(upstream.head().await.expect("a request").header("transfer-encoding"), Some("chunked"));
    for piece in ["one", "two!"] {
        caller.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        assert_eq!(upstream.chunk().await.bytes, piece.as_bytes(), "before the next is sent");
    }
    caller.send("0\r\n\r\n").await;
    assert!(upstream.chunk().await.bytes.is_empty());
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn an_answer_reaches_the_caller_piece_by_piece() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("an answer").header("content-type"), Some("text/event-stream"));
    for piece in ["data: 1\n\n", "data: 22\n\n"] {
        upstream.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        assert_eq!(caller.chunk().await.bytes, piece.as_bytes(), "before the next is sent");
    }
    upstream.send("0\r\n\r\n").await;
    assert!(caller.chunk().await.bytes.is_empty());
}

#[tokio::test]
async fn an_app_may_answer_while_the_upload_is_still_coming() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    assert_eq!(upstream.exactly(3).await, b"abc");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nABC").await;
    let head = caller.head().await.expect("an answer");
    assert_eq!(caller.exactly(3).await, b"ABC");
    caller.send("def").await;
    assert_eq!(upstream.exactly(3).await, b"def");
    upstream.send("DEF").await;
    assert_eq!((head.status(), caller.exactly(3).await), (200, b"DEF".to_vec()));
}

#[tokio::test]
async fn large_bodies_pass_whole() {
    const SIZE: usize = 32 << 20;
    let app = Upstream::start(|request| ok(&request.body.bytes.len().to_string())).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n")).await;
    caller.send(vec![b'x'; SIZE]).await;
    let head = caller.head().await.expect("an answer");
    assert_eq!(caller.body(&head, "PUT").await.bytes, SIZE.to_string().as_bytes());
}

/// Far more than the sockets' buffers hold on two connections, far less than all of it.
const MUCH: usize = 256 << 20;
const BUFFERS: usize = 64 << 20;
const STALLED: Duration = Duration::from_millis(500);

#[tokio::test]
async fn an_app_that_does_not_read_stops_the_caller() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {MUCH}\r\n\r\n")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    let taken = caller.send_for(STALLED, &vec![b'x'; MUCH]).await;
    assert!(taken < BUFFERS, "{taken} bytes were taken for an app that reads nothing");
}

#[tokio::test]
async fn a_caller_that_does_not_read_stops_the_app() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n")).await;
    let taken = upstream.send_for(STALLED, &vec![b'x'; MUCH]).await;
    assert!(taken < BUFFERS, "{taken} bytes were taken for a caller that reads nothing");
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_request_at_the_app() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    drop(caller);
    assert!(upstream.is_closed().await, "the app sees that nobody waits any more");
    assert_eq!(scene.log.lines(1).await[0]["status"], 499);
}

#[tokio::test]
async fn an_answer_cut_short_by_the_app_is_cut_short_for_the_caller() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    drop(upstream);
    caller.head().await.expect("an answer");
    assert_eq!(caller.chunk().await.bytes, b"abc");
    assert!(caller.is_closed().await, "no final chunk makes it look whole");
    let line = &scene.log.lines(1).await[0];
    assert_eq!((&line["status"], &line["aborted"]), (&200.into(), &true.into()));
}
