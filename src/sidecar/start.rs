//! Puts the sidecar together and takes it down again. It decides the order (a policy is understood in full before a
//! port is bound) and the threads: connections run on workers that share nothing but what `Shared` holds; issuers,
//! admin port and signals stay on the caller's runtime.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_contract::AccessLogConfig;
use tollgate_runtime::crypto;

use crate::access_log::{AccessLog, AccessLogWriter};
use crate::admin::Admin;
use crate::auth::{AuthMetrics, Authenticator, Dpop};
use crate::broker::{self, Broker, BrokerMetrics};
use crate::idp::{self, IdpMetrics, Issuers, Surroundings};
use crate::limits::Limits;
use crate::metrics::{ProxyMetrics, UpstreamPlaces};
use crate::places::Places;
use crate::policy::{Policy, PolicyError};
use crate::protected_resource::ProtectedResource;
use crate::proxy::listening::Listening;
use crate::proxy::{Dialer, HeaderRules, Proxy, UploadRules, UpstreamError};
use crate::rescue::Rescue;
use crate::server::{self, Connections, Drain, Gate, Observer, Shared, Tls};
use crate::trace::{TraceError, TraceWriter, Tracer};

/// A sidecar must leave the node's cores to the app; one worker forwards tens of thousands of requests a second.
const MAX_DEFAULT_WORKERS: usize = 4;

/// At the deadline, for streams to say that they end, and for their callers to hear it.
const FAREWELL: Duration = Duration::from_secs(3);

/// How to run.
pub struct Options {
    /// The configuration file's bytes.
    pub config: Vec<u8>,
    /// The file of the hints; it may be absent, and come and go.
    pub hints: PathBuf,
    /// Where callers come in.
    pub listen: SocketAddr,
    /// Where probes, metrics and reports are served.
    pub admin: SocketAddr,
    /// The pod's uid, for the report; empty outside Kubernetes.
    pub pod_uid: String,
    /// The pod's address, for an app that listens there alone.
    pub pod_ip: Option<IpAddr>,
    /// Where the access log goes.
    pub access_log: AccessLogTo,
    /// Threads that serve connections; unset = the cores at hand, 4 at most.
    pub workers: Option<NonZeroUsize>,
    /// How to stop.
    pub drain: DrainTimes,
    /// What to hold and how long to wait.
    pub limits: Limits,
}

/// Where the access log goes.
pub enum AccessLogTo {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Somewhere else.
    Writer(Box<dyn Write + Send>),
}

/// How long the steps of stopping take.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimes {
    /// From "unready" to "no new connections": for load balancers to notice.
    pub lead: Duration,
    /// From there on for requests in flight; streams then have 3 seconds more to end in their own way.
    pub deadline: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        // Together within Kubernetes' default grace period of 30 s.
        Self { lead: Duration::from_secs(3), deadline: Duration::from_secs(20) }
    }
}

/// A running sidecar.
pub struct Sidecar {
    proxy_addr: SocketAddr,
    admin_addr: SocketAddr,
    times: DrainTimes,
    drain: Drain,
    /// Ends the issuers' work and the admin port.
    background: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    log: Option<AccessLogWriter>,
    traces: Option<TraceWriter>,
}

