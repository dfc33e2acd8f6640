//! Sends recorded requests to an OTLP receiver (http/protobuf) in batches, from a thread of its own. A receiver that is
//! slow, broken or gone costs records, which are counted, and never a request.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::SpanExporter as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use reqwest::{Client, redirect};
use tokio::runtime::Runtime;
use tollgate_contract::TracingConfig;
use tollgate_runtime::trust;

use super::TraceError;
use super::span::{Record, Service};

/// Waiting requests, about 1 KiB each, 3 KiB at most; beyond that they are dropped.
const MAX_WAITING: usize = 2_048;
/// Requests that go out at once, each with up to three spans.
const BATCH: usize = 256;
/// A span is seen soon enough, and an idle sidecar wakes once a second.
const INTERVAL: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For a batch, second tries included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the last batches when closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Handles of what is counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceMetrics {
    exported: Counter,
    dropped: Counter,
}

/// Where records wait; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

/// The sending thread.
#[derive(Debug)]
pub(crate) struct TraceWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    metrics: TraceMetrics,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Record>,
    closed: bool,
    /// The thread has nothing left to do.
    ended: bool,
}

/// What the thread works with.
struct Sender {
    shared: Arc<Shared>,
    service: Service,
    exporter: SpanExporter,
    runtime: Runtime,
    /// The last batch was not taken: said once, not every second.
    failing: bool,
}

impl TraceMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "traces_exported",
            "Traced requests whose spans the collector took",
            metrics.exported.clone(),
        );
        registry.register(
            "traces_dropped",
            "Traced requests whose spans were given up: the collector did not take them, or too many were waiting",
            metrics.dropped.clone(),
        );
        metrics
    }
}

/// Starts the sending thread.
pub(super) fn start(config: &TracingConfig, service: Service) -> Result<(Queue, TraceWriter), TraceError> {
    let tls = trust::client_config(None).map_err(|error| TraceError::Client(error.into()))?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| TraceError::Client(error.into()))?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", config.endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| TraceError::Client(error.into()))?;
    exporter.set_resource(&service.resource);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TraceError::Thread)?;
    let metrics = service.metrics.traces.clone();
    let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), metrics });
    let sender = Sender { shared: Arc::clone(&shared), service, exporter, runtime, failing: false };
    let thread = std::thread::Builder::new().name("traces".to_owned());
    thread.spawn(move || sender.run()).map_err(TraceError::Thread)?;
    Ok((Queue(Arc::clone(&shared)), TraceWriter(shared)))
}

impl Queue {
    /// Takes a record, or drops it where too many wait.
    pub(super) fn push(&self, record: Record) {
        let mut state = self.0.lock();
        if state.waiting.len() >= MAX_WAITING || state.closed {
            drop(state);
            self.0.metrics.dropped.inc();
            return;
        }
        state.waiting.push(record);
        if state.waiting.len() == BATCH {
            self.0.wake.notify_all();
        }
    }
}

impl TraceWriter {
    /// Sends what is waiting and ends the thread. Blocks while it does, for two seconds at most.
    pub(crate) fn close(self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.wake.notify_all();
        // However the wait ends, there is nothing more to do.
        let _ = self.0.wake.wait_timeout_while(state, CLOSE_TIMEOUT, |state| !state.ended);
    }
}

impl Drop for TraceWriter {
    /// A thread that nobody closes ends as well.
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The queue is whole after every step, so a panic elsewhere cannot have left it broken.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, after a while or when it is full; none when all is done.
    fn next(&self) -> Option<Vec<Record>> {
        let is_idle = |state: &mut State| state.waiting.len() < BATCH && !state.closed;
        loop {
            let waited = self.wake.wait_timeout_while(self.lock(), INTERVAL, is_idle);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let count = state.waiting.len().min(BATCH);
            if count > 0 {
                return Some(state.waiting.drain(..count).collect());
            }
            if state.closed {
                state.ended = true;
                self.wake.notify_all();
                return None;
            }
        }
    }
}

impl Sender {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(batch) = shared.next() {
            let spans = batch.iter().flat_map(|record| self.service.spans(record)).collect();
            let count = batch.len() as u64;
            let sent = self.runtime.block_on(self.exporter.export(spans));
            let failed = sent.is_err();
            if failed { &shared.metrics.dropped } else { &shared.metrics.exported }.inc_by(count);
            if failed != std::mem::replace(&mut self.failing, failed) {
                match sent {
                    Ok(()) => tracing::info!("the collector takes spans again"),
                    Err(error) => tracing::warn!(%error, "the collector does not take spans"),
                }
            }
        }
    }
}
