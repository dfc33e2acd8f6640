//! Scripts of other origins: who answers their preflights, which answers they may read, and that none of it opens a door.

use serde_json::{Value, json};
use tests::issuer::FakeIssuer;
use tests::raw::Head;
use tests::upstream::{Reply, Upstream};

use crate::scene::{Scene, items, reason, request};

const APP: &str = "origin: https://app.example";
const ASKS: &str = "access-control-request-method: GET";

/// An app that lets everybody in, as far as it is asked.
async fn lax() -> Upstream {
    Upstream::start(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-methods: APP\r\n\
              vary: accept\r\ncontent-length: 0\r\n\r\n"
                .into(),
        )
    })
    .await
}

async fn scene(app: &Upstream, issuer: &FakeIssuer, cors: Value) -> Scene {
    let mut config = items(app.port(), issuer);
    config["cors"] = cors;
    config["externalUrls"] = json!(["https://api.test"]);
    let routes = config["routes"].as_array_mut().expect("routes are a list");
    for (methods, access, name) in [("OPTIONS", "Denied", "no-options"), ("GET", "Public", "closed")] {
        routes.push(json!({"name": name, "path": {"prefix": "/closed"}, "methods": [methods], "access": access}));
    }
    Scene::ready(&config).await
}

fn handled(origins: &[&str]) -> Value {
    json!({"handle": {"origins": origins, "methods": [], "headers": ["x-custom"], "expose": ["etag"],
                      "credentials": false, "maxAgeSeconds": 600}})
}

async fn options(scene: &Scene, target: &str, headers: &[&str]) -> Head {
    scene.raw(request("OPTIONS", target, headers, "")).await.0
}

#[tokio::test]
async fn preflights_are_answered_here_and_never_reach_the_app() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    let scene = scene(&app, &issuer, handled(&["https://app.example"])).await;
    for (target, methods) in [
        ("/items", "GET, HEAD, POST"),
        ("/docs/x", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        ("/internal", ""),
        ("/token", "POST"),
        ("/.well-known/oauth-protected-resource", "GET, HEAD"),
    ] {
        let head = options(&scene, target, &[APP, ASKS]).await;
        assert_eq!(head.status(), 204, "{target}");
        assert_eq!(head.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(head.header("access-control-allow-methods"), Some(methods), "{target}");
        let names = head.header("access-control-allow-headers");
        assert_eq!(names, Some("authorization, dpop, content-type, x-custom"));
        assert_eq!((head.header("access-control-max-age"), head.header("vary")), (Some("600"), Some("Origin")));
        let head = options(&scene, target, &["origin: https://evil.example", ASKS]).await;
        assert!(!head.as_str().contains("access-control"), "{}", head.as_str());
        assert_eq!(head.header("vary"), Some("Origin"));
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn what_is_no_preflight_to_the_letter_needs_a_token() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    for cors in [json!("off"), json!("passPreflight"), handled(&["https://app.example"])] {
        let scene = scene(&app, &issuer, cors.clone()).await;
        for (method, headers, body) in [
            ("OPTIONS", &[][..], ""),
            ("OPTIONS", &[APP], ""),
            ("OPTIONS", &[ASKS], ""),
            ("OPTIONS", &[APP, APP, ASKS], ""),
            ("OPTIONS", &[APP, ASKS, ASKS], ""),
            ("OPTIONS", &[APP, "access-control-request-method: G T"], ""),
            ("OPTIONS", &[APP, "access-control-request-method:"], ""),
            ("OPTIONS", &[APP, ASKS], "a body"),
            ("GET", &[APP, ASKS], ""),
            ("POST", &[APP, ASKS, "x-http-method-override: OPTIONS"], ""),
            ("PROPFIND", &[APP, ASKS], ""),
        ] {
            let (head, answer) = scene.raw(request(method, "/items", headers, body)).await;
            assert_eq!(
                (head.status(), reason(&answer).as_str()),
                (401, "missing_token"),
                "{cors} {method} {headers:?}"
            );
        }
        let head = options(&scene, "/items/../internal", &[APP, ASKS]).await;
        assert_eq!(head.status(), 400);
    }
    assert!(app.arrived().is_empty());
}

#[tokio::test]
async fn with_the_setting_off_a_preflight_is_a_request_like_others() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    let scene = scene(&app, &issuer, json!("off")).await;
    let head = options(&scene, "/items", &[APP, ASKS]).await;
    assert_eq!((head.status(), head.header("access-control-allow-origin"), head.header("vary")), (401, None, None));
    let (head, _) = scene.get("/docs", &[APP]).await;
    assert_eq!(head.header("access-control-allow-origin"), Some("*"), "the app's own word");
}

#[tokio::test]
async fn preflights_are_passed_to_the_app_with_nothing_to_gain_by_them() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    let scene = scene(&app, &issuer, json!("passPreflight")).await;
    for target in ["/items", "/items/1", "/other", "/token"] {
        let credentials = ["authorization: Bearer x", "cookie: a=b", "dpop: x"];
        let head = options(&scene, target, &[&[APP, ASKS], &credentials[..]].concat()).await;
        assert_eq!((head.status(), head.header("access-control-allow-methods")), (200, Some("APP")), "{target}");
        let seen = app.last().head;
        assert_eq!(seen.start_line(), format!("OPTIONS {target} HTTP/1.1"));
        assert!(!seen.as_str().contains("tollgate"), "no identity: {}", seen.as_str());
        for name in ["authorization", "cookie", "dpop"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
    }
    for target in ["/internal", "/closed"] {
        let head = options(&scene, target, &[APP, ASKS]).await;
        assert_eq!(head.status(), 403, "nobody's, or nobody's by OPTIONS: {target}");
    }
    assert_eq!(app.arrived().len(), 4);
}

#[tokio::test]
async fn scripts_can_read_why_they_were_refused() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    for cors in [json!("passPreflight"), handled(&["https://app.example"])] {
        let scene = scene(&app, &issuer, cors.clone()).await;
        for (target, status) in [("/items", 401), ("//", 400), ("/internal", 403), ("/token", 405)] {
            let (head, _) = scene.get(target, &[APP]).await;
            assert_eq!(head.status(), status, "{target}");
            assert_eq!(head.header("access-control-allow-origin"), Some("https://app.example"), "{cors} {target}");
            let exposed = head.header("access-control-expose-headers").expect("a list");
            assert!(exposed.contains("www-authenticate") && exposed.contains("dpop-nonce"), "{exposed}");
            assert_eq!(head.header("vary"), Some("Origin"));
        }
        let (head, _) = scene.get("/.well-known/oauth-protected-resource", &[APP]).await;
        assert_eq!((head.status(), head.header("access-control-allow-origin")), (200, Some("https://app.example")));
    }
}

