//! The way of the calls that callers cause: the breaker says whether a call is worth it, the governor whose turn it is,
//! and what comes of it is told to both. It knows no endpoint's meaning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use tokio::time::Instant;
use tracing::{info, warn};

use super::breaker::{Breaker, Pass};
use super::error::IdpError;
use super::governor::{Bucket, Call, Governor, Permit};
use super::lanes::{Lane, Payer, Standing};
use super::metrics::IdpMetrics;

/// An endpoint, and what the issuer counts its calls with.
pub(super) struct Endpoint {
    pub(super) url: Url,
    pub(super) bucket: Arc<Bucket>,
}

/// Calls of one kind to one issuer.
pub(super) struct Line {
    issuer: String,
    /// Which kind, for logs and metrics.
    calls: &'static str,
    breaker: Mutex<Breaker>,
    metrics: IdpMetrics,
}

/// Leave to call, once the governor agrees; for one errand, which may take more than one call.
pub(super) struct Turn<'a> {
    bucket: &'a Arc<Bucket>,
    call: Call,
    made: AtomicBool,
}

impl Endpoint {
    /// An endpoint that callers cause calls to.
    pub(super) fn called(url: Url, governor: &Governor) -> Self {
        Self { bucket: governor.calls(&url), url }
    }

    /// Where a document lies.
    pub(super) fn document(url: Url, governor: &Governor) -> Self {
        Self { bucket: governor.documents(&url), url }
    }

    /// A turn to read a document, which nobody else causes.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn::new(&self.bucket, Lane::Trusted, Payer::Own)
    }
}

impl Line {
    pub(super) fn new(issuer: &str, calls: &'static str, metrics: IdpMetrics) -> Self {
        Self { issuer: issuer.to_owned(), calls, breaker: Mutex::default(), metrics }
    }

    /// Runs an errand to an endpoint, or says at once why not.
    pub(super) async fn run<T>(
        &self,
        to: &Endpoint,
        standing: Standing,
        payer: Payer,
        errand: impl AsyncFnOnce(&Turn<'_>) -> Result<T, IdpError>,
    ) -> Result<T, IdpError> {
        let (trusted, lane) = match standing {
            Standing::Known if payer == Payer::Own => (true, Lane::Known),
            Standing::Known | Standing::Sound => (true, Lane::Trusted),
            Standing::Stranger(address) => (false, Lane::Stranger(address.into())),
        };
        let pass = self.breaker().pass(trusted, Instant::now(), rand::random())?;
        let turn = match pass {
            Pass::Probe(_) if trusted => Turn::new(&to.bucket, Lane::Probe, payer),
            Pass::Probe(_) | Pass::Free => Turn::new(&to.bucket, lane, payer),
        };
        let outcome = errand(&turn).await;
        if turn.made.load(Ordering::Relaxed) {
            self.record(trusted, outcome.as_ref().map(|_| ()));
            return outcome;
        }
        self.metrics.refused(&self.issuer, self.calls, lane.as_str());
        match (outcome, pass) {
            // That there was no turn for a try changes nothing about what is wrong.
            (Err(_), Pass::Probe(error)) => Err(error),
            (outcome, _) => outcome,
        }
    }

    /// The issuer has answered something else that was asked of it.
    pub(super) fn hope(&self) {
        self.breaker().hope(Instant::now());
    }

    pub(super) fn calls(&self) -> &'static str {
        self.calls
    }

    /// Whether calls fail without being made.
    pub(super) fn is_cut(&self) -> bool {
        self.breaker().is_open()
    }

    fn record(&self, trusted: bool, outcome: Result<(), &IdpError>) {
        let mut breaker = self.breaker();
        let before = breaker.is_open();
        breaker.record(trusted, outcome, Instant::now(), rand::random());
        let after = breaker.is_open();
        drop(breaker);
        match (before, after, outcome) {
            (false, true, Err(error)) => {
                warn!(issuer = self.issuer, calls = self.calls, %error, "calls pause until the issuer answers");
            }
            (true, false, _) => info!(issuer = self.issuer, calls = self.calls, "the issuer answers calls again"),
            _ => {}
        }
    }

    /// A panic elsewhere leaves plain values behind, any of which is fine.
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Turn<'a> {
    fn new(bucket: &'a Arc<Bucket>, lane: Lane, payer: Payer) -> Self {
        Self { bucket, call: Call { lane, payer }, made: AtomicBool::new(false) }
    }

    /// Waits until one call may be made.
    pub(super) async fn take(&self) -> Result<Permit, IdpError> {
        let permit = self.bucket.admit(self.call).await?;
        self.made.store(true, Ordering::Relaxed);
        Ok(permit)
    }
}
