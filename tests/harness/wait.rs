//! Awaiting a condition with a deadline: the one place in the tests that lets time pass.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Polls until `probe` gives a value; `Err` is why not yet, and the message when `deadline` has passed.
///
/// # Panics
/// When the deadline passes, with what was awaited and the last reason.
pub async fn eventually<T, E, F>(what: &str, deadline: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(reason) => {
                assert!(Instant::now() < end, "not within {deadline:?}: {what}; last seen: {reason}");
            }
        }
        sleep(POLL).await;
    }
}

/// Checks for a whole period that something does not happen.
///
/// # Panics
/// As soon as `probe` gives an error.
pub async fn throughout<E, F>(what: &str, period: Duration, mut probe: impl FnMut() -> F)
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let end = Instant::now() + period;
    while Instant::now() < end {
        if let Err(reason) = probe().await {
            panic!("did not hold for {period:?}: {what}: {reason}");
        }
        sleep(POLL).await;
    }
}
