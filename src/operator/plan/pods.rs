//! What a pod's record says: whether its sidecar can answer, under which policy it was made, and what keeps it from
//! being ready, in one plain sentence.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tollgate_api::conditions::reason;
use tollgate_contract::names::{POLICY_HASH_ANNOTATION, SIDECAR_CONTAINER};

use super::names::APP_CONTAINER;

/// The longest text of Kubernetes' own that we repeat, in characters.
const QUOTE_LENGTH: usize = 300;

/// A pod that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// The hash of the policy that it was made for.
    pub policy: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Its sidecar.
    pub sidecar: SidecarState,
    /// Whether the sidecar passes its readiness probe.
    pub sidecar_ready: bool,
    /// What keeps it from being ready, as far as Kubernetes knows.
    pub trouble: Option<Trouble>,
}

/// Whether a sidecar runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SidecarState {
    /// There is none, it has not started, or it has ended.
    Down,
    /// Its process runs and may answer.
    Starting,
    /// It has answered its startup probe.
    Up,
}

/// What is wrong with a pod. Ordered: the first of several is the one to mend first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A constant of [`reason`].
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

/// What matters of a pod; `None` when it has ended and can never answer again.
#[must_use]
pub fn view(pod: &Pod) -> Option<PodView> {
    let status = pod.status.clone().unwrap_or_default();
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let sidecar = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten())
        .find(|container| container.name == SIDECAR_CONTAINER);
    let running = sidecar.is_some_and(|sidecar| sidecar.state.as_ref().is_some_and(|state| state.running.is_some()));
    Some(PodView {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        address: status.pod_ip.as_deref().and_then(|address| address.parse().ok()),
        policy: pod.annotations().get(POLICY_HASH_ANNOTATION).cloned(),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        sidecar: match sidecar {
            Some(sidecar) if running && sidecar.started == Some(true) => SidecarState::Up,
            Some(_) if running => SidecarState::Starting,
            _ => SidecarState::Down,
        },
        sidecar_ready: sidecar.is_some_and(|sidecar| sidecar.ready),
        trouble: trouble(pod),
    })
}

fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        let why = quote(condition.message.as_deref().unwrap_or("no node fits"));
        return Some(Trouble { reason: reason::UNSCHEDULABLE, message: format!("No node takes the pod: {why}.") });
    }
    let containers =
        || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers().find_map(|container| container_trouble(pod, container)).or_else(|| {
        let app = containers().find(|container| container.name == APP_CONTAINER)?;
        let unready = !app.ready && app.state.as_ref().is_some_and(|state| state.running.is_some());
        unready.then(|| Trouble {
            reason: reason::APP_NOT_READY,
            message: "The app runs, but its startup or readiness probe does not pass: `kubectl describe pod` has the \
                      kubelet's words; an app on 127.0.0.1 needs an `exec` probe."
                .to_owned(),
        })
    })
}

fn container_trouble(pod: &Pod, status: &ContainerStatus) -> Option<Trouble> {
    let who = Who { pod, status };
    let state = status.state.clone().unwrap_or_default();
    let waiting = state.waiting.unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or("no reason given");
    let (reason, message) = match waiting.reason.as_deref() {
        Some(
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "RegistryUnavailable" | "ImageInspectError",
        ) => (
            reason::IMAGE_PULL_FAILED,
            format!("The image {} cannot be pulled: check {}.", who.image(), who.image_setting()),
        ),
        Some("ErrImageNeverPull") => (
            reason::IMAGE_PULL_FAILED,
            format!("The image {} is not on the node, and its pull policy is Never.", who.image()),
        ),
        Some("CreateContainerConfigError") => (reason::CONTAINER_CONFIG_ERROR, config_error(&who, message)),
        Some("CreateContainerError" | "RunContainerError") => {
            (reason::CONTAINER_CONFIG_ERROR, format!("{} cannot be started: {}.", who.name(), quote(message)))
        }
        _ => {
            // Between two crashes it runs for a while, or waits, or has just ended: all the same trouble.
            let last = state.terminated.or_else(|| status.last_state.clone().unwrap_or_default().terminated)?;
            // Crashes of long ago stay in the record: what has been ready since its last start has another trouble.
            let started = state.running.and_then(|running| running.started_at);
            let was_ready = started.is_some_and(|started| unready_since(pod).is_some_and(|since| since > started));
            if status.ready || was_ready || (status.restart_count == 0 && waiting.reason.is_some()) {
                return None;
            }
            (reason::CRASH_LOOPING, format!("{} ends again and again: {}.", who.name(), ending(&last)))
        }
    };
    Some(Trouble { reason, message })
}

