//! The rights that the chart gives to the operator, and no others: what passes here passes where Helm installed it.

use std::process::Command;

use http::{HeaderName, HeaderValue};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, Config};
use tests::kubernetes::repository;
use xtask::toolchain;

/// The chart's release and its ServiceAccount.
const RELEASE: &str = "tollgate";

/// Creates the chart's roles for an operator in `namespace` that looks after this namespace alone.
pub(crate) async fn grant(client: &Client, namespace: &str) {
    for object in chart(namespace) {
        let types = object.types.as_ref().expect("Helm says what it prints");
        if !matches!(types.kind.as_str(), "ServiceAccount" | "Role" | "RoleBinding") {
            continue;
        }
        let resource = ApiResource::from_gvk(&types.try_into().expect("a kind"));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        api.create(&PostParams::default(), &object).await.expect("the chart's object is taken");
    }
}

/// The same cluster with these rights.
pub(crate) fn with_them(mut config: Config, namespace: &str) -> Config {
    let user = format!("system:serviceaccount:{namespace}:{RELEASE}");
    let value = HeaderValue::from_str(&user).expect("a name is a header value");
    config.headers.push((HeaderName::from_static("impersonate-user"), value));
    config
}

fn chart(namespace: &str) -> Vec<DynamicObject> {
    toolchain::ensure(&["helm"]).expect("helm can be built");
    let output = Command::new(toolchain::path("helm").expect("helm is a tool"))
        .args(["template", RELEASE])
        .arg(repository().join("charts/tollgate"))
        .args(["--namespace", namespace, "--set", &format!("watchNamespaces={{{namespace}}}")])
        .output()
        .expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stream = String::from_utf8(output.stdout).expect("Helm prints UTF-8");
    let documents = stream.split("\n---\n").filter(|document| document.lines().any(|line| line.starts_with("kind:")));
    documents.map(|document| serde_saphyr::from_str(document).expect("Helm prints YAML")).collect()
}
