//! What the sidecar reads: the policy, the client credentials, the CA bundles. A Secret or ConfigMap of the user's may
//! be missing: the pod starts, the sidecar says what it lacks and takes it when it appears.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use tollgate_api::ValidatedApi;
use tollgate_contract::PolicyHash;
use tollgate_contract::names::{CA_DIR, CREDENTIALS_DIR, POLICY_DIR, POLICY_FILE};

use crate::plan::names::policy_name;

/// Readable for the sidecar's user, which owns nothing.
const READ_ONLY: i32 = 0o444;

/// All that is ever read of a Secret; what else is in it is not mounted.
const CREDENTIAL_KEYS: [&str; 3] = ["clientId", "clientSecret", "previousClientSecret"];

/// The file in a CA bundle's folder.
const CA_FILE: &str = "ca.crt";

/// The pod's volumes.
pub(super) fn volumes(api: &ValidatedApi, policy: &PolicyHash) -> Vec<Volume> {
    let mut volumes = vec![Volume {
        name: POLICY_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: policy_name(&api.name, policy),
            items: Some(vec![item(POLICY_FILE, POLICY_FILE)]),
            default_mode: Some(READ_ONLY),
            optional: Some(false),
        }),
        ..Volume::default()
    }];
    for (index, issuer) in api.issuers.iter().enumerate() {
        volumes.extend(issuer.client.as_ref().map(|client| Volume {
            name: credentials_volume(index),
            secret: Some(SecretVolumeSource {
                secret_name: Some(client.secret.clone()),
                items: Some(CREDENTIAL_KEYS.iter().map(|key| item(key, key)).collect()),
                default_mode: Some(READ_ONLY),
                optional: Some(true),
            }),
            ..Volume::default()
        }));
        volumes.extend(issuer.ca_bundle.as_ref().map(|bundle| Volume {
            name: ca_volume(index),
            config_map: Some(ConfigMapVolumeSource {
                name: bundle.config_map.clone(),
                items: Some(vec![item(&bundle.key, CA_FILE)]),
                default_mode: Some(READ_ONLY),
                optional: Some(true),
            }),
            ..Volume::default()
        }));
    }
    volumes
}

/// Where the sidecar sees them.
pub(super) fn mounts(api: &ValidatedApi) -> Vec<VolumeMount> {
    let mut mounts = vec![mount(POLICY_VOLUME.to_owned(), POLICY_DIR.to_owned())];
    for (index, issuer) in api.issuers.iter().enumerate() {
        if issuer.client.is_some() {
            mounts.push(mount(credentials_volume(index), format!("{CREDENTIALS_DIR}/{}", issuer.name)));
        }
        if issuer.ca_bundle.is_some() {
            mounts.push(mount(ca_volume(index), format!("{CA_DIR}/{}", issuer.name)));
        }
    }
    mounts
}

const POLICY_VOLUME: &str = "tollgate-policy";

/// By position, for an issuer's name may be longer than a volume's.
fn credentials_volume(index: usize) -> String {
    format!("tollgate-credentials-{index}")
}

fn ca_volume(index: usize) -> String {
    format!("tollgate-ca-{index}")
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

fn mount(name: String, mount_path: String) -> VolumeMount {
    VolumeMount { name, mount_path, read_only: Some(true), ..VolumeMount::default() }
}
