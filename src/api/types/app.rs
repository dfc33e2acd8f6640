//! The workload as users write it: their container, the Service and NetworkPolicy before it, and the sidecar beside it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, Probe};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, limits, rules, urls};

/// The workload that Tollgate runs: your container, with the sidecar beside it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// The container image, such as ghcr.io/acme/items:1.4.
    #[schemars(length(max = limits::IMAGE_LENGTH))]
    #[x_kube(validation = (r"self.matches(r'^\S+$')", "name the container image, such as ghcr.io/acme/items:1.4"))]
    pub image: String,
    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`. When left out, Kubernetes decides by the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets with the credentials of a private registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::IMAGE_PULL_SECRETS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<SecretRef>,
    /// How many pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = limits::REPLICAS))]
    pub replicas: i32,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ARGS), inner(length(max = limits::ARG_LENGTH)))]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ARGS), inner(length(max = limits::ARG_LENGTH)))]
    pub args: Vec<String>,
    /// Environment variables, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ENV))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// CPU and memory of the app's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Tells when the app can take requests. Give ports by their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::probe)]
    pub readiness_probe: Option<Probe>,
    /// Tells when the app must be restarted. Give ports by their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::probe)]
    pub liveness_probe: Option<Probe>,
    /// Tells when the app has started. Give ports by their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::probe)]
    pub startup_probe: Option<Probe>,
}

/// Amounts by resource name, such as cpu and memory.
pub type Amounts = BTreeMap<String, Quantity>;

/// CPU and memory of a container.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside for the container, such as cpu 100m and memory 64Mi.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::RESOURCES), transform = rules::amounts)]
    pub requests: Amounts,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::RESOURCES), transform = rules::amounts)]
    pub limits: Amounts,
}

/// When an image is pulled.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    /// The word in a pod.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// The Service that callers use.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The Service's port; it leads to the sidecar.
    #[serde(default = "default_service_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self { port: default_service_port() }
    }
}

/// The NetworkPolicy of the pods.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Without it, whoever reaches a pod's address reaches the app's port too, past the sidecar.
    #[serde(default = "default_network_policy")]
    pub enabled: bool,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self { enabled: default_network_policy() }
    }
}

/// The sidecar container.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSpec {
    /// CPU and memory of the sidecar; when left out it requests 20m of cpu and 32Mi of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Verbosity of the sidecar's own log: `error`, `warn`, `info` or `debug`. The access log is apart from it.
    #[serde(default)]
    pub log_level: LogLevel,
    /// The access log: a line of JSON on standard output for each request, without query and credentials.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Sends spans of requests to a collector (OpenTelemetry, OTLP over HTTP). Off when left out; the trace context of
    /// requests is passed on either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

/// The access log.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Set to false for no lines at all.
    #[serde(default = "default_access_log")]
    pub enabled: bool,
    /// Only one of so many requests that were answered well leaves a line, such as 100; refused and failed ones always do.
    #[serde(default = "default_one_in")]
    #[schemars(range(min = 1, max = limits::ONE_IN))]
    pub one_in: u32,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: default_access_log(), one_in: default_one_in() }
    }
}

/// Where spans go.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The collector, such as http://collector.observability:4318; /v1/traces is added to it.
    #[schemars(length(min = 1, max = limits::URL_LENGTH), transform = urls::collector)]
    pub endpoint: String,
    /// How many of the traces that begin at this API are recorded, in percent, such as 0.1. A request that belongs to a
    /// trace already is recorded as its caller decided.
    #[serde(default = "default_sample_percent")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub sample_percent: f64,
}

/// Verbosity of a log.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

fn default_replicas() -> i32 {
    1
}

fn default_service_port() -> u16 {
    80
}

fn default_access_log() -> bool {
    true
}

fn default_one_in() -> u32 {
    1
}

fn default_sample_percent() -> f64 {
    1.0
}

fn default_network_policy() -> bool {
    true
}
