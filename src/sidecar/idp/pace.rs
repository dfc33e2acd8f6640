//! When an issuer's metadata and keys are fetched next (pure): well before their life ends, and while the issuer fails
//! often enough that its return is noticed within seconds, yet never in a storm.

use std::time::Duration;

use tokio::time::Instant;

use super::error::IdpError;

/// Okta's `Cache-Control` ranges from `no-store` to 44 days: never ask more often than this, nor less.
pub(super) const SHORTEST_LIFE: Duration = Duration::from_secs(60);
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(60 * 60);

/// Between attempts while the issuer fails, from begin to begin: one that hangs is not waited for, as its failure would
/// take longer than the issuer's return may.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Half of what a token with an unknown `kid` waits.
const MOMENT: Duration = Duration::from_secs(1);

/// What fails for longer than any outage is somebody's mistake, and is asked in peace.
const OUTAGE: Duration = Duration::from_secs(15 * 60);
const SLOW_RETRY: Duration = Duration::from_secs(15);

/// The times of the attempts.
pub(super) struct Pace {
    next: Instant,
    /// Not before, because the issuer limits us.
    limited_until: Option<Instant>,
    begun: Option<Instant>,
    /// When the last good attempt had begun.
    good: Option<Instant>,
    failures: u32,
    failing_since: Option<Instant>,
}

