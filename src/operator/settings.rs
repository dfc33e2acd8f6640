//! What an operator is told when it starts. It decides no default that a user could want to know of: those are the
//! command line's.

use std::net::SocketAddr;

use tollgate_api::ParseOptions;
use tollgate_contract::names::ADMIN_PORT;

use crate::plan::RenderSettings;

/// The operator's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of the sidecar.
    pub sidecar_image: String,
    /// The namespaces to look after; all when empty.
    pub watch_namespaces: Vec<String>,
    /// Whether issuers may be `http://`.
    pub allow_insecure_issuers: bool,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub admin_listen: SocketAddr,
    /// Name of the operator's pod: its identity as a leader.
    pub pod_name: String,
    /// Namespace of the operator's pod, where the Lease is.
    pub pod_namespace: String,
    /// Port of the sidecars' reports; [`Settings::POLL_PORT`] but in tests.
    pub poll_port: u16,
}

impl Settings {
    /// Where sidecars serve their reports.
    pub const POLL_PORT: u16 = ADMIN_PORT;

    pub(crate) fn render(&self) -> RenderSettings {
        RenderSettings { sidecar_image: self.sidecar_image.clone(), operator_namespace: self.pod_namespace.clone() }
    }

    pub(crate) fn parse_options(&self) -> ParseOptions {
        ParseOptions { allow_insecure_issuers: self.allow_insecure_issuers }
    }

    /// `None` is every namespace.
    pub(crate) fn scopes(&self) -> Vec<Option<String>> {
        match self.watch_namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().cloned().map(Some).collect(),
        }
    }
}
