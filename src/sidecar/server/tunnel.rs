//! Carries a WebSocket between caller and app, byte for byte, and ends it: when nobody says anything any more, when one
//! side has ended, or when its token is no longer good. It looks at frames only to end between two of them, with a word
//! of why.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};

use super::flight::Flight;
use super::streams::Held;
use super::tenure::Lapse;
use crate::proxy::{AppEnd, CloseCode, Frames, Progress, close};
use crate::reason::Reason;

/// Two for each WebSocket, of which there may be a thousand.
const BUFFER: usize = 8 * 1024;
/// For the other side to end as well, after one has.
const CLOSING: Duration = Duration::from_secs(10);
/// For a side to take our farewell, and to say its own.
const FAREWELL: Duration = Duration::from_secs(2);

/// A WebSocket that both sides have agreed to.
pub(crate) struct Tunnel {
    pub(super) caller: OnUpgrade,
    pub(super) app: AppEnd,
    pub(super) lapse: Option<Lapse>,
    /// Keeps the caller's HTTP/2 connection.
    pub(super) held: Option<Arc<Held>>,
}

/// One side of a tunnel.
struct Side {
    reads: ReadHalf<TokioIo<Upgraded>>,
    writes: WriteHalf<TokioIo<Upgraded>>,
    /// What has been sent to it.
    sent: Frames,
}

/// What became of a tunnel.
enum End {
    /// Both sides have ended, or one broke.
    Ended(io::Result<()>),
    /// It must not go on.
    Lapsed(Reason),
    Idle,
}

impl Tunnel {
    /// Runs to the end; the record with it.
    pub(super) async fn run(self, mut flight: Flight) {
        let Self { caller, app, lapse, held: _held } = self;
        let AppEnd { upgrade, lease: _lease, patience } = app;
        let (up, down) = (Arc::new(Progress::new()), Arc::new(Progress::new()));
        flight.carries(&up, &down);
        let (caller, app) = match tokio::try_join!(caller, upgrade) {
            Ok((caller, app)) => (Side::new(caller), Side::new(app)),
            Err(error) => return tracing::debug!(%error, "a WebSocket never began"),
        };
        let (mut caller, mut app) = (caller, app);
        let end = tokio::select! {
            ended = carry(&mut caller, &mut app, &up, &down) => End::Ended(ended),
            reason = lapsed(lapse) => End::Lapsed(reason),
            () = silence(patience, &up, &down) => End::Idle,
        };
        match end {
            End::Ended(Ok(())) => flight.finished(),
            // After both have said that this is the end, how the connection ends says nothing.
            End::Ended(Err(_)) if caller.sent.is_closed() && app.sent.is_closed() => flight.finished(),
            End::Ended(Err(error)) => tracing::debug!(%error, "a WebSocket broke"),
            End::Lapsed(reason) => {
                flight.cut(reason);
                part(&mut caller, &mut app, CloseCode::PolicyViolation, reason.as_str()).await;
                flight.finished();
            }
            End::Idle => part(&mut caller, &mut app, CloseCode::GoingAway, "idle").await,
        }
    }
}

impl Side {
    fn new(connection: Upgraded) -> Self {
        let (reads, writes) = split(TokioIo::new(connection));
        Self { reads, writes, sent: Frames::default() }
    }
}

/// Both directions, until both have ended.
async fn carry(caller: &mut Side, app: &mut Side, up: &Progress, down: &Progress) -> io::Result<()> {
    let mut upwards = std::pin::pin!(relay(&mut caller.reads, &mut app.writes, &mut app.sent, up));
    let mut downwards = std::pin::pin!(relay(&mut app.reads, &mut caller.writes, &mut caller.sent, down));
    let other = tokio::select! {
        ended = upwards.as_mut() => {
            ended?;
            timeout(CLOSING, downwards).await
        }
        ended = downwards.as_mut() => {
            ended?;
            timeout(CLOSING, upwards).await
        }
    };
    other.unwrap_or(Ok(()))
}

/// One direction. What is written is noted at once, so that it may be dropped at any time.
async fn relay(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    sent: &mut Frames,
    progress: &Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        let mut left = buffer.get(..read).unwrap_or_default();
        if left.is_empty() {
            return to.shutdown().await;
        }
        progress.moved(read);
        while !left.is_empty() {
            let written = to.write(left).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let (passed, rest) = left.split_at(written);
            sent.advance(passed);
            left = rest;
        }
        to.flush().await?;
    }
}

async fn lapsed(lapse: Option<Lapse>) -> Reason {
    match lapse {
        Some(lapse) => lapse.await,
        None => std::future::pending().await,
    }
}

/// Waits until neither direction has moved for so long.
async fn silence(patience: Duration, up: &Progress, down: &Progress) {
    loop {
        let until = up.last().max(down.last()) + patience;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// Says to both sides that this is the end, where a frame may follow, and waits a moment for the caller's own end, as what
/// is under way is lost when a connection is closed with something unread.
async fn part(caller: &mut Side, app: &mut Side, code: CloseCode, why: &str) {
    let farewell = async {
        for (side, to_server) in [(&mut *app, true), (&mut *caller, false)] {
            if side.sent.takes_more() {
                let _ = side.writes.write_all(&close(code, why, to_server)).await;
            }
            let _ = side.writes.shutdown().await;
        }
        let mut buffer = [0; 1024];
        while caller.reads.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    // Who does not take it in time is cut off.
    let _ = timeout(FAREWELL, farewell).await;
}
