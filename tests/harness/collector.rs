//! The OpenTelemetry Collector: it takes OTLP as any collector does, and hands on as JSON what it understood, for tests
//! to look at.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use xtask::toolchain;

use crate::upstream::{Upstream, ok};
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running collector; ends when dropped.
pub struct Collector {
    process: Child,
    port: u16,
    received: Upstream,
}

/// A span as the collector understood it.
#[derive(Debug, Clone)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Empty at a trace's root.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// `SpanKind` of OTLP: 1 internal, 2 server, 3 client.
    pub kind: u64,
    /// `StatusCode` of OTLP: 0 unset, 1 ok, 2 error.
    pub status: u64,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Attributes of the span; numbers as OTLP writes them in JSON.
    pub attributes: BTreeMap<String, Value>,
    /// Attributes of who sent it.
    pub resource: BTreeMap<String, Value>,
}

impl Collector {
    /// Starts one, after building it where the cache lacks it.
    ///
    /// # Panics
    /// When it cannot be built or does not start.
    pub async fn start() -> Self {
        let program = tokio::task::spawn_blocking(|| {
            toolchain::ensure(&["otelcol"]).expect("the collector can be built");
            toolchain::path("otelcol").expect("the collector is a tool")
        });
        let program = program.await.expect("no panic");
        let received = Upstream::start(|_| ok("{}")).await;
        let port = xtask::cluster::free_port().expect("a free port");
        let config = json!({
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": format!("127.0.0.1:{port}")}}}},
            "exporters": {"otlp_http": {
                "endpoint": format!("http://127.0.0.1:{}", received.port()),
                "encoding": "json", "compression": "none", "sending_queue": {"enabled": false},
            }},
            "service": {
                "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
            },
        });
        let mut command = Command::new(program);
        command.arg(format!("--config=yaml:{config}")).stdin(Stdio::null());
        let process = command.spawn().expect("the collector starts");
        let collector = Self { process, port, received };
        eventually("the collector to listen", PATIENCE, || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop)
        })
        .await;
        collector
    }

    /// Where it takes OTLP over HTTP.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that it handed on so far, as text.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn text(&self) -> String {
        let bodies = self.received.arrived().into_iter().map(|arrived| arrived.body.bytes);
        bodies.map(|body| String::from_utf8(body).expect("JSON is UTF-8")).collect::<Vec<_>>().join("\n")
    }

    /// Waits for at least so many spans.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        eventually("spans at the collector", PATIENCE, || async {
            let spans: Vec<Span> = self.text().lines().flat_map(spans).collect();
            if spans.len() >= count { Ok(spans) } else { Err(format!("{} of {count} spans: {spans:#?}", spans.len())) }
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Span {
    /// An attribute as text, empty where it is missing.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        match self.attributes.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// The spans of one `ExportTraceServiceRequest`.
fn spans(line: &str) -> Vec<Span> {
    let request: Value = serde_json::from_str(line).expect("the collector writes JSON");
    let mut spans = Vec::new();
    for resource in list(&request["resourceSpans"]) {
        let about = attributes(&resource["resource"]["attributes"]);
        for span in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
            spans.push(Span {
                trace: text("traceId"),
                id: text("spanId"),
                parent: text("parentSpanId"),
                name: text("name"),
                kind: span["kind"].as_u64().unwrap_or_default(),
                status: span["status"]["code"].as_u64().unwrap_or_default(),
                start: text("startTimeUnixNano").parse().expect("a time"),
                end: text("endTimeUnixNano").parse().expect("a time"),
                attributes: attributes(&span["attributes"]),
                resource: about.clone(),
            });
        }
    }
    spans
}

fn attributes(list_of: &Value) -> BTreeMap<String, Value> {
    let value = |attribute: &Value| attribute["value"].as_object()?.values().next().cloned();
    let pair = |attribute: &Value| Some((attribute["key"].as_str()?.to_owned(), value(attribute)?));
    list(list_of).iter().filter_map(pair).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
