//! An authorization server in process, with faults on demand: HTTPS under a private CA, Okta's paths, forms and errors.
//! It decides what Okta would decide, and whatever a test tells it to.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::mint::{Token, epoch_seconds, signing_key};

/// What can be asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// RFC 8414's form of the metadata.
    Metadata,
    /// The older form, which appends.
    LegacyMetadata,
    /// OpenID Connect's form.
    OpenIdMetadata,
    /// The key set.
    Keys,
    /// Tokens.
    Token,
    /// Introspection.
    Introspect,
    /// Where redirects lead; nobody should ever come here.
    Elsewhere,
}

/// What an endpoint does instead of its work.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Okta's 429, with the window starting again after so many seconds.
    Limited(u64),
    /// Works, but late.
    Delay(Duration),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Redirects to [`Endpoint::Elsewhere`].
    Redirect,
    /// 200 with a body of so many bytes.
    Oversize(usize),
}

/// What happens to new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// TLS and HTTP.
    Good,
    /// Closed at once: the server is down.
    Down,
    /// TLS, then bytes that are no HTTP.
    Garbage,
    /// A certificate of a CA that nobody knows.
    StrangeCertificate,
    /// A certificate for another name.
    OtherName,
}

/// A request as it came in, for tests that look at it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The form.
    pub form: HashMap<String, String>,
}

/// A running authorization server; ends when dropped.
pub struct FakeIssuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    folder: tempfile::TempDir,
    _stop: DropGuard,
}

struct State {
    base: String,
    wire: Wire,
    faults: HashMap<Endpoint, Fault>,
    seen: HashMap<Endpoint, Vec<Seen>>,
    metadata: Value,
    keys: Value,
    cache_control: String,
    /// Active secrets by client.
    clients: HashMap<String, Vec<String>>,
    /// What is said of tokens; others are inactive.
    answers: HashMap<String, Value>,
    revoked: HashSet<String>,
    token_extras: Value,
    lifetime: u64,
}

impl FakeIssuer {
    /// Starts one on a free port of 127.0.0.1, publishing [`signing_key`], with the client `0oaCaller` / `s3cret`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let base = format!("https://127.0.0.1:{}/oauth2/default", address.port());
        let metadata = json!({
            "issuer": base,
            "token_endpoint": format!("{base}/v1/token"),
            "introspection_endpoint": format!("{base}/v1/introspect"),
            "jwks_uri": format!("{base}/v1/keys"),
        });
        let state = Arc::new(Mutex::new(State {
            base,
            wire: Wire::Good,
            faults: HashMap::new(),
            seen: HashMap::new(),
            metadata,
            keys: json!({"keys": [signing_key().jwk()]}),
            cache_control: "max-age=3832304, must-revalidate".into(),
            clients: HashMap::from([("0oaCaller".into(), vec!["s3cret".into()])]),
            answers: HashMap::new(),
            revoked: HashSet::new(),
            token_extras: json!({}),
            lifetime: 3600,
        }));
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = Certificates::issue();
        std::fs::write(folder.path().join("ca.crt"), &certificates.ca_pem).expect("a file");
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, certificates, Arc::clone(&state), stop.clone()));
        Self { address, state, folder, _stop: stop.drop_guard() }
    }

    /// The exact `iss` of its tokens.
    pub fn url(&self) -> String {
        self.state().base.clone()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The file with the private CA's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A good token of this issuer, in the making.
    pub fn token(&self) -> Token {
        Token::of(&self.url())
    }

    /// Signs a token and says that it is active when asked.
    pub fn active(&self, token: &Token) -> String {
        let text = token.signed();
        self.answer(&text, token.answer());
        text
    }

    /// What introspection says of a token from now on.
    pub fn answer(&self, token: &str, answer: Value) {
        self.state().answers.insert(token.to_owned(), answer);
    }

    /// Ends a token.
    pub fn revoke(&self, token: &str) {
        self.state().revoked.insert(token.to_owned());
    }

    /// The secrets of a client that are active from now on.
    pub fn client(&self, id: &str, secrets: &[&str]) {
        self.state().clients.insert(id.into(), secrets.iter().map(|secret| (*secret).to_owned()).collect());
    }

    /// The keys that are published from now on.
    pub fn publish(&self, keys: &[Value]) {
        self.state().keys = json!({"keys": keys});
    }

    /// The `Cache-Control` of the key set.
    pub fn cache_control(&self, value: &str) {
        self.state().cache_control = value.into();
    }

    /// Changes a member of the metadata, or takes it out where the value is null.
    pub fn metadata(&self, name: &str, value: Value) {
        let mut state = self.state();
        if value.is_null() {
            state.metadata.as_object_mut().expect("an object").remove(name);
        } else {
            state.metadata[name] = value;
        }
    }

    /// Members that token responses hold beside or instead of the usual ones.
    pub fn token_extras(&self, extras: Value) {
        self.state().token_extras = extras;
    }

    /// The lifetime of tokens in seconds.
    pub fn lifetime(&self, seconds: u64) {
        self.state().lifetime = seconds;
    }

    /// Breaks an endpoint.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.state().faults.insert(endpoint, fault);
    }

    /// Mends every endpoint and the wire.
    pub fn mend(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.wire = Wire::Good;
    }

    /// What happens to new connections.
    pub fn wire(&self, wire: Wire) {
        self.state().wire = wire;
    }

    /// How often an endpoint was asked.
    pub fn hits(&self, endpoint: Endpoint) -> usize {
        self.state().seen.get(&endpoint).map_or(0, Vec::len)
    }

    /// The requests that an endpoint got.
    pub fn seen(&self, endpoint: Endpoint) -> Vec<Seen> {
        self.state().seen.get(&endpoint).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked with the lock")
    }
}

