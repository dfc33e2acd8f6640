//! An authorization server as users write it, with the rules that make it one: what its URL may look like, and which
//! ways of validation go with it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits, rules};

/// Domains under which an Okta organization lives. Its bare host is the org authorization server, whose access tokens
/// are opaque by Okta's word, whatever they look like; a custom authorization server has a path (`/oauth2/default`).
pub(crate) const OKTA_DOMAINS: [&str; 5] = ["okta.com", "oktapreview.com", "okta-emea.com", "okta-gov.com", "okta.mil"];

/// One authorization server.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.validation == 'Local' || has(self.client)")
    .message(
        "introspection needs this API's own Okta client: set client.secretRef to a Secret with clientId and \
         clientSecret",
    )
    .field_path(".client")
    .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new(not_an_org_server())
    .message(
        "the tokens of an Okta org authorization server are opaque: use validation: Introspection, or the url of a \
         custom authorization server, such as https://acme.okta.com/oauth2/default",
    )
    .field_path(".validation"))]
pub struct Issuer {
    /// A name of your choice: the token broker and messages call the issuer by it.
    #[schemars(length(min = 1, max = limits::ISSUER_NAME_LENGTH), transform = rules::label)]
    pub name: String,
    /// The issuer exactly as tokens carry it in `iss`, such as https://acme.okta.com/oauth2/default. Its endpoints are
    /// found from there.
    #[schemars(length(min = 1, max = limits::URL_LENGTH))]
    #[x_kube(validation = (
        "!self.matches('[{}<>$]')",
        "replace the placeholder by your Okta domain, such as acme.okta.com"))]
    #[x_kube(validation = ("self.matches('^https?://')", "start with https://"))]
    #[x_kube(validation = ("!self.matches('[?#]')", "leave out the query and the fragment"))]
    #[x_kube(validation = (
        "!self.endsWith('/')",
        "leave out the trailing slash; the iss of Okta's tokens has none"))]
    #[x_kube(validation = ("!self.matches('^https?://[^/]*@')", "leave out the user and password"))]
    #[x_kube(validation = (not_an_admin_host().as_str(), "leave out -admin; the admin console issues no tokens"))]
    #[x_kube(validation = (
        r"!self.matches(r'/\.well-known/|/v1/(authorize|introspect|keys|token)$')",
        "write the issuer, not one of its endpoints: leave out what follows from /.well-known/ or /v1/ on"))]
    #[x_kube(validation = (URL_SHAPE, "write a URL such as https://acme.okta.com/oauth2/default"))]
    pub url: String,
    /// A token must carry one of these in `aud`, compared byte for byte. The default authorization server of Okta
    /// uses api://default.
    #[schemars(length(max = limits::AUDIENCES), inner(length(min = 1, max = limits::AUDIENCE_LENGTH)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = (
        "self.size() > 0",
        "name at least one audience, such as api://default, or tokens for other APIs would pass"))]
    #[x_kube(validation = (
        r"self.all(audience, audience.matches(r'^\S([^\x00-\x1f\x7f]*\S)?$'))",
        "leave out white space around an audience"))]
    pub audiences: Vec<String>,
    /// How tokens are judged. `Local`: by signature and claims, against Okta's published keys. `Introspection`: Okta is
    /// asked, so a revoked token is refused once the cached answer is old. `LocalAndIntrospection`: both must agree.
    #[serde(default)]
    pub validation: ValidationMode,
    /// This API's own Okta client. Introspection needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// Settings for introspection.
    #[serde(default)]
    pub introspection: Introspection,
    /// Tolerated clock difference for `exp`, `nbf` and `iat`, such as 60s; at most 5m.
    #[serde(default = "default_clock_skew")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration_of_5m)]
    pub clock_skew: String,
    /// Certificates to trust for this issuer beside the public ones: for a private CA, or a proxy that inspects TLS.
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
    /// A Secret with the keys clientId and clientSecret and, while a rotation overlaps, previousClientSecret. The pods
    /// mount it; the operator never reads it.
    pub secret_ref: SecretRef,
    /// How the client authenticates at Okta.
    #[serde(default)]
    pub auth_method: AuthMethod,
}

/// Names a Secret in the resource's namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name, in the namespace of this resource.
    #[schemars(length(min = 1, max = limits::OBJECT_NAME_LENGTH), transform = rules::object_name)]
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
    /// How long Okta's answer is fresh, such as 60s; never past the token's expiry. A revoked token may pass this long;
    /// 0s asks Okta each time. At most 1h.
    #[serde(default = "default_introspection_cache")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration_of_1h)]
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
    /// A ConfigMap, in the namespace of this resource, that holds certificates in PEM form.
    pub config_map_ref: ConfigMapKeyRef,
}

/// Names a key of a ConfigMap.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// The ConfigMap's name, in the namespace of this resource.
    #[schemars(length(min = 1, max = limits::OBJECT_NAME_LENGTH), transform = rules::object_name)]
    pub name: String,
    /// The key that holds the certificates.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = limits::OBJECT_NAME_LENGTH))]
    #[x_kube(validation = (
        r"self.matches('^[-._a-zA-Z0-9]+$') && !(self in ['.', '..'])",
        "write the key's name: letters, digits, -, _ and ."))]
    pub key: String,
}

/// Nothing in a URL but what belongs there. The parts that have a rule of their own are left to it, so that one mistake
/// is one message.
const URL_SHAPE: &str = "!self.matches('^https?://') || self.matches('[{}<>$?#@]') || \
    self.matches(r'^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[!-\\[\\]-~]*)?$')";

fn not_an_org_server() -> String {
    let domains = okta_domains();
    format!(r"self.validation == 'Introspection' || !self.url.matches(r'^(?i)https?://[^/]+\.({domains})(:[0-9]+)?$')")
}

fn not_an_admin_host() -> String {
    let domains = okta_domains();
    format!(r"!self.matches(r'^(?i)https?://[^./]+-admin\.([^/]*\.)?({domains})(:|/|$)')")
}

/// The domains as alternatives of a regular expression.
fn okta_domains() -> String {
    OKTA_DOMAINS.map(|domain| domain.replace('.', r"\.")).join("|")
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
