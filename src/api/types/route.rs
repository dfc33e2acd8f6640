//! A route as users write it: a path, its methods, and who may use them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits, rules};

/// One rule for a path and its methods.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.access == 'Authenticated' || !has(self.scopes)")
    .message(
        "scopes need access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two",
    )
    .field_path(".scopes"))]
#[x_kube(validation = Rule::new("self.access == 'Authenticated' || !has(self.issuers)")
    .message(
        "issuers need access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two",
    )
    .field_path(".issuers"))]
#[x_kube(validation = Rule::new("self.access == 'Authenticated' || !has(self.when)")
    .message("when needs access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two")
    .field_path(".when"))]
pub struct Route {
    /// A name of your choice; it shows in logs and metrics.
    #[schemars(length(min = 1, max = limits::ROUTE_NAME_LENGTH), transform = rules::label)]
    pub name: String,
    /// Which requests the route is for.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// Who may use it. `Public`: everybody, no token is looked at. `Authenticated`: who has a valid token with the
    /// scopes. `Denied`: nobody.
    #[serde(default)]
    pub access: Access,
    /// Scopes that the token must carry; any valid token will do when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// Names of the issuers whose tokens may pass; those of all issuers when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // As long as a URL, so that who writes one by mistake is told by the rule that looks for the name.
    #[schemars(length(max = limits::ISSUERS), inner(length(min = 1, max = limits::URL_LENGTH)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = ("self.size() > 0", "name at least one issuer, or leave issuers out"))]
    pub issuers: Option<Vec<String>>,
    /// A condition in CEL that must be true beside the scopes, such as `'support' in claims.groups`
    /// (in YAML, put it in double quotes as a whole). It sees `claims`, the
    /// token's claims, and `request` with method, path, client and headers (without those that carry credentials). One that
    /// cannot be evaluated, such as for a claim that is not there, denies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::WHEN_LENGTH))]
    pub when: Option<String>,
}

/// Which requests a route is for.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// Which paths: exactly one of exact and prefix.
    pub path: RoutePath,
    /// Which methods; all when left out. GET includes HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = ("self.size() > 0", "name at least one method, or leave methods out for all of them"))]
    pub methods: Option<Vec<Method>>,
}

/// A path rule: exactly one member is set.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.exact) != has(self.prefix)", "set exactly one of exact and prefix"))]
pub struct RoutePath {
    /// This path alone, such as /openapi.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::PATH_LENGTH), transform = rules::exact_path)]
    pub exact: Option<String>,
    /// This path and everything below it: /items covers /items/42 but not /items-archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::PATH_LENGTH), transform = rules::prefix)]
    #[x_kube(validation = (
        "self == '/' || !self.endsWith('/')",
        "leave out the trailing slash; a prefix covers the path with it too"))]
    pub prefix: Option<String>,
}

/// HTTP methods that a route can name.
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
#[x_kube(validation = (
    "(has(self.allOf) && self.allOf.size() > 0) || (has(self.anyOf) && self.anyOf.size() > 0)",
    "name scopes in allOf or anyOf, or leave scopes out"))]
pub struct Scopes {
    /// The token must carry every one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::SCOPES),
        inner(length(min = 1, max = limits::SCOPE_LENGTH)),
        transform = rules::scopes
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub all_of: Vec<String>,
    /// The token must carry at least one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::SCOPES),
        inner(length(min = 1, max = limits::SCOPE_LENGTH)),
        transform = rules::scopes
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub any_of: Vec<String>,
}
