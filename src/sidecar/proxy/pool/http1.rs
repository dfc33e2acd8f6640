//! Kept connections of HTTP/1.1, most recently used first. It decides when a connection may be used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryFutureExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::super::body::Upload;
use super::super::dial::{Dialer, Stream};
use super::ConnectError;
use crate::alarm::Alarm;

/// Shorter than the keep-alive of common servers (gunicorn 2 s, uvicorn and Node.js 5 s): the app must not hang up while
/// a request is on its way. A new loopback connection costs some 50 us, a lost POST costs a caller.
const KEEP_IDLE: Duration = Duration::from_millis(1_500);
/// A caller may stop reading an answer; what it left of the connection is given this long to end by itself.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// hyper's least; the app's answer heads are small and bodies are passed on as they come.
const READ_BUFFER: usize = 64 * 1024;

/// Connections that wait for a request.
#[derive(Debug)]
pub(super) struct Pool {
    dialer: Arc<Dialer>,
    idle: Mutex<Vec<Idle>>,
    connects: Counter,
}

/// A connection, for one request at a time.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) sender: SendRequest<Upload>,
    /// For the answers on it.
    pub(crate) alarm: Alarm,
    /// Of what runs the connection.
    running: AbortHandle,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    since: Instant,
}

impl Line {
    /// Closes the connection with all that is on its way.
    pub(super) fn cut(self) {
        self.running.abort();
    }
}

impl Pool {
    pub(super) fn new(dialer: Arc<Dialer>, connects: Counter) -> Arc<Self> {
        Arc::new(Self { dialer, idle: Mutex::default(), connects })
    }

    pub(super) async fn connect(&self) -> Result<Line, ConnectError> {
        let (sender, running) = match self.dialer.dial().await? {
            Stream::Plain(stream) => start(stream).await,
            Stream::Tls(stream) => start(*stream).await,
        }
        .map_err(ConnectError::Handshake)?;
        self.connects.inc();
        Ok(Line { sender, alarm: Alarm::default(), running })
    }

    /// Keeps a connection whose answer has arrived in full, or will without us.
    pub(super) fn checkin(self: &Arc<Self>, mut line: Line) {
        if line.sender.is_ready() {
            self.keep(line);
        } else if !line.sender.is_closed() {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE_TIMEOUT, line.sender.ready()).await {
                    pool.keep(line);
                }
            });
        }
    }

    /// Lets go of connections that have been idle too long.
    fn sweep(&self) {
        let now = Instant::now();
        let kept = |idle: &Idle| !idle.line.sender.is_closed() && now.duration_since(idle.since) < KEEP_IDLE;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(kept);
    }

    /// Sweeps for as long as the worker lives.
    pub(super) async fn sweep_forever(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(KEEP_IDLE);
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    fn keep(&self, line: Line) {
        let idle = Idle { line, since: Instant::now() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }

    pub(super) fn reuse(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { line, since }) = idle.pop() {
            if since.elapsed() >= KEEP_IDLE {
                // The rest has been idle even longer.
                idle.clear();
                return None;
            }
            if line.sender.is_ready() {
                return Some(line);
            }
        }
        None
    }
}

/// Starts HTTP on a connection, which then runs to its end by itself. Its errors reach the request in progress, if there
/// is one.
async fn start(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<(SendRequest<Upload>, AbortHandle)> {
    let (sender, connection) = http1::Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(stream)).await?;
    // An async block would hold the connection twice.
    let running = connection.with_upgrades().inspect_err(|error| debug!(%error, "a connection to the app broke"));
    Ok((sender, tokio::spawn(running).abort_handle()))
}
