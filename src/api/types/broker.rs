//! The token endpoint for callers as users write it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{limits, rules};

/// The token endpoint for callers.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(DEFAULTS_ARE_ALLOWED)
    .message(Message::Expression(SCOPE_IS_NOT_ALLOWED.into()))
    .field_path(".defaultScopes"))]
pub struct TokenBroker {
    /// The path that takes the token request; no route may have the same.
    #[serde(default = "default_broker_path")]
    #[schemars(length(max = limits::PATH_LENGTH), transform = rules::broker_path)]
    #[x_kube(validation = ("!self.endsWith('/')", "leave out the trailing slash; name a path such as /token"))]
    #[x_kube(validation = ("!self.matches('[A-Z]')", "write the path in lower case, such as /token"))]
    pub path: String,
    /// The issuer, by its name above, that callers' credentials are sent to.
    // As long as a URL, so that who writes one by mistake is told by the rule that looks for the name.
    #[schemars(length(min = 1, max = limits::URL_LENGTH))]
    pub issuer: String,
    /// Scopes to ask for when the caller names none; each must be allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::SCOPES), inner(length(min = 1, max = limits::SCOPE_LENGTH)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub default_scopes: Vec<String>,
    /// Scopes that a caller may ask for; others are refused without asking Okta.
    #[schemars(
        length(max = limits::SCOPES),
        inner(length(min = 1, max = limits::SCOPE_LENGTH)),
        transform = rules::scopes
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = ("self.size() > 0", "name at least one scope that callers may ask for"))]
    pub allowed_scopes: Vec<String>,
    /// Also take the form of Swagger UI's Authorize dialog, with client id and secret and with blank user name and
    /// password.
    #[serde(default)]
    pub swagger_form: bool,
}

const DEFAULTS_ARE_ALLOWED: &str =
    "!has(self.defaultScopes) || self.defaultScopes.all(scope, scope in self.allowedScopes)";

/// Names the first scope that the rule above is about.
const SCOPE_IS_NOT_ALLOWED: &str = r#""'" + self.defaultScopes.filter(scope, !(scope in self.allowedScopes))[0] + "' is not allowed: name it in allowedScopes too, or leave it out""#;

fn default_broker_path() -> String {
    "/token".to_owned()
}
