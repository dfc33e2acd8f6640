//! The sidecar as a certified OpenID client sees it, with tokens of the Okta-like server: DPoP (RFC 9449) by somebody
//! else's code on both sides, and the client that the docs show. Both are npm packages: `make test` installs them and
//! says where they are.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::certificates::Authority;
use tests::kubernetes::repository;
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;
use tollgate_sidecar::{AccessLogTo, DrainTimes, Limits, Options, Sidecar};

const CLIENT: (&str, &str) = ("0oaProver00000000001", "prover-secret-of-the-test-server");

/// How long a thing that takes a second may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program with its npm packages, from the environment.
fn folder(variable: &str) -> PathBuf {
    let folder = std::env::var_os(variable);
    folder.unwrap_or_else(|| panic!("{variable} is not set: `make test` installs the packages and sets it")).into()
}

fn node() -> Command {
    let mut node = Command::new(folder("TOLLGATE_OKTA_LIKE").join("node_modules/.bin/node"));
    node.stdin(Stdio::null()).stdout(Stdio::piped()).env("NODE_NO_WARNINGS", "1");
    node
}

/// The Okta-like server with one client, whose tokens are bound; ends when dropped.
struct OktaLike {
    issuer: String,
    process: Child,
}

impl OktaLike {
    /// With TLS where a folder has `tls.crt` and `tls.key`.
    fn start(tls: Option<&Path>) -> Self {
        let config = json!({
            "audience": "api://default", "scopes": ["items"],
            "clients": [{"clientId": CLIENT.0, "clientSecret": CLIENT.1, "dpop": true, "scopes": ["items"]}],
        });
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), config.to_string()).expect("the configuration");
        let mut node = node();
        node.arg(folder("TOLLGATE_OKTA_LIKE").join("src/main.mjs"));
        if let Some(tls) = tls {
            node.env("TLS_CERT_FILE", tls.join("tls.crt")).env("TLS_KEY_FILE", tls.join("tls.key"));
        }
        let mut process = node.env("PORT", "0").env("CONFIG_FILE", file.path()).spawn().expect("node starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("its first line");
        let issuer = line.trim().strip_prefix("okta-like serves ").expect("where it serves").to_owned();
        Self { issuer, process }
    }
}

