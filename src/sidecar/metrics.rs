//! What the proxy counts. Every handle is resolved before the first request: counting is index arithmetic, and labels
//! are bounded (routes of the policy, known methods, classes, the closed list of reasons). No path, host or client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::reason::Reason;
use crate::rescue;
use crate::route::RouteId;

/// From a cached local answer to the longest that the app may take.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const OUTCOMES: usize = CLASSES.len() + Reason::ALL.len();
/// Labels of requests that no route of the policy took; parentheses keep them apart from routes' names.
const SPECIAL: [&str; 4] = ["(default)", "(token)", "(metadata)", "(none)"];

/// Handles of the proxy's metrics.
#[derive(Debug, Clone)]
pub struct ProxyMetrics {
    requests: Arc<Requests>,
    /// Requests being served.
    pub in_flight: Gauge,
    /// Callers' connections.
    pub connections: Gauge,
    /// Connections turned away at the limit.
    pub shed_connections: Counter,
    /// Connections opened to the app.
    pub upstream_connects: Counter,
    /// Requests sent a second time because a kept connection had died.
    pub upstream_retries: Counter,
    /// Lines of the access log given up because standard output did not keep up.
    pub dropped_log_lines: Counter,
}

/// Which part of the service took a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A route of the policy, or the default.
    Route(RouteId),
    /// The token endpoint.
    Token,
    /// The metadata of the protected resource.
    Metadata,
    /// It was refused before any route was looked for.
    None,
}

/// `requests` by (place, method, outcome), `duration` by place, as flat tables.
struct Requests {
    places: Box<[Box<str>]>,
    counts: Box<[AtomicU64]>,
    durations: Box<[Histogram]>,
}

impl ProxyMetrics {
    /// Registers everything for a policy whose routes have these names, in order.
    pub fn register<'a>(registry: &mut Registry, routes: impl Iterator<Item = &'a str>) -> Self {
        let places: Box<[Box<str>]> = SPECIAL.into_iter().chain(routes).map(Box::from).collect();
        let requests = Arc::new(Requests {
            counts: std::iter::repeat_with(AtomicU64::default).take(places.len() * METHODS.len() * OUTCOMES).collect(),
            durations: places.iter().map(|_| Histogram::new(BUCKETS)).collect(),
            places,
        });
        registry.register_collector(Box::new(Arc::clone(&requests)));
        let metrics = Self {
            requests,
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            shed_connections: Counter::default(),
            upstream_connects: Counter::default(),
            upstream_retries: Counter::default(),
            dropped_log_lines: Counter::default(),
        };
        registry.register("requests_in_flight", "Requests being served", metrics.in_flight.clone());
        registry.register("connections", "Open connections of callers", metrics.connections.clone());
        for (name, help, counter) in [
            ("connections_shed", "Connections turned away at the limit", &metrics.shed_connections),
            ("upstream_connects", "Connections opened to the app", &metrics.upstream_connects),
            ("upstream_retries", "Requests sent again after a kept connection had died", &metrics.upstream_retries),
            ("access_log_dropped", "Access log lines given up because stdout was slow", &metrics.dropped_log_lines),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// Counts a request that is over.
    pub fn observe(&self, place: Place, method: &Method, status: StatusCode, reason: Option<Reason>, took: Duration) {
        let place = place_index(place);
        let outcome = match reason {
            Some(reason) => CLASSES.len() + reason as usize,
            None => class(status),
        };
        let slot = (place * METHODS.len() + method_index(method)) * OUTCOMES + outcome;
        if let (Some(count), Some(duration)) = (self.requests.counts.get(slot), self.requests.durations.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
            duration.observe(took.as_secs_f64());
        }
    }

    /// The label of a place, also for the access log.
    #[must_use]
    pub fn name(&self, place: Place) -> &str {
        self.requests.places.get(place_index(place)).map_or("", |name| name)
    }
}

impl Requests {
    fn encode_counts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counters = encoder.encode_descriptor("requests", "Requests answered", None, MetricType::Counter)?;
        for (slot, count) in self.counts.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let outcome = slot % OUTCOMES;
                let (status, reason) = match outcome.checked_sub(CLASSES.len()) {
                    None => (CLASSES[outcome], ""),
                    Some(at) => (CLASSES[class(rescue::status(Reason::ALL[at]))], Reason::ALL[at].as_str()),
                };
                let labels = [
                    ("route", &*self.places[slot / OUTCOMES / METHODS.len()]),
                    ("method", METHODS[slot / OUTCOMES % METHODS.len()]),
                    ("status", status),
                    ("reason", reason),
                ];
                ConstCounter::new(count).encode(counters.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_counts(&mut encoder)?;
        let help = "From a request's head to the end of its answer";
        let mut durations =
            encoder.encode_descriptor("request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (route, duration) in self.places.iter().zip(&self.durations) {
            duration.encode(durations.encode_family(&[("route", &**route)])?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("places", &self.places).finish_non_exhaustive()
    }
}

fn place_index(place: Place) -> usize {
    match place {
        Place::Route(RouteId::Default) => 0,
        Place::Token => 1,
        Place::Metadata => 2,
        Place::None => 3,
        Place::Route(RouteId::Rule(id)) => SPECIAL.len() + usize::from(id),
    }
}

fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

/// Index into [`CLASSES`]; what HTTP has no class for counts as a failure.
fn class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn requests_are_counted_by_route_method_class_and_reason() {
        let mut registry = Registry::with_prefix("tollgate");
        let metrics = ProxyMetrics::register(&mut registry, ["items"].into_iter());
        let took = Duration::from_millis(3);
        let items = Place::Route(RouteId::Rule(0));
        metrics.observe(items, &Method::GET, StatusCode::OK, None, took);
        metrics.observe(items, &Method::GET, StatusCode::OK, None, took);
        metrics.observe(items, &Method::GET, StatusCode::UNAUTHORIZED, Some(Reason::Expired), took);
        metrics.observe(Place::Token, &Method::POST, StatusCode::BAD_REQUEST, Some(Reason::InvalidScope), took);
        let odd = Method::from_bytes(b"BREW").unwrap();
        metrics.observe(Place::None, &odd, StatusCode::BAD_REQUEST, Some(Reason::BadPath), took);
        let text = text(&registry);
        for line in [
            r#"tollgate_requests_total{route="items",method="GET",status="2xx",reason=""} 2"#,
            r#"tollgate_requests_total{route="items",method="GET",status="4xx",reason="expired"} 1"#,
            r#"tollgate_requests_total{route="(token)",method="POST",status="4xx",reason="invalid_scope"} 1"#,
            r#"tollgate_requests_total{route="(none)",method="OTHER",status="4xx",reason="bad_path"} 1"#,
            r#"tollgate_request_duration_seconds_count{route="items"} 3"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("tollgate_requests_total{").count(), 4, "only what happened is listed");
    }

    #[test]
    fn reasons_stand_in_the_order_of_their_list() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
    }
}
