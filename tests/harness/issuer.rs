//! An authorization server in process, with faults on demand: HTTPS under a private CA, Okta's paths, forms and errors.
//! It decides what Okta would decide, and whatever a test tells it to.

mod faults;
mod limiter;
mod okta;
mod tls;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::faults::{Fault, Outage, Wire};
pub use self::limiter::Window;

use self::faults::{Answer, closed, whole};
use self::limiter::Limiter;
use self::okta::{client_of, not_found, url_decode};
use self::tls::Certificates;
use crate::mint::{Token, signing_key};

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

impl Endpoint {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Metadata,
        Self::LegacyMetadata,
        Self::OpenIdMetadata,
        Self::Keys,
        Self::Token,
        Self::Introspect,
        Self::Elsewhere,
    ];
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
    limiter: Option<Limiter>,
}

impl FakeIssuer {
    /// One that cannot be reached, until it is mended.
    pub async fn away() -> Self {
        let issuer = Self::start().await;
        issuer.suffer(Outage::Down);
        issuer
    }

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
            limiter: None,
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

    /// From now on so many token requests and questions are answered in each window, half of them of one client.
    pub fn limit(&self, calls: u32, window: Duration) {
        self.state().limiter = Some(Limiter::new(calls, window));
    }

    /// What happened in the windows since; those without calls are left out.
    pub fn windows(&self) -> Vec<Window> {
        self.state().limiter.as_ref().map(Limiter::windows).unwrap_or_default()
    }

    /// Breaks an endpoint.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.state().faults.insert(endpoint, fault);
    }

    /// Breaks all of it.
    pub fn suffer(&self, outage: Outage) {
        let mut state = self.state();
        state.wire = outage.wire();
        state.faults = Endpoint::ALL.into_iter().filter_map(|endpoint| Some((endpoint, outage.fault()?))).collect();
    }

    /// Mends every endpoint and the wire: the next request is answered.
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

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> io::Result<Answer> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| closed())?.to_bytes();
    let form: HashMap<String, String> = url_decode(&body);
    let Some(endpoint) = endpoint(parts.uri.path()) else { return Ok(whole(not_found())) };
    let (fault, elsewhere) = {
        let mut state = state.lock().expect("the lock");
        let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        let line = format!("{} {}", parts.method, parts.uri);
        let seen = Seen { line, authorization: authorization.map(str::to_owned), form: form.clone() };
        state.seen.entry(endpoint).or_default().push(seen);
        (state.faults.get(&endpoint).cloned(), format!("{}/elsewhere", state.base))
    };
    let work = || {
        let mut state = state.lock().expect("the lock");
        let counted = matches!(endpoint, Endpoint::Token | Endpoint::Introspect);
        let told =
            state.limiter.as_mut().filter(|_| counted).map(|limiter| {
                limiter.take(&client_of(&parts.headers, &form).unwrap_or_default().0, SystemTime::now())
            });
        let refusal = told.as_ref().and_then(limiter::Told::refusal);
        let mut answer = refusal.unwrap_or_else(|| state.work(endpoint, &parts.method, &parts.headers, &form));
        if let Some(told) = told {
            told.tell(&mut answer);
        }
        answer
    };
    match fault {
        None => Ok(whole(work())),
        Some(fault) => fault.befall(work, &elsewhere).await,
    }
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
