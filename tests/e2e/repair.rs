//! What is taken away is put back within 5 s, what is deleted is gone, and the operator's end is not the traffic's.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tests::kubernetes::{Namespace, kubectl};
use tests::wait::{eventually, throughout};
use tokio::sync::Mutex;

use crate::caller::Caller;

/// The promise.
const REPAIR: Duration = Duration::from_secs(5);

/// The promise when the leader is gone without a word.
const TAKEOVER: Duration = Duration::from_secs(15);

/// Held by the test that needs an operator at work, and by the one that kills it.
static OPERATOR: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn drift_is_repaired_within_five_seconds() {
    let _undisturbed = OPERATOR.lock().await;
    let shop = Namespace::create("drift").await;
    shop.apply(&shop.items()).expect("the example is accepted");
    shop.await_ready().await;

    let sidecar_image = || -> anyhow::Result<String> {
        let text = shop.try_kubectl(&["get", "deployment", "items", "-o", "json"])?;
        let deployment: Value = serde_json::from_str(&text)?;
        let containers = deployment["spec"]["template"]["spec"]["initContainers"].as_array().context("no sidecar")?;
        let sidecar = containers.iter().find(|container| container["name"] == "tollgate").context("no sidecar")?;
        Ok(sidecar["image"].as_str().context("no image")?.to_owned())
    };
    let image = sidecar_image().expect("the Deployment has the sidecar");
    let uid = |kind: &str| shop.try_kubectl(&["get", kind, "items", "-o", "jsonpath={.metadata.uid}"]);

    let before = uid("deployment").expect("the Deployment is there");
    shop.kubectl(&["delete", "deployment", "items", "--cascade=foreground"]);
    eventually("the deleted Deployment is back", REPAIR, || async {
        let now = uid("deployment")?;
        if now == before { bail!("still the old one") } else { Ok(()) }
    })
    .await;

    shop.kubectl(&["set", "image", "deployment/items", "tollgate=localhost/not/ours:1"]);
    eventually("the sidecar's image is ours again", REPAIR, || async {
        let now = sidecar_image()?;
        if now == image { Ok(()) } else { bail!("{now}") }
    })
    .await;

    shop.kubectl(&["delete", "networkpolicy", "items"]);
    eventually("the removed NetworkPolicy is back", REPAIR, || async { uid("networkpolicy").map(drop) }).await;
    shop.await_ready().await;
}

#[tokio::test]
async fn deleting_the_resource_removes_everything_it_owned() {
    let shop = Namespace::create("delete").await;
    shop.apply(&shop.items()).expect("the example is accepted");
    shop.await_ready().await;
    let kinds = "deployment,replicaset,pod,service,endpointslice,serviceaccount,configmap,networkpolicy";
    let ours = || shop.try_kubectl(&["get", kinds, "-l", "tollgate.dev/api=items", "-o", "name"]);
    assert!(ours().expect("a list").lines().count() >= 6, "what the operator made is labelled");

    shop.kubectl(&["delete", "okapi", "items"]);
    eventually("nothing is left", Duration::from_secs(120), || async {
        let left = ours()?;
        if left.trim().is_empty() { Ok(()) } else { bail!("{left}") }
    })
    .await;
    let left = shop.kubectl(&["get", "serviceaccount,configmap,secret", "-o", "name"]);
    assert!(left.contains("configmap/okta-ca") && left.contains("secret/okta-items"), "what is yours stays: {left}");
}

#[tokio::test]
async fn killing_the_operator_changes_nothing_for_traffic() {
    let _alone = OPERATOR.lock().await;
    let shop = Namespace::create("operator").await;
    shop.apply(&shop.items()).expect("the example is accepted");
    shop.await_ready().await;
    let caller = Caller::of(&shop);
    let token = caller.token("items").await;

    let operators = ["-n", "tollgate-system", "delete", "pod", "-l", "app.kubernetes.io/name=tollgate"];
    kubectl(&[&operators[..], &["--grace-period=0", "--force", "--wait=false"]].concat(), None)
        .expect("they can be killed");
    throughout("requests pass", Duration::from_secs(10), || async {
        let answer = caller.items_with(&token).await?;
        if answer.status() == 200 { Ok(()) } else { bail!("{}", answer.status()) }
    })
    .await;
    let back = ["-n", "tollgate-system", "rollout", "status", "deployment/tollgate", "--timeout=120s"];
    kubectl(&back, None).expect("the operator comes back");
    shop.kubectl(&["delete", "networkpolicy", "items"]);
    eventually("the next leader repairs", TAKEOVER, || async {
        shop.try_kubectl(&["get", "networkpolicy", "items"]).map(drop)
    })
    .await;
}
