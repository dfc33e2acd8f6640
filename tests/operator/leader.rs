//! Two operators: one acts; when it is gone the other does.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use tests::wait::eventually;
use tokio::time::Instant;

use crate::scene::{Running, SOON, Scene};

/// What is promised.
const TAKEOVER: Duration = Duration::from_secs(15);

async fn leads(operator: &Running) {
    eventually("it leads", SOON, || async {
        if operator.metric("tollgate_operator_leader").await == 1 { Ok(()) } else { Err("it does not") }
    })
    .await;
}

#[tokio::test]
async fn one_of_two_acts_and_the_other_follows_when_it_is_killed() {
    let scene = Scene::new("kill").await;
    let first = scene.operator("operator-0").await;
    leads(&first).await;
    let second = scene.operator("operator-1").await;
    scene.create_items().await;
    scene.await_objects().await;
    assert_eq!(second.metric("tollgate_operator_reconciles_total").await, 0, "only the leader looks");
    assert_eq!(second.metric("tollgate_operator_condition").await, 0, "and only the leader tells");
    assert_eq!(second.admin("/readyz").await.status(), 200, "who does not lead is ready to");

    first.kill().await;
    let killed = Instant::now();
    scene.delete::<Deployment>().await;
    scene.awaits::<Deployment>("the second operator repairs", TAKEOVER, |_| true).await;
    assert!(killed.elapsed() <= TAKEOVER);
    leads(&second).await;
    second.stop().await;
}

#[tokio::test]
async fn an_operator_that_stops_gives_the_lease_up() {
    let scene = Scene::new("release").await;
    let first = scene.operator("operator-0").await;
    leads(&first).await;
    let lease =
        || async { scene.api::<Lease>().get("tollgate-operator").await.expect("the Lease").spec.expect("a spec") };
    assert_eq!(lease().await.holder_identity.as_deref(), Some("operator-0"));
    assert_eq!(lease().await.lease_duration_seconds, Some(10));
    first.stop().await;
    assert_eq!(lease().await.holder_identity, None);
    let second = scene.operator("operator-1").await;
    leads(&second).await;
    second.stop().await;
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_stops_and_campaigns_again() {
    let scene = Scene::new("lost").await;
    let operator = scene.operator("operator-0").await;
    leads(&operator).await;
    scene.create_items().await;
    let conditions = async || operator.metric("tollgate_operator_condition").await;
    eventually("it tells of conditions", SOON, || async {
        if conditions().await == 5 { Ok(()) } else { Err("it does not") }
    })
    .await;
    let taken = serde_json::json!({"spec": {
        "holderIdentity": "somebody-else", "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z",
    }});
    let by_force = kube::api::PatchParams::default();
    let api = scene.api::<Lease>();
    api.patch("tollgate-operator", &by_force, &kube::api::Patch::Merge(taken)).await.expect("taken");
    eventually("it no longer leads", SOON, || async {
        let leads = operator.metric("tollgate_operator_leader").await == 1 || conditions().await > 0;
        if leads { Err("it leads, or tells") } else { Ok(()) }
    })
    .await;
    leads(&operator).await;
    operator.stop().await;
}
