//! The longest body: refused by its length at once, and where it has none as soon as it is too long, so that no app ever
//! takes the beginning of a body for the whole.

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tests::http2::{Client, read};
use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Upstream, ok};

use crate::scene::{Scene, public, reason, request};

async fn scene(port: u16, longest: u64) -> Scene {
    let mut config = public(port);
    config["maxBodyBytes"] = json!(longest);
    Scene::start(&config).await
}

#[tokio::test]
async fn a_body_is_refused_by_its_length_before_it_is_sent() {
    let app = Upstream::start(|request| ok(&request.body.bytes.len().to_string())).await;
    let scene = scene(app.port(), 10).await;
    for (length, status) in [(0, 200), (10, 200), (11, 413)] {
        let (head, _) = scene.raw(request("POST", "/", &[], &"x".repeat(length))).await;
        assert_eq!(head.status(), status, "{length}");
    }
    for headers in ["content-length: 11", "content-length: 9999999999999\r\nexpect: 100-continue"] {
        let (head, body) = scene.raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n")).await;
        assert_eq!((head.status(), reason(&body).as_str()), (413, "body_too_large"), "{headers}");
    }
    assert_eq!(app.arrived().len(), 2);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_where_it_is_too_long_and_never_looks_whole() {
    let app = ManualUpstream::start().await;
    let scene = scene(app.port(), 10).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst \r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    assert_eq!(upstream.chunk().await.bytes, b"first ");
    caller.send("6\r\nsecond\r\n").await;
    let seen = upstream.rest().await;
    assert!(!seen.ends_with(b"0\r\n\r\n"), "the app learns that it did not end: {}", String::from_utf8_lossy(&seen));
    let head = caller.head().await.expect("an answer");
    let body = caller.body(&head, "POST").await;
    assert_eq!((head.status(), reason(&body).as_str()), (413, "body_too_large"));
}

#[tokio::test]
async fn a_body_in_chunks_that_just_fits_passes() {
    let app = Upstream::start(|request| ok(&String::from_utf8_lossy(&request.body.bytes))).await;
    let scene = scene(app.port(), 10).await;
    let chunks = "5\r\nhello\r\n5\r\nworld\r\n0\r\nx-check: 1\r\n\r\n";
    let sent = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let (head, body) = scene.raw(sent).await;
    assert_eq!((head.status(), body.bytes.as_slice()), (200, &b"helloworld"[..]));
}

#[tokio::test]
async fn over_http2_the_limit_is_the_same() {
    let app = Upstream::start(|request| ok(&String::from_utf8_lossy(&request.body.bytes))).await;
    let scene = scene(app.port(), 10).await;
    let mut caller = Client::connect(scene.address()).await;
    let post = |length: Option<&str>| {
        let request = Request::post("http://api.test/");
        let request = length.into_iter().fold(request, |request, length| request.header("content-length", length));
        request.body(()).expect("a request")
    };
    let (answer, mut body) = caller.send(post(None), false).await;
    body.send_data("hello".into(), false).expect("room");
    body.send_data("world".into(), true).expect("room");
    assert_eq!(read(answer).await.expect("an answer").body(), "helloworld");
    let refused = async |answer| {
        let answer: Response<Bytes> = read(answer).await.expect("an answer");
        let problem: Value = serde_json::from_slice(answer.body()).expect("a problem");
        assert_eq!((answer.status().as_u16(), &problem["reason"]), (413, &json!("body_too_large")));
    };
    let (answer, _body) = caller.send(post(Some("11")), false).await;
    refused(answer).await;
    assert_eq!(app.arrived().len(), 1, "by its length, before it is sent");
    let (answer, mut body) = caller.send(post(None), false).await;
    body.send_data("hello world".into(), false).expect("room");
    refused(answer).await;
    assert!(app.arrived().iter().all(|arrived| arrived.body.bytes.len() <= 10));
}

#[tokio::test]
async fn a_claim_header_is_dropped_from_trailers() {
    let app = Upstream::start(|_| ok("")).await;
    let mut config = public(app.port());
    config["upstream"]["claimHeaders"] = json!([{"claim": ["sub"], "header": "x-user"}]);
    let scene = Scene::start(&config).await;
    let chunks = "0\r\nX-User: evil\r\nx_user: evil\r\nx-sum: 1\r\n\r\n";
    let framing = "transfer-encoding: chunked\r\ntrailer: x-sum, x-user, x_user";
    scene.raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{chunks}")).await;
    assert_eq!(app.last().body.trailers, ["x-sum: 1"]);
}
