//! Callers that speak HTTP/2: one by a library, one that writes frames as it likes (RFC 9113 section 4.1).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long an answer that takes milliseconds may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub mod frame {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
    /// END_STREAM, and ACK.
    pub const END_STREAM: u8 = 1;
    /// END_HEADERS.
    pub const END_HEADERS: u8 = 4;
}

/// A connection of a well-behaved caller.
pub struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    /// Connects without TLS.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a listener");
        Self::over(stream, 65_535).await
    }

    /// Speaks over this stream, and takes so many bytes of each answer before it has read them.
    ///
    /// # Panics
    /// When the other end does not speak HTTP/2.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, window: u32) -> Self {
        let handshake = h2::client::Builder::new().initial_window_size(window).handshake(stream);
        let (send, connection) = handshake.await.expect("HTTP/2");
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Sends a head; the answer comes later.
    ///
    /// # Panics
    /// When the connection takes no more requests.
    pub async fn send(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = tokio::time::timeout(PATIENCE, self.send.clone().ready()).await.expect("room for a request");
        self.send = ready.expect("an open connection");
        self.send.send_request(request, ends).expect("a request")
    }

    /// A request without a body and its answer to the end.
    ///
    /// # Errors
    /// The stream or the connection ended without one.
    pub async fn ask(&mut self, request: Request<()>) -> Result<Response<Bytes>, h2::Error> {
        let (answer, _) = self.send(request, true).await;
        tokio::time::timeout(PATIENCE, read(answer)).await.expect("an answer in time")
    }

    /// `GET` of a path on `api.test` with these headers.
    ///
    /// # Errors
    /// The stream or the connection ended without an answer.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Response<Bytes>, h2::Error> {
        self.ask(get(path, headers)).await
    }

    /// Waits until the other end has ended the connection.
    ///
    /// # Errors
    /// It did not end in order.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(self) -> Result<(), h2::Error> {
        // While it can be used it does not end by itself.
        let _kept = self.send;
        tokio::time::timeout(PATIENCE, self.connection).await.expect("an end in time").expect("no panic")
    }

    /// Whether the other end has said GOAWAY.
    #[must_use]
    pub fn is_told_to_leave(&self) -> bool {
        matches!(self.send.clone().ready().now_or_never(), Some(Err(_)))
    }

    /// Whether the connection has ended, whoever ended it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.connection.is_finished()
    }
}

/// A `GET` of a path on `api.test`.
///
/// # Panics
/// When it is no request.
#[must_use]
pub fn get(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(format!("http://api.test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// The whole of an answer.
///
/// # Errors
/// It breaks off.
pub async fn read(answer: ResponseFuture) -> Result<Response<Bytes>, h2::Error> {
    let (head, mut body) = answer.await?.into_parts();
    Ok(Response::from_parts(head, read_body(&mut body).await?))
}

/// The whole of a body.
///
/// # Errors
/// It breaks off.
pub async fn read_body(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// One frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 = the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// A connection of a caller that keeps no rule.
pub struct Frames<S> {
    stream: S,
    read: BytesMut,
}

impl Frames<TcpStream> {
    /// Connects and says hello.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a listener");
        let mut frames = Self { stream, read: BytesMut::new() };
        frames.write(PREFACE).await.expect("a listener");
        frames.send(frame::SETTINGS, 0, 0, &[]).await.expect("a listener");
        frames
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The app's end of a connection, after both have said hello.
    ///
    /// # Panics
    /// When the other end does not speak HTTP/2.
    pub async fn accept(stream: S) -> Self {
        let mut frames = Self { stream, read: BytesMut::new() };
        let mut preface = [0; PREFACE.len()];
        frames.stream.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(preface, *PREFACE);
        frames.send(frame::SETTINGS, 0, 0, &[]).await.expect("a caller");
        frames
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The other end has hung up.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.write(&encode(kind, flags, stream, payload)).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The other end has hung up.
    pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        while self.read.len() < 9 || self.read.len() < 9 + length(&self.read) {
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        let payload = length(&self.read);
        let bytes = self.read.split_to(9 + payload);
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & 0x7fff_ffff;
        Some(Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() })
    }

    /// Reads to the end of the connection, which must come.
    ///
    /// # Panics
    /// When it does not.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let all = async {
            let mut frames = Vec::new();
            while let Some(frame) = self.next().await {
                frames.push(frame);
            }
            frames
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the connection ends")
    }
}

/// A frame's bytes.
///
/// # Panics
/// When the payload is longer than a frame can say.
#[must_use]
pub fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header block (RFC 7541) of `GET path` on `api.test`.
///
/// # Panics
/// When the path is longer than 126 bytes.
#[must_use]
pub fn get_block(path: &str) -> Vec<u8> {
    // :method GET, :scheme http, :authority and :path as literals that are not indexed.
    let mut block = vec![0x82, 0x86, 0x01, 8];
    block.extend_from_slice(b"api.test");
    block.extend_from_slice(&[
        0x04,
        u8::try_from(path.len()).ok().filter(|length| *length < 127).expect("a short path"),
    ]);
    block.extend_from_slice(path.as_bytes());
    block
}

fn length(header: &[u8]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}
