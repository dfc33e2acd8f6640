//! What is wrong stands on the resource in one plain sentence, as a condition and as an Event, and heals by itself.

use std::time::Duration;

use serde_json::json;
use tests::certificates::Authority;
use tests::kubernetes::Namespace;
use tests::wait::eventually;

use crate::caller::Caller;

async fn assert_event(shop: &Namespace, reason: &str, word: &str) {
    let note =
        eventually(&format!("an Event {reason}"), Duration::from_secs(30), || async { shop.event(reason) }).await;
    assert!(note.contains(word), "the Event {reason} names {word}: {note}");
}

#[tokio::test]
async fn a_missing_secret_is_named_and_heals() {
    let shop = Namespace::create("secret").await;
    let secret = shop.kubectl(&["get", "secret", "okta-items", "-o", "json"]);
    let secret: serde_json::Value = serde_json::from_str(&secret).expect("kubectl prints JSON");
    shop.kubectl(&["delete", "secret", "okta-items"]);
    let mut items = shop.items();
    items["spec"]["issuers"][0]["validation"] = json!("LocalAndIntrospection");
    items["spec"]["issuers"][0]["client"] = json!({"secretRef": {"name": "okta-items"}});
    shop.apply(&items).expect("the resource is accepted");

    let message = shop.await_condition("Ready", "False", Some("CredentialsMissing")).await;
    assert!(message.contains("okta-items") && message.contains("clientId"), "{message}");
    assert_event(&shop, "CredentialsMissing", "okta-items").await;

    let mended = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "okta-items"}, "data": secret["data"],
    });
    shop.apply(&mended).expect("the Secret can be made");
    shop.await_ready().await;
}

#[tokio::test]
async fn an_unreachable_issuer_is_named_and_heals() {
    let shop = Namespace::create("issuer").await;
    let mut items = shop.items();
    let url = items["spec"]["issuers"][0]["url"].clone();
    items["spec"]["issuers"][0]["url"] = json!("https://nobody.okta.svc.cluster.local/oauth2/default");
    shop.apply(&items).expect("the resource is accepted");

    let message = shop.await_condition("IssuersReachable", "False", Some("Unreachable")).await;
    assert!(message.contains("nobody.okta.svc.cluster.local"), "{message}");
    assert_event(&shop, "Unreachable", "nobody.okta.svc.cluster.local").await;
    let ready = shop.condition("Ready").await.expect("a condition");
    assert_eq!(ready.status, "False", "no pod can judge a token yet: {}", ready.message);

    items["spec"]["issuers"][0]["url"] = url;
    shop.apply(&items).expect("the edit is accepted");
    shop.await_ready().await;
    shop.await_condition("IssuersReachable", "True", None).await;
}

#[tokio::test]
async fn a_partner_that_is_away_keeps_no_pod_from_serving_the_others_callers() {
    let shop = Namespace::create("partner").await;
    let mut items = shop.items();
    items["spec"]["app"]["replicas"] = json!(1);
    let mut partner = items["spec"]["issuers"][0].clone();
    partner["name"] = json!("partner");
    partner["url"] = json!("https://nobody.okta.svc.cluster.local/oauth2/partner");
    items["spec"]["issuers"].as_array_mut().expect("issuers").push(partner);
    shop.apply(&items).expect("the resource is accepted");

    shop.await_ready().await;
    let caller = Caller::of(&shop);
    caller.assert_gets_the_items(&caller.token("items").await).await;
    let message = shop.await_condition("IssuersReachable", "False", Some("Unreachable")).await;
    assert!(message.contains("Issuer partner at https://nobody.okta.svc.cluster.local"), "{message}");
    assert!(message.contains("Tokens of issuer partner are answered 503 until it answers"), "{message}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_said_to_be_that() {
    let shop = Namespace::create("tls").await;
    let mut items = shop.items();
    items["spec"]["issuers"][0].as_object_mut().expect("an issuer").remove("caBundle");
    shop.apply(&items).expect("the resource is accepted");
    let message = shop.await_condition("IssuersReachable", "False", Some("BadTLS")).await;
    assert!(message.contains("caBundle"), "the message says the fix: {message}");
}

#[tokio::test]
async fn a_wrong_image_is_named_and_heals() {
    let shop = Namespace::create("image").await;
    let mut items = shop.items();
    let image = items["spec"]["app"]["image"].clone();
    items["spec"]["app"]["image"] = json!("localhost/tollgate/no-such-image:1");
    items["spec"]["app"]["imagePullPolicy"] = json!("Never");
    shop.apply(&items).expect("the resource is accepted");
    let message = shop.await_condition("WorkloadAvailable", "False", Some("ImagePullFailed")).await;
    assert!(message.contains("localhost/tollgate/no-such-image:1"), "{message}");
    assert_event(&shop, "ImagePullFailed", "no-such-image").await;

    items["spec"]["app"]["image"] = image;
    shop.apply(&items).expect("the edit is accepted");
    shop.await_ready().await;
}

#[tokio::test]
async fn a_broken_renewed_certificate_is_named_while_the_pod_serves_on_and_heals() {
    let shop = Namespace::create("renewal").await;
    let ca = Authority::new("Renewal CA");
    shop.apply(&ca.server("items").secret("items-tls")).expect("the Secret can be made");
    let mut items = shop.items();
    items["spec"]["tls"] = json!({"secretRef": {"name": "items-tls"}});
    items["spec"]["app"]["replicas"] = json!(1);
    shop.apply(&items).expect("the resource is accepted");
    shop.await_ready().await;

    let mut broken = ca.server("items").secret("items-tls");
    broken["stringData"]["tls.key"] = ca.server("items").secret("items-tls")["stringData"]["tls.key"].clone();
    shop.apply(&broken).expect("the Secret can be renewed");
    let message = shop.await_condition("PolicyEnforced", "True", Some("CertificateMissing")).await;
    assert!(message.contains("items-tls"), "{message}");
    assert_event(&shop, "CertificateMissing", "items-tls").await;
    let ready = shop.condition("Ready").await.expect("a condition");
    assert_eq!(ready.status, "True", "{}", ready.message);

    shop.apply(&ca.server("items").secret("items-tls")).expect("the Secret can be renewed");
    shop.await_condition("PolicyEnforced", "True", Some("Enforced")).await;
}
