//! Metrics of the token broker. The one label comes from a closed list.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Handles of the metrics.
#[derive(Debug, Clone, Default)]
pub struct BrokerMetrics {
    requests: Family<OutcomeLabels, Counter>,
}

impl BrokerMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "broker_requests",
            "Token requests of callers, by outcome: issued, cached, or the reason of the refusal",
            metrics.requests.clone(),
        );
        metrics
    }

    pub(super) fn answered(&self, outcome: &'static str) {
        self.requests.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
