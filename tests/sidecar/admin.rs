//! The admin port: what probes, Prometheus and the operator see.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;
use tokio::net::TcpSocket;
use tollgate_contract::{PolicyHash, SidecarReport};
use tollgate_sidecar::policy::PolicyError;
use tollgate_sidecar::{Sidecar, StartError};

use crate::scene::{PATIENCE, Scene, items, public, request};

#[tokio::test]
async fn a_pod_is_alive_at_once_and_ready_when_it_has_keys() {
    let app = Upstream::start(|_| ok("")).await;
    let lonely = Scene::start(&public(app.port())).await;
    assert_eq!(lonely.admin("/livez").await.0.status(), 200);
    let (head, why) = lonely.admin("/readyz").await;
    assert_eq!(head.status(), 503);
    assert!(why.contains("waiting"), "{why}");
    let issuer = FakeIssuer::start().await;
    Scene::ready(&items(app.port(), &issuer)).await;
}

#[tokio::test]
async fn the_report_names_the_policy_the_pod_and_what_is_wrong() {
    let app = Upstream::start(|_| ok("")).await;
    let config = public(app.port());
    let scene = Scene::start(&config).await;
    let report = eventually("the problem to be reported", PATIENCE, || async {
        let (head, body) = scene.admin("/config").await;
        assert_eq!((head.status(), head.header("content-type")), (200, Some("application/json")));
        let report: SidecarReport = serde_json::from_str(&body).expect("a report");
        if report.problems.is_empty() { Err(body) } else { Ok(report) }
    })
    .await;
    assert_eq!(report.pod_uid, "pod-1");
    assert_eq!(report.policy_hash, PolicyHash::of(config.to_string().as_bytes()));
    assert_eq!((report.problems.len(), report.problems[0].issuer.as_str()), (1, "okta"));
}

#[tokio::test]
async fn the_report_says_whether_the_app_has_begun_to_listen() {
    // Bound and not listening: nobody else gets the port, and nobody gets through.
    let app = TcpSocket::new_v4().expect("a socket");
    app.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let scene = Scene::start(&public(app.local_addr().expect("an address").port())).await;
    let listens = || async {
        let report: SidecarReport = serde_json::from_str(&scene.admin("/config").await.1).expect("a report");
        report.app_listens
    };
    assert_eq!(listens().await, Some(false));
    let _app = app.listen(1).expect("it listens");
    eventually("the app to be found", PATIENCE, || async {
        if listens().await == Some(true) { Ok(()) } else { Err("not found") }
    })
    .await;
}

