//! An app that records every request exactly as it arrived and answers as told. Real sockets, no HTTP library between
//! the bytes and the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::raw::{Body, Head, Raw};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Request line and headers.
    pub head: Head,
    /// Read to its end.
    pub body: Body,
    /// Connections are numbered from 0.
    pub connection: usize,
}

/// What the app does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and hangs up.
    BytesAndClose(Vec<u8>),
    /// Never answers.
    Never,
}

/// The running app; ends when dropped.
pub struct Upstream {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    task: JoinHandle<()>,
}

/// An app whose every byte the test writes itself.
pub struct ManualUpstream {
    listener: TcpListener,
}

/// 200 with a body and its length.
#[must_use]
pub fn ok(body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

impl Upstream {
    /// Starts an app that answers with what `reply` says.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(reply: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, Arc::new(reply), Arc::clone(&arrived)));
        Self { address, arrived, task }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in order of arrival.
    ///
    /// # Panics
    /// When a test has panicked with the record in hand.
    #[must_use]
    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("no panic before").clone()
    }

    /// The latest request.
    ///
    /// # Panics
    /// When nothing has arrived.
    #[must_use]
    pub fn last(&self) -> Arrived {
        self.arrived().pop().expect("a request has arrived")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ManualUpstream {
    /// Listens.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    /// Its port on 127.0.0.1.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("a bound socket").port()
    }

    /// The next connection on which something is sent: the sidecar's look whether somebody listens is none.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn accept(&self) -> Raw {
        let used = async {
            loop {
                let (stream, _) = self.listener.accept().await.expect("a connection");
                if stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
                    return Raw::over(stream);
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), used).await.expect("a request in time")
    }
}

async fn accept(
    listener: TcpListener,
    reply: Arc<impl Fn(&Arrived) -> Reply + Send + Sync + 'static>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
) {
    // Owned here, so that connections end with the app.
    let mut connections = tokio::task::JoinSet::new();
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, number, Arc::clone(&reply), Arc::clone(&arrived)));
        number += 1;
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    reply: Arc<impl Fn(&Arrived) -> Reply + Send + Sync + 'static>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
) {
    let mut raw = Raw::over(stream);
    while let Some(head) = raw.head_whenever().await {
        let body = raw.body(&head, "").await;
        let request = Arrived { head, body, connection };
        let reply = reply(&request);
        arrived.lock().expect("no panic before").push(request);
        match reply {
            Reply::Bytes(bytes) => raw.send(bytes).await,
            Reply::BytesAndClose(bytes) => {
                raw.send(bytes).await;
                return;
            }
            Reply::Never => std::future::pending().await,
        }
    }
}
