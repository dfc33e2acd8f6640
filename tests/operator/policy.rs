//! A policy's life: a new one rolls the pods and the old one goes with its last pod; a bad edit changes nothing.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tests::wait::eventually;
use tollgate_api::OktaProtectedApi;

use crate::kubelet;
use crate::scene::{REPAIR, SOON, Scene};

#[tokio::test]
async fn a_new_policy_is_enforced_only_when_no_pod_of_the_old_one_can_answer() {
    let (scene, operator) = Scene::with_operator("roll").await;
    let old = scene.one_pod(json!({})).await;
    let _old_sidecar = kubelet::run(&scene, &old, 21).await;
    scene.condition("Ready", "True", "Ready").await;
    let old_policy = scene.policies().await;

    scene.edit::<OktaProtectedApi>(json!({"spec": {"routes": []}})).await;
    scene.condition("PolicyEnforced", "False", "RollPending").await;
    scene.condition("Ready", "False", "Progressing").await;
    let pods = scene.pods(2).await;
    let new = pods.iter().find(|pod| pod.uid() != old.uid()).expect("a new pod");
    assert_ne!(kubelet::policy_of(new), kubelet::policy_of(&old));
    assert_eq!(scene.policies().await.len(), 2, "a pod that restarts still finds its policy");

    let _new_sidecar = kubelet::run(&scene, new, 22).await;
    scene.condition("WorkloadAvailable", "True", "Available").await;
    // The old pod is being deleted, and its sidecar still runs.
    scene.condition("Ready", "False", "RollPending").await;
    kubelet::end(&scene, &old).await;
    scene.condition("Ready", "True", "Ready").await;
    eventually("the old policy is removed", SOON, || async {
        let policies = scene.policies().await;
        if policies.len() == 1 && policies != old_policy { Ok(()) } else { Err(format!("{policies:?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_bad_edit_is_said_and_everything_stays_as_it_was() {
    let (scene, operator) = Scene::with_operator("bad-edit").await;
    let pod = scene.one_pod(json!({})).await;
    let _sidecar = kubelet::run(&scene, &pod, 23).await;
    scene.condition("Ready", "True", "Ready").await;
    let before = (scene.policies().await, scene.api::<Deployment>().get("items").await.expect("it").resource_version());

    let insecure = json!([{"name": "okta", "url": "http://okta.test/oauth2/default", "audiences": ["api://default"]}]);
    scene.edit::<OktaProtectedApi>(json!({"spec": {"issuers": insecure, "app": {"replicas": 5}}})).await;
    let message = scene.condition("Accepted", "False", "InsecureIssuer").await;
    scene.warning("InsecureIssuer", &message).await;
    scene.condition("Ready", "False", "InsecureIssuer").await;
    scene.condition("PolicyEnforced", "True", "Enforced").await;
    let after = (scene.policies().await, scene.api::<Deployment>().get("items").await.expect("it").resource_version());
    assert_eq!(after, before);

    scene
        .edit::<OktaProtectedApi>(serde_json::to_value(scene.items(json!({"app": {"replicas": 1}}))).expect("JSON"))
        .await;
    scene.condition("Ready", "True", "Ready").await;
    operator.stop().await;
}

#[tokio::test]
async fn what_is_in_force_is_repaired_while_an_edit_is_not_accepted() {
    let (scene, operator) = Scene::with_operator("kept").await;
    scene.create_items().await;
    scene.condition("Accepted", "True", "Accepted").await;
    let insecure = json!([{"name": "okta", "url": "http://okta.test/oauth2/default", "audiences": ["api://default"]}]);
    scene.edit::<OktaProtectedApi>(json!({"spec": {"issuers": insecure, "app": {"replicas": 5}}})).await;
    scene.condition("Accepted", "False", "InsecureIssuer").await;

    scene.delete::<NetworkPolicy>().await;
    scene.awaits::<NetworkPolicy>("a new NetworkPolicy", REPAIR, |_| true).await;
    scene.edit::<Service>(json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8000}]}})).await;
    let leads_to_the_sidecar = |service: &Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.map(|port| json!(port.target_port)).eq([json!("tollgate")])
    };
    scene.awaits("the Service as it was", REPAIR, leads_to_the_sidecar).await;
    scene.edit::<Deployment>(json!({"spec": {"replicas": 7}})).await;
    let replicas = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas);
    scene.awaits("the replicas of the resource in force", REPAIR, |deployment| replicas(deployment) == Some(2)).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_rule_that_does_not_compile_is_said_with_its_place_and_the_policy_in_force_stays() {
    let (scene, operator) = Scene::with_operator("bad-rule").await;
    let pod = scene.one_pod(json!({})).await;
    let _sidecar = kubelet::run(&scene, &pod, 24).await;
    scene.condition("Ready", "True", "Ready").await;
    let before = (scene.policies().await, scene.api::<Deployment>().get("items").await.expect("it").resource_version());

    let with = |when: &str| json!({"spec": {"routes": [{"name": "support", "match": {"path": {"prefix": "/support"}}, "when": when}]}});
    scene.edit::<OktaProtectedApi>(with("claims.sub != '' &&\n  'support' in groups")).await;
    let message = scene.condition("Accepted", "False", "InvalidRule").await;
    assert!(message.starts_with("route support: when: line 2, column 16: "), "{message}");
    scene.warning("InvalidRule", &message).await;
    scene.condition("PolicyEnforced", "True", "Enforced").await;
    let after = (scene.policies().await, scene.api::<Deployment>().get("items").await.expect("it").resource_version());
    assert_eq!(after, before);

    scene.edit::<OktaProtectedApi>(with("claims.sub != '' &&\n  'support' in claims.groups")).await;
    scene.condition("Accepted", "True", "Accepted").await;
    operator.stop().await;
}

