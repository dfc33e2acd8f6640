//! Traces, as the OpenTelemetry Collector gets them: who is whose parent, what is said, and what must not be said.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::collector::{Collector, Span};
use tests::issuer::FakeIssuer;
use tests::upstream::{Reply, Upstream, ok};
use tests::wait::eventually;
use tollgate_sidecar::policy::PolicyError;
use tollgate_sidecar::{Sidecar, StartError};

use crate::scene::{PATIENCE, Scene, items, options, public, request};

const CALLERS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";

/// Everything is recorded, unless a caller says otherwise.
fn traced(mut config: Value, endpoint: &str) -> Value {
    config["tracing"] = json!({"endpoint": endpoint, "samplePerMillion": 1_000_000});
    config
}

/// Trace, span and flags of a `traceparent`.
fn parts(traceparent: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [_, trace, span, flags] = parts[..] else { panic!("no traceparent: {traceparent}") };
    (trace, span, flags)
}

fn one(spans: &[Span], kind: u64) -> &Span {
    let found: Vec<_> = spans.iter().filter(|span| span.kind == kind).collect();
    assert_eq!(found.len(), 1, "spans of kind {kind} in {spans:#?}");
    found[0]
}

#[tokio::test]
async fn a_callers_trace_goes_on_through_the_sidecar_to_the_app() {
    let collector = Collector::start().await;
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::ready(&traced(items(app.port(), &issuer), &format!("{}/", collector.endpoint()))).await;
    let token = issuer.token().claim("cid", json!("0oaCaller")).signed();
    let (authorization, parent) =
        (format!("authorization: Bearer {token}"), format!("traceparent: 00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"));
    let headers = [&*authorization, &parent, "tracestate: vendor=1", "cookie: in-cookie", "x-request-id: req-1"];
    let (head, _) = scene.get("/items/7?secret=in-query", &headers).await;
    assert_eq!(head.status(), 200);

    let spans = collector.spans(3).await;
    let (server, client, judged) = (one(&spans, 2), one(&spans, 3), one(&spans, 1));
    assert_eq!((&*server.trace, &*server.parent), (CALLERS_TRACE, CALLERS_SPAN));
    assert_eq!((&client.trace, &client.parent), (&server.trace, &server.id));
    assert_eq!((&judged.parent, &*judged.name), (&server.id, "authenticate"));
    let arrived = app.last().head;
    let (trace, span, flags) = parts(arrived.header("traceparent").expect("a traceparent"));
    assert_eq!((trace, span, flags), (CALLERS_TRACE, &*client.id, "01"), "the app's parent is the call's span");
    assert_eq!(arrived.header("tracestate"), Some("vendor=1"));
    assert!(server.start <= judged.start && judged.end <= client.start && client.end <= server.end, "{spans:#?}");

    assert_eq!(server.name, "GET read");
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/items/7"),
        ("http.route", "read"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("tollgate.request_id", "req-1"),
        ("tollgate.issuer", "okta"),
        ("tollgate.client_id", "0oaCaller"),
        ("error.type", ""),
    ] {
        assert_eq!(server.text(name), expected, "{name} in {server:#?}");
    }
    assert_eq!(client.text("url.full"), format!("http://127.0.0.1:{}/items/7", app.port()));
    assert_eq!((server.status, client.status), (0, 0));
    for (name, expected) in
        [("service.name", "items-tollgate"), ("service.namespace", "shop"), ("k8s.pod.uid", "pod-1")]
    {
        assert_eq!(server.resource[name], json!(expected));
    }

    let line = &scene.log.lines(1).await[0];
    assert_eq!(line["trace_id"], json!(CALLERS_TRACE));
    let exemplar = format!("# {{trace_id=\"{CALLERS_TRACE}\"}}");
    assert!(scene.metrics().await.contains(&exemplar), "the duration's exemplar names the trace");

    let text = collector.text();
    let signature = token.rsplit('.').next().expect("a signature");
    for leak in ["in-query", "in-cookie", "Bearer", signature, &token] {
        assert!(!text.contains(leak), "{leak} in {text}");
    }
}

