//! Every command of README and docs/ is run: each ```sh block, in the order of the pages below, against the cluster that
//! `make test` prepares. A page that is missing here fails the test.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tests::kubernetes::repository;

/// The order in which a user would read. The page that removes everything is the last.
const PAGES: [&str; 13] = [
    "docs/install.md",
    "docs/protect-an-api.md",
    "docs/token-validation.md",
    "docs/headers-and-paths.md",
    "docs/dpop.md",
    "docs/streaming.md",
    "docs/tls.md",
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
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{page} links to {target}");
            }
        }
    }
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
