//! The objects that a resource needs: a ServiceAccount without a token, an immutable ConfigMap with the policy, another
//! with hints, a NetworkPolicy, a Deployment of the app with the sidecar, a Service that leads to the sidecar. Decides their
//! whole content and knows nothing of what exists.

mod app;
mod network;
mod pod;
mod sidecar;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Serialize;
use serde_json::Value;
use tollgate_api::validated::Issuer;
use tollgate_api::{OktaProtectedApi, ValidatedApi};
use tollgate_contract::names::{HINTS_FILE, POLICY_FILE};
use tollgate_contract::{Hints, IssuerHints, PolicyHash};

use super::keys::Seeds;
use super::names::{Kind, RENDERED_ANNOTATION, hints_name, labels, policy_name};
use super::shares::Shares;
pub(super) use network::scheme;

/// What the operator itself contributes to the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderSettings {
    /// Image of the sidecar.
    pub sidecar_image: String,
    /// Namespace of the operator's pods, which may reach the admin ports.
    pub operator_namespace: String,
}

/// Everything that a resource needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The policy that the pods are to enforce.
    pub policy: PolicyHash,
    /// In the order in which they are written; at most one of a kind.
    pub objects: Vec<RenderedObject>,
}

/// One object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedObject {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The whole of it, as JSON.
    pub body: Value,
}

/// Renders everything.
///
/// # Errors
/// Never in practice: every object serializes.
pub fn render(
    api: &ValidatedApi,
    settings: &RenderSettings,
    shares: &Shares,
    seeds: &Seeds,
) -> Result<Rendered, serde_json::Error> {
    let file = api.sidecar_config().to_file()?;
    let policy = PolicyHash::of(file.as_bytes());
    let mut objects = vec![
        object(Kind::ServiceAccount, &service_account(api))?,
        object(Kind::Policy, &policy_map(api, &policy, file))?,
        object(Kind::Hints, &hints_map(api, hints_file(api, shares, seeds)?))?,
    ];
    if api.network_policy {
        objects.push(object(Kind::NetworkPolicy, &network::network_policy(api, settings))?);
    }
    objects.push(object(Kind::Deployment, &pod::deployment(api, &policy, settings))?);
    objects.push(object(Kind::Service, &network::service(api))?);
    Ok(Rendered { policy, objects })
}

