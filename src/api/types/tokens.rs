//! What an issuer's access tokens may look like, as users write it: their algorithms, their profile, and whether they are
//! bound to a key of the caller's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// JWS signature algorithms (RFC 7518, RFC 8037); none is symmetric.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// What access tokens look like.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenProfile {
    #[default]
    Okta,
    Rfc9068,
}

/// Whether tokens that are bound to a key (RFC 9449) are taken.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DpopMode {
    #[default]
    Refuse,
    Accept,
    Require,
}

/// Whether DPoP proofs must carry a nonce of ours.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DpopNonce {
    #[default]
    None,
    PerPod,
}
