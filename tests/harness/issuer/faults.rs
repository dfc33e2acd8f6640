//! How the authorization server fails: an endpoint instead of its work, the wire before any request, or the whole
//! server for a while. Each heals with [`FakeIssuer::mend`](super::FakeIssuer::mend). It decides nothing that Okta would.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::time::timeout;

use super::okta::{limited, respond};

/// An answer, whole or half.
pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// How long [`Outage::Slow`] takes to answer: longer than anybody waits.
const SLOW: Duration = Duration::from_secs(30);

/// What an endpoint does instead of its work.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Okta's 429, with the window starting again after so many seconds.
    Limited(u64),
    /// Okta's 429 for too many calls at once: it names no limit, and no time.
    TooManyAtOnce,
    /// Works, but late.
    Delay(Duration),
    /// Never answers.
    Hang,
    /// Sends half of its answer, then nothing, and holds the connection.
    Half,
    /// Closes the connection without an answer.
    Close,
    /// Redirects to [`Endpoint::Elsewhere`](super::Endpoint::Elsewhere).
    Redirect,
    /// 200 with a body of so many bytes.
    Oversize(usize),
}

/// What happens to new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// TLS and HTTP.
    Good,
    /// Closed at once: the server is down.
    Down,
    /// TLS, then bytes that are no HTTP.
    Garbage,
    /// A certificate of a CA that nobody knows.
    StrangeCertificate,
    /// A certificate for another name.
    OtherName,
}

/// A failure of the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Nobody listens.
    Down,
    /// Every answer takes 30 seconds.
    Slow,
    /// Every answer is 500.
    ServerError,
    /// What comes is no HTTP.
    Garbage,
    /// It accepts, reads, sends half an answer and holds.
    HalfClosed,
    /// Its certificate is of a CA that nobody knows.
    WrongCertificate,
}

impl Outage {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Down, Self::Slow, Self::ServerError, Self::Garbage, Self::HalfClosed, Self::WrongCertificate];

    /// What becomes of connections.
    pub(super) fn wire(self) -> Wire {
        match self {
            Self::Down => Wire::Down,
            Self::Garbage => Wire::Garbage,
            Self::WrongCertificate => Wire::StrangeCertificate,
            Self::Slow | Self::ServerError | Self::HalfClosed => Wire::Good,
        }
    }

    /// What becomes of requests, where connections are good.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::Slow => Some(Fault::Delay(SLOW)),
            Self::ServerError => Some(Fault::Answer(500, "{}".into())),
            Self::HalfClosed => Some(Fault::Half),
            Self::Down | Self::Garbage | Self::WrongCertificate => None,
        }
    }
}

impl Fault {
    /// Carries the fault out. `work` is what the endpoint would answer, `elsewhere` where redirects lead.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub(super) async fn befall(
        self,
        work: impl FnOnce() -> Response<Full<Bytes>>,
        elsewhere: &str,
    ) -> io::Result<Answer> {
        let answer = match self {
            Self::Answer(status, body) => respond(status, body),
            Self::Limited(seconds) => limited("600", seconds),
            Self::TooManyAtOnce => limited("0", 1),
            Self::Delay(time) => {
                let _ = timeout(time, pending::<()>()).await;
                work()
            }
            Self::Hang => pending().await,
            Self::Half => return Ok(half(work()).await),
            Self::Close => return Err(closed()),
            Self::Redirect => {
                let mut response = respond(302, String::new());
                response.headers_mut().insert("location", elsewhere.parse().expect("a header"));
                response
            }
            Self::Oversize(bytes) => respond(200, format!("{{\"x\":\"{}\"}}", "x".repeat(bytes))),
        };
        Ok(whole(answer))
    }
}

/// An answer as it is.
pub(super) fn whole(answer: Response<Full<Bytes>>) -> Answer {
    answer.map(BodyExt::boxed)
}

/// The head with the length of the whole, half of the body, and never the rest.
async fn half(answer: Response<Full<Bytes>>) -> Answer {
    let (mut parts, body) = answer.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes);
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let sent = Ok(Frame::data(body.slice(..body.len() / 2)));
    let rest = stream::once(async { sent }).chain(stream::pending());
    Response::from_parts(parts, BoxBody::new(StreamBody::new(rest)))
}

/// Makes the server close the connection without an answer.
pub(super) fn closed() -> io::Error {
    io::Error::other("the connection is to be closed")
}
