//! Bounds how often strangers are followed in their wish to be recorded: whoever can reach the API could otherwise have
//! each of their requests recorded here and by every app behind it. Pure but for its count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A developer's or a test's traces; as nothing to a collector.
const PER_SECOND: u32 = 10;

/// What is left of a second's worth, of all workers together.
#[derive(Debug)]
pub(super) struct Budget {
    began: Instant,
    /// The second since `began` in the upper half, what was taken in it in the lower.
    taken: AtomicU64,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, taken: AtomicU64::new(0) }
    }

    /// Whether one more may be followed.
    pub(super) fn take(&self, now: Instant) -> bool {
        // An hour is as good as any other once the counter of seconds has gone round.
        let second = now.duration_since(self.began).as_secs() as u32;
        let one_more = |state: u64| {
            let (at, taken) = ((state >> 32) as u32, state as u32);
            let taken = if at == second { taken } else { 0 };
            (taken < PER_SECOND).then(|| u64::from(second) << 32 | u64::from(taken + 1))
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_are_followed_in_a_second_and_no_more() {
        let began = Instant::now();
        let budget = Budget::new(began);
        for second in [0, 1, 2, 3_600] {
            let now = began + Duration::from_secs(second);
            let followed = (0..1_000).filter(|_| budget.take(now + Duration::from_millis(900))).count();
            assert_eq!(followed, PER_SECOND as usize, "in second {second}");
        }
    }
}
