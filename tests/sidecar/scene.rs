//! A running sidecar between a caller and an app, and the configurations that tests start from.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::issuer::FakeIssuer;
use tests::raw::{Body, Head, exchange};
use tests::wait::eventually;
use tollgate_sidecar::{AccessLogTo, DrainTimes, Limits, Options, Sidecar};

/// How long a thing that takes milliseconds may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running sidecar.
pub(crate) struct Scene {
    pub(crate) sidecar: Sidecar,
    pub(crate) log: Log,
}

/// What the sidecar wrote to its access log.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic before").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic before").clone()).expect("the log is UTF-8")
    }

    /// Waits for this many lines.
    pub(crate) async fn lines(&self, count: usize) -> Vec<Value> {
        eventually("lines in the access log", PATIENCE, || async {
            let text = self.text();
            let lines: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
            if lines.len() >= count { Ok(lines) } else { Err(text) }
        })
        .await
    }
}

/// Everything under `/` is public. The issuer is one that nobody can reach.
pub(crate) fn public(app: u16) -> Value {
    json!({
        "namespace": "shop",
        "name": "items",
        "issuers": [{
            "name": "okta",
            "url": "https://127.0.0.1:1/oauth2/default",
            "audiences": ["api://default"],
            "validation": "Local",
            "introspection": {"cacheMillis": 0},
            "clockSkewSeconds": 0,
        }],
        "defaultAccess": "Authenticated",
        "routes": [{"name": "all", "path": {"prefix": "/"}, "access": "Public"}],
        "upstream": {"port": app},
        "logLevel": "info",
    })
}

/// The items API of the examples, with tokens of `issuer`.
pub(crate) fn items(app: u16, issuer: &FakeIssuer) -> Value {
    let mut config = public(app);
    config["issuers"][0]["url"] = json!(issuer.url());
    config["issuers"][0]["caFile"] = json!(issuer.ca_file());
    config["routes"] = json!([
        {"name": "docs", "path": {"prefix": "/docs"}, "access": "Public"},
        {"name": "read", "path": {"prefix": "/items"}, "methods": ["GET"], "access": "Authenticated",
         "scopes": {"allOf": ["items"]}},
        {"name": "write", "path": {"prefix": "/items"}, "methods": ["POST"], "access": "Authenticated",
         "scopes": {"allOf": ["items:write"]}},
        {"name": "internal", "path": {"prefix": "/internal"}, "access": "Denied"},
    ]);
    config["tokenBroker"] = json!({
        "path": "/token", "issuer": "okta", "defaultScopes": ["items"], "allowedScopes": ["items"], "swaggerForm": false,
    });
    config
}

impl Scene {
    pub(crate) async fn start(config: &Value) -> Self {
        Self::with(config, |_| {}).await
    }

    /// Starts with other options.
    pub(crate) async fn with(config: &Value, change: impl FnOnce(&mut Options)) -> Self {
        let log = Log::default();
        let mut options = options(config);
        options.access_log = AccessLogTo::Writer(Box::new(log.clone()));
        change(&mut options);
        Self { sidecar: Sidecar::start(options).await.expect("the sidecar starts"), log }
    }

    /// Starts and waits until tokens can be judged.
    pub(crate) async fn ready(config: &Value) -> Self {
        Self::start(config).await.into_ready().await
    }

    /// Waits until tokens can be judged.
    pub(crate) async fn into_ready(self) -> Self {
        eventually("readiness", PATIENCE, || async {
            let (head, body) = self.admin("/readyz").await;
            if head.status() == 200 { Ok(()) } else { Err(body) }
        })
        .await;
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.sidecar.proxy_addr()
    }

    /// Sends bytes on a connection of their own; returns the answer.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> (Head, Body) {
        exchange(self.address(), request).await
    }

    /// `GET` with these further header lines.
    pub(crate) async fn get(&self, target: &str, headers: &[&str]) -> (Head, Body) {
        self.raw(request("GET", target, headers, "")).await
    }

    /// An answer of the admin port, as text.
    pub(crate) async fn admin(&self, path: &str) -> (Head, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n");
        let (head, body) = exchange(self.sidecar.admin_addr(), request).await;
        (head, String::from_utf8(body.bytes).expect("the admin port speaks UTF-8"))
    }

    pub(crate) async fn metrics(&self) -> String {
        self.admin("/metrics").await.1
    }

    /// Waits until the metrics hold this line.
    pub(crate) async fn await_metric(&self, line: &str) {
        eventually("a metric's value", PATIENCE, || async {
            let metrics = self.metrics().await;
            if metrics.lines().any(|held| held == line) { Ok(()) } else { Err(metrics) }
        })
        .await;
    }
}

/// On free ports, without a log.
pub(crate) fn options(config: &Value) -> Options {
    Options {
        config: config.to_string().into_bytes(),
        hints: std::path::PathBuf::new(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        pod_uid: "pod-1".to_owned(),
        pod_ip: None,
        access_log: AccessLogTo::Off,
        workers: None,
        drain: DrainTimes { lead: Duration::ZERO, deadline: PATIENCE },
        limits: Limits::default(),
    }
}

/// A request as bytes, with `content-length` where there is a body.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: api.test\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}

/// The reason in a problem's body.
pub(crate) fn reason(body: &Body) -> String {
    let problem: Value = serde_json::from_slice(&body.bytes).expect("a problem is JSON");
    problem["reason"].as_str().expect("a problem has a reason").to_owned()
}
