//! gRPC by tonic at both ends: every kind of call, much in one, cancellation, refusals and failures as `grpc-status`, and
//! the end of a stream whose token expires.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use h2::{Reason, RecvStream};
use http::uri::PathAndQuery;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tests::app::{App, Protocol};
use tests::grpc::{Plain, service};
use tests::http2::Client;
use tests::issuer::FakeIssuer;
use tests::mint::epoch_seconds;
use tests::wait::eventually;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::scene::{PATIENCE, Scene, items};

const MIB: usize = 1 << 20;

/// The service behind a token, and a public one without an app.
fn config(app: u16, issuer: &FakeIssuer) -> Value {
    let mut config = items(app, issuer);
    config["upstream"]["protocol"] = json!("H2c");
    config["routes"] = json!([
        {"name": "all", "path": {"prefix": "/test.Service"}, "methods": ["POST"], "access": "Authenticated",
         "scopes": {"allOf": ["items"]}},
        {"name": "denied", "path": {"prefix": "/test.Denied"}, "access": "Denied"},
    ]);
    config
}

struct Caller {
    grpc: tonic::client::Grpc<Channel>,
    token: String,
}

impl Caller {
    async fn of(scene: &Scene, token: &str) -> Self {
        let endpoint = Channel::from_shared(format!("http://{}", scene.address())).expect("a URI");
        let grpc = tonic::client::Grpc::new(endpoint.connect().await.expect("a connection"));
        Self { grpc: grpc.max_decoding_message_size(16 * MIB), token: token.to_owned() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if !self.token.is_empty() {
            request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().expect("a value"));
        }
        request
    }

    /// The client, when its connection takes a call.
    async fn ready(&mut self) -> &mut tonic::client::Grpc<Channel> {
        self.grpc.ready().await.expect("a connection");
        &mut self.grpc
    }

    async fn unary(&mut self, path: &'static str, message: Bytes) -> Result<Bytes, Status> {
        let request = self.request(message);
        Ok(self.ready().await.unary(request, PathAndQuery::from_static(path), Plain).await?.into_inner())
    }
}

#[tokio::test]
async fn every_kind_of_call_passes() {
    let (issuer, (app, _)) = (FakeIssuer::start().await, service().await);
    let scene = Scene::ready(&config(app.port(), &issuer)).await;
    let mut caller = Caller::of(&scene, &issuer.token().signed()).await;
    let echoed = caller.unary("/test.Service/Echo", "hello".into()).await.expect("an answer");
    assert_eq!(echoed, "hello");

    let began = std::time::Instant::now();
    let messages = futures::stream::iter(std::iter::repeat_n(Bytes::from(vec![b'x'; MIB]), 100));
    let request = caller.request(messages);
    let path = PathAndQuery::from_static("/test.Service/Sum");
    let sum = caller.ready().await.client_streaming(request, path, Plain).await.expect("an answer").into_inner();
    assert_eq!(sum, (100 * MIB).to_string());
    let up = began.elapsed();

    let request = caller.request(Bytes::from(vec![b'x'; 100]));
    let path = PathAndQuery::from_static("/test.Service/Many");
    let mut many = caller.ready().await.server_streaming(request, path, Plain).await.expect("an answer").into_inner();
    let mut received = 0;
    while let Some(message) = many.message().await.expect("no error") {
        received += message.len();
    }
    assert_eq!(received, 100 * MIB);
    assert_eq!(many.trailers().await.expect("no error").map(|_| ()), Some(()), "trailers came");
    println!("100 MiB of gRPC messages up in {up:?}, down in {:?}", began.elapsed() - up);

    let (say, said) = futures::channel::mpsc::unbounded::<Bytes>();
    let request = caller.request(said);
    let path = PathAndQuery::from_static("/test.Service/Echo");
    let mut echo = caller.ready().await.streaming(request, path, Plain).await.expect("an answer").into_inner();
    for word in ["one", "two", "three"] {
        say.unbounded_send(word.into()).expect("somebody listens");
        assert_eq!(echo.message().await.expect("no error").expect("a message"), word, "before the next is said");
    }
    drop(say);
    assert!(echo.message().await.expect("no error").is_none());
    let line = &scene.log.lines(4).await[0];
    assert_eq!((&line["protocol"], &line["grpc_status"]), (&json!("h2"), &json!(0)), "{line}");
}

