//! What the proxy counts. Every handle is resolved before the first request: counting is index arithmetic, and labels
//! are bounded (routes of the policy, known methods, classes, the closed list of reasons). No path, host or client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};
use opentelemetry::trace::TraceId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use crate::places::Places;
use crate::reason::Reason;
use crate::rescue;
use crate::route::RouteId;
use crate::trace::TraceMetrics;

/// From a cached local answer to the longest that the app may take.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const OUTCOMES: usize = CLASSES.len() + Reason::ALL.len();
const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];
/// Counters of one place.
const SLOTS: usize = METHODS.len() * PROTOCOLS.len() * OUTCOMES;
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
    /// Open WebSockets.
    pub tunnels: Gauge,
    /// Connections turned away at the limit.
    pub shed_connections: Counter,
    /// Connections opened to the app.
    pub upstream_connects: Counter,
    /// Requests sent a second time because a kept connection had died.
    pub upstream_retries: Counter,
    /// Streams and WebSockets ended because they had lost their right to go on, or their app.
    pub streams_cut: Counter,
    /// Lines of the access log given up because standard output did not keep up.
    pub dropped_log_lines: Counter,
    /// What became of spans.
    pub(crate) traces: TraceMetrics,
}

/// What is spoken between caller and sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    #[serde(rename = "h1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
}

/// How many of the places at the app are taken, read when somebody looks.
#[derive(Debug)]
pub(crate) struct UpstreamPlaces(pub(crate) Arc<Places>);

/// Which part of the service took a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A route of the policy, or the default.
    Route(RouteId),
    /// The token endpoint.
    Token,
    /// The metadata of the protected resource.
    Metadata,
    /// No route was looked for: it was refused before, or is a preflight that is answered here.
    None,
}

/// What is counted of a request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Who took it.
    pub place: Place,
    /// As received.
    pub method: &'a Method,
    /// As received.
    pub protocol: Protocol,
    /// Of the answer.
    pub status: StatusCode,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// From its head to the end of its answer.
    pub took: Duration,
    /// The trace that it is recorded in; becomes the exemplar of its duration.
    pub trace: Option<TraceId>,
}

