//! A real API server with etcd and the controller manager, and no nodes: one for all tests of a process. It ends with
//! the process. It decides nothing; what a test does with it is the test's.

use std::path::PathBuf;
use std::time::Duration;

use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::OnceCell;
use tollgate_api::OktaProtectedApi;
use xtask::cluster::{ControlPlane, Options};

use crate::wait::eventually;

static CONTROL_PLANE: OnceCell<ControlPlane> = OnceCell::const_new();

/// How to reach it, as its administrator. The first call starts it, with our CRD.
///
/// # Panics
/// When it cannot be started.
pub async fn config() -> Config {
    let crd = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/oktaprotectedapis.yaml");
    let control_plane = CONTROL_PLANE.get_or_init(|| start(crd.into())).await;
    config_of(control_plane).await
}

/// A client of its administrator. One for each test: a client belongs to the test's runtime.
///
/// # Panics
/// When it cannot be started.
pub async fn client() -> Client {
    Client::try_from(config().await).expect("a client")
}

/// Starts another one, with this CRD in place of ours; it ends with the value.
///
/// # Panics
/// When it cannot be started.
pub async fn start(crd: PathBuf) -> ControlPlane {
    let options = Options { manifests: vec![crd], ..Options::default() };
    let started = tokio::task::spawn_blocking(move || ControlPlane::start(&options)).await;
    let control_plane = started.expect("starting does not panic").expect("a control plane");
    until_our_kind_is_served(&control_plane).await;
    control_plane
}

/// How to reach this one, as its administrator.
///
/// # Panics
/// When its kubeconfig cannot be used.
pub async fn config_of(control_plane: &ControlPlane) -> Config {
    crate::install_crypto();
    let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig()).expect("a kubeconfig");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a usable kubeconfig")
}

/// The API server answers 404 for a moment after it has taken a definition.
async fn until_our_kind_is_served(control_plane: &ControlPlane) {
    let client = Client::try_from(config_of(control_plane).await).expect("a client");
    let resources: Api<OktaProtectedApi> = Api::all(client);
    let probe = || async { resources.list(&ListParams::default().limit(1)).await.map(drop) };
    eventually("the API server serves OktaProtectedApis", Duration::from_secs(30), probe).await;
}