/// Why a sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error("the policy is refused")]
    Policy(#[from] PolicyError),
    /// An issuer's settings.
    #[error("the issuers are refused")]
    Issuers(#[from] idp::StartError),
    /// The broker's settings.
    #[error("the token broker is refused")]
    Broker(#[from] broker::StartError),
    /// The way to the app.
    #[error("the way to the app is refused")]
    Upstream(#[from] UpstreamError),
    /// The way to the OTLP receiver.
    #[error("traces cannot be sent")]
    Traces(#[from] TraceError),
    /// A port.
    #[error("listening on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A thread.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
}

impl Sidecar {
    /// Starts everything and returns once both ports are bound. Needs a tokio runtime, which must live as long.
    ///
    /// # Errors
    /// The configuration makes no sense, or the operating system refuses a port or a thread.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        crypto::install_provider();
        let policy = Policy::from_file(&options.config)?;
        let app = policy.config.upstream.port;
        if [options.listen.port(), options.admin.port()].contains(&app) {
            return Err(PolicyError::UpstreamPort(app).into());
        }
        let mut registry = Registry::with_prefix("tollgate");
        let metrics = ProxyMetrics::register(&mut registry, policy.routes.names());
        let background = CancellationToken::new();
        // Whatever fails from here on ends the background work.
        let ends_background = background.clone().drop_guard();
        let dialer = Arc::new(Dialer::new(&policy.config.upstream, options.pod_ip, &background)?);
        let Limits { rate_window, heeds_rate_limits, first_keys: patience, .. } = options.limits;
        let surroundings = Surroundings { hints: options.hints, rate_window, heeds_rate_limits, patience };
        let idp_metrics = IdpMetrics::register(&mut registry);
        let issuers = Issuers::start(&policy.config, surroundings, &idp_metrics, &background)?;
        let dpop = Dpop::new(&policy.config.issuers, &policy.external_urls, options.limits.dpop_proofs);
        let (keep_claims, auth_metrics) = (policy.routes.reads_claims(), AuthMetrics::register(&mut registry));
        let claim_headers = Arc::clone(&policy.claim_headers);
        let authenticator = Authenticator::new(Arc::clone(&issuers), dpop, keep_claims, claim_headers, auth_metrics);
        let broker_metrics = BrokerMetrics::register(&mut registry);
        let broker = policy.config.token_broker.as_ref();
        let broker = broker.map(|broker| Broker::new(broker, &issuers, broker_metrics)).transpose()?;

        let proxy_listener = bind(options.listen).await?;
        let admin_listener = bind(options.admin).await?;
        let (proxy_addr, admin_addr) = (address(&proxy_listener)?, address(&admin_listener)?);
        let (log, log_writer) = open_log(options.access_log, policy.config.access_log, &metrics)?;
        let places = Places::new(options.limits.upstream_connections);
        registry.register_collector(Box::new(UpstreamPlaces(Arc::clone(&places))));
        let (tracer, traces) = Tracer::start(&policy.config, dialer.address(), &options.pod_uid, &metrics)?.unzip();

        let mounts = options.limits.mounts;
        let tls = policy.config.tls.as_ref();
        let tls = tls.map(|tls| Tls::watch(tls, mounts, &mut registry, background.clone()));
        let drain = Drain::default();
        let admin = Admin {
            pod_uid: options.pod_uid,
            policy_hash: policy.hash.clone(),
            issuers,
            registry,
            drain: drain.clone(),
            tls: tls.clone(),
            dialer: Arc::clone(&dialer),
            app: Listening::watch(dialer.address(), background.clone()),
        };
        let rescue = Rescue::new(&policy);
        let connections = Connections::new(options.limits.connections, &rescue);
        let shared = Arc::new(Shared {
            fallback_host: HeaderValue::from_str(&dialer.address().to_string())
                .unwrap_or(HeaderValue::from_static("localhost")),
            headers: HeaderRules::new(&policy.claim_headers, policy.config.upstream.authorization),
            resource: ProtectedResource::new(&policy.config, &policy.external_urls),
            policy,
            rescue,
            authenticator,
            broker,
            observer: Arc::new(Observer { metrics, log, tracer }),
            limits: options.limits,
            tls,
            drain: drain.clone(),
            tunnels: TaskTracker::new(),
        });
        let workers = start_workers(&proxy_listener, options.workers, &shared, &dialer, &places, &connections)
            .map_err(StartError::Thread)?;
        tokio::spawn(tollgate_runtime::admin::serve(admin_listener, background.clone(), move |path| {
            admin.answer(path)
        }));
        ends_background.disarm();
        Ok(Self { proxy_addr, admin_addr, times: options.drain, drain, background, workers, log: log_writer, traces })
    }

    /// Where callers come in.
    #[must_use]
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy_addr
    }

    /// Where probes, metrics and reports are served.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Gets ready to stop, while the app is still there: unready, and every answer asks its caller to go elsewhere; after
    /// the lead, connections without a request end. Nothing is refused yet. Needs the runtime that it was started on.
    pub fn begin_drain(&self) {
        let idling = self.drain.begin() + self.times.lead;
        let drain = self.drain.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(idling).await;
            drain.end_idling();
        });
    }

    /// Stops: unready at once, no new connections after the lead (counted from [`Sidecar::begin_drain`] where that came
    /// before), streams ended at the deadline, and what is left then cut. Returns whether every
    /// request in flight was finished.
    pub async fn shutdown(mut self) -> bool {
        let begun = self.drain.begin();
        tokio::time::sleep_until(begun + self.times.lead).await;
        self.drain.close();
        let workers = std::mem::take(&mut self.workers);
        let mut joining = tokio::task::spawn_blocking(move || workers.into_iter().for_each(join));
        let finished = tokio::time::timeout(self.times.deadline, &mut joining).await.is_ok();
        if !finished {
            self.drain.part();
            if tokio::time::timeout(FAREWELL, &mut joining).await.is_err() {
                self.drain.abandon();
                let _ = joining.await;
            }
        }
        let (log, traces) = (self.log.take(), self.traces.take());
        let last_words = move || {
            if let Some(log) = log {
                log.close();
            }
            if let Some(traces) = traces {
                traces.close();
            }
        };
        let _ = tokio::task::spawn_blocking(last_words).await;
        finished
    }
}

