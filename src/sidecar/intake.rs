//! A request's body as its caller sends it, with word to whoever keeps the caller's seat of when we wait for more of it. It
//! decides nothing, and changes nothing.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A request's body.
#[derive(Debug)]
pub(crate) struct Intake {
    body: Incoming,
    watch: Option<Arc<dyn Watch>>,
    waits: bool,
    /// Bytes since it last waited.
    came: usize,
}

/// Who wants to know whether a body waits for its caller.
pub(crate) trait Watch: Debug + Send + Sync {
    /// More is wanted than has come; `came` = bytes since this was last said.
    fn waits(&self, came: usize);

    /// More has come, or nothing is wanted any more.
    fn goes_on(&self);
}

impl Intake {
    /// No `watch` where nobody wants to know.
    pub(crate) fn new(body: Incoming, watch: Option<Arc<dyn Watch>>) -> Self {
        Self { body, watch, waits: false, came: 0 }
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, watch, waits, came } = self.get_mut();
        let polled = Pin::new(body).poll_frame(cx);
        let Some(watch) = watch else { return polled };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            *came += frame.data_ref().map_or(0, Bytes::len);
        }
        match (polled.is_pending(), std::mem::replace(waits, polled.is_pending())) {
            (true, false) => watch.waits(std::mem::take(came)),
            (false, true) => watch.goes_on(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.as_ref().filter(|_| self.waits) {
            watch.goes_on();
        }
    }
}
