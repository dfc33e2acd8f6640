//! What the sidecars say, and what the resource then says: Ready is never a guess.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use serde_json::json;
use tests::wait::{eventually, throughout};
use tollgate_contract::ProblemCode;

use crate::kubelet::{self, bind, report, runs};
use crate::scene::{REPAIR, Running, SOON, Scene};
use crate::sidecars::Sidecar;

/// A scene with one running pod.
async fn one_pod(purpose: &str, number: u8) -> (Scene, Running, Pod, Sidecar) {
    let (scene, operator) = Scene::with_operator(purpose).await;
    let pod = scene.one_pod(json!({})).await;
    let sidecar = kubelet::run(&scene, &pod, number).await;
    (scene, operator, pod, sidecar)
}

#[tokio::test]
async fn pods_that_report_the_policy_make_the_resource_ready() {
    let (scene, operator, _, _sidecar) = one_pod("ready", 31).await;
    scene.condition("Ready", "True", "Ready").await;
    scene.condition("IssuersReachable", "True", "Reachable").await;
    assert_eq!(scene.event("Ready").await.0, "Normal");
    let status = scene.status().await;
    assert_eq!(status.protected.as_deref(), Some("1/1"));
    assert_eq!(status.issuers[0].key_ids, ["key-1"]);
    operator.stop().await;
}

#[tokio::test]
async fn available_pods_that_do_not_answer_are_not_taken_for_protected() {
    let (scene, operator) = Scene::with_operator("blocked").await;
    let pod = scene.one_pod(json!({})).await;
    bind(&scene, &pod).await;
    report(&scene, &pod, Some("127.0.0.32"), runs(true), runs(true)).await;
    scene.condition("WorkloadAvailable", "True", "Available").await;
    let message = scene.condition("PolicyEnforced", "Unknown", "PollBlocked").await;
    assert!(
        message.contains(&format!("app.kubernetes.io/name=tollgate in namespace {}", scene.namespace)),
        "{message}"
    );
    scene.condition("Ready", "False", "PollBlocked").await;

    let uid = pod.uid().expect("a uid");
    let _sidecar = Sidecar::start(32, scene.poll_port, &uid, kubelet::policy_of(&pod)).await;
    scene.condition("Ready", "True", "Ready").await;
    operator.stop().await;
}

