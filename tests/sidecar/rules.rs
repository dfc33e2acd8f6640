//! Rules on claims and issuers of routes, through the whole sidecar: evaluated on every request, whatever is remembered
//! of the token, and refused with a reason that the caller can act on.

use http::Method;
use serde_json::json;
use tests::issuer::FakeIssuer;
use tests::upstream::{Upstream, ok};
use tollgate_contract::{Access, IssuerConfig, PathMatch, RouteConfig, ScopesConfig, SidecarConfig, ValidationMode};

use crate::scene::{Scene, items};
use crate::world::{Answer, World};

fn route(path: &str, scopes: &[&str], issuers: &[&str], when: Option<&str>) -> RouteConfig {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    RouteConfig {
        name: path.trim_matches('/').replace('/', "-"),
        path: PathMatch::Prefix(path.to_owned()),
        methods: Vec::new(),
        access: Access::Authenticated,
        scopes: ScopesConfig { all_of: owned(scopes), any_of: Vec::new() },
        issuers: owned(issuers),
        when: when.map(str::to_owned),
    }
}

async fn world(mode: ValidationMode, change: impl FnOnce(&mut SidecarConfig)) -> World {
    let world = World::start(FakeIssuer::start().await, mode, change).await;
    world.await_ready().await;
    world
}

async fn send(world: &World, token: &str, method: Method, path: &str, tenant: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    world.send(method, path, &[("authorization", authorization.as_str()), ("x-tenant", tenant)]).await
}

#[tokio::test]
async fn a_rule_is_evaluated_on_every_request_of_a_remembered_token() {
    let rule = "'support' in claims.groups && (request.method == 'GET' || request.headers['x-tenant'] == claims.tenant) \
                && request.client == '0oaCaller' && request.path.startsWith('/r/' + claims.sub)";
    let world = world(ValidationMode::Local, |config| {
        config.routes = vec![route("/r", &[], &[], Some(rule)), route("/open", &[], &[], None)];
    })
    .await;
    let token = world
        .issuer
        .token()
        .claim("groups", json!(["support"]))
        .claim("tenant", json!("blue"))
        .claim("sub", json!("Jörg"));
    let good = token.clone().claim("sub", json!("ada")).signed();
    const DENIED: (u16, &str) = (403, "claims_denied");
    for (method, path, tenant, expected) in [
        (Method::GET, "/r/ada", "red", (200, "-")),
        (Method::POST, "/r/ada", "blue", (200, "-")),
        (Method::POST, "/r/ada", "red", DENIED),
        (Method::GET, "/r/bob", "blue", DENIED),
        (Method::GET, "/r/%61da", "blue", (200, "-")),
        // Readings that an app may take for /r/ada are no way around the rule.
        (Method::POST, "/R/ada", "red", DENIED),
        (Method::POST, "/r;x/ada", "red", DENIED),
        (Method::GET, "/open", "red", (200, "-")),
    ] {
        assert_eq!(
            send(&world, &good, method.clone(), path, tenant).await.verdict(),
            expected,
            "{method} {path} {tenant}"
        );
    }
    assert_eq!(world.metric("tollgate_decision_cache_misses_total").await, 1);
    // A claim that is missing, or of another kind, is no permission.
    for groups in [json!(null), json!("support"), json!(["sales"]), json!([])] {
        let token = token.clone().claim("sub", json!("ada")).claim("groups", groups.clone()).signed();
        assert_eq!(send(&world, &token, Method::GET, "/r/ada", "blue").await.verdict(), DENIED, "{groups}");
    }
    assert_eq!(world.app_hits(), 4);
}

