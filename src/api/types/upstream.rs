//! The way from the sidecar to the app as users write it: port and protocol, TLS, what the app is told of the caller, and
//! how long it may take.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_contract::header_names::{MEANINGFUL, MEANINGFUL_PREFIXES};

use super::{CaBundle, limits, rules};

/// How the sidecar reaches the app.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// The port that the app listens on.
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = (
        "!(self in [8480, 8481, 8482])",
        "let the app listen on another port; 8480 to 8482 are the sidecar's"))]
    pub port: u16,
    /// Where in the pod the app listens. `Loopback`: on 127.0.0.1 or on every address. `Pod`: on the pod's own address
    /// alone.
    #[serde(default)]
    pub address: UpstreamAddress,
    /// What the app speaks. `Http1`: HTTP/1.1, and WebSocket over it. `H2c`: HTTP/2 without an upgrade, as gRPC needs it;
    /// with tls it is HTTP/2 over TLS.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// TLS towards the app. Plain when left out: the way is within the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Claims of the token that the app gets as headers, beside X-Tollgate-Subject, -Client-Id, -Scopes and -Issuer. What a
    /// caller sends under these names is removed, and a claim that is not there is no header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::CLAIM_HEADERS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["header".into()]))]
    #[x_kube(validation = (
        "self.all(one, self.exists_one(other, other.header.lowerAscii() == one.header.lowerAscii()))",
        "two claims have the same header, for case does not count: give each a header of its own"))]
    pub claim_headers: Vec<ClaimHeader>,
    /// What becomes of the caller's Authorization and DPoP headers. `Forward`: the app gets them. `Strip`: it does not, on
    /// public routes neither.
    #[serde(default)]
    pub authorization: AuthorizationHeader,
    /// How long the app may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
}

/// Where in the pod the app listens.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamAddress {
    #[default]
    Loopback,
    Pod,
}

/// What the app speaks.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    #[default]
    Http1,
    H2c,
}

/// TLS towards the app.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// The name that the app's certificate must have, such as items.internal.
    #[schemars(length(min = 1, max = limits::OBJECT_NAME_LENGTH), transform = rules::server_name)]
    pub server_name: String,
    /// The certificates that the app's must come from; these alone are trusted. The public ones when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}

/// A claim that the app gets as a header.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimHeader {
    /// The claim's name, such as email; a.b is the member b of the claim a. A dot that belongs to a name is written with a
    /// backslash before it, as in https://acme\.com/roles.
    #[schemars(length(min = 1, max = limits::CLAIM_LENGTH))]
    #[x_kube(validation = (
        r"self.matches(r'^([^.\\]|\\[.\\])+(\.([^.\\]|\\[.\\])+){0,7}$')",
        r"write a claim such as email, or a.b for the member b of a, 8 names at most; a dot within a name is \."))]
    pub claim: String,
    /// The header's name, such as X-User.
    #[schemars(length(min = 1, max = limits::HEADER_LENGTH), transform = claim_header)]
    pub header: String,
    /// How an array is written. `Json`: as JSON. `Comma`: strings with commas between them; a token with a comma within
    /// such a string is refused.
    #[serde(default)]
    pub arrays: ArrayForm,
}

/// How an array is written into a header.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArrayForm {
    #[default]
    Json,
    Comma,
}

/// What becomes of the caller's credentials.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizationHeader {
    #[default]
    Forward,
    Strip,
}

/// How long the app may take.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTimeouts {
    /// To take a connection, TLS included. From 10ms to 1m.
    #[serde(default = "default_connect")]
    #[schemars(
        length(max = limits::DURATION_LENGTH),
        transform = rules::duration(limits::SHORTEST_CONNECT, limits::CONNECT)
    )]
    pub connect: String,
    /// From the end of a request's body to the head of the answer; callers get 504 then. gRPC is not held to it: its
    /// callers set their own deadline. From 100ms to 24h.
    #[serde(default = "default_response_header")]
    #[schemars(
        length(max = limits::DURATION_LENGTH),
        transform = rules::duration(limits::SHORTEST_RESPONSE_HEADER, limits::RESPONSE_HEADER)
    )]
    pub response_header: String,
    /// Without a byte of a body, in either direction, after which an exchange is ended; so with a WebSocket. From 1s to
    /// 24h.
    #[serde(default = "default_idle")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration(limits::SHORTEST_IDLE, limits::IDLE))]
    pub idle: String,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: default_connect(), response_header: default_response_header(), idle: default_idle() }
    }
}

/// The name of a claim's header. A mistake that has a rule of its own is left to it.
fn claim_header(schema: &mut schemars::Schema) {
    let meaningful = format!("!self.matches('^(?i)(({})$|({}))')", MEANINGFUL.join("|"), MEANINGFUL_PREFIXES.join("|"));
    rules::add(
        schema,
        [
            (
                "self.matches('^[A-Za-z][-A-Za-z0-9]*$')",
                "write a header's name with letters, digits and -, such as X-User",
            ),
            (
                "!self.matches('^(?i)x-tollgate')",
                "headers that start with X-Tollgate are the sidecar's own: choose another name, such as X-User",
            ),
            (
                meaningful.as_str(),
                "this header means something to servers and proxies: choose another name, such as X-User",
            ),
        ],
    );
}

fn default_connect() -> String {
    "1s".to_owned()
}

fn default_response_header() -> String {
    "60s".to_owned()
}

fn default_idle() -> String {
    "5m".to_owned()
}
