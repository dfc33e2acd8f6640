//! How long an exchange that goes on may go on: until its token is no longer accepted for its age, where the policy says
//! so, and no longer than the token is good as far as we know, nor than the sidecar itself. It asks nobody, and what it
//! looks at costs nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};
use tollgate_contract::AtExpiry;

use super::Shared;
use crate::auth::Grant;
use crate::reason::Reason;

/// Why an exchange is ended that could go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It may not, or cannot.
    For(Reason),
    /// The sidecar stops.
    Drain,
}

/// Resolves when an exchange must end, with why.
pub(super) type Lapse = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// Begins now. Without a grant nothing but the sidecar's own end is waited for.
pub(super) fn lapse(shared: &Arc<Shared>, grant: Option<Grant>) -> Lapse {
    let shared = Arc::clone(shared);
    Box::pin(async move {
        tokio::select! {
            // First: what has no right to go on says so.
            biased;
            reason = right_ends(&shared, grant) => Ending::For(reason),
            () = shared.drain.parting() => Ending::Drain,
        }
    })
}

async fn right_ends(shared: &Shared, grant: Option<Grant>) -> Reason {
    let Some(grant) = grant else { return std::future::pending().await };
    let begun = Instant::now();
    let (look, at_expiry) = (shared.limits.stream_look, shared.policy.config.streams.at_expiry);
    loop {
        let left = left(at_expiry, grant.accepted_until, begun.elapsed(), SystemTime::now());
        if left.is_zero() {
            return Reason::Expired;
        }
        if let Err(reason) = shared.authenticator.still_stands(&grant) {
            return reason;
        }
        sleep(left.min(look)).await;
    }
}

/// What is left of an exchange that has lasted so long.
fn left(at_expiry: AtExpiry, accepted_until: u64, lasted: Duration, now: SystemTime) -> Duration {
    match at_expiry {
        AtExpiry::Close => {
            let end = UNIX_EPOCH.checked_add(Duration::from_secs(accepted_until));
            // A time beyond what a clock can show never comes.
            end.map_or(Duration::MAX, |end| end.duration_since(now).unwrap_or_default())
        }
        AtExpiry::Keep { max_duration_millis } => Duration::from_millis(max_duration_millis).saturating_sub(lasted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_lasts_as_long_as_its_token_is_accepted_or_for_its_longest_time() {
        let (now, second) = (UNIX_EPOCH + Duration::from_secs(100), Duration::from_secs(1));
        for (until, expected) in [(101, second), (100, Duration::ZERO), (99, Duration::ZERO), (0, Duration::ZERO)] {
            assert_eq!(left(AtExpiry::Close, until, second, now), expected, "{until}");
        }
        assert_eq!(left(AtExpiry::Close, u64::MAX, second, now), Duration::MAX);
        let keep = AtExpiry::Keep { max_duration_millis: 3_000 };
        for (lasted, expected) in [(0, 3 * second), (2, second), (3, Duration::ZERO), (9, Duration::ZERO)] {
            assert_eq!(left(keep, 0, lasted * second, now), expected, "{lasted}");
        }
    }
}
