//! Watches over the streams of an HTTP/2 connection, which TCP cannot tell apart: a caller that takes back what it asks
//! for (rapid reset, CVE-2023-44487), a stream whose answer nobody reads, a connection that nobody uses. It decides when
//! such a stream or connection ends, and sees nothing of requests and answers but that they are under way.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::crowd::UnderWay;

/// A request that is taken back before its answer and sooner than this is one that was hardly meant. Whoever gives up on
/// a slow app waits longer, and so does a gateway on its callers' behalf.
const RAPID: Duration = Duration::from_secs(1);
/// How many of those each other request makes up for. A search that follows every letter takes back three of four, a
/// hedging client two of three, a flood all.
const MADE_UP_FOR: u64 = 4;
/// How many may remain that nothing makes up for: twice all that may be under way.
const MAX_TAKEN_BACK: u64 = 200;
/// Requests that may still come after the connection was asked to end: twice what a gateway may have on the way.
const MAX_LATE: u64 = 200;

/// Bytes of an answer that may wait in hyper for a caller that makes no room for them. hyper takes a piece when there is
/// room for one byte of it, and forgets the stream when that was the last; so the last byte of a longer one is kept back,
/// and hyper asks for it when there was room for all before it.
const UNWATCHED: usize = 1024;

tokio::task_local! {
    /// The piece of an answer, by its number, that this stream's task holds because the caller has no room for it, and for
    /// how long it does.
    static HELD: Cell<Option<(u64, Duration)>>;
}

/// What is under way on a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    under_way: AtomicUsize,
    begun: AtomicU64,
    /// Those taken back rapidly, less those that others make up for.
    taken_back: AtomicU64,
    takes_no_more: AtomicBool,
    late: AtomicU64,
    /// Something has begun or ended since somebody looked.
    changed: Notify,
    first: CancellationToken,
    flooded: CancellationToken,
    defied: CancellationToken,
}

/// A request under way; ends when dropped.
pub(super) struct Ticket {
    streams: Arc<Streams>,
    begun: Instant,
    is_answered: bool,
}

/// Something under way that is no request any more: a tunnel. Keeps the connection's seat, and on HTTP/2 the connection.
pub(super) struct Held {
    streams: Option<Arc<Streams>>,
    _under_way: UnderWay,
}

/// An answer's body on HTTP/2.
pub(super) struct Paced<B> {
    /// None where there is nothing to send: to HEAD, which hyper knows only in HTTP/1.
    body: Option<B>,
    /// Kept so that the body's own end sees what became of it.
    _unsent: Option<B>,
    /// The end of the piece before, apart.
    rest: Option<Bytes>,
    pieces: u64,
    /// For each piece to be read.
    patience: Duration,
    _ticket: Ticket,
}

/// Runs streams, each until its answer has not moved for too long.
#[derive(Debug, Clone)]
pub(super) struct Spawner;

