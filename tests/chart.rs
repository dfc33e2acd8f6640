//! The Helm chart as Helm renders it: what it installs, what rights it asks for, and which values it refuses. Installing it
//! on a cluster is the e2e tests' part.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::kubernetes::repository;
use tests::rendered;
use tollgate_contract::names::{ADMIN_PORT, API_LABEL, METRICS_PATH};
use xtask::toolchain;

const NAMESPACE: &str = "tollgate-system";

#[test]
fn the_chart_passes_helms_own_lint() {
    let output = helm(&["lint", "--strict", "--quiet", &chart()]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_definition_is_the_generated_one_and_outlives_the_release() {
    let generated = fs::read_to_string(repository().join("crds/oktaprotectedapis.yaml")).expect("the CRD is there");
    let shipped = fs::read_to_string(PathBuf::from(chart()).join("files/oktaprotectedapis.yaml"));
    assert!(shipped.expect("the chart has a CRD") == generated, "the chart's CRD is old: run `cargo xtask crd`");

    let generated: Value = serde_saphyr::from_str(&generated).expect("the CRD is YAML");
    let rendered = render(&[]);
    let rendered = rendered.only("CustomResourceDefinition");
    assert_eq!(*rendered, generated);
    assert_eq!(rendered["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");

    assert!(render(&["crd.enabled=false"]).all("CustomResourceDefinition").is_empty());
}

#[test]
fn the_operator_pods_satisfy_the_restricted_pod_security_standard() {
    let rendered = render(&[]);
    let pod = &rendered.only("Deployment")["spec"]["template"]["spec"];
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    for field in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
        assert!(pod[field].is_null(), "{field}");
    }
    let containers = pod["containers"].as_array().expect("a list");
    assert_eq!(containers.len(), 1);
    let expected = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(containers[0]["securityContext"], expected);
    assert!(containers[0]["ports"].as_array().expect("a list").iter().all(|port| port["hostPort"].is_null()));
}

#[test]
fn the_operators_pods_carry_the_label_that_network_policies_let_in() {
    let rendered = render(&["replicas=3"]);
    let deployment = rendered.only("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().expect("labels");
    assert_eq!(labels["app.kubernetes.io/name"], "tollgate");
    for (label, value) in deployment["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(labels.get(label), Some(value), "the selector finds its own pods");
    }
}

#[test]
fn pod_monitors_are_there_when_asked_for_and_find_operator_and_sidecars() {
    assert!(render(&[]).all("PodMonitor").is_empty());
    let on = ["metrics.podMonitor.enabled=true", "metrics.podMonitor.labels.release=kube-prometheus-stack"];
    let chart = render(&on);
    let monitors = chart.all("PodMonitor");
    let [own, sidecars] = monitors[..] else { panic!("{} PodMonitors", monitors.len()) };
    for monitor in [own, sidecars] {
        assert_eq!(monitor["metadata"]["labels"]["release"], "kube-prometheus-stack");
        assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["path"], METRICS_PATH);
    }

    let operator = chart.only("Deployment");
    assert_eq!(own["spec"]["selector"], operator["spec"]["selector"]);
    let port = &operator["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"];
    assert_eq!(own["spec"]["podMetricsEndpoints"][0]["port"], *port);

    let (template, endpoint) = (rendered::pod_template(), &sidecars["spec"]["podMetricsEndpoints"][0]);
    assert!(rendered::finds(&sidecars["spec"]["selector"], &template), "{sidecars}");
    assert_eq!(rendered::sidecar_port(&template, &endpoint["port"]), Some(u64::from(ADMIN_PORT)));
    // Prometheus writes `_` for what is no letter or digit in a label's name.
    let label = API_LABEL.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
    let source = json!([format!("__meta_kubernetes_pod_label_{label}")]);
    assert_eq!(endpoint["relabelings"], json!([{"sourceLabels": source, "targetLabel": "api"}]));

    assert_eq!(sidecars["spec"]["namespaceSelector"], json!({"any": true}));
    let narrowed = render(&[on[0], "watchNamespaces={shop,billing}"]);
    let named = &narrowed.all("PodMonitor")[1]["spec"]["namespaceSelector"];
    assert_eq!(*named, json!({"matchNames": ["shop", "billing"]}));
}

/// Every right, each as `group/resource verb`; a new one has to be written down here too.
#[test]
fn the_operator_has_these_rights_and_no_other() {
    let everywhere = [
        "/configmaps create",
        "/configmaps delete",
        "/configmaps get",
        "/configmaps list",
        "/configmaps patch",
        "/configmaps watch",
        "/pods list",
        "/pods watch",
        "/pods/status patch",
        "/serviceaccounts create",
        "/serviceaccounts get",
        "/serviceaccounts list",
        "/serviceaccounts patch",
        "/serviceaccounts watch",
        "/services create",
        "/services get",
        "/services list",
        "/services patch",
        "/services watch",
        "apps/deployments create",
        "apps/deployments get",
        "apps/deployments list",
        "apps/deployments patch",
        "apps/deployments watch",
        "events.k8s.io/events create",
        "events.k8s.io/events patch",
        "networking.k8s.io/networkpolicies create",
        "networking.k8s.io/networkpolicies delete",
        "networking.k8s.io/networkpolicies get",
        "networking.k8s.io/networkpolicies list",
        "networking.k8s.io/networkpolicies patch",
        "networking.k8s.io/networkpolicies watch",
        "tollgate.dev/oktaprotectedapis get",
        "tollgate.dev/oktaprotectedapis list",
        "tollgate.dev/oktaprotectedapis watch",
        "tollgate.dev/oktaprotectedapis/status patch",
    ];
    let at_home = [
        "coordination.k8s.io/leases create",
        "coordination.k8s.io/leases get tollgate-operator",
        "coordination.k8s.io/leases patch tollgate-operator",
    ];
    let rendered = render(&[]);
    assert_eq!(rights(rendered.only("ClusterRole")), BTreeSet::from(everywhere.map(str::to_owned)));
    assert_eq!(rendered.only("Role")["metadata"]["namespace"], NAMESPACE);
    assert_eq!(rights(rendered.only("Role")), BTreeSet::from(at_home.map(str::to_owned)));

    let narrowed = render(&["watchNamespaces={shop,billing}"]);
    assert!(narrowed.all("ClusterRole").is_empty() && narrowed.all("ClusterRoleBinding").is_empty());
    for namespace in ["shop", "billing"] {
        let role = narrowed.all("Role").into_iter().find(|role| role["metadata"]["namespace"] == namespace);
        assert_eq!(rights(role.expect("a Role")), BTreeSet::from(everywhere.map(str::to_owned)), "{namespace}");
    }
}

#[test]
fn every_right_is_bound_to_the_operators_service_account_alone() {
    for values in [&[][..], &["watchNamespaces={shop}"]] {
        let rendered = render(values);
        let account = &rendered.only("ServiceAccount")["metadata"]["name"];
        let user = &rendered.only("Deployment")["spec"]["template"]["spec"]["serviceAccountName"];
        assert_eq!(user, account);
        for binding in rendered.all("RoleBinding").into_iter().chain(rendered.all("ClusterRoleBinding")) {
            let subject = json!([{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]);
            assert_eq!(binding["subjects"], subject, "{}", binding["metadata"]["name"]);
        }
    }
}

#[test]
fn values_become_the_operators_arguments() {
    let default = ["--sidecar-image=localhost/tollgate/sidecar:dev", "--admin-listen=0.0.0.0:8080", "--log-level=info"];
    assert_eq!(arguments(&[]), default);
    let values = [
        "images.registry=registry.example.com/tollgate",
        "images.tag=1.2.3",
        "images.operator=registry.example.com/other@sha256:0123",
        "watchNamespaces={shop,billing}",
        "allowInsecureIssuers=true",
        "logLevel=debug",
    ];
    let expected = [
        "--sidecar-image=registry.example.com/tollgate/sidecar:1.2.3",
        "--admin-listen=0.0.0.0:8080",
        "--log-level=debug",
        "--watch-namespace=shop",
        "--watch-namespace=billing",
        "--allow-insecure-issuers",
    ];
    assert_eq!(arguments(&values), expected);
    let rendered = render(&values);
    let container = &rendered.only("Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.com/other@sha256:0123");
}

#[test]
fn a_name_that_looks_like_a_number_stays_a_name() {
    let rendered = render(&["watchNamespaces={1e3}", "priorityClassName=1e4"]);
    for object in rendered.all("RoleBinding").into_iter().chain(rendered.all("Role")) {
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace == "1e3" || namespace == NAMESPACE, "{namespace}");
    }
    assert_eq!(rendered.only("Deployment")["spec"]["template"]["spec"]["priorityClassName"], "1e4");
}

#[test]
fn a_single_replica_can_be_drained() {
    assert_eq!(render(&[]).only("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    assert!(render(&["replicas=1"]).all("PodDisruptionBudget").is_empty());
    assert!(render(&["podDisruptionBudget.enabled=false"]).all("PodDisruptionBudget").is_empty());
}

#[test]
fn values_that_the_chart_does_not_know_are_refused() {
    let refused = [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("images.pullpolicy=Always", "additional properties 'pullpolicy' not allowed"),
        ("images.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("images.tag=a b", "does not match pattern"),
        ("images.registry=registry.example.com/", "does not match pattern"),
        ("replicas=0", "minimum: got 0, want 1"),
        ("replicas=two", "got string, want integer"),
        ("watchNamespaces={Shop}", "does not match pattern"),
        ("watchNamespaces={shop,shop}", "are equal"),
        ("watchNamespaces=shop", "got string, want array"),
        ("logLevel=loud", "value must be one of 'error', 'warn', 'info', 'debug'"),
        ("allowInsecureIssuers=yes", "got string, want boolean"),
        ("resources.request.cpu=1", "additional properties 'request' not allowed"),
        ("metrics.podMonitor.enabled=yes", "got string, want boolean"),
        ("metrics.serviceMonitor.enabled=true", "additional properties 'serviceMonitor' not allowed"),
        ("crd.keep=false", "additional properties 'keep' not allowed"),
    ];
    for (value, message) in refused {
        let output = template(&[value]);
        assert!(!output.status.success(), "{value} was accepted");
        assert!(text(&output).contains(message), "{value}: {}", text(&output));
    }
}

/// Every object of a rendered chart.
struct Rendered(Vec<Value>);

impl Rendered {
    fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn only(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "objects of kind {kind}");
        all[0]
    }
}

fn render(values: &[&str]) -> Rendered {
    let output = template(values);
    assert!(output.status.success(), "{}", text(&output));
    let stream = String::from_utf8(output.stdout).expect("Helm prints UTF-8");
    let documents = stream.split("\n---\n").filter(|document| document.lines().any(|line| line.starts_with("kind:")));
    Rendered(documents.map(|document| serde_saphyr::from_str(document).expect("Helm prints YAML")).collect())
}

fn template(values: &[&str]) -> Output {
    let chart = chart();
    let mut arguments = vec!["template", "tollgate", &chart, "--namespace", NAMESPACE];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    helm(&arguments)
}

fn helm(arguments: &[&str]) -> Output {
    toolchain::ensure(&["helm"]).expect("helm can be built");
    let program = toolchain::path("helm").expect("helm is a tool");
    Command::new(program).args(arguments).output().expect("helm runs")
}

fn chart() -> String {
    repository().join("charts/tollgate").display().to_string()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn arguments(values: &[&str]) -> Vec<String> {
    let rendered = render(values);
    let container = &rendered.only("Deployment")["spec"]["template"]["spec"]["containers"][0];
    words(&container["args"])
}

fn rights(role: &Value) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules are a list") {
        let names = rule.get("resourceNames").map_or_else(|| vec![String::new()], words);
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    let named =
                        names.iter().map(|name| format!("{group}/{resource} {verb} {name}").trim_end().to_owned());
                    rights.extend(named);
                }
            }
        }
    }
    rights
}

fn words(list: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    list.as_array().expect("a list").iter().map(word).collect()
}
