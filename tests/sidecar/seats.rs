//! Who keeps a connection when there is no room for another: whoever has shown a good token, and nobody for ever.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::Request;
use serde_json::json;
use tests::app::{App, Protocol};
use tests::http2::Client;
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Upstream, ok};
use tests::wait::eventually;
use tests::websocket::{Socket, by_connect, by_upgrade, echo};
use tokio_tungstenite::tungstenite::Message;

use crate::scene::{PATIENCE, Scene, items, public, reason, request};

/// The items API with room for so many connections.
async fn scene(app: u16, issuer: &FakeIssuer, connections: usize) -> Scene {
    let mut config = items(app, issuer);
    config["cors"] = json!({"handle": {"origins": ["https://app.test"], "methods": [], "headers": [], "expose": [],
                                       "credentials": false, "maxAgeSeconds": 600}});
    config["externalUrls"] = json!(["https://api.test"]);
    Scene::with(&config, |options| options.limits.connections = connections).await.into_ready().await
}

/// The status of a request on a connection that stays open.
async fn ask(caller: &mut Raw, sent: String) -> u16 {
    let method = sent.split(' ').next().unwrap_or_default().to_owned();
    caller.send(sent).await;
    let head = caller.head().await.expect("an answer");
    caller.body(&head, &method).await;
    head.status()
}

fn with_token(issuer: &FakeIssuer) -> String {
    request("GET", "/items", &[&format!("authorization: Bearer {}", issuer.token().signed())], "")
}

async fn turned_away(scene: &Scene) {
    let mut caller = Raw::connect(scene.address()).await;
    let head = caller.head().await.expect("an answer without a request");
    assert_eq!((head.status(), head.header("connection")), (503, Some("close")));
    assert_eq!(reason(&caller.body(&head, "GET").await), "overloaded");
}