/// A private CA, its server certificate, and two that must not be accepted.
struct Certificates {
    ca_pem: String,
    good: TlsAcceptor,
    strange: TlsAcceptor,
    other_name: TlsAcceptor,
}

impl Certificates {
    fn issue() -> Self {
        crate::install_crypto();
        let (ca, strangers) = (authority("Test CA"), authority("Strange CA"));
        Self {
            good: acceptor(&ca, "127.0.0.1"),
            strange: acceptor(&strangers, "127.0.0.1"),
            other_name: acceptor(&ca, "elsewhere.example"),
            ca_pem: ca.pem(),
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn acceptor(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate: CertificateDer<'static> = params.signed_by(&key, ca).expect("a certificate").der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("server settings")))
}

async fn accept(listener: TcpListener, certificates: Certificates, state: Arc<Mutex<State>>, stop: CancellationToken) {
    let certificates = Arc::new(certificates);
    loop {
        let connection = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((connection, _)) = connection else { continue };
        let serving = serve(connection, Arc::clone(&certificates), Arc::clone(&state));
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serving => {}
            }
        });
    }
}

async fn serve(connection: TcpStream, certificates: Arc<Certificates>, state: Arc<Mutex<State>>) {
    let wire = state.lock().expect("the lock").wire;
    let acceptor = match wire {
        Wire::Down => return,
        Wire::Good | Wire::Garbage => &certificates.good,
        Wire::StrangeCertificate => &certificates.strange,
        Wire::OtherName => &certificates.other_name,
    };
    let Ok(mut connection) = acceptor.accept(connection).await else { return };
    if wire == Wire::Garbage {
        let _ = connection.write_all(b"\0\x01\x02 this is no HTTP\r\n\r\n").await;
        let _ = connection.shutdown().await;
        return;
    }
    let service = service_fn(move |request| answer(Arc::clone(&state), request));
    // Without keep-alive a fault of the wire shows on the very next request.
    let server = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), service);
    // A closed connection is one of the faults.
    let _ = server.await;
}

/// Makes the server close the connection without an answer.
fn closed() -> io::Error {
    io::Error::other("the connection is to be closed")
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| closed())?.to_bytes();
    let form: HashMap<String, String> = url_decode(&body);
    let Some(endpoint) = endpoint(parts.uri.path()) else { return Ok(not_found()) };
    let fault = {
        let mut state = state.lock().expect("the lock");
        let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        let line = format!("{} {}", parts.method, parts.uri);
        let seen = Seen { line, authorization: authorization.map(str::to_owned), form: form.clone() };
        state.seen.entry(endpoint).or_default().push(seen);
        state.faults.get(&endpoint).cloned()
    };
    match fault {
        None => {}
        Some(Fault::Answer(status, body)) => return Ok(respond(status, body)),
        Some(Fault::Limited(seconds)) => return Ok(limited(seconds)),
        Some(Fault::Delay(time)) => {
            let _ = timeout(time, pending::<()>()).await;
        }
        Some(Fault::Hang) => pending().await,
        Some(Fault::Close) => return Err(closed()),
        Some(Fault::Redirect) => {
            let mut response = respond(302, String::new());
            let location = format!("{}/elsewhere", state.lock().expect("the lock").base);
            response.headers_mut().insert("location", location.parse().expect("a header"));
            return Ok(response);
        }
        Some(Fault::Oversize(bytes)) => return Ok(respond(200, format!("{{\"x\":\"{}\"}}", "x".repeat(bytes)))),
    }
    let state = state.lock().expect("the lock");
    Ok(state.work(endpoint, &parts.method, &parts.headers, &form))
}

fn endpoint(path: &str) -> Option<Endpoint> {
    Some(match path {
        "/.well-known/oauth-authorization-server/oauth2/default" => Endpoint::Metadata,
        "/oauth2/default/.well-known/oauth-authorization-server" => Endpoint::LegacyMetadata,
        "/oauth2/default/.well-known/openid-configuration" => Endpoint::OpenIdMetadata,
        "/oauth2/default/v1/keys" => Endpoint::Keys,
        "/oauth2/default/v1/token" => Endpoint::Token,
        "/oauth2/default/v1/introspect" => Endpoint::Introspect,
        "/oauth2/default/elsewhere" => Endpoint::Elsewhere,
        _ => return None,
    })
}

