//! WebSockets by a real library at both ends, through every pair of protocols; what is refused, and how they end.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{SinkExt, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tests::app::{App, Protocol};
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Reply, Upstream, ok};
use tests::websocket::{Socket, by_connect, by_upgrade, echo, told};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::scene::{PATIENCE, Scene, items, public, reason, request};

const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
const WISH: [&str; 4] = ["connection: keep-alive, Upgrade", "upgrade: websocket", "sec-websocket-version: 13", KEY];
const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn at(protocol: Protocol, mut config: Value) -> Value {
    config["upstream"]["protocol"] = json!(if protocol == Protocol::Http1 { "Http1" } else { "H2c" });
    config
}

async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").expect("a message").expect("no error")
}

/// Sends so many messages and gets each of them back.
async fn exchange(socket: Socket, count: usize) {
    let (mut sends, mut receives) = socket.split();
    let message = |number: usize| Message::binary(vec![number as u8; number % 3_000]);
    let sending = async {
        for number in 0..count {
            sends.feed(message(number)).await.expect("it is taken");
        }
        sends.flush().await.expect("it is taken");
    };
    let receiving = async {
        for number in 0..count {
            assert_eq!(receives.next().await.expect("a message").expect("no error"), message(number));
        }
    };
    tokio::time::timeout(Duration::from_secs(300), futures::future::join(sending, receiving)).await.expect("in time");
    sends.close().await.expect("it is taken");
    while let Some(Ok(message)) = receives.next().await {
        assert!(message.is_close());
    }
}

#[tokio::test]
async fn ten_thousand_messages_come_back_through_every_pair_of_protocols() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let app = App::start(protocol, None, echo).await;
        let scene = Scene::start(&at(protocol, public(app.port()))).await;
        let began = std::time::Instant::now();
        let (_, socket) = by_upgrade(scene.address(), "/ws", &[]).await.expect("a WebSocket");
        exchange(socket, 10_000).await;
        let upgrade = began.elapsed();
        let (_, socket) = by_connect(scene.address(), "/ws", &[]).await.expect("a WebSocket");
        exchange(socket, 10_000).await;
        println!(
            "{protocol:?}: 10,000 messages by upgrade in {upgrade:?}, by CONNECT in {:?}",
            began.elapsed() - upgrade
        );
        let lines = scene.log.lines(2).await;
        scene.await_metric("tollgate_tunnels 0").await;
        for (line, status) in lines.iter().zip([101, 200]) {
            assert_eq!(line["upgrade"], "websocket", "{line}");
            assert_eq!(
                (&line["status"], &line["path"], &line["aborted"]),
                (&json!(status), &json!("/ws"), &Value::Null)
            );
            let payload: u64 = (0..10_000).map(|number| number % 3_000).sum();
            for bytes in ["bytes_in", "bytes_out"] {
                assert!(line[bytes].as_u64().expect("a number") > payload, "{line}");
            }
        }
        scene.await_metric("tollgate_requests_in_flight 0").await;
    }
}

#[tokio::test]
async fn a_websocket_needs_a_token_as_every_request_does_and_is_a_get_to_the_routes() {
    let issuer = FakeIssuer::start().await;
    let app = App::start(Protocol::Http1, None, echo).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let verdict = async |answer: Result<(http::HeaderMap, Socket), Response<Incoming>>| {
        let answer = answer.expect_err("a refusal");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let problem: Value = serde_json::from_slice(&body).expect("a problem");
        (status, problem["reason"].as_str().expect("a reason").to_owned())
    };
    let read = format!("Bearer {}", issuer.token().claim("scp", json!(["items"])).signed());
    let write = format!("Bearer {}", issuer.token().claim("scp", json!(["items:write"])).signed());
    for by_http2 in [false, true] {
        let open = async |path: &str, authorization: &str| {
            let headers = [("authorization", authorization)];
            let headers = if authorization.is_empty() { &[][..] } else { &headers[..] };
            if by_http2 {
                by_connect(scene.address(), path, headers).await
            } else {
                by_upgrade(scene.address(), path, headers).await
            }
        };
        assert_eq!(verdict(open("/items", "").await).await, (401, "missing_token".into()));
        assert_eq!(verdict(open("/items", "Bearer a.b.c").await).await, (401, "malformed_token".into()));
        assert_eq!(verdict(open("/items", &write).await).await, (403, "insufficient_scope".into()));
        assert_eq!(verdict(open("/internal", &read).await).await, (403, "route_denied".into()));
        assert_eq!(verdict(open("/items/../docs", &read).await).await, (400, "bad_path".into()));
        assert!(open("/docs", "").await.is_ok());
        let (_, mut socket) = open("/items", &read).await.expect("a WebSocket");
        socket.send(Message::text("hello")).await.expect("it is taken");
        assert_eq!(next(&mut socket).await, Message::text("hello"));
    }
}

