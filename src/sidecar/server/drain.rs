//! The end in five steps, known to everyone who must act on them: begun (unready, answers close their connection), no
//! idling, stop accepting, part, give up. It decides no times.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shared by all who take part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    begun: Arc<OnceLock<Instant>>,
    leave: CancellationToken,
    no_idling: CancellationToken,
    stop_accepting: CancellationToken,
    part: CancellationToken,
    give_up: CancellationToken,
}

impl Drain {
    /// Step 1: readiness ends; callers are asked to go elsewhere, and are still served. Says since when, as it may have
    /// been taken before.
    pub(crate) fn begin(&self) -> Instant {
        let since = *self.begun.get_or_init(Instant::now);
        self.leave.cancel();
        since
    }

    /// Step 2: connections on which nothing is under way end. Their callers have not heard that they should leave, and
    /// would send their next request when the app is gone.
    pub(crate) fn end_idling(&self) {
        self.begin();
        self.no_idling.cancel();
    }

    /// Step 3: no new connections; open ones end with their request in progress.
    pub(crate) fn close(&self) {
        self.end_idling();
        self.stop_accepting.cancel();
    }

    /// Step 4: what would go on for ever ends, in the way that its protocol has for that.
    pub(crate) fn part(&self) {
        self.close();
        self.part.cancel();
    }

    /// Step 5: what is left is cut.
    pub(crate) fn abandon(&self) {
        self.part();
        self.give_up.cancel();
    }

    /// Whether step 1 was taken.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Waits for step 1.
    pub(crate) async fn begun(&self) {
        self.leave.cancelled().await;
    }

    /// Waits for step 2.
    pub(crate) async fn no_idling(&self) {
        self.no_idling.cancelled().await;
    }

    /// Waits for step 3.
    pub(crate) async fn stop_accepting(&self) {
        self.stop_accepting.cancelled().await;
    }

    /// Waits for step 4.
    pub(crate) async fn parting(&self) {
        self.part.cancelled().await;
    }

    /// Waits for step 5.
    pub(crate) async fn give_up(&self) {
        self.give_up.cancelled().await;
    }
}
