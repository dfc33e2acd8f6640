//! Two thousand callers that write or read as slowly as they can, half of them on HTTP/2, and one that takes back what it
//! asks for as fast as it can: whoever behaves is served meanwhile, and memory is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tests::endurance::{is_full, length};
use tests::http2::{Client, Frames, encode, frame, get, get_block};
use tests::issuer::FakeIssuer;
use tests::load::{Load, Outcome, get_items};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tollgate_sidecar::AccessLogTo;

use crate::scene::{Scene, items};

/// Each half of it on one version of HTTP.
const SLOW_HEADS: usize = 1_200;
const SLOW_BODIES: usize = 400;
const SLOW_READERS: usize = 400;
/// Between bytes of a slow caller.
const PAUSE: Duration = Duration::from_secs(2);
/// Requests that the flood takes back at a time, and how often in a second.
const FLOOD: u32 = 100;
const FLOODS: u64 = 20;
/// Of the callers who behave.
const RATE: u32 = 500;
/// What all of them may hold, callers included, which live in this process too; in KiB.
const MOST_GROWN: u64 = 384 * 1024;
/// A large answer, in pieces.
const PIECE: &[u8] = &[b'x'; 64 * 1024];
const PIECES: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn slow_callers_and_rapid_resets_are_felt_by_nobody_else() {
    raise_limit();
    let duration = length(Duration::from_secs(5), Duration::from_secs(120));
    let issuer = FakeIssuer::start().await;
    let app = app().await;
    let choose = |options: &mut tollgate_sidecar::Options| options.access_log = AccessLogTo::Off;
    let mut config = items(app.port(), &issuer);
    // The app shares this machine with 2,000 callers: it may be late, which is not what this is about.
    config["upstream"]["timeouts"] =
        json!({"connectMillis": 10_000, "responseHeaderMillis": 60_000, "idleMillis": 300_000});
    let scene = Scene::with(&config, choose).await.into_ready().await;
    let address = scene.address();
    let token = issuer.token().signed();
    let good = |duration| {
        let load = Load { address, rate: RATE, connections: 32, duration };
        let request = get_items(&token);
        load.run(move |_| request.clone())
    };
    let mut quiet = good(duration).await;
    let before = resident();

    let mut crowd = JoinSet::new();
    let begun = Arc::new(Barrier::new(SLOW_HEADS + SLOW_BODIES + SLOW_READERS + 1));
    for nth in 0..SLOW_HEADS + SLOW_BODIES + SLOW_READERS {
        let begun = Arc::clone(&begun);
        crowd.spawn(async move {
            match (nth, nth % 2) {
                (..SLOW_HEADS, 0) => slow_head(address, &begun).await,
                (..SLOW_HEADS, _) => slow_head_of_http2(address, &begun).await,
                (nth, 0) if nth < SLOW_HEADS + SLOW_BODIES => slow_body(address, &begun).await,
                (nth, _) if nth < SLOW_HEADS + SLOW_BODIES => slow_body_of_http2(address, &begun).await,
                (_, 0) => slow_reader(address, &begun).await,
                (_, _) => slow_reader_of_http2(address, &begun).await,
            }
        });
    }
    begun.wait().await;
    let taken_back = Arc::new(AtomicU64::new(0));
    crowd.spawn(rapid_resets(address, Arc::clone(&taken_back)));
    let mut attacked = good(duration).await;
    let grown = resident().saturating_sub(before);
    let connections = scene.metrics().await;
    let connections = connections.lines().find(|line| line.starts_with("tollgate_connections ")).unwrap_or_default();
    let taken_back = taken_back.load(Ordering::Relaxed);
    let (p99, quiet_p99) = (attacked.percentile(0.99), quiet.percentile(0.99));
    println!(
        "p99 {quiet_p99:?} when quiet, {p99:?} under attack; {taken_back} requests taken back; {connections}; \
         {grown} KiB more, both ends of all connections"
    );
    for outcome in [&quiet, &attacked] {
        assert!(is_good(outcome), "{:?}, {} broken", outcome.answers, outcome.broken);
    }
    assert!(taken_back > 1_000, "the flood was one");
    assert!(grown <= MOST_GROWN, "{grown} KiB more");
    assert!(!is_full() || p99 <= 2 * quiet_p99, "{p99:?} is over twice {quiet_p99:?}");
    crowd.shutdown().await;
    scene.await_metric("tollgate_requests_in_flight 0").await;
}

fn is_good(outcome: &Outcome) -> bool {
    outcome.broken == 0 && outcome.total() > 0 && outcome.total() == outcome.with_status(200)
}

