//! A workload that does not get up: why, in one plain sentence, as condition and as Event.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::kubelet::{self, bind, report, runs, waits};
use crate::scene::Scene;

/// What is said of a workload whose only pod is like this.
async fn said(purpose: &str, sidecar: Value, app: Value, reason: &str) -> String {
    let (scene, operator) = Scene::with_operator(purpose).await;
    let pod = scene.one_pod(json!({})).await;
    bind(&scene, &pod).await;
    report(&scene, &pod, None, sidecar, app).await;
    let message = scene.condition("WorkloadAvailable", "False", reason).await;
    scene.condition("Ready", "False", reason).await;
    scene.warning(reason, &message).await;
    operator.stop().await;
    message
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named() {
    let message = said("image", runs(true), waits("ImagePullBackOff"), "ImagePullFailed").await;
    assert!(message.starts_with("The image registry.test/items:1.4 cannot be pulled"), "{message}");
}

#[tokio::test]
async fn a_sidecar_image_that_cannot_be_pulled_points_at_the_chart() {
    let message = said("sidecar-image", waits("ErrImagePull"), waits("PodInitializing"), "ImagePullFailed").await;
    assert!(message.contains(crate::scene::SIDECAR_IMAGE) && message.contains("images.sidecar"), "{message}");
}

#[tokio::test]
async fn an_app_that_crashes_again_and_again_is_said_to() {
    let mut app = waits("CrashLoopBackOff");
    app["restartCount"] = 4.into();
    app["lastState"] = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
    let message = said("crash", runs(true), app, "CrashLooping").await;
    assert_eq!(message, "The app ends again and again: exit code 3; see its log.");
}

#[tokio::test]
async fn an_app_that_does_not_listen_on_its_port_is_said_and_heals() {
    let (scene, operator) = Scene::with_operator("port").await;
    let pod = scene.one_pod(json!({})).await;
    let sidecar = kubelet::run(&scene, &pod, 71).await;
    sidecar.says_that_the_app_listens(false);
    scene.look("now").await;
    let message = scene.condition("WorkloadAvailable", "False", "AppNotReady").await;
    assert!(message.contains("upstream.port"), "{message}");
    scene.condition("Ready", "False", "AppNotReady").await;
    sidecar.says_that_the_app_listens(true);
    scene.condition("Ready", "True", "Ready").await;
    operator.stop().await;
}

#[tokio::test]
async fn pods_that_a_quota_refuses_are_explained_and_heal() {
    let scene = Scene::new("quota").await;
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}},
    }))
    .expect("a quota");
    let quotas = scene.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &quota).await.expect("created");
    tests::wait::eventually("the quota counts", crate::scene::SOON, || async {
        let counted = quotas.get("none").await?.status.and_then(|status| status.used);
        counted.map(drop).ok_or_else(|| anyhow::anyhow!("not yet"))
    })
    .await;
    let operator = scene.operator("operator-0").await;
    scene.create_items().await;
    let message = scene.condition("WorkloadAvailable", "False", "PodsRefused").await;
    assert!(message.starts_with("Kubernetes refuses the pods: exceeded quota: none"), "{message}");
    quotas.delete("none", &DeleteParams::default()).await.expect("deleted");
    scene.condition("WorkloadAvailable", "False", "Progressing").await;
    operator.stop().await;
}
