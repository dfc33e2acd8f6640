//! Names, labels and annotations of everything that the operator writes.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ApiResource;
use tollgate_contract::PolicyHash;
use tollgate_contract::names::API_LABEL;

/// Field manager of the objects that we own.
pub const FIELD_MANAGER: &str = "tollgate.dev/operator";

/// Field manager of the resource's status.
pub const STATUS_MANAGER: &str = "tollgate.dev/status";

/// Annotation on every object of ours: a hash of what was rendered. It changes when a field is no longer rendered,
/// which a comparison with the live object alone cannot see.
pub const RENDERED_ANNOTATION: &str = "tollgate.dev/rendered";

/// Pod annotation whose change makes the kubelet look at the mounted Secrets and ConfigMaps at once.
pub const REFRESH_ANNOTATION: &str = "tollgate.dev/refresh";

/// Name of the app's container.
pub const APP_CONTAINER: &str = "app";

/// Name of the sidecar's admin port.
pub const ADMIN_PORT_NAME: &str = "tollgate-admin";

/// Label that says which tool manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Label with the name of the application that an object belongs to.
pub const APP_NAME_LABEL: &str = "app.kubernetes.io/name";

/// Value of [`MANAGED_BY_LABEL`], and of [`APP_NAME_LABEL`] on the operator's own pods.
pub const TOLLGATE: &str = "tollgate";

/// The kinds of objects that the operator owns (two of them are ConfigMaps), in the order in which they are written: a pod
/// never starts before its policy and its NetworkPolicy stand, and a Deployment that the API server refuses leaves the
/// Service as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The pods' identity, without a token.
    ServiceAccount,
    /// The ConfigMap of a policy; immutable, one for each policy.
    Policy,
    /// The ConfigMap of the hints; it changes while pods run.
    Hints,
    /// What lets traffic reach the sidecar's ports only.
    NetworkPolicy,
    /// The pods.
    Deployment,
    /// What callers use.
    Service,
}

impl Kind {
    /// Every kind, in the order of writing.
    pub const ALL: [Self; 6] =
        [Self::ServiceAccount, Self::Policy, Self::Hints, Self::NetworkPolicy, Self::Deployment, Self::Service];

    /// Group, version and plural.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Policy | Self::Hints => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
        }
    }

    /// The word for messages and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Policy | Self::Hints => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Name of the ConfigMap that holds a policy.
#[must_use]
pub fn policy_name(api: &str, hash: &PolicyHash) -> String {
    format!("{}{hash}", policy_prefix(api))
}

/// Name of the ConfigMap that holds the hints.
#[must_use]
pub fn hints_name(api: &str) -> String {
    format!("{api}-tollgate-hints")
}

/// What stands before the hash in [`policy_name`].
#[must_use]
pub fn policy_prefix(api: &str) -> String {
    format!("{api}-tollgate-")
}

/// What selects an API's pods.
#[must_use]
pub fn selector(api: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(API_LABEL.to_owned(), api.to_owned())])
}

/// The labels of everything that belongs to an API.
#[must_use]
pub fn labels(api: &str) -> BTreeMap<String, String> {
    let mut labels = selector(api);
    labels.insert(APP_NAME_LABEL.to_owned(), api.to_owned());
    labels.insert(MANAGED_BY_LABEL.to_owned(), TOLLGATE.to_owned());
    labels
}
