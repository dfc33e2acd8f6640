//! Objects of the user's with a name that we would use: left alone, said, and the way is free once they are gone.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tollgate_api::OktaProtectedApi;

use crate::scene::Scene;

#[tokio::test]
async fn a_service_of_the_users_is_left_alone() {
    left_alone::<Service>(
        "Service",
        json!({
            "metadata": {"name": "items"},
            "spec": {"selector": {"app": "legacy"}, "ports": [{"port": 80}]},
        }),
    )
    .await;
}

#[tokio::test]
async fn a_deployment_of_the_users_is_left_alone() {
    left_alone::<Deployment>(
        "Deployment",
        json!({
            "metadata": {"name": "items"},
            "spec": {
                "selector": {"matchLabels": {"app": "legacy"}},
                "template": {
                    "metadata": {"labels": {"app": "legacy"}},
                    "spec": {"containers": [{"name": "app", "image": "registry.test/legacy:1"}]},
                },
            },
        }),
    )
    .await;
}

#[tokio::test]
async fn a_service_account_of_the_users_is_left_alone() {
    left_alone::<ServiceAccount>("ServiceAccount", json!({"metadata": {"name": "items"}})).await;
}

#[tokio::test]
async fn a_resource_that_is_made_anew_awaits_the_end_of_what_its_predecessor_had_without_an_alarm() {
    let (scene, operator) = Scene::with_operator("anew").await;
    scene.create_items().await;
    scene.await_objects().await;
    // Kept from going, so that the wait can be seen.
    let held: Service = scene.edit(json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    scene.delete::<OktaProtectedApi>().await;
    let anew = scene.create_items().await;
    let message = scene.condition("Accepted", "False", "Pending").await;
    assert!(message.starts_with("Kubernetes has yet to remove the"), "{message}");
    assert!(message.contains("Service items"), "{message}");

    scene.edit::<Service>(json!({"metadata": {"finalizers": []}})).await;
    scene.condition("Accepted", "True", "Accepted").await;
    let service: Service = scene.api().get("items").await.expect("a new one");
    assert_ne!(service.uid(), held.uid());
    assert_eq!(service.owner_references()[0].uid, anew.uid().expect("a uid"));
    let events = scene.api::<Event>().list(&ListParams::default()).await.expect("a list").items;
    assert!(events.iter().all(|event| event.reason.as_deref() != Some("NameTaken")), "{events:?}");
    operator.stop().await;
}

async fn left_alone<K>(kind: &str, object: Value)
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let (scene, operator) = Scene::with_operator("taken").await;
    let object: K = serde_json::from_value(object).expect("an object");
    let theirs = scene.create(&object).await;
    scene.create_items().await;

    let message = scene.condition("Accepted", "False", "NameTaken").await;
    assert!(message.starts_with(&format!("The {kind} items is not Tollgate's")), "{message}");
    scene.condition("Ready", "False", "NameTaken").await;
    scene.warning("NameTaken", &message).await;
    let now = scene.api::<K>().get("items").await.expect("it is still there");
    assert_eq!((now.uid(), now.labels()), (theirs.uid(), theirs.labels()));
    assert!(now.owner_references().is_empty());
    assert!(now.managed_fields().iter().all(|entry| entry.manager.as_deref() != Some("tollgate.dev/operator")));
    assert_eq!(scene.policies().await, [] as [String; 0], "nothing is written before the names are free");

    scene.delete::<K>().await;
    scene.condition("Accepted", "True", "Accepted").await;
    scene.await_objects().await;
    operator.stop().await;
}
