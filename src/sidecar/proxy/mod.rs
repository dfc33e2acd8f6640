//! Forwards a request to the app and its answer to the caller: path bytes and bodies as they come, headers by
//! `headers`, connections from `pool`. It decides when to try again and how long to wait; whether the request may be
//! forwarded was decided before.

mod body;
mod headers;
pub(crate) mod listening;
mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub(crate) use body::{Download, Progress};
pub(crate) use headers::{Peer, for_app, mark, request_id};

use crate::limits::Limits;
use crate::metrics::ProxyMetrics;
use crate::reason::Reason;
use crate::rejection::Rejection;
use body::{Lease, Upload};
use pool::{ConnectError, Connection, Pool};

/// The way to the app, of one worker thread.
#[derive(Debug)]
pub(crate) struct Proxy {
    pool: Arc<Pool>,
    /// From the end of the request's body to the head of the answer.
    response_head: Duration,
    retries: Counter,
}

/// A request's bodies, made ready to be forwarded.
pub(crate) struct Outgoing {
    request: Request<Upload>,
    progress: Option<Arc<Progress>>,
}

/// What came of one attempt.
enum Attempt {
    Answered(Response<Incoming>),
    /// Nothing of the request reached the app, and here it is again.
    Unsent(Box<Request<Upload>>),
    /// The app hung up instead of answering.
    Lost(hyper::Error),
    TimedOut(Reason),
}

impl Proxy {
    /// `slots` bounds the connections of all workers together.
    pub(crate) fn new(app: SocketAddr, slots: Arc<Semaphore>, limits: &Limits, metrics: &ProxyMetrics) -> Self {
        let pool = Pool::new(app, slots, limits.upstream_connect, metrics.upstream_connects.clone());
        Self { pool, response_head: limits.response_head, retries: metrics.upstream_retries.clone() }
    }

    /// Keeps the pool tidy for as long as the worker lives.
    pub(crate) fn housekeeping(&self) -> impl Future<Output = ()> + use<> {
        Arc::clone(&self.pool).sweep_forever()
    }

    /// Sends a request and returns the answer's head, its body still arriving.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Response<Download>, Rejection> {
        let Outgoing { request, progress } = outgoing;
        let mut connection = self.pool.checkout().await.map_err(|error| refused(&error))?;
        // A kept connection may have died unseen. What is safe to send twice is kept for a second try.
        let spare = if connection.reused { spare(&request) } else { None };
        let first = attempt(&mut connection.sender, request, progress.as_deref(), self.response_head).await;
        let last = match (first, spare) {
            (Attempt::Unsent(request), _) if connection.reused => {
                self.again(*request, &mut connection, &progress).await?
            }
            (Attempt::Lost(_), Some(request)) => self.again(request, &mut connection, &progress).await?,
            (first, _) => first,
        };
        match last {
            Attempt::Answered(response) => self.answered(response, connection),
            Attempt::Unsent(_) => Err(hung_up()),
            Attempt::Lost(error) if is_callers_fault(&error) => {
                Err(Rejection::new(Reason::BadRequest, "The request's body did not arrive in full."))
            }
            Attempt::Lost(error) => {
                tracing::debug!(%error, "the app did not answer a request");
                Err(hung_up())
            }
            Attempt::TimedOut(Reason::RequestTimeout) => {
                Err(Rejection::new(Reason::RequestTimeout, "The request's body stopped arriving."))
            }
            Attempt::TimedOut(reason) => Err(Rejection::new(reason, "The API did not answer in time.")),
        }
    }

    /// A second try, on a connection that nobody has used.
    async fn again(
        &self,
        request: Request<Upload>,
        connection: &mut Connection,
        progress: &Option<Arc<Progress>>,
    ) -> Result<Attempt, Rejection> {
        self.retries.inc();
        self.pool.replace(connection).await.map_err(|error| refused(&error))?;
        Ok(attempt(&mut connection.sender, request, progress.as_deref(), self.response_head).await)
    }

    fn answered(&self, response: Response<Incoming>, connection: Connection) -> Result<Response<Download>, Rejection> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Rejection::new(Reason::UpstreamUnreachable, "The API switched protocols unasked."));
        }
        let Connection { sender, slot, reused: _ } = connection;
        // A small answer has arrived whole by now, and the connection is free before the caller reads it.
        let lease = if sender.is_ready() {
            self.pool.checkin(sender);
            None
        } else {
            Some(Lease { sender, pool: Arc::clone(&self.pool), _slot: slot })
        };
        Ok(response.map(|body| Download::new(body, lease)))
    }
}

