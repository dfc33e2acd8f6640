//! An authorization server as users write it, with the rules that make it one: what its URL may look like, and which
//! ways of validation go with it.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::introspection::Introspection;
use super::tokens::{Algorithm, DpopMode, DpopNonce, TokenProfile};
use super::{limits, rules, urls};

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
#[x_kube(validation = Rule::new(outage_of_an_org_server())
    .message(
        "the tokens of an Okta org authorization server cannot be checked locally: use policy: Reject, or the url of a \
         custom authorization server, such as https://acme.okta.com/oauth2/default",
    )
    .field_path(".introspection.onOutage.policy"))]
#[x_kube(validation = Rule::new("self.validation != 'Local' || self.introspection.onOutage.policy == 'Reject'")
    .message(
        "with validation: Local no token waits for Okta's word, so there is no outage to pass: leave onOutage out, or use \
         validation: LocalAndIntrospection",
    )
    .field_path(".introspection.onOutage.policy"))]
#[x_kube(validation = Rule::new("self.dpop != 'Refuse' || self.dpopNonce == 'None'")
    .message("a nonce is for DPoP proofs: set dpop to Accept or Require, or leave dpopNonce out")
    .field_path(".dpopNonce"))]
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
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration(Duration::ZERO, limits::CLOCK_SKEW))]
    pub clock_skew: String,
    /// Signature algorithms that are accepted: RS256, which Okta signs with, unless you name others. What a token says
    /// of itself never adds one.
    #[serde(default = "default_algorithms")]
    #[schemars(length(max = limits::ALGORITHMS))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = ("self.size() > 0", "name at least one algorithm, such as RS256"))]
    pub algorithms: Vec<Algorithm>,
    /// What access tokens look like. `Okta`: as Okta issues them. `Rfc9068`: RFC 9068 to the letter, with `typ` at+jwt and
    /// with iss, exp, aud, sub, client_id, iat and jti.
    #[serde(default)]
    pub token_profile: TokenProfile,
    /// The longest time from `iat` to `exp` that a token may have, such as 24h. From 1m to 168h.
    #[serde(default = "default_max_token_lifetime")]
    #[schemars(
        length(max = limits::DURATION_LENGTH),
        transform = rules::duration(limits::SHORTEST_TOKEN_LIFETIME, limits::TOKEN_LIFETIME)
    )]
    pub max_token_lifetime: String,
    /// Tokens that are bound to a key of the caller's (DPoP, RFC 9449). `Refuse`: they are refused. `Accept`: they pass with a
    /// proof, and bearer tokens pass too. `Require`: no other passes.
    #[serde(default)]
    pub dpop: DpopMode,
    /// `PerPod`: a DPoP proof must carry a nonce of the pod that it reaches, so it can never be sent a second time. `None`:
    /// each pod takes a proof once, within a minute.
    #[serde(default)]
    pub dpop_nonce: DpopNonce,
    /// Endpoints of the issuer that are not to be found by discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
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

/// Endpoints that are given; what is left out is found by discovery.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Where the issuer publishes its keys, such as https://acme.okta.com/oauth2/default/v1/keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::URL_LENGTH), transform = urls::endpoint)]
    pub jwks: Option<String>,
    /// Where tokens are asked for, such as https://acme.okta.com/oauth2/default/v1/token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::URL_LENGTH), transform = urls::endpoint)]
    pub token: Option<String>,
    /// Where tokens are introspected, such as https://acme.okta.com/oauth2/default/v1/introspect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::URL_LENGTH), transform = urls::endpoint)]
    pub introspection: Option<String>,
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
    format!("self.validation == 'Introspection' || !{}", is_an_org_server())
}

/// Any other validation on an org server is refused already.
fn outage_of_an_org_server() -> String {
    format!(
        "self.validation != 'Introspection' || self.introspection.onOutage.policy != 'AcceptLocallyValid' || !{}",
        is_an_org_server()
    )
}

fn is_an_org_server() -> String {
    let domains = okta_domains();
    format!(r"self.url.matches(r'^(?i)https?://[^/]+\.({domains})(:[0-9]+)?$')")
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

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::Rs256]
}

fn default_max_token_lifetime() -> String {
    "24h".to_owned()
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}
