//! The manifests in examples/ and README's: the API server takes each, the operator accepts it, and the sidecar takes its
//! policy.

use std::fs;
use std::path::{Path, PathBuf};

use kube::Api;
use kube::api::PostParams;
use tests::kubernetes::repository;
use tollgate_api::{OktaProtectedApi, ParseOptions, ValidatedApi};
use tollgate_sidecar::policy::Policy;

use crate::api_server;

#[tokio::test]
async fn every_example_is_taken_by_all_who_read_it() {
    let api: Api<OktaProtectedApi> = Api::namespaced(api_server::client().await, "default");
    let files = fs::read_dir(repository().join("examples")).expect("examples/ is there");
    let files = files.map(|entry| entry.expect("it can be read").path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    let mut manifests: Vec<_> = files.into_iter().map(|path| (text(&path), path)).collect();
    assert!(manifests.len() >= 3, "{manifests:?}");
    manifests.push(readme());
    for (text, path) in manifests {
        let mut example: OktaProtectedApi = serde_saphyr::from_str(&text).expect("one YAML document");
        example.metadata.namespace = None;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let taken = api.create(&dry_run, &example).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let accepted = ValidatedApi::parse(&taken, ParseOptions::default());
        let accepted = accepted.unwrap_or_else(|refused| panic!("{}: {refused}", path.display()));
        let policy = accepted.sidecar_config().to_file().expect("it serializes");
        Policy::from_file(policy.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(example.spec.app.readiness_probe.is_some(), "{}: pods would get requests too early", path.display());
    }
}

/// The first manifest that a reader of README sees.
fn readme() -> (String, PathBuf) {
    let path = repository().join("README.md");
    let manifest = text(&path).split("```").find_map(|block| block.strip_prefix("yaml\n").map(str::to_owned));
    (manifest.expect("README has a manifest"), path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}