/// What an attempt's end changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turning {
    /// The first good one ever, or since one failed.
    Loaded,
    /// The first failure since a good one.
    Failing,
    /// Nothing.
    Same,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, limited_until: None, begun: None, good: None, failures: 0, failing_since: None }
    }

    /// When the next attempt is due.
    pub(super) fn next(&self) -> Instant {
        self.limited_until.map_or(self.next, |until| until.max(self.next))
    }

    /// From when on an unknown `kid` may cause one: an attempt under way is given a moment, as most end within it.
    pub(super) fn wish_from(&self, under_way: bool) -> Instant {
        match self.begun {
            Some(begun) if under_way => begun + MOMENT,
            Some(begun) => begun,
            None => self.next,
        }
    }

    /// An attempt begins. `dice` is in 0..1.
    pub(super) fn begin(&mut self, now: Instant, dice: f64) {
        self.begun = Some(now);
        // The next does not wait for this one's end.
        self.next = now + self.interval(now).mul_f64(0.75 + 0.25 * dice);
    }

    /// The attempt begun at `begun` brought keys that are good for `life`.
    pub(super) fn succeed(&mut self, begun: Instant, life: Duration, now: Instant, dice: f64) -> Turning {
        let turning = if self.good.is_none() || self.failures > 0 { Turning::Loaded } else { Turning::Same };
        self.good = self.good.max(Some(begun));
        (self.failures, self.failing_since, self.limited_until) = (0, None, None);
        // Somewhat before the keys' life ends, so that pods which started together do not ask together.
        self.next = now + life.mul_f64(0.8 + 0.2 * dice).max(SHORTEST_LIFE);
        turning
    }

    /// The attempt begun at `begun` failed.
    pub(super) fn fail(&mut self, begun: Instant, error: &IdpError, now: Instant, dice: f64) -> Turning {
        if self.good.is_some_and(|good| good > begun) {
            return Turning::Same;
        }
        if let IdpError::RateLimited { retry_after } = error {
            self.limited_until = Some(now + *retry_after);
        }
        let first = self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(begun);
        if self.begun == Some(begun) {
            let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures - 1));
            self.next = begun + doubled.min(self.interval(now)).mul_f64(0.5 + 0.5 * dice);
        }
        if first { Turning::Failing } else { Turning::Same }
    }

    fn interval(&self, now: Instant) -> Duration {
        let outage = self.failing_since.is_none_or(|since| now.saturating_duration_since(since) < OUTAGE);
        if outage { LAST_RETRY } else { SLOW_RETRY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = LONGEST_LIFE;
    const DOWN: IdpError = IdpError::Down(503);

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// Attempts of a whole outage of so many seconds, each failing after `takes`; returns when they began.
    fn outage(seconds: u64, takes: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut begun, mut ends) = (Vec::new(), Vec::new());
        for millis in (0..seconds * 1_000).step_by(10) {
            let now = at(start, millis);
            while ends.first().is_some_and(|end| *end <= millis) {
                let began: u64 = ends.remove(0) - takes;
                pace.fail(at(start, began), &DOWN, now, (millis % 100) as f64 / 100.0);
            }
            if pace.next() <= now {
                pace.begin(now, (millis % 70) as f64 / 70.0);
                begun.push(millis);
                ends.push(millis + takes);
            }
        }
        begun
    }

    #[test]
    fn the_issuers_return_is_tried_within_two_seconds_whatever_the_attempts_take() {
        for takes in [0, 10, 1_000, 3_000, 5_000] {
            let begun = outage(600, takes);
            let gaps: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| *gap <= 2_010), "{takes}: {gaps:?}");
            assert!(gaps.iter().skip(4).all(|gap| *gap >= 990), "{takes}: and it is no storm: {gaps:?}");
        }
    }

    #[test]
    fn what_fails_for_longer_than_an_outage_is_asked_in_peace() {
        let begun = outage(3_600, 10);
        let late: Vec<_> = begun.iter().filter(|millis| **millis > 950_000).collect();
        assert!(late.windows(2).all(|pair| pair[1] - pair[0] >= 7_500), "{late:?}");
        assert!(late.len() > 100, "and it goes on for ever");
    }

    #[test]
    fn the_first_retry_comes_at_once_and_later_ones_slow_down() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for (wait, failures) in [(500, 1), (1_000, 2), (2_000, 3), (2_000, 40)] {
            while pace.failures < failures {
                pace.begin(start, 1.0);
                pace.fail(start, &DOWN, start, 1.0);
            }
            assert_eq!(pace.next(), at(start, wait), "{failures}");
        }
    }

    #[test]
    fn good_keys_are_fetched_again_before_their_life_ends_and_pods_do_not_ask_together() {
        let start = Instant::now();
        let next = |life, dice| {
            let mut pace = Pace::new(start);
            pace.begin(start, 0.5);
            pace.succeed(start, life, start, dice);
            pace.next() - start
        };
        for dice in [0.0, 0.5, 0.999] {
            assert!(next(SHORTEST_LIFE, dice) >= SHORTEST_LIFE);
            assert!(next(HOUR, dice) >= HOUR.mul_f64(0.8) && next(HOUR, dice) <= HOUR);
        }
        assert_ne!(next(HOUR, 0.1), next(HOUR, 0.9));
    }

    #[test]
    fn a_limit_is_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.begin(start, 0.5);
        pace.fail(start, &IdpError::RateLimited { retry_after: Duration::from_secs(40) }, start, 0.5);
        assert_eq!(pace.next(), at(start, 40_000));
        pace.succeed(start, HOUR, at(start, 41_000), 0.0);
        assert!(pace.next() > at(start, 41_000) + HOUR / 2);
    }

    #[test]
    fn turnings_are_told_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let begin = |pace: &mut Pace, millis| {
            pace.begin(at(start, millis), 0.5);
            at(start, millis)
        };
        let first = begin(&mut pace, 0);
        assert_eq!(pace.fail(first, &DOWN, first, 0.5), Turning::Failing);
        let second = begin(&mut pace, 1);
        assert_eq!(pace.fail(second, &DOWN, second, 0.5), Turning::Same);
        let (hanging, third) = (begin(&mut pace, 2), begin(&mut pace, 3));
        assert_eq!(pace.succeed(third, HOUR, third, 0.5), Turning::Loaded);
        let next = pace.next();
        assert_eq!(pace.fail(hanging, &DOWN, at(start, 5_000), 0.5), Turning::Same, "it was overtaken");
        assert_eq!(pace.next(), next);
        let fourth = begin(&mut pace, 6_000);
        assert_eq!(pace.succeed(fourth, HOUR, fourth, 0.5), Turning::Same);
    }
}
