//! The resource's status, the Events of its transitions and the time to look again, from everything that was seen.
//! Decides every condition; the time is passed in.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tollgate_api::conditions::{ConditionStatus, ConditionType, NewCondition, find, merge, ready, reason, transitions};
use tollgate_api::types::OktaProtectedApiStatus;
use tollgate_api::{OktaProtectedApi, ValidatedApi};
use tollgate_contract::names::POLICY_HASH_ANNOTATION;
use tollgate_contract::{PolicyHash, ValidationMode};

use super::keys::Seeds;
use super::render::scheme;
use super::reports::{PolledPod, enforced, issuer_keys, issuers_reachable, with_broken_files};
use super::schedule::Pace;
use super::workload;

/// The port that an `http` URL need not name.
const HTTP_PORT: u16 = 80;

/// The port that an `https` URL need not name.
const HTTPS_PORT: u16 = 443;

/// What came of the resource's spec.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is sound, and its objects are as it says.
    Accepted(Box<ValidatedApi>),
    /// It is not acted upon; what was in force stays.
    NotAccepted {
        /// A constant of [`reason`].
        reason: &'static str,
        /// One sentence.
        message: String,
    },
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The resource.
    pub resource: &'a OktaProtectedApi,
    /// What came of it.
    pub verdict: &'a Verdict,
    /// The Deployment, if it exists and is ours.
    pub deployment: Option<&'a Deployment>,
    /// Its pods that have not ended.
    pub pods: &'a [PolledPod],
    /// What the operator itself knows of the issuers.
    pub seeds: &'a Seeds,
    /// Namespace of the operator, for advice.
    pub operator_namespace: &'a str,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The new status.
    pub status: OktaProtectedApiStatus,
    /// One for each transition that a person would want to know of.
    pub announcements: Vec<Announcement>,
    /// When to look again.
    pub pace: Pace,
}

/// An Event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Whether something is wrong.
    pub warning: bool,
    /// The condition's reason.
    pub reason: String,
    /// The condition's type.
    pub action: String,
    /// The condition's message.
    pub note: String,
}

/// Assesses a resource whose status was `previous`.
#[must_use]
pub fn assess(facts: &Facts<'_>, previous: &OktaProtectedApiStatus, now: &Time) -> Assessment {
    let Facts { resource, verdict, deployment, pods, seeds, operator_namespace } = *facts;
    let issuers = &resource.spec.issuers;
    let accepted = accepted(verdict);
    let workload = workload::available(deployment, pods, &resource.spec);
    let (enforced, protected) = match policy_in_force(deployment) {
        Some((policy, replicas)) => enforced(pods, &policy, replicas, operator_namespace),
        None => (nothing_enforced(), "0/0".to_owned()),
    };
    let enforced = with_broken_files(enforced, pods, &resource.spec);
    let reachable = issuers_reachable(pods, issuers, seeds);
    let ready = ready(&accepted, &workload, &enforced);

    let generation = resource.metadata.generation.unwrap_or_default();
    let pace = pace(verdict, &[&workload, &enforced, &reachable], pods);
    let conditions = merge(&previous.conditions, &[ready, accepted, workload, enforced, reachable], generation, now);
    let announcements = announcements(&previous.conditions, &conditions);
    let (validation, url) = match verdict {
        Verdict::Accepted(api) => (Some(validation(api)), Some(url(api))),
        Verdict::NotAccepted { .. } => (previous.validation.clone(), previous.url.clone()),
    };
    Assessment {
        status: OktaProtectedApiStatus {
            observed_generation: Some(generation),
            conditions,
            protected: Some(protected),
            validation,
            url,
            issuers: issuer_keys(pods, issuers),
        },
        announcements,
        pace,
    }
}

/// The status of a resource whose text this operator cannot read, which can only come from a newer schema.
#[must_use]
pub fn unreadable(conditions: &[Condition], generation: i64, error: &str, now: &Time) -> Vec<Condition> {
    let message = format!("This operator cannot read the resource: {error}. Update the operator, or the resource.");
    let accepted = refused(reason::INVALID_SPEC, message);
    let ready = NewCondition { kind: ConditionType::Ready, ..accepted.clone() };
    merge(conditions, &[ready, accepted], generation, now)
}

fn accepted(verdict: &Verdict) -> NewCondition {
    match verdict {
        Verdict::Accepted(_) => {
            let message = "The resource is sound, and its objects are as it says.";
            NewCondition::new(ConditionType::Accepted, ConditionStatus::True, reason::ACCEPTED, message)
        }
        Verdict::NotAccepted { reason, message } => refused(reason, message.clone()),
    }
}

fn refused(reason: &'static str, message: String) -> NewCondition {
    NewCondition::new(ConditionType::Accepted, ConditionStatus::False, reason, message)
}

