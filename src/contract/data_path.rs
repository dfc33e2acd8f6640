//! The part of the configuration that is about the way of requests and answers, not about tokens: the app, TLS, paths,
//! streams, browsers, and what is seen of it all.

use serde::{Deserialize, Serialize};

/// Where the app listens and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamConfig {
    /// TCP port.
    pub port: u16,
    /// On which of the pod's addresses.
    #[serde(default)]
    pub address: UpstreamAddress,
    /// What it speaks.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// TLS towards the app; absent = plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Claims handed to the app as headers, beside `X-Tollgate-*`. Names are lower case and unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim_headers: Vec<ClaimHeader>,
    /// Whether the app gets the caller's `Authorization` (and `DPoP`).
    #[serde(default)]
    pub authorization: AuthorizationHeader,
    /// How long to wait for it.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
}

impl UpstreamConfig {
    /// An app with the defaults of the resource: HTTP/1.1 on loopback.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            port,
            address: UpstreamAddress::default(),
            protocol: UpstreamProtocol::default(),
            tls: None,
            claim_headers: Vec::new(),
            authorization: AuthorizationHeader::default(),
            timeouts: UpstreamTimeouts::default(),
        }
    }
}

/// Where in the pod the app listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamAddress {
    /// 127.0.0.1, which also reaches an app that listens on all addresses.
    #[default]
    Loopback,
    /// The pod's own address, from the environment variable [`crate::names::POD_IP_ENV`].
    Pod,
}

/// What the app speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http1,
    /// HTTP/2 by prior knowledge, or by ALPN where there is TLS (RFC 9113): what gRPC needs.
    H2c,
}

/// TLS towards the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that the app's certificate must have.
    pub server_name: String,
    /// A PEM file with the CA certificates that alone are trusted; absent = public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// A claim that the app gets as a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimHeader {
    /// The member of the claims, and members of members, outermost first.
    pub claim: Vec<String>,
    /// The header's name in lower case.
    pub header: String,
    /// How an array is written.
    #[serde(default)]
    pub arrays: ArrayForm,
}

/// How a claim that is an array is written into a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArrayForm {
    /// As JSON, in ASCII.
    #[default]
    Json,
    /// Strings joined by commas; an element with a comma in it makes the request one that cannot be forwarded.
    Comma,
}

/// What becomes of the caller's credentials behind the check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizationHeader {
    /// The app gets them.
    #[default]
    Forward,
    /// The app does not; on public routes too.
    Strip,
}

/// How long to wait for the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// For a connection, TLS included, in milliseconds.
    pub connect_millis: u64,
    /// From the end of a request's body to the head of the answer, in milliseconds; not for gRPC.
    pub response_header_millis: u64,
    /// Without a byte in either direction of a body or a tunnel, in milliseconds.
    pub idle_millis: u64,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect_millis: 1_000, response_header_millis: 60_000, idle_millis: 300_000 }
    }
}

/// Which spellings of a path are taken beside the plain one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathsConfig {
    /// `%2F`.
    #[serde(default)]
    pub encoded_slash: OddSlash,
    /// `//`.
    #[serde(default)]
    pub double_slash: OddSlash,
    /// True: `/Items` is another path than `/items` to the app, so no rule for one catches the other.
    #[serde(default)]
    pub case_sensitive: bool,
}

/// What becomes of a path with a slash that some read in another way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OddSlash {
    /// 400.
    #[default]
    Reject,
    /// Passed on as it came; rules with scopes or `Denied` catch both readings.
    Keep,
}

/// Exchanges that may outlive their token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamsConfig {
    /// What becomes of them when the token expires.
    #[serde(default)]
    pub at_expiry: AtExpiry,
    /// Where a WebSocket's token may stand.
    #[serde(default)]
    pub web_socket_token: WebSocketToken,
}

/// What becomes of a stream whose token expires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum AtExpiry {
    /// It ends.
    #[default]
    Close,
    /// It goes on, at most for so long after its start.
    Keep {
        /// In milliseconds.
        max_duration_millis: u64,
    },
}

/// Where a WebSocket's token may stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebSocketToken {
    /// In `Authorization`, as with every request.
    #[default]
    Header,
    /// Also in `Sec-WebSocket-Protocol`, as browsers can set no other header:
    /// `base64url.bearer.authorization.tollgate.dev.<base64url of the token>`, which the app never sees.
    Subprotocol,
}

impl WebSocketToken {
    /// Whether a token is looked for among the subprotocols.
    #[must_use]
    pub fn may_be_subprotocol(self) -> bool {
        self == Self::Subprotocol
    }
}

/// Scripts of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum CorsConfig {
    /// A preflight is a request like others, so it needs a token, which no browser sends: scripts are kept out.
    #[default]
    Off,
    /// Preflights go to the app unasked; it answers for itself, and our own refusals may be read by whoever it let in.
    PassPreflight,
    /// Answered here, whatever the app says.
    Handle {
        /// Origins, as browsers send them; a single `*` = all, which excludes credentials.
        origins: Vec<String>,
        /// Methods that a preflight may ask for; empty = those of the routes that match the path.
        methods: Vec<String>,
        /// Headers that a preflight may ask for, lower case, beside `authorization`, `dpop` and `content-type`.
        headers: Vec<String>,
        /// Headers that scripts may read, beside the challenge.
        expose: Vec<String>,
        /// Whether cookies and the like may come along.
        credentials: bool,
        /// How long a preflight's answer is good, in seconds.
        max_age_seconds: u64,
    },
}

/// TLS on the proxy port. Files are read anew when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// Folder with `tls.crt` (PEM, leaf first) and `tls.key`.
    pub dir: String,
    /// Certificates of callers; absent = not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

/// Certificates of callers (RFC 8705).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificates {
    /// A PEM file with the CAs that they must come from.
    pub ca_file: String,
    /// True: no connection without one.
    pub required: bool,
}

/// The access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLogConfig {
    /// False: no lines.
    pub enabled: bool,
    /// One of so many answered requests leaves a line; refused and failed ones always do. At least 1.
    pub one_in: u32,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { enabled: true, one_in: 1 }
    }
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TracingConfig {
    /// An OTLP receiver over HTTP, such as `http://collector.observability:4318`; `/v1/traces` follows after it.
    pub endpoint: String,
    /// Of traces that begin here so many in a million are kept; a caller's decision is followed.
    pub sample_per_million: u32,
}
