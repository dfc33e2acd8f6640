//! When a resource is looked at again. Watches bring every change of an object at once; what a sidecar says must be
//! asked for. Jitter (0.0 to 1.0) is passed in.

use std::time::Duration;

/// Something is under way or wrong and mends by itself: soon, for people wait.
const UNSETTLED: Duration = Duration::from_secs(2);
/// All is well: how late a trouble with an issuer is noticed, and how late a pod learns that others share its limit. Asking a pod costs it nothing that could be measured.
const SETTLED: Duration = Duration::from_secs(30);
/// Someone else's object is in the way. It is not watched, so its end must be looked for.
const OBSTRUCTED: Duration = Duration::from_secs(5);
/// The API server refused an object, which rarely mends without an edit, and an edit is noticed at once.
const REFUSED: Duration = Duration::from_secs(30);
/// Nothing to ask anyone: only in case a watch missed something.
const IDLE: Duration = Duration::from_secs(3600);

/// First wait after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// No failure is retried more rarely than this.
const LAST_RETRY: Duration = Duration::from_secs(120);

/// At most once in this time the kubelet is made to look at a pod's mounts...
const REFRESH: Duration = Duration::from_secs(5);
/// ...for as many times as this (five minutes)...
const EAGER_REFRESHES: u32 = 60;
/// ...and then about as often as it looks by itself, for each time is a write.
const LATE_REFRESH: Duration = Duration::from_secs(60);

/// What a resource waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Pods that change, or a problem that may be mended at any time.
    Unsettled,
    /// Nothing in particular.
    Settled,
    /// The end of someone else's object.
    Obstructed,
    /// An edit.
    Refused,
    /// An edit, and there are no pods.
    Idle,
}

/// The time to the next look: a steady interval, a fifth up or down, so that resources spread out.
#[must_use]
pub fn next_look(pace: Pace, jitter: f64) -> Duration {
    let interval = match pace {
        Pace::Unsettled => UNSETTLED,
        Pace::Settled => SETTLED,
        Pace::Obstructed => OBSTRUCTED,
        Pace::Refused => REFUSED,
        Pace::Idle => IDLE,
    };
    interval.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

/// The wait after the `attempts`th failure in a row: doubled each time, the upper half of it by chance.
#[must_use]
pub fn retry(attempts: u32, jitter: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)));
    doubled.min(LAST_RETRY).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// The least time between two touches of a pod that lacks a mounted file and was touched `times` before.
#[must_use]
pub fn refresh_interval(times: u32) -> Duration {
    if times < EAGER_REFRESHES { REFRESH } else { LATE_REFRESH }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_spread_around_their_interval() {
        assert_eq!(next_look(Pace::Settled, 0.0), Duration::from_secs(24));
        assert_eq!(next_look(Pace::Settled, 1.0), Duration::from_secs(36));
        assert!(next_look(Pace::Unsettled, 1.0) < Duration::from_secs(3));
    }

    #[test]
    fn failures_back_off_to_an_end() {
        let waits: Vec<_> = (1..=10).map(|attempt| retry(attempt, 1.0)).collect();
        assert_eq!(waits[0], Duration::from_millis(500));
        assert_eq!(waits[3], Duration::from_secs(4));
        assert_eq!(waits[9], LAST_RETRY);
        assert_eq!(retry(u32::MAX, 1.0), LAST_RETRY);
        assert_eq!(retry(1, 0.0), Duration::from_millis(250));
    }

    #[test]
    fn a_pod_that_lacks_a_file_for_long_is_touched_less_often() {
        assert_eq!(refresh_interval(0), Duration::from_secs(5));
        assert_eq!(refresh_interval(60), Duration::from_secs(60));
    }
}