/// The policy that the live Deployment's pods are made for, and how many there are to be. Its template is the truth:
/// whatever keeps a newer policy from getting there keeps it from being in force.
fn policy_in_force(deployment: Option<&Deployment>) -> Option<(PolicyHash, i32)> {
    let spec = deployment?.spec.as_ref()?;
    let annotations = spec.template.metadata.as_ref()?.annotations.as_ref()?;
    let hash = serde_json::Value::String(annotations.get(POLICY_HASH_ANNOTATION)?.clone());
    Some((serde_json::from_value(hash).ok()?, spec.replicas.unwrap_or(1)))
}

fn nothing_enforced() -> NewCondition {
    let message = "There are no pods that could enforce a policy.";
    NewCondition::new(ConditionType::PolicyEnforced, ConditionStatus::False, reason::NO_PODS, message)
}

fn pace(verdict: &Verdict, conditions: &[&NewCondition], pods: &[PolledPod]) -> Pace {
    let settled = conditions.iter().all(|condition| condition.status == ConditionStatus::True);
    match verdict {
        Verdict::NotAccepted { reason: reason::NAME_TAKEN | reason::PENDING, .. } => Pace::Obstructed,
        Verdict::NotAccepted { reason: reason::OBJECT_REFUSED, .. } => Pace::Refused,
        Verdict::NotAccepted { .. } if pods.is_empty() => Pace::Idle,
        _ if settled => Pace::Settled,
        _ => Pace::Unsettled,
    }
}

/// Not every transition is news: Ready repeats another condition unless it holds, and progress is shown, not announced.
/// An app that is not ready yet is progress on every start; the kubelet announces the probes that fail.
fn announcements(old: &[Condition], new: &[Condition]) -> Vec<Announcement> {
    const PROGRESS: [&str; 4] = [reason::PROGRESSING, reason::NO_PODS, reason::PENDING, reason::APP_NOT_READY];
    let is = |condition: &Condition, kind: ConditionType| condition.type_ == kind.as_str();
    // What holds with another reason than its own holds no longer for the next pod.
    let is_wrong = |condition: &Condition| {
        condition.status != "True"
            || (is(condition, ConditionType::PolicyEnforced) && condition.reason != reason::ENFORCED)
    };
    let was_wrong = |condition: &Condition| {
        old.iter().any(|before| {
            before.type_ == condition.type_ && is_wrong(before) && !PROGRESS.contains(&before.reason.as_str())
        })
    };
    transitions(old, new)
        .into_iter()
        .filter(|condition| match condition.status.as_str() {
            "True" => is(condition, ConditionType::Ready) || is_wrong(condition) || was_wrong(condition),
            _ => !is(condition, ConditionType::Ready) && !PROGRESS.contains(&condition.reason.as_str()),
        })
        // One cause is one Event: an issuer that keeps pods from becoming ready is told by its own condition.
        .filter(|condition| !is(condition, ConditionType::WorkloadAvailable) || !is_issuers_trouble(condition, new))
        .map(|condition| Announcement {
            warning: is_wrong(condition) && condition.reason != reason::ROLL_PENDING,
            reason: condition.reason.clone(),
            action: condition.type_.clone(),
            note: condition.message.clone(),
        })
        .collect()
}

/// Whether IssuersReachable says the same.
fn is_issuers_trouble(condition: &Condition, all: &[Condition]) -> bool {
    let issuers = find(all, ConditionType::IssuersReachable);
    issuers.is_some_and(|issuers| issuers.status != "True" && issuers.reason == condition.reason)
}

