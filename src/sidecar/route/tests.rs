//! Tables of requests against a policy: what an attacker would try, and what must keep working.

mod slashes;

use http::HeaderMap;
use tollgate_contract::{PathsConfig, ScopesConfig};

use super::*;
use crate::identity::Identity;

fn route(name: &str, path: PathMatch, methods: &[&str], access: Access, all_of: &[&str]) -> RouteConfig {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    RouteConfig {
        name: name.to_owned(),
        path,
        methods: owned(methods),
        access,
        scopes: ScopesConfig { all_of: owned(all_of), any_of: Vec::new() },
        issuers: Vec::new(),
        when: None,
    }
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.to_owned())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.to_owned())
}

fn table(routes: &[RouteConfig]) -> RouteTable {
    RouteTable::new(routes, DefaultAccess::Authenticated, false).unwrap()
}

fn identity(scopes: &[&str]) -> Identity {
    Identity::blank().with_scopes(scopes)
}

fn authorize<'a>(
    table: &'a RouteTable,
    verdict: &Verdict,
    path: &CleanPath<'_>,
    scopes: &[&str],
) -> Result<(), Unauthorized<'a>> {
    table.authorize(verdict, &identity(scopes), Asked { method: &Method::GET, path, headers: &HeaderMap::new() })
}

/// What a request needs: `public`, `token`, the missing scopes, `denied`, `405 …`, or `400`.
fn outcome(table: &RouteTable, method: &str, path: &str) -> String {
    outcome_of(table, method, path, &PathsConfig::default())
}

fn outcome_of(table: &RouteTable, method: &str, path: &str, paths: &PathsConfig) -> String {
    let Ok(path) = CleanPath::received(path, paths) else { return "400".to_owned() };
    let verdict = table.judge(&path, &method.parse().unwrap());
    match (verdict.requirement, verdict.method_mismatch) {
        (Requirement::Impossible, _) => "denied".to_owned(),
        (_, Some(allow)) => format!("405 {allow}"),
        (Requirement::Nothing, None) => "public".to_owned(),
        (Requirement::Token, None) => match authorize(table, &verdict, &path, &[]) {
            Ok(()) => "token".to_owned(),
            Err(Unauthorized::Scopes(missing)) => missing.to_owned(),
            Err(other) => format!("{other:?}"),
        },
    }
}

/// The items API of the examples.
fn items() -> RouteTable {
    table(&[
        route("docs", prefix("/docs"), &[], Access::Public, &[]),
        route("openapi", exact("/openapi.json"), &[], Access::Public, &[]),
        route("items-read", prefix("/items"), &["GET"], Access::Authenticated, &["items"]),
        route("items-write", prefix("/items"), &["POST", "PUT", "DELETE"], Access::Authenticated, &["items:write"]),
        route("items-health", exact("/items/health"), &["GET"], Access::Public, &[]),
        route("admin", prefix("/admin"), &[], Access::Denied, &[]),
        route("docs-internal", prefix("/docs/internal"), &[], Access::Denied, &[]),
    ])
}

