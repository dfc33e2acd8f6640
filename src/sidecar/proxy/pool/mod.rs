//! Connections to the app, of one worker thread: one request at a time on each with HTTP/1.1, many with HTTP/2. How many
//! requests are at the app at a time is `places`' matter, and what is sent is not its business.

mod http1;
mod http2;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tollgate_contract::UpstreamProtocol;

use super::dial::{DialError, Dialer};
use super::retry::Again;
use crate::places::Place;

/// Connections of one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    kept: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    Http1(Arc<http1::Pool>),
    Http2(Arc<http2::Pool>),
}

/// A connection, or a part of one, for one request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    /// It has served a request before, so the app may have hung up meanwhile.
    pub(crate) reused: bool,
    place: Place,
}

/// What takes the request.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(http1::Line),
    Http2(http2::Line),
}

/// A connection whose answer is still arriving.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: Sender,
    kept: Kept,
    _place: Place,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("starting HTTP with the app")]
    Handshake(#[source] hyper::Error),
}

impl Pool {
    pub(crate) fn new(protocol: UpstreamProtocol, dialer: Arc<Dialer>, connects: Counter) -> Self {
        let kept = match protocol {
            UpstreamProtocol::Http1 => Kept::Http1(http1::Pool::new(dialer, connects)),
            UpstreamProtocol::H2c => Kept::Http2(http2::Pool::new(dialer, connects)),
        };
        Self { kept }
    }

    /// A kept connection, else a new one, for a request that has a place.
    pub(crate) async fn checkout(&self, place: Place) -> Result<Connection, ConnectError> {
        let (sender, reused) = match &self.kept {
            Kept::Http1(pool) => match pool.reuse() {
                Some(line) => (Sender::Http1(line), true),
                // Rare and large: apart, so that requests stay small.
                None => (Sender::Http1(Box::pin(pool.connect()).await?), false),
            },
            Kept::Http2(pool) => {
                let (line, reused) = pool.checkout().await?;
                (Sender::Http2(line), reused)
            }
        };
        Ok(Connection { sender, reused, place })
    }

    /// Gives up a connection that turned out dead for one that nobody has used. Of HTTP/2 it is any that takes requests,
    /// which may be the same.
    pub(crate) async fn replace(&self, dead: &mut Connection, again: Again) -> Result<(), ConnectError> {
        if let (Sender::Http2(line), Again::Elsewhere) = (&dead.sender, again) {
            line.retire();
        }
        dead.sender = match &self.kept {
            Kept::Http1(pool) => Sender::Http1(pool.connect().await?),
            Kept::Http2(pool) => Sender::Http2(pool.checkout().await?.0),
        };
        dead.reused = false;
        Ok(())
    }

    /// The answer's head has arrived: what must be held until its end.
    pub(crate) fn hold(&self, connection: Connection, is_over: bool) -> Option<Lease> {
        let Connection { sender, place, reused: _ } = connection;
        match (sender, &self.kept) {
            // A small answer has arrived whole by now, and the connection is free before the caller reads it.
            (Sender::Http1(line), Kept::Http1(pool)) if line.sender.is_ready() => {
                pool.checkin(line);
                None
            }
            (Sender::Http2(_), _) if is_over => None,
            (sender, kept) => Some(Lease { sender, kept: kept.clone(), _place: place }),
        }
    }

    /// Lets go of connections that have been idle too long, for as long as the worker lives.
    pub(crate) fn housekeeping(&self) -> impl Future<Output = ()> + use<> {
        let kept = self.kept.clone();
        async move {
            match kept {
                Kept::Http1(pool) => pool.sweep_forever().await,
                Kept::Http2(pool) => pool.sweep_forever().await,
            }
        }
    }
}

impl Connection {
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }
}

impl Lease {
    /// The app does not take what is still on its way to it: nobody else is to wait behind that.
    pub(crate) fn cut(self) {
        match self.sender {
            Sender::Http1(line) => line.cut(),
            Sender::Http2(line) => line.cut(),
        }
    }

    /// The answer has arrived in full, or will without us.
    pub(crate) fn release(self) {
        if let (Sender::Http1(line), Kept::Http1(pool)) = (self.sender, self.kept) {
            pool.checkin(line);
        }
    }
}
