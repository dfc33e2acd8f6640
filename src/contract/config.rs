//! The sidecar's configuration as it stands in the mounted file. Unknown fields are refused: a sidecar never runs a
//! policy that it understands only in part.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data_path::{
    AccessLogConfig, CorsConfig, PathsConfig, StreamsConfig, TlsConfig, TracingConfig, UpstreamConfig,
};

/// Everything that the sidecar enforces. Rendered by the operator from a validated resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SidecarConfig {
    /// Namespace of the `OktaProtectedApi`.
    pub namespace: String,
    /// Name of the `OktaProtectedApi`; also the challenge's realm.
    pub name: String,
    /// The issuers whose tokens may pass; 1 to 8, unique names, unique URLs.
    pub issuers: Vec<IssuerConfig>,
    /// What holds for a path that no route names.
    pub default_access: DefaultAccess,
    /// At most 64.
    pub routes: Vec<RouteConfig>,
    /// `POST <path>` for callers; absent = off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_broker: Option<BrokerConfig>,
    /// How callers reach the API: `https://host[:port][/path]` without a trailing slash. The one source of URLs in DPoP
    /// proofs (RFC 9449) and of protected-resource metadata (RFC 9728); the request's `Host` never is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_urls: Vec<String>,
    /// Peers whose `X-Forwarded-For` says who the caller is, as CIDRs; nobody else's is believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// The app.
    pub upstream: UpstreamConfig,
    /// Which spellings of a path are taken.
    #[serde(default)]
    pub paths: PathsConfig,
    /// WebSockets, server-sent events and gRPC streams.
    #[serde(default)]
    pub streams: StreamsConfig,
    /// Scripts of other origins in browsers.
    #[serde(default)]
    pub cors: CorsConfig,
    /// TLS on the proxy port; absent = plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// The longest request body, in bytes; absent = as long as the app takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// The line that each request leaves on standard output.
    #[serde(default)]
    pub access_log: AccessLogConfig,
    /// Where spans go; absent = nowhere. Trace context is passed on either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingConfig>,
    /// Verbosity of the sidecar's own log.
    pub log_level: LogLevel,
}

/// One authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerConfig {
    /// Name within the resource.
    pub name: String,
    /// The exact `iss` value; endpoints are found by discovery (RFC 8414, OpenID Connect).
    pub url: String,
    /// A token must name at least one of these in `aud`, byte for byte.
    pub audiences: Vec<String>,
    /// How a token is judged.
    pub validation: ValidationMode,
    /// This API's own client at the issuer; needed for introspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientConfig>,
    /// Introspection settings (also present, with defaults, where it is not used).
    pub introspection: IntrospectionConfig,
    /// Tolerated clock difference in seconds for `exp`, `nbf` and `iat`.
    pub clock_skew_seconds: u64,
    /// A PEM file with extra CA certificates to trust for this issuer; absent = public roots only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Signature algorithms that are accepted; a token's header never adds one.
    #[serde(default = "rs256_only")]
    pub algorithms: Vec<Algorithm>,
    /// What its access tokens look like.
    #[serde(default)]
    pub token_profile: TokenProfile,
    /// A token whose `exp` lies further than this behind its `iat` is refused, in seconds.
    #[serde(default = "one_day")]
    pub max_token_lifetime_seconds: u64,
    /// Whether tokens that are bound to a key (RFC 9449) may or must be used.
    #[serde(default)]
    pub dpop: DpopMode,
    /// Whether DPoP proofs must carry a nonce of ours (RFC 9449 section 9).
    #[serde(default)]
    pub dpop_nonce: DpopNonce,
    /// Endpoints that are not to be found by discovery.
    #[serde(default, skip_serializing_if = "EndpointsConfig::is_empty")]
    pub endpoints: EndpointsConfig,
    /// True lets `http://` endpoints be used (the operator's `--allow-insecure-issuers`; never a field of the resource).
    #[serde(default)]
    pub allow_http: bool,
}

impl IssuerConfig {
    /// An issuer with the defaults of the resource: local checks of RS256 tokens, a minute of clock skew.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>, audiences: Vec<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            audiences,
            validation: ValidationMode::Local,
            client: None,
            introspection: IntrospectionConfig::default(),
            clock_skew_seconds: 60,
            ca_file: None,
            algorithms: rs256_only(),
            token_profile: TokenProfile::default(),
            max_token_lifetime_seconds: one_day(),
            dpop: DpopMode::default(),
            dpop_nonce: DpopNonce::default(),
            endpoints: EndpointsConfig::default(),
            allow_http: false,
        }
    }
}

fn rs256_only() -> Vec<Algorithm> {
    vec![Algorithm::Rs256]
}

/// Okta's access tokens live a day at most.
fn one_day() -> u64 {
    24 * 60 * 60
}

/// JWS signature algorithms (RFC 7518 section 3.1, RFC 8037). There is no symmetric one, and no `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: what Okta signs with.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The `alg` of RFC 7518.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this exact name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// What an issuer's access tokens look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenProfile {
    /// Okta's: `typ` absent, `JWT` or `at+jwt`; `exp`, `iss` and `aud` required.
    #[default]
    Okta,
    /// RFC 9068 to the letter: `typ` `at+jwt`, and `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti` required.
    Rfc9068,
}