#[tokio::test]
async fn the_sidecars_own_endpoints_never_want_cookies_of_an_origin_that_nobody_named() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    issuer.client("0oaCaller", &["s3cret"]);
    let scene = scene(&app, &issuer, json!("passPreflight")).await;
    let form = "content-type: application/x-www-form-urlencoded";
    let evil = "origin: https://evil.example";
    // Browsers send what they have for Basic of their own accord.
    for authorization in ["authorization: Basic MG9hQ2FsbGVyOnMzY3JldA==", "authorization: Bearer x", "dpop: x"] {
        for (method, target, body) in [
            ("POST", "/token", "grant_type=client_credentials"),
            ("GET", "/token", ""),
            ("GET", "/.well-known/oauth-protected-resource", ""),
            ("POST", "/.well-known/oauth-protected-resource", "x"),
        ] {
            let headers = [evil, authorization, form, "cookie: session=1"];
            let (head, _) = scene.raw(request(method, target, &headers, body)).await;
            assert_eq!(head.header("access-control-allow-credentials"), None, "{method} {target}: {}", head.as_str());
            assert_eq!(head.header("vary"), Some("Origin"));
        }
    }
    let basic = "authorization: Basic MG9hQ2FsbGVyOnMzY3JldA==";
    let (head, _) = scene.raw(request("POST", "/token", &[APP, basic, form], "grant_type=client_credentials")).await;
    assert_eq!((head.status(), head.header("access-control-allow-origin")), (200, Some("https://app.example")));
    // Nor is a refusal shown for them, but for a token, which a script sends only where the app has agreed.
    let (head, _) = scene.get("/items", &[evil, basic]).await;
    assert_eq!((head.status(), head.header("access-control-allow-credentials")), (401, None));
    let (head, _) = scene.get("/items", &[APP, "authorization: Bearer x"]).await;
    assert_eq!((head.status(), head.header("access-control-allow-credentials")), (401, Some("true")));
}

#[tokio::test]
async fn nobody_is_let_from_the_public_into_a_private_network() {
    let app = Upstream::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\naccess-control-allow-private-network: true\r\ncontent-length: 0\r\n\r\n";
        Reply::Bytes(answer.into())
    })
    .await;
    let issuer = FakeIssuer::start().await;
    let scene = scene(&app, &issuer, handled(&["https://app.example"])).await;
    let head = options(&scene, "/items", &[APP, ASKS, "access-control-request-private-network: true"]).await;
    assert_eq!((head.status(), head.header("access-control-allow-private-network")), (204, None));
    let (head, _) = scene.get("/docs", &[APP]).await;
    assert_eq!((head.status(), head.header("access-control-allow-private-network")), (200, None));
}

#[tokio::test]
async fn the_apps_own_word_on_origins_gives_way_to_the_policys() {
    let (app, issuer) = (lax().await, FakeIssuer::start().await);
    let token = format!("authorization: Bearer {}", issuer.token().claim("scp", json!(["items"])).signed());
    let one = scene(&app, &issuer, handled(&["https://app.example"])).await;
    let (head, _) = one.get("/items", &[APP, &token]).await;
    assert_eq!(head.all("access-control-allow-origin"), ["https://app.example"]);
    assert_eq!(head.header("access-control-allow-methods"), None);
    assert_eq!(head.all("vary"), ["accept", "Origin"]);
    for headers in [&["origin: https://evil.example", token.as_str()][..], &[&token], &["origin: null", &token]] {
        let (head, _) = one.get("/items", headers).await;
        assert_eq!((head.status(), head.header("access-control-allow-origin")), (200, None), "{headers:?}");
        assert_eq!(head.all("vary"), ["accept", "Origin"]);
    }
    let everybody = scene(&app, &issuer, handled(&["*"])).await;
    let (head, _) = everybody.get("/items", &["origin: https://any.example", &token]).await;
    assert_eq!((head.all("access-control-allow-origin"), head.header("vary")), (vec!["*"], Some("accept")));
}
