//! What holds for requests whatever their token, as users write it: TLS before callers, spellings of paths, streams,
//! browsers, and bounds.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaBundle, Method, SecretRef, limits, rules, urls};

/// TLS on the port that callers use.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A Secret of type kubernetes.io/tls, with the keys tls.crt and tls.key. The pods mount it, and take a renewed one
    /// without a restart; the operator never reads it.
    pub secret_ref: SecretRef,
    /// Certificates of callers (mutual TLS). Not asked for when left out. A token that is bound to a certificate (RFC 8705)
    /// passes only with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

/// Certificates of callers.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificates {
    /// The authorities that callers' certificates must come from.
    pub ca_bundle: CaBundle,
    /// `Required`: no connection without one. `Optional`: one that is sent must be good.
    #[serde(default)]
    pub mode: ClientCertificateMode,
}

/// Whether callers need a certificate.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientCertificateMode {
    Optional,
    #[default]
    Required,
}

/// Spellings of a path that servers read in different ways.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paths {
    /// A path with %2F. `Reject`: 400. `Keep`: it is passed on as it came, and must satisfy the routes of both readings.
    #[serde(default)]
    pub encoded_slash: OddSlash,
    /// A path with two slashes in a row; as encodedSlash.
    #[serde(default)]
    pub double_slash: OddSlash,
    /// True when the app tells /Items from /items. Otherwise a route for one holds for the other where it is the stricter.
    #[serde(default)]
    pub case_sensitive: bool,
}

/// What becomes of a path with an odd slash.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OddSlash {
    #[default]
    Reject,
    Keep,
}

/// WebSockets, server-sent events and gRPC streams.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.atExpiry == 'Keep') == has(self.maxDuration)")
    .message(
        "maxDuration goes with atExpiry: Keep and only with it: say how long a stream may go on, such as 8h, or leave \
         out both",
    )
    .field_path(".maxDuration"))]
pub struct Streams {
    /// What becomes of a stream whose token expires. `Close`: it ends. `Keep`: it goes on, at most until maxDuration.
    #[serde(default)]
    pub at_expiry: AtExpiry,
    /// How long after its start a stream may go on with atExpiry: Keep, such as 8h. From 1s to 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration(limits::SHORTEST_STREAM, limits::STREAM))]
    pub max_duration: Option<String>,
    /// Where the token of a WebSocket may stand. `Header`: in Authorization. `Subprotocol`: also in
    /// Sec-WebSocket-Protocol, for scripts in browsers, as base64url.bearer.authorization.tollgate.dev. followed by the
    /// token in base64url; the app never sees it.
    #[serde(default)]
    pub web_socket_token: WebSocketToken,
}

/// What becomes of a stream whose token expires.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AtExpiry {
    #[default]
    Close,
    Keep,
}

/// Where the token of a WebSocket may stand.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebSocketToken {
    #[default]
    Header,
    Subprotocol,
}

/// Scripts of other origins in browsers (CORS).
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'Handle' || (has(self.origins) && self.origins.size() > 0)")
    .message("mode: Handle needs origins: name those whose scripts may call, such as https://app.acme.com")
    .field_path(".origins")
    .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new(ONLY_WITH_HANDLE)
    .message("the other settings are for mode: Handle: set it, or leave them out")
    .field_path(".mode"))]
#[x_kube(validation = Rule::new("!self.credentials || !has(self.origins) || !('*' in self.origins)")
    .message("with the origin * browsers send no credentials: name the origins, or leave credentials out")
    .field_path(".credentials"))]
pub struct Cors {
    /// `Refuse`: scripts of other origins are kept out, for their preflight requests carry no token. `Handle`: preflights are
    /// answered here, by the settings below, whatever the app says. `PassPreflight`: preflights go to the app, which answers
    /// for itself.
    #[serde(default)]
    pub mode: CorsMode,
    /// Origins whose scripts may call, as browsers send them, such as https://app.acme.com; a single * for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::ORIGINS),
        inner(length(min = 1, max = limits::ORIGIN_LENGTH)),
        transform = urls::origins
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = ("!('*' in self) || self.size() == 1", "* is every origin: let it stand alone, or leave it out"))]
    pub origins: Vec<String>,
    /// Methods that scripts may use; those of the routes that match the path when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Vec<Method>,
    /// Request headers that scripts may set, beside Authorization, DPoP and Content-Type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::CORS_HEADERS),
        inner(length(min = 1, max = limits::HEADER_LENGTH)),
        transform = rules::header_names
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub headers: Vec<String>,
    /// Answer headers that scripts may read, beside the challenge of a refusal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::CORS_HEADERS),
        inner(length(min = 1, max = limits::HEADER_LENGTH)),
        transform = rules::header_names
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub expose: Vec<String>,
    /// Whether browsers may send cookies and the like. Tokens do not need it.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight, such as 10m, which it is when left out; in whole seconds. At
    /// most 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration(Duration::ZERO, limits::CORS_MAX_AGE))]
    pub max_age: Option<String>,
}

const ONLY_WITH_HANDLE: &str = "self.mode == 'Handle' || !(has(self.origins) || has(self.methods) || \
    has(self.headers) || has(self.expose) || has(self.maxAge) || self.credentials)";

/// Who answers the preflight requests of browsers.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CorsMode {
    #[default]
    Refuse,
    Handle,
    PassPreflight,
}

/// Bounds of requests.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The longest body of a request, such as 10Mi; a longer one gets 413. When left out, as long as the app takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::size)]
    pub max_body_size: Option<Quantity>,
}
