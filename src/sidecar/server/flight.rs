//! One request's record from its head to the end of its answer: it feeds the metrics and the access log when it is
//! dropped, so no way out of a request goes uncounted. It decides nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio_util::task::TaskTracker;

use super::crowd::UnderWay;
use super::lasting::Lasting;
use super::tenure::Ending;
use super::tunnel::Tunnel;
use crate::access_log::{AccessLog, CALLER_LEFT, Line, shortened};
use crate::grpc;
use crate::identity::Identity;
use crate::metrics::{Observed, Place, Protocol, ProxyMetrics};
use crate::proxy::{BodyError, Download, Progress};
use crate::reason::Reason;
use crate::rescue::Form;
use crate::trace::{Record, Step, Trace, Tracer};

/// What watches requests.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) metrics: ProxyMetrics,
    pub(crate) log: Option<AccessLog>,
    pub(crate) tracer: Option<Tracer>,
}

/// A request in progress.
pub(crate) struct Flight {
    observer: Arc<Observer>,
    started: Instant,
    method: Method,
    version: Version,
    form: Form,
    pub(crate) place: Place,
    pub(crate) reason: Option<Reason>,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    /// Why a stream was ended that had begun rightly.
    cut: Option<Reason>,
    /// It was ended because the sidecar stops.
    drained: bool,
    /// The caller's token was accepted.
    is_admitted: bool,
    pub(crate) upload: Option<Arc<Progress>>,
    /// Of a tunnel.
    download: Option<Arc<Progress>>,
    bytes_in: u64,
    bytes_out: u64,
    complete: bool,
    /// Keeps the connection's seat; none once nothing is under way that keeps it.
    under_way: Option<UnderWay>,
    /// Only where log or traces are on.
    facts: Option<Box<Facts>>,
}

/// An answer's body together with the record of its request.
pub(crate) struct Answer {
    body: AnswerBody,
    /// None where a tunnel has it.
    flight: Option<Flight>,
}

/// Where an answer comes from.
pub(crate) enum AnswerBody {
    /// From us.
    Own(Full<Bytes>),
    /// From the app.
    App(Download),
    /// From the app, and it may have to end before its end.
    Lasting(Box<Lasting>),
    /// None: a tunnel follows.
    Tunnel(Box<Tunnel>),
}

struct Facts {
    /// As much of it as is told.
    path: Box<str>,
    request_id: HeaderValue,
    identity: Option<Arc<Identity>>,
    trace: Option<Trace>,
    judged: Option<Phase>,
    called: Option<Phase>,
}

/// A part of the request's time; it has no end where the caller left meanwhile.
#[derive(Clone, Copy)]
struct Phase {
    began: Instant,
    took: Option<Duration>,
}

impl Flight {
    pub(crate) fn new(
        observer: &Arc<Observer>,
        parts: &Parts,
        request_id: &HeaderValue,
        form: Form,
        under_way: UnderWay,
        from_trusted: impl FnOnce() -> bool,
    ) -> Self {
        observer.metrics.in_flight.inc();
        let facts = (observer.log.is_some() || observer.tracer.is_some()).then(|| {
            let trace = match &observer.tracer {
                Some(tracer) => Some(tracer.begin(&parts.headers, from_trusted())),
                None => Trace::untouched(&parts.headers),
            };
            // A copy: an answer that nobody reads is not to hold a long target.
            let (path, request_id) = (shortened(parts.uri.path()).into(), request_id.clone());
            Box::new(Facts { path, request_id, identity: None, trace, judged: None, called: None })
        });
        Self {
            observer: Arc::clone(observer),
            started: Instant::now(),
            method: parts.method.clone(),
            version: parts.version,
            form,
            place: Place::None,
            reason: None,
            status: None,
            grpc_status: None,
            cut: None,
            drained: false,
            is_admitted: false,
            upload: None,
            download: None,
            bytes_in: 0,
            bytes_out: 0,
            complete: false,
            under_way: Some(under_way),
            facts,
        }
    }

    /// Its token is about to be judged.
    pub(crate) fn judging(&mut self) {
        self.note(|facts| facts.judged = Some(Phase::begin()));
    }

