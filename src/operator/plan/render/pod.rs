//! The Deployment: one pod template with the app and the sidecar. Decides what holds for the pod as a whole.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tollgate_api::ValidatedApi;
use tollgate_contract::PolicyHash;
use tollgate_contract::names::POLICY_HASH_ANNOTATION;

use super::{RenderSettings, app, metadata, sidecar, volumes};
use crate::plan::names::{labels, selector};

/// 30 s for the app, as Kubernetes gives by default, the app's wait before it, and the sidecar's own drain.
const TERMINATION_GRACE_SECONDS: i64 = 45;

/// Old ReplicaSets name policies that are gone: they are kept for reading, not for going back.
const REVISION_HISTORY: i32 = 2;

/// The Deployment of a policy.
pub(super) fn deployment(api: &ValidatedApi, policy: &PolicyHash, settings: &RenderSettings) -> Deployment {
    Deployment {
        metadata: metadata(api, api.name.clone()),
        spec: Some(DeploymentSpec {
            replicas: Some(api.app.replicas),
            revision_history_limit: Some(REVISION_HISTORY),
            selector: LabelSelector { match_labels: Some(selector(&api.name)), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                // Never fewer pods than asked for, at least one more while rolling.
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(&api.name)),
                    annotations: Some(BTreeMap::from([(POLICY_HASH_ANNOTATION.to_owned(), policy.to_string())])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(api, policy, settings)),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn pod(api: &ValidatedApi, policy: &PolicyHash, settings: &RenderSettings) -> PodSpec {
    let pull_secrets =
        api.app.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect::<Vec<_>>();
    PodSpec {
        init_containers: Some(vec![sidecar::container(api, settings)]),
        containers: vec![app::container(api)],
        volumes: Some(volumes::volumes(api, policy)),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        service_account_name: Some(api.name.clone()),
        automount_service_account_token: Some(false),
        // In another network namespace than its own the app would be reachable beside the sidecar.
        host_network: Some(false),
        host_pid: Some(false),
        host_ipc: Some(false),
        // In a shared process namespace the app could read the sidecar's files.
        share_process_namespace: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_SECONDS),
        ..PodSpec::default()
    }
}

/// What the `restricted` Pod Security Standard asks of every container. An empty `add` is ours too, so that an added
/// capability is drift.
pub(super) fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        capabilities: Some(k8s_openapi::api::core::v1::Capabilities {
            add: Some(Vec::new()),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        ..SecurityContext::default()
    }
}

/// The container runtime's own system call filter.
pub(super) fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}