impl State {
    fn work(
        &self,
        endpoint: Endpoint,
        method: &Method,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Response<Full<Bytes>> {
        match endpoint {
            Endpoint::Metadata | Endpoint::LegacyMetadata | Endpoint::OpenIdMetadata => {
                respond(200, self.metadata.to_string())
            }
            Endpoint::Keys => {
                let mut response = respond(200, self.keys.to_string());
                let value = self.cache_control.parse().expect("a header");
                response.headers_mut().insert("cache-control", value);
                response
            }
            Endpoint::Elsewhere => respond(200, json!({"active": true}).to_string()),
            Endpoint::Token | Endpoint::Introspect if method != Method::POST => respond(405, String::new()),
            Endpoint::Token | Endpoint::Introspect => match self.authenticate(headers, form) {
                Err(refusal) => *refusal,
                Ok(client) if endpoint == Endpoint::Token => self.mint(&client, form),
                Ok(_) => self.introspect(form),
            },
        }
    }

    fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, Box<Response<Full<Bytes>>>> {
        let refuse = |text: &str| Box::new(oauth_error(401, "invalid_client", text));
        let basic = headers.get("authorization").and_then(|value| value.to_str().ok());
        let in_form = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
        let (id, secret) = match (basic, in_form) {
            (Some(_), Some(_)) => return Err(Box::new(oauth_error(400, "invalid_request", "Two credential forms."))),
            (None, Some(pair)) => pair,
            (Some(value), None) => {
                let decoded = value.strip_prefix("Basic ").and_then(|coded| STANDARD.decode(coded).ok());
                let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
                let (id, secret) = decoded.split_once(':').unwrap_or_default();
                (decode(id), decode(secret))
            }
            (None, None) => return Err(refuse("No client credentials found.")),
        };
        match self.clients.get(&id) {
            None => Err(refuse("Invalid value for 'client_id' parameter.")),
            Some(secrets) if secrets.contains(&secret) => Ok(id),
            Some(_) => Err(refuse("The client secret supplied for a confidential client is invalid.")),
        }
    }

    fn mint(&self, client: &str, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return oauth_error(400, "unsupported_grant_type", "The authorization grant type is not supported.");
        }
        let Some(scope) = form.get("scope") else {
            return oauth_error(
                400,
                "invalid_scope",
                "The authorization server resource does not have any default scopes.",
            );
        };
        let token = Token::of(&self.base)
            .claim("cid", json!(client))
            .claim("sub", json!(client))
            .claim("exp", json!(epoch_seconds() + self.lifetime))
            .claim("scp", json!(scope.split(' ').collect::<Vec<_>>()))
            .signed();
        let mut body = json!({
            "token_type": "Bearer", "expires_in": self.lifetime, "access_token": token, "scope": scope,
        });
        if let (Value::Object(body), Value::Object(extras)) = (&mut body, &self.token_extras) {
            body.extend(extras.clone());
        }
        respond(200, body.to_string())
    }

    fn introspect(&self, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        let Some(token) = form.get("token") else {
            return oauth_error(400, "invalid_request", "The request is missing the required parameter 'token'.");
        };
        let answer = self.answers.get(token).filter(|_| !self.revoked.contains(token));
        respond(200, answer.cloned().unwrap_or_else(|| json!({"active": false})).to_string())
    }
}

fn oauth_error(status: u16, error: &str, description: &str) -> Response<Full<Bytes>> {
    respond(status, json!({"error": error, "error_description": description}).to_string())
}

fn not_found() -> Response<Full<Bytes>> {
    let body = json!({
        "errorCode": "E0000007", "errorSummary": "Not found: Resource not found", "errorLink": "E0000007",
        "errorId": "oaeTest", "errorCauses": [],
    });
    respond(404, body.to_string())
}

/// Okta's 429: the body has no `error` member, and there is no Retry-After.
fn limited(seconds: u64) -> Response<Full<Bytes>> {
    let body = json!({
        "errorCode": "E0000047", "errorSummary": "API call exceeded rate limit due to too many requests.",
        "errorLink": "E0000047", "errorId": "oaeTest", "errorCauses": [],
    });
    let mut response = respond(429, body.to_string());
    let reset = (epoch_seconds() + seconds).to_string();
    for (name, value) in
        [("x-rate-limit-limit", "600"), ("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", &reset)]
    {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}

fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).expect("a status");
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(Bytes::from(body))).expect("a response")
}

fn url_decode(body: &[u8]) -> HashMap<String, String> {
    let pairs = reqwest::Url::parse(&format!("x:?{}", String::from_utf8_lossy(body))).expect("a URL");
    pairs.query_pairs().into_owned().collect()
}

fn decode(text: &str) -> String {
    url_decode(format!("x={text}").as_bytes()).remove("x").unwrap_or_default()
}

/// Writes client credentials the way a Secret is mounted.
///
/// # Panics
/// When the files cannot be written.
pub fn mount_credentials(folder: &Path, id: &str, secret: &str, previous: Option<&str>) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("clientId"), id).expect("a file");
    std::fs::write(folder.join("clientSecret"), secret).expect("a file");
    match previous {
        Some(previous) => std::fs::write(folder.join("previousClientSecret"), previous).expect("a file"),
        None => {
            let _ = std::fs::remove_file(folder.join("previousClientSecret"));
        }
    }
}
