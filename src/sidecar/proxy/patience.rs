//! How long an answer's head may take, and how long a body may stand still.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_contract::UpstreamTimeouts;

use super::body::Progress;
use crate::reason::Reason;

/// The policy's times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    response_head: Duration,
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
}

/// What has become of a wait for an answer's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// There is time until then.
    Until(Instant),
    /// As long as the caller waits.
    Unbounded,
    /// It is over.
    Over(Reason),
}

impl Patience {
    pub(crate) fn new(timeouts: &UpstreamTimeouts) -> Self {
        Self {
            response_head: Duration::from_millis(timeouts.response_header_millis),
            idle: Duration::from_millis(timeouts.idle_millis),
        }
    }

    /// The clock for the app runs from the end of the upload; while that lasts, it may stand still for so long at most. A
    /// gRPC caller sets its own deadline for the answer.
    pub(super) fn wait(&self, sent: Instant, upload: Option<&Progress>, is_grpc: bool, now: Instant) -> Wait {
        let uploading = upload.filter(|upload| !upload.is_over());
        let since = upload.map_or(sent, |upload| upload.last().max(sent));
        let patience = match (uploading, is_grpc) {
            (None, true) => return Wait::Unbounded,
            (None, false) => self.response_head,
            (Some(_), true) => self.idle,
            (Some(_), false) => self.response_head.min(self.idle),
        };
        if now < since + patience {
            return Wait::Until(since + patience);
        }
        let by_caller = uploading.is_some_and(Progress::waits_for_caller);
        Wait::Over(if by_caller { Reason::RequestTimeout } else { Reason::UpstreamTimeout })
    }
}
