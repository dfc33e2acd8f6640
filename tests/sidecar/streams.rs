//! Streams that go on: they end when their token does, when its key is gone, when it is known to be inactive, and each in
//! the way of its protocol. Plain downloads finish.

use std::time::Duration;

use futures::StreamExt;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tests::app::{AnyBody, App, Protocol};
use tests::issuer::FakeIssuer;
use tests::mint::{epoch_seconds, other_key};
use tests::raw::Raw;
use tests::upstream::ManualUpstream;
use tests::wait::eventually;
use tests::websocket::{by_connect, by_upgrade, echo};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::scene::{PATIENCE, Scene, items, reason, request};

/// An app that sends something now and then, for ever: events at `/events`, bytes of a download elsewhere. At `/busy` it
/// has always something more to send, at `/silent` it never answers. It reads what it is sent, at `/download` first.
async fn talkative() -> App {
    App::start(Protocol::Http1, None, |mut request| async move {
        let path = request.uri().path().to_owned();
        if request.method() == http::Method::POST {
            let read = async move { while request.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {} };
            match path.as_str() {
                "/items/download" => read.await,
                "/items/silent" => {
                    read.await;
                    std::future::pending().await
                }
                _ => drop(tokio::spawn(read)),
            }
        }
        let pause = if path == "/items/busy" { Duration::ZERO } else { Duration::from_millis(50) };
        let ticks =
            futures::stream::unfold(tokio::time::interval(Duration::from_millis(50)), move |mut ticks| async move {
                if !pause.is_zero() {
                    ticks.tick().await;
                }
                Some((Ok(Frame::data("data: x\n\n".into())), ticks))
            });
        let body: AnyBody = if matches!(path.as_str(), "/items/download" | "/items/early") {
            StreamBody::new(ticks.take(60)).boxed_unsync()
        } else {
            StreamBody::new(ticks).boxed_unsync()
        };
        let mut answer = Response::new(body);
        let kind = match path.as_str() {
            "/items/download" | "/items/early" | "/items/endless" => return answer,
            "/items/calls" => "application/grpc+proto",
            "/items/records" => "application/x-ndjson",
            _ => "text/event-stream; charset=utf-8",
        };
        answer.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        answer
    })
    .await
}

/// The items API with a quick look at streams.
async fn scene(config: &Value) -> Scene {
    Scene::with(config, |options| options.limits.stream_look = Duration::from_millis(200)).await.into_ready().await
}

/// A token for so long.
fn short(issuer: &FakeIssuer, seconds: u64) -> String {
    issuer.token().claim("exp", json!(epoch_seconds() + seconds)).signed()
}

/// Reads an answer's chunks to the end; whether it was a proper one.
async fn drained(caller: &mut Raw) -> bool {
    caller.head().await.expect("an answer");
    while !caller.chunk().await.bytes.is_empty() {}
    true
}

#[tokio::test]
async fn events_end_in_order_when_the_token_expires_and_a_download_does_not() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    for path in ["/items/events", "/items/busy"] {
        let mut caller = Raw::connect(scene.address()).await;
        let token = short(&issuer, 3);
        caller.send(request("GET", path, &[&format!("authorization: Bearer {token}")], "")).await;
        assert!(drained(&mut caller).await, "{path}");
        assert!(epoch_seconds() < issuer_expiry(&token) + 15, "{path}");
        // The connection goes on.
        caller.send(request("GET", "/items", &[&format!("authorization: Bearer {token}")], "")).await;
        assert_eq!(caller.head().await.expect("an answer").status(), 401, "{path}");
    }
    let token = short(&issuer, 2);
    let header = format!("authorization: Bearer {token}");
    let (head, body) = scene.get("/items/download", &[&header]).await;
    assert_eq!((head.status(), body.bytes.len()), (200, 60 * "data: x\n\n".len()));
    assert!(epoch_seconds() >= issuer_expiry(&token), "it outlived the token");
    let lines = scene.log.lines(5).await;
    let reasons: Vec<_> =
        lines.iter().filter(|line| line["status"] == 200).map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, [json!("expired"), json!("expired"), Value::Null]);
    scene.await_metric("tollgate_streams_cut_total 2").await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_stops_being_accepted_and_not_before() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let mut config = items(app.port(), &issuer);
    config["issuers"][0]["clockSkewSeconds"] = json!(4);
    let scene = scene(&config).await;
    // It has expired by its own word, and passes because clocks differ.
    let exp = epoch_seconds() - 1;
    let token = issuer.token().claim("exp", json!(exp)).signed();
    let authorization = format!("authorization: Bearer {token}");
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/items/events", &[&authorization], "")).await;
    assert_eq!(caller.head().await.expect("an answer").status(), 200);
    while !caller.chunk().await.bytes.is_empty() {}
    assert!(epoch_seconds() >= exp + 4, "cut {} seconds after exp", epoch_seconds() - exp);
    caller.send(request("GET", "/items/events", &[&authorization], "")).await;
    assert_eq!(caller.head().await.expect("an answer").status(), 401, "both ended at once");
}

