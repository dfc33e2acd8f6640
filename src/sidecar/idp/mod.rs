//! The issuers: the only part of the sidecar that talks to them. Finds endpoints, keeps keys and credentials current
//! and carries calls; it does not judge tokens and knows neither `auth` nor `broker`, which both build on it.

mod breaker;
mod credentials;
mod digest;
mod discovery;
mod doubts;
mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod governor;
mod health;
mod hints;
mod http;
mod introspection;
mod issued;
mod issuer;
mod key_cache;
mod keys;
mod lanes;
mod line;
mod metrics;
mod okta;
mod own_client;
mod pace;
mod reach;
mod readiness;
mod refresh;
mod single_flight;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_contract::{IssuerConfig, IssuerReport, Problem, ProblemCode, SidecarConfig};
use tollgate_runtime::files;
use tracing::{info, warn};

pub use self::metrics::IdpMetrics;

pub(crate) use self::digest::TokenDigest;
pub(crate) use self::error::IdpError;
pub(crate) use self::http::Reply;
pub(crate) use self::issued::{Fate, IssuedTokens};
pub(crate) use self::issuer::Issuer;
pub(crate) use self::key_cache::{KeyCache, Missing};
pub(crate) use self::keys::{Key, KeySet, LONGEST_KID};
pub(crate) use self::lanes::Standing;
pub(crate) use self::okta::is_org_server;
pub(crate) use self::single_flight::SingleFlight;

use self::credentials::Mounted;
use self::governor::Governor;
use self::hints::HintsFile;

/// How often mounted files are compared: a rotation is taken up within this.
const MOUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Why the issuers of a policy cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not a URL with a host.
    #[error("the URL of issuer {issuer} is not valid")]
    BadUrl {
        /// Its name in the resource.
        issuer: String,
    },
    /// `http://` where the operator does not allow it.
    #[error("the URL of issuer {issuer} must start with https://")]
    Insecure {
        /// Its name in the resource.
        issuer: String,
    },
    /// Its rate limits are not to be heeded, and it is none of a benchmark.
    #[error("issuer {issuer} is not on loopback: its rate limits must be heeded")]
    Limited {
        /// Its name in the resource.
        issuer: String,
    },
    /// An endpoint that the policy gives.
    #[error("of issuer {issuer}, {problem}")]
    BadEndpoint {
        /// Its name in the resource.
        issuer: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What the issuers need to know that is no policy.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The file of the hints; it may be absent, and come and go.
    pub hints: PathBuf,
    /// How long a window of the issuers' rate limits is.
    pub rate_window: Duration,
    /// Whether those limits are heeded; not to be so is for benchmarks alone.
    pub heeds_rate_limits: bool,
    /// How long a pod with several issuers waits for the first keys of one that is away.
    pub patience: Duration,
}

/// All issuers of a policy.
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    patience: Duration,
    /// Set once, and not taken back.
    ready: AtomicBool,
}

