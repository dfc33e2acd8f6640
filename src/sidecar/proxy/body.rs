//! Bodies on their way through: passed on frame by frame, never collected, so that the slower side sets the pace and
//! memory stays constant. It counts bytes, cleans trailers and notes progress; of the request it decides
//! only when it is too long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::headers::{self, HeaderRules};
use super::pool::Lease;
use crate::intake::Intake;

/// For the rest of a request whose answer is complete, such as a refusal that came early. Until then it counts as one at
/// the app; then it is ended.
const SETTLE: Duration = Duration::from_secs(5);
/// For an upload that was ended to be let go of, which takes no time where the app reads.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// A request's body towards the app.
#[derive(Debug)]
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// As it comes from the caller.
    Streaming(Box<Streaming>),
}

/// Apart, so that a request without a body stays small.
#[derive(Debug)]
pub(crate) struct Streaming {
    body: Intake,
    progress: Arc<Progress>,
    rules: UploadRules,
}

/// What a policy says of requests' bodies.
#[derive(Debug, Clone)]
pub(crate) struct UploadRules {
    /// In bytes.
    pub(crate) longest: u64,
    /// For what stands at the end.
    pub(crate) headers: HeaderRules,
}

/// Why a request's body breaks off. The app must not take what came of it for the whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the caller's request broke off")]
    Caller(#[from] hyper::Error),
    #[error("the request's body is longer than the policy allows")]
    TooLong,
    #[error("the answer ended before the request")]
    Pointless(#[source] h2::Error),
}

/// How far an upload has come; shared with whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    /// Milliseconds from `started` to the last frame that came from the caller or was asked for by the app.
    last: AtomicU64,
    waits_for_caller: AtomicBool,
    over: AtomicBool,
    too_long: AtomicBool,
    /// Whoever passed it on has let go of it.
    gone: AtomicBool,
    /// Nobody reads the answer any more.
    pointless: AtomicBool,
    /// Of whoever waits for more from the caller.
    waker: AtomicWaker,
    /// Of whoever waits for the end.
    end_waker: AtomicWaker,
    bytes: AtomicU64,
}

/// An answer's body from the app.
#[derive(Debug)]
pub(crate) struct Download {
    body: Incoming,
    /// Goes back to its pool at the end of the body.
    lease: Option<Lease>,
    idle: Idle,
}

/// Why an answer's body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the app's answer broke off")]
    App(#[from] hyper::Error),
    #[error("neither the caller nor the app sent anything for too long")]
    Idle,
    #[error("the answer was ended in its middle")]
    Ended(#[source] h2::Error),
}

impl BodyError {
    /// We end it. HTTP/2 says CANCEL, as INTERNAL_ERROR would be somebody's fault.
    pub(crate) fn ended() -> Self {
        Self::Ended(h2::Reason::CANCEL.into())
    }
}

/// Runs while nothing moves.
#[derive(Debug)]
struct Idle {
    patience: Duration,
    /// A request that is still being sent keeps its answer waiting.
    upload: Option<Arc<Progress>>,
    /// Made for the first body that keeps us waiting: most never do.
    clock: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Upload {
    /// Takes over a caller's body; the progress is there when there is a body.
    pub(crate) fn new(body: Intake, rules: &UploadRules) -> (Self, Option<Arc<Progress>>) {
        if body.is_end_stream() {
            return (Self::Empty, None);
        }
        let progress = Arc::new(Progress::new());
        let streaming = Streaming { body, progress: Arc::clone(&progress), rules: rules.clone() };
        (Self::Streaming(Box::new(streaming)), Some(progress))
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            last: AtomicU64::new(0),
            waits_for_caller: AtomicBool::new(false),
            over: AtomicBool::new(false),
            too_long: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            pointless: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            end_waker: AtomicWaker::new(),
            bytes: AtomicU64::new(0),
        }
    }

    /// When the upload last moved, or ended.
    pub(crate) fn last(&self) -> Instant {
        self.started + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// The app wants more and the caller has not sent it.
    pub(crate) fn waits_for_caller(&self) -> bool {
        self.waits_for_caller.load(Ordering::Relaxed)
    }

    /// Everything has come.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The app gets no more of it.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_over() || self.gone.load(Ordering::Acquire)
    }

    /// Waits until the app gets no more of it; one may wait at a time.
    async fn ended(&self) {
        poll_fn(|cx| {
            self.end_waker.register(cx.waker());
            if self.has_ended() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// More came than the policy allows.
    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long.load(Ordering::Relaxed)
    }

    /// Ends the upload where it is. Over HTTP/2 it would otherwise go on for as long as the caller likes: the two directions
    /// of a stream end apart (RFC 9113 section 8.1).
    pub(crate) fn end(&self) {
        self.pointless.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Bytes from the caller so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes have come.
    pub(crate) fn moved(&self, bytes: usize) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Self::Streaming(streaming) = self.get_mut() else { return Poll::Ready(None) };
        let Streaming { body, progress, rules } = &mut **streaming;
        progress.waker.register(cx.waker());
        if progress.pointless.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(UploadError::Pointless(h2::Reason::CANCEL.into()))));
        }
        let polled = Pin::new(&mut *body).poll_frame(cx);
        progress.waits_for_caller.store(polled.is_pending(), Ordering::Relaxed);
        let frame = ready!(polled);
        let bytes =
            frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref).map_or(0, Bytes::len);
        progress.moved(bytes);
        if progress.bytes() > rules.longest {
            progress.too_long.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(UploadError::TooLong)));
        }
        if frame.is_none() || body.is_end_stream() {
            progress.over.store(true, Ordering::Relaxed);
            progress.end_waker.wake();
        }
        let cleaned = |frame| clean_trailers(frame, Some(&rules.headers));
        Poll::Ready(frame.map(|frame| frame.map(cleaned).map_err(UploadError::Caller)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(streaming) => streaming.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(streaming) => streaming.body.size_hint(),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.progress.gone.store(true, Ordering::Release);
        self.progress.end_waker.wake();
    }
}