fn service_account(api: &ValidatedApi) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(api, api.name.clone()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn policy_map(api: &ValidatedApi, policy: &PolicyHash, file: String) -> ConfigMap {
    ConfigMap {
        metadata: metadata(api, policy_name(&api.name, policy)),
        data: Some(BTreeMap::from([(POLICY_FILE.to_owned(), file)])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// No part of the policy: its name is always the same and its content no hash, so that it changes while pods run.
fn hints_map(api: &ValidatedApi, file: String) -> ConfigMap {
    ConfigMap {
        metadata: metadata(api, hints_name(&api.name)),
        data: Some(BTreeMap::from([(HINTS_FILE.to_owned(), file)])),
        ..ConfigMap::default()
    }
}

fn hints_file(api: &ValidatedApi, shares: &Shares, seeds: &Seeds) -> Result<String, serde_json::Error> {
    let issuer = |issuer: &Issuer| IssuerHints {
        name: issuer.name.clone(),
        sharers: shares.sharers(api, issuer),
        keys: seeds.keys(&issuer.name).cloned(),
    };
    serde_json::to_string_pretty(&Hints { issuers: api.issuers.iter().map(issuer).collect() })
}

/// Owned by the resource, so that Kubernetes removes it with the resource.
fn metadata(api: &ValidatedApi, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(api.namespace.clone()),
        labels: Some(labels(&api.name)),
        owner_references: Some(vec![OwnerReference {
            api_version: OktaProtectedApi::api_version(&()).into_owned(),
            kind: OktaProtectedApi::kind(&()).into_owned(),
            name: api.name.clone(),
            uid: api.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}

fn object<K>(kind: Kind, object: &K) -> Result<RenderedObject, serde_json::Error>
where
    K: Serialize + Resource,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let mut body = serde_json::to_value(object)?;
    // Any digest of the bytes does here; the policy's is at hand.
    let hash = PolicyHash::of(&serde_json::to_vec(&body)?);
    body["metadata"]["annotations"][RENDERED_ANNOTATION] = Value::String(hash.to_string());
    Ok(RenderedObject { kind, name, body })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use tollgate_api::validated::ParseOptions;

    use super::*;

    /// The resource of the examples, with every part that is rendered.
    pub(crate) fn resource() -> OktaProtectedApi {
        serde_json::from_value(json!({
            "apiVersion": "tollgate.dev/v1alpha1",
            "kind": "OktaProtectedApi",
            "metadata": {"name": "items", "namespace": "shop", "uid": "uid-of-items", "generation": 3},
            "spec": {
                "issuers": [{
                    "name": "okta",
                    "url": "https://acme.okta.com/oauth2/default",
                    "audiences": ["api://default"],
                    "validation": "LocalAndIntrospection",
                    "client": {"secretRef": {"name": "okta-items"}},
                    "caBundle": {"configMapRef": {"name": "corp-ca", "key": "root.pem"}},
                }],
                "upstream": {"port": 8000},
                "app": {
                    "image": "ghcr.io/acme/items:1.4",
                    "replicas": 2,
                    "env": [{"name": "GREETING", "value": "hello"}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8000}},
                },
            },
        }))
        .expect("a resource")
    }

    pub(crate) fn validated() -> ValidatedApi {
        ValidatedApi::parse(&resource(), ParseOptions::default()).expect("a sound resource")
    }

    pub(crate) fn settings() -> RenderSettings {
        RenderSettings {
            sidecar_image: "ghcr.io/tollgate/sidecar:1".to_owned(),
            operator_namespace: "tollgate-system".to_owned(),
        }
    }

    pub(crate) fn rendered() -> Rendered {
        rendered_with(&validated(), &Shares::default())
    }

    fn rendered_with(api: &ValidatedApi, shares: &Shares) -> Rendered {
        render(api, &settings(), shares, &Seeds::default()).expect("serializable objects")
    }

    fn body(kind: Kind) -> Value {
        rendered().objects.into_iter().find(|object| object.kind == kind).expect("rendered").body
    }

    #[test]
    fn every_object_is_owned_by_the_resource_and_carries_its_label() {
        for object in rendered().objects {
            let metadata = &object.body["metadata"];
            assert_eq!(metadata["namespace"], "shop");
            assert_eq!(metadata["labels"]["tollgate.dev/api"], "items");
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "tollgate");
            assert_eq!(metadata["ownerReferences"][0]["uid"], "uid-of-items");
            assert_eq!(metadata["ownerReferences"][0]["controller"], true);
            assert!(metadata["annotations"]["tollgate.dev/rendered"].is_string());
        }
    }

    #[test]
    fn the_policy_is_immutable_and_named_after_its_hash() {
        let policy = body(Kind::Policy);
        let file = policy["data"]["config.json"].as_str().expect("a file");
        let hash = PolicyHash::of(file.as_bytes());
        assert_eq!(policy["immutable"], true);
        assert_eq!(policy["metadata"]["name"], format!("items-tollgate-{hash}"));
        assert_eq!(rendered().policy, hash);
    }

    #[test]
    fn pods_of_another_policy_are_other_pods() {
        let template = &body(Kind::Deployment)["spec"]["template"];
        let hash = rendered().policy.to_string();
        assert_eq!(template["metadata"]["annotations"]["tollgate.dev/policy-hash"], hash);
        let volumes = template["spec"]["volumes"].as_array().expect("volumes");
        assert_eq!(volumes[0]["configMap"]["name"], format!("items-tollgate-{hash}"));
    }

    #[test]
    fn hints_say_how_many_share_each_issuers_limit_and_a_pod_starts_without_them() {
        let hints = body(Kind::Hints);
        assert_eq!(hints["metadata"]["name"], "items-tollgate-hints");
        assert!(hints.get("immutable").is_none());
        let shares = Shares::count(&[resource()]);
        let file = hints_file(&validated(), &shares, &Seeds::default()).expect("it serializes");
        let file: Hints = serde_json::from_str(&file).expect("hints");
        assert_eq!(file.issuers, [IssuerHints { name: "okta".to_owned(), sharers: Some(2), keys: None }]);
        let volume = &body(Kind::Deployment)["spec"]["template"]["spec"]["volumes"][1]["configMap"];
        assert_eq!(volume["name"], "items-tollgate-hints");
        assert_eq!(volume["optional"], true);
    }

    #[test]
    fn other_hints_touch_neither_the_policy_nor_the_pods() {
        let mut many = resource();
        many.spec.app.replicas = 100;
        let (few, many) = (rendered(), rendered_with(&validated(), &Shares::count(&[many])));
        assert_eq!(few.policy, many.policy);
        let changed = |(one, other): &(&RenderedObject, &RenderedObject)| one != other;
        let changed: Vec<_> = few.objects.iter().zip(&many.objects).filter(changed).map(|(one, _)| one.kind).collect();
        assert_eq!(changed, [Kind::Hints]);
    }

    #[test]
    fn the_sidecar_starts_before_the_app_and_outlives_it() {
        let sidecar = &body(Kind::Deployment)["spec"]["template"]["spec"]["initContainers"][0];
        assert_eq!(sidecar["name"], "tollgate");
        assert_eq!(sidecar["restartPolicy"], "Always");
        assert_eq!(sidecar["args"], json!(["--config", "/etc/tollgate/policy/config.json"]));
        assert_eq!(sidecar["startupProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(sidecar["readinessProbe"]["httpGet"]["path"], "/readyz");
        assert_eq!(sidecar["livenessProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(sidecar["ports"][0], json!({"name": "tollgate", "containerPort": 8480, "protocol": "TCP"}));
        assert_eq!(sidecar["ports"][1], json!({"name": "tollgate-admin", "containerPort": 8481, "protocol": "TCP"}));
        assert_eq!(sidecar["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.uid");
    }

    #[test]
    fn both_containers_pass_the_restricted_pod_security_standard() {
        let pod = &body(Kind::Deployment)["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in [&pod["initContainers"][0], &pod["containers"][0]] {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"], "add": []}));
            assert_eq!(security["privileged"], false);
        }
        let security = &pod["initContainers"][0]["securityContext"];
        assert_eq!(security["runAsUser"], 65532);
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["hostNetwork"], false);
        assert_eq!(pod["automountServiceAccountToken"], false);
    }

    #[test]
    fn only_the_sidecar_sees_the_clients_secret() {
        let pod = &body(Kind::Deployment)["spec"]["template"]["spec"];
        assert!(pod["containers"][0].get("volumeMounts").is_none());
        let mounts = pod["initContainers"][0]["volumeMounts"].as_array().expect("mounts");
        let paths: Vec<_> = mounts.iter().map(|mount| mount["mountPath"].as_str().expect("a path")).collect();
        let [policy, hints] = ["/etc/tollgate/policy", "/etc/tollgate/hints"];
        assert_eq!(paths, [policy, hints, "/etc/tollgate/credentials/okta", "/etc/tollgate/ca/okta"]);
        assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
        assert_eq!(pod["volumes"][2]["secret"]["secretName"], "okta-items");
        assert_eq!(pod["volumes"][2]["secret"]["optional"], true);
        assert_eq!(pod["volumes"][2]["secret"]["defaultMode"], 0o444);
        assert_eq!(pod["volumes"][3]["configMap"]["items"], json!([{"key": "root.pem", "path": "ca.crt"}]));
        assert_eq!(pod["volumes"][3]["configMap"]["optional"], true);
    }

    #[test]
    fn the_service_leads_to_the_sidecar_by_the_name_of_its_port() {
        let service = body(Kind::Service);
        let ports = &service["spec"]["ports"];
        let port =
            json!({"name": "http", "appProtocol": "http", "port": 80, "protocol": "TCP", "targetPort": "tollgate"});
        assert_eq!(*ports, json!([port]));
        assert_eq!(service["spec"]["selector"], json!({"tollgate.dev/api": "items"}));
    }

    /// Objects of the example with these members of its spec changed.
    fn changed(members: &Value) -> Rendered {
        let mut spec = json!(resource().spec);
        for (name, value) in members.as_object().expect("members") {
            spec[name] = value.clone();
        }
        let mut resource = resource();
        resource.spec = serde_json::from_value(spec).expect("a spec");
        rendered_with(&ValidatedApi::parse(&resource, ParseOptions::default()).expect("sound"), &Shares::default())
    }

    fn of(kind: Kind, rendered: Rendered) -> Value {
        rendered.objects.into_iter().find(|object| object.kind == kind).expect("rendered").body
    }

    #[test]
    fn the_service_says_what_gateways_are_to_speak() {
        let tls = json!({"secretRef": {"name": "items-tls"}});
        for (members, port) in [
            (json!({}), ["http", "http"]),
            (json!({"upstream": {"port": 8000, "protocol": "H2c"}}), ["http", "kubernetes.io/h2c"]),
            (json!({"upstream": {"port": 8000, "protocol": "H2c"}, "tls": tls}), ["https", "https"]),
        ] {
            let service = of(Kind::Service, changed(&members));
            let rendered = &service["spec"]["ports"][0];
            assert_eq!([&rendered["name"], &rendered["appProtocol"]], port, "{members}");
        }
    }

    #[test]
    fn certificates_and_authorities_are_mounted_for_the_sidecar_and_a_pod_starts_without_them() {
        let bundle = |name: &str| json!({"configMapRef": {"name": name, "key": "root.pem"}});
        let tls = json!({"secretRef": {"name": "items-tls"}, "clientCertificates": {"caBundle": bundle("callers")}});
        let upstream = json!({"port": 8000, "tls": {"serverName": "items.internal", "caBundle": bundle("inner")}});
        let deployment = of(Kind::Deployment, changed(&json!({"tls": tls, "upstream": upstream})));
        let pod = &deployment["spec"]["template"]["spec"];
        assert!(pod["containers"][0].get("volumeMounts").is_none());
        let volume = |path: &str| {
            let mounts = pod["initContainers"][0]["volumeMounts"].as_array().expect("mounts");
            let mount = mounts.iter().find(|mount| mount["mountPath"] == path).expect("mounted");
            let volumes = pod["volumes"].as_array().expect("volumes");
            volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("its volume").clone()
        };
        let secret = &volume("/etc/tollgate/tls")["secret"];
        assert_eq!((&secret["secretName"], &secret["optional"]), (&json!("items-tls"), &json!(true)));
        assert_eq!(secret["defaultMode"], 0o444);
        let keys = ["tls.crt", "tls.key"].map(|key| json!({"key": key, "path": key}));
        assert_eq!(secret["items"], json!(keys));
        for (path, name) in [("/etc/tollgate/client-ca", "callers"), ("/etc/tollgate/upstream-ca", "inner")] {
            let map = &volume(path)["configMap"];
            assert_eq!((&map["name"], &map["optional"]), (&json!(name), &json!(true)));
            assert_eq!(map["items"], json!([{"key": "root.pem", "path": "ca.crt"}]));
        }
    }

    /// Otherwise `Ready` would not wait for pods that enforce it.
    #[test]
    fn every_setting_of_the_data_path_is_part_of_the_policy() {
        let upstream = |member: &str, value: Value| {
            let mut upstream = json!({"port": 8000});
            upstream[member] = value;
            json!({"upstream": upstream})
        };
        let settings = [
            json!({"tls": {"secretRef": {"name": "items-tls"}}}),
            upstream("address", json!("Pod")),
            upstream("protocol", json!("H2c")),
            upstream("tls", json!({"serverName": "items.internal"})),
            upstream("claimHeaders", json!([{"claim": "sub", "header": "X-User"}])),
            upstream("authorization", json!("Strip")),
            upstream("timeouts", json!({"connect": "2s"})),
            upstream("timeouts", json!({"responseHeader": "2s"})),
            upstream("timeouts", json!({"idle": "2s"})),
            json!({"paths": {"encodedSlash": "Keep"}}),
            json!({"paths": {"doubleSlash": "Keep"}}),
            json!({"paths": {"caseSensitive": true}}),
            json!({"streams": {"atExpiry": "Keep", "maxDuration": "8h"}}),
            json!({"streams": {"webSocketToken": "Subprotocol"}}),
            json!({"cors": {"mode": "PassPreflight"}}),
            json!({"cors": {"mode": "Handle", "origins": ["https://app.acme.com"]}}),
            json!({"limits": {"maxBodySize": "10Mi"}}),
            json!({"sidecar": {"accessLog": {"oneIn": 100}}}),
            json!({"sidecar": {"tracing": {"endpoint": "http://collector:4318"}}}),
        ];
        let policies: Vec<_> =
            settings.iter().map(|members| changed(members).policy).chain([rendered().policy]).collect();
        for (index, policy) in policies.iter().enumerate() {
            assert!(!policies[..index].contains(policy), "{:?} changes nothing", settings.get(index));
        }
    }

    #[test]
    fn the_network_policy_opens_the_proxy_to_all_and_the_admin_port_to_the_operator() {
        let policy = body(Kind::NetworkPolicy);
        let ingress = policy["spec"]["ingress"].as_array().expect("rules");
        assert_eq!(ingress.len(), 2);
        assert_eq!(ingress[0], json!({"ports": [{"port": 8480, "protocol": "TCP"}]}));
        assert_eq!(ingress[1]["ports"], json!([{"port": 8481, "protocol": "TCP"}]));
        let from = &ingress[1]["from"][0];
        assert_eq!(from["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "tollgate-system");
        assert_eq!(from["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "tollgate");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    }

    #[test]
    fn without_a_network_policy_none_is_rendered() {
        let mut api = validated();
        api.network_policy = false;
        let rendered = rendered_with(&api, &Shares::default());
        assert!(rendered.objects.iter().all(|object| object.kind != Kind::NetworkPolicy));
    }

    #[test]
    fn the_sidecar_always_requests_cpu_and_memory() {
        let requests = |resources: Value| {
            let mut resource = resource();
            resource.spec.sidecar = serde_json::from_value(json!({"resources": resources})).expect("resources");
            let api = ValidatedApi::parse(&resource, ParseOptions::default()).expect("sound");
            let objects = rendered_with(&api, &Shares::default()).objects;
            let deployment = objects.iter().find(|object| object.kind == Kind::Deployment).expect("rendered");
            deployment.body["spec"]["template"]["spec"]["initContainers"][0]["resources"]["requests"].clone()
        };
        assert_eq!(requests(json!({})), json!({"cpu": "20m", "memory": "32Mi"}));
        assert_eq!(requests(json!({"requests": {"cpu": "1"}})), json!({"cpu": "1", "memory": "32Mi"}));
        // Kubernetes takes a limit for a request that is not there; a default above it would be refused.
        assert_eq!(requests(json!({"limits": {"memory": "16Mi"}})), json!({"cpu": "20m"}));
    }

    #[test]
    fn the_app_is_as_the_resource_says() {
        let app = &body(Kind::Deployment)["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(app["image"], "ghcr.io/acme/items:1.4");
        assert_eq!(app["ports"], json!([{"containerPort": 8000, "protocol": "TCP"}]));
        assert_eq!(app["env"], json!([{"name": "GREETING", "value": "hello"}]));
        assert_eq!(app["readinessProbe"]["httpGet"]["path"], "/healthz");
        assert_eq!(body(Kind::Deployment)["spec"]["replicas"], 2);
    }

    #[test]
    fn no_request_is_lost_on_a_roll() {
        let deployment = body(Kind::Deployment);
        assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": "25%"}));
        let app = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(app["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
        let sidecar = &deployment["spec"]["template"]["spec"]["initContainers"][0];
        assert_eq!(sidecar["lifecycle"]["preStop"]["exec"]["command"], json!(["/tollgate-sidecar", "drain"]));
    }

    #[test]
    fn equal_resources_render_equal_objects() {
        assert_eq!(rendered(), rendered());
    }
}