async fn await_room(scene: &Scene) {
    eventually("a seat", PATIENCE, || async {
        let mut caller = Raw::connect(scene.address()).await;
        caller.send("GET /%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let status = caller.head().await.map(|head| head.status());
        if status == Some(400) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn nothing_that_everybody_is_answered_holds_a_seat() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = scene(app.port(), &issuer, 8).await;
    let good = with_token(&issuer);
    let mut admitted = Vec::new();
    for _ in 0..5 {
        let mut caller = Raw::connect(scene.address()).await;
        assert_eq!(ask(&mut caller, good.clone()).await, 200);
        admitted.push(caller);
    }
    let preflight = ["origin: https://app.test", "access-control-request-method: GET"];
    let answered_to_all = [
        (request("GET", "/docs", &[], ""), 200),
        (request("GET", "/.well-known/oauth-protected-resource", &[], ""), 200),
        (request("OPTIONS", "/items", &preflight, ""), 204),
        (request("GET", "/items", &["authorization: Bearer nonsense"], ""), 401),
        (request("GET", "/token", &[], ""), 405),
        ("GET /docs HTTP/1.1\r\nx-slow: ".to_owned(), 0),
        (String::new(), 0),
    ];
    let mut strangers = Vec::new();
    for (sent, status) in answered_to_all.iter().cycle().take(40) {
        let mut caller = Raw::connect(scene.address()).await;
        if *status > 0 {
            assert_eq!(ask(&mut caller, sent.clone()).await, *status, "{sent}");
        } else {
            caller.send(sent).await;
        }
        strangers.push(caller);
    }
    for (nth, stranger) in strangers.iter_mut().enumerate().take(30) {
        assert!(stranger.is_closed().await, "{nth}");
    }
    for caller in &mut admitted {
        assert_eq!(ask(caller, good.clone()).await, 200, "who is admitted stays");
    }
    let mut newcomer = Raw::connect(scene.address()).await;
    assert_eq!(ask(&mut newcomer, good).await, 200);
    let (head, _) = scene.admin("/livez").await;
    assert_eq!(head.status(), 200, "probes have a port of their own");
    assert!(scene.metrics().await.contains("tollgate_connections_shed_total 38\n"), "it is counted");
}

#[tokio::test]
async fn whoever_was_given_a_token_is_admitted() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = scene(app.port(), &issuer, 4).await;
    let (good, bad) = (STANDARD.encode("0oaCaller:s3cret"), STANDARD.encode("0oaCaller:wrong"));
    let form = |credentials: &str| {
        let headers =
            [&*format!("authorization: Basic {credentials}"), "content-type: application/x-www-form-urlencoded"];
        request("POST", "/token", &headers, "grant_type=client_credentials")
    };
    let (mut given, mut refused) = (Raw::connect(scene.address()).await, Raw::connect(scene.address()).await);
    assert_eq!(ask(&mut given, form(&good)).await, 200);
    assert_eq!(ask(&mut refused, form(&bad)).await, 401);
    let mut strangers = Vec::new();
    for _ in 0..6 {
        strangers.push(Raw::connect(scene.address()).await);
    }
    assert!(refused.is_closed().await);
    assert_eq!(ask(&mut given, request("GET", "/docs", &[], "")).await, 200);
}

#[tokio::test]
async fn where_all_are_admitted_the_one_idle_longest_is_asked_to_leave() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = scene(app.port(), &issuer, 4).await;
    let token = format!("Bearer {}", issuer.token().signed());
    let authorization = [("authorization", &*token)];
    let mut callers = Vec::new();
    for _ in 0..4 {
        let mut caller = Client::connect(scene.address()).await;
        assert_eq!(caller.get("/items", &authorization).await.expect("an answer").status(), 200);
        callers.push(caller);
    }
    assert_eq!(callers[0].get("/items", &authorization).await.expect("an answer").status(), 200);
    let mut newcomer = Raw::connect(scene.address()).await;
    assert_eq!(ask(&mut newcomer, with_token(&issuer)).await, 200);
    callers.remove(1).ended().await.expect("GOAWAY and an end in order");
    for caller in &mut callers {
        assert_eq!(caller.get("/items", &authorization).await.expect("an answer").status(), 200, "the others stay");
    }
    // HTTP/1.1 has no word for it: the one that is idle longest is closed.
    let mut another = Raw::connect(scene.address()).await;
    assert_eq!(ask(&mut another, with_token(&issuer)).await, 200);
    assert!(newcomer.is_closed().await);
}

#[tokio::test]
async fn nobody_is_sent_away_while_an_answer_is_on_its_way() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.limits.connections = 1).await;
    for is_http2 in [false, true] {
        let asked = request("GET", "/", &[], "");
        let mut upstream;
        if is_http2 {
            let mut caller = Client::connect(scene.address()).await;
            let (answer, _) = caller.send(tests::http2::get("/", &[]), true).await;
            upstream = app.accept().await;
            upstream.head().await.expect("a request");
            turned_away(&scene).await;
            upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await;
            let mut body = answer.await.expect("an answer").into_body();
            turned_away(&scene).await;
            upstream.send("llo").await;
            assert_eq!(tests::http2::read_body(&mut body).await.expect("all of it"), "hello");
        } else {
            let mut caller = Raw::connect(scene.address()).await;
            caller.send(&asked).await;
            upstream = app.accept().await;
            upstream.head().await.expect("a request");
            turned_away(&scene).await;
            upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await;
            caller.head().await.expect("an answer");
            turned_away(&scene).await;
            upstream.send("llo").await;
            assert_eq!(caller.exactly(5).await, b"hello");
        }
        drop(upstream);
        // The answer is over; the seat is another's.
        await_room(&scene).await;
    }
}

#[tokio::test]
async fn a_websocket_keeps_its_seat_for_as_long_as_it_lives() {
    let app = App::start(Protocol::Http1, None, echo).await;
    let scene = Scene::with(&public(app.port()), |options| options.limits.connections = 1).await;
    let (_, socket) = by_upgrade(scene.address(), "/ws", &[]).await.expect("a WebSocket");
    holds(&scene, socket).await;
    let (_, socket) = by_connect(scene.address(), "/ws", &[]).await.expect("a WebSocket");
    holds(&scene, socket).await;
}

async fn holds(scene: &Scene, mut socket: Socket) {
    for _ in 0..3 {
        turned_away(scene).await;
        socket.send(Message::text("still here")).await.expect("it is taken");
        assert_eq!(socket.next().await.expect("a message").expect("no error"), Message::text("still here"));
    }
    socket.close(None).await.expect("it is taken");
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    await_room(scene).await;
}

#[tokio::test]
async fn a_refusal_that_nobody_reads_holds_no_seat() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = scene(app.port(), &issuer, 1).await;
    let stream = tokio::net::TcpStream::connect(scene.address()).await.expect("a connection");
    // Without a window our answer's head arrives and its body never does.
    let mut stranger = Client::over(stream, 0).await;
    let (answer, _) = stranger.send(tests::http2::get("/items", &[]), true).await;
    assert_eq!(answer.await.expect("a head").status(), 401);
    let mut newcomer = Raw::connect(scene.address()).await;
    assert_eq!(ask(&mut newcomer, with_token(&issuer)).await, 200);
}