#[tokio::test]
async fn an_object_that_the_api_server_refuses_is_said_in_its_words_and_the_rest_stays() {
    let (scene, operator) = Scene::with_operator("refused").await;
    scene.create_items().await;
    scene.await_objects().await;
    let before = scene.api::<Deployment>().get("items").await.expect("it").meta().generation;

    scene
        .edit::<OktaProtectedApi>(json!({"spec": {"app": {"resources": {
            "requests": {"cpu": "2"}, "limits": {"cpu": "1"},
        }}}}))
        .await;
    let message = scene.condition("Accepted", "False", "ObjectRefused").await;
    assert!(message.starts_with("Kubernetes refuses the Deployment items: "), "{message}");
    assert!(message.contains("must be less than or equal to cpu limit"), "{message}");
    assert_eq!(scene.api::<Deployment>().get("items").await.expect("it").meta().generation, before);

    scene.edit::<OktaProtectedApi>(json!({"spec": {"app": {"resources": null}}})).await;
    scene.condition("Accepted", "True", "Accepted").await;
    operator.stop().await;
}

#[tokio::test]
async fn an_admission_webhook_that_is_down_is_said_and_heals() {
    let (scene, operator) = Scene::with_operator("webhook").await;
    let webhook: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": scene.namespace},
        "webhooks": [{
            "name": "down.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
            "rules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"],
            }],
        }],
    }))
    .expect("a webhook");
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(scene.client.clone());
    webhooks.create(&PostParams::default(), &webhook).await.expect("created");
    let any: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "any"},
        "spec": {
            "selector": {"matchLabels": {"app": "any"}},
            "template": {
                "metadata": {"labels": {"app": "any"}},
                "spec": {"containers": [{"name": "any", "image": "registry.test/any:1"}]},
            },
        },
    }))
    .expect("a Deployment");
    eventually("the webhook counts", SOON, || async {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match scene.api().create(&dry_run, &any).await {
            Err(kube::Error::Api(status)) if status.message.contains("webhook") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    scene.create_items().await;
    let message = scene.condition("Accepted", "False", "ObjectRefused").await;
    assert!(message.starts_with("Kubernetes refuses the Deployment items: "), "{message}");
    assert!(message.contains(r#"failed calling webhook "down.example.com""#), "{message}");
    scene.warning("ObjectRefused", &message).await;

    webhooks.delete(&scene.namespace, &DeleteParams::default()).await.expect("deleted");
    scene.look("now").await;
    scene.condition("Accepted", "True", "Accepted").await;
    operator.stop().await;
}