#[test]
fn requests_find_the_rule_that_is_meant() {
    let table = items();
    for (method, path, expected) in [
        ("GET", "/docs", "public"),
        ("GET", "/docs/", "public"),
        ("GET", "/docs/oauth2-redirect", "public"),
        ("POST", "/docs/form", "public"),
        ("PROPFIND", "/docs", "public"),
        ("GET", "/docs/a%20b", "public"),
        ("GET", "/docs/API.html", "public"),
        ("GET", "/docs/a;v=1/b", "public"),
        ("GET", "/%64ocs", "public"),
        ("GET", "/openapi.json", "public"),
        ("GET", "/items", "items"),
        ("HEAD", "/items", "items"),
        ("GET", "/items/1", "items"),
        ("GET", "/items/1/parts/2", "items"),
        ("POST", "/items", "items:write"),
        ("DELETE", "/items/1", "items:write"),
        ("GET", "/items/health", "public"),
        ("HEAD", "/items/health", "public"),
        ("GET", "/items/health/deep", "items"),
        ("GET", "/items/healthy", "items"),
        ("GET", "/admin", "denied"),
        ("GET", "/admin/x", "denied"),
        ("GET", "/docs/internal", "denied"),
        ("GET", "/docs/internal/x", "denied"),
        ("GET", "/docs/internals", "public"),
        ("GET", "/", "token"),
        ("GET", "/other", "token"),
        // a prefix ends at a segment border
        ("GET", "/itemsx", "token"),
        ("GET", "/items.json", "token"),
        ("GET", "/docsx", "token"),
        ("GET", "/administrator", "token"),
        ("GET", "/openapi.json/x", "token"),
    ] {
        assert_eq!(outcome(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn no_spelling_of_a_protected_path_gets_in_by_a_weaker_rule() {
    let table = items();
    for (method, path, expected) in [
        ("GET", "/docs/../items", "400"),
        ("GET", "/docs/%2e%2e/items", "400"),
        ("GET", "/docs/..;/items", "400"),
        ("GET", "/docs/.%2e;x/items", "400"),
        ("GET", "/docs/..%2fitems", "400"),
        ("GET", "/docs/..%5citems", "400"),
        ("GET", "/docs//../items", "400"),
        ("GET", "//items", "400"),
        ("GET", "/items%00", "400"),
        ("GET", "/items%0a", "400"),
        ("GET", "/%2569tems", "400"),
        ("GET", "/docs%2f..%2fitems", "400"),
        ("GET", "/Items", "items"),
        ("GET", "/ITEMS/1", "items"),
        ("GET", "/iteMs", "items"),
        ("GET", "/items/", "items"),
        ("GET", "/items;x=1", "items"),
        ("GET", "/items;x=1/2", "items"),
        ("GET", "/items;", "items"),
        ("GET", "/Items;x/", "items"),
        ("GET", "/%69tems", "items"),
        ("GET", "/%49tems", "items"),
        ("GET", "/item%73/", "items"),
        ("GET", "/items%3bx", "items"),
        ("GET", "/items%3fx", "items"),
        ("GET", "/items%23x", "items"),
        ("GET", "/;/items", "items"),
        ("GET", "/;a/;b/items/1", "items"),
        ("GET", "/item\u{17f}", "items"),
        ("POST", "/Items", "items:write"),
        ("GET", "/Admin", "denied"),
        ("GET", "/admin/", "denied"),
        ("GET", "/admin;jsessionid=1", "denied"),
        ("GET", "/%41dmin", "denied"),
        ("GET", "/;/Admin;x/", "denied"),
        ("GET", "/docs/Internal", "denied"),
        ("GET", "/docs/internal;x", "denied"),
        ("GET", "/docs;x/internal", "denied"),
        ("GET", "/docs/;/internal", "denied"),
        ("GET", "/docs/%69nternal/", "denied"),
        ("GET", "/DOCS/internal", "denied"),
        ("GET", "/docs/INTERNAL/deep", "denied"),
        // what is public is so as spelled, and only so
        ("GET", "/Docs", "token"),
        ("GET", "/;/docs", "token"),
        ("GET", "/docs;x", "token"),
        ("GET", "/openapi.json/", "token"),
        ("GET", "/OpenAPI.json", "token"),
        ("GET", "/openapi.json;x", "token"),
        ("GET", "/items/Health", "items"),
        ("GET", "/items/health/", "items"),
        ("GET", "/items/health;x", "items"),
        ("GET", "/Items/health", "token"),
    ] {
        assert_eq!(outcome(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn a_named_path_with_another_method_is_never_the_default() {
    let table = items();
    for (method, path, expected) in [
        ("PATCH", "/items", "405 GET, HEAD, POST, PUT, DELETE"),
        ("OPTIONS", "/items/1", "405 GET, HEAD, POST, PUT, DELETE"),
        ("PROPFIND", "/items", "405 GET, HEAD, POST, PUT, DELETE"),
        ("get", "/items", "405 GET, HEAD, POST, PUT, DELETE"),
        ("POST", "/items/health", "405 GET, HEAD"),
        ("PATCH", "/Items", "405 GET, HEAD, POST, PUT, DELETE"),
        ("PATCH", "/items;x", "405 GET, HEAD, POST, PUT, DELETE"),
    ] {
        assert_eq!(outcome(&table, method, path), expected, "{method} {path}");
    }
    let verdict = table.judge(&CleanPath::parse("/items/health").unwrap(), &Method::POST);
    assert_eq!(verdict.requirement, Requirement::Token, "only a caller with a token learns what is allowed");
}

#[test]
fn rules_that_differ_in_case_alone_both_hold() {
    let table = table(&[
        route("open", exact("/Items"), &[], Access::Public, &[]),
        route("deep", exact("/Items/open"), &[], Access::Public, &[]),
        route("scoped", prefix("/items"), &[], Access::Authenticated, &["items"]),
        route("Admin", prefix("/Admin"), &[], Access::Denied, &[]),
        route("admin-health", exact("/admin/health"), &[], Access::Public, &[]),
        route("rest", prefix("/"), &[], Access::Public, &[]),
    ]);
    for (path, expected) in [
        ("/Items", "items"),
        ("/Items/open", "items"),
        ("/items", "items"),
        ("/Admin/health", "denied"),
        ("/admin/health", "denied"),
        ("/Admin;x/health", "denied"),
        ("/ADMIN", "denied"),
        ("/admin", "denied"),
        ("/", "public"),
        ("/else", "public"),
        ("/Else;x/", "public"),
    ] {
        assert_eq!(outcome(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn rules_that_differ_in_parameters_alone_both_hold() {
    let table = table(&[
        route("open", prefix("/a;b"), &[], Access::Public, &[]),
        route("scoped", prefix("/a"), &[], Access::Authenticated, &["a"]),
    ]);
    for path in ["/a;b", "/a;b/c", "/a", "/a;c"] {
        assert_eq!(outcome(&table, "GET", path), "a", "{path}");
    }
    let of_the_root =
        [route("open", exact("/"), &[], Access::Public, &[]), route("closed", exact("/;b"), &[], Access::Denied, &[])];
    assert_eq!(outcome(&self::table(&of_the_root), "GET", "/"), "denied");
}

#[test]
fn a_public_root_does_not_open_what_lies_below_a_stricter_rule() {
    let table = table(&[
        route("root", prefix("/"), &[], Access::Public, &[]),
        route("private", prefix("/private/"), &[], Access::Authenticated, &["p"]),
        route("home", exact("/"), &[], Access::Authenticated, &["home"]),
    ]);
    for (path, expected) in [
        ("/", "home"),
        ("/;x", "home"),
        ("/a", "public"),
        ("/a/", "public"),
        ("/private", "p"),
        ("/private/", "p"),
        ("/private/x", "p"),
        ("/Private", "p"),
        ("/private;/x", "p"),
        ("/;/private", "p"),
        ("/privateer", "public"),
    ] {
        assert_eq!(outcome(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn exact_beats_prefix_and_a_longer_prefix_a_shorter_one_in_any_order() {
    let mut routes = vec![
        route("a", prefix("/a"), &[], Access::Authenticated, &["a"]),
        route("ab", prefix("/a/b"), &[], Access::Authenticated, &["ab"]),
        route("abc", exact("/a/b/c"), &[], Access::Authenticated, &["abc"]),
        route("same", exact("/a/b"), &[], Access::Authenticated, &["same"]),
    ];
    for _ in 0..routes.len() {
        routes.rotate_left(1);
        let table = table(&routes);
        for (path, expected) in
            [("/a", "a"), ("/a/x", "a"), ("/a/b", "same"), ("/a/b/x", "ab"), ("/a/b/c", "abc"), ("/a/b/c/d", "ab")]
        {
            assert_eq!(outcome(&table, "GET", path), expected, "{path}");
        }
    }
}

#[test]
fn a_default_of_denied_closes_what_no_route_names() {
    let routes = [route("docs", prefix("/docs"), &[], Access::Public, &[])];
    let table = RouteTable::new(&routes, DefaultAccess::Denied, false).unwrap();
    assert_eq!(outcome(&table, "GET", "/docs/a"), "public");
    assert_eq!(outcome(&table, "GET", "/other"), "denied");
    assert_eq!(outcome(&table, "GET", "/Docs/a"), "denied");
    assert_eq!(outcome(&table, "GET", "/docsx"), "denied");
}

#[test]
fn without_routes_every_path_needs_a_token() {
    let table = table(&[]);
    for path in ["/", "/a", "/A;b/", "/%41"] {
        assert_eq!(outcome(&table, "GET", path), "token", "{path}");
    }
}

#[test]
fn all_of_and_any_of_must_both_hold() {
    let mut scoped = route("r", prefix("/r"), &[], Access::Authenticated, &["a", "b"]);
    scoped.scopes.any_of = vec!["x".to_owned(), "y".to_owned()];
    let table = table(&[scoped]);
    let path = CleanPath::parse("/r").unwrap();
    let verdict = table.judge(&path, &Method::GET);
    for (scopes, passes) in [
        (&["a", "b", "x"][..], true),
        (&["a", "b", "y", "z"], true),
        (&["a", "b"], false),
        (&["a", "x"], false),
        (&["x", "y"], false),
        (&["A", "b", "x"], false),
        (&[], false),
    ] {
        let expected = if passes { Ok(()) } else { Err(Unauthorized::Scopes("a b x y")) };
        assert_eq!(authorize(&table, &verdict, &path, scopes), expected, "{scopes:?}");
    }
}

#[test]
fn a_token_must_satisfy_both_rules_that_a_path_may_mean() {
    let table = table(&[
        route("upper", prefix("/Data"), &[], Access::Authenticated, &["upper"]),
        route("lower", prefix("/data"), &[], Access::Authenticated, &["lower"]),
    ]);
    let path = CleanPath::parse("/data/1").unwrap();
    let verdict = table.judge(&path, &Method::GET);
    assert!(authorize(&table, &verdict, &path, &["lower"]).is_err());
    assert!(authorize(&table, &verdict, &path, &["upper"]).is_err());
    assert!(authorize(&table, &verdict, &path, &["lower", "upper"]).is_ok());
}

#[test]
fn the_route_in_the_log_is_the_one_that_decided() {
    let table = items();
    let named = |path: &str| match table.judge(&CleanPath::parse(path).unwrap(), &Method::GET).route {
        RouteId::Default => "default",
        RouteId::Rule(id) => table.names().nth(id.into()).unwrap(),
    };
    assert_eq!(named("/items"), "items-read");
    assert_eq!(named("/docs/INTERNAL"), "docs-internal");
    assert_eq!(named("/Items"), "items-read");
    assert_eq!(named("/other"), "default");
    assert_eq!(named("/Docs"), "default");
}

#[test]
fn head_may_have_a_rule_of_its_own() {
    let table = table(&[
        route("read", exact("/r"), &["GET"], Access::Authenticated, &["read"]),
        route("head", exact("/r"), &["HEAD"], Access::Denied, &[]),
        route("other", exact("/r"), &[], Access::Authenticated, &["other"]),
    ]);
    assert_eq!(outcome(&table, "GET", "/r"), "read");
    assert_eq!(outcome(&table, "HEAD", "/r"), "denied");
    assert_eq!(outcome(&table, "PATCH", "/r"), "other");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let refused = |routes: &[RouteConfig]| RouteTable::new(routes, DefaultAccess::Authenticated, false).unwrap_err();
    let plain = |name: &str, path: PathMatch| route(name, path, &["GET"], Access::Authenticated, &[]);
    assert!(matches!(refused(&[plain("a", exact("/a")), plain("a", exact("/b"))]), RouteError::DuplicateName(_)));
    assert!(matches!(refused(&[plain("a", exact("/a")), plain("b", exact("/a"))]), RouteError::Overlap(..)));
    assert!(matches!(refused(&[plain("a", prefix("/a")), plain("b", prefix("/a/"))]), RouteError::Overlap(..)));
    for path in ["", "a", "/a/../b", "/a//b", "/%61", "/a\\b", "/a?b", "/a#b", "*"] {
        assert!(matches!(refused(&[plain("a", exact(path))]), RouteError::BadPath(..)), "{path}");
    }
    for method in ["get", "TRACE", "CONNECT", "*", ""] {
        let bad = route("a", exact("/a"), &[method], Access::Authenticated, &[]);
        assert!(matches!(refused(&[bad]), RouteError::UnknownMethod(..)), "{method}");
    }
    for access in [Access::Public, Access::Denied] {
        assert!(matches!(
            refused(&[route("a", exact("/a"), &[], access, &["s"])]),
            RouteError::ConditionsWithoutToken(..)
        ));
    }
    for scope in ["", "a b", "a\"", "a\\", "é"] {
        let bad = route("a", exact("/a"), &[], Access::Authenticated, &[scope]);
        assert!(matches!(refused(&[bad]), RouteError::BadScope(..)), "{scope}");
    }
    let many: Vec<_> = (0..65).map(|n| plain(&format!("r{n}"), exact(&format!("/{n}")))).collect();
    assert!(matches!(refused(&many), RouteError::TooMany(65)));
    assert_eq!(outcome(&table(&many[..64]), "GET", "/63"), "token");
}
