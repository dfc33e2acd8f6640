//! The rules of the tree that no compiler checks: who may depend on whom, that every file says what it decides, that
//! files stay readable, and that nothing is silenced or left unfinished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file, its tests aside, that a reader can still take in.
const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}

fn tracked(suffix: &str) -> Vec<(String, String)> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let files: Vec<_> = String::from_utf8(listing.stdout)
        .expect("paths are UTF-8")
        .lines()
        .filter(|path| path.ends_with(suffix))
        .filter_map(|path| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?)))
        .collect();
    assert!(!files.is_empty(), "no {suffix} file is tracked: the check would check nothing");
    files
}

fn complain(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

/// Our crates and the kube crates that each package names in `[dependencies]`.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(metadata.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("cargo prints JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a name is a string").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages are a list")
        .iter()
        .map(|package| {
            let names = package["dependencies"]
                .as_array()
                .expect("dependencies are a list")
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]))
                .filter(|name| name.starts_with("tollgate-") || name.starts_with("kube") || name == "k8s-openapi");
            (text(&package["name"]), names.collect())
        })
        .collect()
}

#[test]
fn crates_know_only_whom_the_architecture_lets_them_know() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("tollgate-contract", &[][..]),
        ("tollgate-rules", &[]),
        ("tollgate-runtime", &[]),
        ("tollgate-api", &["tollgate-contract", "tollgate-rules", "kube", "k8s-openapi"]),
        ("tollgate-sidecar", &["tollgate-contract", "tollgate-rules", "tollgate-runtime"]),
        (
            "tollgate-operator",
            &["tollgate-api", "tollgate-contract", "tollgate-runtime", "kube", "k8s-openapi", "kube-lease-manager"],
        ),
        ("xtask", &["tollgate-contract"]),
        ("bare-hyper", &[]),
        (
            "tests",
            &["tollgate-api", "tollgate-contract", "tollgate-operator", "tollgate-sidecar", "kube", "k8s-openapi"],
        ),
    ]);
    let mut findings = Vec::new();
    for (package, known) in dependencies() {
        let Some(allowed) = allowed.get(package.as_str()) else {
            findings.push(format!("{package} stands in no rule: say in tests/tidy.rs whom it may know"));
            continue;
        };
        findings.extend(
            known.iter().filter(|name| !allowed.contains(&name.as_str())).map(|name| format!("{package} -> {name}")),
        );
    }
    complain("dependency edges that the architecture forbids", &findings);
}

#[test]
fn modules_keep_their_direction() {
    // (files, what they may not name, why)
    let rules: [(&str, &[&str], &str); 4] = [
        (
            "src/operator/plan/",
            &["kube::Client", "kube::Api", "async fn", "SystemTime::now", "Instant::now"],
            "the plan is pure",
        ),
        ("src/sidecar/broker/", &["crate::auth", "crate::rescue", "crate::proxy"], "broker and auth share only idp"),
        (
            "src/sidecar/auth/",
            &["crate::broker", "crate::rescue", "crate::proxy", "crate::server"],
            "broker and auth share only idp",
        ),
        (
            "src/sidecar/idp/",
            &["crate::auth", "crate::broker", "crate::rescue", "crate::server"],
            "idp knows no caller",
        ),
    ];
    let mut findings = Vec::new();
    for (path, text) in tracked(".rs") {
        for (prefix, banned, why) in &rules {
            if !path.starts_with(prefix) {
                continue;
            }
            for (number, line) in code_lines(&text) {
                findings.extend(
                    banned
                        .iter()
                        .filter(|word| line.contains(**word))
                        .map(|word| format!("{path}:{number} names {word} ({why})")),
                );
            }
        }
    }
    complain("modules that look the wrong way", &findings);
}

