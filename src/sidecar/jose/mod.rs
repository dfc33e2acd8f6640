//! The pieces of JOSE that tokens, key sets and proofs of possession have in common: strict JSON, the compact form of a
//! signature (RFC 7515), public keys (RFC 7517) and how each algorithm verifies (RFC 7518, RFC 8037). Pure. What a
//! header or a claim means to its reader is decided elsewhere.

mod algorithm;
mod compact;
pub(crate) mod json;
mod jwk;

pub(crate) use tollgate_contract::Algorithm;

pub(crate) use self::compact::{Compact, CompactError};
pub(crate) use self::json::Object;
pub(crate) use self::jwk::{JwkError, PublicKey};

#[cfg(test)]
mod vectors;