#[tokio::test]
async fn no_way_of_asking_makes_a_stream_outlive_its_token() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    let handshake = ["connection: upgrade", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="];
    for (path, headers) in [
        // The app takes it for a plain GET, as apps without WebSockets do.
        ("/items/events", &handshake[..]),
        ("/items/events", &["accept: application/json"]),
    ] {
        let token = short(&issuer, 3);
        let authorization = format!("authorization: Bearer {token}");
        let headers = [&[authorization.as_str()], headers].concat();
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("GET", path, &headers, "")).await;
        caller.head().await.expect("an answer");
        while !caller.chunk().await.bytes.is_empty() {
            assert!(epoch_seconds() < issuer_expiry(&token) + 15, "{path} {:?}", &headers[1..]);
        }
    }
}

fn issuer_expiry(token: &str) -> u64 {
    use base64::Engine;
    let claims = token.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    serde_json::from_slice::<Value>(&claims).expect("JSON")["exp"].as_u64().expect("a time")
}

#[tokio::test]
async fn records_without_an_end_break_off_when_the_token_expires() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    for (path, header) in [
        ("/items/records", "accept: */*"),
        // The app is one that looks at no content type.
        ("/items/calls", "content-type: application/json"),
        ("/items/calls", "accept: */*"),
    ] {
        let token = short(&issuer, 3);
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("GET", path, &[&format!("authorization: Bearer {token}"), header], "")).await;
        assert_eq!(caller.head().await.expect("an answer").status(), 200);
        let all = tokio::time::timeout(PATIENCE, caller.rest()).await.expect("it breaks off");
        assert!(!all.ends_with(b"\r\n0\r\n\r\n"), "{path}: what came is taken for all there is");
        assert!((issuer_expiry(&token)..issuer_expiry(&token) + 15).contains(&epoch_seconds()), "{path}");
    }
}

const CHUNKED: (&str, &str) = ("transfer-encoding: chunked", "2\r\nab\r\n");
const SIZED: (&str, &str) = ("content-length: 9007199254740991", "ab");

/// Begins an upload with a token for so many seconds.
async fn upload(
    scene: &Scene,
    issuer: &FakeIssuer,
    path: &str,
    seconds: u64,
    (length, begin): (&str, &str),
) -> (Raw, String) {
    let expires = json!(epoch_seconds() + seconds);
    let token = issuer.token().claim("scp", json!(["items:write"])).claim("exp", expires).signed();
    let mut caller = Raw::connect(scene.address()).await;
    let headers = format!("authorization: Bearer {token}\r\n{length}");
    caller.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{begin}")).await;
    (caller, token)
}

