//! Rules of routes and of the token broker.

use serde_json::{Value, json};

use super::case::{Case, case, set};

pub(super) fn cases() -> Vec<Case> {
    [route_cases(), token_rule_cases(), path_cases(), scope_cases(), broker_cases()].concat()
}

fn route_cases() -> Vec<Case> {
    const OVERLAP: &str = "routes 'items-read' and 'items-write' have the same path and a method in common: give each its \
        own methods (none means all, GET includes HEAD)";
    const EXACTLY_ONE: &str = "set exactly one of exact and prefix";
    let first = |member: &str, value: Value| set(&format!("/spec/routes/0/{member}"), value);
    let second = |member: &str, value: Value| set(&format!("/spec/routes/1/{member}"), value);
    let mut cases = vec![
        case(
            "neither exact nor prefix",
            &[first("match/path", json!({}))],
            "spec.routes[0].match.path",
            EXACTLY_ONE,
            &[first("match/path", json!({"exact": "/items"}))],
        ),
        case(
            "both exact and prefix",
            &[first("match/path/exact", json!("/items"))],
            "spec.routes[0].match.path",
            EXACTLY_ONE,
            &[first("match/path/prefix", Value::Null)],
        ),
        case(
            "issuers of an empty list, which would mean all of them",
            &[first("issuers", json!([]))],
            "spec.routes[0].issuers",
            "name at least one issuer, or leave issuers out",
            &[first("issuers", Value::Null)],
        ),
        case(
            "methods of an empty list, which would mean all of them",
            &[first("match/methods", json!([]))],
            "spec.routes[0].match.methods",
            "name at least one method, or leave methods out for all of them",
            &[first("match/methods", json!(["GET"]))],
        ),
        case(
            "scopes that name none",
            &[first("scopes", json!({}))],
            "spec.routes[0].scopes",
            "name scopes in allOf or anyOf, or leave scopes out",
            &[first("scopes", Value::Null)],
        ),
        case(
            "scopes of empty lists",
            &[first("scopes", json!({"allOf": [], "anyOf": []}))],
            "spec.routes[0].scopes",
            "name scopes in allOf or anyOf, or leave scopes out",
            &[first("scopes/anyOf", json!(["items"]))],
        ),
        case(
            "a prefix with a trailing slash",
            &[first("match/path/prefix", json!("/items/"))],
            "spec.routes[0].match.path.prefix",
            "leave out the trailing slash; a prefix covers the path with it too",
            &[first("match/path/prefix", json!("/"))],
        ),
        case(
            "two routes of one exact path",
            &[
                first("match", json!({"path": {"exact": "/items"}})),
                second("match", json!({"path": {"exact": "/items"}})),
            ],
            "spec.routes",
            OVERLAP,
            &[second("match", json!({"path": {"prefix": "/items"}}))],
        ),
        case(
            "two routes of one path, exact with and without a slash at the end",
            &[
                first("match", json!({"path": {"exact": "/items/"}})),
                second("match", json!({"path": {"exact": "/items/"}})),
            ],
            "spec.routes",
            OVERLAP,
            &[second("match", json!({"path": {"exact": "/items"}}))],
        ),
    ];
    let methods = |one: Value, other: Value| [first("match/methods", one), second("match/methods", other)];
    for (one, other, mended) in [
        (json!(["GET"]), json!(["POST", "GET"]), json!(["POST"])),
        (json!(["GET"]), json!(["HEAD"]), json!(["OPTIONS"])),
        (json!(["HEAD", "PUT"]), json!(["GET"]), json!(["DELETE"])),
        (Value::Null, json!(["GET"]), Value::Null),
        (json!(["GET"]), Value::Null, json!(["PATCH"])),
        (Value::Null, Value::Null, Value::Null),
    ] {
        let mut repair = vec![second("match/methods", mended.clone())];
        if mended.is_null() {
            repair.push(second("match/path/prefix", json!("/others")));
        }
        let broken = format!("{one} and {other} on one path");
        cases.push(case(&broken, &methods(one, other), "spec.routes", OVERLAP, &repair));
    }
    cases
}

/// What only a route that looks at tokens may have.
fn token_rule_cases() -> Vec<Case> {
    const SCOPES: &str =
        "scopes need access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two";
    const ISSUERS: &str =
        "issuers need access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two";
    const WHEN: &str =
        "when needs access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two";
    let third = |member: &str, value: Value| set(&format!("/spec/routes/2/{member}"), value);
    let issuers = |names: Value| set("/spec/routes/0/issuers", names);
    let mut cases = vec![
        case(
            "a route's issuer that does not exist",
            &[issuers(json!(["okta", "octa"]))],
            "spec.routes",
            "route 'items-read': there is no issuer named 'octa': write the name of one of the issuers, not its url",
            &[issuers(json!(["okta"]))],
        ),
        case(
            "a route's issuer by its url",
            &[issuers(json!(["https://acme.okta.com/oauth2/default"]))],
            "spec.routes",
            "route 'items-read': there is no issuer named 'https://acme.okta.com/oauth2/default': write the name of one \
             of the issuers, not its url",
            &[issuers(json!(["okta"]))],
        ),
    ];
    for access in ["Public", "Denied"] {
        for (member, value, message) in [
            ("scopes", json!({"allOf": ["items"]}), SCOPES),
            ("issuers", json!(["okta"]), ISSUERS),
            ("when", json!("'support' in claims.groups"), WHEN),
        ] {
            cases.push(case(
                &format!("a {access} route with {member}"),
                &[third("access", json!(access)), third(member, value)],
                &format!("spec.routes[2].{member}"),
                message,
                &[third("access", json!("Authenticated"))],
            ));
        }
    }
    cases
}