/// A request whose body comes byte by byte, and never whole.
enum Trickle {
    Http1(Raw),
    Http2(h2::SendStream<Bytes>),
}

impl Trickle {
    async fn begin(scene: &Scene, path: &str, header: &str) -> Self {
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("POST", path, &["content-length: 1000", header], "")).await;
        Self::Http1(caller)
    }

    async fn begin_by_http2(scene: &Scene, path: &str) -> Self {
        let post = Request::post(format!("http://api.test{path}")).body(()).expect("a request");
        Self::Http2(Client::connect(scene.address()).await.send(post, false).await.1)
    }

    /// One byte more; it may have been sent away.
    async fn go_on(&mut self) {
        match self {
            Self::Http1(caller) => caller.send("x").await,
            Self::Http2(body) => {
                let _ = body.send_data("x".into(), false);
            }
        }
    }
}

#[tokio::test]
async fn bodies_that_trickle_keep_no_newcomer_out_and_no_newcomer_goes_for_them() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    for (path, header) in [
        ("/docs", Some("x-any: a")),
        ("/docs", Some("upgrade: websocket")),
        ("/docs", None),
        ("/token", Some("x-any: a")),
        ("/token", Some("upgrade: websocket")),
        ("/token", None),
    ] {
        let scene = scene(app.port(), &issuer, 4).await;
        let mut trickles = Vec::new();
        for _ in 0..4 {
            trickles.push(match header {
                Some(header) => Trickle::begin(&scene, path, header).await,
                None => Trickle::begin_by_http2(&scene, path).await,
            });
        }
        scene.await_metric("tollgate_requests_in_flight 4").await;
        let mut newcomers = Vec::new();
        for nth in 0..2 {
            for trickle in &mut trickles {
                trickle.go_on().await;
            }
            let mut newcomer = Raw::connect(scene.address()).await;
            assert_eq!(ask(&mut newcomer, request("GET", "/docs", &[], "")).await, 200, "{path} {header:?} {nth}");
            newcomers.push(newcomer);
        }
        scene.await_metric("tollgate_requests_in_flight 2").await;
        for newcomer in &mut newcomers {
            assert_eq!(ask(newcomer, request("GET", "/docs", &[], "")).await, 200, "{path} {header:?}");
        }
        assert!(scene.metrics().await.contains("tollgate_connections_shed_total 2\n"));
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_there_is_room() {
    let app = ManualUpstream::start().await;
    let scene = Scene::with(&public(app.port()), |options| options.limits.connections = 2).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("POST", "/", &["content-length: 10"], "") + "half ").await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    assert_eq!(upstream.exactly(5).await, b"half ");
    let mut newcomer = Raw::connect(scene.address()).await;
    assert_eq!(ask(&mut newcomer, request("GET", "/%00", &[], "")).await, 400);
    caller.send("whole").await;
    assert_eq!(upstream.exactly(5).await, b"whole");
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("an answer").status(), 204);
}

#[tokio::test]
async fn an_upload_keeps_its_seat_where_the_app_answers_or_a_token_was_shown() {
    let issuer = FakeIssuer::start().await;
    let app = ManualUpstream::start().await;
    let scene = scene(app.port(), &issuer, 1).await;
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    let writer = format!("authorization: Bearer {}", issuer.token().claim("scp", json!(["items:write"])).signed());
    // (who asks for what, what comes of its ten bytes, what the app says to that, whether it keeps its seat)
    for (path, header, first, answer, keeps) in [
        ("/docs", "x-any: a", "half ", "", false),
        ("/docs", "x-any: a", "half-whole", "", true),
        ("/docs", "x-any: a", "half ", begun, true),
        ("/items", writer.as_str(), "half ", "", true),
    ] {
        let mut caller = Raw::connect(scene.address()).await;
        caller.send(request("POST", path, &["content-length: 10", header], "") + first).await;
        let mut upstream = app.accept().await;
        upstream.head().await.expect("a request");
        assert_eq!(upstream.exactly(first.len()).await, first.as_bytes());
        upstream.send(answer).await;
        if !answer.is_empty() {
            caller.head().await.expect("an answer");
        }
        if keeps {
            turned_away(&scene).await;
            if answer.is_empty() {
                upstream.send(begun).await;
                caller.head().await.expect("an answer");
            }
            upstream.send("done").await;
            assert_eq!(caller.exactly(4).await, b"done", "{path} {first}");
            drop(caller);
        }
        await_room(&scene).await;
    }
}
