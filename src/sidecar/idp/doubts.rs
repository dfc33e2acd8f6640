//! Whether an issuer's metadata may no longer be true, because something that it names did not answer as it should. Doubt
//! is raised at most once a minute: an outage is no reason to read metadata all the time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

/// The doubts about one issuer.
#[derive(Default)]
pub(super) struct Doubts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    raised: bool,
    raised_at: Option<Instant>,
}

impl Doubts {
    /// Something went wrong; true when that raises a doubt.
    pub(super) fn raise(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.raised_at.is_some_and(|last| now < last + INTERVAL) {
            return false;
        }
        *state = State { raised: true, raised_at: Some(now) };
        true
    }

    /// Whether there is a doubt, which is thereby looked into.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).raised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_is_looked_into_once_and_raised_once_a_minute() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        assert!(!doubts.take());
        assert!(doubts.raise(now));
        assert!(doubts.take() && !doubts.take());
        assert!(!doubts.raise(now + INTERVAL / 2));
        assert!(!doubts.take());
        assert!(doubts.raise(now + INTERVAL));
        assert!(doubts.take());
    }
}
