//! Metrics of token judgement. Labels are bounded: issuers by their name in the resource, outcomes from closed lists.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// One issuer and one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    issuer: String,
    outcome: &'static str,
}

/// Handles of the metrics.
#[derive(Debug, Clone, Default)]
pub struct AuthMetrics {
    pub(super) cache_hits: Counter,
    pub(super) cache_misses: Counter,
    introspections: Family<OutcomeLabels, Counter>,
}

impl AuthMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("decision_cache_hits", "Tokens whose verdict was remembered", metrics.cache_hits.clone());
        registry.register("decision_cache_misses", "Tokens that had to be judged", metrics.cache_misses.clone());
        registry.register(
            "introspections",
            "Questions to issuers about tokens, by outcome",
            metrics.introspections.clone(),
        );
        metrics
    }

    pub(super) fn introspected(&self, issuer: &str, outcome: &'static str) {
        self.introspections.get_or_create(&OutcomeLabels { issuer: issuer.to_owned(), outcome }).inc();
    }
}
