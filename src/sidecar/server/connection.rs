//! One caller's connection from its first byte to its end. It decides how long each stage of it may take and how it
//! leaves when the sidecar stops; what is asked on it is `gate`'s.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use http::{Method, Request, header};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::crowd::Seat;
use super::protocol::{self, Http};
use super::reader::Watched;
use super::streams::{Held, Streams};
use super::tls::{Secured, Standing, Tls};
use super::{Gate, Shared};
use crate::metrics::{Observed, Place, Protocol};
use crate::proxy::{Peer, Sealed};
use crate::reason::Reason;
use crate::rescue;

/// For an HTTP/2 connection that was asked to end because nothing is under way on it: answers that nobody has read may
/// still lie in it.
const FAREWELL: Duration = Duration::from_secs(10);
/// Bytes that are read of what is no HTTP, and thrown away.
const MAX_UNHEARD: u64 = 64 * 1024;
/// For the requests under way on an HTTP/2 connection whose caller floods it: those of others, where it is a gateway's.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// Who is connected, and who serves them.
struct Caller {
    gate: Arc<Gate>,
    peer: Peer,
    /// Of its certificate.
    standing: Option<Standing>,
    seat: Arc<Seat>,
}

/// What a request comes to that was sent when the certificate of its connection was good no more.
#[derive(Debug, thiserror::Error)]
#[error("the caller's certificate has ended, or its CA was taken out")]
struct Lapsed;

impl Caller {
    /// Whether it may still ask for something.
    fn may_ask(&self) -> Result<(), Lapsed> {
        if self.standing.as_ref().is_some_and(Standing::has_lapsed) { Err(Lapsed) } else { Ok(()) }
    }

    /// Waits until it may ask for nothing more.
    async fn lapsed(&self) {
        match &self.standing {
            Some(standing) => standing.lapsed().await,
            None => pending().await,
        }
    }
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
    let opening = Arc::clone(&seat);
    let opened = async {
        match gate.shared.tls.clone() {
            // Large, and over when requests come.
            Some(tls) => Box::pin(secured(stream, &tls, address.ip(), gate, seat)).await,
            None => plain(stream, address.ip(), gate, seat).await,
        }
    };
    let opened = tokio::select! {
        // What has arrived is served, also at the end.
        biased;
        opened = opened => opened,
        () = drain.stop_accepting() => return,
        () = opening.given_away() => return,
    };
    drop(opening);
    match opened {
        Ok(serving) => serving.await,
        Err(error) => tracing::debug!(%error, "a caller's connection came to no request"),
    }
}

/// A connection that has begun, and is yet to be served. Boxed once a connection: there are four kinds.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn plain(stream: Watched, from: IpAddr, gate: Arc<Gate>, seat: Arc<Seat>) -> io::Result<Serving> {
    let (http, stream) = timeout(gate.shared.limits.head, protocol::sniff(stream)).await??;
    let Some(http) = http else {
        count(&gate.shared, Reason::BadRequest);
        hang_up(stream).await;
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(speak(http, stream, Caller { peer: Peer::new(from, None), standing: None, gate, seat }))
}

/// Ends a connection without a word. What has arrived is read, as the system would answer it with a reset.
async fn hang_up(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = stream.shutdown().await;
    let mut arrived = stream.take(MAX_UNHEARD);
    while let Some(Ok(1..)) = arrived.read(&mut [0; 1024]).now_or_never() {}
}

async fn secured(stream: Watched, tls: &Tls, from: IpAddr, gate: Arc<Gate>, seat: Arc<Seat>) -> io::Result<Serving> {
    let Secured { stream, http, certificate } = tls.accept(stream, gate.shared.limits.handshake).await?;
    let (certificate, standing) = certificate.map(|shown| (shown.thumbprint, shown.standing)).unzip();
    Ok(speak(http, stream, Caller { peer: Peer::new(from, Some(Sealed { certificate })), standing, gate, seat }))
}

fn speak(http: Http, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Caller) -> Serving {
    let caller = Arc::new(caller);
    match http {
        Http::One => Box::pin(serve_http1(stream, caller)),
        Http::Two => Box::pin(serve_http2(stream, caller)),
    }
}