#[tokio::test]
async fn only_websocket_is_asked_of_the_app_and_only_by_a_sound_handshake() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let without = |left_out: &str| WISH.into_iter().filter(|line| !line.starts_with(left_out)).collect::<Vec<_>>();
    // No wish at all: a request like any other.
    for headers in [
        vec!["connection: upgrade", "upgrade: h2c", KEY],
        vec!["connection: upgrade", "upgrade: tls/1.2", KEY],
        vec!["connection: upgrade", "upgrade: websockets", KEY],
        without("connection"),
    ] {
        assert_eq!(scene.get("/", &headers).await.0.status(), 200, "{headers:?}");
        for name in ["upgrade", "connection"] {
            assert_eq!(app.last().head.header(name), None, "{headers:?}");
        }
    }
    let (head, _) = scene.raw(request("POST", "/", &WISH, "a body")).await;
    assert_eq!((head.status(), app.last().head.header("upgrade")), (200, None), "only GET");
    let with_body = request("GET", "/", &WISH, "a body");
    assert_eq!((scene.raw(with_body).await.0.status(), app.last().head.header("upgrade")), (200, None), "no body");
    // A wish without a way to prove the answer.
    let before = app.arrived().len();
    for key in [
        "",
        "sec-websocket-key: short",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        let mut headers = without("sec-websocket-key");
        headers.extend([key].into_iter().filter(|key| !key.is_empty()));
        let (head, body) = scene.get("/", &headers).await;
        assert_eq!((head.status(), reason(&body).as_str()), (400, "bad_request"), "{key}");
    }
    assert_eq!(app.arrived().len(), before);
    // Of several protocols only the one that we know is offered.
    let headers =
        ["connection: Upgrade, x-gone", "upgrade: h2c, WebSocket", "x-gone: 1", "sec-websocket-version: 13", KEY];
    assert_eq!(scene.get("/", &headers).await.0.status(), 200, "and the app may decline");
    let head = app.last().head;
    assert_eq!((head.header("upgrade"), head.header("x-gone")), (Some("websocket"), None));
    assert_eq!(head.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
}