/// `trace_id` of a request that is recorded.
type Exemplar = [(&'static str, String); 1];

/// `requests` by (place, method, protocol, outcome), `duration` by place, as flat tables.
struct Requests {
    places: Box<[Box<str>]>,
    counts: Box<[AtomicU64]>,
    durations: Box<[HistogramWithExemplars<Exemplar>]>,
}

impl ProxyMetrics {
    /// Registers everything for a policy whose routes have these names, in order.
    pub fn register<'a>(registry: &mut Registry, routes: impl Iterator<Item = &'a str>) -> Self {
        let places: Box<[Box<str>]> = SPECIAL.into_iter().chain(routes).map(Box::from).collect();
        let requests = Arc::new(Requests {
            counts: std::iter::repeat_with(AtomicU64::default).take(places.len() * SLOTS).collect(),
            durations: places.iter().map(|_| HistogramWithExemplars::new(BUCKETS.into_iter())).collect(),
            places,
        });
        registry.register_collector(Box::new(Arc::clone(&requests)));
        let metrics = Self {
            requests,
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            tunnels: Gauge::default(),
            shed_connections: Counter::default(),
            upstream_connects: Counter::default(),
            upstream_retries: Counter::default(),
            streams_cut: Counter::default(),
            dropped_log_lines: Counter::default(),
            traces: TraceMetrics::register(registry),
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The sidecar's version", build);
        registry.register("requests_in_flight", "Requests being served", metrics.in_flight.clone());
        registry.register("connections", "Open connections of callers", metrics.connections.clone());
        registry.register("tunnels", "Open WebSockets", metrics.tunnels.clone());
        for (name, help, counter) in [
            ("connections_shed", "Connections turned away or ended for want of room", &metrics.shed_connections),
            ("upstream_connects", "Connections opened to the app", &metrics.upstream_connects),
            ("upstream_retries", "Requests sent to the app a second time", &metrics.upstream_retries),
            ("streams_cut", "Streams and WebSockets ended before their end, with a reason", &metrics.streams_cut),
            ("access_log_dropped", "Access log lines given up because stdout was slow", &metrics.dropped_log_lines),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// Counts a request that is over.
    pub fn observe(&self, observed: Observed<'_>) {
        let Observed { place, method, protocol, status, reason, took, trace } = observed;
        let place = place_index(place);
        let outcome = match reason {
            Some(reason) => CLASSES.len() + reason as usize,
            None => class(status),
        };
        let slot =
            ((place * METHODS.len() + method_index(method)) * PROTOCOLS.len() + protocol as usize) * OUTCOMES + outcome;
        if let (Some(count), Some(duration)) = (self.requests.counts.get(slot), self.requests.durations.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
            let (exemplar, at) = trace.map(|id| ([("trace_id", id.to_string())], SystemTime::now())).unzip();
            duration.observe(took.as_secs_f64(), exemplar, at);
        }
    }

    /// The label of a place, also for the access log.
    #[must_use]
    pub fn name(&self, place: Place) -> &str {
        self.requests.places.get(place_index(place)).map_or("", |name| name)
    }
}

impl Protocol {
    /// Of a request.
    #[must_use]
    pub fn of(version: Version) -> Self {
        if version == Version::HTTP_2 { Self::Http2 } else { Self::Http1 }
    }

    /// The word in metrics and log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
        }
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
                let kind = slot / OUTCOMES;
                let labels = [
                    ("route", &*self.places[slot / SLOTS]),
                    ("method", METHODS[kind / PROTOCOLS.len() % METHODS.len()]),
                    ("protocol", PROTOCOLS[kind % PROTOCOLS.len()].as_str()),
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

impl Collector for UpstreamPlaces {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in [
            ("upstream_in_flight", "Requests at the app, whose answers have not ended", self.0.taken()),
            ("upstream_in_flight_limit", "How many requests may be at the app at once", self.0.limit()),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
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
        let observe = |place, method: &str, protocol, reason: Option<Reason>| {
            let (method, status) =
                (Method::from_bytes(method.as_bytes()).unwrap(), reason.map_or(StatusCode::OK, rescue::status));
            metrics.observe(Observed {
                place,
                method: &method,
                protocol,
                status,
                reason,
                took: Duration::from_millis(3),
                trace: None,
            });
        };
        let items = Place::Route(RouteId::Rule(0));
        observe(items, "GET", Protocol::Http1, None);
        observe(items, "GET", Protocol::Http1, None);
        observe(items, "GET", Protocol::Http2, None);
        observe(items, "GET", Protocol::Http2, Some(Reason::Expired));
        observe(Place::Token, "POST", Protocol::Http1, Some(Reason::InvalidScope));
        observe(Place::None, "BREW", Protocol::Http2, Some(Reason::BadPath));
        let text = text(&registry);
        for line in [
            r#"tollgate_requests_total{route="items",method="GET",protocol="h1",status="2xx",reason=""} 2"#,
            r#"tollgate_requests_total{route="items",method="GET",protocol="h2",status="2xx",reason=""} 1"#,
            r#"tollgate_requests_total{route="items",method="GET",protocol="h2",status="4xx",reason="expired"} 1"#,
            r#"tollgate_requests_total{route="(token)",method="POST",protocol="h1",status="4xx",reason="invalid_scope"} 1"#,
            r#"tollgate_requests_total{route="(none)",method="OTHER",protocol="h2",status="4xx",reason="bad_path"} 1"#,
            r#"tollgate_request_duration_seconds_count{route="items"} 4"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("tollgate_requests_total{").count(), 5, "only what happened is listed");
    }

    #[test]
    fn reasons_stand_in_the_order_of_their_list() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
    }
}
