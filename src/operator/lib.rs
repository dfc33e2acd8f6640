//! The operator: it turns every `OktaProtectedApi` into a running, protected workload and says on it how that goes.
//!
//! `plan` decides (pure), `controller` acts on it (client, watches, clock), `leader` says which of several operators
//! acts. It never reads a Secret, and traffic does not depend on it: without it everything stays as it is.

mod clients;
mod controller;
mod leader;
mod metrics;
pub mod plan;
mod settings;

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate_contract::names::{LIVE_PATH, METRICS_PATH, READY_PATH};
use tollgate_runtime::admin::{self, Answer};

use clients::Clients;
use controller::{Shared, Stop};
use leader::Candidate;
use metrics::Metrics;

pub use settings::Settings;

/// Looks that are under way when leadership ends must be over by then: another operator may start.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Until then they may finish by themselves.
const GENTLE_STOP_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why the operator cannot go on.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The admin port is taken, or may not be used.
    #[error("listening on {address} for probes and metrics")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kubeconfig cannot be used.
    #[error("making a client for the API server")]
    Client(#[source] kube::Error),
    /// Work went on after leadership was lost: only the end of the process ends it for certain.
    #[error("the controllers did not stop within {STOP_TIMEOUT:?} of the loss of leadership")]
    DidNotStop,
}

/// An operator that is about to run.
pub struct Operator {
    shared: Shared,
    candidate: Candidate,
    admin: TcpListener,
    admin_addr: SocketAddr,
}

impl Operator {
    /// Binds the admin port. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The port is taken, or `config` cannot be used.
    pub async fn bind(settings: Settings, config: &kube::Config) -> Result<Self, OperatorError> {
        let address = settings.admin_listen;
        let listen = |source| OperatorError::Listen { address, source };
        let admin = TcpListener::bind(address).await.map_err(listen)?;
        let admin_addr = admin.local_addr().map_err(listen)?;

        let Clients { leases, looks, watches } = Clients::of(config).map_err(OperatorError::Client)?;
        let candidate = Candidate {
            client: leases,
            namespace: settings.pod_namespace.clone(),
            identity: settings.pod_name.clone(),
        };
        let shared = Shared::new(looks, watches, settings, Metrics::new());
        Ok(Self { shared, candidate, admin, admin_addr })
    }

    /// Where probes and metrics are served.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Runs until `shutdown`: serves probes and metrics at once, acts while it leads.
    ///
    /// # Errors
    /// [`OperatorError::DidNotStop`]; the caller must end the process.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), OperatorError> {
        let Self { shared, candidate, admin, .. } = self;
        let metrics = shared.metrics.clone();
        let serving = tokio::spawn(admin::serve(admin, shutdown.clone(), move |path| answer(path, &metrics)));
        let result = lead(&shared, &candidate, &shutdown).await;
        serving.abort();
        result
    }
}

/// Campaigns, acts, campaigns again.
async fn lead(shared: &Shared, candidate: &Candidate, shutdown: &CancellationToken) -> Result<(), OperatorError> {
    loop {
        let term = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            term = candidate.elected() => term,
        };
        tracing::info!(identity = candidate.identity, "leading");
        shared.metrics.lead(true);
        let stop = Stop::default();
        let mut controllers = std::pin::pin!(controller::run(shared.clone(), stop.clone()));
        let ended = tokio::select! {
            () = &mut controllers => true,
            lost = term.lost() => {
                tracing::warn!(error = &lost as &dyn std::error::Error, "leadership is lost");
                stop.at_once.cancel();
                false
            }
            () = shutdown.cancelled() => false,
        };
        if !ended {
            let stopping = async {
                stop.gently.cancel();
                if tokio::time::timeout(GENTLE_STOP_TIMEOUT, &mut controllers).await.is_err() {
                    stop.at_once.cancel();
                    controllers.await;
                }
            };
            tokio::time::timeout(STOP_TIMEOUT, stopping).await.map_err(|_| OperatorError::DidNotStop)?;
        }
        shared.metrics.lead(false);
        if shutdown.is_cancelled() {
            term.release().await;
            return Ok(());
        }
    }
}

/// An operator that does not lead is as alive and as ready as one that does.
fn answer(path: &str, metrics: &Metrics) -> Answer {
    match path {
        LIVE_PATH | READY_PATH => Answer::text(StatusCode::OK, "ok\n"),
        METRICS_PATH => Answer::metrics(metrics.registry()),
        _ => Answer::not_found(),
    }
}
