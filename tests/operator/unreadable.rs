//! A resource that this operator cannot read, as a newer schema may let it in: said on the resource, and no trouble for
//! any other.

use std::fs;

use anyhow::Context;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};
use tests::kubernetes::repository;
use tests::wait::eventually;
use tollgate_api::OktaProtectedApi;

use crate::api_server;
use crate::scene::{SOON, Scene};

#[tokio::test]
async fn a_resource_that_cannot_be_read_is_told_so_and_does_not_stop_the_others() {
    let known = fs::read_to_string(repository().join("crds/oktaprotectedapis.yaml")).expect("the CRD");
    let newer = known.replace("- debug\n", "- debug\n                    - deafening\n");
    assert_ne!(newer, known, "the schema lists the log levels");
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("newer.yaml");
    fs::write(&manifest, newer).expect("written");
    let control_plane = api_server::start(manifest).await;
    let scene = Scene::within(api_server::config_of(&control_plane).await, "unreadable").await;

    let resources: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &ApiResource::erase::<OktaProtectedApi>(&()));
    for (name, level) in [("items", "deafening"), ("other", "info")] {
        let mut resource = serde_json::to_value(scene.items(json!({}))).expect("JSON");
        resource["metadata"]["name"] = name.into();
        resource["spec"]["sidecar"]["logLevel"] = level.into();
        let resource = serde_json::from_value(resource).expect("an object");
        resources.create(&PostParams::default(), &resource).await.expect("this schema takes it");
    }
    let operator = scene.operator("operator-0").await;
    let accepted = |name: &'static str, status: &'static str| {
        let resources = resources.clone();
        async move {
            eventually("Accepted", SOON, || async {
                let resource = resources.get(name).await?;
                let conditions = resource.data.pointer("/status/conditions").and_then(Value::as_array);
                let accepted = conditions.into_iter().flatten().find(|condition| condition["type"] == "Accepted");
                let accepted = accepted.context("no condition")?;
                anyhow::ensure!(accepted["status"] == status, "{accepted}");
                Ok(accepted["message"].as_str().unwrap_or_default().to_owned())
            })
            .await
        }
    };
    accepted("other", "True").await;
    let message = accepted("items", "False").await;
    assert!(message.contains("cannot read the resource") && message.contains("deafening"), "{message}");
    operator.stop().await;
}
