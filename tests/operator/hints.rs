//! What sidecars are told beside their policy: how many of them share an Okta limit. It changes while pods run, and no
//! pod is replaced for it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tests::wait::eventually;
use tollgate_api::OktaProtectedApi;
use tollgate_api::types::ValidationMode;
use tollgate_contract::Hints;

use crate::kubelet;
use crate::scene::{HINTS, REPAIR, SOON, Scene};

#[tokio::test]
async fn hints_follow_the_sidecars_that_share_a_limit_and_roll_no_pod() {
    let (scene, operator) = Scene::with_operator("hints").await;
    let pod = scene.one_pod(json!({})).await;
    let _sidecar = kubelet::run(&scene, &pod, 61).await;
    scene.condition("Ready", "True", "Ready").await;
    shared_by(&scene, 1).await;
    let before = (scene.policies().await, generation(&scene).await);

    // Another issuer's limit is not shared, and who judges tokens by the issuer's keys draws on none.
    scene.create(&named(&scene, "carts", "https://other.test/oauth2/default", 9)).await;
    let mut local = named(&scene, "lists", "https://okta.test/oauth2/lists", 9);
    local.spec.issuers[0].validation = ValidationMode::Local;
    scene.create(&local).await;
    scene.create(&named(&scene, "orders", "https://okta.test/oauth2/orders", 3)).await;
    shared_by(&scene, 4).await;
    scene.condition("Ready", "True", "Ready").await;
    assert_eq!((scene.policies().await, generation(&scene).await), before);
    assert_eq!(scene.pods(1).await.remove(0).uid(), pod.uid());

    scene.api::<OktaProtectedApi>().delete("orders", &DeleteParams::default()).await.expect("deleted");
    shared_by(&scene, 1).await;
    operator.stop().await;
}

#[tokio::test]
async fn hints_that_someone_changes_are_repaired() {
    let (scene, operator) = Scene::with_operator("hints-drift").await;
    scene.create_items().await;
    shared_by(&scene, 2).await;
    let forged = json!({"data": {"hints.json": "{}"}});
    let frozen = json!({"immutable": true, "data": {"hints.json": "{}"}});
    for edit in [forged, frozen] {
        edit_hints(&scene, &edit).await;
        eventually("the hints as they were", REPAIR, || async { says(&scene, 2).await }).await;
    }
    scene.api::<ConfigMap>().delete(HINTS, &DeleteParams::default()).await.expect("deleted");
    eventually("new hints", REPAIR, || async { says(&scene, 2).await }).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_config_map_of_the_users_with_the_hints_name_is_left_alone() {
    let (scene, operator) = Scene::with_operator("hints-taken").await;
    let theirs: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": HINTS}, "data": {"theirs": "1"}})).expect("a ConfigMap");
    scene.create(&theirs).await;
    scene.create_items().await;
    let message = scene.condition("Accepted", "False", "NameTaken").await;
    assert!(message.starts_with(&format!("The ConfigMap {HINTS} is not Tollgate's")), "{message}");
    let now = scene.api::<ConfigMap>().get(HINTS).await.expect("it is still there");
    assert_eq!(now.data, theirs.data);

    scene.api::<ConfigMap>().delete(HINTS, &DeleteParams::default()).await.expect("deleted");
    scene.condition("Accepted", "True", "Accepted").await;
    shared_by(&scene, 2).await;
    operator.stop().await;
}

/// Awaits hints that say so; a change of another resource reaches them with the next look, within 36 s.
async fn shared_by(scene: &Scene, sharers: u32) {
    eventually(&format!("hints of {sharers} sharers"), SOON * 2, || async { says(scene, sharers).await }).await;
}

async fn says(scene: &Scene, sharers: u32) -> anyhow::Result<()> {
    let data = scene.api::<ConfigMap>().get(HINTS).await?.data.unwrap_or_default();
    let hints: Hints = serde_json::from_str(data.get("hints.json").map_or("", String::as_str))?;
    let said: Vec<_> = hints.issuers.iter().map(|issuer| (issuer.name.as_str(), issuer.sharers)).collect();
    anyhow::ensure!(said == [("okta", Some(sharers))], "{hints:?}");
    Ok(())
}

/// `items` under another name, with another issuer.
fn named(scene: &Scene, name: &str, issuer: &str, replicas: i32) -> OktaProtectedApi {
    let mut resource = scene.items(json!({"app": {"replicas": replicas}}));
    resource.metadata.name = Some(name.to_owned());
    issuer.clone_into(&mut resource.spec.issuers[0].url);
    resource
}

async fn generation(scene: &Scene) -> Option<i64> {
    scene.api::<Deployment>().get("items").await.expect("it").metadata.generation
}

async fn edit_hints(scene: &Scene, change: &Value) {
    let person = PatchParams { field_manager: Some("a-person".to_owned()), ..PatchParams::default() };
    scene.api::<ConfigMap>().patch(HINTS, &person, &Patch::Merge(change)).await.expect("the edit is taken");
}
