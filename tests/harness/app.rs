//! An app on a real HTTP library, of HTTP/1.1 or HTTP/2, plain or over TLS, that answers as a function says. For apps whose
//! every byte matters there is `upstream`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A body of any kind.
pub type AnyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What an app speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without asking.
    Http2,
    /// HTTP/2 without WebSockets.
    Http2WithoutConnect,
    /// HTTP/2 of which this many requests may be under way on a connection.
    Http2Streams(u32),
}

/// The running app; ends when dropped, with all its connections.
pub struct App {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    leave: Arc<Notify>,
    _stop: DropGuard,
}

/// A whole body.
#[must_use]
pub fn body(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

impl App {
    /// Starts an app. What `answer` does with the request's body is up to it.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start<F>(
        protocol: Protocol,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (connections, stop, leave) = <(Arc<AtomicUsize>, CancellationToken, Arc<Notify>)>::default();
        let (count, stopped, leaving) = (Arc::clone(&connections), stop.clone(), Arc::clone(&leave));
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (answer, tls, count, leaving) =
                    (Arc::clone(&answer), tls.clone(), Arc::clone(&count), Arc::clone(&leaving));
                tokio::spawn(stopped.clone().run_until_cancelled_owned(async move {
                    stream.set_nodelay(true).expect("a socket");
                    if stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
                        count.fetch_add(1, Ordering::SeqCst);
                        match tls {
                            None => serve(stream, protocol, answer, leaving).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, protocol, answer, leaving).await;
                                }
                            }
                        }
                    }
                }));
            }
        });
        Self { address, connections, leave, _stop: stop.drop_guard() }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections have been used.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Tells everybody who is connected to go elsewhere (GOAWAY), and finishes what is under way.
    pub fn leave(&self) {
        self.leave.notify_waiters();
    }
}

async fn serve<S, F>(
    stream: S,
    protocol: Protocol,
    answer: Arc<impl Fn(Request<Incoming>) -> F + Send + Sync + 'static>,
    leaving: Arc<Notify>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = Arc::clone(&answer);
        async move { Ok::<_, Infallible>(answer(request).await) }
    });
    let stream = TokioIo::new(stream);
    match protocol {
        Protocol::Http1 => {
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(stream, service).with_upgrades().await;
        }
        Protocol::Http2 | Protocol::Http2WithoutConnect | Protocol::Http2Streams(_) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(5)));
            if protocol != Protocol::Http2WithoutConnect {
                builder.enable_connect_protocol();
            }
            if let Protocol::Http2Streams(streams) = protocol {
                builder.max_concurrent_streams(streams);
            }
            let mut serving = std::pin::pin!(builder.serve_connection(stream, service));
            tokio::select! {
                _ = serving.as_mut() => return,
                () = leaving.notified() => serving.as_mut().graceful_shutdown(),
            }
            let _ = serving.await;
        }
    }
}
