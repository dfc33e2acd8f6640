//! Kept connections of HTTP/2 (RFC 9113), on each of which many requests are under way at a time. It decides how many
//! share one, when another is opened, and how much of the answers may wait in memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, timeout};

use super::super::body::Upload;
use super::super::dial::{DialError, Dialer, Stream};
use super::ConnectError;

/// A worker's connections. One would do for most; more spread the work of an app that has a thread for each.
const MAX_CONNECTIONS: usize = 8;
/// Requests on one connection before another is opened, whatever the app allows: the least that RFC 9113 section 6.5.2
/// wants a server to take.
const MAX_STREAMS: usize = 100;
/// What an answer may have under way, or waiting for a slow caller. On loopback it is never what limits the speed.
const STREAM_WINDOW: u32 = 64 * 1024;
/// No slow caller stops the others on its connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// What an upload may have waiting for a slow app.
const SEND_BUFFER: usize = 64 * 1024;
/// An answer's headers are the app's business, within reason; as much as HTTP/1.1 takes.
const MAX_HEADERS: u32 = 64 * 1024;
/// Idle connections are closed after that; the app sees no difference between a quiet minute and a quiet hour.
const KEEP_IDLE: Duration = Duration::from_secs(60);
/// The app's settings open its side of a connection (RFC 9113 section 3.4); their coming wakes nobody.
const LOOK_FOR_SETTINGS: Duration = Duration::from_millis(1);
/// More than any app can say: it has not said anything yet.
const UNSAID: usize = usize::MAX - 1;

/// Connections of one worker.
#[derive(Debug)]
pub(super) struct Pool {
    dialer: Arc<Dialer>,
    lines: Mutex<Vec<Shared>>,
    /// Who needs a new connection waits for the one that somebody is opening.
    turn: tokio::sync::Mutex<()>,
    connects: Counter,
}

/// A place on a connection, for one request.
#[derive(Debug)]
pub(crate) struct Line(Shared);

#[derive(Debug)]
struct Shared {
    sender: SendRequest<Upload>,
    state: Arc<State>,
}

/// What is known of a connection.
#[derive(Debug)]
struct State {
    /// Requests under way.
    used: AtomicUsize,
    /// How many the app takes at a time.
    allowed: usize,
    /// Whether the app takes extended CONNECT (RFC 8441 section 3).
    extended_connect: bool,
    idle_since: Mutex<Instant>,
    /// The app wants no more requests on it, which hyper may not have noticed yet.
    is_retired: AtomicBool,
    /// It is closed after its last request, whatever is still on its way.
    is_cut: AtomicBool,
    /// Of what runs the connection.
    running: AbortHandle,
}

impl Pool {
    pub(super) fn new(dialer: Arc<Dialer>, connects: Counter) -> Arc<Self> {
        Arc::new(Self { dialer, lines: Mutex::default(), turn: tokio::sync::Mutex::default(), connects })
    }

    /// A place on a connection, and whether it has served before.
    pub(super) async fn checkout(&self) -> Result<(Line, bool), ConnectError> {
        if let Some(line) = self.pick() {
            return Ok((line, true));
        }
        // Rare and large: apart, so that requests stay small.
        Box::pin(self.open()).await
    }

    async fn open(&self) -> Result<(Line, bool), ConnectError> {
        let _turn = timeout(self.dialer.within(), self.turn.lock()).await.map_err(|_| DialError::Timeout)?;
        if let Some(line) = self.pick() {
            return Ok((line, true));
        }
        let within = self.dialer.within();
        let shared = match self.dialer.dial().await? {
            Stream::Plain(stream) => timeout(within, start(stream)).await,
            Stream::Tls(stream) => timeout(within, start(*stream)).await,
        };
        let shared = shared.map_err(|_| DialError::Timeout)?.map_err(ConnectError::Handshake)?;
        self.connects.inc();
        let line = shared.take();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(shared);
        Ok((line, false))
    }

    /// The first connection with room, so that others become idle; the least used one where no more may be opened.
    fn pick(&self) -> Option<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(Shared::takes_requests);
        let least_used = || lines.iter().min_by_key(|line| line.state.used.load(Ordering::Relaxed));
        let found = lines.iter().find(|line| line.has_room());
        found.or_else(|| least_used().filter(|_| lines.len() >= MAX_CONNECTIONS)).map(Shared::take)
    }

    /// Lets go of connections that are closed or have been idle too long.
    pub(super) async fn sweep_forever(self: Arc<Self>) {
        let mut ticks = interval(KEEP_IDLE);
        loop {
            let now = ticks.tick().await;
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.retain(|line| line.takes_requests() && !line.state.is_idle(now));
        }
    }
}

impl Shared {
    fn takes_requests(&self) -> bool {
        !self.sender.is_closed() && !self.state.is_retired.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        let allowed = self.state.allowed.min(MAX_STREAMS);
        self.state.used.load(Ordering::Relaxed) < allowed
    }

    fn take(&self) -> Line {
        self.state.used.fetch_add(1, Ordering::Relaxed);
        Line(Self { sender: self.sender.clone(), state: Arc::clone(&self.state) })
    }
}

impl Line {
    pub(crate) fn sender(&mut self) -> &mut SendRequest<Upload> {
        &mut self.0.sender
    }

    /// No new request goes there any more; those under way go on.
    pub(super) fn retire(&self) {
        self.0.state.is_retired.store(true, Ordering::Relaxed);
    }

    /// No new request goes there, and the end of the last one is the connection's: something on it never ends.
    pub(super) fn cut(self) {
        self.0.state.is_cut.store(true, Ordering::Relaxed);
        self.retire();
    }

    pub(crate) fn takes_extended_connect(&self) -> bool {
        self.0.state.extended_connect
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let state = &self.0.state;
        if state.used.fetch_sub(1, Ordering::Relaxed) == 1 {
            if state.is_cut.load(Ordering::Relaxed) {
                state.running.abort();
            }
            *state.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

impl State {
    fn is_idle(&self, now: Instant) -> bool {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.used.load(Ordering::Relaxed) == 0 && now.duration_since(since) >= KEEP_IDLE
    }
}

/// Starts HTTP/2 on a connection and waits for the app's settings, which say how many requests fit. From then on it runs to
/// its end by itself; its errors reach the requests in progress.
async fn start(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Shared> {
    let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS)
        .initial_max_send_streams(UNSAID)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut looks = interval(LOOK_FOR_SETTINGS);
    while connection.current_max_send_streams() == UNSAID && !sender.is_closed() {
        tokio::select! {
            ended = &mut connection => {
                ended?;
                break;
            }
            _ = looks.tick() => {}
        }
    }
    let allowed = connection.current_max_send_streams();
    let extended_connect = connection.is_extended_connect_protocol_enabled();
    let running = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the app broke");
        }
    });
    let state = State {
        used: AtomicUsize::new(0),
        allowed,
        extended_connect,
        idle_since: Mutex::new(Instant::now()),
        is_retired: AtomicBool::new(false),
        is_cut: AtomicBool::new(false),
        running: running.abort_handle(),
    };
    Ok(Shared { sender, state: Arc::new(state) })
}
