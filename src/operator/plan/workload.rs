//! Whether the Deployment has the pods that it should have, and if not, why: from the API server's refusals, from the
//! pods' records, from what the sidecars report, in this order. One plain sentence, that says the fix where there is one.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use tollgate_api::conditions::{ConditionStatus, ConditionType, NewCondition, reason};
use tollgate_api::types::OktaProtectedApiSpec;

use super::pods::{Trouble, quote};
use super::reports::{PolledPod, app_is_missing, problems};

/// WorkloadAvailable. `deployment` is ours, or absent.
#[must_use]
pub fn available(deployment: Option<&Deployment>, pods: &[PolledPod], spec: &OktaProtectedApiSpec) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(ConditionType::WorkloadAvailable, status, reason, message);
    let Some(deployment) = deployment else {
        return condition(ConditionStatus::False, reason::PENDING, "There is no Deployment yet.".to_owned());
    };
    let replicas = deployment.spec.as_ref().and_then(|deployment| deployment.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    if is_rolled_out(deployment, &status, replicas) {
        if app_is_missing(pods) {
            let message = "The pods are ready, but the app does not listen on upstream.port: let it listen there, on \
                           127.0.0.1 or on every address, or mend upstream.port.";
            return condition(ConditionStatus::False, reason::APP_NOT_READY, message.to_owned());
        }
        let message = match replicas {
            0 => "No pods are asked for (app.replicas is 0).".to_owned(),
            1 => "The pod is available.".to_owned(),
            all => format!("All {all} pods are available."),
        };
        return condition(ConditionStatus::True, reason::AVAILABLE, message);
    }
    let trouble = refusal(&status).or_else(|| pod_trouble(pods, spec)).or_else(|| paused(deployment));
    let Trouble { reason, message } = trouble.unwrap_or_else(|| Trouble {
        reason: reason::PROGRESSING,
        message: format!(
            "{} of {replicas} pods are available in their latest form.",
            status.updated_replicas.unwrap_or(0).min(status.available_replicas.unwrap_or(0))
        ),
    });
    condition(ConditionStatus::False, reason, message)
}

/// The latest template in all pods, none left of an earlier one, all available.
fn is_rolled_out(deployment: &Deployment, status: &DeploymentStatus, replicas: i32) -> bool {
    status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
        && status.updated_replicas.unwrap_or(0) >= replicas
        && status.available_replicas.unwrap_or(0) >= replicas
        && status.replicas.unwrap_or(0) <= status.updated_replicas.unwrap_or(0)
}

/// Pods that the API server does not take.
fn refusal(status: &DeploymentStatus) -> Option<Trouble> {
    let failure = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = failure.message.as_deref().unwrap_or("no reason given");
    // The API server's sentence starts with the name of a pod that never was.
    let why = message.split_once(" is forbidden: ").map_or(message, |(_, why)| why);
    Some(Trouble { reason: reason::PODS_REFUSED, message: format!("Kubernetes refuses the pods: {}.", quote(why)) })
}

/// A person's doing, which is left alone.
fn paused(deployment: &Deployment) -> Option<Trouble> {
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    let message = "The Deployment is paused: resume it with kubectl rollout resume.";
    paused.then(|| Trouble { reason: reason::PROGRESSING, message: message.to_owned() })
}

