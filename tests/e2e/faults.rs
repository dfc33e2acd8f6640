//! What is wrong stands on the resource in one plain sentence, as a condition and as an Event, and heals by itself.

use std::time::Duration;

use serde_json::json;
use tests::certificates::Authority;
use tests::kubernetes::Namespace;
use tests::wait::eventually;

use crate::caller::Caller;

/// A name that no DNS knows.
const NOBODY: &str = "nobody.okta.svc.cluster.local";

/// Awaits that a condition has this status and reason, and that its sentence has these words; an Event has the first.
async fn assert_said(shop: &Namespace, kind: &str, status: &str, reason: &str, words: &[&str]) {
    let message = shop.await_condition(kind, status, Some(reason)).await;
    assert!(words.iter().all(|word| message.contains(word)), "{reason} names {words:?}: {message}");
    let note =
        eventually(&format!("an Event {reason}"), Duration::from_secs(30), || async { shop.event(reason) }).await;
    assert!(note.contains(words[0]), "the Event {reason} names {}: {note}", words[0]);
}

/// `Ready` is this at the moment.
async fn assert_ready_is(shop: &Namespace, status: &str) {
    let ready = shop.condition("Ready").await.expect("a condition");
    assert_eq!(ready.status, status, "{}", ready.message);
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

    assert_said(&shop, "Ready", "False", "CredentialsMissing", &["okta-items", "clientId"]).await;

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
    items["spec"]["issuers"][0]["url"] = json!(format!("https://{NOBODY}/oauth2/default"));
    shop.apply(&items).expect("the resource is accepted");

    assert_said(&shop, "IssuersReachable", "False", "Unreachable", &[NOBODY]).await;
    // No pod can judge a token yet.
    assert_ready_is(&shop, "False").await;

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
    partner["url"] = json!(format!("https://{NOBODY}/oauth2/partner"));
    items["spec"]["issuers"].as_array_mut().expect("issuers").push(partner);
    shop.apply(&items).expect("the resource is accepted");

    shop.await_ready().await;
    let caller = Caller::of(&shop);
    caller.assert_gets_the_items(&caller.token("items").await).await;
    let named = format!("Issuer partner at https://{NOBODY}");
    let words = [NOBODY, &named, "Tokens of issuer partner are answered 503 until it answers"];
    assert_said(&shop, "IssuersReachable", "False", "Unreachable", &words).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_said_to_be_that() {
    let shop = Namespace::create("tls").await;
    let mut items = shop.items();
    items["spec"]["issuers"][0].as_object_mut().expect("an issuer").remove("caBundle");
    shop.apply(&items).expect("the resource is accepted");
    // The sentence says the fix.
    assert_said(&shop, "IssuersReachable", "False", "BadTLS", &["caBundle"]).await;
}

#[tokio::test]
async fn a_wrong_image_is_named_and_heals() {
    let shop = Namespace::create("image").await;
    let mut items = shop.items();
    let image = items["spec"]["app"]["image"].clone();
    items["spec"]["app"]["image"] = json!("localhost/tollgate/no-such-image:1");
    items["spec"]["app"]["imagePullPolicy"] = json!("Never");
    shop.apply(&items).expect("the resource is accepted");
    assert_said(&shop, "WorkloadAvailable", "False", "ImagePullFailed", &["localhost/tollgate/no-such-image:1"]).await;

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
    assert_said(&shop, "PolicyEnforced", "True", "CertificateMissing", &["items-tls"]).await;
    assert_ready_is(&shop, "True").await;

    shop.apply(&ca.server("items").secret("items-tls")).expect("the Secret can be renewed");
    shop.await_condition("PolicyEnforced", "True", Some("Enforced")).await;
}
