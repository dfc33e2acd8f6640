//! Decides how a connection is spoken to: which version of HTTP a plain one begins with, if any, and what either version
//! may make us hold. Nothing here judges a request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::streams::Spawner;
use crate::alarm::ConnectionTimer;
use crate::limits::Limits;

/// Bounds what one HTTP/1 connection can make us hold; a head over our own limit still fits and gets an answer with a
/// reason.
const MAX_BUFFER: usize = 64 * 1024;
/// The same for a head of HTTP/2, which counts 32 bytes a field more (RFC 9113 section 6.5.2). Beyond it the stream gets
/// a bare 431, and endless CONTINUATION frames end the connection.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// What clients commonly use is 100; each is a request that others wait behind.
const MAX_STREAMS: u32 = 100;
/// What a caller may send of one body, and of all on a connection, before the app takes it: together the most that a
/// connection's uploads hold.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Answers wait in their streams for the caller's window; this much may lie in front of it.
const SEND_BUFFER: usize = 64 * 1024;
/// The least of RFC 9113: small frames let streams take turns.
const MAX_FRAME: u32 = 16 * 1024;
/// Requests taken back before we have looked at them (CVE-2023-44487): all that a gateway may have under way, whose callers
/// may give up together while this worker is busy with others. Beyond it the connection ends at once, with all that is under
/// way on it: that nobody else waits meanwhile is worth more. `streams` judges what is slower.
const MAX_UNSEEN_RESETS: usize = MAX_STREAMS as usize;
/// Streams that we ended because of what was sent on them (CVE-2025-8671), on one connection.
const MAX_OWN_RESETS: usize = 100;

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4). No method of HTTP/1 begins with `PRI`.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whoever begins with one of them speaks HTTP/1, however badly.
const METHODS: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// The version that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Http {
    One,
    Two,
}

/// A stream whose first bytes have been looked at.
pub(super) struct Replayed<S> {
    seen: [u8; PREFACE.len()],
    /// Those that were not read again yet.
    left: std::ops::Range<usize>,
    stream: S,
}

pub(super) fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(ConnectionTimer::default()).header_read_timeout(limits.head).max_buf_size(MAX_BUFFER);
    builder
}

pub(super) fn http2(limits: &Limits) -> http2::Builder<Spawner> {
    let mut builder = http2::Builder::new(Spawner);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        // A head that never ends is ended by it too, for nothing may stand between its frames, an answer to a ping included.
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping);
    builder
}

/// Looks at how a plain connection begins. It takes as many bytes as it needs to tell: one read's, as a rule. None where
/// it is no HTTP at all: an answer would mean nothing to whoever sent this.
pub(super) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Option<Http>, Replayed<S>)> {
    let mut seen = [0; PREFACE.len()];
    let mut end = 0;
    let http = loop {
        match stream.read(&mut seen[end..]).await? {
            0 if end == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => break Some(Http::One),
            read => end += read,
        }
        let seen = &seen[..end];
        if seen == PREFACE {
            break Some(Http::Two);
        }
        if !PREFACE.starts_with(seen)
            && let Some(is_request) = is_request(seen)
        {
            break is_request.then_some(Http::One);
        }
        if end == PREFACE.len() {
            break Some(Http::One);
        }
    };
    Ok((http, Replayed { seen, left: 0..end, stream }))
}

/// Whether this can be the beginning of a request of HTTP/1, were it malformed: a method that we know, or a target of one
/// of the four forms (RFC 9112 section 3.2). None while more would tell.
fn is_request(seen: &[u8]) -> Option<bool> {
    // Section 2.2: empty lines before a request are passed over.
    let start = seen.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = seen.get(start..)?;
    if line.first().is_some_and(|first| !first.is_ascii() || first.is_ascii_control()) {
        return Some(false);
    }
    let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let (method, rest) = line.split_at(line.iter().position(ends)?);
    if METHODS.contains(&method) {
        return Some(true);
    }
    let Some(target) = rest.strip_prefix(b" ") else { return Some(false) };
    match target.first()? {
        b'/' | b'*' => Some(true),
        // A scheme or a port.
        _ => target.iter().find(|byte| **byte == b':' || ends(byte)).map(|byte| *byte == b':'),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let fits = self.left.len().min(buffer.remaining());
        let now = self.left.start..self.left.start + fits;
        buffer.put_slice(&self.seen[now.clone()]);
        self.left.start = now.end;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn sniffed(pieces: &[&[u8]]) -> (Option<Http>, Vec<u8>) {
        let (mut caller, ours) = tokio::io::duplex(1024);
        let sent = async {
            for piece in pieces {
                caller.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(caller);
        };
        let read = async {
            let (http, mut stream) = sniff(ours).await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            (http, bytes)
        };
        tokio::join!(sent, read).1
    }

    #[tokio::test]
    async fn a_connection_is_http2_only_by_the_whole_preface_and_no_byte_is_lost() {
        for (pieces, http) in [
            (&[&b"GET / HTTP/1.1\r\n\r\n"[..]][..], Http::One),
            (&[b"P", b"OST / HTTP/1.1\r\n\r\n"], Http::One),
            (&[b"PRI", b"MES / HTTP/1.1\r\n\r\n"], Http::One),
            (&[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"], Http::One),
            (&[b"PR"], Http::One),
            (&[PREFACE, b"rest of it, which is longer than a preface"], Http::Two),
            (&[&PREFACE[..1], &PREFACE[1..20], &PREFACE[20..]], Http::Two),
        ] {
            assert_eq!(sniffed(pieces).await, (Some(http), pieces.concat()), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn what_is_malformed_http_is_http_and_what_is_none_is_not_however_it_arrives() {
        for (bytes, is_http) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", true),
            (b"GET\r\n\r\n", true),
            (b"GET\t/ HTTP/1.1\r\n\r\n", true),
            (b"GET nothing HTTP/1.1\r\n\r\n", true),
            (b"get /docs HTTP/1.1\r\n\r\n", true),
            (b"PROPFIND /docs HTTP/1.1\r\n\r\n", true),
            (b"UPDATEREDIRECTREF /docs HTTP/1.1\r\n\r\n", true),
            (b"PURGE http://api.test/ HTTP/1.1\r\n\r\n", true),
            (b"M-SEARCH * HTTP/1.1\r\n\r\n", true),
            (b"LINK api.test:80 HTTP/1.1\r\n\r\n", true),
            (b"G\0T / HTTP/1.1\r\n\r\n", true),
            (b"A-METHOD-THAT-DOES-NOT-END-SOON / HTTP/1.1\r\n\r\n", true),
            (b"PURGE a-target-that-does-not-end-soon", true),
            (b"INVALID CONNECTION PREFACE\r\n\r\n", false),
            (b"SSH-2.0-OpenSSH_9.6\r\n", false),
            (b"HELO mail.test\r\n", false),
            (b"QUIT\r\n", false),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 / *:", false),
            (b"\x80\x2e\x01\x03\x01 / HTTP/1.1\r\n", false),
            (b"\0\0\0\x2a\xffSMB /", false),
        ] {
            let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
            for pieces in [&[bytes][..], &one_by_one] {
                let expected = (is_http.then_some(Http::One), bytes.to_vec());
                assert_eq!(sniffed(pieces).await, expected, "{:?}", String::from_utf8_lossy(bytes));
            }
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_byte_has_no_version() {
        let (caller, ours) = tokio::io::duplex(1024);
        drop(caller);
        assert!(sniff(ours).await.is_err());
    }
}