async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Arc<Caller>) {
    let whose = Arc::clone(&caller);
    let (shared, seat) = (&whose.gate.shared, &whose.seat);
    let asked = Arc::new(Asked::default());
    let noted = Arc::clone(&asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        noted.note();
        let caller = Arc::clone(&caller);
        let under_way = caller.seat.begin();
        // A request with a body asks for no WebSocket, and may never come whole.
        if request.headers().contains_key(header::UPGRADE) && request.body().is_end_stream() {
            request.extensions_mut().insert(Arc::new(Held::new(None, caller.seat.begin())));
        }
        async move {
            caller.may_ask()?;
            Ok::<_, Lapsed>(caller.gate.serve(&caller.peer, request, under_way).await)
        }
    });
    let serving = protocol::http1(&shared.limits).serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving.with_upgrades());
    let asked_to_leave = async {
        let stopping = async {
            shared.drain.no_idling().await;
            tokio::select! {
                // Whoever connects while callers are asked to leave comes for an answer; hyper would close on the spot.
                () = asked.ever() => {}
                () = shared.drain.stop_accepting() => {}
            }
        };
        tokio::select! {
            () = stopping => {}
            () = seat.given_away() => {}
            () = whose.lapsed() => {}
        }
    };
    let ended = tokio::select! {
        // What has arrived is served, also at the end.
        biased;
        ended = serving.as_mut() => ended,
        () = asked_to_leave => {
            // At once when idle, else after the answer.
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = serving => ended,
                () = seat.over() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        // What is no HTTP was answered by hyper; it is counted here because it never became a request.
        if error.is_parse() {
            let reason = if error.is_parse_too_large() { Reason::HeadersTooLarge } else { Reason::BadRequest };
            count(shared, reason);
        }
        tracing::debug!(%error, "a caller's connection broke");
    }
}

/// Counts what never became a request.
fn count(shared: &Shared, reason: Reason) {
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

/// Why an HTTP/2 connection is asked to end.
enum Leave {
    Idle,
    Flooded,
    /// To free its seat, because we stop, or because its certificate has ended.
    Asked,
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Arc<Caller>) {
    let whose = Arc::clone(&caller);
    let (seat, limits, drain) = (&whose.seat, &whose.gate.shared.limits, &whose.gate.shared.drain);
    let streams = Arc::new(Streams::default());
    let watched = Arc::clone(&streams);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let ticket = caller.may_ask().ok().and_then(|()| watched.begin());
        let taken = ticket.map(|ticket| (ticket, Arc::clone(&caller), caller.seat.begin()));
        let method = request.method().clone();
        if method == Method::CONNECT {
            request.extensions_mut().insert(Arc::new(Held::new(Some(&watched), caller.seat.begin())));
        }
        async move {
            // It may be sent again elsewhere (RFC 9113 section 8.7).
            let (ticket, caller, under_way) = taken.ok_or(h2::Reason::REFUSED_STREAM).map_err(h2::Error::from)?;
            ticket.is_still_wanted().await;
            let answer = caller.gate.serve(&caller.peer, request, under_way).await;
            let limits = &caller.gate.shared.limits;
            let unread = if answer.body().is_own() { limits.own_unread } else { limits.unread };
            Ok::<_, h2::Error>(ticket.answer(&method, answer, unread))
        }
    });
    let mut serving = std::pin::pin!(protocol::http2(limits).serve_connection(TokioIo::new(stream), service));
    let asked_to_leave = async {
        tokio::select! {
            // Whoever connects while callers are asked to leave comes for an answer.
            () = async { drain.begun().await; streams.first().await } => {}
            () = drain.no_idling() => {}
            () = seat.given_away() => {}
            () = whose.lapsed() => {}
        }
    };
    let leave = tokio::select! {
        ended = serving.as_mut() => return note(ended),
        () = streams.flooded() => Leave::Flooded,
        () = streams.idle(limits.head) => Leave::Idle,
        () = asked_to_leave => Leave::Asked,
    };
    // GOAWAY; what was sent before it arrives is served (RFC 9113 section 6.8), but to who may ask no more.
    serving.as_mut().graceful_shutdown();
    let unused = async {
        match leave {
            Leave::Idle | Leave::Flooded => streams.idle(FAREWELL).await,
            Leave::Asked => streams.idle(limits.head).await,
        }
    };
    let flooded = async {
        streams.flooded().await;
        tokio::select! {
            () = sleep(LAST_ANSWERS) => {}
            () = streams.defied() => {}
        }
        tracing::debug!("a caller took back most of its requests");
    };
    // Whoever does not answer the ping that goes with GOAWAY is never told which request was the last.
    let defied = async {
        sleep(FAREWELL).await;
        streams.take_no_more();
        streams.defied().await;
    };
    tokio::select! {
        biased;
        ended = serving => note(ended),
        () = unused => {}
        () = flooded => {}
        () = defied => {}
        () = seat.over() => {}
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a caller's connection broke");
    }
}
