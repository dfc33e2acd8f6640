//! What one sidecar holds and how long it waits, in one place. Numbers that a policy sets are not here.

use std::time::Duration;

/// Bounds of a process; [`Limits::default`] is what runs, tests make them small.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Callers' connections. One takes some 24 KiB when idle and 60 KiB when busy, its way to the app included: 250 MiB for
    /// all; large heads that never end make it half a GiB.
    pub connections: usize,
    /// Requests at the app, tunnels among them; beyond that waiting only makes it worse. One caller may have three quarters of
    /// them, a stranger's address half.
    pub upstream_connections: usize,
    /// DPoP proofs that are remembered while they count. One that is used at once counts for a minute and the clock skew,
    /// one that was made ahead for twice that at most: room for some 4,000 requests a second with a minute of skew. 22 MB
    /// when full, 13 more when each is of another key, and in proportion before.
    pub dpop_proofs: usize,
    /// For a request's head. Also how long an idle connection is kept, as HTTP/1.1 cannot tell the two apart: longer
    /// than the 60 s after which common load balancers let go of theirs, so that they, not we, close it.
    pub head: Duration,
    /// Between looks at mounted certificates: well within the overlap that every issuer of certificates leaves.
    pub mounts: Duration,
    /// For a TLS handshake: a few round trips.
    pub handshake: Duration,
    /// Between pings to a caller on HTTP/2, and for each to be answered: so a dead one goes, and one whose head never ends.
    pub ping: Duration,
    /// For a token request's body, which is a short form.
    pub token_body: Duration,
    /// For a caller that reads nothing of its answer: what it holds is also a connection to the app.
    pub unread: Duration,
    /// The same for what we say ourselves over HTTP/2, a few hundred bytes that anybody can have us say: a round trip or two
    /// for the word that there is room for it. Over HTTP/1 it lies in the system's buffers.
    pub own_unread: Duration,
    /// How often a stream that goes on is looked at, whether its token is still good: a third of the 30 s within which it
    /// must end.
    pub stream_look: Duration,
    /// For the first keys of an issuer that is away, in a pod with several: outages that are over by then, such as a restart
    /// or a failover, cost its callers nothing.
    pub first_keys: Duration,
    /// A window of the issuers' rate limits.
    pub rate_window: Duration,
    /// Whether the issuers' limits are heeded before they are hit. Only a benchmark against its own issuer may say no: a
    /// pod that does not heed them takes the whole org's logins down.
    pub heeds_rate_limits: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            upstream_connections: 2048,
            dpop_proofs: 1 << 19,
            head: Duration::from_secs(75),
            mounts: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            token_body: Duration::from_secs(10),
            unread: Duration::from_secs(60),
            own_unread: Duration::from_secs(5),
            stream_look: Duration::from_secs(10),
            first_keys: Duration::from_secs(60),
            rate_window: Duration::from_secs(60),
            heeds_rate_limits: true,
        }
    }
}