#[tokio::test]
async fn an_upload_without_a_length_ends_with_its_token() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    let (mut caller, token) = upload(&scene, &issuer, "/items/silent", 3, CHUNKED).await;
    let head = caller.head().await.expect("an answer");
    assert_eq!((head.status(), reason(&caller.body(&head, "POST").await).as_str()), (401, "expired"));
    assert!((issuer_expiry(&token)..issuer_expiry(&token) + 15).contains(&epoch_seconds()));
    // The answer has begun while the upload goes on.
    for length in [CHUNKED, SIZED] {
        let (mut caller, token) = upload(&scene, &issuer, "/items/endless", 3, length).await;
        assert_eq!(caller.head().await.expect("an answer").status(), 200);
        assert!(
            !tokio::time::timeout(PATIENCE, caller.rest()).await.expect("it breaks off").ends_with(b"\r\n0\r\n\r\n"),
            "an end in order"
        );
        assert!((issuer_expiry(&token)..issuer_expiry(&token) + 15).contains(&epoch_seconds()));
    }
}

#[tokio::test]
async fn what_the_app_has_in_full_is_answered_however_long_that_takes() {
    let issuer = FakeIssuer::start().await;
    let begun = async |goes_on: bool| {
        let app = ManualUpstream::start().await;
        let scene = scene(&items(app.port(), &issuer)).await;
        let (mut caller, token) = upload(&scene, &issuer, "/items/x", 2, CHUNKED).await;
        caller.send("0\r\n\r\n").await;
        let mut upstream = app.accept().await;
        upstream.head().await.expect("a request");
        upstream.exactly(12).await;
        eventually("the token's end is past", PATIENCE, || async {
            if epoch_seconds() > issuer_expiry(&token) + 1 { Ok(()) } else { Err("not yet") }
        })
        .await;
        let kind = if goes_on { "content-type: text/event-stream\r\n" } else { "" };
        upstream.send(format!("HTTP/1.1 200 OK\r\n{kind}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n")).await;
        assert_eq!(caller.head().await.expect("an answer").status(), 200);
        (caller, upstream, scene)
    };
    let (mut caller, mut upstream, _scene) = begun(false).await;
    upstream.send("0\r\n\r\n").await;
    assert_eq!(caller.chunk().await.bytes, b"ok");
    assert!(caller.chunk().await.bytes.is_empty());
    // What begins to go on then ends at once.
    let (mut caller, _upstream, _scene) = begun(true).await;
    while !caller.chunk().await.bytes.is_empty() {}
}

#[tokio::test]
async fn a_download_finishes_however_its_request_was_sent() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    // The app answers after the request's end, or before it.
    for path in ["/items/download", "/items/early"] {
        let (mut caller, token) = upload(&scene, &issuer, path, 2, CHUNKED).await;
        let early = if path == "/items/early" { caller.head().await } else { None };
        caller.send("0\r\n\r\n").await;
        let head = match early {
            Some(head) => head,
            None => caller.head().await.expect("an answer"),
        };
        let body = caller.body(&head, "POST").await;
        assert_eq!((head.status(), body.bytes.len()), (200, 60 * "data: x\n\n".len()), "{path}");
        assert!(epoch_seconds() >= issuer_expiry(&token), "it outlived the token");
    }
}

#[tokio::test]
async fn a_stream_may_outlive_its_token_for_a_set_time() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let mut config = items(app.port(), &issuer);
    config["streams"] = json!({"atExpiry": {"keep": {"maxDurationMillis": 4_000}}});
    let scene = scene(&config).await;
    let mut caller = Raw::connect(scene.address()).await;
    let token = short(&issuer, 2);
    let began = std::time::Instant::now();
    caller.send(request("GET", "/items/events", &[&format!("authorization: Bearer {token}")], "")).await;
    assert!(drained(&mut caller).await);
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn events_end_in_order_when_the_sidecar_stops_and_a_download_is_never_taken_for_whole() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let deadline = Duration::from_secs(1);
    let scene = Scene::with(&items(app.port(), &issuer), |options| options.drain.deadline = deadline).await;
    let scene = scene.into_ready().await;
    let token = issuer.token().signed();
    let open = async |path| {
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("GET", path, &[&format!("authorization: Bearer {token}")], "")).await;
        assert_eq!(caller.head().await.expect("an answer").status(), 200);
        caller.chunk().await;
        caller
    };
    let (mut events, mut public) = (open("/items/events").await, open("/docs/events").await);
    // Whatever kind of bytes: it goes on without an end.
    let mut download = open("/items/endless").await;
    let stopping = tokio::spawn(scene.sidecar.shutdown());
    for stream in [&mut events, &mut public] {
        while !stream.chunk().await.bytes.is_empty() {}
    }
    assert!(!download.rest().await.ends_with(b"\r\n0\r\n\r\n"), "an end in order");
    assert!(!stopping.await.expect("no panic"), "not all was finished");
    assert!(scene.log.lines(3).await.iter().all(|line| line["aborted"] == true));
}

