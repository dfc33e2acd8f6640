//! Kept connections to the app, one pool a worker thread, most recently used first. It decides when a connection may be
//! used again and bounds how many there are; what is sent on them is not its business.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::body::Upload;

/// Shorter than the keep-alive of common servers (gunicorn 2 s, uvicorn and Node.js 5 s): the app must not hang up while
/// a request is on its way. A new loopback connection costs some 50 us, a lost POST costs a caller.
const KEEP_IDLE: Duration = Duration::from_millis(1_500);
/// A caller may stop reading an answer; what it left of the connection is given this long to end by itself.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// hyper's least; the app's answer heads are small and bodies are passed on as they come.
const READ_BUFFER: usize = 64 * 1024;

/// Connections of one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    /// For connections in use, shared by all workers. Idle ones take none, so that no worker's idle ones starve another.
    slots: Arc<Semaphore>,
    connect_timeout: Duration,
    idle: Mutex<Vec<Idle>>,
    connects: Counter,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Upload>,
    /// It has served a request before, so the app may have hung up meanwhile.
    pub(crate) reused: bool,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("too many connections to the app")]
    NoSlot,
    #[error("connecting to the app")]
    Connect(#[source] io::Error),
    #[error("the app did not take the connection in time")]
    Timeout,
    #[error("starting HTTP with the app")]
    Handshake(#[source] hyper::Error),
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(
        address: SocketAddr,
        slots: Arc<Semaphore>,
        connect_timeout: Duration,
        connects: Counter,
    ) -> Arc<Self> {
        Arc::new(Self { address, slots, connect_timeout, idle: Mutex::default(), connects })
    }

    /// A kept connection, else a new one.
    pub(crate) async fn checkout(&self) -> Result<Connection, ConnectError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| ConnectError::NoSlot)?;
        match self.reuse() {
            Some(sender) => Ok(Connection { sender, reused: true, slot }),
            None => Ok(Connection { sender: self.connect().await?, reused: false, slot }),
        }
    }

    /// Gives up a connection that turned out dead for one that nobody has used.
    pub(crate) async fn replace(&self, dead: &mut Connection) -> Result<(), ConnectError> {
        dead.sender = self.connect().await?;
        dead.reused = false;
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, ConnectError> {
        let stream = match timeout(self.connect_timeout, TcpStream::connect(self.address)).await {
            Ok(stream) => stream.map_err(ConnectError::Connect)?,
            Err(_) => return Err(ConnectError::Timeout),
        };
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Handshake)?;
        self.connects.inc();
        tokio::spawn(drive(connection));
        Ok(sender)
    }

    /// Keeps a connection whose answer has arrived in full, or will without us.
    pub(crate) fn checkin(self: &Arc<Self>, mut sender: SendRequest<Upload>) {
        if sender.is_ready() {
            self.keep(sender);
        } else if !sender.is_closed() {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE_TIMEOUT, sender.ready()).await {
                    pool.keep(sender);
                }
            });
        }
    }

    /// Lets go of connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let kept = |idle: &Idle| !idle.sender.is_closed() && now.duration_since(idle.since) < KEEP_IDLE;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(kept);
    }

    /// Sweeps for as long as the worker lives.
    pub(crate) async fn sweep_forever(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(KEEP_IDLE);
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    fn keep(&self, sender: SendRequest<Upload>) {
        let idle = Idle { sender, since: Instant::now() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }

    fn reuse(&self) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() >= KEEP_IDLE {
                // The rest has been idle even longer.
                idle.clear();
                return None;
            }
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }
}

/// Runs a connection to its end. Its errors reach the request in progress, if there is one.
async fn drive(connection: http1::Connection<TokioIo<TcpStream>, Upload>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the app broke");
    }
}
