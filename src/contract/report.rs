//! What a sidecar says of itself on the admin path `/config`, polled by the operator. The operator treats it as
//! untrusted input: it checks `pod_uid` and composes its own sentences from codes and from names it already knows.

use serde::{Deserialize, Serialize};

use crate::PolicyHash;

/// A sidecar's report. No address, no secret, nothing about callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarReport {
    /// The pod's uid from the downward API; empty outside Kubernetes.
    pub pod_uid: String,
    /// The policy in force.
    pub policy_hash: PolicyHash,
    /// The sidecar's version.
    pub version: String,
    /// What is wrong at the moment; empty when all is well.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// What the sidecar knows of each issuer.
    #[serde(default)]
    pub issuers: Vec<IssuerReport>,
    /// Whether the app has accepted a connection on `upstream.port` at some time; absent in reports of older sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_listens: Option<bool>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Which kind.
    pub code: ProblemCode,
    /// The issuer it concerns, by its name in the resource; empty where it concerns none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
}

/// Kinds of problems; closed on purpose, so that a report cannot carry text into a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProblemCode {
    /// The mounted Secret is missing, or lacks `clientId` or `clientSecret`.
    CredentialsMissing,
    /// The issuer refused this API's own client (`invalid_client`).
    CredentialsRefused,
    /// The CA bundle is not mounted.
    CaBundleMissing,
    /// The mounted CA bundle holds no certificate that can be used.
    CaBundleUnusable,
    /// The mounted Secret with the proxy port's certificate is missing, or its certificate and key are none.
    TlsCertificateMissing,
    /// The mounted certificate of the proxy port, or the one in force, has ended.
    TlsCertificateExpired,
    /// The mounted CA bundle of callers' certificates is missing or holds no certificate.
    ClientCaMissing,
    /// The mounted CA bundle of the app's certificate is missing or holds no certificate.
    UpstreamCaMissing,
    /// No connection, or no answer in time.
    IssuerUnreachable,
    /// The issuer's certificate was not accepted.
    IssuerBadTls,
    /// The issuer answered with something that is not its metadata or keys.
    IssuerBadResponse,
    /// The pod is ready without ever having loaded this issuer: its tokens are not judged.
    IssuerNotLoaded,
}

/// What a sidecar knows of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerReport {
    /// Its name in the resource.
    pub name: String,
    /// Ids of the usable keys now in force, sorted.
    #[serde(default)]
    pub key_ids: Vec<String>,
}