/// Whether DPoP-bound tokens (RFC 9449) are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DpopMode {
    /// A bound token is refused.
    #[default]
    Refuse,
    /// Bound tokens with their proof, and unbound bearer tokens.
    Accept,
    /// Bound tokens with their proof only.
    Require,
}

/// Whether DPoP proofs must carry a server nonce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DpopNonce {
    /// No: a proof could be replayed once on each other pod within its time window.
    #[default]
    None,
    /// Yes, and each pod takes its own only.
    PerPod,
}

/// Endpoints of an issuer that are given, not discovered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointsConfig {
    /// Where the key set is (RFC 8414 `jwks_uri`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Where tokens are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where tokens are introspected (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<String>,
}

impl EndpointsConfig {
    /// Whether all are discovered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How access tokens of one issuer are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValidationMode {
    /// Signature and claims against the issuer's published keys.
    Local,
    /// RFC 7662: the issuer is asked (answers cached).
    Introspection,
    /// Both must agree.
    LocalAndIntrospection,
}

impl ValidationMode {
    /// Whether the issuer's keys are needed for a verdict.
    #[must_use]
    pub fn checks_locally(self) -> bool {
        matches!(self, Self::Local | Self::LocalAndIntrospection)
    }

    /// Whether the issuer is asked.
    #[must_use]
    pub fn introspects(self) -> bool {
        matches!(self, Self::Introspection | Self::LocalAndIntrospection)
    }
}

/// Where the API's own client credentials are mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientConfig {
    /// Folder with the files `clientId`, `clientSecret` and, during a rotation, `previousClientSecret`.
    pub credentials_dir: String,
    /// How the client authenticates at the issuer.
    pub auth_method: ClientAuthMethod,
}

/// OAuth 2.0 client authentication (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuthMethod {
    /// `Authorization: Basic`.
    ClientSecretBasic,
    /// `client_id` and `client_secret` in the form.
    ClientSecretPost,
}

/// Introspection settings of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// How long an answer is fresh, in milliseconds; never past the token's `exp`. 0 = ask each time.
    pub cache_millis: u64,
    /// How much longer an answer may serve while the issuer limits our calls, in milliseconds; never past `exp`.
    #[serde(default)]
    pub max_stale_millis: u64,
    /// What holds while the issuer cannot be asked.
    #[serde(default)]
    pub on_outage: OnOutage,
}

impl Default for IntrospectionConfig {
    fn default() -> Self {
        Self { cache_millis: 60_000, max_stale_millis: 60_000, on_outage: OnOutage::Reject }
    }
}

/// What becomes of tokens that the issuer cannot be asked about: connection, TLS, time-out or 5xx, never a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum OnOutage {
    /// 503: they were not judged.
    #[default]
    Reject,
    /// A token that is locally sound and not known to be revoked passes, for so long after the last good answer.
    AcceptLocallyValid {
        /// In milliseconds.
        max_duration_millis: u64,
    },
}

/// Access to a path that no route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultAccess {
    /// Any valid token.
    Authenticated,
    /// Nobody.
    Denied,
}

/// One rule. A path is chosen first (the most specific match), then the method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteConfig {
    /// Unique within the resource; shows in the access log and as a metric label.
    pub name: String,
    /// Which paths.
    pub path: PathMatch,
    /// Which methods; empty = all. `GET` includes `HEAD`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Who gets in.
    pub access: Access,
    /// Scopes that a token must carry.
    #[serde(default)]
    pub scopes: ScopesConfig,
    /// Names of the issuers whose tokens may pass; empty = any of the policy's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// A CEL expression over `claims` and `request` that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// A path rule; both kinds start with `/` and hold no `..`, `//` or `%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// This path alone.
    Exact(String),
    /// This path and everything below it; ends at a segment border.
    Prefix(String),
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// No token needed, none looked at.
    Public,
    /// A valid token with the scopes.
    Authenticated,
    /// Nobody.
    Denied,
}

/// Scopes of a route; both parts must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopesConfig {
    /// Every one of these.
    #[serde(default)]
    pub all_of: Vec<String>,
    /// At least one of these, when not empty.
    #[serde(default)]
    pub any_of: Vec<String>,
}

/// The token broker for callers (`POST <path>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerConfig {
    /// Exact path.
    pub path: String,
    /// Name of the issuer that the caller's credentials go to.
    pub issuer: String,
    /// Asked for when the caller names none.
    pub default_scopes: Vec<String>,
    /// What a caller may ask for; holds every default.
    pub allowed_scopes: Vec<String>,
    /// Also take Swagger UI's password form with blank user name and password.
    pub swagger_form: bool,
}

/// Verbosity of the sidecar's own log (the access log is apart).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what may need a person.
    Warn,
    /// And life-cycle events.
    Info,
    /// And one line for each decision.
    Debug,
}

/// Identifies a policy: SHA-256 of the configuration file's bytes, the first 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyHash(String);

impl PolicyHash {
    /// The hash of a configuration file's bytes.
    #[must_use]
    pub fn of(file: &[u8]) -> Self {
        let digest = Sha256::digest(file);
        Self(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SidecarConfig {
    /// The file's text: fields in a fixed order, so that equal policies have equal hashes.
    ///
    /// # Errors
    /// Never in practice: every field serializes.
    pub fn to_file(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// Malformed JSON, a missing field or one that this version does not know.
    pub fn from_file(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
