//! Decides how a connection is spoken to: which version of HTTP a plain one begins with, and what either version may
//! make us hold. Nothing here looks at a request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::streams::Spawner;
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
/// Requests taken back before we have looked at them (CVE-2023-44487): those of a caller in a hurry, not of a flood.
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams that we ended because of what was sent on them (CVE-2025-8671), on one connection.
const MAX_OWN_RESETS: usize = 100;

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4). No method of HTTP/1 begins with `PRI`.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_BUFFER);
    builder
}

pub(super) fn http2(limits: &Limits) -> http2::Builder<Spawner> {
    let mut builder = http2::Builder::new(Spawner::new(limits.unread));
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

/// Looks at how a plain connection begins. It takes as many bytes as it needs to tell: one, as a rule.
pub(super) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Http, Replayed<S>)> {
    let mut seen = [0; PREFACE.len()];
    let mut end = 0;
    let http = loop {
        match stream.read(&mut seen[end..]).await? {
            0 if end == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => break Http::One,
            read => end += read,
        }
        if !PREFACE.starts_with(&seen[..end]) {
            break Http::One;
        }
        if end == PREFACE.len() {
            break Http::Two;
        }
    };
    Ok((http, Replayed { seen, left: 0..end, stream }))
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

    async fn sniffed(pieces: &[&[u8]]) -> (Http, Vec<u8>) {
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
            assert_eq!(sniffed(pieces).await, (http, pieces.concat()), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_byte_has_no_version() {
        let (caller, ours) = tokio::io::duplex(1024);
        drop(caller);
        assert!(sniff(ours).await.is_err());
    }
}
