//! Tokens that are bound to their caller's certificate (RFC 8705 section 3): good in nobody else's hands, in every mode,
//! and whatever was said of them before.

use http::Request;
use serde_json::{Value, json};
use tests::certificates::{Authority, Pair, connect};
use tests::http2::Client;
use tests::issuer::{Endpoint, FakeIssuer};
use tollgate_contract::{ClientCertificates, TlsConfig, ValidationMode};

use crate::world::World;

const MODES: [ValidationMode; 3] =
    [ValidationMode::Local, ValidationMode::Introspection, ValidationMode::LocalAndIntrospection];

/// A sidecar with TLS that takes certificates of callers.
struct Sealed {
    world: World,
    ca: Authority,
    _folder: tempfile::TempDir,
}

impl Sealed {
    async fn start(mode: ValidationMode, asks_callers: bool) -> Self {
        let (ca, folder) = (Authority::new("CA"), tempfile::tempdir().expect("a folder"));
        ca.server("localhost").mount(folder.path());
        let ca_file = folder.path().join("ca.crt");
        std::fs::write(&ca_file, ca.pem()).expect("a file");
        let clients = ClientCertificates { ca_file: ca_file.display().to_string(), required: false };
        let tls = TlsConfig {
            dir: folder.path().display().to_string(),
            client_certificates: asks_callers.then_some(clients),
        };
        let world = World::start(FakeIssuer::start().await, mode, |config| config.tls = Some(tls)).await;
        world.await_ready().await;
        Self { world, ca, _folder: folder }
    }

    /// What becomes of a token that this caller sends.
    async fn verdict(&self, token: &str, shown: Option<&Pair>) -> (u16, String) {
        let stream = connect(self.world.sidecar.proxy_addr(), &self.ca, shown, &["h2"]).await.expect("TLS");
        let mut caller = Client::over(stream, 65_535).await;
        let request = Request::get("https://localhost/items").header("authorization", format!("Bearer {token}"));
        let answer = caller.ask(request.body(()).expect("a request")).await.expect("an answer");
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        (answer.status().as_u16(), body["reason"].as_str().unwrap_or("-").to_owned())
    }
}

fn refused() -> (u16, String) {
    (401, "sender_mismatch".to_owned())
}

fn good() -> (u16, String) {
    (200, "-".to_owned())
}

#[tokio::test]
async fn a_bound_token_passes_with_its_certificate_and_with_nothing_else() {
    for mode in MODES {
        let sealed = Sealed::start(mode, true).await;
        let (own, other) = (sealed.ca.caller("own"), sealed.ca.caller("own"));
        let issuer = &sealed.world.issuer;
        let token = issuer.active(&issuer.token().claim("cnf", json!({"x5t#S256": own.thumbprint()})));
        // Stolen before it was ever seen, and after its verdict is remembered.
        for _ in 0..2 {
            assert_eq!(sealed.verdict(&token, None).await, refused(), "{mode:?}: no certificate");
            assert_eq!(sealed.verdict(&token, Some(&other)).await, refused(), "{mode:?}: another's");
            assert_eq!(sealed.verdict(&token, Some(&own)).await, good(), "{mode:?}: its own");
        }
        let unbound = issuer.active(&issuer.token());
        assert_eq!(sealed.verdict(&unbound, Some(&own)).await, good(), "{mode:?}: bound to nothing");
        assert_eq!(sealed.verdict(&unbound, None).await, good(), "{mode:?}: bound to nothing");
    }
}

#[tokio::test]
async fn a_stolen_token_costs_the_issuer_nothing() {
    let sealed = Sealed::start(ValidationMode::LocalAndIntrospection, true).await;
    let (own, issuer) = (sealed.ca.caller("own"), &sealed.world.issuer);
    let token = issuer.active(&issuer.token().claim("cnf", json!({"x5t#S256": own.thumbprint()})));
    assert_eq!(sealed.verdict(&token, None).await, refused());
    assert_eq!(issuer.hits(Endpoint::Introspect), 0);
}

#[tokio::test]
async fn an_opaque_token_is_bound_by_its_issuers_word() {
    let sealed = Sealed::start(ValidationMode::Introspection, true).await;
    let (own, other) = (sealed.ca.caller("own"), sealed.ca.caller("other"));
    let issuer = &sealed.world.issuer;
    issuer.answer("opaque", issuer.token().claim("cnf", json!({"x5t#S256": own.thumbprint()})).answer());
    for _ in 0..2 {
        assert_eq!(sealed.verdict("opaque", Some(&other)).await, refused());
        assert_eq!(sealed.verdict("opaque", None).await, refused());
        assert_eq!(sealed.verdict("opaque", Some(&own)).await, good());
    }
}

#[tokio::test]
async fn where_certificates_are_not_asked_for_nobody_holds_one() {
    for mode in MODES {
        let sealed = Sealed::start(mode, false).await;
        let (own, issuer) = (sealed.ca.caller("own"), &sealed.world.issuer);
        let token = issuer.active(&issuer.token().claim("cnf", json!({"x5t#S256": own.thumbprint()})));
        assert_eq!(sealed.verdict(&token, Some(&own)).await, refused(), "{mode:?} with TLS");
        let plain = World::ready(mode).await;
        let token = plain.issuer.active(&plain.issuer.token().claim("cnf", json!({"x5t#S256": own.thumbprint()})));
        assert_eq!(plain.get(&token).await.verdict(), (401, "sender_mismatch"), "{mode:?} without TLS");
        assert_eq!(plain.app_hits() + sealed.world.app_hits(), 0);
    }
}

#[tokio::test]
async fn other_bindings_are_no_certificates() {
    let sealed = Sealed::start(ValidationMode::Local, true).await;
    let (own, issuer) = (sealed.ca.caller("own"), &sealed.world.issuer);
    for (cnf, reason) in [
        (json!({"x5t#S256": own.thumbprint(), "jkt": own.thumbprint()}), "sender_mismatch"),
        (json!({"jkt": own.thumbprint()}), "sender_mismatch"),
        (json!({"x5t": own.thumbprint()}), "sender_mismatch"),
        (json!({"x5t#S256": ""}), "malformed_token"),
        (json!({"x5t#S256": format!("{}=", own.thumbprint())}), "malformed_token"),
        (json!({"x5t#S256": [own.thumbprint()]}), "malformed_token"),
    ] {
        let token = issuer.token().claim("cnf", cnf.clone()).signed();
        assert_eq!(sealed.verdict(&token, Some(&own)).await, (401, reason.to_owned()), "{cnf}");
    }
}