impl Idle {
    fn moved(&mut self) {
        self.is_running = false;
    }

    /// Whether the time is over, with nothing to read.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { patience, upload, clock, is_running } = self;
        let clock = clock.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + *patience)));
        if !std::mem::replace(is_running, true) {
            clock.as_mut().reset(Instant::now() + *patience);
        }
        loop {
            ready!(clock.as_mut().poll(cx));
            match upload.as_ref().map(|upload| upload.last() + *patience) {
                Some(later) if later > Instant::now() => clock.as_mut().reset(later),
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl Download {
    /// `upload` is the request's body, whose moving counts as well.
    pub(crate) fn new(body: Incoming, lease: Option<Lease>, patience: Duration, upload: Option<Arc<Progress>>) -> Self {
        Self { body, lease, idle: Idle { patience, upload, clock: None, is_running: false } }
    }

    /// The answer has arrived in full.
    fn release(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        match self.idle.upload.take().filter(|upload| !upload.has_ended()) {
            None => lease.release(),
            Some(upload) => drop(tokio::spawn(settle(upload, lease))),
        }
    }

    /// The rest of the answer is nobody's any more, and with it the rest of the request.
    fn give_up(&mut self) {
        let Some(upload) = self.idle.upload.take().filter(|upload| !upload.has_ended()) else { return };
        upload.end();
        if let Some(lease) = self.lease.take() {
            tokio::spawn(cut(upload, lease));
        }
    }
}

/// Waits for the rest of a request that has its answer.
async fn settle(upload: Arc<Progress>, lease: Lease) {
    if timeout(SETTLE, upload.ended()).await.is_ok() {
        return lease.release();
    }
    upload.end();
    cut(upload, lease).await;
}

/// Ends the way to the app where an upload does not end that was told to: the app takes nothing, so nobody looks.
async fn cut(upload: Arc<Progress>, lease: Lease) {
    if timeout(LAST_LOOK, upload.ended()).await.is_err() {
        lease.cut();
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.idle.poll(cx));
            return Poll::Ready(Some(Err(BodyError::Idle)));
        };
        self.idle.moved();
        if frame.is_none() || self.body.is_end_stream() {
            self.release();
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| clean_trailers(frame, None)).map_err(BodyError::App)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    /// A body without a byte is never asked for; one that is given up takes the rest of its request with it.
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        } else {
            self.give_up();
        }
    }
}

fn clean_trailers(frame: Frame<Bytes>, rules: Option<&HeaderRules>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            headers::for_trailers(&mut trailers, rules);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}
