//! What the admin port says: liveness, readiness, metrics, and the report that the operator polls. Nothing about
//! callers, nothing secret, and nothing that changes anything.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use prometheus_client::registry::Registry;
use tollgate_contract::{PolicyHash, Problem, SidecarReport, names};
use tollgate_runtime::admin::Answer;

use crate::idp::Issuers;
use crate::proxy::Dialer;
use crate::proxy::listening::Listening;
use crate::server::{Drain, Tls};

/// What the answers are made of.
pub(crate) struct Admin {
    pub(crate) pod_uid: String,
    pub(crate) policy_hash: PolicyHash,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) registry: Registry,
    pub(crate) drain: Drain,
    /// None = plain.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) app: Listening,
}

impl Admin {
    /// Answers one path.
    pub(crate) fn answer(&self, path: &str) -> Answer {
        match path {
            names::LIVE_PATH => Answer::text(StatusCode::OK, "ok\n"),
            names::READY_PATH => self.readiness(),
            names::METRICS_PATH => {
                self.issuers.measure();
                Answer::metrics(&self.registry)
            }
            names::CONFIG_PATH => self.report(),
            _ => Answer::not_found(),
        }
    }

    /// Never depends on the issuer after the first load: its outage is not this pod's.
    fn readiness(&self) -> Answer {
        let unready = |why| Answer::text(StatusCode::SERVICE_UNAVAILABLE, why);
        if self.drain.has_begun() {
            unready("draining\n")
        } else if !self.issuers.is_ready() {
            unready("waiting for the issuers' keys or the client's credentials\n")
        } else if self.tls.as_ref().is_some_and(|tls| !tls.is_ready()) {
            unready("waiting for the certificate\n")
        } else if !self.dialer.is_ready() {
            unready("waiting for the CA certificates that the app is known by\n")
        } else {
            Answer::text(StatusCode::OK, "ready\n")
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.issuers.problems();
        let of_callers = self.tls.as_ref().and_then(|tls| tls.problem(SystemTime::now()));
        let of_files = of_callers.into_iter().chain(self.dialer.problem());
        problems.extend(of_files.map(|code| Problem { code, issuer: String::new() }));
        problems
    }

    fn report(&self) -> Answer {
        let report = SidecarReport {
            pod_uid: self.pod_uid.clone(),
            policy_hash: self.policy_hash.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            problems: self.problems(),
            issuers: self.issuers.reports(),
            app_listens: Some(self.app.has_begun()),
        };
        match serde_json::to_vec(&report) {
            Ok(json) => Answer::json(json),
            Err(_) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the report could not be written\n"),
        }
    }
}