impl Drop for Sidecar {
    /// A sidecar that is not shut down is cut.
    fn drop(&mut self) {
        self.drain.abandon();
        self.background.cancel();
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::Thread)
}

fn open_log(
    to: AccessLogTo,
    wanted: AccessLogConfig,
    metrics: &ProxyMetrics,
) -> Result<(Option<AccessLog>, Option<AccessLogWriter>), StartError> {
    let out: Box<dyn Write + Send> = match to {
        _ if !wanted.enabled => return Ok((None, None)),
        AccessLogTo::Off => return Ok((None, None)),
        AccessLogTo::Stdout => Box::new(io::stdout()),
        AccessLogTo::Writer(out) => out,
    };
    let (log, writer) =
        AccessLog::start(out, wanted.one_in, metrics.dropped_log_lines.clone()).map_err(StartError::Thread)?;
    Ok((Some(log), Some(writer)))
}

/// A runtime for each worker, so that a connection, its timers and its way to the app never change threads. All share
/// one queue of connections to accept: an idle worker takes the next.
fn start_workers(
    listener: &TcpListener,
    wanted: Option<NonZeroUsize>,
    shared: &Arc<Shared>,
    dialer: &Arc<Dialer>,
    places: &Arc<Places>,
    connections: &Connections,
) -> io::Result<Vec<JoinHandle<()>>> {
    let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_DEFAULT_WORKERS);
    let uploads = UploadRules {
        longest: shared.policy.config.max_body_bytes.unwrap_or(u64::MAX),
        headers: shared.headers.clone(),
    };
    let mut workers = Vec::new();
    for number in 0..wanted.map_or(available, NonZeroUsize::get) {
        let listener = std::os::fd::AsFd::as_fd(listener).try_clone_to_owned().map(std::net::TcpListener::from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = connections.clone();
        let gate = Arc::new(Gate {
            proxy: Proxy::new(
                &shared.policy.config.upstream,
                dialer,
                Arc::clone(places),
                uploads.clone(),
                &shared.observer.metrics,
            ),
            shared: Arc::clone(shared),
        });
        let work = move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => server::run(listener, gate, connections).await,
                    Err(error) => tracing::error!(%error, "a worker cannot use the listening socket"),
                }
            });
        };
        workers.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
    }
    Ok(workers)
}

fn join(worker: JoinHandle<()>) {
    if worker.join().is_err() {
        tracing::error!("a worker panicked");
    }
}