/// When the containers were last ready, as far as they are not now.
fn unready_since(pod: &Pod) -> Option<Time> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let unready = conditions.find(|condition| condition.type_ == "ContainersReady" && condition.status == "False")?;
    unready.last_transition_time.clone()
}

fn config_error(who: &Who<'_>, message: &str) -> String {
    if message.contains("will run as root") {
        return format!(
            "The image {} runs as root, which is not allowed here: give it a USER with a number other than 0.",
            who.image()
        );
    }
    if message.contains("non-numeric user") {
        return format!(
            "The image {} names its user by a word, so that Kubernetes cannot tell that it is not root: give it a USER \
             with a number.",
            who.image()
        );
    }
    format!("{} cannot be created: {}.", who.name(), quote(message))
}

fn ending(last: &ContainerStateTerminated) -> String {
    match last.reason.as_deref() {
        Some("OOMKilled") => "it needs more memory than its limit".to_owned(),
        Some("StartError") => format!("its command cannot be run: {}", quote(last.message.as_deref().unwrap_or("?"))),
        _ => format!("exit code {}; see its log", last.exit_code),
    }
}

/// A container, and the words for it.
struct Who<'a> {
    pod: &'a Pod,
    status: &'a ContainerStatus,
}

impl Who<'_> {
    fn name(&self) -> String {
        match self.status.name.as_str() {
            APP_CONTAINER => "The app".to_owned(),
            SIDECAR_CONTAINER => "The sidecar".to_owned(),
            other => format!("Container {other}"),
        }
    }

    /// As the pod's spec has it: the status may have a digest.
    fn image(&self) -> &str {
        let spec = self.pod.spec.as_ref();
        spec.into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
            .find(|container| container.name == self.status.name)
            .and_then(|container| container.image.as_deref())
            .unwrap_or(&self.status.image)
    }

    fn image_setting(&self) -> &'static str {
        match self.status.name.as_str() {
            APP_CONTAINER => "app.image, and the registry's credentials in app.imagePullSecrets",
            SIDECAR_CONTAINER => "the chart's images.sidecar",
            _ => "its name and the registry's credentials",
        }
    }
}

