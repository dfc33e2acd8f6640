//! Metrics of the calls to the issuers. Labels are bounded: issuers by their name in the resource, outcomes from a
//! closed list.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::error::IdpError;

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

/// Handles of the metrics of all issuers.
#[derive(Debug, Clone, Default)]
pub struct IdpMetrics {
    key_refreshes: Family<OutcomeLabels, Counter>,
    keys: Family<IssuerLabels, Gauge>,
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
        metrics
    }

    pub(crate) fn refreshed(&self, issuer: &str, outcome: Result<(), &IdpError>) {
        let outcome = outcome.map_or_else(|error| error.reason().as_str(), |()| "success");
        self.key_refreshes.get_or_create(&OutcomeLabels { issuer: issuer.to_owned(), outcome }).inc();
    }

    pub(crate) fn keys_in_force(&self, issuer: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.keys.get_or_create(&IssuerLabels { issuer: issuer.to_owned() }).set(count);
    }
}
