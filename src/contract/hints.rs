//! What helps a sidecar and is no policy: it changes while pods run, in a ConfigMap of its own, outside the policy's
//! hash. A sidecar without hints enforces the same policy, only with fewer calls to the issuer. Seeded keys are to be
//! trusted as the policy is: until the first live fetch they verify tokens.

use serde::{Deserialize, Serialize};

/// The hints of one API. Unknown members are ignored: hints may come from a newer operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hints {
    /// By issuer; an issuer that is not named has none.
    #[serde(default)]
    pub issuers: Vec<IssuerHints>,
}

/// The hints about one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerHints {
    /// The issuer's name within the resource.
    pub name: String,
    /// How many sidecars of the cluster share the issuer's rate-limit bucket, rounded up to a power of two; none where the
    /// sidecar makes no call that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharers: Option<u32>,
    /// Keys to start with while the issuer cannot be reached; they end with the first live fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<SeededKeys>,
}

/// A key set that the operator fetched before this sidecar started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeededKeys {
    /// When it was fetched, seconds since the epoch; keys older than 24 h are not used.
    pub fetched_at: u64,
    /// The issuer's key set (RFC 7517) as text, without what does not verify signatures.
    pub jwks: String,
    /// Whose they are: an issuer of the same name may have been another one before.
    pub source: KeySource,
}

/// Where keys were fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySource {
    /// The issuer's URL, exactly.
    pub issuer: String,
    /// The key set's URL, where the resource gives it; else it was found by discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// SHA-256 of the CA bundle that was trusted beside the public roots, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}
