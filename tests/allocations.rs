//! How often a request with a known token allocates, in the whole process: the caller and the app of this test allocate
//! nothing while it counts. A change that makes the hit path allocate more is seen here, without a clock.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tests::issuer::FakeIssuer;
use tests::wait::eventually;
use tollgate_sidecar::{AccessLogTo, DrainTimes, Limits, Options, Sidecar};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const REQUESTS: u32 = 2_000;

/// What hyper's two ends need for a request and its answer, and nothing of ours: header maps, the body's boxes, the task
/// that drives the connection to the app. 11 when this was written; looking at mounted files once a second adds its part.
const ALLOWED: f64 = 13.0;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_known_token_allocates_no_more_than_http_needs() {
    let issuer = FakeIssuer::start().await;
    let sidecar = start(&issuer, app()).await;
    let request = format!(
        "GET /items HTTP/1.1\r\nhost: api.test\r\naccept: */*\r\nauthorization: Bearer {}\r\n\r\n",
        issuer.token().signed()
    );
    let address = sidecar.proxy_addr();
    let a_request = tokio::task::spawn_blocking(move || count(address, request.as_bytes())).await.expect("no panic");
    println!("allocations per request: {a_request:.1}");
    assert!(a_request > 0.0, "nothing was counted");
    assert!(a_request <= ALLOWED, "{a_request} allocations");
}

/// Allocations of the whole process while one caller sends the same request again and again.
fn count(address: SocketAddr, request: &[u8]) -> f64 {
    let mut connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("an option");
    // What is made once a connection and once a token is not a request's.
    (0..50).for_each(|_| ask(&mut connection, request));
    let _profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(1)).build();
    let before = dhat::HeapStats::get().total_blocks;
    (0..REQUESTS).for_each(|_| ask(&mut connection, request));
    let blocks = dhat::HeapStats::get().total_blocks - before;
    f64::from(u32::try_from(blocks).expect("a few")) / f64::from(REQUESTS)
}

fn ask(connection: &mut TcpStream, request: &[u8]) {
    connection.write_all(request).expect("a request");
    let mut buffer = [0; 2048];
    let mut length = 0;
    while !buffer[..length].ends_with(b"\r\n\r\n[]") {
        let read = connection.read(&mut buffer[length..]).expect("an answer");
        assert!(read > 0, "the connection ended");
        length += read;
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
}

/// An app that reads heads without bodies and answers the same to each.
fn app() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || serve(connection.expect("a connection")));
        }
    });
    port
}

fn serve(mut connection: TcpStream) {
    let mut buffer = [0; 4096];
    let mut length = 0;
    while let Ok(read @ 1..) = connection.read(&mut buffer[length..]) {
        length += read;
        if buffer[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            if connection.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

async fn start(issuer: &FakeIssuer, app: u16) -> Sidecar {
    tests::install_crypto();
    let config = json!({
        "namespace": "shop", "name": "items", "defaultAccess": "Authenticated", "logLevel": "info",
        "issuers": [{
            "name": "okta", "url": issuer.url(), "audiences": ["api://default"], "validation": "Local",
            "introspection": {"cacheMillis": 0}, "clockSkewSeconds": 60, "caFile": issuer.ca_file(),
        }],
        "routes": [{"name": "items", "path": {"prefix": "/items"}, "access": "Authenticated",
                    "scopes": {"allOf": ["items"]}}],
        "upstream": {"port": app},
    });
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let sidecar = Sidecar::start(Options {
        config: config.to_string().into_bytes(),
        hints: std::path::PathBuf::new(),
        listen: any,
        admin: any,
        pod_uid: String::new(),
        pod_ip: None,
        access_log: AccessLogTo::Off,
        workers: NonZeroUsize::new(1),
        drain: DrainTimes { lead: Duration::ZERO, deadline: Duration::from_secs(5) },
        limits: Limits::default(),
    });
    let sidecar = Box::pin(sidecar).await.expect("the sidecar starts");
    let ready = format!("http://{}/readyz", sidecar.admin_addr());
    eventually("readiness", Duration::from_secs(20), || async {
        let answer = reqwest::Client::builder().no_proxy().build().expect("a client").get(&ready).send().await;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    sidecar
}
