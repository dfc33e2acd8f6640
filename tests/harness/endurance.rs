//! How long the tests of endurance run: seconds among the other tests, minutes when `TOLLGATE_ENDURANCE=full` is set. The
//! checks are the same.

use std::time::Duration;

/// Whether the long versions are wanted.
#[must_use]
pub fn is_full() -> bool {
    std::env::var("TOLLGATE_ENDURANCE").is_ok_and(|value| value == "full")
}

/// `full` when the long versions are wanted, else `short`.
#[must_use]
pub fn length(short: Duration, full: Duration) -> Duration {
    if is_full() { full } else { short }
}
