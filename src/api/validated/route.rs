//! Which routes are sound, alone and together: no two may claim the same path and method. It matches no request.

use tollgate_contract::{Access, PathMatch, ScopesConfig};
use tollgate_rules::Rule;

use crate::conditions::reason;
use crate::types::{self, Method, limits};

use super::text::{check_path, check_scopes, check_unique, is_label};
use super::{Issuer, NotAccepted};

/// A sound route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// A DNS label, unique within the resource.
    pub name: String,
    /// Which paths; a prefix has no trailing slash unless it is `/`.
    pub path: PathMatch,
    /// Which methods, sorted; empty = all. `GET` includes `HEAD`.
    pub methods: Vec<Method>,
    /// Who gets in.
    pub access: Access,
    /// Scopes that a token must carry; empty unless access is Authenticated.
    pub scopes: ScopesConfig,
    /// Names of issuers of the resource; empty = any of them, and unless access is Authenticated.
    pub issuers: Vec<String>,
    /// A rule that compiles; none unless access is Authenticated.
    pub when: Option<String>,
}

/// The routes of a resource, each sound and all together.
pub(super) fn parse_all(routes: &[types::Route], issuers: &[Issuer]) -> Result<Vec<Route>, NotAccepted> {
    if routes.len() > limits::ROUTES {
        return Err(NotAccepted::invalid(format!("routes: at most {}", limits::ROUTES)));
    }
    let parsed = routes.iter().map(|route| parse(route, issuers)).collect::<Result<Vec<_>, _>>()?;
    for (index, route) in parsed.iter().enumerate() {
        for earlier in &parsed[..index] {
            if earlier.name == route.name {
                return Err(NotAccepted::invalid(format!("routes: two are named '{}'; rename one", route.name)));
            }
            if earlier.path == route.path && methods_overlap(&earlier.methods, &route.methods) {
                return Err(NotAccepted::invalid(format!(
                    "routes: '{}' and '{}' have the same path and a method in common; give each its own methods (none \
                     means all, GET includes HEAD)",
                    earlier.name, route.name
                )));
            }
        }
    }
    Ok(parsed)
}

fn parse(route: &types::Route, all_issuers: &[Issuer]) -> Result<Route, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::Route { name, matches: types::RouteMatch { path, methods }, access, scopes, issuers, when } = route;
    if !is_label(name, limits::ROUTE_NAME_LENGTH) {
        return Err(NotAccepted::invalid(format!(
            "routes: '{name}' is no name; use at most {} characters of a-z, 0-9 and -",
            limits::ROUTE_NAME_LENGTH
        )));
    }
    let access = Access::from(*access);
    let needs_a_token = [("scopes", scopes.is_some()), ("issuers", issuers.is_some()), ("when", when.is_some())];
    if let Some((member, _)) = needs_a_token.iter().find(|(_, set)| *set && access != Access::Authenticated) {
        return Err(NotAccepted::invalid(format!(
            "route {name}: {member}: only for access: Authenticated; a {access:?} route looks at no token"
        )));
    }
    if issuers.as_ref().is_some_and(Vec::is_empty) {
        return Err(NotAccepted::invalid(format!(
            "route {name}: issuers: name at least one issuer, or leave issuers out"
        )));
    }
    let issuers = issuers.clone().unwrap_or_default();
    check_issuers(name, &issuers, all_issuers)?;
    if let Some(when) = when {
        check_when(name, when)?;
    }
    if methods.as_ref().is_some_and(Vec::is_empty) {
        return Err(NotAccepted::invalid(format!(
            "route {name}: match.methods: name at least one method, or leave methods out for all of them"
        )));
    }
    let mut methods = methods.clone().unwrap_or_default();
    methods.sort_unstable();
    methods.dedup();
    Ok(Route {
        name: name.clone(),
        path: parse_path(name, path)?,
        methods,
        access,
        scopes: scopes.as_ref().map(|scopes| parse_scopes(name, scopes)).transpose()?.unwrap_or_default(),
        issuers,
        when: when.clone(),
    })
}

fn check_issuers(route: &str, names: &[String], issuers: &[Issuer]) -> Result<(), NotAccepted> {
    let unknown = names.iter().find(|name| issuers.iter().all(|issuer| issuer.name != **name));
    match unknown {
        Some(unknown) => Err(NotAccepted::invalid(format!(
            "route {route}: there is no issuer named '{unknown}'; write the name of one of the issuers, not its url"
        ))),
        None => check_unique(&format!("route {route}: issuers"), names),
    }
}

/// What the schema cannot see: whether the rule compiles.
fn check_when(route: &str, when: &str) -> Result<(), NotAccepted> {
    match Rule::compile(when) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(NotAccepted { reason: reason::INVALID_RULE, message: format!("route {route}: when: {error}") })
        }
    }
}

fn parse_path(route: &str, path: &types::RoutePath) -> Result<PathMatch, NotAccepted> {
    let field = format!("route {route}: match.path");
    match (&path.exact, &path.prefix) {
        (Some(exact), None) => {
            check_path(&field, exact)?;
            Ok(PathMatch::Exact(exact.clone()))
        }
        (None, Some(prefix)) => {
            check_path(&field, prefix)?;
            if prefix.len() > 1 && prefix.ends_with('/') {
                return Err(NotAccepted::invalid(format!(
                    "{field}: write the prefix '{prefix}' without its trailing slash; it covers that too"
                )));
            }
            Ok(PathMatch::Prefix(prefix.clone()))
        }
        _ => Err(NotAccepted::invalid(format!("{field}: set exactly one of exact and prefix"))),
    }
}

fn parse_scopes(route: &str, scopes: &types::Scopes) -> Result<ScopesConfig, NotAccepted> {
    let types::Scopes { all_of, any_of } = scopes;
    check_scopes(&format!("route {route}: scopes.allOf"), all_of)?;
    check_scopes(&format!("route {route}: scopes.anyOf"), any_of)?;
    if all_of.is_empty() && any_of.is_empty() {
        return Err(NotAccepted::invalid(format!(
            "route {route}: scopes: name some in allOf or anyOf, or leave scopes out"
        )));
    }
    Ok(ScopesConfig { all_of: all_of.clone(), any_of: any_of.clone() })
}

/// Both are sorted and unique.
fn methods_overlap(one: &[Method], other: &[Method]) -> bool {
    let covers = |methods: &[Method], method: Method| {
        methods.contains(&method) || (method == Method::Head && methods.contains(&Method::Get))
    };
    one.is_empty()
        || other.is_empty()
        || one.iter().any(|method| covers(other, *method))
        || other.iter().any(|method| covers(one, *method))
}
