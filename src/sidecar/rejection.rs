//! A refusal on its way to the caller: the reason and what the answer needs beside it. It holds no token, no secret
//! and nothing that the issuer said. `rescue` alone turns it into a response.

use std::time::Duration;

use crate::reason::Reason;

/// Why a request stops here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The word.
    pub reason: Reason,
    /// One sentence of ours that helps the caller, without anything the caller or the issuer sent.
    pub detail: &'static str,
    /// For 503 and 429: when to come back.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    /// A refusal with a sentence of our own.
    #[must_use]
    pub fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail, retry_after: None }
    }

    /// Adds when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