impl Issuers {
    /// Starts the background work of every issuer and returns at once. Needs a tokio runtime; ends with `shutdown`.
    ///
    /// # Errors
    /// An issuer's URL, or an endpoint that the policy gives, cannot be used.
    pub fn start(
        config: &SidecarConfig,
        surroundings: Surroundings,
        metrics: &IdpMetrics,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let broker = config.token_broker.as_ref().map(|broker| broker.issuer.as_str());
        let Surroundings { hints, rate_window, heeds_rate_limits, patience } = surroundings;
        if !heeds_rate_limits && let Some(issuer) = config.issuers.iter().find(|issuer| !is_on_loopback(issuer)) {
            return Err(StartError::Limited { issuer: issuer.name.clone() });
        }
        let governor = if heeds_rate_limits { Governor::new } else { Governor::without_limits };
        let governor = Arc::new(governor(rate_window));
        let issuer = |issuer: &IssuerConfig| {
            let mints_for_broker = broker == Some(&issuer.name);
            Issuer::new(issuer, mints_for_broker, Arc::clone(&governor), metrics.clone()).map(Arc::new)
        };
        let issuers: Vec<Arc<Issuer>> = config.issuers.iter().map(issuer).collect::<Result<_, _>>()?;
        let mut hints = files::watch(MOUNT_INTERVAL, shutdown.clone(), move || HintsFile::read(&hints));
        let now = hints.borrow_and_update().clone();
        take_hints(&issuers, &now);
        tokio::spawn(follow_hints(issuers.clone(), hints, shutdown.clone()));
        for (issuer, settings) in issuers.iter().zip(&config.issuers) {
            let settings = settings.clone();
            let mut mounted = files::watch(MOUNT_INTERVAL, shutdown.clone(), move || Mounted::read(&settings));
            let now = mounted.borrow_and_update().clone();
            issuer.mount(&now);
            tokio::spawn(refresh::follow_mounts(Arc::clone(issuer), mounted, shutdown.clone()));
            tokio::spawn(refresh::keep_fresh(Arc::clone(issuer), shutdown.clone()));
        }
        Ok(Arc::new(Self { issuers, patience, ready: AtomicBool::new(false) }))
    }

    /// Whether tokens of every issuer could be judged at some time, those aside that are not waited for: keys loaded where
    /// they are needed, credentials there where the issuer is asked. Never takes it back.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if !self.ready.load(Ordering::Acquire) {
            let now = Instant::now();
            let outlooks: Vec<_> = self.issuers.iter().map(|issuer| issuer.outlook(now)).collect();
            if !readiness::is_ready(&outlooks, self.patience) {
                return false;
            }
            self.ready.store(true, Ordering::Release);
            for issuer in self.issuers.iter().filter(|issuer| !issuer.is_ready()) {
                warn!(
                    issuer = issuer.name(),
                    "ready without this issuer: its tokens are answered 503 until it is back"
                );
            }
        }
        true
    }

    /// What is wrong now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let ready = self.ready.load(Ordering::Acquire);
        let of = |issuer: &Arc<Issuer>| {
            let name = issuer.name().to_owned();
            let unjudged = (ready && !issuer.is_ready()).then_some(ProblemCode::IssuerNotLoaded);
            issuer.problems().into_iter().chain(unjudged).map(move |code| Problem { code, issuer: name.clone() })
        };
        self.issuers.iter().flat_map(of).collect()
    }

    /// What is known of each issuer.
    #[must_use]
    pub fn reports(&self) -> Vec<IssuerReport> {
        let report = |issuer: &Arc<Issuer>| IssuerReport {
            name: issuer.name().to_owned(),
            key_ids: issuer.keys().current().ids(),
        };
        self.issuers.iter().map(report).collect()
    }

    /// Brings the gauges up to date.
    pub(crate) fn measure(&self) {
        self.issuers.iter().for_each(|issuer| issuer.measure());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.iter()
    }

    /// The issuer that mints tokens with exactly this `iss`.
    pub(crate) fn of_token(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.url() == iss)
    }

    /// The issuer of this name in the resource.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.name() == name)
    }
}

/// Where a benchmark's own issuer is, and nobody's real one.
fn is_on_loopback(issuer: &IssuerConfig) -> bool {
    let url = reqwest::Url::parse(&issuer.url);
    url.is_ok_and(|url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")))
}

fn take_hints(issuers: &[Arc<Issuer>], file: &HintsFile) {
    if *file == HintsFile::Malformed {
        warn!("the hints file is malformed and not used; the policy is not touched by that");
        return;
    }
    for issuer in issuers {
        issuer.take_hints(file.about(issuer.name()), SystemTime::now());
    }
}

/// Follows the hints file. A malformed one leaves what was taken before in use.
async fn follow_hints(issuers: Vec<Arc<Issuer>>, mut file: watch::Receiver<HintsFile>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = file.changed() => if changed.is_err() { return },
        }
        let now = file.borrow_and_update().clone();
        info!("the hints changed");
        take_hints(&issuers, &now);
    }
}
