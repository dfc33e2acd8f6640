//! What is not ours is left alone, and the resource says so.

use serde_json::{Value, json};
use tests::kubernetes::Namespace;

#[tokio::test]
async fn a_service_and_a_deployment_of_the_user_are_left_alone() {
    let shop = Namespace::create("taken").await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "items"},
        "spec": {"selector": {"app": "mine"}, "ports": [{"port": 8080}]},
    });
    shop.apply(&service).expect("a Service of the user's");
    let before = object(&shop, "service");
    shop.apply(&shop.items()).expect("the example is accepted");
    let message = shop.await_condition("Ready", "False", Some("NameTaken")).await;
    assert!(message.contains("Service") && message.contains("items"), "{message}");
    assert_eq!(object(&shop, "service"), before, "the user's Service is as it was");
    let note = shop.event("NameTaken").expect("an Event says so");
    assert!(note.contains("Service"), "{note}");

    // It heals by itself once the name is free.
    shop.kubectl(&["delete", "service", "items"]);
    shop.await_ready().await;
}

#[tokio::test]
async fn a_deployment_of_the_user_is_left_alone() {
    let shop = Namespace::create("taken-deployment").await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "items"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "mine"}}, "template": {
            "metadata": {"labels": {"app": "mine"}},
            "spec": {"containers": [{"name": "mine", "image": "localhost/mine:1"}]},
        }},
    });
    shop.apply(&deployment).expect("a Deployment of the user's");
    let before = object(&shop, "deployment")["spec"].clone();
    shop.apply(&shop.items()).expect("the example is accepted");
    let message = shop.await_condition("Ready", "False", Some("NameTaken")).await;
    assert!(message.contains("Deployment"), "{message}");
    assert_eq!(object(&shop, "deployment")["spec"], before, "the user's Deployment is as it was");
    shop.kubectl(&["delete", "okapi", "items"]);
    assert_eq!(object(&shop, "deployment")["spec"], before, "deleting the resource does not take it along");
}

fn object(namespace: &Namespace, kind: &str) -> Value {
    serde_json::from_str(&namespace.kubectl(&["get", kind, "items", "-o", "json"])).expect("kubectl prints JSON")
}
