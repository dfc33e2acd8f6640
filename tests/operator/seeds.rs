//! Keys ahead of need: the operator fetches an issuer's keys and tells them to sidecars, which start with them while the
//! issuer is away. They are no policy: no pod is replaced for them.

use anyhow::{Context, ensure};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tests::issuer::{Endpoint, FakeIssuer, Outage};
use tests::mint::{epoch_seconds, other_key, signing_key};
use tests::wait::{eventually, throughout};
use tollgate_api::OktaProtectedApi;
use tollgate_contract::{Hints, SeededKeys};

use crate::scene::{Running, SOON, Scene};

/// A scene with this resource, and an operator that may ask its issuer.
async fn scene_of(purpose: &str, issuer: &FakeIssuer) -> (Scene, Running, OktaProtectedApi) {
    let scene = Scene::new(purpose).await;
    let operator = scene.lenient_operator("operator-0").await;
    let items = items_of(&scene, issuer).await;
    scene.create(&items).await;
    (scene, operator, items)
}

/// `items` with this issuer, whose private CA a ConfigMap holds.
async fn items_of(scene: &Scene, issuer: &FakeIssuer) -> OktaProtectedApi {
    let pem = std::fs::read_to_string(issuer.ca_file()).expect("a certificate");
    let bundle: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "corp-ca"}, "data": {"ca.crt": pem}})).expect("a ConfigMap");
    scene.create(&bundle).await;
    let mut items = scene.items(json!({}));
    items.spec.issuers[0].url = issuer.url();
    items.spec.issuers[0].ca_bundle =
        Some(serde_json::from_value(json!({"configMapRef": {"name": "corp-ca"}})).expect("a bundle"));
    items
}

/// What sidecars of this resource are told.
async fn seed(scene: &Scene, api: &str) -> anyhow::Result<SeededKeys> {
    let map = scene.api::<ConfigMap>().get(&format!("{api}-tollgate-hints")).await?;
    let hints: Hints = serde_json::from_str(&map.data.context("no data")?["hints.json"])?;
    hints.issuers.into_iter().find_map(|issuer| issuer.keys).context("no keys")
}

