//! What the operator counts, in labels from closed sets, and the conditions of the resources that there are.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
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
    conditions: Conditions,
}

/// A condition of a resource, as its status has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
}

/// Where to ask for the conditions of all resources, while this operator leads. They are asked for at each scrape, so what
/// is gone is shown no longer.
#[derive(Clone, Default)]
struct Conditions(Arc<Mutex<Option<Source>>>);

type Source = Box<dyn Fn() -> Vec<Standing> + Send + Sync>;

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
        let conditions = Conditions::default();
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
        registry.register_collector(Box::new(conditions.clone()));
        Self {
            registry: Arc::new(registry),
            reconciles,
            reconcile_seconds,
            writes,
            polls,
            key_fetches,
            key_sources,
            leader,
            conditions,
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
        if !leads {
            *self.conditions.source() = None;
        }
    }

    /// Shows these conditions until leadership ends.
    pub(crate) fn show(&self, conditions: impl Fn() -> Vec<Standing> + Send + Sync + 'static) {
        *self.conditions.source() = Some(Box::new(conditions));
    }
}

impl Conditions {
    /// A panic elsewhere leaves nothing half done here: every change is one assignment.
    fn source(&self) -> MutexGuard<'_, Option<Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.source().as_ref().map(|ask| ask()).unwrap_or_default();
        let help = "1 for the status and reason that a condition of a resource has";
        let mut metric = encoder.encode_descriptor("condition", help, None, MetricType::Gauge)?;
        for Standing { namespace, name, kind, status, reason } in &all {
            // `namespace` and `pod` are what Prometheus calls where it found the operator.
            let labels = [
                ("api_namespace", namespace.as_str()),
                ("api", name.as_str()),
                ("type", kind.as_str()),
                ("status", status.as_str()),
                ("reason", reason.as_str()),
            ];
            ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions").finish_non_exhaustive()
    }
}
