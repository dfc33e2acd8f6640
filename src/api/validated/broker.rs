//! Which token broker for callers is sound: its path, its issuer and its scopes. It asks for no token.

use tollgate_contract::PathMatch;

use crate::types;

use super::text::{check_path, check_scopes};
use super::{Issuer, NotAccepted, Route};

/// A sound token broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broker {
    /// The exact path, in lower case; no route has the same.
    pub path: String,
    /// Name of one of the resource's issuers.
    pub issuer: String,
    /// Asked for when the caller names none; all allowed.
    pub default_scopes: Vec<String>,
    /// What a caller may ask for; at least one.
    pub allowed_scopes: Vec<String>,
    /// Whether Swagger UI's password form is taken.
    pub swagger_form: bool,
}

pub(super) fn parse(broker: &types::TokenBroker, issuers: &[Issuer]) -> Result<Broker, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::TokenBroker { path, issuer, default_scopes, allowed_scopes, swagger_form } = broker;
    check_path("tokenBroker.path", path)?;
    if path.ends_with('/') {
        return Err(NotAccepted::invalid("tokenBroker.path: leave out the trailing slash; name a path such as /token"));
    }
    if path.contains(|letter: char| letter.is_ascii_uppercase()) {
        return Err(NotAccepted::invalid("tokenBroker.path: write the path in lower case, such as /token"));
    }
    if !issuers.iter().any(|candidate| candidate.name == *issuer) {
        return Err(NotAccepted::invalid(format!("tokenBroker.issuer: '{issuer}' is not the name of an issuer above")));
    }
    check_scopes("tokenBroker.allowedScopes", allowed_scopes)?;
    check_scopes("tokenBroker.defaultScopes", default_scopes)?;
    if allowed_scopes.is_empty() {
        return Err(NotAccepted::invalid(
            "tokenBroker.allowedScopes: name at least one scope that callers may ask for",
        ));
    }
    if let Some(outside) = default_scopes.iter().find(|scope| !allowed_scopes.contains(scope)) {
        return Err(NotAccepted::invalid(format!(
            "tokenBroker.defaultScopes: '{outside}' is not among allowedScopes; add it there"
        )));
    }
    Ok(Broker {
        path: path.clone(),
        issuer: issuer.clone(),
        default_scopes: default_scopes.clone(),
        allowed_scopes: allowed_scopes.clone(),
        swagger_form: *swagger_form,
    })
}

/// The broker answers on its path alone, so a route of that path would never be used.
pub(super) fn check_against_routes(broker: &Broker, routes: &[Route]) -> Result<(), NotAccepted> {
    let same = |route: &&Route| match &route.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => *path == broker.path,
    };
    match routes.iter().find(same) {
        Some(route) => Err(NotAccepted::invalid(format!(
            "route {}: its path is tokenBroker.path, where the broker answers; move one of them",
            route.name
        ))),
        None => Ok(()),
    }
}