impl Drop for OktaLike {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A sidecar before an app, reached by its own address; with TLS where a folder has `tls.crt`, `tls.key`, and the
/// issuer's CA in `ca.crt`.
async fn sidecar(issuer: &OktaLike, app: &Upstream, nonce: &str, tls: Option<&Path>) -> (Sidecar, String) {
    // The URL has to be known before the port is bound; nobody else takes it in the meantime.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a port");
    let url = format!("{}://{port}", if tls.is_some() { "https" } else { "http" });
    let mut config = json!({
        "namespace": "shop",
        "name": "items",
        "issuers": [{
            "name": "okta", "url": issuer.issuer, "audiences": ["api://default"], "validation": "Local",
            "introspection": {"cacheMillis": 0}, "clockSkewSeconds": 60, "dpop": "Accept", "dpopNonce": nonce,
            "allowHttp": true,
        }],
        "defaultAccess": "Authenticated",
        "routes": [
            {"name": "items", "path": {"prefix": "/items"}, "access": "Authenticated", "scopes": {"allOf": ["items"]}},
        ],
        "externalUrls": [url],
        "upstream": {"port": app.port()},
        "logLevel": "info",
    });
    if let Some(tls) = tls {
        config["tls"] = json!({"dir": tls});
        config["issuers"][0]["caFile"] = json!(tls.join("ca.crt"));
    }
    let options = Options {
        config: config.to_string().into_bytes(),
        hints: PathBuf::new(),
        listen: port,
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        pod_uid: "pod-1".to_owned(),
        pod_ip: None,
        access_log: AccessLogTo::Off,
        workers: None,
        drain: DrainTimes { lead: Duration::ZERO, deadline: PATIENCE },
        limits: Limits::default(),
    };
    let sidecar = Box::pin(Sidecar::start(options)).await.expect("the sidecar starts");
    let ready = format!("http://{}/readyz", sidecar.admin_addr());
    eventually("readiness", PATIENCE, || async {
        match reqwest::get(&ready).await.map(|answer| answer.status().as_u16()) {
            Ok(200) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    (sidecar, url)
}

/// Runs the client and returns what it printed.
async fn run_client(issuer: &OktaLike, api: &str, algorithm: &str) -> Value {
    let mut node = node();
    node.arg(folder("TOLLGATE_CLIENTS").join("dpop.mjs"));
    node.env("ISSUER", &issuer.issuer).env("API", api).env("ALGORITHM", algorithm);
    serde_json::from_str(&printed(node).await).expect("one JSON object")
}

/// What a client printed, which had no trouble.
async fn printed(mut client: Command) -> String {
    client.env("CLIENT_ID", CLIENT.0).env("CLIENT_SECRET", CLIENT.1).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || client.output()).await.expect("no panic").expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certified_client_uses_bound_tokens_and_a_thief_does_not() {
    tests::install_crypto();
    let (issuer, app) = (OktaLike::start(None), Upstream::start(|_| ok("[]")).await);
    for nonce in ["None", "PerPod"] {
        let (_sidecar, api) = sidecar(&issuer, &app, nonce, None).await;
        for algorithm in ["ES256", "RS256"] {
            let before = app.arrived().len();
            let seen = run_client(&issuer, &api, algorithm).await;
            let metadata = format!("{api}/.well-known/oauth-protected-resource");
            let refused = |with_error: &str, description: &str| {
                let challenge = |scheme: &str| {
                    let mut challenge = json!({"scheme": scheme, "realm": "items", "resource_metadata": metadata});
                    if scheme == "dpop" {
                        challenge["algs"] = json!("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA");
                    }
                    if scheme == with_error {
                        challenge["error"] = json!("invalid_token");
                        challenge["error_description"] = json!(description);
                    }
                    challenge
                };
                json!({"status": 401, "challenges": [challenge("bearer"), challenge("dpop")]})
            };
            let as_bearer = refused("bearer", "The token is bound to a key; send it as DPoP with a proof.");
            let thief = refused("dpop", "The token is bound to another key than the DPoP proof's.");
            assert_eq!(seen["tokenType"], "dpop", "{nonce} {algorithm}");
            assert_eq!(seen["holder"], json!([{"status": 200}, {"status": 200}]), "{nonce} {algorithm}");
            assert_eq!(seen["asBearer"], as_bearer, "{nonce} {algorithm}");
            assert_eq!(seen["thief"], thief, "{nonce} {algorithm}");
            assert_eq!(seen["metadata"]["resource"], json!(api), "{nonce} {algorithm}");
            assert_eq!(
                app.arrived().len() - before,
                2,
                "{nonce} {algorithm}: only the holder's requests reach the app"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_the_docs_show_works_as_it_stands_there() {
    tests::install_crypto();
    let (ca, folder) = (Authority::new("Test CA"), tempfile::tempdir().expect("a folder"));
    ca.server("127.0.0.1").mount(folder.path());
    let ca_file = folder.path().join("ca.crt");
    ca.write(&ca_file);
    let page = std::fs::read_to_string(repository().join("docs/dpop.md")).expect("the page");
    let (_, rest) = page.split_once("```js\n").expect("a client");
    let (shown, _) = rest.split_once("```").expect("its end");
    // Beside the packages that it imports.
    let program =
        tempfile::Builder::new().suffix(".mjs").tempfile_in(self::folder("TOLLGATE_CLIENTS")).expect("a file");
    std::fs::write(program.path(), shown).expect("the client");

    let (issuer, app) = (OktaLike::start(Some(folder.path())), Upstream::start(|_| ok("red ball")).await);
    let (_sidecar, api) = sidecar(&issuer, &app, "PerPod", Some(folder.path())).await;
    let mut node = node();
    node.arg(program.path()).env("ISSUER", &issuer.issuer).env("API", &api).env("NODE_EXTRA_CA_CERTS", &ca_file);
    assert_eq!(printed(node).await, "200 red ball\n401 sender_mismatch\n");
    assert_eq!(app.arrived().len(), 1, "only the holder's request reaches the app");
}
