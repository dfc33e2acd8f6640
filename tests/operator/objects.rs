//! The objects of a resource: made, kept as they should be, left alone where they are someone else's, removed.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use serde_json::json;
use tests::wait::eventually;
use tollgate_api::OktaProtectedApi;

use crate::kubelet;
use crate::scene::{HINTS, REPAIR, SIDECAR_IMAGE, SOON, Scene};

#[tokio::test]
async fn a_resource_becomes_its_objects_and_pods_in_a_restricted_namespace() {
    let (scene, operator) = Scene::with_operator("objects").await;
    let resource = scene.create_items().await;
    scene.await_objects().await;

    let account: ServiceAccount = scene.api().get("items").await.expect("it");
    assert_eq!(account.automount_service_account_token, Some(false));
    assert_eq!(account.owner_references()[0].uid, resource.uid().expect("a uid"));
    let pods = scene.pods(2).await;
    let policy = &scene.policies().await[0];
    assert_eq!(*policy, format!("items-tollgate-{}", kubelet::policy_of(&pods[0])));
    let policy: ConfigMap = scene.api().get(policy).await.expect("it");
    assert_eq!(policy.immutable, Some(true));
    scene.condition("Accepted", "True", "Accepted").await;
    let status = scene.api::<OktaProtectedApi>().get_status("items").await.expect("it").status.expect("a status");
    assert_eq!(status.url, Some(format!("http://items.{}.svc", scene.namespace)));
    assert_eq!(status.validation.as_deref(), Some("LocalAndIntrospection"));
    operator.stop().await;
}

#[tokio::test]
async fn a_look_that_finds_nothing_to_do_writes_nothing() {
    let (scene, operator) = Scene::with_operator("noop").await;
    // What Kubernetes rewrites or fills in must not look like drift.
    scene
        .create(&scene.items(json!({
            "app": {
                "env": [
                    {"name": "EMPTY", "value": ""},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "", "fieldPath": "spec.nodeName"}}},
                ],
                "resources": {"requests": {"cpu": "1000m", "memory": "1024Ki"}, "limits": {"cpu": "2.0"}},
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": 8000, "httpHeaders": [
                        {"name": "X-Probe", "value": "1"}, {"name": "X-Probe", "value": "2"},
                    ]},
                    "timeoutSeconds": 0,
                },
                "livenessProbe": {"httpGet": {"path": "", "port": 8000, "scheme": ""}},
            },
            "sidecar": {"resources": {"requests": {"cpu": "0.0125"}}},
        })))
        .await;
    let pods = scene.pods(2).await;
    let _sidecars = (kubelet::run(&scene, &pods[0], 11).await, kubelet::run(&scene, &pods[1], 12).await);
    scene.condition("Ready", "True", "Ready").await;

    let versions = || async {
        let version = |resource: &kube::api::ObjectMeta| resource.resource_version.clone();
        [
            version(scene.api::<ServiceAccount>().get("items").await.expect("it").meta()),
            version(scene.api::<NetworkPolicy>().get("items").await.expect("it").meta()),
            version(scene.api::<Deployment>().get("items").await.expect("it").meta()),
            version(scene.api::<Service>().get("items").await.expect("it").meta()),
            version(scene.api::<ConfigMap>().get(HINTS).await.expect("it").meta()),
        ]
    };
    let before = versions().await;
    let writes = operator.metric("tollgate_operator_writes_total").await;
    assert!(writes > 5, "creations are counted: {writes}");
    for look in 0..5 {
        let looks = operator.metric("tollgate_operator_reconciles_total").await;
        scene.look(&look.to_string()).await;
        eventually("one more look", SOON, || async {
            let now = operator.metric("tollgate_operator_reconciles_total").await;
            if now > looks { Ok(()) } else { Err("not yet") }
        })
        .await;
    }
    assert_eq!(versions().await, before);
    assert_eq!(operator.metric("tollgate_operator_writes_total").await, writes);
    operator.stop().await;
}

