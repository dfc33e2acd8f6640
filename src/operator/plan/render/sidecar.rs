//! The sidecar's container: a native sidecar (an init container that stays), so that it is up before the app and ends
//! after it. Hardened by itself, whatever the pod says.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, Probe, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tollgate_api::ValidatedApi;
use tollgate_contract::names::{
    ADMIN_PORT, LIVE_PATH, POD_IP_ENV, POD_UID_ENV, POLICY_DIR, POLICY_FILE, PROXY_PORT, READY_PATH, SIDECAR_CONTAINER,
};

use super::pod::{restricted, runtime_default};
use super::{RenderSettings, volumes};
use crate::plan::names::ADMIN_PORT_NAME;

/// "nonroot" of the distroless images; nothing in the image belongs to it.
const USER: i64 = 65532;

/// Measured need of an idle sidecar with room for its caches. An autoscaler needs a CPU request to compute with.
const REQUESTS: [(&str, &str); 2] = [("cpu", "20m"), ("memory", "32Mi")];

/// Tells the sidecar that its pod is going away: unready from then on, and every connection ends with its answer.
const DRAIN: [&str; 2] = ["/tollgate-sidecar", "drain"];

/// The container.
pub(super) fn container(api: &ValidatedApi, settings: &RenderSettings) -> Container {
    Container {
        name: SIDECAR_CONTAINER.to_owned(),
        image: Some(settings.sidecar_image.clone()),
        // A tag that is on the node is used: a sidecar must start without a registry.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        restart_policy: Some("Always".to_owned()),
        // The image's own; an empty one is ours too, so that another is drift.
        command: Some(Vec::new()),
        args: Some(vec!["--config".to_owned(), format!("{POLICY_DIR}/{POLICY_FILE}")]),
        env: Some(vec![of_the_pod(POD_UID_ENV, "metadata.uid"), of_the_pod(POD_IP_ENV, "status.podIP")]),
        ports: Some(vec![port(SIDECAR_CONTAINER, PROXY_PORT), port(ADMIN_PORT_NAME, ADMIN_PORT)]),
        resources: Some(resources(&api.sidecar.resources)),
        // The app starts when this has passed: looked at often, for half a minute.
        startup_probe: Some(Probe { period_seconds: Some(1), failure_threshold: Some(30), ..probe(LIVE_PATH) }),
        readiness_probe: Some(Probe { period_seconds: Some(2), failure_threshold: Some(2), ..probe(READY_PATH) }),
        liveness_probe: Some(Probe { period_seconds: Some(10), failure_threshold: Some(3), ..probe(LIVE_PATH) }),
        // A native sidecar gets SIGTERM only after the app has ended: too late to turn callers away from it.
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction { command: Some(DRAIN.map(str::to_owned).to_vec()) }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(volumes::mounts(api)),
        security_context: Some(SecurityContext {
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            read_only_root_filesystem: Some(true),
            seccomp_profile: Some(runtime_default()),
            ..restricted()
        }),
        ..Container::default()
    }
}

fn of_the_pod(variable: &str, field: &str) -> EnvVar {
    EnvVar {
        name: variable.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: field.to_owned() }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT_NAME.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// The resource's own, with a request for what it neither requests nor limits.
fn resources(wanted: &ResourceRequirements) -> ResourceRequirements {
    let mut resources = wanted.clone();
    let limits = resources.limits.clone().unwrap_or_default();
    let requests = resources.requests.get_or_insert_default();
    for (resource, amount) in REQUESTS {
        if !limits.contains_key(resource) {
            requests.entry(resource.to_owned()).or_insert_with(|| Quantity(amount.to_owned()));
        }
    }
    resources
}