impl Streams {
    /// A request has come; none where it came too late.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Ticket> {
        if self.takes_no_more.load(Ordering::Relaxed) {
            if self.late.fetch_add(1, Ordering::Relaxed) >= MAX_LATE {
                self.defied.cancel();
            }
            return None;
        }
        if self.begun.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.cancel();
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Some(Ticket { streams: Arc::clone(self), begun: Instant::now(), is_answered: false })
    }

    /// From now on every request is late.
    pub(super) fn take_no_more(&self) {
        self.takes_no_more.store(true, Ordering::Relaxed);
    }

    fn end_one(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until a request has come.
    pub(super) async fn first(&self) {
        self.first.cancelled().await;
    }

    /// Waits until too many requests were taken back; no more are taken then.
    pub(super) async fn flooded(&self) {
        self.flooded.cancelled().await;
    }

    /// Waits until too many requests were late.
    pub(super) async fn defied(&self) {
        self.defied.cancelled().await;
    }

    /// A request has come to something, or was given up in its time.
    fn makes_up(&self) {
        let less = |taken_back: u64| (taken_back > 0).then(|| taken_back.saturating_sub(MADE_UP_FOR));
        let _ = self.taken_back.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn was_taken_back(&self) {
        if self.taken_back.fetch_add(1, Ordering::Relaxed) >= MAX_TAKEN_BACK {
            self.take_no_more();
            self.flooded.cancel();
        }
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
    /// Where requests were taken back lately, one that has been already ends here, before anything is done for it: what
    /// has to wait is looked at for that.
    pub(super) async fn is_still_wanted(&self) {
        if self.streams.taken_back.load(Ordering::Relaxed) > 0 {
            yield_now().await;
        }
    }

    /// The head of the answer is known; it ends once nobody has read of it for so long.
    pub(super) fn answer<B>(mut self, to: &Method, response: Response<B>, unread: Duration) -> Response<Paced<B>> {
        self.is_answered = true;
        self.streams.makes_up();
        response.map(|body| {
            let (body, unsent) = if *to == Method::HEAD { (None, Some(body)) } else { (Some(body), None) };
            Paced { body, _unsent: unsent, rest: None, pieces: 0, patience: unread, _ticket: self }
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            if self.begun.elapsed() < RAPID {
                self.streams.was_taken_back();
            } else {
                self.streams.makes_up();
            }
        }
        self.streams.end_one();
    }
}

impl Held {
    /// `streams` = those of its HTTP/2 connection, which counts as used until this ends.
    pub(super) fn new(streams: Option<&Arc<Streams>>, under_way: UnderWay) -> Self {
        if let Some(streams) = streams {
            streams.under_way.fetch_add(1, Ordering::Relaxed);
        }
        Self { streams: streams.cloned(), _under_way: under_way }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(streams) = &self.streams {
            streams.end_one();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, rest, pieces, patience, .. } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let mut polled = match rest.take() {
            Some(rest) => Poll::Ready(Some(Ok(Frame::data(rest)))),
            None => Pin::new(body).poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(data) = frame.data_mut()
            && data.len() > UNWATCHED
        {
            *rest = Some(data.split_off(data.len() - 1));
        }
        // hyper asks for the next piece only when the caller had room for this one.
        *pieces += 1;
        let held = matches!(polled, Poll::Ready(Some(Ok(_)))).then_some((*pieces, *patience));
        // Outside a stream's task nobody waits.
        let _ = HELD.try_with(|piece| piece.set(held));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let rest = self.rest.as_ref().map_or(0, |rest| rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        tokio::spawn(HELD.scope(Cell::new(None), while_read(Box::pin(stream))));
    }
}

/// Drops a stream, which resets it, once it has held one piece of its answer for too long.
async fn while_read(mut stream: Pin<Box<impl Future<Output = ()>>>) {
    let mut until: Option<(u64, Pin<Box<Sleep>>)> = None;
    std::future::poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some((piece, patience)) = HELD.with(Cell::get) else {
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn is_flooded(streams: &Streams) -> bool {
        streams.flooded().now_or_never().is_some()
    }

    fn begin(streams: &Arc<Streams>) -> Ticket {
        streams.begin().expect("requests are taken")
    }

    fn answer(streams: &Arc<Streams>) {
        let answer = Response::new(http_body_util::Empty::<Bytes>::new());
        drop(begin(streams).answer(&Method::GET, answer, Duration::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_lets_one_of_five_be_answered_takes_back_as_many_as_it_likes() {
        let streams = Arc::new(Streams::default());
        for _ in 0..1_000 {
            answer(&streams);
            (0..MADE_UP_FOR).for_each(|_| drop(begin(&streams)));
        }
        assert!(!is_flooded(&streams));
        // An app that hangs: all of a gateway's callers give up, again and again.
        for _ in 0..20 {
            let waiting: Vec<_> = (0..100).map(|_| begin(&streams)).collect();
            advance(RAPID).await;
            drop(waiting);
        }
        assert!(!is_flooded(&streams));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_back_nearly_all_at_once_floods_and_what_was_answered_before_is_no_credit() {
        let streams = Arc::new(Streams::default());
        (0..10_000).for_each(|_| answer(&streams));
        let waiting = begin(&streams);
        for nth in 0..=MAX_TAKEN_BACK {
            assert!(!is_flooded(&streams), "{nth}");
            drop(begin(&streams));
        }
        assert!(is_flooded(&streams));
        assert_eq!(streams.under_way.load(Ordering::Relaxed), 1);
        for nth in 0..=MAX_LATE {
            assert!(streams.defied().now_or_never().is_none(), "{nth}");
            assert!(streams.begin().is_none());
        }
        assert!(streams.defied().now_or_never().is_some());
        drop(waiting);
        assert_eq!(streams.under_way.load(Ordering::Relaxed), 0, "what is late is not under way");
    }
}
