//! Takes callers' connections on every worker thread and serves their requests until it is time to stop. It decides
//! how many connections there are, how long callers may take to write and to read, and how the end is announced; what
//! becomes of a request is decided in `gate`.

mod caller;
mod drain;
mod flight;
mod gate;
mod head;
mod reader;

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

pub(crate) use drain::Drain;
pub(crate) use flight::Observer;
pub(crate) use gate::{Gate, Shared};

use self::reader::Watched;
use crate::metrics::{Observed, Place, Protocol};
use crate::proxy::Peer;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::rescue;

/// Bounds what one connection can make us hold; a head over our own limit still fits and gets an answer with a reason.
const MAX_BUFFER: usize = 64 * 1024;
/// After a failed accept (no file descriptors left): long enough not to spin, short enough to go unnoticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Callers' connections of all workers together.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    open: TaskTracker,
    slots: Arc<Semaphore>,
    /// For those who are turned away.
    answer: Arc<[u8]>,
}

impl Connections {
    pub(crate) fn new(limit: usize, rescue: &rescue::Rescue) -> Self {
        let rejection = Rejection::new(Reason::Overloaded, "Too many connections.").retry_after(Duration::from_secs(1));
        let answer = rescue.answer_and_close(&rejection).into();
        Self { open: TaskTracker::new(), slots: Arc::new(Semaphore::new(limit)), answer }
    }
}

/// One worker: takes connections until draining says stop, then waits for those of all workers: a question to an issuer
/// is shared by all who wait for its answer, and runs on the worker of whoever asked first.
pub(crate) async fn run(listener: TcpListener, gate: Arc<Gate>, connections: Connections) {
    let drain = gate.shared.drain.clone();
    tokio::spawn(gate.proxy.housekeeping());
    tokio::select! {
        () = accept(listener, &gate, &connections) => {}
        () = drain.stop_accepting() => {}
    }
    connections.open.close();
    tokio::select! {
        () = connections.open.wait() => {}
        () = drain.give_up() => {}
    }
}

async fn accept(listener: TcpListener, gate: &Arc<Gate>, connections: &Connections) {
    let mut failing = false;
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => {
                failing = false;
                accepted
            }
            Err(error) => {
                // Said once, not fifty times a second.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&connections.slots).try_acquire_owned() {
            Ok(slot) => {
                connections.open.spawn(connection(stream, address, Arc::clone(gate), slot));
            }
            Err(_) => turn_away(stream, connections, gate),
        }
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, gate: Arc<Gate>, slot: OwnedSemaphorePermit) {
    // Without it small answers wait for the caller's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let metrics = gate.shared.observer.metrics.clone();
    metrics.connections.inc();
    let drain = gate.shared.drain.clone();
    let stream = Watched::new(stream, gate.shared.limits.unread);
    let caller = Arc::new((gate, Peer::new(address.ip())));
    let service = service_fn(|request: Request<Incoming>| {
        let caller = Arc::clone(&caller);
        async move { Ok::<_, Infallible>(caller.0.serve(&caller.1, request).await) }
    });
    let mut serving = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(caller.0.shared.limits.head)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = drain.stop_accepting() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // What is no HTTP was answered by hyper; it is counted here because it never became a request.
        if error.is_parse() {
            let reason = if error.is_parse_too_large() { Reason::HeadersTooLarge } else { Reason::BadRequest };
            metrics.observe(Observed {
                place: Place::None,
                method: &Method::default(),
                protocol: Protocol::Http1,
                status: rescue::status(reason),
                reason: Some(reason),
                took: Duration::ZERO,
            });
        }
        tracing::debug!(%error, "a caller's connection broke");
    }
    metrics.connections.dec();
    drop(slot);
}

/// At the limit the kind answer is a quick one; whether it arrives is up to the network.
fn turn_away(stream: TcpStream, connections: &Connections, gate: &Gate) {
    gate.shared.observer.metrics.shed_connections.inc();
    if let Ok(mut stream) = stream.into_std() {
        // Fits an empty socket buffer, so it does not block.
        let _ = stream.write_all(&connections.answer);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}