/// Kubernetes' own words, without what changes from pod to pod, cut to a length.
pub(super) fn quote(text: &str) -> String {
    let text = text.split(" (pod: ").next().unwrap_or(text);
    let text: String = text.chars().filter(|c| !c.is_control()).take(QUOTE_LENGTH).collect();
    text.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod of the current template with this status.
    pub(crate) fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "items-1", "uid": "uid-1", "annotations": {"tollgate.dev/policy-hash": "aa"}},
            "spec": {
                "initContainers": [{"name": "tollgate", "image": "registry/sidecar:1"}],
                "containers": [{"name": "app", "image": "registry/items:1.4"}],
            },
            "status": status,
        }))
        .expect("a pod")
    }

    fn app(state: &Value, more: &Value) -> Pod {
        let mut container = json!({
            "name": "app", "image": "sha256:1", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        pod(&json!({"containerStatuses": [container]}))
    }

    fn said(pod: &Pod) -> (&'static str, String) {
        let trouble = view(pod).expect("a living pod").trouble.expect("a trouble");
        (trouble.reason, trouble.message)
    }

    #[test]
    fn an_ended_pod_does_not_count() {
        assert_eq!(view(&pod(&json!({"phase": "Failed"}))), None);
        assert_eq!(view(&pod(&json!({"phase": "Succeeded"}))), None);
        assert!(view(&pod(&json!({"phase": "Unknown"}))).is_some(), "a node that is lost may still serve");
    }

    #[test]
    fn a_sidecar_is_up_after_its_startup_probe() {
        let sidecar = |state: Value, started: bool| {
            let status = json!({"name": "tollgate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "started": started, "state": state});
            view(&pod(&json!({"podIP": "10.0.0.7", "initContainerStatuses": [status]}))).expect("a pod").sidecar
        };
        assert_eq!(sidecar(json!({"running": {}}), true), SidecarState::Up);
        assert_eq!(sidecar(json!({"running": {}}), false), SidecarState::Starting);
        assert_eq!(sidecar(json!({"terminated": {"exitCode": 0}}), true), SidecarState::Down);
        assert_eq!(view(&pod(&json!({}))).expect("a pod").sidecar, SidecarState::Down);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named_as_the_user_wrote_it() {
        for word in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"] {
            let (reason, message) = said(&app(&json!({"waiting": {"reason": word}}), &json!({})));
            assert_eq!(reason, "ImagePullFailed");
            assert!(message.starts_with("The image registry/items:1.4 cannot be pulled: check app.image"), "{message}");
        }
        let (_, message) = said(&app(&json!({"waiting": {"reason": "ErrImageNeverPull"}}), &json!({})));
        assert_eq!(message, "The image registry/items:1.4 is not on the node, and its pull policy is Never.");
    }

    #[test]
    fn a_crash_loop_is_one_trouble_through_all_its_phases() {
        let last = json!({"restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}});
        let phases = [
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            json!({"running": {}}),
            json!({"terminated": {"exitCode": 1}}),
        ];
        for phase in phases {
            let said = said(&app(&phase, &last));
            assert_eq!(said, ("CrashLooping", "The app ends again and again: exit code 1; see its log.".to_owned()));
        }
    }

    #[test]
    fn a_container_that_recovered_has_no_trouble() {
        let recovered = json!({"ready": true, "restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}});
        assert_eq!(view(&app(&json!({"running": {}}), &recovered)).expect("a pod").trouble, None);
    }

    #[test]
    fn a_container_that_was_ready_since_its_last_crash_is_not_crashing() {
        let at = |minute: u8| format!("2026-01-01T00:{minute:02}:00Z");
        let last = json!({"restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}});
        let said_of = |unready_since: u8| {
            let mut pod = serde_json::to_value(app(&json!({"running": {"startedAt": at(20)}}), &last)).expect("JSON");
            pod["status"]["conditions"] = json!([
                {"type": "ContainersReady", "status": "False", "lastTransitionTime": at(unready_since)},
            ]);
            said(&serde_json::from_value(pod).expect("a pod")).0
        };
        assert_eq!(said_of(40), "AppNotReady");
        assert_eq!(said_of(19), "CrashLooping");
    }

    #[test]
    fn running_out_of_memory_is_said() {
        let last = json!({"restartCount": 1, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
        let (_, message) = said(&app(&json!({"waiting": {"reason": "CrashLoopBackOff"}}), &last));
        assert_eq!(message, "The app ends again and again: it needs more memory than its limit.");
    }

    #[test]
    fn an_image_that_runs_as_root_is_told_what_to_do() {
        let waiting = json!({"waiting": {"reason": "CreateContainerConfigError", "message":
            "container has runAsNonRoot and image will run as root (pod: \"items-1_shop(uid-1)\", container: app)"}});
        let (reason, message) = said(&app(&waiting, &json!({})));
        assert_eq!(reason, "ContainerConfigError");
        assert!(message.contains("registry/items:1.4 runs as root") && message.contains("USER"), "{message}");
    }

    #[test]
    fn a_missing_config_map_of_the_apps_is_quoted_without_the_pods_name() {
        let waiting = json!({"waiting": {"reason": "CreateContainerConfigError", "message":
            "configmap \"settings\" not found (pod: \"items-1_shop(uid-1)\")"}});
        let (_, message) = said(&app(&waiting, &json!({})));
        assert_eq!(message, "The app cannot be created: configmap \"settings\" not found.");
    }

    #[test]
    fn a_pod_that_no_node_takes_says_why() {
        let (reason, message) = said(&pod(&json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]})));
        assert_eq!(reason, "Unschedulable");
        assert_eq!(message, "No node takes the pod: 0/1 nodes are available: 1 Insufficient cpu.");
    }

    #[test]
    fn an_app_that_is_not_ready_is_told_from_one_that_starts() {
        let (reason, _) = said(&app(&json!({"running": {}}), &json!({})));
        assert_eq!(reason, "AppNotReady");
        let starting = app(&json!({"waiting": {"reason": "PodInitializing"}}), &json!({}));
        assert_eq!(view(&starting).expect("a pod").trouble, None);
    }
}
