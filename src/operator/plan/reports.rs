//! What the sidecars say, and what follows from it: which pods enforce the policy, and which keys they hold; what is wrong,
//! `problems` puts into words. A report is untrusted: names are taken from the resource, texts are composed here, lists are
//! cut.

mod problems;

use std::collections::BTreeSet;

use tollgate_api::conditions::{ConditionStatus, ConditionType, NewCondition, reason};
use tollgate_api::types::{Issuer, IssuerStatus};
use tollgate_contract::names::ADMIN_PORT;
use tollgate_contract::{PolicyHash, Problem, ProblemCode, SidecarReport};

pub use problems::{issuers_reachable, problems, with_broken_files};

use super::names::{APP_NAME_LABEL, TOLLGATE};
use super::pods::{PodView, SidecarState};

/// A pod may miss fewer polls than this in a row: a busy node is no news.
const MISSED_POLLS: u32 = 3;

/// More keys than any issuer publishes; more is cut.
const MAX_KEY_IDS: usize = 32;

/// Longer than any key's id; such an id is left out.
const MAX_KEY_ID_LENGTH: usize = 256;

/// The outcome of asking one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// It answered.
    Report(SidecarReport),
    /// The address answers for another pod.
    OtherPod,
    /// No answer, or none that is a report.
    Silent,
}

/// What is known of one pod's sidecar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    report: Option<SidecarReport>,
    missed: u32,
    other_pod: bool,
}

/// A pod and what is known of its sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolledPod {
    /// The pod.
    pub view: PodView,
    /// What it said.
    pub known: Known,
}

impl Known {
    /// What is known after one more poll.
    #[must_use]
    pub fn after(self, poll: Poll) -> Self {
        match poll {
            Poll::Report(report) => Self { report: Some(report), missed: 0, other_pod: false },
            Poll::OtherPod => Self { missed: self.missed.saturating_add(1), other_pod: true, ..self },
            Poll::Silent => Self { missed: self.missed.saturating_add(1), other_pod: false, ..self },
        }
    }

    /// The report, unless it is too old to go by.
    #[must_use]
    pub fn report(&self) -> Option<&SidecarReport> {
        self.report.as_ref().filter(|_| self.missed < MISSED_POLLS)
    }
}

impl PolledPod {
    /// Whether its mounts should be looked at again: it lacks a file that may be there by now.
    #[must_use]
    pub fn lacks_a_file(&self) -> bool {
        let lacking = |problem: &Problem| match problem.code {
            ProblemCode::CredentialsMissing
            | ProblemCode::CaBundleMissing
            | ProblemCode::CaBundleUnusable
            | ProblemCode::TlsCertificateMissing
            | ProblemCode::TlsCertificateExpired
            | ProblemCode::ClientCaMissing
            | ProblemCode::UpstreamCaMissing => true,
            ProblemCode::CredentialsRefused
            | ProblemCode::IssuerUnreachable
            | ProblemCode::IssuerBadTls
            | ProblemCode::IssuerBadResponse
            | ProblemCode::IssuerNotLoaded => false,
        };
        self.known.report().is_some_and(|report| report.problems.iter().any(lacking))
    }

    fn is_for(&self, policy: &PolicyHash) -> bool {
        self.view.policy.as_deref() == Some(policy.as_str())
    }

    fn enforces(&self, policy: &PolicyHash) -> bool {
        self.view.sidecar != SidecarState::Down
            && self.known.report().is_some_and(|report| report.policy_hash == *policy)
    }

    /// It may answer under another policy, now or when its sidecar starts again.
    fn may_answer_otherwise(&self, policy: &PolicyHash) -> bool {
        match self.known.report() {
            Some(report) if self.view.sidecar != SidecarState::Down => report.policy_hash != *policy,
            _ => !self.is_for(policy),
        }
    }

    /// It should have answered. A pod that was made for this policy has some grace: it has no other to enforce.
    fn is_silent(&self) -> bool {
        self.view.sidecar == SidecarState::Up && self.known.missed >= MISSED_POLLS
    }
}

