//! The manifests in examples/: the API server takes each, the operator accepts it, and the sidecar takes its policy.

use kube::Api;
use kube::api::PostParams;
use tests::kubernetes::repository;
use tollgate_api::{OktaProtectedApi, ParseOptions, ValidatedApi};
use tollgate_sidecar::policy::Policy;

use crate::api_server;

#[tokio::test]
async fn every_example_is_taken_by_all_who_read_it() {
    let api: Api<OktaProtectedApi> = Api::namespaced(api_server::client().await, "default");
    let files = std::fs::read_dir(repository().join("examples")).expect("examples/ is there");
    let mut count = 0;
    for path in files.map(|entry| entry.expect("it can be read").path()) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let mut example: OktaProtectedApi = serde_saphyr::from_str(&text).expect("one YAML document");
        example.metadata.namespace = None;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let taken = api.create(&dry_run, &example).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let accepted = ValidatedApi::parse(&taken, ParseOptions::default());
        let accepted = accepted.unwrap_or_else(|refused| panic!("{}: {refused}", path.display()));
        let policy = accepted.sidecar_config().to_file().expect("it serializes");
        Policy::from_file(policy.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}