    /// Its token has been judged.
    pub(crate) fn judged(&mut self) {
        self.note(|facts| facts.judged.iter_mut().for_each(Phase::end));
    }

    /// Its token was accepted, whatever else is missing.
    pub(crate) fn identified(&mut self, identity: &Arc<Identity>) {
        self.admit();
        self.note(|facts| facts.identity = Some(Arc::clone(identity)));
    }

    fn admit(&mut self) {
        self.is_admitted = true;
        self.under_way.iter().for_each(UnderWay::admit);
    }

    /// It is about to be sent to the app, which is told its place in the trace.
    pub(crate) fn calling(&mut self, headers: &mut HeaderMap) {
        self.note(|facts| {
            facts.called = Some(Phase::begin());
            if let Some(trace) = &facts.trace {
                trace.tell(headers);
            }
        });
    }

    /// The app's answer has begun, or there will be none.
    pub(crate) fn called(&mut self) {
        self.note(|facts| facts.called.iter_mut().for_each(Phase::end));
    }

    fn note(&mut self, fact: impl FnOnce(&mut Facts)) {
        if let Some(facts) = &mut self.facts {
            fact(facts);
        }
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes_in = bytes as u64;
    }

    /// A tunnel's bytes, from and to the caller.
    pub(super) fn carries(&mut self, up: &Arc<Progress>, down: &Arc<Progress>) {
        self.upload = Some(Arc::clone(up));
        self.download = Some(Arc::clone(down));
        self.observer.metrics.tunnels.inc();
    }

    /// What had begun rightly is ended by us.
    pub(super) fn cut(&mut self, ending: Ending) {
        match ending {
            Ending::For(reason) => {
                self.cut = Some(reason);
                self.observer.metrics.streams_cut.inc();
            }
            Ending::Drain => self.drained = true,
        }
    }

    /// Not everything was sent that was to be sent.
    fn is_aborted(&self) -> bool {
        !self.complete || self.drained
    }

    /// Everything was sent that was to be sent.
    pub(super) fn finished(&mut self) {
        self.complete = true;
    }

    /// The answer's head is known; the body carries the record on, or the tunnel, which begins in `tunnels`.
    pub(crate) fn answered(mut self, response: Response<AnswerBody>, tunnels: &TaskTracker) -> Response<Answer> {
        self.status = Some(response.status());
        if self.form == Form::Grpc {
            self.grpc_status = grpc::status(response.headers());
        }
        // Whoever was given a token is as well known as who shows one.
        if self.place == Place::Token && response.status().is_success() {
            self.admit();
        }
        // What we say ourselves to a stranger keeps no seat: it may never be read.
        if matches!(response.body(), AnswerBody::Own(_)) && !self.is_admitted {
            self.under_way = None;
        }
        self.under_way.iter().for_each(UnderWay::is_answered);
        response.map(|body| {
            let (body, flight) = match body {
                AnswerBody::Tunnel(tunnel) => {
                    tunnels.spawn(tunnel.run(self));
                    (AnswerBody::Own(Full::default()), None)
                }
                body => (body, Some(self)),
            };
            Answer { body, flight }
        })
    }

