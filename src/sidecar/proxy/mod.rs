//! Forwards a request to the app and its answer to the caller: path bytes and bodies as they come, headers by
//! `headers`, connections from `pool`, a second try by `retry`, how long to wait by `patience`. Whether the request may be
//! forwarded was decided before.

mod body;
mod dial;
mod frames;
mod headers;
pub(crate) mod listening;
mod patience;
mod pool;
mod request;
mod retry;
mod trace_context;
mod websocket;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tollgate_contract::UpstreamConfig;

pub(crate) use body::{BodyError, Download, Progress, UploadRules};
use dial::DialError;
pub(crate) use dial::Dialer;
pub use dial::UpstreamError;
pub(crate) use frames::{CloseCode, Frames, close};
pub(crate) use headers::{HeaderRules, Peer, Sealed, Told, for_app, mark, request_id};
pub(crate) use pool::Lease;
pub(crate) use request::Outgoing;
pub(crate) use websocket::{Opening, refused as upgrade_refused};

use crate::alarm::Alarm;
use crate::intake::Intake;
use crate::metrics::ProxyMetrics;
use crate::places::{Holder, NoPlace, Places};
use crate::reason::Reason;
use crate::rejection::Rejection;
use body::Upload;
use patience::{Patience, Wait};
use pool::{ConnectError, Connection, Pool, Sender};
use request::{Spare, Tongue};
use retry::{Again, Circumstances, Failure};

/// The way to the app, of one worker thread.
#[derive(Debug)]
pub(crate) struct Proxy {
    places: Arc<Places>,
    pool: Pool,
    tongue: Tongue,
    uploads: UploadRules,
    patience: Patience,
    retries: Counter,
}

/// What the app answered to a caller's wish for a WebSocket.
pub(crate) enum Opened {
    /// A yes; the connection follows its head.
    Yes(Response<()>, AppEnd),
    /// Any other answer, for the caller to read.
    No(Response<Download>),
}

/// The app's end of a tunnel.
pub(crate) struct AppEnd {
    pub(crate) upgrade: OnUpgrade,
    /// What the app is held by.
    pub(crate) lease: Option<Lease>,
    /// How long nothing may be said.
    pub(crate) patience: Duration,
}

/// An answer's head, and what it came on.
struct Exchange {
    response: Response<Incoming>,
    connection: Connection,
    upload: Option<Arc<Progress>>,
}

/// What came of one attempt.
enum Attempt {
    Answered(Response<Incoming>),
    /// Nothing of the request reached the app, and here it is again.
    Unsent(Box<Request<Upload>>),
    /// There is no answer, for so long after the request.
    Lost(hyper::Error, Duration),
    TimedOut(Reason),
}

impl Attempt {
    fn of(answered: Result<Response<Incoming>, TrySendError<Request<Upload>>>, sent: Instant) -> Self {
        match answered {
            Ok(response) => Self::Answered(response),
            Err(mut error) => match error.take_message() {
                Some(request) => Self::Unsent(Box::new(request)),
                None => Self::Lost(error.into_error(), sent.elapsed()),
            },
        }
    }

    /// Whether, and where, the request is to be sent again.
    fn again(&self, is_reused: bool, is_safe: bool) -> Option<Again> {
        let (failure, took) = match self {
            Self::Answered(_) | Self::TimedOut(_) => return None,
            Self::Unsent(_) => (Failure::Unsent, Duration::ZERO),
            Self::Lost(error, took) => (Failure::of(error), *took),
        };
        retry::again(failure, Circumstances { is_reused, is_safe, took })
    }
}

impl Proxy {
    /// `places` are those of all workers together.
    pub(crate) fn new(
        config: &UpstreamConfig,
        dialer: &Arc<Dialer>,
        places: Arc<Places>,
        uploads: UploadRules,
        metrics: &ProxyMetrics,
    ) -> Self {
        Self {
            places,
            pool: Pool::new(config.protocol, Arc::clone(dialer), metrics.upstream_connects.clone()),
            tongue: Tongue::new(config.protocol, dialer),
            uploads,
            patience: Patience::new(&config.timeouts),
            retries: metrics.upstream_retries.clone(),
        }
    }