#[tokio::test]
async fn a_length_in_the_apps_yes_is_no_length_of_the_tunnel() {
    let app = Upstream::start(|request| {
        let accept = derive_accept_key(request.head.header("sec-websocket-key").expect("a key").as_bytes());
        let yes = GRANTED.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &accept);
        Reply::Bytes(yes.replace("upgrade: websocket", "upgrade: websocket\r\ncontent-length: 5").into())
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let (headers, _socket) = by_connect(scene.address(), "/", &[]).await.expect("a WebSocket");
    assert_eq!(headers.get("content-length"), None);
}

#[tokio::test]
async fn a_wrong_answer_to_a_handshake_is_502_and_opens_nothing() {
    let cases = [
        GRANTED.replace("xOo=", "xOO="),
        GRANTED.replace("upgrade: websocket", "upgrade: h2c"),
        GRANTED.replace("connection: upgrade\r\n", ""),
        GRANTED.replace("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
    ];
    for answer in cases {
        let said = answer.clone();
        let app = Upstream::start(move |_| Reply::Bytes(said.clone().into())).await;
        let scene = Scene::start(&public(app.port())).await;
        let (head, body) = scene.get("/", &WISH).await;
        assert_eq!((head.status(), reason(&body).as_str()), (502, "upgrade_refused"), "{answer}");
    }
    // What is no yes is passed on; to a caller of HTTP/2, a 200 would be one.
    let app = Upstream::start(|request| match request.head.target() {
        "/no" => Reply::Bytes(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno".into()),
        _ => ok("a page"),
    })
    .await;
    let scene = Scene::start(&public(app.port())).await;
    let (head, body) = scene.get("/no", &WISH).await;
    assert_eq!((head.status(), body.bytes.as_slice()), (403, &b"no"[..]));
    let answer = by_connect(scene.address(), "/no", &[]).await.expect_err("an answer");
    assert_eq!(answer.status(), 403);
    let answer = by_connect(scene.address(), "/page", &[]).await.expect_err("an answer");
    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn an_app_of_http2_without_extended_connect_is_502() {
    let app = App::start(Protocol::Http2WithoutConnect, None, echo).await;
    let scene = Scene::start(&at(Protocol::Http2, public(app.port()))).await;
    let (head, body) = scene.get("/", &WISH).await;
    assert_eq!((head.status(), reason(&body).as_str()), (502, "upgrade_refused"));
}

#[tokio::test]
async fn what_the_app_says_after_its_yes_is_carried_byte_for_byte() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/", &WISH, "") + "early").await;
    let mut upstream = app.accept().await;
    let head = upstream.head().await.expect("a request");
    assert_eq!(head.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    upstream.send(format!("{GRANTED}\x01\u{0}not HTTP\r\n\r\n")).await;
    let head = caller.head().await.expect("an answer");
    assert_eq!((head.status(), head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(caller.exactly(14).await, b"\x01\0not HTTP\r\n\r\n");
    assert_eq!(upstream.exactly(5).await, b"early");
    drop(upstream);
    assert!(caller.is_closed().await);
    scene.await_metric("tollgate_requests_in_flight 0").await;
}

#[tokio::test]
async fn a_websocket_on_which_nobody_says_anything_ends() {
    let app = App::start(Protocol::Http1, None, echo).await;
    let mut config = public(app.port());
    config["upstream"]["timeouts"] = json!({"connectMillis": 1000, "responseHeaderMillis": 20_000, "idleMillis": 500});
    let scene = Scene::start(&config).await;
    let (_, mut socket) = by_upgrade(scene.address(), "/", &[]).await.expect("a WebSocket");
    let Message::Close(Some(close)) = next(&mut socket).await else { panic!("no close frame") };
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Away, "idle"));
    assert_eq!(scene.log.lines(1).await[0]["aborted"], true);
}

/// Waits until the last steps of a stop have begun.
async fn closing(address: std::net::SocketAddr) {
    tests::wait::eventually("new connections to be refused", PATIENCE, || async {
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => Err("still accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn both_ends_hear_that_the_sidecar_goes_at_the_deadline_and_not_before() {
    for (by_http2, protocol) in [(false, Protocol::Http1), (true, Protocol::Http1), (false, Protocol::Http2)] {
        let (heard, mut at_app) = tokio::sync::mpsc::unbounded_channel();
        let app = App::start(protocol, None, move |request| {
            let heard = heard.clone();
            told(request, move |message| heard.send(message.clone()).expect("the test listens"))
        })
        .await;
        let config = at(protocol, public(app.port()));
        let scene = Scene::with(&config, |options| options.drain.deadline = Duration::from_secs(2)).await;
        let address = scene.address();
        let opened = if by_http2 { by_connect(address, "/", &[]).await } else { by_upgrade(address, "/", &[]).await };
        let (_, mut socket) = opened.expect("a WebSocket");
        let stopping = tokio::spawn(scene.sidecar.shutdown());
        closing(address).await;
        socket.send(Message::text("still there")).await.expect("it is taken");
        assert_eq!(next(&mut socket).await, Message::text("still there"));
        assert_eq!(at_app.recv().await, Some(Message::text("still there")));
        for last in [next(&mut socket).await, at_app.recv().await.expect("a message")] {
            let Message::Close(Some(close)) = last else { panic!("no close frame but {last}") };
            assert_eq!((close.code, close.reason.as_str()), (CloseCode::Away, "going away"), "{by_http2} {protocol:?}");
        }
        assert!(socket.next().await.is_none_or(|message| message.is_err()));
        assert!(!stopping.await.expect("no panic"), "not all was finished");
        let line = &scene.log.lines(1).await[0];
        assert_eq!((&line["aborted"], &line["reason"]), (&json!(true), &Value::Null), "{line}");
    }
}

#[tokio::test]
async fn a_frame_that_is_half_sent_at_the_deadline_is_finished_and_nothing_after_it() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.drain.deadline = Duration::from_millis(300)).await;
    let address = scene.address();
    let mut caller = Raw::connect(address).await;
    caller.send(request("GET", "/", &WISH, "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send(format!("{GRANTED}\u{1}\u{a}first")).await;
    assert_eq!(caller.head().await.expect("an answer").status(), 101);
    assert_eq!(caller.exactly(7).await, b"\x01\x0afirst");
    let stopping = tokio::spawn(scene.sidecar.shutdown());
    closing(address).await;
    let more = tokio::time::timeout(Duration::from_millis(800), caller.exactly(1)).await;
    assert!(more.is_err(), "neither a Close within a frame nor an end");
    upstream.send("rest.\u{1}\u{1}x").await;
    assert_eq!(caller.exactly(5 + 14).await, b"rest.\x88\x0c\x03\xe9going away");
    assert!(caller.is_closed().await);
    stopping.await.expect("no panic");
}

/// A WebSocket, as the caller and the app have it.
async fn opened(scene: &Scene, app: &ManualUpstream) -> (Raw, Raw) {
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/", &WISH, "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    upstream.send(GRANTED).await;
    assert_eq!(caller.head().await.expect("an answer").status(), 101);
    (caller, upstream)
}

#[tokio::test]
async fn callers_of_an_app_that_is_stopped_without_a_word_hear_that_it_goes() {
    for drains in [true, false] {
        let app = ManualUpstream::start().await;
        let scene = Scene::start(&public(app.port())).await;
        let (mut caller, upstream) = opened(&scene, &app).await;
        if drains {
            scene.sidecar.begin_drain();
        }
        drop(upstream);
        if drains {
            assert_eq!(caller.exactly(14).await, b"\x88\x0c\x03\xe9going away");
        }
        assert!(caller.is_closed().await, "and nothing is made up where nobody stops");
    }
}

#[tokio::test]
async fn an_apps_own_farewell_passes_while_the_sidecar_stops() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let (mut caller, mut upstream) = opened(&scene, &app).await;
    scene.sidecar.begin_drain();
    let restart = b"\x88\x09\x03\xf4restart";
    upstream.send(restart).await;
    drop(upstream);
    assert_eq!(caller.exactly(restart.len()).await, restart);
    assert!(caller.is_closed().await, "one farewell is enough");
}

#[tokio::test]
async fn a_browsers_token_among_the_subprotocols_is_taken_and_never_reaches_the_app() {
    let issuer = FakeIssuer::start().await;
    let app = App::start(Protocol::Http1, None, echo).await;
    let mut config = items(app.port(), &issuer);
    config["routes"] = json!([{"name": "all", "path": {"prefix": "/"}, "access": "Authenticated"}]);
    let off = Scene::ready(&config).await;
    config["streams"] = json!({"webSocketToken": "Subprotocol"});
    let scene = Scene::ready(&config).await;
    let token = issuer.token().signed();
    let encoded = format!("base64url.bearer.authorization.tollgate.dev.{}", URL_SAFE_NO_PAD.encode(&token));
    let offered = format!("{encoded}, chat");
    for by_http2 in [false, true] {
        let open = async |scene: &Scene, headers: &[(&str, &str)]| {
            if by_http2 {
                by_connect(scene.address(), "/headers", headers).await
            } else {
                by_upgrade(scene.address(), "/headers", headers).await
            }
        };
        let (answer, mut socket) = open(&scene, &[("sec-websocket-protocol", &offered)]).await.expect("a WebSocket");
        assert_eq!(answer["sec-websocket-protocol"], "chat");
        let seen = next(&mut socket).await.into_text().expect("text");
        assert!(seen.contains("chat") && !seen.contains("base64url"), "{seen}");
        let (answer, mut socket) = open(&scene, &[("sec-websocket-protocol", &encoded)]).await.expect("a WebSocket");
        assert_eq!(answer.get("sec-websocket-protocol"), None);
        let seen = next(&mut socket).await.into_text().expect("text");
        assert!(!seen.contains("sec-websocket-protocol"), "{seen}");
        let bearer = format!("Bearer {token}");
        let refused: [(&[(&str, &str)], u16); 3] = [
            (&[("sec-websocket-protocol", &offered), ("authorization", &bearer)], 400),
            (&[("sec-websocket-protocol", &offered), ("sec-websocket-protocol", &encoded)], 400),
            (&[("sec-websocket-protocol", "chat")], 401),
        ];
        for (headers, status) in refused {
            assert_eq!(open(&scene, headers).await.expect_err("a refusal").status(), status, "{headers:?}");
        }
        let refusal = open(&off, &[("sec-websocket-protocol", &offered)]).await.expect_err("a refusal");
        assert_eq!(refusal.status(), 401, "off unless asked for");
    }
    // On a request that is no WebSocket it is no token.
    let header = format!("sec-websocket-protocol: {encoded}");
    assert_eq!(scene.get("/headers", &[&header]).await.0.status(), 401);
    assert!(!scene.log.text().contains(&URL_SAFE_NO_PAD.encode(&token)[..40]));
}