impl Outgoing {
    /// `parts` has the headers as the app may see them; the target is sent in origin form.
    pub(crate) fn new(mut parts: Parts, body: Incoming) -> Self {
        if parts.uri.authority().is_some() {
            parts.uri = parts.uri.into_parts().path_and_query.map(Into::into).unwrap_or_default();
        }
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let (body, progress) = Upload::new(body);
        if body.size_hint().exact().is_none() {
            // Unasked, hyper sends no body of unknown length with GET and HEAD.
            parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Self { request: Request::from_parts(parts, body), progress }
    }

    /// How the upload is coming along; none without a body.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }
}

/// Makes an answer's head what the caller may see.
pub(crate) fn finish<B>(response: &mut Response<B>, request_id: &HeaderValue) {
    headers::for_caller(response.headers_mut(), request_id);
    *response.version_mut() = Version::HTTP_11;
}

async fn attempt(
    sender: &mut SendRequest<Upload>,
    request: Request<Upload>,
    progress: Option<&Progress>,
    patience: Duration,
) -> Attempt {
    let mut answer = std::pin::pin!(sender.try_send_request(request));
    let mut deadline = Instant::now() + patience;
    loop {
        match timeout_at(deadline, answer.as_mut()).await {
            Ok(Ok(response)) => return Attempt::Answered(response),
            Ok(Err(mut error)) => {
                return match error.take_message() {
                    Some(request) => Attempt::Unsent(Box::new(request)),
                    None => Attempt::Lost(error.into_error()),
                };
            }
            Err(_) => {
                // The clock runs from the end of the upload, or from where it stopped.
                let moved = progress.map_or(deadline, |progress| progress.last() + patience);
                if progress.is_none() || moved <= Instant::now() {
                    let caller = progress.is_some_and(Progress::waits_for_caller);
                    return Attempt::TimedOut(if caller { Reason::RequestTimeout } else { Reason::UpstreamTimeout });
                }
                deadline = moved;
            }
        }
    }
}

/// A second copy of a request that means the same when it is sent twice and has no body (RFC 9110 section 9.2.2).
fn spare(request: &Request<Upload>) -> Option<Request<Upload>> {
    let idempotent =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    if !idempotent || !matches!(request.body(), Upload::Empty) {
        return None;
    }
    let mut spare = Request::new(Upload::Empty);
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}

/// The caller's side of the body failed, not the app.
fn is_callers_fault(error: &hyper::Error) -> bool {
    error.is_user()
}

fn hung_up() -> Rejection {
    Rejection::new(Reason::UpstreamUnreachable, "The API closed the connection without an answer.")
}

fn refused(error: &ConnectError) -> Rejection {
    tracing::debug!(error = error as &dyn std::error::Error, "no connection to the app");
    match error {
        ConnectError::NoSlot => Rejection::new(Reason::Overloaded, "Too many requests are waiting for the API.")
            .retry_after(Duration::from_secs(1)),
        ConnectError::Timeout => Rejection::new(Reason::UpstreamTimeout, "The API did not take a connection in time."),
        ConnectError::Connect(_) | ConnectError::Handshake(_) => {
            Rejection::new(Reason::UpstreamUnreachable, "The API does not take connections.")
        }
    }
}
