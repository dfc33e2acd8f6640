//! WebSockets at both ends, by a library that is not ours: an app that echoes, over an upgrade of HTTP/1.1 and over
//! extended CONNECT of HTTP/2, and a caller that can open either.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::app::{AnyBody, body};

/// An open WebSocket.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a wish for a WebSocket, in either version of HTTP, and echoes every message until the other end closes. The
/// headers that came are the first message, where `/headers` is asked for.
///
/// # Panics
/// When the request is none.
pub async fn echo(request: Request<Incoming>) -> Response<AnyBody> {
    told(request, |_| {}).await
}

/// The same, and `hears` is told every message, Close frames included.
///
/// # Panics
/// When the request is none.
pub async fn told(mut request: Request<Incoming>, hears: impl Fn(&Message) + Send + 'static) -> Response<AnyBody> {
    let by_connect = request.method() == Method::CONNECT;
    let mut answer = Response::new(body(""));
    if by_connect {
        let protocol = request.extensions().get::<Protocol>().expect("extended CONNECT");
        assert_eq!(protocol.as_str(), "websocket");
    } else {
        let key = request.headers().get("sec-websocket-key").expect("a handshake").as_bytes();
        let accept = HeaderValue::try_from(derive_accept_key(key)).expect("a value");
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert("sec-websocket-accept", accept);
        answer.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
        answer.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    }
    if let Some(offered) = request.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok()) {
        let first = offered.split(',').next().unwrap_or_default().trim();
        answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(first).expect("a value"));
    }
    let shows_headers = request.uri().path() == "/headers";
    let headers = format!("{} {:?}", request.method(), request.headers());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        if shows_headers {
            let _ = socket.send(Message::text(headers)).await;
        }
        while let Some(Ok(message)) = socket.next().await {
            hears(&message);
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    answer
}

/// Opens a WebSocket by an upgrade of HTTP/1.1; the answer where there is none.
///
/// # Errors
/// What else was answered.
///
/// # Panics
/// When nobody answers.
pub async fn by_upgrade(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(HeaderMap, Socket), Response<Incoming>> {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get(path).header("host", "api.test");
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")] {
        request = request.header(name, value);
    }
    let key = STANDARD.encode(*b"a key of sixteen");
    request = request.header("sec-websocket-key", &key);
    let mut request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
    extend(request.headers_mut(), headers);
    let answer = sender.send_request(request).await.expect("an answer");
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(answer);
    }
    assert_eq!(answer.headers()["sec-websocket-accept"], derive_accept_key(key.as_bytes()));
    Ok(open(answer).await)
}

/// Opens a WebSocket by extended CONNECT of HTTP/2; the answer where there is none.
///
/// # Errors
/// What else was answered.
///
/// # Panics
/// When nobody answers.
pub async fn by_connect(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(HeaderMap, Socket), Response<Incoming>> {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut sender, mut connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a connection");
    // Extended CONNECT may be sent once the other side has said that it takes it.
    crate::wait::eventually("the settings", std::time::Duration::from_secs(20), || {
        let ended = futures::FutureExt::now_or_never(&mut connection).is_some();
        let enabled = connection.is_extended_connect_protocol_enabled();
        async move { if enabled && !ended { Ok(()) } else { Err("not enabled") } }
    })
    .await;
    tokio::spawn(connection);
    let uri: Uri = format!("http://api.test{path}").parse().expect("a URI");
    let mut request = Request::connect(uri).header("sec-websocket-version", "13");
    request = request.extension(Protocol::from_static("websocket"));
    let mut request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
    extend(request.headers_mut(), headers);
    let answer = sender.send_request(request).await.expect("an answer");
    if answer.status() != StatusCode::OK {
        return Err(answer);
    }
    Ok(open(answer).await)
}

fn extend(headers: &mut HeaderMap, more: &[(&str, &str)]) {
    for (name, value) in more {
        headers.append(HeaderName::try_from(*name).expect("a name"), HeaderValue::from_str(value).expect("a value"));
    }
}

async fn open(mut answer: Response<Incoming>) -> (HeaderMap, Socket) {
    let upgraded = hyper::upgrade::on(&mut answer).await.expect("a connection");
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    (answer.headers().clone(), socket)
}
