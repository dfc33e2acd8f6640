//! Every command of README and docs/ is run: each ```sh block, in the order of the pages below, against the cluster that
//! `make test` prepares. A page that is missing here fails the test. What the pages show beside commands is compared with
//! what it is of.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use tests::kubernetes::repository;
use tests::rendered;
use tollgate_contract::names::{ADMIN_PORT, API_LABEL};

/// The order in which a user would read. The page that removes everything is the last.
const PAGES: [&str; 14] = [
    "docs/install.md",
    "docs/protect-an-api.md",
    "docs/token-validation.md",
    "docs/headers-and-paths.md",
    "docs/dpop.md",
    "docs/streaming.md",
    "docs/tls.md",
    "docs/limits.md",
    "docs/observability.md",
    "docs/operations.md",
    "docs/reasons.md",
    "docs/security.md",
    "docs/benchmarks.md",
    "docs/remove.md",
];

/// Commands of README that are the run itself, or what it is part of: `.ci/run` runs `make lint` and `make test`, and the
/// demo has its own place in it.
const THE_RUN_ITSELF: [&str; 3] = ["make demo", "make test", "make lint"];

#[test]
fn every_page_is_in_the_list() {
    let listed: BTreeSet<String> = PAGES.iter().map(|page| (*page).to_owned()).collect();
    let found: BTreeSet<String> = fs::read_dir(repository().join("docs"))
        .expect("docs/ is there")
        .map(|entry| entry.expect("docs/ can be read").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn readme_shows_only_commands_that_are_run() {
    for command in commands("README.md") {
        for line in command.lines() {
            assert!(THE_RUN_ITSELF.contains(&line), "README shows `{line}`, which no test runs");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in PAGES.iter().copied().chain(["README.md", "SECURITY.md", "examples/README.md"]) {
        let text = read(page);
        let folder = repository().join(page).parent().expect("a page lies in a folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { repository().join(page) } else { folder.join(path) };
            assert!(path.exists(), "{page} links to {target}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(path).expect("a page");
                assert!(anchors(&text).any(|found| found == anchor), "{page} links to {target}");
            }
        }
    }
}

/// Where links lead within a page: its headings, as GitHub names them.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| {
        let kept = heading.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

#[test]
fn tables_of_kubectl_have_the_columns_of_the_definition() {
    let definition: Value = serde_saphyr::from_str(&read("crds/oktaprotectedapis.yaml")).expect("the CRD is YAML");
    let printed = definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().expect("columns").iter();
    let printed = printed.map(|column| column["name"].as_str().expect("a name").to_uppercase());
    let columns: Vec<String> = std::iter::once("NAME".to_owned()).chain(printed).collect();
    assert_eq!(definition["spec"]["names"]["shortNames"], json!(["okapi"]));

    for page in ["README.md", "docs/operations.md"] {
        let text = read(page);
        let mut lines = text.lines().skip_while(|line| !(line.starts_with("$ kubectl") && line.contains("get okapi")));
        assert!(lines.next().is_some(), "{page} shows no table");
        let rows = lines.take_while(|line| *line != "```" && !line.starts_with("$ "));
        let table: Vec<Vec<&str>> = rows.map(|row| row.split_whitespace().collect()).collect();
        let head = table[0].strip_prefix(&["NAMESPACE"]).unwrap_or(&table[0]);
        assert_eq!(head, columns, "{page}");
        assert!(table.len() > 1 && table.iter().all(|row| row.len() == table[0].len()), "{page}: {table:?}");
    }
}

#[test]
fn queries_alerts_and_the_dashboard_ask_for_metrics_that_there_are() {
    let (sidecar, operator) = (read("docs/observability.md"), read("docs/operations.md"));
    let rows = sidecar.lines().chain(operator.lines()).filter(|line| line.starts_with("| `tollgate_"));
    let known: BTreeSet<&str> = rows.flat_map(|row| metrics(row.split('|').nth(1).unwrap_or_default())).collect();

    let dashboard = read("docs/grafana-dashboard.json");
    let blocks = ["```promql\n", "```yaml\n"]
        .into_iter()
        .flat_map(|fence| sidecar.split(fence).skip(1).filter_map(|rest| rest.split("```").next()));
    let asked: BTreeSet<&str> = blocks.chain([dashboard.as_str()]).flat_map(metrics).collect();
    assert!(asked.len() > 10, "{asked:?}");
    for name in asked {
        assert!(known.contains(name.trim_end_matches("_bucket")), "no table has {name}");
    }
}

/// The names of metrics in a text.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("tollgate_"))
}

#[test]
fn the_network_policy_for_prometheus_opens_the_metrics_of_the_pods_that_the_operator_makes() {
    let text = read("docs/observability.md");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let policies = blocks.filter(|block| block.contains("kind: NetworkPolicy"));
    let [policy]: [Value; 1] = policies
        .map(|block| serde_saphyr::from_str(block).expect("YAML"))
        .collect::<Vec<_>>()
        .try_into()
        .expect("one NetworkPolicy");
    let template = rendered::pod_template();
    assert!(rendered::finds(&policy["spec"]["podSelector"], &template), "{policy}");
    assert_eq!(policy["spec"]["ingress"][0]["ports"], json!([{"port": ADMIN_PORT, "protocol": "TCP"}]));
    assert_eq!(rendered::sidecar_port(&template, &json!("tollgate-admin")), Some(u64::from(ADMIN_PORT)));
    let typed = serde_json::from_value::<NetworkPolicy>(policy.clone()).expect("a NetworkPolicy");
    assert_eq!(
        serde_json::to_value(typed).expect("it serializes"),
        policy,
        "it has no field that Kubernetes does not know"
    );
}

#[test]
fn the_scrape_jobs_find_sidecars_and_label_them() {
    let text = read("docs/observability.md");
    let block = text.split("```yaml\n").find(|block| block.starts_with("scrape_configs:")).expect("the jobs");
    let block = block.split("```").next().expect("it ends");
    let jobs: Value = serde_saphyr::from_str(block).expect("YAML");
    let rules = jobs["scrape_configs"][0]["relabel_configs"].as_array().expect("a list");
    let template = rendered::pod_template();
    assert_eq!(rendered::sidecar_port(&template, &rules[0]["regex"]), Some(u64::from(ADMIN_PORT)));
    let label = API_LABEL.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
    let source = json!([format!("__meta_kubernetes_pod_label_{label}")]);
    assert!(rules.iter().any(|rule| rule["source_labels"] == source && rule["target_label"] == "api"), "{rules:?}");
}

#[test]
fn every_command_of_the_docs_works() {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG is not set: `make test` starts a cluster and sets it"
    );
    let mut count = 0;
    for page in PAGES {
        for command in commands(page) {
            println!("{page}$ {command}");
            let output =
                Command::new("bash").args(["-euo", "pipefail", "-c", &command]).current_dir(repository()).output();
            let output = output.expect("bash runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}: `{command}` ended with {}: {said}", output.status);
            assert!(!output.stdout.is_empty(), "{page}: `{command}` showed nothing");
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} blocks were found");
}

fn read(page: &str) -> String {
    fs::read_to_string(repository().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The ```sh blocks of a page.
fn commands(page: &str) -> Vec<String> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match &mut block {
            None if line == "```sh" => block = Some(String::new()),
            None => {}
            Some(_) if line == "```" => blocks.extend(block.take().map(|text| text.trim_end().to_owned())),
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}
