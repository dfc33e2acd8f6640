//! h2spec, the conformance tests of HTTP/2: every case passes, under TLS and on the plain port.

use std::net::SocketAddr;
use std::process::Command;

use tests::certificates::Authority;
use tests::issuer::FakeIssuer;
use tollgate_contract::{Access, PathMatch, RouteConfig, ScopesConfig, TlsConfig, ValidationMode};

use crate::world::World;

/// Fewer would mean that it did not run them.
const CASES: usize = 140;

#[tokio::test]
async fn every_case_passes_without_tls() {
    let world = start(None).await;
    check(world.sidecar.proxy_addr(), &[]).await;
}

#[tokio::test]
async fn every_case_passes_under_tls() {
    let (ca, folder) = (Authority::new("CA"), tempfile::tempdir().expect("a folder"));
    ca.server("localhost").mount(folder.path());
    let world = start(Some(TlsConfig { dir: folder.path().display().to_string(), client_certificates: None })).await;
    check(world.sidecar.proxy_addr(), &["--tls", "--insecure"]).await;
}

/// Before an app that is a whole HTTP server, and needs no token.
async fn start(tls: Option<TlsConfig>) -> World {
    World::start(FakeIssuer::start().await, ValidationMode::Local, |config| {
        config.tls = tls;
        config.routes = vec![RouteConfig {
            name: "all".into(),
            path: PathMatch::Prefix("/".into()),
            methods: Vec::new(),
            access: Access::Public,
            scopes: ScopesConfig::default(),
            issuers: Vec::new(),
            when: None,
        }];
    })
    .await
}

async fn check(address: SocketAddr, flags: &[&str]) {
    xtask::toolchain::ensure(&["h2spec"]).expect("h2spec");
    let program = xtask::toolchain::path("h2spec").expect("h2spec");
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.xml");
    let port = address.port().to_string();
    let mut run = Command::new(program);
    run.args(["--strict", "--timeout", "5", "--host", "127.0.0.1", "--port", &port, "--junit-report"]);
    run.arg(&report).args(flags);
    // It ends with an error when a case fails, which the report tells better.
    let output = tokio::task::spawn_blocking(move || run.output()).await.expect("no panic").expect("h2spec runs");
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("no report: {error}; {output:?}"));
    let cases = cases(&report);
    assert!(cases.len() >= CASES, "only {} cases ran", cases.len());
    let failed: Vec<_> = cases.iter().filter(|case| case.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A case and what went wrong in it.
#[derive(Debug)]
struct Case {
    name: String,
    failure: Option<String>,
}

/// The cases of a JUnit report as h2spec writes it: one element after the other, with attributes in double quotes.
fn cases(report: &str) -> Vec<Case> {
    let attribute = |element: &str, name: &str| {
        let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let case = |element: &str| {
        let body = element.split("</testcase>").next().unwrap_or_default();
        let name = format!("{}: {}", attribute(body, "package"), attribute(body, "classname"));
        let failed = ["<failure", "<error"].iter().any(|sign| body.contains(sign));
        Case { name, failure: failed.then(|| body.to_owned()) }
    };
    report.split("<testcase").skip(1).map(case).collect()
}

#[test]
fn a_report_is_read_case_by_case() {
    let report = r#"<testsuites><testsuite name="a"><testcase package="http2/4.2" classname="Sends a large frame" time="0.1">
        </testcase><testcase package="http2/5.1" classname="Sends DATA" time="0.1"><failure>no</failure></testcase>
        <testcase package="hpack/6" classname="Sends" time="0"><error>no</error></testcase></testsuite></testsuites>"#;
    let read = cases(report);
    let names: Vec<_> = read.iter().map(|case| (&*case.name, case.failure.is_some())).collect();
    assert_eq!(
        names,
        [("http2/4.2: Sends a large frame", false), ("http2/5.1: Sends DATA", true), ("hpack/6: Sends", true)]
    );
}
