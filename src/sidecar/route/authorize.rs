//! Whether a valid token is enough for the rules that govern a request: its issuer, its scopes, its claims, in this
//! order. Every rule of the verdict counts, those of looser readings of the path included. Pure; evaluated on each
//! request, never remembered.

use http::{HeaderMap, HeaderName, Method};
use tollgate_rules::{EvaluationError, Inputs};

use super::{RouteTable, Rule, Verdict};
use crate::identity::Identity;
use crate::path::CleanPath;

/// What a rule may look at beside the claims.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a CleanPath<'a>,
    /// Its headers, as the app gets them.
    pub headers: &'a HeaderMap,
}

/// Why a valid token is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized<'a> {
    /// A rule takes tokens of other issuers only.
    Issuer,
    /// The scopes of a rule that is not satisfied, as the challenge's `scope` attribute (RFC 6750 section 3).
    Scopes(&'a str),
    /// A rule on claims does not hold, or could not be evaluated.
    Claims(Option<EvaluationError>),
}

impl RouteTable {
    /// Whether a valid token satisfies every rule of the verdict.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn authorize(&self, verdict: &Verdict, identity: &Identity, asked: Asked<'_>) -> Result<(), Unauthorized<'_>> {
        if verdict.asking == 0 {
            return Ok(());
        }
        if !self.asking(verdict).all(|rule| rule.takes_issuer(&identity.issuer)) {
            return Err(Unauthorized::Issuer);
        }
        if let Some(rule) = self.asking(verdict).find(|rule| !rule.takes_scopes_of(identity)) {
            return Err(Unauthorized::Scopes(&rule.challenge));
        }
        self.asking(verdict).filter_map(|rule| rule.when.as_ref()).try_for_each(|when| evaluate(when, identity, asked))
    }

    /// The headers that the rules of the verdict look at.
    pub fn headers_read(&self, verdict: &Verdict) -> impl Iterator<Item = &HeaderName> + Clone {
        self.asking(verdict).filter_map(|rule| rule.when.as_ref()).flat_map(|when| when.headers())
    }

    /// Whether some rule looks at claims, so that they must be kept with an identity.
    #[must_use]
    pub fn reads_claims(&self) -> bool {
        self.rules.iter().any(|rule| rule.when.is_some())
    }

    fn asking(&self, verdict: &Verdict) -> impl Iterator<Item = &Rule> + Clone {
        let mut left = verdict.asking;
        std::iter::from_fn(move || {
            let id = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            self.rules.get(id)
        })
    }
}

impl Rule {
    /// Whether it asks more of a token than that it is valid.
    pub(super) fn asks_more(&self) -> bool {
        !self.challenge.is_empty() || !self.issuers.is_empty() || self.when.is_some()
    }

    fn takes_issuer(&self, name: &str) -> bool {
        self.issuers.is_empty() || self.issuers.iter().any(|issuer| **issuer == *name)
    }

    fn takes_scopes_of(&self, identity: &Identity) -> bool {
        let mut all_of = self.all_of.iter();
        let mut any_of = self.any_of.iter();
        all_of.all(|scope| identity.has_scope(scope))
            && (self.any_of.is_empty() || any_of.any(|scope| identity.has_scope(scope)))
    }
}