fn validation(api: &ValidatedApi) -> String {
    let mut modes = Vec::new();
    for issuer in &api.issuers {
        let mode = match issuer.validation {
            ValidationMode::Local => "Local",
            ValidationMode::Introspection => "Introspection",
            ValidationMode::LocalAndIntrospection => "LocalAndIntrospection",
        };
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    modes.join(",")
}

fn url(api: &ValidatedApi) -> String {
    let ValidatedApi { name, namespace, service_port, .. } = api;
    match (scheme(api), *service_port) {
        (scheme @ "http", HTTP_PORT) | (scheme @ "https", HTTPS_PORT) => format!("{scheme}://{name}.{namespace}.svc"),
        (scheme, port) => format!("{scheme}://{name}.{namespace}.svc:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;
    use tollgate_contract::ProblemCode;

    use super::*;
    use crate::plan::pods::{SidecarState, Trouble};
    use crate::plan::render::tests::{resource, validated};
    use crate::plan::reports::tests::{hash, pod, reporting};
    use crate::plan::workload::tests::{deployment, rolled_out};

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("a small number of seconds"))
    }

    fn accepted() -> Verdict {
        Verdict::Accepted(Box::new(validated()))
    }

    fn conforming() -> PolledPod {
        pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[]))
    }

    fn assessed(
        verdict: &Verdict,
        deployment: Option<&Deployment>,
        pods: &[PolledPod],
        previous: &OktaProtectedApiStatus,
    ) -> Assessment {
        let resource = resource();
        let seeds = Seeds::default();
        let facts = Facts {
            resource: &resource,
            verdict,
            deployment,
            pods,
            seeds: &seeds,
            operator_namespace: "tollgate-system",
        };
        assess(&facts, previous, &at(10))
    }

    fn settled() -> Assessment {
        assessed(&accepted(), Some(&deployment(&rolled_out())), &[conforming(), conforming()], &Default::default())
    }

    fn is_ready(status: &OktaProtectedApiStatus) -> bool {
        word(status, ConditionType::Ready).0 == "True"
    }

    fn word(status: &OktaProtectedApiStatus, kind: ConditionType) -> (&str, &str) {
        let condition = find(&status.conditions, kind).expect("the condition");
        (&condition.status, &condition.reason)
    }

    #[test]
    fn all_is_well_with_available_pods_that_enforce_the_policy() {
        let Assessment { status, pace, announcements } = settled();
        assert!(is_ready(&status));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.protected.as_deref(), Some("2/2"));
        assert_eq!(status.validation.as_deref(), Some("LocalAndIntrospection"));
        assert_eq!(status.url.as_deref(), Some("http://items.shop.svc"));
        assert_eq!(status.issuers[0].key_ids, ["key-a", "key-b"]);
        assert_eq!(pace, Pace::Settled);
        let words: Vec<_> = announcements.iter().map(|said| (said.warning, said.reason.as_str())).collect();
        assert_eq!(words, [(false, "Ready")]);
    }

    #[test]
    fn assessing_again_changes_nothing_and_announces_nothing() {
        let first = settled();
        let resource = resource();
        let facts = Facts {
            resource: &resource,
            verdict: &accepted(),
            deployment: Some(&deployment(&rolled_out())),
            pods: &[conforming(), conforming()],
            seeds: &Seeds::default(),
            operator_namespace: "tollgate-system",
        };
        let again = assess(&facts, &first.status, &at(99));
        assert_eq!(again.status, first.status);
        assert_eq!(again.announcements, []);
    }

    #[test]
    fn it_is_not_ready_while_a_pod_of_the_old_policy_can_answer() {
        let mut old = pod(&hash("old"), SidecarState::Up, reporting(&hash("old"), &[]));
        old.view.terminating = true;
        let Assessment { status, pace, .. } =
            assessed(&accepted(), Some(&deployment(&rolled_out())), &[conforming(), old], &Default::default());
        assert!(!is_ready(&status));
        assert_eq!(word(&status, ConditionType::Ready), ("False", "RollPending"));
        assert_eq!(pace, Pace::Unsettled);
    }

    #[test]
    fn an_invalid_edit_is_said_and_the_policy_in_force_still_counts() {
        let before = settled().status;
        let verdict = Verdict::NotAccepted { reason: reason::INSECURE_ISSUER, message: "Use https.".to_owned() };
        let Assessment { status, announcements, .. } =
            assessed(&verdict, Some(&deployment(&rolled_out())), &[conforming(), conforming()], &before);
        assert_eq!(word(&status, ConditionType::Accepted), ("False", "InsecureIssuer"));
        assert_eq!(word(&status, ConditionType::Ready), ("False", "InsecureIssuer"));
        assert_eq!(word(&status, ConditionType::PolicyEnforced), ("True", "Enforced"));
        assert_eq!(status.url, before.url);
        let words: Vec<_> = announcements.iter().map(|said| (said.warning, said.action.as_str())).collect();
        assert_eq!(words, [(true, "Accepted")]);
    }

    #[test]
    fn a_taken_name_is_looked_at_often_for_it_is_not_watched() {
        let verdict = Verdict::NotAccepted { reason: reason::NAME_TAKEN, message: String::new() };
        let Assessment { status, pace, .. } = assessed(&verdict, None, &[], &Default::default());
        assert_eq!(pace, Pace::Obstructed);
        assert_eq!(word(&status, ConditionType::WorkloadAvailable), ("False", "Pending"));
        assert_eq!(word(&status, ConditionType::PolicyEnforced), ("False", "NoPods"));
    }

    #[test]
    fn an_unreachable_issuer_is_announced_and_does_not_take_readiness() {
        let troubled = pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[ProblemCode::IssuerUnreachable]));
        let before = settled().status;
        let deployment = deployment(&rolled_out());
        let during = assessed(&accepted(), Some(&deployment), &[conforming(), troubled], &before);
        assert!(is_ready(&during.status));
        assert_eq!(word(&during.status, ConditionType::IssuersReachable), ("False", "Unreachable"));
        assert_eq!(during.announcements.len(), 1);
        assert!(during.announcements[0].warning);
        let after = assessed(&accepted(), Some(&deployment), &[conforming(), conforming()], &during.status);
        assert_eq!(after.announcements.len(), 1);
        assert!(!after.announcements[0].warning, "healing is news too");
    }

    #[test]
    fn a_broken_file_of_a_pod_that_serves_is_announced_with_its_end_and_takes_no_readiness() {
        let mut resource = resource();
        resource.spec.tls = serde_json::from_value(json!({"secretRef": {"name": "items-tls"}})).expect("tls");
        let at_pods = |problems: &[ProblemCode], previous: &OktaProtectedApiStatus| {
            let facts = Facts {
                resource: &resource,
                verdict: &accepted(),
                deployment: Some(&deployment(&rolled_out())),
                pods: &[conforming(), pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), problems))],
                seeds: &Seeds::default(),
                operator_namespace: "tollgate-system",
            };
            let Assessment { status, announcements, .. } = assess(&facts, previous, &at(10));
            let said: Vec<_> = announcements.into_iter().map(|said| (said.warning, said.reason, said.action)).collect();
            (status, said)
        };
        let broken = [ProblemCode::TlsCertificateMissing];
        let (during, said) = at_pods(&broken, &settled().status);
        assert!(is_ready(&during));
        assert_eq!(word(&during, ConditionType::PolicyEnforced), ("True", "CertificateMissing"));
        assert_eq!(said, [(true, "CertificateMissing".to_owned(), "PolicyEnforced".to_owned())]);
        let (still, said) = at_pods(&broken, &during);
        assert_eq!((&still, said), (&during, vec![]));
        let (after, said) = at_pods(&[], &during);
        assert_eq!(word(&after, ConditionType::PolicyEnforced), ("True", "Enforced"));
        assert_eq!(said, [(false, "Enforced".to_owned(), "PolicyEnforced".to_owned())]);
    }

    #[test]
    fn an_issuer_that_keeps_pods_from_becoming_ready_is_announced_once() {
        let report = reporting(&hash("new"), &[ProblemCode::IssuerUnreachable]);
        let mut waiting = pod(&hash("new"), SidecarState::Up, report);
        waiting.view.sidecar_ready = false;
        let deployment = deployment(&json!({"replicas": 1, "updatedReplicas": 1}));
        let assessed = assessed(&accepted(), Some(&deployment), &[waiting], &Default::default());
        assert_eq!(word(&assessed.status, ConditionType::WorkloadAvailable), ("False", "Unreachable"));
        assert_eq!(word(&assessed.status, ConditionType::IssuersReachable), ("False", "Unreachable"));
        let words: Vec<_> = assessed.announcements.iter().map(|said| (&*said.reason, &*said.action)).collect();
        assert_eq!(words, [("Unreachable", "IssuersReachable")]);
    }

    #[test]
    fn a_rollout_is_shown_and_not_announced_as_trouble() {
        let deployment = deployment(&json!({"updatedReplicas": 1}));
        let Assessment { announcements, .. } = assessed(&accepted(), Some(&deployment), &[], &Default::default());
        assert_eq!(announcements, []);
    }

    #[test]
    fn an_app_that_starts_is_shown_and_not_announced_as_trouble() {
        let mut starting = conforming();
        starting.view.trouble = Some(Trouble { reason: reason::APP_NOT_READY, message: "It starts.".to_owned() });
        let deployment = deployment(&json!({"updatedReplicas": 1}));
        let assessed = assessed(&accepted(), Some(&deployment), &[starting], &Default::default());
        assert_eq!(word(&assessed.status, ConditionType::WorkloadAvailable), ("False", "AppNotReady"));
        assert_eq!(assessed.announcements, []);
    }

    #[test]
    fn a_port_other_than_80_shows_in_the_url() {
        let mut api = validated();
        api.service_port = 8080;
        assert_eq!(url(&api), "http://items.shop.svc:8080");
    }

    #[test]
    fn what_cannot_be_read_is_not_accepted_and_not_ready() {
        let before = settled().status.conditions;
        let conditions = unreadable(&before, 4, "unknown variant `Quantum`", &at(20));
        for kind in [ConditionType::Ready, ConditionType::Accepted] {
            assert_eq!(find(&conditions, kind).expect("it").status, "False");
        }
        assert_eq!(find(&conditions, ConditionType::PolicyEnforced), find(&before, ConditionType::PolicyEnforced));
    }
}