/// The fields that hold a path, with what makes the example have one there.
fn path_cases() -> Vec<Case> {
    const START: &str = "start the path with /";
    const DOTS: &str = "leave out . and .. segments";
    const SLASHES: &str = "write one slash in place of //";
    const PREFIX: &str = "leave out the wildcard; a prefix covers everything below it (/items covers /items/42)";
    const EXACT: &str = "there are no wildcards; use prefix in place of exact, which covers everything below a path (/items \
        covers /items/42)";
    const BROKER: &str = "there are no wildcards; name one path, such as /token";
    const CHARACTERS: &str = r"leave out %, ;, \, ?, #, spaces and whatever else is not plain in a path";
    let bad = [
        ("items", START),
        ("/a/../b", DOTS),
        ("/..", DOTS),
        ("/./a", DOTS),
        ("/a/.", DOTS),
        ("/a//b", SLASHES),
        ("/a%2fb", CHARACTERS),
        ("/a;v=1", CHARACTERS),
        (r"/a\b", CHARACTERS),
        ("/a?b", CHARACTERS),
        ("/a#b", CHARACTERS),
        ("/a b", CHARACTERS),
        ("/a\tb", CHARACTERS),
        ("/a\n", CHARACTERS),
        ("/ä", CHARACTERS),
    ];
    [
        ("/spec/routes/0/match/path/prefix", "spec.routes[0].match.path.prefix", PREFIX),
        ("/spec/routes/2/match/path/exact", "spec.routes[2].match.path.exact", EXACT),
        ("/spec/tokenBroker/path", "spec.tokenBroker.path", BROKER),
    ]
    .into_iter()
    .flat_map(|(pointer, field, wildcard)| {
        let wildcards = [("/items/*", wildcard), ("/items/{id}", wildcard)];
        bad.into_iter().chain(wildcards).map(move |(path, message)| {
            let to = |path: &str| [set(pointer, json!(path))];
            case(&format!("{field} {path:?}"), &to(path), field, message, &to("/.well-known/a~b/(c)@d:e,f='g'"))
        })
    })
    .collect()
}

fn scope_cases() -> Vec<Case> {
    const SCOPE: &str = "write each scope as an item of its own, without spaces, quotes and backslashes (RFC 6749)";
    [
        ("/spec/routes/0/scopes/allOf", "spec.routes[0].scopes.allOf"),
        ("/spec/routes/1/scopes/anyOf", "spec.routes[1].scopes.anyOf"),
        ("/spec/tokenBroker/allowedScopes", "spec.tokenBroker.allowedScopes"),
    ]
    .into_iter()
    .flat_map(|(pointer, field)| {
        ["items items:write", "\"items\"", r"ACME\items", "ìtems", "items\n"].into_iter().map(move |bad| {
            // A default scope must be an allowed one.
            let without_defaults = set("/spec/tokenBroker/defaultScopes", Value::Null);
            let scope = |scope: &str| [set(pointer, json!([scope])), without_defaults.clone()];
            case(&format!("{field} {bad:?}"), &scope(bad), field, SCOPE, &scope("https://acme.com/items.read!"))
        })
    })
    .collect()
}

fn broker_cases() -> Vec<Case> {
    const TAKEN: &str = "the broker answers on this path, so no route may have it: remove the route or move the broker";
    let broker = |member: &str, value: Value| set(&format!("/spec/tokenBroker/{member}"), value);
    vec![
        case(
            "a broker issuer that does not exist",
            &[broker("issuer", json!("octa"))],
            "spec.tokenBroker.issuer",
            "there is no issuer named 'octa': write the name of one of the issuers, not its url",
            &[broker("issuer", json!("okta"))],
        ),
        case(
            "a default scope that is not allowed",
            &[broker("defaultScopes", json!(["items", "items:delete"]))],
            "spec.tokenBroker.defaultScopes",
            "'items:delete' is not allowed: name it in allowedScopes too, or leave it out",
            &[broker("allowedScopes", json!(["items", "items:delete"]))],
        ),
        case(
            "a broker without a scope",
            &[broker("allowedScopes", json!([])), broker("defaultScopes", Value::Null)],
            "spec.tokenBroker.allowedScopes",
            "name at least one scope that callers may ask for",
            &[broker("allowedScopes", json!(["items"]))],
        ),
        case(
            "a broker path with a trailing slash",
            &[broker("path", json!("/token/"))],
            "spec.tokenBroker.path",
            "leave out the trailing slash; name a path such as /token",
            &[broker("path", json!("/oauth/token"))],
        ),
        case(
            "a broker path with a capital letter",
            &[broker("path", json!("/oauth/Token"))],
            "spec.tokenBroker.path",
            "write the path in lower case, such as /token",
            &[broker("path", json!("/oauth/token"))],
        ),
        case(
            "a broker on a route's exact path",
            &[broker("path", json!("/openapi.json"))],
            "spec.tokenBroker.path",
            TAKEN,
            &[broker("path", json!("/token"))],
        ),
        case(
            "a broker on a route's prefix",
            &[broker("path", json!("/items"))],
            "spec.tokenBroker.path",
            TAKEN,
            &[broker("path", json!("/items/token"))],
        ),
    ]
}
