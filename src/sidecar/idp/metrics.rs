//! Metrics of the calls to the issuers. Labels are bounded: issuers by their name in the resource, the rest from closed
//! lists.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::error::IdpError;
use super::governor::Reading;
use crate::reason::Reason;

/// The outcome of a refresh that brought keys.
const SUCCESS: &str = "success";

/// The lanes, as metrics tell them apart.
const LANES: [&str; 2] = ["trusted", "stranger"];

/// One issuer and one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    issuer: String,
    outcome: &'static str,
}

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

/// One issuer and one kind of calls to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    issuer: String,
    calls: &'static str,
}

/// The same, by who causes the calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    issuer: String,
    calls: &'static str,
    lane: &'static str,
}

/// Handles of the metrics of all issuers.
#[derive(Debug, Clone, Default)]
pub struct IdpMetrics {
    key_refreshes: Family<OutcomeLabels, Counter>,
    keys: Family<IssuerLabels, Gauge>,
    limit: Family<CallLabels, Gauge>,
    remaining: Family<CallLabels, Gauge>,
    share: Family<CallLabels, Gauge<f64, AtomicU64>>,
    in_flight: Family<CallLabels, Gauge>,
    cut: Family<CallLabels, Gauge>,
    waiting: Family<LaneLabels, Gauge>,
    refused: Family<LaneLabels, Counter>,
}

impl IdpMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "key_refreshes",
            "Attempts to load an issuer's metadata and keys, by outcome",
            metrics.key_refreshes.clone(),
        );
        registry.register("keys", "Usable keys in force, by issuer", metrics.keys.clone());
        registry.register("idp_limit", "The issuer's limit of calls a window, as it last said", metrics.limit.clone());
        registry.register(
            "idp_remaining",
            "Calls left of the limit, as the issuer last said",
            metrics.remaining.clone(),
        );
        registry.register("idp_share", "Calls a window that are this sidecar's", metrics.share.clone());
        registry.register("idp_in_flight", "Calls to the issuer under way", metrics.in_flight.clone());
        registry.register(
            "idp_cut",
            "1 while calls fail at once because the issuer does not answer",
            metrics.cut.clone(),
        );
        registry.register("idp_waiting", "Calls that wait for their turn, by lane", metrics.waiting.clone());
        registry.register("idp_refused", "Calls that were not made, by lane", metrics.refused.clone());
        metrics
    }

    /// Begins the counts of an issuer at 0: of a series that begins with its first event, no rate shows that event.
    pub(crate) fn begin(&self, issuer: &str, calls: &[&'static str]) {
        for outcome in std::iter::once(SUCCESS).chain(IdpError::REASONS.map(Reason::as_str)) {
            drop(self.key_refreshes.get_or_create(&OutcomeLabels { issuer: issuer.to_owned(), outcome }));
        }
        for (calls, lane) in calls.iter().flat_map(|calls| LANES.map(|lane| (*calls, lane))) {
            drop(self.refused.get_or_create(&LaneLabels { issuer: issuer.to_owned(), calls, lane }));
        }
    }

    pub(crate) fn refreshed(&self, issuer: &str, outcome: Result<(), &IdpError>) {
        let outcome = outcome.map_or_else(|error| error.reason().as_str(), |()| SUCCESS);
        self.key_refreshes.get_or_create(&OutcomeLabels { issuer: issuer.to_owned(), outcome }).inc();
    }

    pub(crate) fn keys_in_force(&self, issuer: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.keys.get_or_create(&IssuerLabels { issuer: issuer.to_owned() }).set(count);
    }

    pub(crate) fn refused(&self, issuer: &str, calls: &'static str, lane: &'static str) {
        self.refused.get_or_create(&LaneLabels { issuer: issuer.to_owned(), calls, lane }).inc();
    }

    /// What the governor and a breaker know of one kind of calls.
    pub(crate) fn reading(&self, issuer: &str, calls: &'static str, reading: &Reading, cut: bool) {
        let labels = CallLabels { issuer: issuer.to_owned(), calls };
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        if let Some((limit, remaining)) = reading.limit {
            self.limit.get_or_create(&labels).set(limit.into());
            if let Some(remaining) = remaining {
                self.remaining.get_or_create(&labels).set(remaining.into());
            }
        }
        if let Some(share) = reading.share {
            self.share.get_or_create(&labels).set(share);
        }
        self.in_flight.get_or_create(&labels).set(number(reading.in_flight));
        self.cut.get_or_create(&labels).set(cut.into());
        for (lane, waiting) in LANES.into_iter().zip([reading.waiting_trusted, reading.waiting_strangers]) {
            let labels = LaneLabels { issuer: issuer.to_owned(), calls, lane };
            self.waiting.get_or_create(&labels).set(number(waiting));
        }
    }
}
