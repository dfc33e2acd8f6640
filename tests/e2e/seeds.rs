//! A pod that starts while its issuer is away checks tokens with the keys that the operator fetched ahead.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::certificates::Authority;
use tests::kubernetes::{Namespace, ROLL, kubectl, repository};
use tests::wait::eventually;

use crate::caller::{Caller, refusal};

/// An Okta-like server of this namespace alone, so that its end is nobody else's; returns its issuer's URL.
fn okta_of(shop: &Namespace) -> String {
    let host = format!("okta-like.{}.svc.cluster.local", shop.name);
    let ca = Authority::new("Seeds CA");
    shop.apply(&ca.server(&host).secret("okta-like-tls")).expect("the Secret can be made");
    let bundle = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seeds-ca"}, "data": {"ca.crt": ca.pem()},
    });
    shop.apply(&bundle).expect("the ConfigMap can be made");
    let text = std::fs::read_to_string(repository().join("tests/okta-like/okta-like.yaml")).expect("the manifest");
    // The first of its documents is the namespace.
    let (_, objects) = text.split_once("\n---\n").expect("several documents");
    let objects = objects
        .replace("namespace: okta\n", &format!("namespace: {}\n", shop.name))
        .replace("okta-like.okta.svc.cluster.local", &host);
    kubectl(&["apply", "-f", "-"], Some(&objects)).expect("the server can be made");
    shop.kubectl(&["rollout", "status", "deployment/okta-like", "--timeout=180s"]);
    format!("https://{host}/oauth2/default")
}

/// The pods of the API, by uid.
fn pods(shop: &Namespace) -> anyhow::Result<Vec<String>> {
    let asked = ["get", "pod", "-l", "tollgate.dev/api=items", "-o", "jsonpath={.items[*].metadata.uid}"];
    Ok(shop.try_kubectl(&asked)?.split_whitespace().map(str::to_owned).collect())
}

/// The same token for one scope more, under the old signature.
fn forged(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url");
    let mut claims: Value = serde_json::from_slice(&claims).expect("claims");
    claims["scp"] = json!(["items", "items:write"]);
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}

#[tokio::test]
async fn a_pod_that_starts_while_its_issuer_is_away_checks_tokens_with_keys_fetched_ahead() {
    let shop = Namespace::create("seeds").await;
    let mut items = shop.items();
    let issuer = &mut items["spec"]["issuers"][0];
    issuer["url"] = json!(okta_of(&shop));
    issuer["caBundle"]["configMapRef"]["name"] = json!("seeds-ca");
    items["spec"]["app"]["replicas"] = json!(1);
    shop.apply(&items).expect("the resource is accepted");
    shop.await_ready().await;
    let token = Caller::of(&shop).token("items").await;
    eventually("the operator has told the keys", Duration::from_secs(60), || async {
        let hints = shop.try_kubectl(&["get", "configmap", "items-tollgate-hints", "-o", "jsonpath={.data}"])?;
        ensure!(hints.contains("fetchedAt"), "{hints}");
        Ok(())
    })
    .await;
    let before = pods(&shop).expect("a list");

    shop.kubectl(&["scale", "deployment/okta-like", "--replicas=0"]);
    shop.kubectl(&["wait", "pod", "-l", "app.kubernetes.io/name=okta-like", "--for=delete", "--timeout=120s"]);
    shop.kubectl(&["delete", "pod", "-l", "tollgate.dev/api=items"]);
    eventually("a new pod is ready", ROLL, || async {
        let now = pods(&shop)?;
        ensure!(now.len() == 1 && now != before, "{now:?}");
        let ready = r#"jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}"#;
        let ready = shop.try_kubectl(&["get", "pod", "-l", "tollgate.dev/api=items", "-o", ready])?;
        if ready.trim() == "True" { Ok(()) } else { bail!("Ready={ready}") }
    })
    .await;
    let caller = Caller::of(&shop);
    caller.assert_gets_the_items(&token).await;
    let answer = caller.items_with(&forged(&token)).await.context("a forged token").expect("an answer");
    let (status, _, reason) = refusal(answer).await;
    assert_eq!((status, reason.as_str()), (401, "bad_signature"));
    let message = shop.await_condition("IssuersReachable", "False", Some("Unreachable")).await;
    assert!(message.contains(&format!("okta-like.{}.svc", shop.name)), "{message}");
    let ready = shop.condition("Ready").await.expect("a condition");
    assert_eq!(ready.status, "True", "{}", ready.message);
}