#[tokio::test]
async fn refusals_and_failures_are_grpc_statuses() {
    let (issuer, (app, _)) = (FakeIssuer::start().await, service().await);
    let scene = Scene::ready(&config(app.port(), &issuer)).await;
    let good = issuer.token().signed();
    let other = issuer.token().claim("scp", json!(["other"])).signed();
    for (token, path, code, reason) in [
        ("", "/test.Service/Echo", Code::Unauthenticated, "missing_token"),
        ("a.b.c", "/test.Service/Echo", Code::Unauthenticated, "malformed_token"),
        (&other, "/test.Service/Echo", Code::PermissionDenied, "insufficient_scope"),
        (&good, "/test.Denied/Echo", Code::PermissionDenied, "route_denied"),
        (&good, "/test.Service/Fail", Code::FailedPrecondition, "not like this"),
    ] {
        let status = Caller::of(&scene, token).await.unary(path, "x".into()).await.expect_err("a refusal");
        assert_eq!(status.code(), code, "{path}: {status}");
        assert!(status.message().contains(reason), "{status}");
    }
    let nobody = Scene::ready(&config(1, &issuer)).await;
    let status = Caller::of(&nobody, &good).await.unary("/test.Service/Echo", "x".into()).await.expect_err("no app");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("upstream_unreachable"), "{status}");
    // An app that dies in the middle of a stream.
    let mut caller = Caller::of(&scene, &good).await;
    let request = caller.request(Bytes::new());
    let path = PathAndQuery::from_static("/test.Service/Wait");
    let mut stream = caller.ready().await.server_streaming(request, path, Plain).await.expect("an answer").into_inner();
    assert_eq!(stream.message().await.expect("no error").expect("a message"), "first");
    drop(app);
    let status = stream.message().await.expect_err("the end");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_cancelled_at_the_app() {
    let (issuer, (app, cancelled)) = (FakeIssuer::start().await, service().await);
    let scene = Scene::ready(&config(app.port(), &issuer)).await;
    let mut caller = Caller::of(&scene, &issuer.token().signed()).await;
    // Before the head of its answer, and in its middle.
    let call = caller.unary("/test.Service/Hang", "x".into());
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
    let is_cancelled = async |count: usize| {
        eventually("the app sees it", PATIENCE, || async {
            let seen = cancelled.load(Ordering::SeqCst);
            if seen >= count { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    is_cancelled(1).await;
    let request = caller.request(Bytes::new());
    let path = PathAndQuery::from_static("/test.Service/Wait");
    let mut stream = caller.ready().await.server_streaming(request, path, Plain).await.expect("an answer").into_inner();
    assert_eq!(stream.message().await.expect("no error").expect("a message"), "first");
    let before = cancelled.load(Ordering::SeqCst);
    drop(stream);
    is_cancelled(before + 1).await;
}

#[tokio::test]
async fn a_stream_ends_with_unauthenticated_when_its_token_expires() {
    let (issuer, (app, _)) = (FakeIssuer::start().await, service().await);
    let config = config(app.port(), &issuer);
    let scene = Scene::with(&config, |options| options.limits.stream_look = Duration::from_millis(200)).await;
    let scene = scene.into_ready().await;
    let token = || issuer.token().claim("exp", json!(epoch_seconds() + 3)).signed();
    let mut caller = Caller::of(&scene, &token()).await;
    let request = caller.request(Bytes::new());
    let path = PathAndQuery::from_static("/test.Service/Wait");
    let stream = caller.ready().await.server_streaming(request, path, Plain).await.expect("an answer").into_inner();
    let messages: Vec<_> = tokio::time::timeout(PATIENCE, stream.collect()).await.expect("in time");
    let status = messages.last().expect("a message").as_ref().expect_err("the end");
    assert_eq!((messages.len(), status.code()), (2, Code::Unauthenticated), "{status}");
    assert!(status.message().contains("expired"), "{status}");
    // One that has not been answered yet ends as well.
    let mut caller = Caller::of(&scene, &token()).await;
    let status = caller.unary("/test.Service/Hang", "x".into());
    let status = tokio::time::timeout(PATIENCE, status).await.expect("in time").expect_err("the end");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

/// An app whose answer to `/test.Service/Whole` is a message, and to `/test.Service/Half` one and the beginning of another;
/// then nothing for ever.
async fn interrupted() -> App {
    App::start(Protocol::Http2, None, |request| async move {
        let whole = b"\0\0\0\0\x05hello";
        let sent =
            if request.uri().path().ends_with("Half") { [&whole[..], &whole[..7]].concat() } else { whole.into() };
        // In pieces that know nothing of messages.
        let pieces: Vec<_> = sent.chunks(4).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let body = futures::stream::iter(pieces).chain(futures::stream::pending());
        let mut answer = Response::new(StreamBody::new(body).boxed_unsync());
        answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        answer
    })
    .await
}

/// The answer to a call over plain HTTP/2.
async fn raw_answer(address: SocketAddr, path: &str, token: &str) -> RecvStream {
    let mut client = Client::connect(address).await;
    let call = http::Request::post(format!("http://api.test{path}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, _) = client.send(call.body(()).expect("a request"), true).await;
    answer.await.expect("an answer").into_body()
}

/// What an answer brings, and its trailers or the code that it is reset with.
async fn raw_end(mut body: RecvStream) -> (Bytes, Result<http::HeaderMap, Option<Reason>>) {
    let mut brought = Vec::new();
    let end = async {
        while let Some(piece) = body.data().await {
            brought.extend_from_slice(&piece.map_err(|error| error.reason())?);
        }
        Ok(body.trailers().await.map_err(|error| error.reason())?.expect("trailers"))
    };
    let end = tokio::time::timeout(PATIENCE, end).await.expect("in time");
    (brought.into(), end)
}

#[tokio::test]
async fn a_status_follows_a_whole_message_and_within_one_the_stream_is_reset() {
    let (issuer, app) = (FakeIssuer::start().await, interrupted().await);
    let scene = Scene::ready(&config(app.port(), &issuer)).await;
    let token = || issuer.token().claim("exp", json!(epoch_seconds() + 3)).signed();
    let (brought, end) = raw_end(raw_answer(scene.address(), "/test.Service/Whole", &token()).await).await;
    assert_eq!((brought.len(), &end.expect("trailers")["grpc-status"]), (10, &HeaderValue::from_static("16")));
    let (brought, end) = raw_end(raw_answer(scene.address(), "/test.Service/Half", &token()).await).await;
    assert_eq!((brought.len(), end), (17, Err(Some(Reason::CANCEL))));
    // The same to a client that is none of ours.
    let mut caller = Caller::of(&scene, &token()).await;
    let request = caller.request(Bytes::new());
    let path = PathAndQuery::from_static("/test.Service/Half");
    let mut stream = caller.ready().await.server_streaming(request, path, Plain).await.expect("an answer").into_inner();
    assert_eq!(stream.message().await.expect("no error").expect("a message"), "hello");
    let status = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time").expect_err("the end");
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    let lines = scene.log.lines(3).await;
    assert!(lines.iter().all(|line| line["reason"] == "expired"), "{lines:?}");
    // An app that dies within a message: nothing that could be taken for its status.
    let mut half = raw_answer(scene.address(), "/test.Service/Half", &issuer.token().signed()).await;
    half.data().await.expect("a piece").expect("no error");
    drop(app);
    assert!(raw_end(half).await.1.is_err_and(|reason| reason != Some(Reason::NO_ERROR)));
}

#[tokio::test]
async fn calls_that_go_on_are_told_to_go_elsewhere_when_the_sidecar_stops() {
    let (issuer, app) = (FakeIssuer::start().await, interrupted().await);
    let deadline = Duration::from_secs(1);
    let scene = Scene::with(&config(app.port(), &issuer), |options| options.drain.deadline = deadline).await;
    let scene = scene.into_ready().await;
    let token = issuer.token().signed();
    let mut caller = Caller::of(&scene, &token).await;
    let request = caller.request(Bytes::new());
    let path = PathAndQuery::from_static("/test.Service/Whole");
    let mut whole = caller.ready().await.server_streaming(request, path, Plain).await.expect("an answer").into_inner();
    assert_eq!(whole.message().await.expect("no error").expect("a message"), "hello");
    let mut half = raw_answer(scene.address(), "/test.Service/Half", &token).await;
    half.data().await.expect("a piece").expect("no error");
    let log = scene.log.clone();
    let told = async { whole.message().await.expect_err("the end") };
    let (status, half, finished) = tokio::join!(told, raw_end(half), scene.sidecar.shutdown());
    assert!(!finished, "not all was finished");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "overloaded: The pod stops."));
    assert_eq!(half.1, Err(Some(Reason::CANCEL)));
    assert!(log.lines(2).await.iter().all(|line| line["aborted"] == true && line["reason"].is_null()));
}

#[tokio::test]
async fn a_stream_whose_token_expires_ends_for_the_app_too_however_much_the_caller_goes_on() {
    let (issuer, (app, ended)) = (FakeIssuer::start().await, service().await);
    let config = config(app.port(), &issuer);
    let scene = Scene::with(&config, |options| options.limits.stream_look = Duration::from_millis(200)).await;
    let scene = scene.into_ready().await;
    let mut caller = Caller::of(&scene, &issuer.token().claim("exp", json!(epoch_seconds() + 3)).signed()).await;
    let (mut say, said) = futures::channel::mpsc::channel::<Bytes>(1);
    let request = caller.request(said);
    let path = PathAndQuery::from_static("/test.Service/Listen");
    let mut stream = caller.ready().await.streaming(request, path, Plain).await.expect("an answer").into_inner();
    assert_eq!(stream.message().await.expect("no error").expect("a message"), "first");
    say.try_send("before".into()).expect("somebody listens");
    assert_eq!(ended.load(Ordering::SeqCst), 0, "the app listens");
    let status = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time").expect_err("the end");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    eventually("the app is cut off, though the caller is not done", PATIENCE, || async {
        let _ = say.clone().try_send("after".into());
        if ended.load(Ordering::SeqCst) == 1 { Ok(()) } else { Err("the app still listens") }
    })
    .await;
}