/// Both ends of every connection are in this process.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the hard limit is allowed");
    assert!(limit.current.is_none_or(|most| most > 12_000), "too few open files for this test: {limit:?}");
}

/// What this process holds in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// An app that reads bodies to their end, and has something large to tell.
async fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Serves a connection until either end breaks it.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        read.drain(..end);
        if head.starts_with("post ") {
            // Only the slow ones send bodies, and none of them comes to its end.
            while stream.read_buf(&mut read).await? > 0 {
                read.clear();
            }
            return Ok(());
        }
        let pieces = if head.starts_with("get /docs/large ") { PIECES } else { 0 };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", pieces * PIECE.len());
        stream.write_all(answer.as_bytes()).await?;
        for _ in 0..pieces {
            stream.write_all(PIECE).await?;
        }
    }
}

/// Does it again and again, whatever comes of it.
async fn slowly<F: Future<Output = bool>>(mut once: impl FnMut() -> F) {
    let mut ticks = interval(PAUSE);
    loop {
        ticks.tick().await;
        if !once().await {
            // It was thrown out, which is all right.
            return;
        }
    }
}

async fn begin(address: SocketAddr, text: &str) -> Arc<tokio::sync::Mutex<TcpStream>> {
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    stream.write_all(text.as_bytes()).await.expect("room for a few bytes");
    Arc::new(tokio::sync::Mutex::new(stream))
}

async fn slow_head(address: SocketAddr, begun: &Barrier) {
    let stream = begin(address, "GET /items HTTP/1.1\r\nhost: api.test\r\nx-slow: ").await;
    begun.wait().await;
    slowly(async || stream.lock().await.write_all(b"x").await.is_ok()).await;
}

async fn slow_body(address: SocketAddr, begun: &Barrier) {
    let stream = begin(address, "POST /docs HTTP/1.1\r\nhost: api.test\r\ncontent-length: 100000\r\n\r\n").await;
    begun.wait().await;
    slowly(async || stream.lock().await.write_all(b"x").await.is_ok()).await;
}

async fn slow_reader(address: SocketAddr, begun: &Barrier) {
    let stream = begin(address, "GET /docs/large HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    begun.wait().await;
    slowly(async || stream.lock().await.read_exact(&mut [0; 16]).await.is_ok()).await;
}

/// Another field every now and then, and never the end of them.
async fn slow_head_of_http2(address: SocketAddr, begun: &Barrier) {
    let mut caller = Frames::connect(address).await;
    caller.send(frame::HEADERS, frame::END_STREAM, 1, &get_block("/items")).await.expect("room for a few bytes");
    begun.wait().await;
    let caller = tokio::sync::Mutex::new(caller);
    let field = [0x00, 1, b'a', 1, b'b'];
    slowly(async || caller.lock().await.send(frame::CONTINUATION, 0, 1, &field).await.is_ok()).await;
}

async fn slow_body_of_http2(address: SocketAddr, begun: &Barrier) {
    let mut caller = Client::connect(address).await;
    let post = Request::post("http://api.test/docs").body(()).expect("a request");
    let (_answer, body) = caller.send(post, false).await;
    begun.wait().await;
    let body = tokio::sync::Mutex::new(body);
    slowly(async || body.lock().await.send_data(Bytes::from_static(b"x"), false).is_ok()).await;
}

/// Takes a kilobyte and no more, and answers pings.
async fn slow_reader_of_http2(address: SocketAddr, begun: &Barrier) {
    let stream = TcpStream::connect(address).await.expect("a listener");
    let mut caller = Client::over(stream, 1024).await;
    let (_answer, _) = caller.send(get("/docs/large", &[]), true).await;
    begun.wait().await;
    slowly(async || !caller.has_ended()).await;
}

/// A new connection whenever one is ended.
async fn rapid_resets(address: SocketAddr, taken_back: Arc<AtomicU64>) {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(FLOODS).expect("small"));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut caller = Frames::connect(address).await;
        let (mut stream, begun) = (1, Instant::now());
        // Streams have an end of their own.
        while begun.elapsed() < Duration::from_secs(60) {
            ticks.tick().await;
            let mut flood = Vec::new();
            for _ in 0..FLOOD {
                let whole = frame::END_HEADERS | frame::END_STREAM;
                flood.extend_from_slice(&encode(frame::HEADERS, whole, stream, &get_block("/docs")));
                flood.extend_from_slice(&encode(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                stream += 2;
            }
            if caller.write(&flood).await.is_err() {
                break;
            }
            taken_back.fetch_add(u64::from(FLOOD), Ordering::Relaxed);
        }
    }
}