    /// Keeps the pool tidy for as long as the worker lives.
    pub(crate) fn housekeeping(&self) -> impl Future<Output = ()> + use<> {
        self.pool.housekeeping()
    }

    /// Makes a request ready for what the app speaks. `parts` has the headers as the app may see them.
    pub(crate) fn outgoing(&self, parts: Box<Parts>, body: Intake, is_grpc: bool) -> Outgoing {
        self.tongue.outgoing(parts, body, &self.uploads, is_grpc)
    }

    /// Sends a request and returns the answer's head, its body still arriving.
    pub(crate) async fn send(&self, outgoing: Outgoing, holder: Holder) -> Result<Response<Download>, Rejection> {
        let exchange = self.exchange(outgoing, holder).await?;
        if exchange.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(upgrade_refused("The API switched protocols unasked."));
        }
        Ok(self.answered(exchange))
    }

    /// Asks for a WebSocket. `parts` has the headers as the app may see them.
    pub(crate) async fn open(&self, parts: Box<Parts>, opening: &Opening, holder: Holder) -> Result<Opened, Rejection> {
        let (outgoing, question) = self.tongue.opening(parts, opening);
        let mut exchange = self.exchange(outgoing, holder).await?;
        let response = &mut exchange.response;
        if !question.is_granted(response.status(), response.headers())? {
            if opening.mistakes(response.status()) {
                return Err(upgrade_refused("The API's answer to the WebSocket handshake is no valid one."));
            }
            return Ok(Opened::No(self.answered(exchange)));
        }
        let upgrade = hyper::upgrade::on(response);
        let Exchange { response, connection, upload: _ } = exchange;
        let lease = self.pool.hold(connection, false);
        Ok(Opened::Yes(response.map(drop), AppEnd { upgrade, lease, patience: self.patience.idle }))
    }

    async fn exchange(&self, outgoing: Outgoing, holder: Holder) -> Result<Exchange, Rejection> {
        let Outgoing { parts, body, progress, is_grpc } = outgoing;
        let upload = progress.as_deref();
        let place = self.places.enter(holder).map_err(crowded)?;
        let mut connection = self.pool.checkout(place).await.map_err(|error| refused(&error))?;
        if let (&Method::CONNECT, Sender::Http2(line)) = (&parts.method, &connection.sender)
            && !line.takes_extended_connect()
        {
            return Err(upgrade_refused("The API takes no WebSockets over HTTP/2."));
        }
        // A kept connection may have died unseen: what is safe to send twice is kept for a second try. An app of HTTP/2 may
        // say that it has not touched a request, and then any is safe.
        let (is_reused, is_safe) = (connection.reused, retry::is_safe(&parts.method));
        let keeps = (is_reused && is_safe) || connection.is_http2();
        let spare = if keeps { Spare::of(&parts, &body) } else { None };
        let first = self.attempt(&mut connection, Request::from_parts(*parts, body), upload, is_grpc).await;
        let again = first.again(is_reused, is_safe);
        let (request, again) = match (first, spare, again) {
            (Attempt::Unsent(request), _, Some(again)) => (*request, again),
            (Attempt::Lost(..), Some(spare), Some(again)) => (spare.request(), again),
            (first, ..) => return ended(first, connection, progress),
        };
        self.retries.inc();
        // Rare and large: apart, so that requests stay small.
        let last = Box::pin(async {
            self.pool.replace(&mut connection, again).await.map_err(|error| refused(&error))?;
            Ok::<_, Rejection>(self.attempt(&mut connection, request, upload, is_grpc).await)
        });
        let last = last.await?;
        ended(last, connection, progress)
    }

    async fn attempt(
        &self,
        connection: &mut Connection,
        request: Request<Upload>,
        upload: Option<&Progress>,
        is_grpc: bool,
    ) -> Attempt {
        match &mut connection.sender {
            Sender::Http1(line) => {
                let answer = pin!(line.sender.try_send_request(request));
                self.wait(answer, &mut line.alarm, upload, is_grpc).await
            }
            Sender::Http2(line) => {
                let answer = pin!(line.sender().try_send_request(request));
                self.wait(answer, &mut Alarm::default(), upload, is_grpc).await
            }
        }
    }

    async fn wait(
        &self,
        mut answer: Pin<&mut impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>>,
        alarm: &mut Alarm,
        upload: Option<&Progress>,
        is_grpc: bool,
    ) -> Attempt {
        let sent = Instant::now();
        let mut until = self.patience.wait(sent, upload, is_grpc, sent);
        poll_fn(|cx| {
            if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
                return Poll::Ready(Attempt::of(answered, sent));
            }
            loop {
                match until {
                    Wait::Until(deadline) => ready!(alarm.poll(deadline, cx)),
                    Wait::Unbounded => return Poll::Pending,
                    Wait::Over(reason) => return Poll::Ready(Attempt::TimedOut(reason)),
                }
                until = self.patience.wait(sent, upload, is_grpc, Instant::now());
            }
        })
        .await
    }

    fn answered(&self, exchange: Exchange) -> Response<Download> {
        let Exchange { response, connection, upload } = exchange;
        let is_over = response.body().is_end_stream() && upload.as_ref().is_none_or(|upload| upload.has_ended());
        let lease = self.pool.hold(connection, is_over);
        response.map(|body| Download::new(body, lease, self.patience.idle, upload))
    }
}