#[tokio::test]
async fn the_conditions_are_metrics_for_as_long_as_the_resource_is_there() {
    let (scene, operator) = Scene::with_operator("conditions").await;
    scene.create_items().await;
    let shows = async |what: &str, count: u64| {
        let name = format!("tollgate_operator_condition{{api_namespace=\"{}\",api=\"items\",{what}", scene.namespace);
        eventually(&format!("{count} of {name}"), SOON, || async {
            let now = operator.metric(&name).await;
            if now == count { Ok(()) } else { Err(format!("{now}")) }
        })
        .await;
    };
    shows("type=\"Ready\",status=\"False\"", 1).await;
    shows("type=\"Accepted\",status=\"True\",reason=\"Accepted\"", 1).await;
    let pods = scene.pods(2).await;
    let _sidecars = (kubelet::run(&scene, &pods[0], 11).await, kubelet::run(&scene, &pods[1], 12).await);
    shows("type=\"Ready\",status=\"True\",reason=\"Ready\"", 1).await;
    shows("type=\"Ready\",status=\"False\"", 0).await;
    shows("", 5).await;

    scene.delete::<OktaProtectedApi>().await;
    shows("", 0).await;
    operator.stop().await;
}

#[tokio::test]
async fn drift_is_repaired_within_five_seconds() {
    let (scene, operator) = Scene::with_operator("drift").await;
    scene.create_items().await;
    scene.await_objects().await;

    let uid = scene.api::<Deployment>().get("items").await.expect("it").uid();
    scene.delete::<Deployment>().await;
    scene.awaits::<Deployment>("a new Deployment", REPAIR, |deployment| deployment.uid() != uid).await;

    scene
        .edit::<Deployment>(json!({"spec": {"template": {"spec": {"initContainers": [
            {"name": "tollgate", "image": "registry.test/evil:1"},
        ]}}}}))
        .await;
    scene.awaits("the sidecar as it was", REPAIR, runs_the_sidecar).await;

    let mut edited = serde_json::to_value(scene.awaits("the Deployment", SOON, runs_the_sidecar).await).expect("JSON");
    let sidecars = &mut edited["spec"]["template"]["spec"]["initContainers"];
    sidecars[0]["command"] = json!(["/bin/evil"]);
    let sidecars = sidecars.take();
    scene.edit::<Deployment>(json!({"spec": {"template": {"spec": {"initContainers": sidecars}}}})).await;
    scene.awaits("the sidecar's own command", REPAIR, runs_the_sidecar).await;

    scene.delete::<NetworkPolicy>().await;
    scene.awaits::<NetworkPolicy>("a new NetworkPolicy", REPAIR, |_| true).await;

    scene.edit::<NetworkPolicy>(json!({"spec": {"ingress": [{}]}})).await;
    scene
        .awaits::<NetworkPolicy>("its two rules", REPAIR, |policy| {
            policy.spec.as_ref().and_then(|spec| spec.ingress.as_ref()).is_some_and(|rules| rules.len() == 2)
        })
        .await;

    let around = json!([{"name": "http", "port": 81, "targetPort": 8000}]);
    scene.edit::<Service>(json!({"spec": {"ports": around}})).await;
    scene.awaits::<Service>("only the port that leads to the sidecar", REPAIR, leads_to_the_sidecar_only).await;

    scene.edit::<Service>(json!({"metadata": {"labels": {"tollgate.dev/api": null}}})).await;
    scene.awaits::<Service>("its label", REPAIR, |service| service.labels().contains_key("tollgate.dev/api")).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_port_that_someone_adds_beside_ours_is_removed() {
    let (scene, operator) = Scene::with_operator("ports").await;
    scene.create_items().await;
    scene.await_objects().await;
    let both = json!([
        {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "tollgate"},
        {"name": "direct", "port": 8000, "protocol": "TCP", "targetPort": 8000},
    ]);
    scene.edit::<Service>(json!({"spec": {"ports": both}})).await;
    scene.awaits::<Service>("only the port that leads to the sidecar", REPAIR, leads_to_the_sidecar_only).await;
    operator.stop().await;
}

fn runs_the_sidecar(deployment: &Deployment) -> bool {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a pod");
    let sidecar = &pod.init_containers.as_ref().expect("a sidecar")[0];
    sidecar.image.as_deref() == Some(SIDECAR_IMAGE) && sidecar.args.is_some() && sidecar.command.is_none()
}

fn leads_to_the_sidecar_only(service: &Service) -> bool {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).expect("ports");
    let targets: Vec<_> = ports.iter().map(|port| json!(port.target_port)).collect();
    ports[0].port == 80 && targets == [json!("tollgate")]
}

