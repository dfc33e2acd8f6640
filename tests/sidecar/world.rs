//! A whole sidecar in process, between an authorization server with faults and an app that says what reached it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tests::issuer::{FakeIssuer, mount_credentials};
use tests::wait::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tollgate_contract::{
    AccessLogConfig, BrokerConfig, ClientAuthMethod, ClientConfig, CorsConfig, DefaultAccess, IntrospectionConfig,
    IssuerConfig, LogLevel, PathsConfig, Problem, SidecarConfig, SidecarReport, StreamsConfig, UpstreamConfig,
    ValidationMode,
};
use tollgate_sidecar::{AccessLogTo, DrainTimes, Limits, Options, Sidecar};

use crate::scene::Log;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running sidecar and what it needs.
pub(crate) struct World {
    pub(crate) issuer: Arc<FakeIssuer>,
    /// The folder with this API's own client credentials.
    pub(crate) credentials: tempfile::TempDir,
    /// What the sidecar wrote to its access log.
    pub(crate) log: Log,
    pub(crate) sidecar: Sidecar,
    app: App,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Status and reason, `-` where there is none: what most tests are about.
    pub(crate) fn verdict(&self) -> (u16, &str) {
        (self.status, self.body["reason"].as_str().unwrap_or("-"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl World {
    /// A sidecar that is ready, in this mode, with a minute of introspection cache.
    pub(crate) async fn ready(mode: ValidationMode) -> Self {
        let world = Self::start(FakeIssuer::start().await, mode, |_| {}).await;
        world.await_ready().await;
        world
    }

    /// A sidecar as soon as it listens. `change` has the last word on the configuration.
    pub(crate) async fn start(
        issuer: impl Into<Arc<FakeIssuer>>,
        mode: ValidationMode,
        change: impl FnOnce(&mut SidecarConfig),
    ) -> Self {
        Self::start_within(Limits::default(), issuer, mode, change).await
    }

    /// The same with other bounds.
    pub(crate) async fn start_within(
        limits: Limits,
        issuer: impl Into<Arc<FakeIssuer>>,
        mode: ValidationMode,
        change: impl FnOnce(&mut SidecarConfig),
    ) -> Self {
        Self::start_as(|options| options.limits = limits, issuer, mode, change).await
    }

    /// The same with any other options.
    pub(crate) async fn start_as(
        choose: impl FnOnce(&mut Options),
        issuer: impl Into<Arc<FakeIssuer>>,
        mode: ValidationMode,
        change: impl FnOnce(&mut SidecarConfig),
    ) -> Self {
        let issuer = issuer.into();
        tests::install_crypto();
        let credentials = tempfile::tempdir().expect("a folder");
        issuer.client("0oaApi", &["api-secret"]);
        mount_credentials(credentials.path(), "0oaApi", "api-secret", None);
        let app = App::start().await;
        let mut config = SidecarConfig {
            namespace: "shop".into(),
            name: "items".into(),
            issuers: vec![IssuerConfig {
                validation: mode,
                client: Some(ClientConfig {
                    credentials_dir: credentials.path().display().to_string(),
                    auth_method: ClientAuthMethod::ClientSecretBasic,
                }),
                introspection: IntrospectionConfig { max_stale_millis: 0, ..IntrospectionConfig::default() },
                ca_file: Some(issuer.ca_file().display().to_string()),
                ..IssuerConfig::new("okta", issuer.url(), vec!["api://default".into()])
            }],
            default_access: DefaultAccess::Authenticated,
            routes: Vec::new(),
            token_broker: Some(BrokerConfig {
                path: "/token".into(),
                issuer: "okta".into(),
                default_scopes: vec!["items".into()],
                allowed_scopes: vec!["items".into(), "items:write".into()],
                swagger_form: true,
            }),
            external_urls: Vec::new(),
            trusted_proxies: Vec::new(),
            upstream: UpstreamConfig::new(app.address.port()),
            paths: PathsConfig::default(),
            streams: StreamsConfig::default(),
            cors: CorsConfig::default(),
            tls: None,
            max_body_bytes: None,
            access_log: AccessLogConfig::default(),
            tracing: None,
            log_level: LogLevel::Info,
        };
        change(&mut config);
        let log = Log::default();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut options = Options {
            config: config.to_file().expect("JSON").into_bytes(),
            hints: std::path::PathBuf::new(),
            listen: any,
            admin: any,
            pod_uid: "pod-1".into(),
            pod_ip: None,
            access_log: AccessLogTo::Writer(Box::new(log.clone())),
            workers: None,
            limits: Limits::default(),
            drain: DrainTimes { lead: Duration::ZERO, deadline: Duration::from_secs(5) },
        };
        choose(&mut options);
        let sidecar = Box::pin(Sidecar::start(options)).await.expect("a sidecar");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { issuer, credentials, log, sidecar, app, http }
    }

    /// Waits until the sidecar can judge tokens.
    pub(crate) async fn await_ready(&self) {
        eventually("the sidecar is ready", PATIENCE, || async {
            match self.admin("/readyz").await.status().as_u16() {
                200 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// Whether it says that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.admin("/readyz").await.status().as_u16() == 200
    }

    /// What it says of itself.
    pub(crate) async fn report(&self) -> SidecarReport {
        let text = self.admin("/config").await.bytes().await.expect("a body");
        serde_json::from_slice(&text).expect("a report")
    }

    /// Waits until exactly these problems are reported.
    pub(crate) async fn await_problems(&self, expected: &[Problem]) {
        eventually("the problems are reported", PATIENCE, || async {
            let problems = self.report().await.problems;
            if problems == expected { Ok(()) } else { Err(format!("{problems:?}, not {expected:?}")) }
        })
        .await;
    }

    /// Everything that the admin port serves to whoever asks.
    pub(crate) async fn admin_pages(&self) -> String {
        let mut pages = String::new();
        for path in ["/livez", "/readyz", "/metrics", "/config"] {
            pages += &self.admin(path).await.text().await.expect("a page");
        }
        pages
    }

    /// One gauge's value, when it is there. `name` holds the labels, as they are printed.
    pub(crate) async fn gauge(&self, name: &str) -> Option<f64> {
        let text = self.admin("/metrics").await.text().await.expect("metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a number"))
    }

    /// One metric's value, 0 when it is not there. `name` holds the labels, as they are printed.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.text().await.expect("metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    async fn admin(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.sidecar.admin_addr());
        self.http.get(url).send().await.expect("the admin port answers")
    }

    /// `GET /items` with this token.
    pub(crate) async fn get(&self, token: &str) -> Answer {
        self.get_with(&[&format!("Bearer {token}")]).await
    }

    /// `GET` of a path with this token.
    pub(crate) async fn get_path(&self, path: &str, token: &str) -> Answer {
        let url = format!("http://{}{path}", self.sidecar.proxy_addr());
        answer(self.http.get(url).bearer_auth(token)).await
    }

    /// `GET /items` with these `Authorization` headers.
    pub(crate) async fn get_with(&self, authorization: &[&str]) -> Answer {
        self.get_at("/items", authorization).await
    }

    /// `GET` of a path with these `Authorization` headers.
    pub(crate) async fn get_at(&self, path: &str, authorization: &[&str]) -> Answer {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        self.send(Method::GET, path, &headers).await
    }

    /// Any request with these headers.
    pub(crate) async fn send(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a header name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        let url = format!("http://{}{target}", self.sidecar.proxy_addr());
        answer(self.http.request(method, url).headers(map)).await
    }

    /// `POST /token` with a form and headers.
    pub(crate) async fn post_token(&self, headers: &[(&str, &str)], form: &str) -> Answer {
        let url = format!("http://{}/token", self.sidecar.proxy_addr());
        let mut request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.body(form.to_owned())).await
    }

    /// How many requests the app got.
    pub(crate) fn app_hits(&self) -> usize {
        self.app.hits.load(Ordering::SeqCst)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the sidecar answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a body");
    Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

/// A problem of the one issuer.
pub(crate) fn problem(code: tollgate_contract::ProblemCode) -> Problem {
    Problem { code, issuer: "okta".into() }
}

/// Echoes the identity headers as JSON.
struct App {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (hits, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counter, stopped) = (Arc::clone(&hits), stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopped.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((connection, _)) = accepted else { continue };
                let counter = Arc::clone(&counter);
                let service = service_fn(move |request| echo(request, Arc::clone(&counter)));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
            }
        });
        Self { address, hits, _stop: stop.drop_guard() }
    }
}

async fn echo(
    request: Request<Incoming>,
    hits: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    hits.fetch_add(1, Ordering::SeqCst);
    let identity: HashMap<_, _> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix("x-tollgate-")?, value.to_str().ok()?)))
        .collect();
    Ok(Response::new(Full::new(Bytes::from(json!(identity).to_string()))))
}