    fn sent(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes_out += data.len() as u64;
        } else if let (Form::Grpc, Some(trailers)) = (self.form, frame.trailers_ref()) {
            self.grpc_status = grpc::status(trailers);
        }
    }

    fn log(&self, log: &AccessLog, facts: &Facts, took: Duration) {
        let status = self.status.map_or(CALLER_LEFT, |status| status.as_u16());
        log.write(&Line {
            timestamp: SystemTime::now(),
            protocol: Protocol::of(self.version),
            method: self.method.as_str(),
            path: &facts.path,
            status,
            upgrade: self.download.is_some().then_some("websocket"),
            grpc_status: self.grpc_status,
            reason: self.reason.or(self.cut).map(Reason::as_str),
            route: self.observer.metrics.name(self.place),
            issuer: facts.identity.as_ref().map(|identity| &*identity.issuer),
            client_id: facts.identity.as_ref().and_then(|identity| identity.client_id()),
            unasked: facts.identity.as_ref().is_some_and(|identity| identity.unasked),
            duration_ms: millis(took),
            upstream_ms: facts.called.and_then(|phase| phase.took).map(millis),
            bytes_in: self.upload.as_ref().map_or(self.bytes_in, |upload| upload.bytes()),
            bytes_out: self.download.as_ref().map_or(self.bytes_out, |download| download.bytes()),
            aborted: self.is_aborted(),
            request_id: facts.request_id.to_str().unwrap_or_default(),
            trace_id: facts.trace.map(|trace| trace.id),
        });
    }

    /// What its spans are made of.
    fn record(&self, facts: &mut Facts, trace: Trace, took: Duration) -> Record {
        let step = |phase: Phase| Step {
            after: phase.began.duration_since(self.started),
            took: phase.took.unwrap_or_else(|| phase.began.elapsed()),
        };
        Record {
            trace,
            began: SystemTime::now() - took,
            took,
            method: self.method.clone(),
            path: facts.path.clone(),
            version: self.version,
            place: self.place,
            status: self.status,
            grpc_status: self.grpc_status,
            reason: self.reason.or(self.cut),
            aborted: self.is_aborted(),
            identity: facts.identity.take(),
            request_id: facts.request_id.to_str().unwrap_or_default().into(),
            judged: facts.judged.map(step),
            called: facts.called.map(step),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let metrics = &self.observer.metrics;
        metrics.in_flight.dec();
        if self.download.is_some() {
            metrics.tunnels.dec();
        }
        let status = self.status.or_else(|| StatusCode::from_u16(CALLER_LEFT).ok()).unwrap_or_default();
        let mut facts = self.facts.take();
        let trace = facts.as_ref().and_then(|facts| facts.trace).filter(|trace| trace.sampled);
        metrics.observe(Observed {
            place: self.place,
            method: &self.method,
            protocol: Protocol::of(self.version),
            status,
            reason: self.reason,
            took,
            trace: trace.map(|trace| trace.id),
        });
        let Some(facts) = &mut facts else { return };
        if let Some(log) = &self.observer.log {
            self.log(log, facts, took);
        }
        if let (Some(tracer), Some(trace)) = (&self.observer.tracer, trace) {
            tracer.finish(self.record(facts, trace, took));
        }
    }
}

impl Phase {
    fn begin() -> Self {
        Self { began: Instant::now(), took: None }
    }

    fn end(&mut self) {
        self.took = Some(self.began.elapsed());
    }
}

impl Answer {
    /// Whether we say it ourselves.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.body, AnswerBody::Own(_))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, flight, .. } = self.get_mut();
        let frame = match body {
            // The error type of a whole body has no value.
            AnswerBody::Own(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(|never| match never {}))
            }
            AnswerBody::App(body) => ready!(Pin::new(body).poll_frame(cx)),
            AnswerBody::Lasting(body) => {
                let (before, frame) = (body.ended(), ready!(Pin::new(&mut *body).poll_frame(cx)));
                if let (None, Some(ending), Some(flight)) = (before, body.ended(), &mut *flight) {
                    flight.cut(ending);
                }
                frame
            }
            AnswerBody::Tunnel(_) => None,
        };
        if let Some(flight) = flight {
            match &frame {
                Some(Ok(frame)) => flight.sent(frame),
                Some(Err(_)) => {}
                None => flight.complete = true,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            AnswerBody::Own(body) => body.is_end_stream(),
            AnswerBody::App(body) => body.is_end_stream(),
            AnswerBody::Lasting(body) => body.is_end_stream(),
            AnswerBody::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            AnswerBody::Own(body) => body.size_hint(),
            AnswerBody::App(body) => body.size_hint(),
            AnswerBody::Lasting(body) => body.size_hint(),
            AnswerBody::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let is_over = self.is_end_stream();
        if let Some(flight) = &mut self.flight {
            // A body whose end is known is not polled for it, and to HEAD our own bodies are not sent at all.
            let unsent_by_rule = flight.method == Method::HEAD;
            flight.complete |= is_over || unsent_by_rule;
        }
    }
}

fn millis(duration: Duration) -> f64 {
    // Microseconds fit an f64 for 285 years.
    duration.as_micros() as f64 / 1_000.0
}