/// PolicyEnforced, and "n/m": the pods that enforce the policy, of those that can answer.
#[must_use]
pub fn enforced(
    pods: &[PolledPod],
    policy: &PolicyHash,
    replicas: i32,
    operator_namespace: &str,
) -> (NewCondition, String) {
    let enforcing = count(pods, |pod| pod.enforces(policy));
    let otherwise = count(pods, |pod| !pod.enforces(policy) && pod.may_answer_otherwise(policy));
    let silent = count(pods, |pod| !pod.enforces(policy) && !pod.may_answer_otherwise(policy) && pod.is_silent());
    let all = enforcing + otherwise + silent;
    let protected = format!("{enforcing}/{all}");

    let condition = |status, reason, message| NewCondition::new(ConditionType::PolicyEnforced, status, reason, message);
    let condition = if otherwise > 0 {
        let message =
            format!("{otherwise} of {all} pods may still answer under an earlier policy; they are being replaced.");
        condition(ConditionStatus::False, reason::ROLL_PENDING, message)
    } else if silent > 0 {
        let message = if pods.iter().any(|pod| pod.is_silent() && pod.known.other_pod) {
            "A pod's address answers for another pod; Kubernetes has not caught up.".to_owned()
        } else {
            format!(
                "The operator cannot reach port {ADMIN_PORT} of {silent} of {all} pods: let the pods labelled \
                 {APP_NAME_LABEL}={TOLLGATE} in namespace {operator_namespace} through every NetworkPolicy and service \
                 mesh."
            )
        };
        condition(ConditionStatus::Unknown, reason::POLL_BLOCKED, message)
    } else if enforcing > 0 {
        let message = format!("Every pod that can answer enforces policy {policy}.");
        condition(ConditionStatus::True, reason::ENFORCED, message)
    } else if replicas == 0 {
        condition(ConditionStatus::True, reason::ENFORCED, "No pods are asked for (app.replicas is 0).".to_owned())
    } else {
        condition(ConditionStatus::False, reason::NO_PODS, "No pod has reported its policy yet.".to_owned())
    };
    (condition, protected)
}

/// Whether a sidecar says that its app has never listened on the port that requests go to.
#[must_use]
pub fn app_is_missing(pods: &[PolledPod]) -> bool {
    let staying = pods.iter().filter(|pod| !pod.view.terminating);
    staying.filter_map(|pod| pod.known.report()).any(|report| report.app_listens == Some(false))
}

/// Ids of the keys in force, for each issuer of the resource that a pod has keys of.
#[must_use]
pub fn issuer_keys(pods: &[PolledPod], issuers: &[Issuer]) -> Vec<IssuerStatus> {
    let reports = || pods.iter().filter_map(|pod| pod.known.report()).flat_map(|report| &report.issuers);
    issuers
        .iter()
        .map(|issuer| {
            let ids: BTreeSet<_> = reports()
                .filter(|report| report.name == issuer.name)
                .flat_map(|report| report.key_ids.iter().take(MAX_KEY_IDS))
                .filter(|id| id.len() <= MAX_KEY_ID_LENGTH && !id.chars().any(char::is_control))
                .collect();
            let key_ids = ids.into_iter().take(MAX_KEY_IDS).cloned().collect();
            IssuerStatus { name: issuer.name.clone(), key_ids }
        })
        .filter(|issuer| !issuer.key_ids.is_empty())
        .collect()
}

