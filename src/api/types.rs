//! The resource as users write it. A field that does nothing does not exist; every rule that can be checked without
//! looking elsewhere stands here as CEL, with a message that says the fix.

#![expect(unreachable_pub, reason = "KubeSchema copies every type, with its `pub`, into the body of a function")]

pub mod limits;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, Probe};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An API that only callers with a valid Okta access token can reach.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "OktaProtectedApi",
    plural = "oktaprotectedapis",
    shortname = "okapi",
    category = "all",
    namespaced,
    status = "OktaProtectedApiStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct OktaProtectedApiSpec {
    /// The authorization servers whose access tokens may pass.
    pub issuers: Vec<Issuer>,
    /// What holds for a path that no route names: `Authenticated` (any valid token) or `Denied` (nobody).
    #[serde(default)]
    pub default_access: DefaultAccess,
    /// Rules for paths and methods; the most specific path wins, whatever the order here.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Serves `POST <path>`, where callers trade their own client credentials for a token. Off unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_broker: Option<TokenBroker>,
    /// How the sidecar reaches the app within the pod.
    pub upstream: Upstream,
    /// The workload that Tollgate runs.
    pub app: App,
    /// The Service that callers use.
    #[serde(default)]
    pub service: ServiceSpec,
    /// The NetworkPolicy that lets traffic reach the sidecar's ports only.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,
    /// The sidecar container.
    #[serde(default)]
    pub sidecar: SidecarSpec,
}

/// One Okta authorization server.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// A name of your choice, used by routes, the broker and in messages.
    pub name: String,
    /// The issuer exactly as tokens carry it in `iss`, for example https://acme.okta.com/oauth2/default.
    pub url: String,
    /// A token must carry one of these in `aud`, compared byte for byte.
    pub audiences: Vec<String>,
    /// `Local` checks tokens against Okta's keys, `Introspection` asks Okta, `LocalAndIntrospection` does both.
    #[serde(default)]
    pub validation: ValidationMode,
    /// This API's own Okta client; needed for introspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// Settings for introspection.
    #[serde(default)]
    pub introspection: Introspection,
    /// Tolerated clock difference for exp, nbf and iat, such as 60s; at most 5m.
    #[serde(default = "default_clock_skew")]
    pub clock_skew: String,
    /// Certificates to trust for this issuer beside the public ones, for a private CA or TLS inspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}

/// How access tokens of one issuer are judged.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValidationMode {
    #[default]
    Local,
    Introspection,
    LocalAndIntrospection,
}

/// An OAuth client of the API itself.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// A Secret with the keys clientId and clientSecret and, while a rotation overlaps, previousClientSecret.
    pub secret_ref: SecretRef,
    /// How the client authenticates at Okta.
    #[serde(default)]
    pub auth_method: AuthMethod,
}

/// Names a Secret in the resource's namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    pub name: String,
}

/// Client authentication at Okta's endpoints.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthMethod {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
}

/// Settings for introspection.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Introspection {
    /// How long an answer is fresh, such as 60s; never past the token's expiry. A revoked token may pass this long.
    #[serde(default = "default_introspection_cache")]
    pub cache: String,
}

impl Default for Introspection {
    fn default() -> Self {
        Self { cache: default_introspection_cache() }
    }
}

/// Where extra CA certificates come from.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// A key of a ConfigMap in the resource's namespace that holds PEM certificates.
    pub config_map_ref: ConfigMapKeyRef,
}

/// Names a key of a ConfigMap.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// The ConfigMap's name.
    pub name: String,
    /// The key that holds the certificates.
    #[serde(default = "default_ca_key")]
    pub key: String,
}

/// Access to paths that no route names.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultAccess {
    #[default]
    Authenticated,
    Denied,
}

/// One rule for a path and its methods.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// A name of your choice; shows in logs and metrics.
    pub name: String,
    /// What the rule is for.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// `Public` (no token), `Authenticated` (a valid token with the scopes) or `Denied` (nobody).
    #[serde(default)]
    pub access: Access,
    /// Scopes that the token must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
}

/// What a rule is for.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// Which paths: exactly one of exact and prefix.
    pub path: RoutePath,
    /// Which methods; all when empty. GET includes HEAD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
}

/// A path rule: exactly one member is set.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutePath {
    /// This path alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// This path and everything below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// HTTP methods that a rule can name.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// The method as it stands in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// Who may use a route.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Public,
    #[default]
    Authenticated,
    Denied,
}

/// Scopes of a route; what is set must hold.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scopes {
    /// Every one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all_of: Vec<String>,
    /// At least one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<String>,
}

/// The token endpoint for callers.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenBroker {
    /// The path that takes the token request.
    #[serde(default = "default_broker_path")]
    pub path: String,
    /// The issuer, by name, that the caller's credentials are sent to.
    pub issuer: String,
    /// Scopes to ask for when the caller names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_scopes: Vec<String>,
    /// Scopes that a caller may ask for.
    pub allowed_scopes: Vec<String>,
    /// Also take the form of Swagger UI's Authorize dialog, with blank user name and password.
    #[serde(default)]
    pub swagger_form: bool,
}

/// How the sidecar reaches the app.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// The port that the app listens on (plain HTTP/1.1).
    pub port: u16,
}

/// The workload that Tollgate runs: your container, with the sidecar beside it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// The container image.
    pub image: String,
    /// When the image is pulled; Kubernetes' own default when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets with registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<SecretRef>,
    /// How many pods.
    #[serde(default = "default_replicas")]
    pub replicas: i32,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// CPU and memory of the app's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Tells when the app can take requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// Tells when the app must be restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Tells when the app has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
}

/// Amounts by resource name, such as cpu and memory.
pub type Amounts = BTreeMap<String, Quantity>;

/// CPU and memory of a container.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside, such as cpu: 100m and memory: 64Mi.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: Amounts,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: Amounts,
}

/// When an image is pulled.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The Service that callers use.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Its port; it leads to the sidecar.
    #[serde(default = "default_service_port")]
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
    /// False leaves the pods without one.
    #[serde(default = "default_true")]
    pub enabled: bool,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The sidecar container.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSpec {
    /// CPU and memory; a CPU request of 20m and 32Mi of memory unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Verbosity of the sidecar's own log.
    #[serde(default)]
    pub log_level: LogLevel,
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

/// What the operator says of the resource. Nothing in it ticks.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OktaProtectedApiStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, WorkloadAvailable, PolicyEnforced, IssuersReachable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Pods that enforce the current policy, of those that can answer, such as "3/3".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<String>,
    /// The issuers' validation modes, such as "LocalAndIntrospection".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// Where the API answers within the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the pods know of each issuer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerStatus>,
}

/// What the pods know of an issuer.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerStatus {
    /// Its name in the spec.
    pub name: String,
    /// Ids of the keys in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_ids: Vec<String>,
}

fn default_clock_skew() -> String {
    "60s".to_owned()
}

fn default_introspection_cache() -> String {
    "60s".to_owned()
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

fn default_broker_path() -> String {
    "/token".to_owned()
}

fn default_replicas() -> i32 {
    1
}

fn default_service_port() -> u16 {
    80
}

fn default_true() -> bool {
    true
}
