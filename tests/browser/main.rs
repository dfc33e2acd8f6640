//! The interactive docs of the items API behind its sidecar, in a real Chromium against a real cluster: what a developer
//! does who has an Okta client and wants to try the API.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::browser::Browser;
use tests::forward::Forward;
use tests::kubernetes::{Namespace, repository};
use tests::swagger_ui::{Authorization, SwaggerUi};

/// The caller's client at the Okta-like server (tests/okta-like/okta.json).
const CLIENT: (&str, &str) = ("0oa1itemscaller00001", "items-caller-secret-of-the-test-server");

/// Names a file, relative to the repository, that gets the screenshot of README.
const SCREENSHOT: &str = "TOLLGATE_SCREENSHOT";

#[tokio::test]
async fn the_interactive_docs_sign_in_and_call_the_api() {
    let shop = Namespace::create("browser").await;
    shop.apply(&shop.items()).expect("the example is accepted");
    shop.await_ready().await;
    let forward = Forward::to(&shop.name, "service/items", 80).expect("the Service leads to a pod");
    let browser = Browser::start().await.expect("Chromium starts");
    let docs = SwaggerUi::open(&browser, &forward.url("/docs")).await.expect("the docs are public");

    let stranger = docs.execute("GET", "/items").await.expect("the operation can be tried");
    assert_eq!((stranger.status, parsed(&stranger.body)["reason"].as_str()), (401, Some("missing_token")));

    let refused = docs.authorize(CLIENT.0, "not-the-secret", &[]).await.expect("the dialog works");
    let Authorization::Refused(text) = refused else { panic!("a wrong secret was granted a token") };
    assert!(text.contains("The client secret supplied for a confidential client is invalid."), "{text}");

    let granted = docs.authorize(CLIENT.0, CLIENT.1, &[]).await.expect("the dialog works");
    assert_eq!(granted, Authorization::Granted);
    let caller = docs.execute("GET", "/items").await.expect("the operation can be tried");
    assert_eq!(caller.status, 200);
    let items = json!([
        {"id": 1, "name": "red ball"}, {"id": 2, "name": "blue square"}, {"id": 3, "name": "purple ellipse"},
    ]);
    assert_eq!(parsed(&caller.body), items);

    if let Some(file) = std::env::var_os(SCREENSHOT) {
        let file: PathBuf = repository().join(file);
        docs.screenshot(&file).await.expect("the screenshot is saved");
    }
    let elsewhere: Vec<_> = browser
        .loaded()
        .await
        .expect("the page tells what it loaded")
        .into_iter()
        .filter(|url| !url.starts_with(&forward.url("/")) && !url.starts_with("data:"))
        .collect();
    assert!(elsewhere.is_empty(), "the docs come from the API alone, not from {elsewhere:?}");
}

#[tokio::test]
async fn the_docs_ask_for_the_scopes_that_are_ticked() {
    let shop = Namespace::create("browser-scopes").await;
    shop.apply(&shop.items()).expect("the example is accepted");
    shop.await_ready().await;
    let forward = Forward::to(&shop.name, "service/items", 80).expect("the Service leads to a pod");
    let browser = Browser::start().await.expect("Chromium starts");
    let docs = SwaggerUi::open(&browser, &forward.url("/docs")).await.expect("the docs are public");

    let granted = docs.authorize(CLIENT.0, CLIENT.1, &["items:write"]).await.expect("the dialog works");
    assert_eq!(granted, Authorization::Granted);

    let refused = docs.execute("GET", "/items").await.expect("the operation can be tried");
    assert_eq!((refused.status, parsed(&refused.body)["reason"].as_str()), (403, Some("insufficient_scope")));
    let caller = docs.execute("GET", "/caller").await.expect("the operation can be tried");
    let known = json!({"subject": CLIENT.0, "client_id": CLIENT.0, "scopes": ["items:write"]});
    assert_eq!((caller.status, parsed(&caller.body)), (200, known));
}

/// A body as the page shows it.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("the page shows JSON")
}
