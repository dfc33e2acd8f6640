//! The resource as users write it, and the rules that need more than one of its parts. A field that does nothing does
//! not exist; every rule that can be checked without looking elsewhere stands in the schema as CEL, with a message that
//! says the fix, so that `kubectl apply` refuses what would not work.

#![expect(unreachable_pub, reason = "KubeSchema copies every type, with its `pub`, into the body of a function")]

mod app;
mod broker;
mod introspection;
mod issuer;
pub mod limits;
mod route;
mod rules;
mod status;
mod tokens;
mod traffic;
mod upstream;
mod urls;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use app::{
    AccessLog, Amounts, App, ImagePullPolicy, LogLevel, NetworkPolicySpec, Resources, ServiceSpec, SidecarSpec, Tracing,
};
pub use broker::TokenBroker;
pub use introspection::{Introspection, OnOutage, OutagePolicy};
pub(crate) use issuer::OKTA_DOMAINS;
pub use issuer::{AuthMethod, CaBundle, Client, ConfigMapKeyRef, Endpoints, Issuer, SecretRef, ValidationMode};
pub use route::{Access, Method, Route, RouteMatch, RoutePath, Scopes};
pub use status::{IssuerStatus, OktaProtectedApiStatus};
pub use tokens::{Algorithm, DpopMode, DpopNonce, TokenProfile};
pub use traffic::{
    AtExpiry, ClientCertificateMode, ClientCertificates, Cors, CorsMode, Limits, OddSlash, Paths, Streams, Tls,
    WebSocketToken,
};
pub use upstream::{
    ArrayForm, AuthorizationHeader, ClaimHeader, Upstream, UpstreamAddress, UpstreamProtocol, UpstreamTimeouts,
    UpstreamTls,
};

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
#[x_kube(validation = Rule::new(ROUTE_ISSUERS_EXIST)
    .message(Message::Expression(no_such_route_issuer()))
    .field_path(".routes"))]
#[x_kube(validation = Rule::new(DPOP_HAS_EXTERNAL_URLS)
    .message(
        "a DPoP proof names the URL that the caller used: say in externalUrls how callers reach this API, such as \
         https://api.acme.com",
    )
    .field_path(".externalUrls")
    .reason(Reason::FieldValueRequired))]
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
    /// How callers reach the API, such as https://api.acme.com/shop: the paths of requests follow after it. DPoP proofs
    /// are compared with it, and where a refusal tells callers which authorization server to ask, it is by this URL;
    /// the Host header of a request never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::EXTERNAL_URLS),
        inner(length(min = 1, max = limits::URL_LENGTH)),
        transform = urls::external_urls
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub external_urls: Vec<String>,
    /// Addresses of the proxies before this API, as ranges such as 10.0.0.0/8. Their X-Forwarded-For says who the caller
    /// is, so that one caller's flood is not held against all others; nobody else's X-Forwarded-For is believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::TRUSTED_PROXIES),
        inner(length(min = 1, max = limits::CIDR_LENGTH)),
        transform = rules::address_ranges
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub trusted_proxies: Vec<String>,
    /// What holds for a path that no route names: `Authenticated` (any valid token) or `Denied` (nobody).
    #[serde(default)]
    pub default_access: DefaultAccess,
    /// Rules for paths and methods. The most specific path wins, whatever the order here.
    #[serde(default)]
    #[schemars(length(max = limits::ROUTES))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new(no_overlap())
        .message(Message::Expression(overlapping_routes())))]
    pub routes: Vec<Route>,
    /// Serves `POST <path>`, where callers trade their own client credentials for a token. Off when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_broker: Option<TokenBroker>,
    /// TLS on the port that callers use. Plain HTTP when left out: then encrypt before it, at an ingress or in a mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How the sidecar reaches the app within the pod.
    pub upstream: Upstream,
    /// Spellings of a path that servers read in different ways.
    #[serde(default)]
    pub paths: Paths,
    /// WebSockets, server-sent events and gRPC streams.
    #[serde(default)]
    pub streams: Streams,
    /// Scripts of other origins in browsers (CORS).
    #[serde(default)]
    pub cors: Cors,
    /// Bounds of requests.
    #[serde(default)]
    pub limits: Limits,
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

const NO_SUCH_ISSUER: &str = r#""there is no issuer named '" + self.tokenBroker.issuer + "': write the name of one of the issuers, not its url""#;

const BROKER_PATH_IS_FREE: &str = "!has(self.tokenBroker) || !self.routes.exists(route, \
    (has(route.match.path.exact) && route.match.path.exact == self.tokenBroker.path) || \
    (has(route.match.path.prefix) && route.match.path.prefix == self.tokenBroker.path))";

const ROUTE_ISSUERS_EXIST: &str = "self.routes.all(route, !has(route.issuers) || \
    route.issuers.all(name, self.issuers.exists(issuer, issuer.name == name)))";

/// Names the first route, and the first of its issuers, that the rule above is about. (`map` with a condition, not `filter`:
/// what walks a filtered list is over budget, for its length is taken to have no bound.)
fn no_such_route_issuer() -> String {
    let is_missing = "!self.issuers.exists(issuer, issuer.name == name)";
    format!(
        "self.routes.map(route, has(route.issuers) && route.issuers.exists(name, {is_missing}), \
         \"route '\" + route.name + \"': there is no issuer named '\" + \
         route.issuers.map(name, {is_missing}, name)[0] + \"': write the name of one of the issuers, not its url\")[0]"
    )
}

const DPOP_HAS_EXTERNAL_URLS: &str = "self.issuers.all(issuer, issuer.dpop == 'Refuse') || \
    (has(self.externalUrls) && self.externalUrls.size() > 0)";

/// `one` and `other` are two routes of one path, with a method in common.
const OVERLAP: &str = "one.name != other.name && \
    ((has(one.match.path.exact) && has(other.match.path.exact) && \
      one.match.path.exact == other.match.path.exact) || \
     (has(one.match.path.prefix) && has(other.match.path.prefix) && \
      one.match.path.prefix == other.match.path.prefix)) && \
    !(has(one.match.methods) && has(other.match.methods) && \
      one.match.methods.all(method, !(method in other.match.methods) && \
        !(method == 'HEAD' && 'GET' in other.match.methods) && !(method == 'GET' && 'HEAD' in other.match.methods)))";

fn no_overlap() -> String {
    format!("!self.exists(one, self.exists(other, {OVERLAP}))")
}

/// Names the first two routes that the rule above is about.
fn overlapping_routes() -> String {
    format!(
        "self.map(one, self.exists(other, {OVERLAP}), \"routes '\" + one.name + \"' and '\" + \
         self.map(other, {OVERLAP}, other.name)[0] + \
         \"' have the same path and a method in common: give each its own methods (none means all, GET includes HEAD)\")[0]"
    )
}
