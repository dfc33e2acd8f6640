//! Carries a WebSocket between caller and app, byte for byte, and ends it: when nobody says anything any more, when one
//! side has ended, when its token is no longer good, or when the sidecar stops. It looks at frames only to end between two
//! of them, with a word of why.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};

use super::Drain;
use super::flight::Flight;
use super::streams::Held;
use super::tenure::{Ending, Lapse};
use crate::proxy::{AppEnd, CloseCode, Frames, Progress, close};

/// Two for each WebSocket, of which there may be a thousand.
const BUFFER: usize = 8 * 1024;
/// For the other side to end as well, after one has.
const CLOSING: Duration = Duration::from_secs(10);
/// For a side to take our farewell, and to say its own.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a Close frame says where the sidecar, or the app that it stops with, goes.
const GOING_AWAY: &str = "going away";

/// A WebSocket that both sides have agreed to.
pub(crate) struct Tunnel {
    pub(super) caller: OnUpgrade,
    pub(super) app: AppEnd,
    pub(super) lapse: Lapse,
    pub(super) drain: Drain,
    /// Keeps the caller's HTTP/2 connection.
    pub(super) held: Option<Arc<Held>>,
}

/// One direction of a tunnel. What is read is noted at once, and so is what is written: wherever it is stopped, it can be
/// gone on with.
struct Way {
    from: ReadHalf<TokioIo<Upgraded>>,
    to: WriteHalf<TokioIo<Upgraded>>,
    to_app: bool,
    buffer: Vec<u8>,
    /// What of it was read and is yet to be written.
    left: Range<usize>,
    /// What has been written.
    sent: Frames,
}

/// What became of a tunnel.
enum End {
    /// Both sides have ended, or one broke.
    Ended(io::Result<()>),
    /// It must not go on.
    Lapsed(Ending),
    Idle,
}

impl Tunnel {
    /// Runs to the end; the record with it.
    pub(super) async fn run(self, mut flight: Flight) {
        let Self { caller, app, lapse, drain, held: _held } = self;
        let AppEnd { upgrade, lease: _lease, patience } = app;
        let (sent, received) = (Arc::new(Progress::new()), Arc::new(Progress::new()));
        flight.carries(&sent, &received);
        let (caller, app) = match tokio::try_join!(caller, upgrade) {
            Ok((caller, app)) => (split(TokioIo::new(caller)), split(TokioIo::new(app))),
            Err(error) => return tracing::debug!(%error, "a WebSocket never began"),
        };
        let mut up = Way::new(caller.0, app.1, true);
        let mut down = Way::new(app.0, caller.1, false);
        let end = tokio::select! {
            ended = carry(up.run(&sent, &drain), down.run(&received, &drain)) => End::Ended(ended),
            ending = lapse => End::Lapsed(ending),
            () = silence(patience, &sent, &received) => End::Idle,
        };
        match end {
            End::Ended(Ok(())) => flight.finished(),
            // After both have said that this is the end, how the connection ends says nothing.
            End::Ended(Err(_)) if up.sent.is_closed() && down.sent.is_closed() => flight.finished(),
            End::Ended(Err(error)) => {
                tracing::debug!(%error, "a WebSocket broke");
                if drain.has_begun() {
                    part(&mut up, &mut down, CloseCode::GoingAway, GOING_AWAY).await;
                }
            }
            End::Lapsed(ending) => {
                flight.cut(ending);
                match ending {
                    Ending::For(reason) => {
                        part(&mut up, &mut down, CloseCode::PolicyViolation, reason.as_str()).await;
                    }
                    Ending::Drain => part(&mut up, &mut down, CloseCode::GoingAway, GOING_AWAY).await,
                }
                flight.finished();
            }
            End::Idle => part(&mut up, &mut down, CloseCode::GoingAway, "idle").await,
        }
    }
}

impl Way {
    fn new(from: ReadHalf<TokioIo<Upgraded>>, to: WriteHalf<TokioIo<Upgraded>>, to_app: bool) -> Self {
        Self { from, to, to_app, buffer: vec![0; BUFFER], left: 0..0, sent: Frames::default() }
    }

    /// Until nothing more comes.
    async fn run(&mut self, progress: &Progress, drain: &Drain) -> io::Result<()> {
        while self.read().await? {
            progress.moved(self.left.len());
            while !self.left.is_empty() {
                self.write(usize::MAX).await?;
            }
            self.to.flush().await?;
        }
        // An app that is stopped and does not say so: its callers hear from us that they should go elsewhere.
        if drain.has_begun() && !self.to_app {
            self.close(CloseCode::GoingAway, GOING_AWAY).await?;
        }
        self.to.shutdown().await
    }

    /// Whether something came.
    async fn read(&mut self) -> io::Result<bool> {
        let read = self.from.read(&mut self.buffer).await?;
        self.left = 0..read;
        Ok(read > 0)
    }

    /// Passes on so many bytes at most of what was read.
    async fn write(&mut self, most: usize) -> io::Result<()> {
        let left = self.buffer.get(self.left.clone()).unwrap_or_default();
        let written = self.to.write(left.get(..most).unwrap_or(left)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent.advance(left.get(..written).unwrap_or_default());
        self.left.start += written;
        Ok(())
    }

    /// Passes on the rest of a frame that is half sent, and nothing beyond it.
    async fn finish_frame(&mut self) -> io::Result<()> {
        while !self.sent.takes_more() && !self.sent.is_closed() {
            if self.left.is_empty() && !self.read().await? {
                break;
            }
            self.write(self.sent.missing()).await?;
        }
        Ok(())
    }

    /// Says that this is the end, where a frame may follow.
    async fn close(&mut self, code: CloseCode, why: &str) -> io::Result<()> {
        if self.sent.takes_more() {
            let frame = close(code, why, self.to_app);
            self.to.write_all(&frame).await?;
            self.sent.advance(&frame);
        }
        Ok(())
    }

    async fn end(&mut self, code: CloseCode, why: &str) -> io::Result<()> {
        // What the policy no longer allows ends where it is.
        if code == CloseCode::GoingAway {
            self.finish_frame().await?;
        }
        self.close(code, why).await?;
        self.to.shutdown().await
    }
}

/// Both directions, until both have ended.
async fn carry(up: impl Future<Output = io::Result<()>>, down: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    let other = tokio::select! {
        ended = up.as_mut() => {
            ended?;
            timeout(CLOSING, down).await
        }
        ended = down.as_mut() => {
            ended?;
            timeout(CLOSING, up).await
        }
    };
    other.unwrap_or(Ok(()))
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

/// Says to both sides that this is the end, and waits a moment for the caller's own end, as what is under way is lost when
/// a connection is closed with something unread.
async fn part(up: &mut Way, down: &mut Way, code: CloseCode, why: &str) {
    let farewell = async {
        // Together: who takes nothing must not keep the other from hearing it.
        let _ = tokio::join!(up.end(code, why), down.end(code, why));
        while up.read().await.is_ok_and(|came| came) {}
    };
    // Who does not take it in time is cut off.
    let _ = timeout(FAREWELL, farewell).await;
}
