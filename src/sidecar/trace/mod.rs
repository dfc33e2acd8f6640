//! Traces: in which trace a request stands, what the app is told of it, and, where it is recorded, its spans on their
//! way to an OTLP receiver. It decides what is recorded (the word of trusted proxies is followed, that of strangers so often
//! as a budget allows, else by lot); it never waits for the receiver, and nothing of a query, a header or a token gets into
//! a span.

mod budget;
mod context;
mod export;
mod span;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId};
use tollgate_contract::SidecarConfig;

pub(crate) use self::context::{TRACEPARENT, TRACESTATE, TraceContext};
pub(crate) use self::export::{TraceMetrics, TraceWriter};
pub(crate) use self::span::{Record, Step};

use self::budget::Budget;
use self::export::Queue;
use self::span::Service;
use crate::metrics::ProxyMetrics;

const MILLION: u32 = 1_000_000;

/// Begins traces and takes what is recorded of them; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tracer {
    queue: Queue,
    sample_per_million: u32,
    strangers: Arc<Budget>,
}

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The HTTP client.
    #[error("making the client of the OTLP receiver")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that sends.
    #[error("starting the thread that sends spans")]
    Thread(#[source] io::Error),
}

/// A request's place in its trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    /// Whether spans are recorded, and the app is told to record its own.
    pub(crate) sampled: bool,
    /// The caller's span; none where the trace begins here.
    pub(crate) parent: Option<SpanId>,
    /// The whole request's span.
    pub(crate) request: SpanId,
    /// The span of the call to the app; none where the app stays the caller's child.
    pub(crate) call: SpanId,
}

impl Tracer {
    /// Starts the thread that sends spans, where the configuration says where to; `app` is where calls go.
    pub(crate) fn start(
        config: &SidecarConfig,
        app: SocketAddr,
        pod_uid: &str,
        metrics: &ProxyMetrics,
    ) -> Result<Option<(Self, TraceWriter)>, TraceError> {
        let Some(tracing) = &config.tracing else { return Ok(None) };
        let (queue, writer) = export::start(tracing, Service::new(config, app, pod_uid, metrics))?;
        let sample_per_million = tracing.sample_per_million.min(MILLION);
        let strangers = Arc::new(Budget::new(Instant::now()));
        Ok(Some((Self { queue, sample_per_million, strangers }, writer)))
    }

    /// Finds a request's trace, or begins one. The standard asks for a bound on what strangers can have recorded
    /// (https://www.w3.org/TR/trace-context/#denial-of-service).
    pub(crate) fn begin(&self, headers: &HeaderMap, from_trusted: bool) -> Trace {
        let by_lot = || rand::random_ratio(self.sample_per_million, MILLION);
        match TraceContext::of(headers) {
            Some(TraceContext { sampled: true, trace, span }) => {
                let sampled = from_trusted || by_lot() || self.strangers.take(Instant::now());
                Trace { sampled, ..Trace::recorded(trace, Some(span)) }
            }
            Some(caller) => Trace::passing(caller),
            None => Trace { sampled: by_lot(), ..Trace::recorded(TraceId::from(rand::random::<u128>().max(1)), None) },
        }
    }

    /// Queues what is to be said of a request; never waits.
    pub(crate) fn finish(&self, record: Record) {
        self.queue.push(record);
    }
}

impl Trace {
    /// The trace that a request comes with, where nothing is recorded here.
    pub(crate) fn untouched(headers: &HeaderMap) -> Option<Self> {
        TraceContext::of(headers).map(Self::passing)
    }

    /// Tells the app where it stands.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        // Neither recorded nor asked to be: the app's parent is the caller.
        if self.call == SpanId::INVALID {
            return;
        }
        let context = TraceContext { trace: self.id, span: self.call, sampled: self.sampled };
        if let Some(value) = context.header() {
            headers.insert(TRACEPARENT, value);
        }
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
    }

    fn recorded(id: TraceId, parent: Option<SpanId>) -> Self {
        let [request, call] = std::array::from_fn(|_| SpanId::from(rand::random::<u64>().max(1)));
        Self { id, sampled: true, parent, request, call }
    }

    fn passing(caller: TraceContext) -> Self {
        let none = SpanId::INVALID;
        Self { id: caller.trace, sampled: false, parent: Some(caller.span), request: none, call: none }
    }
}
