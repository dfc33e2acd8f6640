//! Stopping: nobody's request is lost, and it comes to an end.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tests::issuer::{Endpoint, FakeIssuer, Fault};
use tests::raw::Raw;
use tests::upstream::{ManualUpstream, Upstream, ok};
use tests::wait::eventually;
use tokio::net::TcpStream;
use tollgate_sidecar::DrainTimes;

use crate::scene::{PATIENCE, Scene, items, public, request};

#[tokio::test]
async fn a_request_in_flight_is_finished_and_its_connection_closed() {
    let app = ManualUpstream::start().await;
    let scene = Scene::start(&public(app.port())).await;
    let address = scene.address();
    let mut caller = Raw::connect(address).await;
    caller.send(request("GET", "/", &[], "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    let stopping = tokio::spawn(scene.sidecar.shutdown());
    eventually("new connections to be refused", PATIENCE, || async {
        match TcpStream::connect(address).await {
            Ok(_) => Err("still accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast").await;
    let head = caller.head().await.expect("an answer");
    assert_eq!((head.status(), head.header("connection")), (200, Some("close")));
    assert_eq!(caller.body(&head, "GET").await.bytes, b"last");
    assert!(caller.is_closed().await);
    assert!(stopping.await.expect("no panic"), "all was finished");
}

#[tokio::test]
async fn during_the_lead_callers_are_served_and_asked_to_leave() {
    let app = Upstream::start(|_| ok("hello")).await;
    let lead = Duration::from_secs(2);
    let scene =
        Scene::with(&public(app.port()), |options| options.drain = DrainTimes { lead, deadline: PATIENCE }).await;
    let (address, admin) = (scene.address(), scene.sidecar.admin_addr());
    let mut kept = Raw::connect(address).await;
    kept.send(request("GET", "/", &[], "")).await;
    let head = kept.head().await.expect("an answer");
    kept.body(&head, "GET").await;
    assert_eq!(head.header("connection"), None);
    let stopping = tokio::spawn(scene.sidecar.shutdown());
    eventually("readiness to end", PATIENCE, || async {
        let (head, body) = tests::raw::exchange(admin, "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let body = String::from_utf8_lossy(&body.bytes).into_owned();
        if head.status() == 503 && body.contains("draining") { Ok(()) } else { Err(body) }
    })
    .await;
    kept.send(request("GET", "/", &[], "")).await;
    let head = kept.head().await.expect("an answer");
    assert_eq!((head.status(), head.header("connection")), (200, Some("close")));
    let (head, _) = tests::raw::exchange(address, request("GET", "/", &[], "")).await;
    assert_eq!(head.status(), 200, "new connections are still taken");
    assert!(stopping.await.expect("no panic"));
}

#[tokio::test]
async fn an_announced_stop_asks_callers_to_leave_and_refuses_nobody() {
    let app = Upstream::start(|_| ok("hello")).await;
    let scene = Scene::start(&public(app.port())).await;
    scene.sidecar.begin_drain();
    for _ in 0..3 {
        let (head, _) = scene.get("/", &[]).await;
        assert_eq!((head.status(), head.header("connection")), (200, Some("close")));
    }
    assert_eq!(scene.admin("/readyz").await.0.status(), 503);
    assert_eq!(scene.admin("/livez").await.0.status(), 200);
}

#[tokio::test]
async fn an_announced_stop_ends_idle_connections_and_takes_new_ones() {
    let app = Upstream::start(|_| ok("hello")).await;
    let lead = Duration::from_millis(300);
    let scene = Scene::with(&public(app.port()), |options| options.drain.lead = lead).await;
    let mut kept = Raw::connect(scene.address()).await;
    kept.send(request("GET", "/", &[], "")).await;
    let head = kept.head().await.expect("an answer");
    assert_eq!((head.header("connection"), kept.exactly(5).await), (None, b"hello".to_vec()));
    scene.sidecar.begin_drain();
    assert!(kept.is_closed().await, "its caller would not hear of the end before the app is gone");
    let (head, _) = scene.get("/", &[]).await;
    assert_eq!((head.status(), head.header("connection")), (200, Some("close")), "who comes anew is served");
}

#[tokio::test]
async fn the_lead_counts_from_the_announcement() {
    let app = Upstream::start(|_| ok("")).await;
    let lead = Duration::from_secs(2);
    let scene = Scene::with(&public(app.port()), |options| options.drain.lead = lead).await;
    let announced = tokio::time::Instant::now();
    scene.sidecar.begin_drain();
    eventually("most of the lead to pass", PATIENCE, || async {
        if announced.elapsed() > lead * 9 / 10 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let stopping = tokio::time::Instant::now();
    assert!(scene.sidecar.shutdown().await);
    assert!(stopping.elapsed() < lead / 2, "{:?}", stopping.elapsed());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_the_deadline() {
    let app = ManualUpstream::start().await;
    let times = DrainTimes { lead: Duration::ZERO, deadline: Duration::from_millis(300) };
    let scene = Scene::with(&public(app.port()), |options| options.drain = times).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/", &[], "")).await;
    let mut upstream = app.accept().await;
    upstream.head().await.expect("a request");
    assert!(!scene.sidecar.shutdown().await, "something was cut");
    assert!(caller.is_closed().await);
}

#[tokio::test]
async fn an_answer_shared_with_a_caller_that_left_is_not_lost() {
    // Which worker takes a connection is chance: of eight rounds some have the two callers on different ones.
    let statuses = join_all((0..8).map(|_| status_of_who_stays())).await;
    assert_eq!(statuses, [Some(200); 8]);
}

/// Two callers wait for one answer of the issuer; the one who asked first leaves, then the sidecar stops.
async fn status_of_who_stays() -> Option<u16> {
    let issuer = FakeIssuer::start().await;
    issuer.fault(Endpoint::Token, Fault::Delay(Duration::from_secs(2)));
    let scene = Scene::with(&items(9, &issuer), |options| options.workers = NonZeroUsize::new(2)).await;
    let scene = scene.into_ready().await;
    let form = "grant_type=client_credentials&client_id=0oaCaller&client_secret=s3cret";
    let question = request("POST", "/token", &["content-type: application/x-www-form-urlencoded"], form);
    let mut leaves = Raw::connect(scene.address()).await;
    leaves.send(&question).await;
    eventually("the issuer is asked", PATIENCE, || async {
        if issuer.hits(Endpoint::Token) == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let mut stays = Raw::connect(scene.address()).await;
    stays.send(&question).await;
    scene.await_metric("tollgate_requests_in_flight 2").await;
    drop(leaves);
    scene.await_metric("tollgate_requests_in_flight 1").await;
    let stopping = tokio::spawn(scene.sidecar.shutdown());
    let status = stays.head().await.map(|head| head.status());
    drop(stays);
    assert!(stopping.await.expect("no panic"));
    status
}

#[tokio::test]
async fn callers_that_come_and_go_lose_nothing_while_it_stops() {
    let app = Upstream::start(|_| ok("hello")).await;
    let times = DrainTimes { lead: Duration::from_secs(1), deadline: PATIENCE };
    let scene = Scene::with(&public(app.port()), |options| options.drain = times).await;
    let address = scene.address();
    let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> =
        (0..8).map(|_| tokio::spawn(call(address, Arc::clone(&answered), Arc::clone(&stop)))).collect();
    eventually("traffic", PATIENCE, || async {
        let count = answered.load(Ordering::Relaxed);
        if count > 100 { Ok(()) } else { Err(count) }
    })
    .await;
    // Callers leave when they are asked to, as they would for another pod, before the listener closes.
    let watched = Arc::clone(&stop);
    let stopping = tokio::spawn(async move {
        let done = scene.sidecar.shutdown().await;
        watched.store(true, Ordering::Relaxed);
        done
    });
    for caller in callers {
        caller.await.expect("no caller lost a request");
    }
    assert!(stopping.await.expect("no panic"));
}

/// Sends one request after the other until asked to leave; panics when an answer is missing.
async fn call(address: SocketAddr, answered: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let mut caller = Raw::connect(address).await;
    while !stop.load(Ordering::Relaxed) {
        caller.send(request("GET", "/", &[], "")).await;
        let head = caller.head().await.expect("an answer to every request");
        assert_eq!(caller.body(&head, "GET").await.bytes, b"hello");
        answered.fetch_add(1, Ordering::Relaxed);
        if head.header("connection") == Some("close") {
            return;
        }
    }
}
