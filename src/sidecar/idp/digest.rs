//! Names a token without holding it: the key of every cache that concerns tokens. It decides nothing.

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of a token's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    /// Its octets.
    pub(crate) fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_of_difference_is_another_digest() {
        assert!(TokenDigest::of(b"abc") == TokenDigest::of(b"abc"));
        assert!(TokenDigest::of(b"abc") != TokenDigest::of(b"abd"));
    }
}
