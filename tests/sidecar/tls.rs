//! TLS on the proxy port: certificates that change, callers that must show theirs, and what a broken file does.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::HandshakeKind;
use serde_json::{Value, json};
use tests::certificates::{Authority, Pair, connect, connect_by, connector};
use tests::http2::Client;
use tests::raw::Raw;
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tollgate_contract::{ProblemCode, SidecarReport};
use tollgate_sidecar::Limits;

use crate::scene::{PATIENCE, Scene, public};

const SOON: Duration = Duration::from_millis(200);
const HTTP1: &[&str] = &["http/1.1"];
const HTTP2: &[&str] = &["h2", "http/1.1"];

/// A sidecar with TLS before an app that says hello.
struct Sealed {
    scene: Scene,
    app: Upstream,
    ca: Authority,
    folder: tempfile::TempDir,
}

impl Sealed {
    /// `clients` = whether certificates of callers are required; the CA is `ca` of the folder.
    async fn start(clients: Option<bool>) -> Self {
        let (ca, folder) = (Authority::new("CA"), tempfile::tempdir().expect("a folder"));
        ca.server("localhost").mount(folder.path());
        std::fs::write(folder.path().join("ca.crt"), ca.pem()).expect("a file");
        Self::over(ca, folder, clients).await
    }

    async fn over(ca: Authority, folder: tempfile::TempDir, clients: Option<bool>) -> Self {
        let app = Upstream::start(|_| ok("hello")).await;
        let mut config = public(app.port());
        config["tls"] = tls(folder.path(), clients);
        let limits = Limits { mounts: SOON, handshake: 5 * SOON, ..Limits::default() };
        let scene = Scene::with(&config, |options| options.limits = limits).await;
        Self { scene, app, ca, folder }
    }

    async fn connect(&self, shown: Option<&Pair>, alpn: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        connect(self.scene.address(), &self.ca, shown, alpn).await
    }

    /// The status of a request on a new connection.
    async fn ask(&self, shown: Option<&Pair>) -> io::Result<String> {
        ask(self.connect(shown, HTTP1).await?).await
    }

    async fn await_problem(&self, problem: Option<ProblemCode>) {
        self.await_said(problem).await;
        let gauge = format!("tollgate_tls_files_unusable {}", u8::from(problem.is_some()));
        self.scene.await_metric(&gauge).await;
    }

