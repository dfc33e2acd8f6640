//! One caller's connection from its first byte to its end. It decides how long each stage of it may take and how it
//! leaves when the sidecar stops; what is asked on it is `gate`'s.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Gate;
use super::crowd::Seat;
use super::protocol::{self, Http};
use super::reader::Watched;
use super::streams::Streams;
use super::tls::{Secured, Tls};
use crate::metrics::{Observed, Place, Protocol};
use crate::proxy::{Peer, Sealed};
use crate::reason::Reason;
use crate::rescue;

/// For an HTTP/2 connection that was asked to end because nothing is under way on it: answers that nobody has read may
/// still lie in it.
const FAREWELL: Duration = Duration::from_secs(10);

/// Who is connected, and who serves them.
struct Caller {
    gate: Arc<Gate>,
    peer: Peer,
    seat: Arc<Seat>,
}

/// Whether a request has come on a connection of HTTP/1.
#[derive(Debug, Default)]
struct Asked {
    ever: AtomicBool,
    first: Notify,
}

impl Asked {
    fn note(&self) {
        if !self.ever.load(Ordering::Relaxed) {
            self.ever.store(true, Ordering::Relaxed);
            self.first.notify_one();
        }
    }

    /// Waits until a request has come.
    async fn ever(&self) {
        if !self.ever.load(Ordering::Relaxed) {
            self.first.notified().await;
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, address: SocketAddr, gate: Arc<Gate>, seat: Arc<Seat>) {
    // Without it small answers wait for the caller's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = Watched::new(stream, gate.shared.limits.unread);
    let drain = gate.shared.drain.clone();
    let opened = async {
        match gate.shared.tls.clone() {
            Some(tls) => secured(stream, &tls, address.ip(), gate, seat).await,
            None => plain(stream, address.ip(), gate, seat).await,
        }
    };
    let opened = tokio::select! {
        // What has arrived is served, also at the end.
        biased;
        opened = opened => opened,
        () = drain.stop_accepting() => return,
    };
    match opened {
        Ok(serving) => serving.await,
        Err(error) => tracing::debug!(%error, "a caller's connection came to no request"),
    }
}

/// A connection that has begun, and is yet to be served. Boxed once a connection: there are four kinds.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn plain(stream: Watched, from: IpAddr, gate: Arc<Gate>, seat: Arc<Seat>) -> io::Result<Serving> {
    let (http, stream) = timeout(gate.shared.limits.head, protocol::sniff(stream)).await??;
    Ok(speak(http, stream, Caller { peer: Peer::new(from, None), gate, seat }))
}

async fn secured(stream: Watched, tls: &Tls, from: IpAddr, gate: Arc<Gate>, seat: Arc<Seat>) -> io::Result<Serving> {
    let Secured { stream, http, certificate } = tls.accept(stream, gate.shared.limits.handshake).await?;
    Ok(speak(http, stream, Caller { peer: Peer::new(from, Some(Sealed { certificate })), gate, seat }))
}

fn speak(http: Http, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Caller) -> Serving {
    let caller = Arc::new(caller);
    match http {
        Http::One => Box::pin(serve_http1(stream, caller)),
        Http::Two => Box::pin(serve_http2(stream, caller)),
    }
}

async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Arc<Caller>) {
    let shared = Arc::clone(&caller.gate.shared);
    let asked = Arc::new(Asked::default());
    let noted = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        noted.note();
        let caller = Arc::clone(&caller);
        async move {
            let under_way = caller.seat.begin();
            let answer = caller.gate.serve(&caller.peer, request).await;
            under_way.end(answer.body().is_refusal());
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = protocol::http1(&shared.limits).serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving.with_upgrades());
    let asked_to_leave = async {
        tokio::select! {
            // Whoever connects while callers are asked to leave comes for an answer; hyper would close on the spot.
            () = async { shared.drain.no_idling().await; asked.ever().await } => {}
            () = shared.drain.stop_accepting() => {}
        }
    };
    let ended = tokio::select! {
        // What has arrived is served, also at the end.
        biased;
        ended = serving.as_mut() => ended,
        () = asked_to_leave => {
            // At once when idle, else after the answer.
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // What is no HTTP was answered by hyper; it is counted here because it never became a request.
        if error.is_parse() {
            let reason = if error.is_parse_too_large() { Reason::HeadersTooLarge } else { Reason::BadRequest };
            shared.observer.metrics.observe(Observed {
                place: Place::None,
                method: &Method::default(),
                protocol: Protocol::Http1,
                status: rescue::status(reason),
                reason: Some(reason),
                took: Duration::ZERO,
                trace: None,
            });
        }
        tracing::debug!(%error, "a caller's connection broke");
    }
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Arc<Caller>) {
    let shared = Arc::clone(&caller.gate.shared);
    let (limits, drain) = (&shared.limits, &shared.drain);
    let streams = Arc::new(Streams::default());
    let watched = Arc::clone(&streams);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (caller, ticket) = (Arc::clone(&caller), watched.begin());
        let method = request.method().clone();
        if method == Method::CONNECT {
            request.extensions_mut().insert(Arc::new(watched.hold()));
        }
        async move {
            let under_way = caller.seat.begin();
            let answer = caller.gate.serve(&caller.peer, request).await;
            under_way.end(answer.body().is_refusal());
            Ok::<_, Infallible>(ticket.answer(&method, answer))
        }
    });
    let mut serving = std::pin::pin!(protocol::http2(limits).serve_connection(TokioIo::new(stream), service));
    let asked_to_leave = async {
        tokio::select! {
            // Whoever connects while callers are asked to leave comes for an answer.
            () = async { drain.begun().await; streams.first().await } => {}
            () = drain.no_idling() => {}
        }
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = streams.flooded() => return tracing::debug!("a caller takes back most of its requests"),
        () = streams.idle(limits.head) => {
            serving.as_mut().graceful_shutdown();
            timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
        }
        () = asked_to_leave => {
            // GOAWAY; what was sent before it arrives is served (RFC 9113 section 6.8).
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = streams.flooded() => return,
                () = streams.idle(limits.head) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a caller's connection broke");
    }
}