/// What the app does not get, or gets from somebody else, decides nothing.
#[tokio::test]
async fn a_rule_sees_the_headers_that_the_app_gets() {
    let (issuer, app) = (FakeIssuer::start().await, Upstream::start(|_| ok("")).await);
    let mut config = items(app.port(), &issuer);
    let route = |name: &str, when: Option<&str>| json!({"name": name, "path": {"prefix": format!("/{name}")}, "access": "Authenticated", "when": when});
    config["routes"] = json!([
        route("tenant", Some("request.headers['x-tenant'] == claims.tenant")),
        route("nobody", Some("!('x-tenant' in request.headers)")),
        route("secure", Some("request.headers['x-forwarded-proto'] == 'https'")),
        route("near", Some("request.headers['x-forwarded-for'] == '10.0.0.1'")),
        route("other", None),
    ]);
    let scene = Scene::ready(&config).await;
    let bearer = format!("authorization: Bearer {}", issuer.token().claim("tenant", json!("blue")).signed());
    for (path, headers, status) in [
        ("/tenant", &["x-tenant: blue"][..], 200),
        ("/tenant", &["x-tenant: blue", "connection: X-Tenant"], 403),
        ("/nobody", &["x-tenant: blue", "connection: x-tenant"], 200),
        ("/tenant", &["x_tenant: blue"], 403),
        ("/tenant", &["x-tenant: blue", "x_tenant: red"], 200),
        ("/nobody", &["x_tenant: red"], 200),
        ("/other", &["x_tenant: red"], 200),
        ("/secure", &["x-forwarded-proto: https"], 200),
        ("/secure", &["x-forwarded-proto: https", "x-forwarded-proto: http"], 403),
        ("/near", &["x-forwarded-for: 10.0.0.1"], 403),
    ] {
        let (head, _) = scene.get(path, &[headers, &[bearer.as_str()]].concat()).await;
        assert_eq!(head.status(), status, "{path} {headers:?}");
        if status == 200 {
            let second = app.last().head.header("x_tenant").map(str::to_owned);
            assert_eq!(second.as_deref(), (path == "/other").then_some("red"), "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn the_answer_says_no_more_than_that_the_claims_do_not_allow_it() {
    let world = world(ValidationMode::Local, |config| {
        config.routes = vec![route("/items", &[], &[], Some("claims.secret == 'mellon'"))];
    })
    .await;
    let answer = world.get(&world.issuer.token().claim("secret", json!("friend")).signed()).await;
    assert_eq!(answer.verdict(), (403, "claims_denied"));
    assert_eq!(answer.header("www-authenticate"), "");
    let text = answer.body.to_string();
    assert!(!text.contains("mellon") && !text.contains("friend"), "{text}");
    assert!(!world.log.text().contains("friend"));
}

#[tokio::test]
async fn the_issuer_is_judged_before_scopes_and_scopes_before_claims() {
    let partner = FakeIssuer::start().await;
    let (url, ca) = (partner.url(), partner.ca_file().display().to_string());
    let world = world(ValidationMode::Local, move |config| {
        config.issuers.push(IssuerConfig {
            ca_file: Some(ca),
            ..IssuerConfig::new("partner", url, vec!["api://default".into()])
        });
        config.routes = vec![
            route("/ours", &["items"], &["okta"], Some("claims.dept == 'x'")),
            route("/both", &["items"], &["okta", "partner"], None),
        ];
    })
    .await;
    let ours =
        |scope: &str, dept: &str| world.issuer.token().claim("scp", json!([scope])).claim("dept", json!(dept)).signed();
    let theirs = partner.token().claim("dept", json!("x")).signed();
    assert_eq!(world.get_path("/both", &theirs).await.verdict(), (200, "-"));
    assert_eq!(world.get_path("/both", &ours("items", "y")).await.verdict(), (200, "-"));
    let refused = world.get_path("/ours", &theirs).await;
    assert_eq!(refused.verdict(), (401, "issuer_mismatch"));
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{:?}", refused.headers);
    assert_eq!(world.get_path("/ours", &ours("other", "y")).await.verdict(), (403, "insufficient_scope"));
    assert_eq!(world.get_path("/ours", &ours("items", "y")).await.verdict(), (403, "claims_denied"));
    assert_eq!(world.get_path("/ours", &ours("items", "x")).await.verdict(), (200, "-"));
}

#[tokio::test]
async fn the_claims_of_an_opaque_token_are_the_answers_members() {
    let world = world(ValidationMode::Introspection, |config| {
        config.routes = vec![route("/items", &[], &[], Some("claims.dept == 'x' && claims.active"))];
    })
    .await;
    for (opaque, dept, expected) in [("opaque-1", "x", (200, "-")), ("opaque-2", "y", (403, "claims_denied"))] {
        world.issuer.answer(opaque, world.issuer.token().claim("dept", json!(dept)).answer());
        for _ in 0..2 {
            assert_eq!(world.get(opaque).await.verdict(), expected, "{opaque}");
        }
    }
}
