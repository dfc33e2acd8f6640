//! HTTP/2 from callers: the same port, the same rules, and nothing that its streams make easier for an attacker.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Method, Request};
use serde_json::Value;
use tests::http2::{Client, Frames, PREFACE, encode, frame, get, get_block, read, read_body};
use tests::issuer::FakeIssuer;
use tests::mint::Token;
use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Reply, Upstream, ok};
use tests::wait::{eventually, throughout};
use tollgate_sidecar::Limits;

use crate::scene::{PATIENCE, Scene, items, public, request};

/// So short that tests see the end of it.
const SOON: Duration = Duration::from_millis(300);

fn reason(body: &Bytes) -> String {
    let problem: Value = serde_json::from_slice(body).expect("a problem");
    problem["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn one_port_speaks_both_versions() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    let answer =
        caller.get("/a?b=c", &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));
    let head = app.last().head;
    assert!(head.as_str().starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head:?}");
    assert_eq!((head.header("host"), head.header("cookie")), (Some("api.test"), Some("a=1; b=2")));
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
}

#[tokio::test]
async fn the_offer_to_upgrade_is_not_taken() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let offer = ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"];
    let (head, _) = scene.get("/", &offer).await;
    assert_eq!(head.status(), 200);
    assert_eq!((app.last().head.header("upgrade"), app.last().head.header("http2-settings")), (None, None));
}

#[tokio::test]
async fn a_request_needs_its_token_on_every_stream() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let token = Token::of(&issuer.url()).signed();
    let mut caller = Client::connect(scene.address()).await;
    let good = [("authorization", &*format!("Bearer {token}"))];
    assert_eq!(caller.get("/items", &good).await.expect("an answer").status(), 200);
    let answer = caller.get("/items", &[]).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &*reason(answer.body())), (401, "missing_token"));
    assert_eq!(app.arrived().len(), 1);
}

#[tokio::test]
async fn what_has_two_meanings_is_refused() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    for headers in [&[("host", "other.test")][..], &[("host", "api.test"), ("host", "api.test")]] {
        let answer = caller.get("/", headers).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &*reason(answer.body())), (400, "bad_request"), "{headers:?}");
    }
    let nowhere = Request::builder().method(Method::CONNECT).uri("api.test:443").body(()).expect("a request");
    assert_eq!(caller.ask(nowhere).await.expect("an answer").status(), 405);
    // Extended CONNECT is for WebSockets alone.
    for protocol in ["connect-udp", "websockets", "WebSocket"] {
        let mut other = Request::connect("http://api.test/").body(()).expect("a request");
        other.extensions_mut().insert(h2::ext::Protocol::from(protocol));
        assert_eq!(caller.ask(other).await.expect("an answer").status(), 405, "{protocol}");
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn to_head_no_byte_of_a_body_is_sent() {
    let app = Upstream::start(|_| Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec())).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    let head = |path| Request::head(format!("http://api.test{path}")).body(()).expect("a request");
    let answer = caller.ask(head("/")).await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-length"], answer.body().len()),
        (200, &"5".parse().expect("a value"), 0)
    );
    let refused = caller.ask(head("/%00")).await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.body().len()), (400, 0));
}

#[tokio::test]
async fn large_heads_are_refused_with_a_reason_and_larger_ones_without() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    let answer = caller.get("/", &[("x-large", &"a".repeat(33 * 1024))]).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &*reason(answer.body())), (431, "headers_too_large"));
    let answer = caller.get("/", &[("x-larger", &"a".repeat(66 * 1024))]).await;
    assert!(answer.map_or(true, |answer| answer.status() == 431));
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn a_hundred_headers_pass_and_one_more_is_refused() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    let names: Vec<String> = (0..100).map(|number| format!("x-{number}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "a")).collect();
    // Host is one of them, which is `:authority` here.
    assert_eq!(caller.get("/", &headers[1..]).await.expect("an answer").status(), 200);
    assert_eq!(app.last().head.all("x-99"), ["a"]);
    let answer = caller.get("/", &headers).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &*reason(answer.body())), (431, "headers_too_large"));
    assert_eq!(app.arrived().len(), 1);
}

