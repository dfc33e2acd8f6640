//! The resource as users write it, and the rules that need more than one of its parts. A field that does nothing does
//! not exist; every rule that can be checked without looking elsewhere stands in the schema as CEL, with a message that
//! says the fix, so that `kubectl apply` refuses what would not work.

#![expect(unreachable_pub, reason = "KubeSchema copies every type, with its `pub`, into the body of a function")]

mod app;
mod broker;
mod issuer;
pub mod limits;
mod route;
mod rules;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use app::{
    Amounts, App, ImagePullPolicy, LogLevel, NetworkPolicySpec, Resources, ServiceSpec, SidecarSpec, Upstream,
};
pub use broker::TokenBroker;
pub(crate) use issuer::OKTA_DOMAINS;
pub use issuer::{AuthMethod, CaBundle, Client, ConfigMapKeyRef, Introspection, Issuer, SecretRef, ValidationMode};
pub use route::{Access, Method, Route, RouteMatch, RoutePath, Scopes};
pub use status::{IssuerStatus, OktaProtectedApiStatus};

/// What is protected, and how.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "OktaProtectedApi",
    doc = "An API that only callers with a valid Okta access token can reach. Tollgate runs your container with a \
           sidecar before it that checks every request.",
    plural = "oktaprotectedapis",
    shortname = "okapi",
    category = "all",
    namespaced,
    status = "OktaProtectedApiStatus",
    derive = "PartialEq",
    // A chart that is removed must not take the resources, and so the protected workloads, with it.
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Protected", type_ = "string", json_path = ".status.protected"),
    printcolumn(name = "Validation", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_FITS).message(
        "metadata.name: use at most 50 characters of a-z, 0-9 and -, starting with a letter; the Service and the pods \
         are named after it",
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::Conventions)]
#[x_kube(validation = Rule::new(BROKER_ISSUER_EXISTS)
    .message(Message::Expression(NO_SUCH_ISSUER.into()))
    .field_path(".tokenBroker.issuer"))]
#[x_kube(validation = Rule::new(BROKER_PATH_IS_FREE)
    .message("the broker answers on this path, so no route may have it: remove the route or move the broker")
    .field_path(".tokenBroker.path"))]
pub struct OktaProtectedApiSpec {
    /// The authorization servers whose access tokens may pass.
    #[schemars(length(max = limits::ISSUERS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = (
        "self.size() > 0",
        "name at least one issuer, such as https://acme.okta.com/oauth2/default"))]
    #[x_kube(validation = (
        "self.all(one, self.exists_one(other, other.url == one.url))",
        "two issuers have the same url: write it once, with all its audiences"))]
    #[x_kube(validation = (
        "self.filter(issuer, issuer.validation == 'Introspection').size() <= 1",
        "only one issuer may have validation: Introspection, for an opaque token does not say who issued it; use Local \
         or LocalAndIntrospection for the others"))]
    pub issuers: Vec<Issuer>,
    /// What holds for a path that no route names: `Authenticated` (any valid token) or `Denied` (nobody).
    #[serde(default)]
    pub default_access: DefaultAccess,
    /// Rules for paths and methods. The most specific path wins, whatever the order here.
    #[serde(default)]
    #[schemars(length(max = limits::ROUTES))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = (
        ROUTES_DO_NOT_OVERLAP,
        "two routes have the same path and a method in common: give each its own methods (none means all, GET includes \
         HEAD)"))]
    pub routes: Vec<Route>,
    /// Serves `POST <path>`, where callers trade their own client credentials for a token. Off when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_broker: Option<TokenBroker>,
    /// How the sidecar reaches the app within the pod.
    pub upstream: Upstream,
    /// The workload that Tollgate runs: your container, with the sidecar beside it.
    pub app: App,
    /// The Service that callers use. It has the name of this resource.
    #[serde(default)]
    pub service: ServiceSpec,
    /// The NetworkPolicy that lets traffic reach the sidecar's ports only.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,
    /// The sidecar container.
    #[serde(default)]
    pub sidecar: SidecarSpec,
}

/// Access to paths that no route names.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultAccess {
    #[default]
    Authenticated,
    Denied,
}

const NAME_FITS: &str = "self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')";

const BROKER_ISSUER_EXISTS: &str =
    "!has(self.tokenBroker) || self.issuers.exists(issuer, issuer.name == self.tokenBroker.issuer)";

const NO_SUCH_ISSUER: &str =
    r#""there is no issuer named '" + self.tokenBroker.issuer + "': write the name of one of the issuers""#;

const BROKER_PATH_IS_FREE: &str = "!has(self.tokenBroker) || !self.routes.exists(route, \
    (has(route.match.path.exact) && route.match.path.exact == self.tokenBroker.path) || \
    (has(route.match.path.prefix) && route.match.path.prefix == self.tokenBroker.path))";

/// Two routes of different names have different paths, or both have methods and none in common.
const ROUTES_DO_NOT_OVERLAP: &str = "self.all(one, self.all(other, one.name == other.name || \
    !((has(one.match.path.exact) && has(other.match.path.exact) && \
       one.match.path.exact == other.match.path.exact) || \
      (has(one.match.path.prefix) && has(other.match.path.prefix) && \
       one.match.path.prefix == other.match.path.prefix)) || \
    (has(one.match.methods) && one.match.methods.size() > 0 && \
     has(other.match.methods) && other.match.methods.size() > 0 && \
     one.match.methods.all(method, !(method in other.match.methods) && \
       !(method == 'HEAD' && 'GET' in other.match.methods) && !(method == 'GET' && 'HEAD' in other.match.methods)))))";
