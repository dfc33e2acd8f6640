//! What the operator counts. Labels are closed sets: no namespaces, no names.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a look that finds nothing to do to one that waits for silent pods.
const RECONCILE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0];

/// Handles to all metrics, and the registry to serve them from.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<Outcome, Counter>,
    reconcile_seconds: Histogram,
    writes: Family<Write, Counter>,
    polls: Family<Outcome, Counter>,
    key_fetches: Family<Outcome, Counter>,
    key_sources: Gauge,
    leader: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    kind: &'static str,
    verb: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("tollgate_operator");
        let reconciles = Family::default();
        let reconcile_seconds = Histogram::new(RECONCILE_BUCKETS);
        let writes = Family::default();
        let polls = Family::default();
        let key_fetches = Family::default();
        let key_sources = Gauge::default();
        let leader = Gauge::default();
        registry.register("reconciles", "Looks at a resource, by outcome", reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time that a look at a resource takes",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        registry.register("writes", "Writes to the API server, by kind and verb", writes.clone());
        registry.register("polls", "Reports asked of sidecars, by outcome", polls.clone());
        registry.register("key_fetches", "Key sets asked of issuers, by outcome", key_fetches.clone());
        registry.register("key_sources", "Issuers whose keys are held", key_sources.clone());
        registry.register("leader", "1 while this operator is the one that acts", leader.clone());
        Self {
            registry: Arc::new(registry),
            reconciles,
            reconcile_seconds,
            writes,
            polls,
            key_fetches,
            key_sources,
            leader,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn reconciled(&self, ok: bool, took: Duration) {
        self.reconciles.get_or_create(&Outcome { outcome: if ok { "ok" } else { "error" } }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.get_or_create(&Write { kind, verb }).inc();
    }

    pub(crate) fn polled(&self, outcome: &'static str) {
        self.polls.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn fetched_keys(&self, outcome: &'static str) {
        self.key_fetches.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn hold_sources(&self, count: usize) {
        self.key_sources.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn lead(&self, leads: bool) {
        self.leader.set(leads.into());
    }
}
