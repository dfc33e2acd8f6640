//! Keeps this process within its share of each issuer's rate limit: every call asks here first and waits for its turn or
//! is refused. One governor a process. It knows no token and no endpoint; what is fair, `state` and `share` decide.

mod headers;
mod share;
mod state;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use reqwest::Url;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::headers::{pause, rate};
use self::state::{Answer, Refused, State, Turn};
use super::error::IdpError;
use super::lanes::{Lane, Payer};
use super::okta;

pub(super) use self::state::{Call, Reading};

/// How long a call may wait for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// When a stranger should come back who did not get a turn.
const COME_BACK: Duration = Duration::from_secs(1);

/// All buckets of all issuers.
pub(crate) struct Governor {
    window: Duration,
    /// Whether the issuers' limits are heeded before they are hit.
    heeds_limits: bool,
    /// Those in use; who holds none of a bucket's handles does not call.
    buckets: Mutex<HashMap<Key, Weak<Bucket>>>,
}

/// What the issuer counts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    server: okta::Server,
    metered: bool,
}

/// One bucket.
pub(crate) struct Bucket {
    state: Mutex<State>,
    trusted: Notify,
    strangers: Notify,
}

/// A call under way; dropped when it has ended.
pub(crate) struct Permit {
    bucket: Arc<Bucket>,
    call: Call,
    counted: bool,
}

/// A call's place among those who wait.
struct Place<'a> {
    bucket: &'a Bucket,
    lane: Lane,
}

impl Governor {
    /// Heeds limits of so many calls per `window`; Okta's last a minute.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, heeds_limits: true, buckets: Mutex::default() }
    }

    /// Heeds a 429 and nothing else: for measuring what a call costs, with an issuer of one's own.
    pub(crate) fn without_limits(window: Duration) -> Self {
        Self { heeds_limits: false, ..Self::new(window) }
    }

    /// The bucket of token requests and questions about tokens at this endpoint.
    pub(super) fn calls(&self, endpoint: &Url) -> Arc<Bucket> {
        self.bucket(endpoint, true)
    }

    /// The bucket of metadata and keys at this address: by Okta's word not limited, but a 429 is heeded.
    pub(super) fn documents(&self, address: &Url) -> Arc<Bucket> {
        self.bucket(address, false)
    }

    fn bucket(&self, url: &Url, metered: bool) -> Arc<Bucket> {
        let server = if metered { okta::server(url) } else { okta::Server::Any };
        let key = Key { host: url.origin().ascii_serialization(), server, metered };
        let mut buckets = lock(&self.buckets);
        if let Some(bucket) = buckets.get(&key).and_then(Weak::upgrade) {
            return bucket;
        }
        let state = Mutex::new(State::new(self.window, metered && self.heeds_limits));
        let bucket = Arc::new(Bucket { state, trusted: Notify::new(), strangers: Notify::new() });
        buckets.retain(|_, bucket| bucket.strong_count() > 0);
        buckets.insert(key, Arc::downgrade(&bucket));
        bucket
    }
}

impl Bucket {
    /// Sets how many sidecars share the limit; `None` when nobody says.
    pub(super) fn divide(&self, sharers: Option<u32>) {
        lock(&self.state).divide(sharers);
    }

    /// The bucket's numbers now.
    pub(super) fn read(&self) -> Reading {
        lock(&self.state).read(Instant::now())
    }

    /// Waits for the call's turn.
    pub(super) async fn admit(self: &Arc<Self>, call: Call) -> Result<Permit, IdpError> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut place = None;
        loop {
            // Listening before asking: a turn that comes free in between is not missed.
            let mut turn = std::pin::pin!(self.turns(call.lane).notified());
            turn.as_mut().enable();
            match lock(&self.state).ask(call, place.is_some(), Instant::now()) {
                Ok(Turn::Now) => return Ok(Permit { bucket: Arc::clone(self), call, counted: true }),
                Ok(Turn::Wait) => {}
                Err(refused) => return Err(refusal(refused, call)),
            }
            place.get_or_insert_with(|| Place::take(self, call.lane));
            if timeout_at(deadline, turn).await.is_err() {
                // A crowd, never an outage: whether the issuer answers, only a call that is made can say.
                return Err(refusal(Refused::Crowded, call));
            }
        }
    }

    fn turns(&self, lane: Lane) -> &Notify {
        if lane.is_trusted() { &self.trusted } else { &self.strangers }
    }

    /// Lets as many ask again as there are free slots.
    fn wake(&self, (trusted, strangers): (usize, usize)) {
        (0..trusted).for_each(|_| self.trusted.notify_one());
        (0..strangers).for_each(|_| self.strangers.notify_one());
    }
}

/// Who pays with our own client is told of the limit; a caller only that we are busy, as its own client is not limited.
fn refusal(refused: Refused, call: Call) -> IdpError {
    let ours = call.lane.is_trusted() && matches!(call.payer, Payer::Own);
    match refused {
        Refused::Limited(retry_after) => IdpError::RateLimited { retry_after },
        Refused::OverShare(retry_after) if ours => IdpError::RateLimited { retry_after },
        Refused::OverShare(retry_after) => IdpError::Crowded { retry_after },
        Refused::Crowded if ours => IdpError::Busy,
        Refused::Crowded => IdpError::Crowded { retry_after: COME_BACK },
    }
}

impl Permit {
    /// The head of the answer is there. Of a 429, how long to leave the issuer in peace.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let now = SystemTime::now();
        let limited_for = (status == StatusCode::TOO_MANY_REQUESTS).then(|| pause(headers, now));
        let answer = Answer { rate: rate(headers, now), limited_for, failed: status.is_server_error() };
        let mut state = lock(&self.bucket.state);
        state.answered(self.call.payer, &answer, Instant::now(), rand::random());
        let free = state.free_slots();
        drop(state);
        // What the answer says may have made room for more than this one's slot.
        self.bucket.wake(free);
        limited_for
    }

    /// The issuer never saw the call.
    pub(super) fn never_arrived(&mut self) {
        self.counted = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.bucket.state);
        state.end(self.call, self.counted, Instant::now());
        let free = state.free_slots();
        drop(state);
        self.bucket.wake(free);
    }
}

impl<'a> Place<'a> {
    fn take(bucket: &'a Bucket, lane: Lane) -> Self {
        lock(&bucket.state).queue(lane);
        Self { bucket, lane }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.bucket.state).leave(self.lane);
    }
}

/// A panic elsewhere leaves numbers behind that are at worst a little off, never unsafe.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