#[tokio::test]
async fn refused_and_failed_requests_say_why() {
    let collector = Collector::start().await;
    let issuer = FakeIssuer::start().await;
    let app = Upstream::start(|request| match request.head.target() {
        "/docs/missing" => Reply::Bytes(b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n".to_vec()),
        "/docs/fails" => Reply::Bytes(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => Reply::BytesAndClose(Vec::new()),
    })
    .await;
    let scene = Scene::ready(&traced(items(app.port(), &issuer), &collector.endpoint())).await;
    scene.get("/items", &[]).await;
    scene.get("/docs/missing", &[]).await;
    scene.get("/docs/fails", &[]).await;
    scene.get("/docs/hangs-up", &[]).await;
    scene.raw(request("BREW", "/docs/missing", &[], "")).await;
    let spans = collector.spans(10).await;
    let seen = |kind| {
        let seen = spans.iter().filter(move |span| span.kind == kind);
        seen.map(|span| (span.text("http.response.status_code"), span.text("error.type"), span.status))
            .collect::<Vec<_>>()
    };
    let expect = |table: &[(&str, &str, u64)]| -> Vec<_> {
        table.iter().map(|(code, kind, status)| ((*code).to_owned(), (*kind).to_owned(), *status)).collect()
    };
    assert_eq!(
        seen(2),
        expect(&[
            ("401", "missing_token", 0),
            ("404", "", 0),
            ("500", "500", 2),
            ("502", "upstream_unreachable", 2),
            ("404", "", 0)
        ])
    );
    assert_eq!(seen(3), expect(&[("404", "", 2), ("500", "500", 2), ("", "upstream_unreachable", 2), ("404", "", 2)]));
    let odd = spans.iter().rfind(|span| span.kind == 2).expect("a span");
    assert_eq!((&*odd.name, &*odd.text("http.request.method")), ("HTTP docs", "_OTHER"));
    assert!(!collector.text().contains("BREW"));
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace).collect();
    assert_eq!(traces.len(), 5, "each request without a trace begins one");
}

#[tokio::test]
async fn a_callers_decision_is_followed_and_ours_is_told_to_the_app() {
    let collector = Collector::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let never = |mut config: Value| {
        config["tracing"]["samplePerMillion"] = json!(0);
        config
    };
    let scene = Scene::start(&never(traced(public(app.port()), &collector.endpoint()))).await;
    let traceparent = || app.last().head.header("traceparent").expect("a traceparent").to_owned();

    let unsampled = format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-00");
    scene.get("/unsampled", &[&format!("traceparent: {unsampled}"), "tracestate: a=b"]).await;
    assert_eq!((traceparent(), app.last().head.header("tracestate")), (unsampled.clone(), Some("a=b")));
    scene.get("/begun", &["tracestate: a=b"]).await;
    let begun = traceparent();
    assert_eq!((parts(&begun).2, app.last().head.header("tracestate")), ("00", None));
    scene.get("/malformed", &["traceparent: 00-nonsense-01"]).await;
    assert_ne!(parts(&traceparent()).0, parts(&begun).0);
    scene.get("/sampled", &[&unsampled.replace("00-4", "traceparent: 00-4").replace("b7-00", "b7-01")]).await;
    assert_eq!(parts(&traceparent()).2, "01");

    let spans = collector.spans(2).await;
    assert!(spans.iter().all(|span| span.trace == CALLERS_TRACE), "{spans:#?}");
    assert_eq!(one(&spans, 2).text("url.path"), "/sampled");
}

#[tokio::test]
async fn strangers_cannot_have_all_their_requests_recorded_and_trusted_proxies_can() {
    let collector = Collector::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let mut config = traced(public(app.port()), &collector.endpoint());
    config["tracing"]["samplePerMillion"] = json!(0);
    let flood = async |scene: &Scene| {
        let (before, began) = (app.arrived().len(), std::time::Instant::now());
        for _ in 0..200 {
            scene.get("/", &[&format!("traceparent: 00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")]).await;
        }
        let seconds = began.elapsed().as_secs() as usize + 2;
        let arrived = app.arrived().split_off(before);
        let seen = arrived.iter().map(|request| request.head.header("traceparent").expect("a traceparent").to_owned());
        (seen.collect::<Vec<_>>(), seconds)
    };
    let (seen, seconds) = flood(&Scene::start(&config).await).await;
    let sampled = seen.iter().filter(|parent| parts(parent).2 == "01").count();
    assert!((10..=10 * seconds).contains(&sampled), "{sampled} of 200 in {seconds} s");
    for parent in &seen {
        assert_eq!(parts(parent).0, CALLERS_TRACE, "the trace goes on all the same");
        assert_ne!(parts(parent).1, CALLERS_SPAN, "whoever changes the flag says so under a name of its own");
    }
    assert_eq!(collector.spans(2 * sampled).await.len(), 2 * sampled);
    config["trustedProxies"] = json!(["127.0.0.0/8"]);
    let (seen, _) = flood(&Scene::start(&config).await).await;
    assert!(seen.iter().all(|parent| parts(parent).2 == "01"), "{seen:?}");
}

#[tokio::test]
async fn without_tracing_a_callers_trace_passes_untouched() {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let parent = format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-01");
    scene.get("/", &[&format!("traceparent: {parent}"), "tracestate: a=b,c=d"]).await;
    scene.get("/", &[]).await;
    let arrived = app.arrived();
    assert_eq!(arrived[0].head.header("traceparent"), Some(&*parent));
    assert_eq!(arrived[0].head.header("tracestate"), Some("a=b,c=d"));
    assert_eq!(arrived[1].head.header("traceparent"), None);
    let lines = scene.log.lines(2).await;
    assert_eq!((&lines[0]["trace_id"], &lines[1]["trace_id"]), (&json!(CALLERS_TRACE), &Value::Null));
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_and_no_request() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&traced(public(app.port()), "http://127.0.0.1:1")).await;
    for _ in 0..20 {
        assert_eq!(scene.get("/", &[]).await.0.status(), 200);
    }
    eventually("the lost ones to be counted", PATIENCE, || async {
        let metrics = scene.metrics().await;
        let dropped =
            metrics.lines().find_map(|line| line.strip_prefix("tollgate_traces_dropped_total ")?.parse().ok());
        if dropped == Some(20) { Ok(()) } else { Err(format!("{dropped:?} dropped")) }
    })
    .await;
    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
}

#[tokio::test]
async fn spans_are_not_lost_when_the_sidecar_stops() {
    let collector = Collector::start().await;
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&traced(public(app.port()), &collector.endpoint())).await;
    scene.get("/", &[]).await;
    assert!(scene.sidecar.shutdown().await);
    assert_eq!(collector.text().lines().count(), 1, "sent when it ended, not later");
}

#[tokio::test]
async fn an_endpoint_that_makes_no_sense_is_refused() {
    for endpoint in ["collector:4318", "ftp://collector", "http://user:secret@collector", "http://collector?a", "x"] {
        let refused = Sidecar::start(options(&traced(public(8000), endpoint))).await.err().expect("a refusal");
        assert!(matches!(refused, StartError::Policy(PolicyError::Tracing(_))), "{endpoint}: {refused}");
    }
    let mut config = traced(public(8000), "http://collector:4318");
    config["tracing"]["samplePerMillion"] = json!(1_000_001);
    let refused = Sidecar::start(options(&config)).await.err().expect("a refusal");
    assert!(matches!(refused, StartError::Policy(PolicyError::Tracing(_))), "{refused}");
}