fn count(pods: &[PolledPod], holds: impl Fn(&PolledPod) -> bool) -> usize {
    pods.iter().filter(|pod| holds(pod)).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use tollgate_contract::IssuerReport;

    use super::*;
    use crate::plan::keys::Seeds;
    use crate::plan::render::tests::resource;

    pub(crate) fn hash(of: &str) -> PolicyHash {
        PolicyHash::of(of.as_bytes())
    }

    /// A pod made for `policy` whose sidecar is in this state.
    pub(crate) fn pod(policy: &PolicyHash, sidecar: SidecarState, known: Known) -> PolledPod {
        let view = PodView {
            name: "items-1".to_owned(),
            uid: "uid-1".to_owned(),
            address: None,
            policy: Some(policy.to_string()),
            terminating: false,
            sidecar,
            sidecar_ready: true,
            trouble: None,
        };
        PolledPod { view, known }
    }

    pub(crate) fn reporting(policy: &PolicyHash, problems: &[ProblemCode]) -> Known {
        Known::default().after(Poll::Report(SidecarReport {
            pod_uid: "uid-1".to_owned(),
            policy_hash: policy.clone(),
            version: "1".to_owned(),
            problems: problems.iter().map(|code| Problem { code: *code, issuer: "okta".to_owned() }).collect(),
            issuers: vec![IssuerReport { name: "okta".to_owned(), key_ids: vec!["key-b".into(), "key-a".into()] }],
            app_listens: Some(true),
        }))
    }

    /// A sidecar whose app does not listen.
    pub(crate) fn without_app(policy: &PolicyHash) -> Known {
        let mut known = reporting(policy, &[]);
        known.report.as_mut().expect("a report").app_listens = Some(false);
        known
    }

    pub(crate) fn issuers() -> Vec<Issuer> {
        resource().spec.issuers
    }

    fn verdict(pods: &[PolledPod]) -> (&'static str, &'static str, String) {
        let (condition, protected) = enforced(pods, &hash("new"), 2, "tollgate-system");
        (condition.status.as_str(), condition.reason, protected)
    }

    fn missed(poll: &Poll) -> Known {
        (0..MISSED_POLLS).fold(Known::default(), |known, _| known.after(poll.clone()))
    }

    pub(crate) fn conforming() -> PolledPod {
        pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[]))
    }

    #[test]
    fn pods_that_all_report_the_policy_enforce_it() {
        assert_eq!(verdict(&[conforming(), conforming()]), ("True", "Enforced", "2/2".to_owned()));
    }

    #[test]
    fn an_old_pod_that_may_answer_keeps_it_from_being_enforced() {
        let ready = pod(&hash("old"), SidecarState::Up, reporting(&hash("old"), &[]));
        let mut terminating = ready.clone();
        terminating.view.terminating = true;
        let mut unready = ready.clone();
        unready.view.sidecar_ready = false;
        let silent = pod(&hash("old"), SidecarState::Up, Known::default());
        let restarting = pod(&hash("old"), SidecarState::Down, Known::default());
        for old in [ready, terminating, unready, silent, restarting] {
            assert_eq!(verdict(&[conforming(), old]), ("False", "RollPending", "1/2".to_owned()));
        }
    }

    #[test]
    fn a_report_of_another_policy_counts_more_than_what_the_pod_was_made_for() {
        let liar = pod(&hash("new"), SidecarState::Up, reporting(&hash("old"), &[]));
        assert_eq!(verdict(&[liar]), ("False", "RollPending", "0/1".to_owned()));
    }

    #[test]
    fn a_pod_that_just_starts_does_not_take_readiness_away() {
        let starting = pod(&hash("new"), SidecarState::Starting, Known::default());
        assert_eq!(verdict(&[conforming(), starting.clone()]), ("True", "Enforced", "1/1".to_owned()));
        assert_eq!(verdict(&[starting]), ("False", "NoPods", "0/0".to_owned()));
        let not_asked = pod(&hash("new"), SidecarState::Up, Known::default().after(Poll::Silent));
        assert_eq!(verdict(&[conforming(), not_asked.clone()]), ("True", "Enforced", "1/1".to_owned()));
        assert_eq!(verdict(&[not_asked]), ("False", "NoPods", "0/0".to_owned()));
    }

    #[test]
    fn pods_that_cannot_be_reached_leave_it_unknown_and_name_the_fix() {
        let silent = pod(&hash("new"), SidecarState::Up, missed(&Poll::Silent));
        assert_eq!(verdict(&[conforming(), silent.clone()]), ("Unknown", "PollBlocked", "1/2".to_owned()));
        let (condition, _) = enforced(&[silent], &hash("new"), 2, "tollgate-system");
        assert!(condition.message.contains("port 8481 of 1 of 1 pods"), "{}", condition.message);
        assert!(condition.message.contains("in namespace tollgate-system"), "{}", condition.message);
    }

    #[test]
    fn an_answer_for_another_pod_is_no_answer() {
        let reused = pod(&hash("new"), SidecarState::Up, missed(&Poll::OtherPod));
        assert_eq!(verdict(&[reused]), ("Unknown", "PollBlocked", "0/1".to_owned()));
    }

    #[test]
    fn a_few_missed_polls_are_no_news_and_many_are() {
        let mut pod = conforming();
        for _ in 0..2 {
            pod.known = pod.known.after(Poll::Silent);
        }
        assert_eq!(verdict(std::slice::from_ref(&pod)).0, "True");
        pod.known = pod.known.after(Poll::Silent);
        assert_eq!(verdict(&[pod]), ("Unknown", "PollBlocked", "0/1".to_owned()));
    }

    #[test]
    fn no_pods_are_enough_only_when_none_are_asked_for() {
        let status = |replicas| enforced(&[], &hash("new"), replicas, "tollgate-system").0.status;
        assert_eq!(status(0), ConditionStatus::True);
        assert_eq!(status(1), ConditionStatus::False);
    }

    #[test]
    fn a_report_brings_no_names_of_its_own_into_the_status() {
        let report = SidecarReport {
            pod_uid: "uid-1".to_owned(),
            policy_hash: hash("new"),
            version: "1".to_owned(),
            problems: vec![Problem { code: ProblemCode::IssuerUnreachable, issuer: "click https://evil".to_owned() }],
            issuers: vec![
                IssuerReport { name: "evil".to_owned(), key_ids: vec!["k".to_owned()] },
                IssuerReport { name: "okta".to_owned(), key_ids: vec!["k\n".to_owned(), "x".repeat(300)] },
            ],
            app_listens: None,
        };
        let pod = pod(&hash("new"), SidecarState::Up, Known::default().after(Poll::Report(report)));
        assert_eq!(
            issuers_reachable(std::slice::from_ref(&pod), &issuers(), &Seeds::default()).status,
            ConditionStatus::True
        );
        assert_eq!(issuer_keys(&[pod], &issuers()), []);
    }

    #[test]
    fn the_keys_of_all_pods_are_named_once_and_sorted() {
        let keys = issuer_keys(&[conforming(), conforming()], &issuers());
        assert_eq!(keys, [IssuerStatus { name: "okta".to_owned(), key_ids: vec!["key-a".into(), "key-b".into()] }]);
    }
}