#[tokio::test]
async fn the_admin_port_changes_nothing_and_proxies_nothing() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    for (method, target, status) in
        [("POST", "/livez", 405), ("GET", "/items", 404), ("GET", "/", 404), ("DELETE", "/config", 405)]
    {
        let (head, _) = tests::raw::exchange(scene.sidecar.admin_addr(), request(method, target, &[], "")).await;
        assert_eq!(head.status(), status, "{method} {target}");
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn metrics_count_requests_by_route_method_class_and_reason() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let token = format!("authorization: Bearer {}", issuer.token().claim("scp", json!(["items"])).signed());
    for _ in 0..3 {
        assert_eq!(scene.get("/items/1?x", &[&token]).await.0.status(), 200);
    }
    scene.get("/items", &[]).await;
    scene.raw(request("BREW", "/unheard-of", &[], "")).await;
    assert_eq!(scene.raw("GET nonsense\r\n\r\n").await.0.status(), 400);
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("no request at all\r\n\r\n").await;
    assert!(caller.is_closed().await, "what is no HTTP gets no answer, and is counted");
    let text = eventually("all requests to be counted", PATIENCE, || async {
        let text = scene.metrics().await;
        for line in [
            r#"tollgate_requests_total{route="read",method="GET",protocol="h1",status="2xx",reason=""} 3"#,
            r#"tollgate_requests_total{route="read",method="GET",protocol="h1",status="4xx",reason="missing_token"} 1"#,
            r#"tollgate_requests_total{route="(default)",method="OTHER",protocol="h1",status="4xx",reason="missing_token"} 1"#,
            r#"tollgate_requests_total{route="(none)",method="GET",protocol="h1",status="4xx",reason="bad_request"} 2"#,
            r#"tollgate_request_duration_seconds_count{route="read"} 4"#,
            "tollgate_requests_in_flight 0",
            "tollgate_decision_cache_hits_total 2",
        ] {
            if !text.contains(line) {
                return Err(format!("{line} is not in\n{text}"));
            }
        }
        Ok(text)
    })
    .await;
    for leak in ["unheard-of", "api.test", "127.0.0.1", "0oa"] {
        assert!(!text.contains(leak), "{leak} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn counts_that_alerts_ask_for_begin_at_zero() {
    let app = Upstream::start(|_| ok("")).await;
    let mut config = public(app.port());
    let issuer = &mut config["issuers"][0];
    issuer["validation"] = json!("LocalAndIntrospection");
    issuer["client"] = json!({"credentialsDir": "/nowhere", "authMethod": "ClientSecretBasic"});
    issuer["introspection"]["onOutage"] = json!({"acceptLocallyValid": {"maxDurationMillis": 60_000}});
    let text = Scene::start(&config).await.metrics().await;
    for line in [
        r#"tollgate_key_refreshes_total{issuer="okta",outcome="success"} 0"#,
        r#"tollgate_key_refreshes_total{issuer="okta",outcome="idp_rate_limited"} 0"#,
        r#"tollgate_idp_refused_total{issuer="okta",calls="introspection",lane="trusted"} 0"#,
        r#"tollgate_idp_refused_total{issuer="okta",calls="introspection",lane="stranger"} 0"#,
        r#"tollgate_outage_acceptances_total{issuer="okta"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"calls="token""#), "what never happens has no series\n{text}");
}

#[tokio::test]
async fn no_flood_of_odd_requests_adds_a_series() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let odd = async |number: usize| {
        scene.raw(request(&format!("BREW{number}"), &format!("/docs/{number}"), &["x-request-id: a"], "")).await;
        scene
            .raw(request("GET", &format!("/items/{number}?q={number}"), &["authorization: Bearer nonsense"], ""))
            .await;
        scene.raw(request("GET", &format!("/{number}"), &[&format!("authorization: Basic {number}")], "")).await;
        scene.raw(format!("GET /docs HTTP/1.1\r\nhost: host-{number}.test\r\nuser-agent: {number}\r\n\r\n")).await;
    };
    let series = async |requests: usize| {
        let what = "all requests to be counted";
        eventually(what, PATIENCE, || async {
            let text = scene.metrics().await;
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let names: std::collections::BTreeSet<_> =
                lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect();
            let counts = text.lines().filter(|line| line.starts_with("tollgate_requests_total{"));
            let counted: usize = counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum();
            if counted == requests { Ok(names) } else { Err(format!("{counted} of {requests}\n{text}")) }
        })
        .await
    };
    odd(0).await;
    let before = series(4).await;
    for number in 1..50 {
        odd(number).await;
    }
    assert_eq!(series(200).await, before);
}

#[tokio::test]
async fn every_metric_that_is_served_is_documented() {
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    scene.get("/docs", &[]).await;
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md")).expect("docs");
    let text = scene.metrics().await;
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let undocumented: Vec<String> = kinds
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .filter(|name| !docs.contains(&format!("`{name}`")) && !docs.contains(&format!("`{name}{{")))
        .collect();
    assert_eq!(undocumented, Vec::<String>::new());
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_binds_no_port() {
    async fn refusal(config: &Value) -> StartError {
        let started = Sidecar::start(crate::scene::options(config)).await;
        started.err().expect("a refusal")
    }
    let mut unknown = public(8000);
    unknown["futureRule"] = json!(true);
    assert!(matches!(refusal(&unknown).await, StartError::Policy(PolicyError::Format(_))));
    let mut twice = public(8000);
    twice["routes"] = json!([twice["routes"][0], twice["routes"][0]]);
    assert!(matches!(refusal(&twice).await, StartError::Policy(PolicyError::Routes(_))));
    let mut plain_http = public(8000);
    plain_http["issuers"][0]["url"] = json!("http://127.0.0.1:1");
    assert!(matches!(refusal(&plain_http).await, StartError::Policy(PolicyError::Issuer { .. })));
}
