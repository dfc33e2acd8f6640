//! A refusal on its way to the caller: the reason and what the answer needs beside it. It holds no token, no secret
//! and nothing that the issuer said. `rescue` alone turns it into a response.

use std::time::Duration;

use http::HeaderValue;

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
    /// The nonce that the caller's next DPoP proof must carry (RFC 9449 section 9).
    pub dpop_nonce: Option<HeaderValue>,
}

impl Rejection {
    /// A refusal with a sentence of our own.
    #[must_use]
    pub fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail, retry_after: None, dpop_nonce: None }
    }

    /// Adds when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds the nonce to use.
    #[must_use]
    pub fn dpop_nonce(mut self, nonce: Option<HeaderValue>) -> Self {
        self.dpop_nonce = nonce;
        self
    }
}
