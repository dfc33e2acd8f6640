//! What the sidecar reads: the policy, hints, the certificate of its port, client credentials, CA bundles. All but the policy may be missing: the
//! pod starts, the sidecar says what it lacks and takes it when it appears.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use tollgate_api::ValidatedApi;
use tollgate_api::validated::{CaBundle, Client};
use tollgate_contract::PolicyHash;
use tollgate_contract::names::{
    CA_DIR, CLIENT_CA_DIR, CREDENTIALS_DIR, HINTS_DIR, HINTS_FILE, POLICY_DIR, POLICY_FILE, TLS_DIR, UPSTREAM_CA_DIR,
};

use crate::plan::names::{hints_name, policy_name};

/// Readable for the sidecar's user, which owns nothing.
const READ_ONLY: i32 = 0o444;

/// All that is ever read of a Secret; what else is in it is not mounted.
const CREDENTIAL_KEYS: [&str; 3] = ["clientId", "clientSecret", "previousClientSecret"];

/// As in a Secret of type `kubernetes.io/tls`.
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];

/// The file in a CA bundle's folder.
const CA_FILE: &str = "ca.crt";

/// The pod's volumes.
pub(super) fn volumes(api: &ValidatedApi, policy: &PolicyHash) -> Vec<Volume> {
    let mut volumes = vec![
        config_map(POLICY_VOLUME.to_owned(), policy_name(&api.name, policy), item(POLICY_FILE, POLICY_FILE), false),
        config_map(HINTS_VOLUME.to_owned(), hints_name(&api.name), item(HINTS_FILE, HINTS_FILE), true),
    ];
    volumes.extend(api.tls.as_ref().map(|tls| secret(TLS_VOLUME.to_owned(), &tls.secret, &TLS_KEYS)));
    volumes.extend(client_ca(api).map(|bundle| ca_bundle(CLIENT_CA_VOLUME.to_owned(), bundle)));
    volumes.extend(upstream_ca(api).map(|bundle| ca_bundle(UPSTREAM_CA_VOLUME.to_owned(), bundle)));
    for (index, issuer) in api.issuers.iter().enumerate() {
        let credentials = |client: &Client| secret(credentials_volume(index), &client.secret, &CREDENTIAL_KEYS);
        volumes.extend(issuer.client.as_ref().map(credentials));
        volumes.extend(issuer.ca_bundle.as_ref().map(|bundle| ca_bundle(ca_volume(index), bundle)));
    }
    volumes
}

/// Where the sidecar sees them.
pub(super) fn mounts(api: &ValidatedApi) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount(POLICY_VOLUME.to_owned(), POLICY_DIR.to_owned()),
        mount(HINTS_VOLUME.to_owned(), HINTS_DIR.to_owned()),
    ];
    mounts.extend(api.tls.as_ref().map(|_| mount(TLS_VOLUME.to_owned(), TLS_DIR.to_owned())));
    mounts.extend(client_ca(api).map(|_| mount(CLIENT_CA_VOLUME.to_owned(), CLIENT_CA_DIR.to_owned())));
    mounts.extend(upstream_ca(api).map(|_| mount(UPSTREAM_CA_VOLUME.to_owned(), UPSTREAM_CA_DIR.to_owned())));
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

fn client_ca(api: &ValidatedApi) -> Option<&CaBundle> {
    Some(&api.tls.as_ref()?.client_certificates.as_ref()?.ca_bundle)
}

fn upstream_ca(api: &ValidatedApi) -> Option<&CaBundle> {
    api.upstream.tls.as_ref()?.ca_bundle.as_ref()
}

const POLICY_VOLUME: &str = "tollgate-policy";

const HINTS_VOLUME: &str = "tollgate-hints";

const TLS_VOLUME: &str = "tollgate-tls";

const CLIENT_CA_VOLUME: &str = "tollgate-client-ca";

const UPSTREAM_CA_VOLUME: &str = "tollgate-upstream-ca";

/// By position, for an issuer's name may be longer than a volume's.
fn credentials_volume(index: usize) -> String {
    format!("tollgate-credentials-{index}")
}

fn ca_volume(index: usize) -> String {
    format!("tollgate-ca-{index}")
}

fn secret(volume: String, name: &str, keys: &[&str]) -> Volume {
    Volume {
        name: volume,
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            items: Some(keys.iter().map(|key| item(key, key)).collect()),
            default_mode: Some(READ_ONLY),
            optional: Some(true),
        }),
        ..Volume::default()
    }
}

fn ca_bundle(volume: String, bundle: &CaBundle) -> Volume {
    config_map(volume, bundle.config_map.clone(), item(&bundle.key, CA_FILE), true)
}

fn config_map(volume: String, name: String, item: KeyToPath, optional: bool) -> Volume {
    Volume {
        name: volume,
        config_map: Some(ConfigMapVolumeSource {
            name,
            items: Some(vec![item]),
            default_mode: Some(READ_ONLY),
            optional: Some(optional),
        }),
        ..Volume::default()
    }
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

fn mount(name: String, mount_path: String) -> VolumeMount {
    VolumeMount { name, mount_path, read_only: Some(true), ..VolumeMount::default() }
}