#[tokio::test]
async fn a_stream_of_a_public_path_goes_on() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/docs/events", &[&format!("authorization: Bearer {}", short(&issuer, 1))], "")).await;
    caller.head().await.expect("an answer");
    // Two seconds of events.
    for _ in 0..40 {
        assert!(!caller.chunk().await.bytes.is_empty());
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_issuer_says_that_the_token_is_inactive() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let credentials = tempfile::tempdir().expect("a folder");
    issuer.client("0oaApi", &["api-secret"]);
    tests::issuer::mount_credentials(credentials.path(), "0oaApi", "api-secret", None);
    let mut config = items(app.port(), &issuer);
    config["issuers"][0]["validation"] = json!("LocalAndIntrospection");
    config["issuers"][0]["client"] = json!({"credentialsDir": credentials.path(), "authMethod": "ClientSecretBasic"});
    let scene = scene(&config).await;
    let token = issuer.active(&issuer.token());
    let header = format!("authorization: Bearer {token}");
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/items/events", &[&header], "")).await;
    caller.head().await.expect("an answer");
    caller.chunk().await;
    issuer.revoke(&token);
    // Nobody asks for the stream's sake; whoever asks makes it known.
    eventually("the token is refused", PATIENCE, || async {
        let (head, _) = scene.get("/items/download", &[&header]).await;
        if head.status() == 401 { Ok(()) } else { Err(head.status()) }
    })
    .await;
    while !caller.chunk().await.bytes.is_empty() {}
    eventually("it is logged", PATIENCE, || async {
        let text = scene.log.text();
        let ended = |line: &str| line.contains("/items/events") && line.contains("\"inactive\"");
        if text.lines().any(ended) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_gone() {
    let (issuer, app) = (FakeIssuer::start().await, talkative().await);
    let scene = scene(&items(app.port(), &issuer)).await;
    let token = issuer.token().signed();
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/items/events", &[&format!("authorization: Bearer {token}")], "")).await;
    caller.head().await.expect("an answer");
    caller.chunk().await;
    issuer.publish(&[other_key().jwk()]);
    // A token under the new key brings the new set.
    let new = issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
    let (head, _) = scene.get("/items/download", &[&format!("authorization: Bearer {new}")]).await;
    assert_eq!(head.status(), 200);
    while !caller.chunk().await.bytes.is_empty() {}
    eventually("it is logged", PATIENCE, || async {
        let text = scene.log.text();
        let ended = |line: &str| line.contains("/items/events") && line.contains("\"unknown_key\"");
        if text.lines().any(ended) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_websocket_is_closed_with_1008_when_its_token_expires() {
    let issuer = FakeIssuer::start().await;
    let app = App::start(Protocol::Http1, None, echo).await;
    let scene = scene(&items(app.port(), &issuer)).await;
    for by_http2 in [false, true] {
        let authorization = format!("Bearer {}", short(&issuer, 3));
        let headers = [("authorization", authorization.as_str())];
        let (_, mut socket) = if by_http2 {
            by_connect(scene.address(), "/items", &headers).await.expect("a WebSocket")
        } else {
            by_upgrade(scene.address(), "/items", &headers).await.expect("a WebSocket")
        };
        let last = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").expect("a message");
        let Message::Close(Some(close)) = last.expect("no error") else { panic!("no close frame") };
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Policy, "expired"), "over HTTP/2: {by_http2}");
        assert!(socket.next().await.is_none_or(|message| message.is_err()));
    }
    for line in scene.log.lines(2).await {
        assert_eq!(line["reason"], "expired", "{line}");
    }
}
