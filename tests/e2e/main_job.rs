//! The main job: apply, wait, fetch a token, call; locally and by introspection.

use std::time::Duration;

use anyhow::bail;
use serde_json::json;
use tests::forward::Forward;
use tests::kubernetes::{ISSUER, Namespace, kubectl};
use tests::wait::eventually;

use crate::caller::{CLIENT, Caller, json, refusal};

#[tokio::test]
async fn an_api_is_protected_in_a_restricted_namespace() {
    let shop = Namespace::create("main").await;
    shop.apply(&shop.items()).expect("the example is accepted");
    shop.await_ready().await;
    let caller = Caller::of(&shop);

    let (status, challenge, reason) = refusal(caller.items().send().await.expect("an answer")).await;
    assert_eq!((status, reason.as_str()), (401, "missing_token"));
    assert!(challenge.starts_with("Bearer realm=") && !challenge.contains("error="), "{challenge}");

    caller.assert_gets_the_items(&caller.token("items").await).await;

    let other = caller.token("items:write").await;
    let (status, challenge, reason) = refusal(caller.items_with(&other).await.expect("an answer")).await;
    assert_eq!((status, reason.as_str()), (403, "insufficient_scope"));
    assert!(challenge.contains(r#"scope="items""#), "{challenge}");

    let refused = caller.ask_for_token("not-the-secret", "items").await.expect("an answer");
    assert_eq!(refused.status(), 401);
    let body = json(refused).await;
    assert_eq!(body["error"], "invalid_client");
    assert_eq!(body["error_description"], "The client secret supplied for a confidential client is invalid.");

    let row = shop.kubectl(&["get", "okapi", "items", "--no-headers"]);
    for word in ["True", "2/2", "Local"] {
        assert!(row.contains(word), "kubectl get shows {word}: {row}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_in_introspection_mode() {
    let shop = Namespace::create("introspect").await;
    let mut items = shop.items();
    items["spec"]["issuers"][0]["validation"] = json!("Introspection");
    items["spec"]["issuers"][0]["introspection"] = json!({"cache": "1s"});
    items["spec"]["issuers"][0]["client"] = json!({"secretRef": {"name": "okta-items"}});
    shop.apply(&items).expect("the resource is accepted");
    shop.await_ready().await;
    let caller = Caller::of(&shop);

    let token = caller.token("items").await;
    caller.assert_gets_the_items(&token).await;
    revoke(&token).await;
    let (status, challenge, reason) = eventually("the revoked token is refused", Duration::from_secs(20), || async {
        let answer = caller.items_with(&token).await?;
        if answer.status() == 200 { bail!("it still passes") } else { Ok(refusal(answer).await) }
    })
    .await;
    assert_eq!((status, reason.as_str()), (401, "inactive"));
    assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
}

#[tokio::test]
async fn a_policy_edit_is_enforced_when_ready_says_so() {
    let shop = Namespace::create("edit").await;
    let mut items = shop.items();
    shop.apply(&items).expect("the example is accepted");
    shop.await_ready().await;
    let token = Caller::of(&shop).token("items").await;

    let routes = items["spec"]["routes"].as_array_mut().expect("routes are a list");
    let read = routes.iter_mut().find(|route| route["name"] == "items-read").expect("the example has this route");
    read["scopes"] = json!({"allOf": ["items", "items:write"]});
    shop.apply(&items).expect("the edit is accepted");
    shop.await_ready().await;
    let (status, _, reason) = refusal(Caller::of(&shop).items_with(&token).await.expect("an answer")).await;
    assert_eq!((status, reason.as_str()), (403, "insufficient_scope"));
    eventually("no old policy is left behind", Duration::from_secs(60), || async {
        let names = shop.try_kubectl(&["get", "configmap", "-l", "tollgate.dev/api=items", "-o", "name"])?;
        let policies = names.lines().filter(|name| !name.ends_with("-hints")).count();
        if policies == 1 { Ok(()) } else { bail!("{names}") }
    })
    .await;
}

/// RFC 7009, by the token's own client, at the Okta-like server: its certificate is checked against its CA.
async fn revoke(token: &str) {
    let ca = kubectl(&["-n", "shop", "get", "configmap", "okta-ca", "-o", r"jsonpath={.data.ca\.crt}"], None);
    let ca = reqwest::Certificate::from_pem(ca.expect("the CA is published").as_bytes()).expect("PEM");
    let forward = Forward::to("okta", "service/okta-like", 443).expect("the Okta-like server runs");
    let host = ISSUER.split('/').nth(2).expect("the issuer has a host");
    let http = reqwest::Client::builder()
        .tls_certs_only([ca])
        .resolve(host, ([127, 0, 0, 1], forward.port).into())
        .build()
        .expect("a client can be built");
    let url = ISSUER.replace(host, &format!("{host}:{}", forward.port)) + "/v1/revoke";
    let request = http.post(url).basic_auth(CLIENT.0, Some(CLIENT.1)).form(&[("token", token)]);
    let answer = request.send().await.expect("the Okta-like server answers");
    assert_eq!(answer.status(), 200);
}
