//! HTTP/1.1 as bytes on a socket, for both ends: what a client library would tidy up stays as it is. Just enough parsing
//! to find where a message ends. Every wait has a deadline.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far longer than anything here takes, far shorter than a test run.
const DEADLINE: Duration = Duration::from_secs(20);

/// One end of a connection.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A start line and headers, as they came.
#[derive(Debug, Clone)]
pub struct Head(String);

/// A body and what came after it.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Without chunk framing.
    pub bytes: Vec<u8>,
    /// Trailer lines.
    pub trailers: Vec<String>,
}

impl Head {
    /// As it came, without the empty line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Request line or status line.
    #[must_use]
    pub fn start_line(&self) -> &str {
        self.0.split("\r\n").next().unwrap_or_default()
    }

    /// The request's target, byte for byte.
    #[must_use]
    pub fn target(&self) -> &str {
        self.start_line().split(' ').nth(1).unwrap_or_default()
    }

    /// The answer's status.
    ///
    /// # Panics
    /// When this is no answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.target().parse().unwrap_or_else(|_| panic!("no status in {:?}", self.start_line()))
    }

    /// Every value of a header.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.0.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The one value of a header.
    ///
    /// # Panics
    /// When it stands there twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands there {} times in {self:?}", all.len());
        all.first().copied()
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn has_no_body(&self) -> bool {
        self.0.starts_with("HTTP/1.") && (self.status() < 200 || matches!(self.status(), 204 | 304))
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("somebody listens"))
    }

    /// Takes over a connection.
    ///
    /// # Panics
    /// When the socket is broken.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes; a peer that has hung up is noticed when reading.
    ///
    /// # Panics
    /// When the peer takes nothing for too long.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = timeout(DEADLINE, self.stream.write_all(bytes.as_ref())).await.expect("the peer reads");
    }

    /// Sends as much as the peer takes within `period`; returns how much.
    pub async fn send_for(&mut self, period: Duration, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match timeout(period, self.stream.write(&bytes[sent..])).await {
                Ok(Ok(count)) => sent += count,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        sent
    }

    /// The next head; none when the peer has hung up.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(Head(String::from_utf8_lossy(&head[..end]).into_owned()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Like [`Raw::head`] for a connection that may rest between requests: waits as long as the peer keeps it open.
    pub async fn head_whenever(&mut self) -> Option<Head> {
        if self.buffer.is_empty() {
            let mut chunk = [0; 16 * 1024];
            let read = self.stream.read(&mut chunk).await.unwrap_or(0);
            self.buffer.extend_from_slice(&chunk[..read]);
            if read == 0 {
                return None;
            }
        }
        self.head().await
    }

    /// The body that belongs to a head, read to its end. `to` is the method of the request that an answer answers.
    ///
    /// # Panics
    /// When it does not end in time, or breaks off.
    pub async fn body(&mut self, head: &Head, to: &str) -> Body {
        if to == "HEAD" || head.has_no_body() {
            return Body::default();
        }
        if head.is_chunked() {
            return self.chunks().await;
        }
        let is_answer = head.as_str().starts_with("HTTP/1.");
        let bytes = match head.header("content-length") {
            Some(length) => self.exactly(length.parse().expect("a length")).await,
            None if is_answer => self.rest().await,
            None => Vec::new(),
        };
        Body { bytes, trailers: Vec::new() }
    }

    /// The next chunk of a chunked body; empty at its end, with the trailers.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn chunk(&mut self) -> Body {
        let size = self.line().await;
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
        if size > 0 {
            let bytes = self.exactly(size).await;
            assert_eq!(self.line().await, "", "a chunk ends with an empty line");
            return Body { bytes, trailers: Vec::new() };
        }
        let mut trailers = Vec::new();
        loop {
            match self.line().await {
                line if line.is_empty() => return Body { bytes: Vec::new(), trailers },
                line => trailers.push(line),
            }
        }
    }

    /// Exactly so many bytes.
    ///
    /// # Panics
    /// When they do not come in time.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "{} of {count} bytes, then the peer hung up", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Everything until the peer hangs up.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the peer has hung up without another byte.
    ///
    /// # Panics
    /// When it neither hangs up nor sends in time.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    async fn chunks(&mut self) -> Body {
        let mut body = Body::default();
        loop {
            let chunk = self.chunk().await;
            if chunk.bytes.is_empty() {
                body.trailers = chunk.trailers;
                return body;
            }
            body.bytes.extend(chunk.bytes);
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.more().await, "the peer hung up within a line");
        }
    }

    /// Whether there was more; a reset counts as hanging up.
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        let read = timeout(DEADLINE, self.stream.read(&mut chunk)).await;
        let seen = || String::from_utf8_lossy(&self.buffer).into_owned();
        let read = read.unwrap_or_else(|_| panic!("nothing came within {DEADLINE:?} after {:?}", seen())).unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }
}

/// One request on a connection of its own, byte for byte, and its answer. The method is taken from the request.
///
/// # Panics
/// When no answer comes.
pub async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> (Head, Body) {
    let mut raw = Raw::connect(address).await;
    raw.send(request.as_ref()).await;
    let method = String::from_utf8_lossy(request.as_ref()).split(' ').next().unwrap_or_default().to_owned();
    let head = raw.head().await.expect("an answer");
    let body = raw.body(&head, &method).await;
    (head, body)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
