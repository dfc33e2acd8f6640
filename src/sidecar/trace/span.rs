//! What is said of a request: its record becomes the spans of OpenTelemetry, with the names of the semantic conventions
//! for HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). Pure. What is not in a record (queries,
//! headers, tokens, addresses) cannot get into a span.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tollgate_contract::SidecarConfig;

use super::Trace;
use crate::grpc;
use crate::identity::Identity;
use crate::metrics::{Place, ProxyMetrics};
use crate::reason::Reason;

/// What the conventions call a method that they do not know.
const OTHER: &str = "_OTHER";

/// A recorded request that is over. It holds nothing of the connection's buffers.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) trace: Trace,
    pub(crate) began: SystemTime,
    pub(crate) took: Duration,
    pub(crate) method: Method,
    pub(crate) path: Box<str>,
    pub(crate) version: Version,
    pub(crate) place: Place,
    /// None when the caller left before there was an answer.
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<u16>,
    pub(crate) reason: Option<Reason>,
    pub(crate) aborted: bool,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) request_id: Box<str>,
    /// Judging the token, questions to its issuer included.
    pub(crate) judged: Option<Step>,
    /// The call to the app, up to its answer's head.
    pub(crate) called: Option<Step>,
}

/// A part of a request's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// From the request's head.
    pub(crate) after: Duration,
    pub(crate) took: Duration,
}

/// Who speaks in the spans.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) resource: Resource,
    pub(super) metrics: ProxyMetrics,
    scope: InstrumentationScope,
    /// Of the proxy port.
    scheme: &'static str,
    /// `http://127.0.0.1:8000`
    app_url: String,
    app_host: String,
    app_port: i64,
}

impl Service {
    pub(super) fn new(config: &SidecarConfig, app: SocketAddr, pod_uid: &str, metrics: &ProxyMetrics) -> Self {
        let mut about = vec![
            KeyValue::new("service.name", format!("{}-tollgate", config.name)),
            KeyValue::new("service.namespace", config.namespace.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("k8s.namespace.name", config.namespace.clone()),
        ];
        if !pod_uid.is_empty() {
            about.push(KeyValue::new("service.instance.id", pod_uid.to_owned()));
            about.push(KeyValue::new("k8s.pod.uid", pod_uid.to_owned()));
        }
        let scheme = |tls| if tls { "https" } else { "http" };
        Self {
            resource: Resource::builder_empty().with_attributes(about).build(),
            metrics: metrics.clone(),
            scope: InstrumentationScope::builder("tollgate-sidecar").with_version(env!("CARGO_PKG_VERSION")).build(),
            scheme: scheme(config.tls.is_some()),
            app_url: format!("{}://{}", scheme(config.upstream.tls.is_some()), app),
            app_host: app.ip().to_string(),
            app_port: app.port().into(),
        }
    }

    /// The request, the judgement of its token, and the call to the app.
    pub(super) fn spans(&self, record: &Record) -> Vec<SpanData> {
        let mut spans = vec![self.request(record)];
        if let Some(step) = record.judged {
            let id = SpanId::from(rand::random::<u64>().max(1));
            let attributes = record.identity.iter().map(|identity| issuer(identity)).collect();
            let name = "authenticate".into();
            spans.push(self.span(record, id, name, SpanKind::Internal, (step.after, step.took), attributes));
        }
        if let Some(step) = record.called {
            spans.push(self.call(record, step));
        }
        spans
    }

    fn request(&self, record: &Record) -> SpanData {
        let route = self.metrics.name(record.place);
        let method = method(&record.method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", self.scheme),
            KeyValue::new("url.path", record.path.to_string()),
            KeyValue::new("network.protocol.version", version(record.version)),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("tollgate.request_id", record.request_id.to_string()),
        ];
        if let Some(identity) = &record.identity {
            attributes.push(issuer(identity));
            attributes.extend(identity.client_id().map(|id| KeyValue::new("tollgate.client_id", id.to_owned())));
            attributes.extend(identity.unasked.then(|| KeyValue::new("tollgate.unasked", true)));
        }
        attributes.extend(outcome(record));
        attributes.extend(error_type(record));
        let name = format!("{} {route}", if method == OTHER { "HTTP" } else { method }).into();
        let mut span =
            self.span(record, record.trace.request, name, SpanKind::Server, (Duration::ZERO, record.took), attributes);
        span.parent_span_id = record.trace.parent.unwrap_or(SpanId::INVALID);
        span.parent_span_is_remote = record.trace.parent.is_some();
        // The fault of callers is none of ours.
        let failed = record.status.is_some_and(|status| status.is_server_error())
            || record.grpc_status.is_some_and(grpc::is_failure)
            || record.aborted;
        if failed {
            span.status = Status::error("");
        }
        span
    }

    fn call(&self, record: &Record, step: Step) -> SpanData {
        let method = method(&record.method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.full", format!("{}{}", self.app_url, record.path)),
            KeyValue::new("server.address", self.app_host.clone()),
            KeyValue::new("server.port", self.app_port),
            KeyValue::new("tollgate.head_ms", millis(step.took)),
        ];
        let failed = match record.reason {
            Some(reason) => {
                attributes.push(KeyValue::new("error.type", reason.as_str()));
                true
            }
            None => {
                attributes.extend(outcome(record));
                attributes.extend(error_type(record));
                // To whoever calls, an answer of 400 and above is a failure.
                record.aborted || record.status.is_none_or(|status| status.as_u16() >= 400)
            }
        };
        // To the end of the answer's body.
        let took = record.took.saturating_sub(step.after);
        let mut span =
            self.span(record, record.trace.call, method.into(), SpanKind::Client, (step.after, took), attributes);
        if failed {
            span.status = Status::error("");
        }
        span
    }

    /// A child of the request's span.
    fn span(
        &self,
        record: &Record,
        id: SpanId,
        name: Cow<'static, str>,
        span_kind: SpanKind,
        (after, took): (Duration, Duration),
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        let start_time = record.began + after;
        SpanData {
            span_context: SpanContext::new(record.trace.id, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: record.trace.request,
            parent_span_is_remote: false,
            span_kind,
            name,
            start_time,
            end_time: start_time + took,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn issuer(identity: &Identity) -> KeyValue {
    KeyValue::new("tollgate.issuer", Value::String(Arc::clone(&identity.issuer).into()))
}

fn outcome(record: &Record) -> impl Iterator<Item = KeyValue> {
    let status = record.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    let grpc = record.grpc_status.map(|status| KeyValue::new("rpc.grpc.status_code", i64::from(status)));
    status.into_iter().chain(grpc)
}

/// The reason, or what went wrong where we refused nothing.
fn error_type(record: &Record) -> Option<KeyValue> {
    let server_error = record.status.filter(StatusCode::is_server_error);
    let kind: Value = match (record.reason, server_error) {
        (Some(reason), _) => reason.as_str().into(),
        (None, Some(status)) => status.as_str().to_owned().into(),
        (None, None) if record.status.is_none() => "caller_left".into(),
        (None, None) if record.aborted => "aborted".into(),
        (None, None) => return None,
    };
    Some(KeyValue::new("error.type", kind))
}

/// Others would be whatever a caller likes.
fn method(method: &Method) -> &'static str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    const NAMES: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.iter().position(|known| known == method).map_or(OTHER, |at| NAMES[at])
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