#[tokio::test]
async fn an_answer_for_another_pod_is_no_answer() {
    let (scene, operator) = Scene::with_operator("other-pod").await;
    let pod = scene.one_pod(json!({})).await;
    let sidecar = kubelet::run_saying(&scene, &pod, 33, "another-uid", kubelet::policy_of(&pod)).await;
    let message = scene.condition("PolicyEnforced", "Unknown", "PollBlocked").await;
    assert!(message.contains("answers for another pod"), "{message}");
    sidecar.answers_for(&pod.uid().expect("a uid"));
    scene.condition("Ready", "True", "Ready").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_pod_that_reports_another_policy_is_not_protected_whatever_its_record_says() {
    let (scene, operator) = Scene::with_operator("liar").await;
    let pod = scene.one_pod(json!({})).await;
    let uid = pod.uid().expect("a uid");
    let _sidecar = kubelet::run_saying(&scene, &pod, 34, &uid, "0123456789abcdef").await;
    scene.condition("PolicyEnforced", "False", "RollPending").await;
    let status = scene.status().await;
    assert_eq!(status.protected.as_deref(), Some("0/1"));
    operator.stop().await;
}

#[tokio::test]
async fn a_pod_that_is_added_does_not_take_readiness_away() {
    let (scene, operator, _, _sidecar) = one_pod("scale", 35).await;
    scene.condition("Ready", "True", "Ready").await;
    // Made by hand, so that the Deployment stays available: only the sidecars are looked at here.
    let pod = scene.pods(1).await.remove(0);
    let mut added = pod.clone();
    added.metadata = kube::api::ObjectMeta {
        name: Some("items-added".to_owned()),
        labels: pod.metadata.labels.clone().map(|mut labels| {
            labels.remove("pod-template-hash");
            labels
        }),
        annotations: pod.metadata.annotations.clone(),
        ..Default::default()
    };
    added.status = None;
    if let Some(spec) = &mut added.spec {
        spec.node_name = None;
    }
    let added = scene.create(&added).await;
    bind(&scene, &added).await;
    report(&scene, &added, Some("127.0.0.36"), runs(false), runs(false)).await;
    throughout("Ready", std::time::Duration::from_secs(2), || async {
        let ready = scene.seen("Ready").await?;
        if ready.status == "True" { Ok(()) } else { anyhow::bail!(ready.message) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn an_issuer_in_trouble_is_named_and_does_not_take_readiness_away() {
    let (scene, operator, _, sidecar) = one_pod("issuer", 37).await;
    scene.condition("Ready", "True", "Ready").await;
    sidecar.has(&[ProblemCode::IssuerBadTls]);
    scene.look("now").await;
    let message = scene.condition("IssuersReachable", "False", "BadTLS").await;
    assert!(message.contains("issuer okta at https://okta.test/oauth2/default"), "{message}");
    scene.warning("BadTLS", &message).await;
    scene.condition("Ready", "True", "Ready").await;
    sidecar.has(&[]);
    scene.condition("IssuersReachable", "True", "Reachable").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_broken_renewed_certificate_is_said_on_the_resource_while_the_pods_serve_on() {
    let (scene, operator) = Scene::with_operator("certificate").await;
    let pod = scene.one_pod(json!({"tls": {"secretRef": {"name": "items-tls"}}})).await;
    let sidecar = kubelet::run(&scene, &pod, 40).await;
    scene.condition("Ready", "True", "Ready").await;
    sidecar.has(&[ProblemCode::TlsCertificateExpired]);
    scene.look("now").await;
    let message = scene.condition("PolicyEnforced", "True", "CertificateExpired").await;
    assert!(message.contains("The certificate in the Secret items-tls has expired"), "{message}");
    scene.warning("CertificateExpired", &message).await;
    scene.condition("Ready", "True", "Ready").await;
    sidecar.has(&[]);
    scene.look("again").await;
    scene.condition("PolicyEnforced", "True", "Enforced").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_the_kubelet_is_made_to_look_again() {
    let (scene, operator) = Scene::with_operator("secret").await;
    let pod = scene.one_pod(json!({})).await;
    bind(&scene, &pod).await;
    let uid = pod.uid().expect("a uid");
    let sidecar = Sidecar::start(38, scene.poll_port, &uid, kubelet::policy_of(&pod)).await;
    sidecar.has(&[ProblemCode::CredentialsMissing]);
    report(&scene, &pod, Some("127.0.0.38"), runs(false), runs(true)).await;
    let message = scene.condition("WorkloadAvailable", "False", "CredentialsMissing").await;
    assert_eq!(message, "Issuer okta needs the Secret okta-items with the keys clientId and clientSecret.");
    scene.warning("CredentialsMissing", &message).await;

    let touched = || async {
        let pod = scene.api::<Pod>().get(&pod.name_any()).await?;
        pod.annotations().get("tollgate.dev/refresh").cloned().ok_or_else(|| anyhow::anyhow!("not touched"))
    };
    let first = eventually("the pod is touched", SOON, touched).await;
    let second = eventually("it is touched again", SOON, || async {
        let now = touched().await?;
        if now == first { anyhow::bail!("not again") } else { Ok(now) }
    })
    .await;
    let seconds = |text: &str| text.parse::<u64>().expect("seconds");
    assert!(seconds(&second) - seconds(&first) >= 5, "at most once in five seconds: {first} {second}");

    sidecar.has(&[]);
    report(&scene, &pod, Some("127.0.0.38"), runs(true), runs(true)).await;
    scene.condition("Ready", "True", "Ready").await;
    operator.stop().await;
}

#[tokio::test]
async fn pods_that_do_not_answer_do_not_keep_a_repair_waiting() {
    let (scene, operator) = Scene::with_operator("many").await;
    scene.create(&scene.items(json!({"app": {"replicas": 100}}))).await;
    // Takes connections and says nothing.
    let _silent = std::net::TcpListener::bind(("127.0.0.39", scene.poll_port)).expect("a port of loopback");
    for pod in scene.pods(100).await {
        bind(&scene, &pod).await;
        report(&scene, &pod, Some("127.0.0.39"), runs(true), runs(true)).await;
    }
    // At any moment of a look.
    for _ in 0..3 {
        scene.delete::<NetworkPolicy>().await;
        scene.awaits::<NetworkPolicy>("a new NetworkPolicy", REPAIR, |_| true).await;
    }
    operator.stop().await;
}
