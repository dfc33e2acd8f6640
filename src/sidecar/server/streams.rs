//! Watches over the streams of an HTTP/2 connection, which TCP cannot tell apart: a caller that takes back what it asks
//! for (rapid reset), a stream whose answer nobody reads, a connection that nobody uses. It decides when such a stream
//! or connection ends, and sees nothing of requests and answers but that they are under way.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Requests that a caller may take back before they are answered, beside one for each that it let be answered. Browsers
/// and hedging clients take back some; whoever takes back most of them only wants us to work.
const MAX_TAKEN_BACK: u64 = 100;

tokio::task_local! {
    /// The piece of an answer, by its number, that this stream's task holds because the caller has no room for it.
    static HELD: Cell<Option<u64>>;
}

/// What is under way on a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    under_way: AtomicUsize,
    begun: AtomicU64,
    answered: AtomicU64,
    taken_back: AtomicU64,
    /// Something has begun or ended since somebody looked.
    changed: Notify,
    first: CancellationToken,
    flooded: CancellationToken,
}

/// A request under way; ends when dropped.
pub(super) struct Ticket {
    streams: Arc<Streams>,
    is_answered: bool,
}

/// Something under way that is no request any more: a tunnel.
pub(super) struct Held(Arc<Streams>);

/// An answer's body on HTTP/2.
pub(super) struct Paced<B> {
    /// None where there is nothing to send: to HEAD, which hyper knows only in HTTP/1.
    body: Option<B>,
    /// Kept so that the body's own end sees what became of it.
    _unsent: Option<B>,
    pieces: u64,
    _ticket: Ticket,
}

/// Runs streams, each until its answer has not moved for so long.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    unread: Duration,
}

impl Streams {
    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Ticket {
        if self.begun.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.cancel();
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Ticket { streams: Arc::clone(self), is_answered: false }
    }

    /// Something may outlive its request; the connection counts as used until that ends.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(self))
    }

    fn end_one(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until a request has come.
    pub(super) async fn first(&self) {
        self.first.cancelled().await;
    }

    /// Waits until too many requests were taken back.
    pub(super) async fn flooded(&self) {
        self.flooded.cancelled().await;
    }

    /// Waits until nothing has been under way for so long.
    pub(super) async fn idle(&self, patience: Duration) {
        let mut since = Instant::now();
        loop {
            tokio::select! {
                () = self.changed.notified() => since = Instant::now(),
                () = sleep_until(since + patience) => {
                    if self.under_way.load(Ordering::Relaxed) == 0 {
                        return;
                    }
                    // The end of what is under way starts the clock again.
                    self.changed.notified().await;
                    since = Instant::now();
                }
            }
        }
    }
}

impl Ticket {
    /// The head of the answer is known.
    pub(super) fn answer<B>(mut self, to: &Method, response: Response<B>) -> Response<Paced<B>> {
        self.is_answered = true;
        self.streams.answered.fetch_add(1, Ordering::Relaxed);
        response.map(|body| {
            let (body, unsent) = if *to == Method::HEAD { (None, Some(body)) } else { (Some(body), None) };
            Paced { body, _unsent: unsent, pieces: 0, _ticket: self }
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let streams = &self.streams;
        if !self.is_answered {
            let taken_back = streams.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
            if taken_back > MAX_TAKEN_BACK + streams.answered.load(Ordering::Relaxed) {
                streams.flooded.cancel();
            }
        }
        streams.end_one();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.end_one();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        // hyper asks for the next piece only when the caller had room for this one.
        self.pieces += 1;
        let held = matches!(polled, Poll::Ready(Some(Ok(_)))).then_some(self.pieces);
        // Outside a stream's task nobody waits.
        let _ = HELD.try_with(|piece| piece.set(held));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Spawner {
    pub(super) fn new(unread: Duration) -> Self {
        Self { unread }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        tokio::spawn(HELD.scope(Cell::new(None), while_read(stream, self.unread)));
    }
}

/// Drops a stream, which resets it, once it has held one piece of its answer for so long.
async fn while_read(stream: impl Future<Output = ()>, patience: Duration) {
    let mut stream = std::pin::pin!(stream);
    let mut until: Option<(u64, Pin<Box<Sleep>>)> = None;
    std::future::poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(piece) = HELD.with(Cell::get) else {
            until = None;
            return Poll::Pending;
        };
        match &mut until {
            Some((held, sleep)) if *held == piece => sleep.as_mut().poll(cx),
            _ => until.insert((piece, Box::pin(sleep(patience)))).1.as_mut().poll(cx),
        }
    })
    .await;
}