/// What the last attempt comes to.
fn ended(attempt: Attempt, connection: Connection, upload: Option<Arc<Progress>>) -> Result<Exchange, Rejection> {
    match attempt {
        Attempt::Answered(response) => Ok(Exchange { response, connection, upload }),
        Attempt::Unsent(_) => Err(hung_up()),
        Attempt::Lost(..) if upload.is_some_and(|upload| upload.is_too_long()) => Err(too_long()),
        Attempt::Lost(error, _) if is_callers_fault(&error) => {
            Err(Rejection::new(Reason::BadRequest, "The request's body did not arrive in full."))
        }
        Attempt::Lost(error, _) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the app did not answer a request");
            Err(hung_up())
        }
        Attempt::TimedOut(Reason::RequestTimeout) => {
            Err(Rejection::new(Reason::RequestTimeout, "The request's body stopped arriving."))
        }
        Attempt::TimedOut(reason) => Err(Rejection::new(reason, "The API did not answer in time.")),
    }
}

/// Makes an answer's head what the caller may see.
pub(crate) fn finish<B>(response: &mut Response<B>, request_id: &HeaderValue) {
    headers::for_caller(response.headers_mut(), request_id);
    *response.version_mut() = Version::HTTP_11;
}

/// The caller's side of the body failed, not the app.
fn is_callers_fault(error: &hyper::Error) -> bool {
    error.is_user()
}

/// A body that is over the policy's limit.
pub(crate) fn too_long() -> Rejection {
    Rejection::new(Reason::BodyTooLarge, "The request's body is longer than this API takes.")
}

fn hung_up() -> Rejection {
    Rejection::new(Reason::UpstreamUnreachable, "The API closed the connection without an answer.")
}

fn crowded(why: NoPlace) -> Rejection {
    let detail = match why {
        NoPlace::Full => "Too many requests are waiting for the API.",
        NoPlace::Caller => "Too many requests of this caller are waiting for the API.",
        NoPlace::Strangers => "Too many requests without a token are waiting for the API.",
    };
    Rejection::new(Reason::Overloaded, detail).retry_after(Duration::from_secs(1))
}

fn refused(error: &ConnectError) -> Rejection {
    tracing::debug!(error = error as &dyn std::error::Error, "no connection to the app");
    match error {
        ConnectError::Dial(DialError::Timeout) => {
            Rejection::new(Reason::UpstreamTimeout, "The API did not take a connection in time.")
        }
        ConnectError::Dial(DialError::Connect(_)) => {
            Rejection::new(Reason::UpstreamUnreachable, "The API does not take connections.")
        }
        ConnectError::Dial(DialError::Tls(_) | DialError::NoCa | DialError::Protocol) | ConnectError::Handshake(_) => {
            Rejection::new(Reason::UpstreamUnreachable, "The API and its gate cannot agree on how to talk.")
        }
    }
}
