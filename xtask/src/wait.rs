//! Waiting for a condition with a deadline; never for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::interrupt;

/// Short enough to add nothing to a start of seconds, long enough to cost no processor.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks `condition` until it returns something.
///
/// # Errors
/// When the deadline passes or a signal asks us to stop, or with the condition's own (it will never hold).
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        interrupt::check()?;
        if started.elapsed() > deadline {
            bail!("waited {} s for {what}", deadline.as_secs());
        }
        thread::sleep(INTERVAL);
    }
}