fn kids(seed: &SeededKeys) -> Vec<String> {
    let set: Value = serde_json::from_str(&seed.jwks).expect("a key set");
    let keys = set["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("an id").to_owned()).collect()
}

async fn await_keys(scene: &Scene, api: &str, wanted: &[&str]) -> SeededKeys {
    eventually(&format!("keys {wanted:?} for {api}"), SOON, || async {
        let seed = seed(scene, api).await?;
        ensure!(kids(&seed) == wanted, "{:?}", kids(&seed));
        Ok(seed)
    })
    .await
}

/// Sidecars are told the same for a while.
async fn assert_keys_stay(scene: &Scene, before: &SeededKeys) {
    throughout("the keys as they were", SOON / 6, || async {
        let now = seed(scene, "items").await?;
        ensure!(now == *before, "{now:?}");
        Ok(())
    })
    .await;
}

/// Awaits that an operator has asked an issuer, with this outcome.
async fn await_fetch(operator: &Running, outcome: &str) {
    let name = format!("tollgate_operator_key_fetches_total{{outcome=\"{outcome}\"}}");
    eventually(&name, SOON, || async {
        ensure!(operator.metric(&name).await > 0, "none yet");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_fetched_once_for_all_who_share_an_issuer_and_roll_no_pod() {
    let issuer = FakeIssuer::start().await;
    let (scene, operator, items) = scene_of("seeds", &issuer).await;
    let mut orders = items;
    orders.metadata.name = Some("orders".to_owned());
    scene.create(&orders).await;

    let seed = await_keys(&scene, "items", &[signing_key().kid]).await;
    await_keys(&scene, "orders", &[signing_key().kid]).await;
    assert_eq!(issuer.hits(Endpoint::Keys), 1, "one fetch for both");
    assert!(epoch_seconds().abs_diff(seed.fetched_at) < 60);
    assert_eq!((seed.source.issuer, seed.source.ca_bundle.map(|digest| digest.len())), (issuer.url(), Some(64)));
    let deployment = scene.awaits::<Deployment>("the Deployment", SOON, |_| true).await;
    assert_eq!(deployment.metadata.generation, Some(1), "no pod is replaced for keys");
    scene.condition("IssuersReachable", "True", "Reachable").await;
    operator.stop().await;
}

#[tokio::test]
async fn keys_outlive_the_issuer_and_the_operator_and_follow_a_rotation() {
    let issuer = FakeIssuer::start().await;
    let (scene, operator, _) = scene_of("seeds-outage", &issuer).await;
    let before = await_keys(&scene, "items", &[signing_key().kid]).await;
    operator.stop().await;

    issuer.suffer(Outage::Down);
    let operator = scene.lenient_operator("operator-1").await;
    await_fetch(&operator, "unreachable").await;
    assert_keys_stay(&scene, &before).await;
    operator.stop().await;

    issuer.publish(&[other_key().jwk()]);
    issuer.mend();
    let operator = scene.lenient_operator("operator-2").await;
    await_keys(&scene, "items", &[other_key().kid]).await;
    operator.stop().await;
}

#[tokio::test]
async fn an_issuer_in_trouble_is_said_to_be_so_before_there_is_a_pod() {
    join_all([
        told(Outage::Down, "Unreachable"),
        told(Outage::ServerError, "Unreachable"),
        told(Outage::WrongCertificate, "BadTLS"),
        told(Outage::Garbage, "BadResponse"),
    ])
    .await;
}

async fn told(outage: Outage, reason: &str) {
    let issuer = FakeIssuer::start().await;
    issuer.suffer(outage);
    let (scene, operator, _) = scene_of("seeds-trouble", &issuer).await;
    scene.condition("IssuersReachable", "False", reason).await;
    assert!(seed(&scene, "items").await.is_err(), "there are no keys to tell");
    issuer.mend();
    await_keys(&scene, "items", &[signing_key().kid]).await;
    scene.condition("IssuersReachable", "True", "Reachable").await;
    operator.stop().await;
}

#[tokio::test]
async fn keys_stay_while_an_edit_is_not_accepted() {
    let issuer = FakeIssuer::start().await;
    let (scene, operator, _) = scene_of("seeds-broken", &issuer).await;
    let before = await_keys(&scene, "items", &[signing_key().kid]).await;
    let broken = json!([{"name": "docs", "match": {"path": {"prefix": "/docs"}}, "when": "claims.("}]);
    scene.edit::<OktaProtectedApi>(json!({"spec": {"routes": broken}})).await;
    scene.condition("Accepted", "False", "InvalidRule").await;
    assert_keys_stay(&scene, &before).await;
    operator.stop().await;
}

/// The bound is of the namespace, and it is no obstacle to what the resource names in the end.
#[tokio::test]
async fn however_often_a_resource_is_edited_the_operator_holds_few_sources_for_it() {
    let issuer = FakeIssuer::start().await;
    let (scene, operator, items) = scene_of("seeds-bound", &issuer).await;
    await_keys(&scene, "items", &[signing_key().kid]).await;
    for edit in 0..10 {
        // Nobody listens there.
        let issuers: Vec<_> = (0..8)
            .map(|number| {
                let url = format!("https://127.0.0.1:1/{edit}/{number}");
                json!({"name": format!("i-{number}"), "url": url, "audiences": ["api://default"], "validation": "Local"})
            })
            .collect();
        scene.edit::<OktaProtectedApi>(json!({"spec": {"issuers": issuers}})).await;
        let wanted = (8 * (edit + 1) + 1).min(64);
        eventually(&format!("{wanted} sources after edit {edit}"), SOON, || async {
            let held = operator.metric("tollgate_operator_key_sources").await;
            ensure!(held <= 64, "{held} are held");
            ensure!(held == wanted, "{held}");
            Ok(())
        })
        .await;
    }
    issuer.publish(&[other_key().jwk()]);
    scene.edit::<OktaProtectedApi>(json!({"spec": {"issuers": items.spec.issuers}})).await;
    await_keys(&scene, "items", &[other_key().kid]).await;
    operator.stop().await;
}

/// A tenant names the URL, so it must lead nowhere that only the operator can reach.
#[tokio::test]
async fn an_address_of_the_operators_own_node_is_refused() {
    let issuer = FakeIssuer::start().await;
    let (scene, operator) = Scene::with_operator("seeds-node").await;
    scene.create(&items_of(&scene, &issuer).await).await;
    await_fetch(&operator, "bad_response").await;
    assert_eq!(issuer.hits(Endpoint::Keys), 0);
    assert!(seed(&scene, "items").await.is_err());
    operator.stop().await;
}

#[tokio::test]
async fn keys_with_their_private_part_are_told_to_nobody() {
    let issuer = FakeIssuer::start().await;
    let mut private = signing_key().jwk();
    private["d"] = json!("AQAB");
    issuer.publish(&[private]);
    let (scene, operator, _) = scene_of("seeds-private", &issuer).await;
    await_fetch(&operator, "bad_response").await;
    assert!(seed(&scene, "items").await.is_err());
    operator.stop().await;
}