    async fn await_said(&self, problem: Option<ProblemCode>) {
        eventually("the report says so", PATIENCE, || async {
            let report: SidecarReport = serde_json::from_str(&self.scene.admin("/config").await.1).expect("a report");
            // The issuer cannot be reached, which is another matter.
            let said = report.problems.iter().find(|problem| problem.issuer.is_empty()).map(|problem| problem.code);
            if said == problem { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
    }
}

pub(crate) fn tls(folder: &Path, clients: Option<bool>) -> Value {
    let mut tls = json!({"dir": folder});
    if let Some(required) = clients {
        tls["clientCertificates"] = json!({"caFile": folder.join("ca.crt"), "required": required});
    }
    tls
}

async fn ask(mut stream: TlsStream<TcpStream>) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("an answer in time")?;
    answer.lines().next().map(str::to_owned).ok_or(io::ErrorKind::UnexpectedEof.into())
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_app_learns_that_it_was_tls() {
    let sealed = Sealed::start(None).await;
    assert_eq!(sealed.ask(None).await.expect("an answer"), "HTTP/1.1 200 OK");
    let head = sealed.app.last().head;
    assert_eq!(head.header("x-forwarded-proto"), Some("https"));
    assert_eq!(head.header("forwarded"), Some("for=127.0.0.1;proto=https"));
    let stream = sealed.connect(None, HTTP2).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut caller = Client::over(stream, 65_535).await;
    assert_eq!(caller.get("/", &[]).await.expect("an answer").body(), "hello");
    assert_eq!(ask(sealed.connect(None, &[]).await.expect("TLS")).await.expect("an answer"), "HTTP/1.1 200 OK");
    assert_eq!(sealed.app.arrived().len(), 3);
}

#[tokio::test]
async fn whoever_speaks_no_tls_or_nothing_gets_nothing() {
    let sealed = Sealed::start(None).await;
    let mut plain = Raw::connect(sealed.scene.address()).await;
    plain.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(plain.head().await.is_none());
    let mut silent = Raw::connect(sealed.scene.address()).await;
    assert!(silent.is_closed().await, "a handshake has its time");
    sealed.scene.await_metric("tollgate_tls_handshakes_failed_total 2").await;
    sealed.scene.await_metric("tollgate_connections 0").await;
    assert!(sealed.app.arrived().is_empty());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let sealed = Sealed::start(None).await;
    // The year 4096, where nothing else is said.
    sealed.scene.await_metric("tollgate_tls_certificate_expiry_timestamp_seconds 67090118400").await;
    let mut kept = Client::over(sealed.connect(None, HTTP2).await.expect("TLS"), 65_535).await;
    let renewed = sealed.ca.server("localhost");
    renewed.mount(sealed.folder.path());
    let shows = async |pair: &Pair| {
        let stream = sealed.connect(None, HTTP1).await.expect("TLS");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].as_ref() == pair.der()
    };
    eventually("the new certificate", PATIENCE, || async {
        if shows(&renewed).await { Ok(()) } else { Err("the old one is shown") }
    })
    .await;
    assert_eq!(kept.get("/", &[]).await.expect("an answer").status(), 200, "connections outlive it");
    for broken in [&b""[..], b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(sealed.folder.path().join("tls.crt"), broken).expect("a file");
        sealed.await_problem(Some(ProblemCode::TlsCertificateMissing)).await;
        assert!(shows(&renewed).await, "the last good one stays in force");
    }
    let next = sealed.ca.server("localhost");
    next.mount(sealed.folder.path());
    sealed.await_problem(None).await;
    assert!(shows(&next).await);
    // A key of another certificate.
    let other = tempfile::tempdir().expect("a folder");
    sealed.ca.server("localhost").mount(other.path());
    std::fs::copy(other.path().join("tls.key"), sealed.folder.path().join("tls.key")).expect("a file");
    sealed.await_problem(Some(ProblemCode::TlsCertificateMissing)).await;
    assert!(shows(&next).await);
    std::fs::remove_file(sealed.folder.path().join("tls.crt")).expect("a file");
    assert!(shows(&next).await);
    // One that is renewed too late.
    sealed.ca.expired_caller("localhost").mount(sealed.folder.path());
    sealed.await_problem(Some(ProblemCode::TlsCertificateExpired)).await;
    assert!(shows(&next).await);
    assert_eq!(sealed.scene.admin("/config").await.0.status(), 200);
}

#[tokio::test]
async fn a_certificate_that_ends_while_it_is_in_force_is_said_to_have() {
    let (ca, folder) = (Authority::new("CA"), tempfile::tempdir().expect("a folder"));
    ca.server_until("localhost", SystemTime::now() + Duration::from_secs(4)).mount(folder.path());
    let sealed = Sealed::over(ca, folder, None).await;
    sealed.await_said(Some(ProblemCode::TlsCertificateExpired)).await;
    sealed.ca.server("localhost").mount(sealed.folder.path());
    sealed.await_problem(None).await;
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served_until_it_is_there() {
    let (ca, folder) = (Authority::new("CA"), tempfile::tempdir().expect("a folder"));
    let pair = ca.server("localhost");
    let sealed = Sealed::over(ca, folder, None).await;
    sealed.await_problem(Some(ProblemCode::TlsCertificateMissing)).await;
    let (head, _) = sealed.scene.admin("/readyz").await;
    assert_eq!(head.status(), 503);
    let mut plain = Raw::connect(sealed.scene.address()).await;
    plain.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(plain.head().await.is_none(), "nor in plain text");
    assert!(sealed.ask(None).await.is_err());
    pair.mount(sealed.folder.path());
    sealed.await_problem(None).await;
    assert_eq!(sealed.ask(None).await.expect("an answer"), "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_required_certificate_must_be_there_and_good() {
    let sealed = Sealed::start(Some(true)).await;
    let good = sealed.ca.caller("good");
    assert_eq!(sealed.ask(Some(&good)).await.expect("an answer"), "HTTP/1.1 200 OK");
    assert!(sealed.ask(None).await.is_err(), "none");
    refuses_what_is_not_good(&sealed).await;
    assert_eq!(sealed.app.arrived().len(), 1);
}

#[tokio::test]
async fn an_optional_certificate_must_be_good_where_there_is_one() {
    let sealed = Sealed::start(Some(false)).await;
    assert_eq!(sealed.ask(None).await.expect("an answer"), "HTTP/1.1 200 OK");
    assert_eq!(sealed.ask(Some(&sealed.ca.caller("good"))).await.expect("an answer"), "HTTP/1.1 200 OK");
    refuses_what_is_not_good(&sealed).await;
    assert_eq!(sealed.app.arrived().len(), 2);
}

async fn refuses_what_is_not_good(sealed: &Sealed) {
    // Its name is the CA's, its key is not.
    let forged = Authority::new("CA").caller("good");
    assert!(sealed.ask(Some(&forged)).await.is_err(), "forged");
    assert!(sealed.ask(Some(&Authority::new("Other").caller("good"))).await.is_err(), "of a strange CA");
    assert!(sealed.ask(Some(&sealed.ca.expired_caller("good"))).await.is_err(), "expired");
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_caller() {
    for required in [true, false] {
        let sealed = Sealed::start(Some(required)).await;
        let brief = sealed.ca.caller_until("brief", SystemTime::now() + Duration::from_secs(4));
        let mut kept = Client::over(sealed.connect(Some(&brief), HTTP2).await.expect("TLS"), 65_535).await;
        assert_eq!(kept.get("/", &[]).await.expect("an answer").status(), 200);
        let mut half = sealed.connect(Some(&brief), HTTP1).await.expect("TLS");
        half.write_all(b"GET /half HTTP/1.1\r\nhost: localhost\r\n").await.expect("room");
        let again = connector(&sealed.ca, Some(&brief), HTTP1);
        let first = connect_by(&again, sealed.scene.address()).await.expect("TLS");
        assert_eq!(ask(first).await.expect("an answer"), "HTTP/1.1 200 OK");
        let resumed = connect_by(&again, sealed.scene.address()).await.expect("TLS");
        assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(ask(resumed).await.expect("an answer"), "HTTP/1.1 200 OK");
        is_ended(kept).await;
        // Whatever was begun before.
        let _ = half.write_all(b"\r\n").await;
        assert_eq!(half.read(&mut [0; 16]).await.unwrap_or(0), 0, "no answer");
        let late = async { ask(connect_by(&again, sealed.scene.address()).await?).await };
        assert!(late.await.is_err(), "nor is the session taken up again");
        assert_eq!(sealed.app.arrived().len(), 3);
    }
}

/// Its caller may still say goodbye when nobody listens any more.
async fn is_ended(caller: Client) {
    assert!(caller.ended().await.err().is_none_or(|error| error.is_io()), "an end in order");
}

#[tokio::test]
async fn a_connection_ends_when_its_callers_ca_is_taken_out_and_not_when_one_is_added() {
    let sealed = Sealed::start(Some(true)).await;
    let (old, new) = (sealed.ca.caller("old"), Authority::new("New"));
    let mut kept = Client::over(sealed.connect(Some(&old), HTTP2).await.expect("TLS"), 65_535).await;
    assert_eq!(kept.get("/", &[]).await.expect("an answer").status(), 200);
    let file = sealed.folder.path().join("ca.crt");
    std::fs::write(&file, format!("{}{}", sealed.ca.pem(), new.pem())).expect("a file");
    let newcomer = new.caller("new");
    eventually("the new CA", PATIENCE, || sealed.ask(Some(&newcomer))).await;
    assert_eq!(kept.get("/", &[]).await.expect("an answer").status(), 200);
    std::fs::write(&file, "").expect("a file");
    sealed.await_problem(Some(ProblemCode::ClientCaMissing)).await;
    assert_eq!(kept.get("/", &[]).await.expect("an answer").status(), 200, "a broken list takes nobody out");
    std::fs::write(&file, new.pem()).expect("a file");
    is_ended(kept).await;
    assert!(sealed.ask(Some(&old)).await.is_err());
}

#[tokio::test]
async fn the_cas_of_callers_may_change_and_a_broken_list_changes_nothing() {
    let sealed = Sealed::start(Some(true)).await;
    let (old, new) = (sealed.ca.caller("old"), Authority::new("New"));
    let newcomer = new.caller("new");
    assert!(sealed.ask(Some(&newcomer)).await.is_err());
    let file = sealed.folder.path().join("ca.crt");
    std::fs::write(&file, "").expect("a file");
    sealed.await_problem(Some(ProblemCode::ClientCaMissing)).await;
    assert!(sealed.ask(Some(&old)).await.is_ok(), "the last good list stays in force");
    assert!(sealed.ask(None).await.is_err(), "and certificates required");
    std::fs::write(&file, new.pem()).expect("a file");
    sealed.await_problem(None).await;
    assert!(sealed.ask(Some(&newcomer)).await.is_ok());
    assert!(sealed.ask(Some(&old)).await.is_err(), "its CA is gone");
}