fn evaluate(when: &tollgate_rules::Rule, identity: &Identity, asked: Asked<'_>) -> Result<(), Unauthorized<'static>> {
    // Without claims, or with a path that is no text, there is nothing that a rule could be true of.
    let (Some(claims), Some(path)) = (&identity.claims, asked.path.decoded()) else {
        return Err(Unauthorized::Claims(None));
    };
    let (method, headers, client) = (asked.method.as_str(), asked.headers, identity.client_id());
    let holds_of = |path: &str| match when.holds(&Inputs { claims, method, path, headers, client }) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unauthorized::Claims(None)),
        Err(error) => Err(Unauthorized::Claims(Some(error))),
    };
    holds_of(&path)?;
    // It has to be true of the path in whatever way the app cuts it.
    asked.path.decoded_otherwise().iter().try_for_each(|path| holds_of(path))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;
    use serde_json::{Value, json};
    use tollgate_contract::{Access, DefaultAccess, PathMatch, RouteConfig, ScopesConfig};

    use super::*;

    fn route(path: &str, issuers: &[&str], scope: &str, when: Option<&str>) -> RouteConfig {
        RouteConfig {
            name: format!("route{path}"),
            path: PathMatch::Prefix(path.to_owned()),
            methods: Vec::new(),
            access: Access::Authenticated,
            scopes: ScopesConfig { all_of: vec![scope.to_owned()], any_of: Vec::new() },
            issuers: issuers.iter().map(|name| (*name).to_owned()).collect(),
            when: when.map(str::to_owned),
        }
    }

    fn identity(issuer: &str, scope: &str, claims: &Value) -> Identity {
        let mut identity = Identity::blank().with_scopes(&[scope]);
        identity.issuer = issuer.into();
        identity.claims = claims.as_object().map(|claims| Arc::new(claims.clone()));
        identity.headers.client_id = Some(HeaderValue::from_static("cli-1"));
        identity
    }

    fn outcome(routes: &[RouteConfig], path: &str, identity: &Identity) -> Result<(), String> {
        let table = RouteTable::new(routes, DefaultAccess::Authenticated, false).unwrap();
        let path = CleanPath::parse(path).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", HeaderValue::from_static("blue"));
        let verdict = table.judge(&path, &Method::GET);
        let asked = Asked { method: &Method::GET, path: &path, headers: &headers };
        table.authorize(&verdict, identity, asked).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn the_issuer_comes_first_then_the_scopes_then_the_claims() {
        let routes = [route("/r", &["okta", "partner"], "s", Some("claims.dept == 'x'"))];
        let outcome = |issuer, scope, dept| outcome(&routes, "/r/1", &identity(issuer, scope, &json!({"dept": dept})));
        assert_eq!(outcome("okta", "s", "x"), Ok(()));
        assert_eq!(outcome("partner", "s", "x"), Ok(()));
        assert_eq!(outcome("okta", "s", "y"), Err("Claims(None)".into()));
        assert_eq!(outcome("okta", "t", "y"), Err("Scopes(\"s\")".into()));
        assert_eq!(outcome("other", "t", "y"), Err("Issuer".into()));
        assert_eq!(outcome("Okta", "s", "x"), Err("Issuer".into()));
    }

    #[test]
    fn what_a_rule_cannot_say_is_no() {
        let routes = [route("/r", &[], "s", Some("claims.dept == 'x'"))];
        for claims in [json!({}), json!(null)] {
            assert!(outcome(&routes, "/r", &identity("okta", "s", &claims)).is_err(), "{claims}");
        }
        let missing = outcome(&routes, "/r", &identity("okta", "s", &json!({})));
        assert_eq!(missing, Err("Claims(Some(Missing))".into()));
    }

    #[test]
    fn rules_of_every_reading_count() {
        let routes = [
            route("/Data", &["partner"], "s", None),
            route("/data", &["okta", "partner"], "s", Some("claims.dept == 'x'")),
        ];
        for path in ["/data/1", "/Data/1", "/data;x/1"] {
            let outcome = |issuer, dept| outcome(&routes, path, &identity(issuer, "s", &json!({"dept": dept})));
            assert_eq!(outcome("okta", "x"), Err("Issuer".into()), "{path}");
            assert_eq!(outcome("partner", "y"), Err("Claims(None)".into()), "{path}");
            assert_eq!(outcome("partner", "x"), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_rule_sees_the_request() {
        let seen = "request.method == 'GET' && request.path == '/r/Jörg x' && request.client == 'cli-1' \
                    && request.headers['x-tenant'] == 'blue'";
        let who = identity("okta", "s", &json!({}));
        assert_eq!(outcome(&[route("/r", &[], "s", Some(seen))], "/r/J%C3%B6rg%20x", &who), Ok(()));
        // A path that is no text compares with nothing.
        let any = [route("/r", &[], "s", Some("request.path != ''"))];
        assert_eq!(outcome(&any, "/r/%FF", &who), Err("Claims(None)".into()));
    }

    #[test]
    fn the_headers_read_are_those_of_every_reading() {
        let reads = |path, name: &str| route(path, &[], "s", Some(&format!("'{name}' in request.headers")));
        let routes = [reads("/Data", "a"), reads("/data", "b"), reads("/other", "c"), route("/plain", &[], "s", None)];
        let table = RouteTable::new(&routes, DefaultAccess::Authenticated, false).unwrap();
        for (path, expected) in [("/Data", &["a", "b"][..]), ("/other", &["c"]), ("/plain", &[]), ("/none", &[])] {
            let verdict = table.judge(&CleanPath::parse(path).unwrap(), &Method::GET);
            assert_eq!(table.headers_read(&verdict).collect::<Vec<_>>(), expected, "{path}");
        }
    }

    #[test]
    fn claims_are_kept_only_where_a_rule_reads_them() {
        let reads = |when| RouteTable::new(&[route("/r", &["okta"], "s", when)], DefaultAccess::Denied, false).unwrap();
        assert!(reads(Some("true")).reads_claims());
        assert!(!reads(None).reads_claims());
    }
}
