//! The app's container: as the resource says, and within what the `restricted` Pod Security Standard allows. Its image
//! must name a user that is not root; it keeps that user and a writable file system.

use k8s_openapi::api::core::v1::{Container, ContainerPort, Lifecycle, LifecycleHandler, SleepAction};
use tollgate_api::ValidatedApi;
use tollgate_api::types::ImagePullPolicy;
use tollgate_api::validated::App;

use super::pod::restricted;
use crate::plan::names::APP_CONTAINER;

/// When a pod is deleted the app goes on while the endpoints that lead to it are withdrawn, everywhere and in parallel, and
/// while the sidecar sends its callers away: the last, those of idle connections, three seconds after it was told, and to
/// tell it takes a process that starts on a node which may be busy.
const WITHDRAWAL_SECONDS: i64 = 5;

/// The container.
pub(super) fn container(api: &ValidatedApi) -> Container {
    // Every field by name: a new one must not be forgotten here.
    let App {
        image,
        image_pull_policy,
        image_pull_secrets: _,
        replicas: _,
        command,
        args,
        env,
        resources,
        readiness_probe,
        liveness_probe,
        startup_probe,
        ..
    } = &api.app;
    Container {
        name: APP_CONTAINER.to_owned(),
        image: Some(image.clone()),
        image_pull_policy: image_pull_policy.map(|policy| pull_policy(policy).to_owned()),
        command: unless_empty(command),
        args: unless_empty(args),
        env: unless_empty(env),
        ports: Some(vec![ContainerPort {
            container_port: i32::from(api.upstream.port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: (resources != &Default::default()).then(|| resources.clone()),
        readiness_probe: readiness_probe.clone(),
        liveness_probe: liveness_probe.clone(),
        startup_probe: startup_probe.clone(),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: WITHDRAWAL_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

fn pull_policy(policy: ImagePullPolicy) -> &'static str {
    match policy {
        ImagePullPolicy::Always => "Always",
        ImagePullPolicy::IfNotPresent => "IfNotPresent",
        ImagePullPolicy::Never => "Never",
    }
}

fn unless_empty<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}