#[tokio::test]
async fn a_field_that_someone_else_sets_stays_through_repairs_and_edits() {
    let (scene, operator) = Scene::with_operator("foreign").await;
    scene.create_items().await;
    scene.await_objects().await;
    scene
        .edit::<Deployment>(json!({
            "metadata": {"annotations": {"example.com/team": "shop"}},
            "spec": {"replicas": 7, "minReadySeconds": 1},
        }))
        .await;
    let theirs = |deployment: &Deployment| {
        let spec = deployment.spec.as_ref().expect("a spec");
        (spec.replicas, spec.min_ready_seconds, deployment.annotations().get("example.com/team").cloned())
    };
    let kept = |replicas| (Some(replicas), Some(1), Some("shop".to_owned()));
    scene.awaits("ours repaired, theirs kept", REPAIR, |deployment| theirs(deployment) == kept(2)).await;
    scene.edit::<OktaProtectedApi>(json!({"spec": {"app": {"replicas": 3}}})).await;
    scene.awaits("ours changed, theirs kept", SOON, |deployment| theirs(deployment) == kept(3)).await;
    operator.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_in_the_resource_is_no_longer_in_the_objects() {
    let (scene, operator) = Scene::with_operator("removed").await;
    let with = json!({"app": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}});
    scene.create(&scene.items(with)).await;
    scene.await_objects().await;
    let env = |deployment: &Deployment| {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a pod");
        let env = pod.containers[0].env.iter().flatten();
        env.map(|variable| variable.name.clone()).collect::<Vec<_>>()
    };
    scene.awaits("both variables", SOON, |deployment| env(deployment) == ["A", "B"]).await;
    scene.edit::<OktaProtectedApi>(json!({"spec": {"app": {"env": [{"name": "B", "value": "2"}]}}})).await;
    scene.awaits("one variable", SOON, |deployment| env(deployment) == ["B"]).await;
    scene.edit::<OktaProtectedApi>(json!({"spec": {"app": {"env": null}}})).await;
    scene.awaits("no variable", SOON, |deployment| env(deployment).is_empty()).await;

    scene.edit::<OktaProtectedApi>(json!({"spec": {"networkPolicy": {"enabled": false}}})).await;
    eventually("no NetworkPolicy", SOON, || async {
        match scene.api::<NetworkPolicy>().get_opt("items").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn deleting_the_resource_removes_everything_that_it_owned() {
    let (scene, operator) = Scene::with_operator("delete").await;
    let resource = scene.create_items().await;
    scene.await_objects().await;
    assert_eq!(resource.finalizers(), &[] as &[String]);
    scene.delete::<OktaProtectedApi>().await;
    eventually("nothing is left", SOON * 2, || async {
        let left = [
            scene.api::<ServiceAccount>().get_opt("items").await?.is_some(),
            scene.api::<NetworkPolicy>().get_opt("items").await?.is_some(),
            scene.api::<Deployment>().get_opt("items").await?.is_some(),
            scene.api::<Service>().get_opt("items").await?.is_some(),
            !scene.policies().await.is_empty(),
            scene.api::<ConfigMap>().get_opt(HINTS).await?.is_some(),
        ];
        if left.contains(&true) { anyhow::bail!("{left:?}") } else { Ok(()) }
    })
    .await;
    operator.stop().await;
}
