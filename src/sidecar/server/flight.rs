//! One request's record from its head to the end of its answer: it feeds the metrics and the access log when it is
//! dropped, so no way out of a request goes uncounted. It decides nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::access_log::{AccessLog, Line};
use crate::identity::Identity;
use crate::metrics::{Place, ProxyMetrics};
use crate::proxy::{Download, Progress};
use crate::reason::Reason;

/// What watches requests.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) metrics: ProxyMetrics,
    pub(crate) log: Option<AccessLog>,
}

/// A request in progress.
pub(crate) struct Flight {
    observer: Arc<Observer>,
    started: Instant,
    method: Method,
    pub(crate) place: Place,
    pub(crate) reason: Option<Reason>,
    status: Option<StatusCode>,
    pub(crate) upload: Option<Arc<Progress>>,
    pub(crate) upstream: Option<Duration>,
    bytes_in: u64,
    bytes_out: u64,
    complete: bool,
    /// Only where the log is on.
    facts: Option<Box<Facts>>,
}

/// An answer's body together with the record of its request.
pub(crate) struct Answer {
    body: AnswerBody,
    flight: Flight,
}

/// Where an answer comes from.
pub(crate) enum AnswerBody {
    /// From us.
    Own(Full<Bytes>),
    /// From the app.
    App(Download),
}

struct Facts {
    uri: Uri,
    request_id: HeaderValue,
    identity: Option<Arc<Identity>>,
}

/// What nginx logs for a caller that left before the answer.
const CALLER_LEFT: u16 = 499;

impl Flight {
    pub(crate) fn new(observer: &Arc<Observer>, method: &Method, uri: &Uri, request_id: &HeaderValue) -> Self {
        observer.metrics.in_flight.inc();
        let facts = observer
            .log
            .is_some()
            .then(|| Box::new(Facts { uri: uri.clone(), request_id: request_id.clone(), identity: None }));
        Self {
            observer: Arc::clone(observer),
            started: Instant::now(),
            method: method.clone(),
            place: Place::None,
            reason: None,
            status: None,
            upload: None,
            upstream: None,
            bytes_in: 0,
            bytes_out: 0,
            complete: false,
            facts,
        }
    }

    pub(crate) fn identified(&mut self, identity: &Arc<Identity>) {
        if let Some(facts) = &mut self.facts {
            facts.identity = Some(Arc::clone(identity));
        }
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes_in = bytes as u64;
    }

    /// The answer's head is known; the body carries the record on.
    pub(crate) fn answered(mut self, status: StatusCode, body: AnswerBody) -> Answer {
        self.status = Some(status);
        Answer { body, flight: self }
    }

    fn log(&self, log: &AccessLog, facts: &Facts, took: Duration) {
        let status = self.status.map_or(CALLER_LEFT, |status| status.as_u16());
        log.write(&Line {
            ts: SystemTime::now(),
            method: self.method.as_str(),
            path: facts.uri.path(),
            status,
            reason: self.reason.map(Reason::as_str),
            route: self.observer.metrics.name(self.place),
            issuer: facts.identity.as_ref().map(|identity| &*identity.issuer),
            client_id: facts.identity.as_ref().and_then(|identity| identity.client_id()),
            duration_ms: millis(took),
            upstream_ms: self.upstream.map(millis),
            bytes_in: self.upload.as_ref().map_or(self.bytes_in, |upload| upload.bytes()),
            bytes_out: self.bytes_out,
            aborted: !self.complete,
            request_id: facts.request_id.to_str().unwrap_or_default(),
        });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let metrics = &self.observer.metrics;
        metrics.in_flight.dec();
        let status = self.status.or_else(|| StatusCode::from_u16(CALLER_LEFT).ok()).unwrap_or_default();
        metrics.observe(self.place, &self.method, status, self.reason, took);
        if let (Some(log), Some(facts)) = (&self.observer.log, &self.facts) {
            self.log(log, facts, took);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.body {
            // The error type of a whole body has no value.
            AnswerBody::Own(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(|never| match never {}))
            }
            AnswerBody::App(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        match &frame {
            Some(Ok(frame)) => self.flight.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => {}
            None => self.flight.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            AnswerBody::Own(body) => body.is_end_stream(),
            AnswerBody::App(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            AnswerBody::Own(body) => body.size_hint(),
            AnswerBody::App(body) => body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A body whose end is known is not polled for it, and to HEAD our own bodies are not sent at all.
        let unsent_by_rule = self.flight.method == Method::HEAD;
        self.flight.complete |= self.is_end_stream() || unsent_by_rule;
    }
}

fn millis(duration: Duration) -> f64 {
    // Microseconds fit an f64 for 285 years.
    duration.as_micros() as f64 / 1_000.0
}
