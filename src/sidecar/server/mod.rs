//! Takes callers' connections on every worker thread and serves them until it is time to stop. It decides how many there
//! are, `crowd` who stays when there is no room; what a connection may take and how it ends is decided in `connection`,
//! what becomes of a request in `gate`.

mod caller;
mod connection;
mod crowd;
mod drain;
mod flight;
mod forward;
mod gate;
mod h2_head;
mod head;
mod lasting;
mod protocol;
mod reader;
mod streams;
mod tenure;
mod tls;
mod tunnel;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

pub(crate) use drain::Drain;
pub(crate) use flight::Observer;
pub(crate) use gate::{Gate, Shared};
pub(crate) use tls::Tls;

use self::crowd::Crowd;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::rescue;

/// After a failed accept (no file descriptors left): long enough not to spin, short enough to go unnoticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Callers' connections of all workers together.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    open: TaskTracker,
    crowd: Arc<Crowd>,
    /// For those who are turned away.
    answer: Arc<[u8]>,
}

impl Connections {
    pub(crate) fn new(limit: usize, rescue: &rescue::Rescue) -> Self {
        let rejection = Rejection::new(Reason::Overloaded, "Too many connections.").retry_after(Duration::from_secs(1));
        let answer = rescue.answer_and_close(&rejection).into();
        Self { open: TaskTracker::new(), crowd: Crowd::new(limit), answer }
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
    let all_done = async {
        connections.open.wait().await;
        gate.shared.tunnels.close();
        gate.shared.tunnels.wait().await;
    };
    tokio::select! {
        () = all_done => {}
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
        match connections.crowd.enter() {
            Some((seat, another_went)) => {
                if another_went {
                    gate.shared.observer.metrics.shed_connections.inc();
                }
                let open = Open::new(gate);
                let gate = Arc::clone(gate);
                connections.open.spawn(async move {
                    connection::serve(stream, address, gate, seat).await;
                    drop(open);
                });
            }
            None => turn_away(stream, connections, gate),
        }
    }
}

/// Counts an open connection, however it ends.
struct Open(Gauge);

impl Open {
    fn new(gate: &Gate) -> Self {
        let gauge = gate.shared.observer.metrics.connections.clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// At the limit the kind answer is a quick one; whether it arrives is up to the network.
fn turn_away(stream: TcpStream, connections: &Connections, gate: &Gate) {
    gate.shared.observer.metrics.shed_connections.inc();
    // With TLS every word costs a handshake.
    if gate.shared.tls.is_some() {
        return;
    }
    if let Ok(mut stream) = stream.into_std() {
        // Fits an empty socket buffer, so it does not block.
        let _ = stream.write_all(&connections.answer);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}