#[tokio::test]
async fn requests_of_one_connection_are_under_way_at_once() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    let (first, _) = caller.send(get("/first", &[]), true).await;
    let mut slow = app.accept().await;
    assert!(slow.head().await.expect("a request").as_str().starts_with("GET /first "));
    let (second, _) = caller.send(get("/second", &[]), true).await;
    let mut quick = app.accept().await;
    quick.head().await.expect("a request");
    quick.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nquick").await;
    assert_eq!(read(second).await.expect("an answer").body(), "quick");
    slow.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow").await;
    assert_eq!(read(first).await.expect("an answer").body(), "slow");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_and_leaves_the_others_alone() {
    let app = Upstream::start(|arrived| match arrived.head.target() {
        "/large" => ok(LARGE),
        "/middle" => ok(&LARGE[..5_000]),
        "/chunked" => {
            let chunk = &LARGE[..5_000];
            Reply::Bytes(
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n{chunk}\r\n0\r\n\r\n").into(),
            )
        }
        _ => ok("small"),
    })
    .await;
    let limits = Limits { unread: SOON, ..Limits::default() };
    let scene = Scene::with(&public(app.port()), |options| options.limits = limits).await;
    // With room for one byte hyper takes a piece, and waits no more.
    for (path, window) in
        [("/large", 1024), ("/large", 1), ("/middle", 1024), ("/middle", 1), ("/chunked", 1024), ("/chunked", 1)]
    {
        let stream = tokio::net::TcpStream::connect(scene.address()).await.expect("a listener");
        let mut caller = Client::over(stream, window).await;
        let (unread, _) = caller.send(get(path, &[]), true).await;
        let mut unread = unread.await.expect("a head").into_body();
        let error = tokio::time::timeout(PATIENCE, async {
            loop {
                match unread.data().await.expect("no end") {
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        });
        let error = error.await.expect("an end in time");
        assert!(error.is_reset(), "{path}, {window}: {error}");
        let (small, _) = caller.send(get("/small", &[]), true).await;
        assert_eq!(small.await.expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn what_we_say_ourselves_waits_shortly_for_a_reader_and_the_apps_answer_longer() {
    let app = Upstream::start(|_| ok("hello")).await;
    let limits = Limits { own_unread: SOON, ..Limits::default() };
    let scene = Scene::with(&public(app.port()), |options| options.limits = limits).await;
    let stream = tokio::net::TcpStream::connect(scene.address()).await.expect("a listener");
    // Without a window heads arrive, and no body does.
    let mut caller = Client::over(stream, 0).await;
    let (apps, _) = caller.send(get("/", &[]), true).await;
    let mut apps = apps.await.expect("a head").into_body();
    let mut refusals = Vec::new();
    for _ in 0..90 {
        refusals.push(caller.send(get("/%00", &[]), true).await.0);
    }
    for refusal in refusals {
        let refusal = refusal.await.expect("a head");
        assert_eq!(refusal.status(), 400);
        let end = tokio::time::timeout(PATIENCE, read_body(&mut refusal.into_body())).await.expect("an end in time");
        assert!(end.expect_err("no window").is_reset());
    }
    assert!(apps.data().now_or_never().is_none(), "it waits for its reader");
}

/// More than what is sent before the caller must have read.
const LARGE: &str = match std::str::from_utf8(&[b'x'; 512 * 1024]) {
    Ok(text) => text,
    Err(_) => "",
};

#[tokio::test]
async fn heads_that_never_end_and_connections_without_a_request_are_given_up() {
    let limits = Limits { ping: SOON, head: Duration::from_secs(2), ..Limits::default() };
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::with(&public(app.port()), |options| options.limits = limits).await;
    let mut slow = Frames::connect(scene.address()).await;
    slow.send(frame::HEADERS, frame::END_STREAM, 1, &get_block("/")).await.expect("room");
    slow.rest().await;
    let mut silent = Frames::connect(scene.address()).await;
    silent.rest().await;
    let mut half = Raw::connect(scene.address()).await;
    half.send(&PREFACE[..10]).await;
    assert!(half.is_closed().await, "not even the preface");
    // One that answers pings, and asks for nothing more.
    let mut idle = Client::connect(scene.address()).await;
    idle.get("/", &[]).await.expect("an answer");
    idle.ended().await.expect("an end in order");
    scene.await_metric("tollgate_connections 0").await;
}

#[tokio::test]
async fn a_connection_in_use_outlives_its_idle_time() {
    let limits = Limits { head: SOON, ..Limits::default() };
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.limits = limits).await;
    let mut caller = Client::connect(scene.address()).await;
    let (answer, _) = caller.send(get("/", &[]), true).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    throughout("the connection stays", 4 * SOON, || async {
        if caller.has_ended() { Err("it ended") } else { Ok(()) }
    })
    .await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await;
    assert_eq!(read(answer).await.expect("an answer").body(), "late");
}

/// Sends pieces until the other end hangs up, and never more than is bearable.
async fn flood(mut caller: Frames<tokio::net::TcpStream>, piece: impl Fn(u32) -> Vec<u8>) -> Vec<tests::http2::Frame> {
    for number in 0..20_000 {
        if caller.write(&piece(number)).await.is_err() {
            break;
        }
    }
    caller.rest().await
}

fn begin_and_reset(number: u32) -> Vec<u8> {
    let stream = 2 * number + 1;
    let mut both = encode(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &get_block("/"));
    both.extend_from_slice(&encode(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    both
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let app = Upstream::start(|_| Reply::Never).await;
    let scene = Scene::start(&public(app.port())).await;
    // In one go, before a stream is looked at.
    let mut caller = Frames::connect(scene.address()).await;
    let all: Vec<u8> = (0..10_000).flat_map(begin_and_reset).collect();
    let _ = caller.write(&all).await;
    caller.rest().await;
    scene.await_metric("tollgate_connections 0").await;
    // Few at a time, and on after it was told to leave.
    let mut caller = Frames::connect(scene.address()).await;
    let mut sent = 0;
    while sent < 10_000 {
        let some: Vec<u8> = (sent..sent + 10).flat_map(begin_and_reset).collect();
        if caller.write(&some).await.is_err() || settle(&mut caller).await.is_none() {
            break;
        }
        sent += 10;
    }
    assert!((350..600).contains(&sent), "{sent} requests were taken back");
    scene.await_metric("tollgate_connections 0").await;
    scene.await_metric("tollgate_requests_in_flight 0").await;
}

#[tokio::test]
async fn a_gateway_may_take_back_all_that_it_has_under_way_at_one_go() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut gateway = Frames::connect(scene.address()).await;
    settle(&mut gateway).await.expect("the connection stays");
    let mut all: Vec<u8> = (0..99).flat_map(begin_and_reset).collect();
    all.extend(encode(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 199, &get_block("/kept")));
    gateway.write(&all).await.expect("room");
    let mut upstream = app.accept().await;
    assert_eq!(upstream.head().await.expect("a request").target(), "/kept");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let answer = loop {
        let frame = next(&mut gateway).await;
        if frame.kind == frame::DATA {
            break frame;
        }
    };
    assert_eq!((answer.stream, &*answer.payload), (199, &b"hello"[..]));
}

#[tokio::test]
async fn a_flood_by_one_of_many_behind_a_gateway_costs_the_others_no_answer() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut gateway = Frames::connect(scene.address()).await;
    let whole = frame::END_HEADERS | frame::END_STREAM;
    gateway.send(frame::HEADERS, whole, 1, &get_block("/of-another")).await.expect("room");
    let mut slow = app.accept().await;
    slow.head().await.expect("a request");
    let mut seen = Vec::new();
    let mut number = 1;
    while !seen.iter().any(|frame: &tests::http2::Frame| frame.kind == frame::GOAWAY) {
        assert!(number < 1_000, "{number} requests were taken back");
        let some: Vec<u8> = (number..number + 10).flat_map(begin_and_reset).collect();
        gateway.write(&some).await.expect("room");
        seen.extend(settle(&mut gateway).await.expect("the connection stays"));
        number += 10;
    }
    let late = 2 * number + 1;
    gateway.send(frame::HEADERS, whole, late, &get_block("/late")).await.expect("room");
    let refused = loop {
        let frame = next(&mut gateway).await;
        if frame.kind == frame::RST_STREAM && frame.stream == late {
            break frame;
        }
        seen.push(frame);
    };
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM: it may be sent again elsewhere");
    slow.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let answer = loop {
        let frame = next(&mut gateway).await;
        if frame.kind == frame::DATA {
            break frame;
        }
        seen.push(frame);
    };
    assert_eq!((answer.stream, &*answer.payload), (1, &b"hello"[..]));
    // A gateway acknowledges what comes with the word that it should leave, and is let go at once.
    for ping in seen.iter().filter(|frame| frame.kind == frame::PING) {
        gateway.send(frame::PING, 1, 0, &ping.payload).await.expect("room");
    }
    gateway.rest().await;
    scene.await_metric("tollgate_connections 0").await;
}

async fn next(caller: &mut Frames<tokio::net::TcpStream>) -> tests::http2::Frame {
    tokio::time::timeout(PATIENCE, caller.next()).await.expect("a frame in time").expect("the connection stays")
}

/// Waits until all that was sent has been looked at; the frames that came meanwhile, none at the end of the connection.
async fn settle(caller: &mut Frames<tokio::net::TcpStream>) -> Option<Vec<tests::http2::Frame>> {
    let mut seen = Vec::new();
    caller.send(frame::PING, 0, 0, b"look now").await.ok()?;
    loop {
        let frame = tokio::time::timeout(PATIENCE, caller.next()).await.expect("a frame in time")?;
        if frame.kind == frame::PING && frame.payload == b"look now" {
            return Some(seen);
        }
        seen.push(frame);
    }
}

#[tokio::test]
async fn floods_of_frames_that_ask_for_nothing_end_the_connection_or_change_nothing() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    // CONTINUATION without end, of a field that is as long as its frames.
    let mut endless = Frames::connect(scene.address()).await;
    endless.send(frame::HEADERS, frame::END_STREAM, 1, &get_block("/")).await.expect("room");
    let field: Vec<u8> = [&[0x00, 1, b'a', 0x7f, 0x81, 0x7e][..], &[b'b'; 16_000]].concat();
    let frames = flood(endless, |_| encode(frame::CONTINUATION, 0, 1, &field)).await;
    assert!(frames.iter().all(|frame| frame.stream == 0), "no answer: {frames:?}");
    // The same without a byte in them.
    let mut empty = Frames::connect(scene.address()).await;
    empty.send(frame::HEADERS, frame::END_STREAM, 1, &get_block("/")).await.expect("room");
    flood(empty, |_| encode(frame::CONTINUATION, 0, 1, &[])).await;
    for (kind, payload) in [(frame::PING, &[0; 8][..]), (frame::SETTINGS, &[0, 3, 0, 0, 0, 100])] {
        // Nobody reads the acknowledgements.
        let mut caller = Frames::connect(scene.address()).await;
        let all: Vec<u8> = (0..50_000).flat_map(|_| encode(kind, 0, 0, payload)).collect();
        let _ = tokio::time::timeout(SOON, caller.write(&all)).await;
        assert_eq!(scene.get("/", &[]).await.0.status(), 200, "others are served meanwhile");
    }
    eventually("all are gone", PATIENCE, || async {
        let metrics = scene.metrics().await;
        if metrics.contains("tollgate_connections 0\n") { Ok(()) } else { Err(metrics) }
    })
    .await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_rest_served() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Frames::connect(scene.address()).await;
    // Uploads that never end: none of them is over.
    let begun: Vec<u8> = (0..120)
        .flat_map(|number| encode(frame::HEADERS, frame::END_HEADERS, 2 * number + 1, &get_block("/")))
        .collect();
    caller.write(&begun).await.expect("room");
    let mut refused = 0;
    while refused < 20 {
        let frame = tokio::time::timeout(PATIENCE, caller.next()).await.expect("an answer").expect("a frame");
        let is_refused = frame.kind == frame::RST_STREAM && frame.payload == 7_u32.to_be_bytes();
        refused += u32::from(is_refused);
    }
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
}

#[tokio::test]
async fn a_drain_says_goaway_and_loses_no_stream() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Client::connect(scene.address()).await;
    let mut under_way = Vec::new();
    for path in ["/1", "/2", "/3"] {
        let (answer, _) = caller.send(get(path, &[]), true).await;
        let mut upstream = app.accept().await;
        upstream.head().await.expect("a request");
        under_way.push((answer, upstream));
    }
    let stopping = tokio::spawn(scene.sidecar.shutdown());
    eventually("GOAWAY", PATIENCE, || async { if caller.is_told_to_leave() { Ok(()) } else { Err("not yet") } }).await;
    for (answer, mut upstream) in under_way {
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast").await;
        let answer = read(answer).await.expect("an answer");
        assert_eq!((answer.body(), answer.headers().get("connection")), (&Bytes::from("last"), None));
    }
    caller.ended().await.expect("an end in order");
    assert!(stopping.await.expect("no panic"), "all was finished");
}

#[tokio::test]
async fn during_the_lead_new_connections_are_served_and_asked_to_leave() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut kept = Client::connect(scene.address()).await;
    kept.get("/", &[]).await.expect("an answer");
    scene.sidecar.begin_drain();
    kept.ended().await.expect("an end in order");
    let mut late = Client::connect(scene.address()).await;
    assert_eq!(late.get("/", &[]).await.expect("an answer").status(), 200);
    late.ended().await.expect("an end in order");
    assert_eq!(scene.raw(request("GET", "/", &[], "")).await.0.status(), 200);
}
