//! The broker's tokens, so that one which turns out inactive is handed out no more. Only tokens registered here can be
//! marked, so a flood of strangers' tokens changes nothing. It decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quick_cache::sync::Cache;

use super::digest::TokenDigest;

/// As many tokens as the broker keeps.
const CAPACITY: usize = 4096;

/// Whether a token has been seen inactive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(crate) fn is_inactive(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Tokens that the broker may hand out again, by digest.
pub(crate) struct IssuedTokens {
    fates: Cache<TokenDigest, Fate>,
}

impl IssuedTokens {
    pub(crate) fn new() -> Self {
        Self { fates: Cache::new(CAPACITY) }
    }

    /// Takes note of a token that the broker hands out.
    pub(crate) fn register(&self, token: &str) -> Fate {
        let fate = Fate::default();
        self.fates.insert(TokenDigest::of(token.as_bytes()), fate.clone());
        fate
    }

    /// Whether the broker handed this token out, and nothing bad has been heard of it.
    pub(crate) fn holds(&self, token: &TokenDigest) -> bool {
        self.fates.peek(token).is_some()
    }

    /// The issuer said that this token is not active.
    pub(crate) fn mark_inactive(&self, token: &TokenDigest) {
        if let Some((_, fate)) = self.fates.remove(token) {
            fate.0.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reaches_the_token_it_concerns_and_no_other() {
        let issued = IssuedTokens::new();
        let (revoked, other) = (issued.register("revoked"), issued.register("other"));
        assert!(issued.holds(&TokenDigest::of(b"revoked")));
        issued.mark_inactive(&TokenDigest::of(b"revoked"));
        issued.mark_inactive(&TokenDigest::of(b"a stranger's"));
        assert!(revoked.is_inactive());
        assert!(!other.is_inactive());
        assert!(!issued.holds(&TokenDigest::of(b"revoked")));
        assert!(issued.holds(&TokenDigest::of(b"other")));
        assert!(!issued.holds(&TokenDigest::of(b"a stranger's")));
    }
}