fn pod_trouble(pods: &[PolledPod], spec: &OktaProtectedApiSpec) -> Option<Trouble> {
    let staying = || pods.iter().filter(|pod| !pod.view.terminating);
    let of_kubernetes = || {
        staying()
            .filter_map(|pod| pod.view.trouble.clone())
            .min_by_key(|trouble| (trouble.reason == reason::APP_NOT_READY, trouble.reason))
    };
    match of_kubernetes() {
        Some(trouble) if trouble.reason != reason::APP_NOT_READY => Some(trouble),
        app_not_ready => staying()
            .any(|pod| !pod.view.sidecar_ready)
            .then(|| problems(pods, spec))
            .flatten()
            .map(|(reason, message)| Trouble { reason, message })
            .or(app_not_ready),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};
    use tollgate_contract::ProblemCode;

    use super::*;
    use crate::plan::pods::SidecarState;
    use crate::plan::render::tests::resource;
    use crate::plan::reports::tests::{hash, pod, reporting, without_app};

    /// A Deployment of two pods at generation 3, for policy "new".
    pub(crate) fn deployment(status: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"generation": 3},
            "spec": {
                "replicas": 2,
                "selector": {},
                "template": {"metadata": {"annotations": {"tollgate.dev/policy-hash": hash("new").to_string()}}},
            },
            "status": status,
        }))
        .expect("a Deployment")
    }

    pub(crate) fn rolled_out() -> Value {
        json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2})
    }

    #[test]
    fn an_app_that_does_not_listen_is_not_available_however_ready_its_pods_are() {
        let (policy, up) = (hash("new"), SidecarState::Up);
        let (listens, does_not) = (reporting(&policy, &[]), without_app(&policy));
        let silent = pod(&policy, up, does_not);
        let (status, reason, message) = said(&rolled_out(), &[pod(&policy, up, listens.clone()), silent.clone()]);
        assert_eq!((status, reason), (ConditionStatus::False, reason::APP_NOT_READY));
        assert!(message.contains("mend upstream.port"), "{message}");
        let mut leaving = silent;
        leaving.view.terminating = true;
        assert_eq!(said(&rolled_out(), &[pod(&policy, up, listens), leaving]).0, ConditionStatus::True);
    }

    fn said(status: &Value, pods: &[PolledPod]) -> (ConditionStatus, &'static str, String) {
        let NewCondition { status, reason, message, .. } = available(Some(&deployment(status)), pods, &resource().spec);
        (status, reason, message)
    }

    #[test]
    fn it_is_available_when_all_pods_are_of_the_latest_template_and_available() {
        let (status, reason, message) = said(&rolled_out(), &[]);
        assert_eq!(
            (status, reason, message.as_str()),
            (ConditionStatus::True, "Available", "All 2 pods are available.")
        );
    }

    #[test]
    fn it_is_not_available_while_anything_is_left_to_do() {
        for (field, value) in
            [("observedGeneration", 2), ("replicas", 3), ("updatedReplicas", 1), ("availableReplicas", 1)]
        {
            let mut status = rolled_out();
            status[field] = value.into();
            assert_eq!(said(&status, &[]).0, ConditionStatus::False, "{field}");
        }
    }

    #[test]
    fn without_a_deployment_it_is_pending() {
        let condition = available(None, &[], &resource().spec);
        assert_eq!((condition.status, condition.reason), (ConditionStatus::False, "Pending"));
    }

    #[test]
    fn pods_that_the_api_server_refuses_are_explained_without_their_names() {
        let failure = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"items-7d9-x2k\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2"}]});
        let (_, reason, message) = said(&failure, &[]);
        assert_eq!(reason, "PodsRefused");
        assert_eq!(message, "Kubernetes refuses the pods: exceeded quota: team, requested: pods=1, used: pods=2.");
    }

    #[test]
    fn a_pods_trouble_is_the_deployments() {
        let mut troubled = pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[]));
        let trouble = Trouble { reason: reason::IMAGE_PULL_FAILED, message: "The image cannot be pulled.".to_owned() };
        troubled.view.trouble = Some(trouble);
        assert_eq!(said(&json!({}), &[troubled.clone()]).1, "ImagePullFailed");
        troubled.view.terminating = true;
        assert_eq!(said(&json!({}), &[troubled]).1, "Progressing", "a pod on its way out explains nothing");
    }

    #[test]
    fn a_sidecar_that_waits_for_its_secret_says_so() {
        let mut waiting =
            pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[ProblemCode::CredentialsMissing]));
        waiting.view.sidecar_ready = false;
        let trouble = Trouble { reason: reason::APP_NOT_READY, message: String::new() };
        waiting.view.trouble = Some(trouble);
        let (_, reason, message) = said(&json!({}), &[waiting]);
        assert_eq!(reason, "CredentialsMissing");
        assert_eq!(message, "Issuer okta needs the Secret okta-items with the keys clientId and clientSecret.");
    }

    #[test]
    fn a_sidecar_that_waits_for_its_certificate_says_so() {
        let mut waiting =
            pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[ProblemCode::TlsCertificateMissing]));
        waiting.view.sidecar_ready = false;
        let mut spec = resource().spec;
        spec.tls = serde_json::from_value(json!({"secretRef": {"name": "items-tls"}})).expect("tls");
        let condition = available(Some(&deployment(&json!({}))), &[waiting], &spec);
        assert_eq!(condition.reason, "CertificateMissing");
        assert!(condition.message.contains("tls needs the Secret items-tls"), "{}", condition.message);
    }

    #[test]
    fn a_paused_deployment_is_told_how_to_go_on() {
        let mut paused = deployment(&json!({"updatedReplicas": 1}));
        paused.spec.as_mut().expect("a spec").paused = Some(true);
        let NewCondition { status, message, .. } = available(Some(&paused), &[], &resource().spec);
        assert_eq!(status, ConditionStatus::False);
        assert!(message.contains("kubectl rollout resume"), "{message}");
    }

    #[test]
    fn otherwise_the_progress_is_counted() {
        let (_, reason, message) = said(&json!({"updatedReplicas": 2, "availableReplicas": 1}), &[]);
        assert_eq!((reason, message.as_str()), ("Progressing", "1 of 2 pods are available in their latest form."));
    }
}