#[test]
fn every_file_opens_with_what_it_decides() {
    let findings: Vec<_> = tracked(".rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| format!("{path} does not open with `//!`"))
        .collect();
    complain("files that do not say what they are for", &findings);
}

#[test]
fn files_stay_readable() {
    let findings: Vec<_> = tracked(".rs")
        .into_iter()
        .filter(|(path, _)| path.starts_with("src/") || path.starts_with("xtask/"))
        .map(|(path, text)| (path, text.lines().take_while(|line| *line != "#[cfg(test)]").count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{path}: {lines} lines; split it by idea"))
        .collect();
    complain("files over the limit", &findings);
}

#[test]
fn nothing_is_silenced_or_unfinished() {
    let banned = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("#[al", "low("),
        concat!("#![al", "low("),
        concat!("unsa", "fe {"),
    ];
    let mut findings = Vec::new();
    for (path, text) in tracked(".rs") {
        for (number, line) in text.lines().enumerate() {
            findings.extend(
                banned.iter().filter(|word| line.contains(**word)).map(|word| format!("{path}:{} {word}", number + 1)),
            );
        }
    }
    complain("silenced or unfinished", &findings);
}

#[test]
fn the_metrics_are_those_that_the_docs_name() {
    // (files, what their registry puts before each name, the page with their table)
    let programs = [
        ("src/sidecar/", "tollgate_", "docs/observability.md"),
        ("src/operator/", "tollgate_operator_", "docs/operations.md"),
    ];
    let mut findings = Vec::new();
    for (folder, prefix, page) in programs {
        let (registered, documented) = (registered_metrics(folder), documented_metrics(prefix, page));
        assert!(registered.len() > 5, "{folder}: {registered:?}");
        findings.extend(registered.difference(&documented).map(|name| format!("{folder}: {name} is not in {page}")));
        findings.extend(documented.difference(&registered).map(|name| format!("{page}: {name} is not in {folder}")));
    }
    complain("metrics in the code alone or in the docs alone", &findings);
}

fn registered_metrics(folder: &str) -> BTreeSet<String> {
    let mut registered = BTreeSet::new();
    let files = tracked(".rs").into_iter().filter(|(path, _)| path.starts_with(folder));
    for (_, text) in files.filter(|(_, text)| text.contains("prometheus_client")) {
        let code: String = code_lines(&text).map(|(_, line)| line.trim().to_owned() + " ").collect();
        // A name stands before its help, which begins with a capital, a digit or a variable.
        for call in [
            "registry.register( \"",
            "registry.register(\"",
            "registry.register_with_unit( \"",
            "encoder.encode_descriptor(\"",
            "[ (\"",
            "), (\"",
        ] {
            for rest in code.split(call).skip(1) {
                let Some((name, rest)) = rest.split_once('"') else { continue };
                let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                let help = rest.strip_prefix(", \"").and_then(|help| help.chars().next());
                let has_help = rest.starts_with(", help") || help.is_some_and(|first| !first.is_lowercase());
                if is_name && !name.is_empty() && has_help {
                    registered.insert(name.to_owned());
                }
            }
        }
    }
    registered
}

/// The names of a page's table as they are registered: without what the program's registry and the format add.
fn documented_metrics(prefix: &str, page: &str) -> BTreeSet<String> {
    let docs = fs::read_to_string(root().join(page)).expect("the page is there");
    let rows = docs.lines().filter(|line| line.starts_with("| `tollgate_"));
    rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .map(|name| name.split('{').next().unwrap_or_default())
        .map(|name| name.strip_prefix(prefix).unwrap_or(name))
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_info"))
        // The unit of a histogram is no part of its registered name.
        .map(|name| name.strip_suffix("_seconds").filter(|name| name.ends_with("_duration")).unwrap_or(name).to_owned())
        .collect()
}

#[test]
fn tests_await_conditions_instead_of_sleeping() {
    let sleep = concat!("sle", "ep(");
    // The one place that polls: everything else awaits a condition through it.
    let poll = "tests/harness/wait.rs";
    let mut findings = Vec::new();
    for (path, text) in tracked(".rs").into_iter().filter(|(path, _)| path.starts_with("tests/") && path != poll) {
        findings.extend(
            text.lines()
                .enumerate()
                .filter(|(_, line)| line.contains(sleep) && !line.trim_start().starts_with("//"))
                .map(|(number, line)| format!("{path}:{} {}", number + 1, line.trim())),
        );
    }
    complain("sleeps in tests", &findings);
}

#[test]
fn the_text_names_no_machine() {
    let findings: Vec<_> = [".rs", ".md", ".yaml", ".mjs", ".py", "Makefile", "Dockerfile", ".toml"]
        .into_iter()
        .flat_map(tracked)
        .filter(|(path, _)| !path.ends_with("tests/tidy.rs"))
        .flat_map(|(path, text)| {
            let machine_paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), "/home/"];
            text.lines()
                .enumerate()
                .filter(|(_, line)| machine_paths.iter().any(|word| line.contains(word)))
                .map(|(number, line)| format!("{path}:{} {}", number + 1, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    complain("paths of one machine", &findings);
}

/// Lines with their numbers, up to the file's tests, comments aside.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}
