//! The kubelet, played: pods are bound to a node that does not exist and their status is written by hand.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::sidecars::Sidecar;

/// The policy that a pod was made for.
pub(crate) fn policy_of(pod: &Pod) -> &str {
    &pod.annotations()["tollgate.dev/policy-hash"]
}

/// A container that runs.
pub(crate) fn runs(ready: bool) -> Value {
    json!({
        "ready": ready, "started": true, "restartCount": 0, "image": "", "imageID": "",
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    })
}

/// A container that waits, for this reason.
pub(crate) fn waits(reason: &str) -> Value {
    json!({
        "ready": false, "started": false, "restartCount": 0, "image": "", "imageID": "",
        "state": {"waiting": {"reason": reason, "message": "as the kubelet says"}},
    })
}

/// Says of a pod's sidecar and app that they are like this.
pub(crate) async fn report(scene: &Scene, pod: &Pod, address: Option<&str>, sidecar: Value, app: Value) {
    let ready = sidecar["ready"] == true && app["ready"] == true;
    let named = |name: &str, mut container: Value| {
        container["name"] = name.into();
        container
    };
    let mut status = json!({
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" },
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ],
        "initContainerStatuses": [named("tollgate", sidecar)],
        "containerStatuses": [named("app", app)],
    });
    if let Some(address) = address {
        status["podIP"] = address.into();
        status["podIPs"] = json!([{"ip": address}]);
    }
    scene
        .api::<Pod>()
        .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": status})))
        .await
        .expect("the status is taken");
}

/// Runs a pod, with a sidecar that reports the pod's policy, at `127.0.0.<number>`.
pub(crate) async fn run(scene: &Scene, pod: &Pod, number: u8) -> Sidecar {
    run_saying(scene, pod, number, &pod.uid().expect("a uid"), policy_of(pod)).await
}

/// The same, but the sidecar says that it is of this pod and has this policy.
pub(crate) async fn run_saying(scene: &Scene, pod: &Pod, number: u8, uid: &str, policy: &str) -> Sidecar {
    bind(scene, pod).await;
    let sidecar = Sidecar::start(number, scene.poll_port, uid, policy).await;
    report(scene, pod, Some(&sidecar.address.to_string()), runs(true), runs(true)).await;
    sidecar
}

/// Puts a pod on a node: from now on it ends only when the kubelet says so.
pub(crate) async fn bind(scene: &Scene, pod: &Pod) {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod.name_any()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
    });
    let url = format!("{}/{}/binding", Pod::url_path(&(), Some(&scene.namespace)), pod.name_any());
    let request = http::Request::post(url)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(binding.to_string().into_bytes())
        .expect("a request");
    scene.client.request_status::<Value>(request).await.expect("the pod is bound");
}

/// Ends a pod that is being deleted.
pub(crate) async fn end(scene: &Scene, pod: &Pod) {
    scene
        .api::<Pod>()
        .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
        .await
        .expect("the pod is deleted");
}
