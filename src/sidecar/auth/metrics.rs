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

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

/// Handles of the metrics.
#[derive(Debug, Clone, Default)]
pub struct AuthMetrics {
    pub(super) cache_hits: Counter,
    pub(super) cache_misses: Counter,
    introspections: Family<OutcomeLabels, Counter>,
    stale_answers: Family<IssuerLabels, Counter>,
    outage_acceptances: Family<IssuerLabels, Counter>,
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
        registry.register(
            "stale_answers",
            "Earlier answers about tokens that served again while the issuer limited us",
            metrics.stale_answers.clone(),
        );
        registry.register(
            "outage_acceptances",
            "Tokens that passed by local checks alone while the issuer could not be asked",
            metrics.outage_acceptances.clone(),
        );
        metrics
    }

    /// Begins the count of what passes unasked at 0: of a series that begins with its first event, no rate shows that
    /// event.
    pub(super) fn begin(&self, issuer: &str) {
        drop(self.outage_acceptances.get_or_create(&IssuerLabels { issuer: issuer.to_owned() }));
    }

    pub(super) fn introspected(&self, issuer: &str, outcome: &'static str) {
        self.introspections.get_or_create(&OutcomeLabels { issuer: issuer.to_owned(), outcome }).inc();
    }

    pub(super) fn served_stale(&self, issuer: &str) {
        self.stale_answers.get_or_create(&IssuerLabels { issuer: issuer.to_owned() }).inc();
    }

    pub(super) fn accepted_in_outage(&self, issuer: &str) {
        self.outage_acceptances.get_or_create(&IssuerLabels { issuer: issuer.to_owned() }).inc();
    }
}
