//! What the sidecars say, and what follows from it: which pods enforce the policy, which issuers are in trouble. A
//! report is untrusted: names are taken from the resource, texts are composed here, lists are cut.

use std::collections::BTreeSet;

use tollgate_api::conditions::{ConditionStatus, ConditionType, NewCondition, reason};
use tollgate_api::types::{ConfigMapKeyRef, Issuer, IssuerStatus, OktaProtectedApiSpec};
use tollgate_contract::names::ADMIN_PORT;
use tollgate_contract::{PolicyHash, Problem, ProblemCode, SidecarReport};

use super::keys::{Seeds, View};
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
            | ProblemCode::ClientCaMissing
            | ProblemCode::UpstreamCaMissing => true,
            ProblemCode::CredentialsRefused
            | ProblemCode::IssuerUnreachable
            | ProblemCode::IssuerBadTls
            | ProblemCode::IssuerBadResponse => false,
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

/// IssuersReachable: as the pods find it, for they judge tokens; as the operator does while no pod has said anything.
#[must_use]
pub fn issuers_reachable(pods: &[PolledPod], issuers: &[Issuer], seeds: &Seeds) -> NewCondition {
    let condition =
        |status, reason, message| NewCondition::new(ConditionType::IssuersReachable, status, reason, message);
    let views = || issuers.iter().map(|issuer| (issuer, seeds.view(&issuer.name)));
    let of_pods = pods.iter().any(|pod| pod.known.report().is_some());
    if !of_pods && views().any(|(_, view)| view.is_none()) {
        return condition(ConditionStatus::Unknown, reason::PENDING, "No pod has reported yet.".to_owned());
    }
    let problems = if of_pods { told(issuer_problems(pods, issuers)) } else { told(views().filter_map(own_problem)) };
    match problems {
        Some((reason, message)) => condition(ConditionStatus::False, reason, message),
        None => condition(ConditionStatus::True, reason::REACHABLE, "Every issuer answers.".to_owned()),
    }
}

/// The problems that the pods report, as a reason and a text; `None` when there are none.
#[must_use]
pub fn problems(pods: &[PolledPod], spec: &OktaProtectedApiSpec) -> Option<(&'static str, String)> {
    let of_files = reported(pods).filter_map(|problem| Some((problem.code, file_sentence(problem.code, spec)?)));
    told(issuer_problems(pods, &spec.issuers).chain(of_files))
}

/// What the operator itself finds wrong with an issuer.
fn own_problem((issuer, view): (&Issuer, Option<View>)) -> Option<(ProblemCode, String)> {
    let Some(View::Fails(code)) = view else { return None };
    Some((code, issuer_sentence(code, issuer)?))
}

/// The problems of issuers that the resource has.
fn issuer_problems(pods: &[PolledPod], issuers: &[Issuer]) -> impl Iterator<Item = (ProblemCode, String)> {
    reported(pods).filter_map(|Problem { code, issuer }| {
        let issuer = issuers.iter().find(|known| known.name == *issuer)?;
        Some((*code, issuer_sentence(*code, issuer)?))
    })
}

fn reported(pods: &[PolledPod]) -> impl Iterator<Item = &Problem> {
    let staying = pods.iter().filter(|pod| !pod.view.terminating);
    staying.filter_map(|pod| pod.known.report()).flat_map(|report| &report.problems)
}

/// Each once, the first kind of them as the reason.
fn told(problems: impl Iterator<Item = (ProblemCode, String)>) -> Option<(&'static str, String)> {
    let problems: BTreeSet<_> = problems.collect();
    let (first, _) = problems.first()?;
    let reason = problem_reason(*first);
    let sentences: Vec<_> = problems.into_iter().map(|(_, sentence)| sentence).collect();
    Some((reason, sentences.join(" ")))
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

fn problem_reason(code: ProblemCode) -> &'static str {
    match code {
        ProblemCode::CredentialsMissing => reason::CREDENTIALS_MISSING,
        ProblemCode::CredentialsRefused => reason::CREDENTIALS_REFUSED,
        ProblemCode::CaBundleMissing | ProblemCode::ClientCaMissing | ProblemCode::UpstreamCaMissing => {
            reason::CA_BUNDLE_MISSING
        }
        ProblemCode::CaBundleUnusable => reason::CA_BUNDLE_UNUSABLE,
        ProblemCode::TlsCertificateMissing => reason::CERTIFICATE_MISSING,
        ProblemCode::IssuerUnreachable => reason::UNREACHABLE,
        ProblemCode::IssuerBadTls => reason::BAD_TLS,
        ProblemCode::IssuerBadResponse => reason::BAD_RESPONSE,
    }
}

/// `None` where it concerns no issuer.
fn issuer_sentence(code: ProblemCode, issuer: &Issuer) -> Option<String> {
    let Issuer { name, url, client, ca_bundle, .. } = issuer;
    let secret = client.as_ref().map_or("", |client| &client.secret_ref.name);
    let bundle = ca_bundle.as_ref().map(|bundle| &bundle.config_map_ref);
    let sentence = match code {
        ProblemCode::CredentialsMissing => {
            format!("Issuer {name} needs the Secret {secret} with the keys clientId and clientSecret.")
        }
        ProblemCode::CredentialsRefused => {
            format!("Issuer {name} refuses the client in the Secret {secret}: check its clientId and clientSecret.")
        }
        ProblemCode::CaBundleMissing => format!(
            "Issuer {name} needs the ConfigMap {} with PEM certificates under the key {}.",
            bundle.map_or("", |bundle| &bundle.name),
            bundle.map_or("", |bundle| &bundle.key)
        ),
        ProblemCode::CaBundleUnusable => format!(
            "The ConfigMap {} holds no PEM certificate under the key {}, which issuer {name} needs: write the CA's \
             certificate there.",
            bundle.map_or("", |bundle| &bundle.name),
            bundle.map_or("", |bundle| &bundle.key)
        ),
        ProblemCode::IssuerUnreachable => format!(
            "Issuer {name} at {url} does not answer: check the name of its host, and that DNS, NetworkPolicies and \
             firewalls let the pods reach it."
        ),
        ProblemCode::IssuerBadTls => {
            format!(
                "The certificate of issuer {name} at {url} is not accepted: a private CA must be named in caBundle."
            )
        }
        ProblemCode::IssuerBadResponse => {
            format!("Issuer {name} at {url} answers, but not as an authorization server: check its url.")
        }
        ProblemCode::TlsCertificateMissing | ProblemCode::ClientCaMissing | ProblemCode::UpstreamCaMissing => {
            return None;
        }
    };
    Some(sentence)
}

/// `None` where it is not about a file of the data path, or the resource names none.
fn file_sentence(code: ProblemCode, spec: &OktaProtectedApiSpec) -> Option<String> {
    let (field, bundle) = match code {
        ProblemCode::TlsCertificateMissing => {
            let secret = &spec.tls.as_ref()?.secret_ref.name;
            return Some(format!(
                "tls needs the Secret {secret} with a certificate and its key in tls.crt and tls.key."
            ));
        }
        ProblemCode::ClientCaMissing => {
            let certificates = spec.tls.as_ref()?.client_certificates.as_ref()?;
            ("tls.clientCertificates", &certificates.ca_bundle.config_map_ref)
        }
        ProblemCode::UpstreamCaMissing => {
            ("upstream.tls", &spec.upstream.tls.as_ref()?.ca_bundle.as_ref()?.config_map_ref)
        }
        _ => return None,
    };
    let ConfigMapKeyRef { name, key } = bundle;
    Some(format!("{field} needs the ConfigMap {name} with PEM certificates under the key {key}."))
}

fn count(pods: &[PolledPod], holds: impl Fn(&PolledPod) -> bool) -> usize {
    pods.iter().filter(|pod| holds(pod)).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::render::tests::resource;
    use tollgate_contract::IssuerReport;

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

    fn issuers() -> Vec<Issuer> {
        resource().spec.issuers
    }

    fn verdict(pods: &[PolledPod]) -> (&'static str, &'static str, String) {
        let (condition, protected) = enforced(pods, &hash("new"), 2, "tollgate-system");
        (condition.status.as_str(), condition.reason, protected)
    }

    fn missed(poll: &Poll) -> Known {
        (0..MISSED_POLLS).fold(Known::default(), |known, _| known.after(poll.clone()))
    }

    fn conforming() -> PolledPod {
        pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[]))
    }

    #[test]
    fn until_a_pod_reports_an_issuer_is_as_the_operator_finds_it() {
        use crate::plan::keys::{Source, Supply};
        let issuer = crate::plan::render::tests::validated().issuers.remove(0);
        let now = std::time::Instant::now();
        let seen = |supply: &Supply| {
            let mut seeds = Seeds::default();
            seeds.add(&issuer, &Source::of(&issuer, None), supply, None, 0, "");
            let condition = issuers_reachable(&[], &issuers(), &seeds);
            (condition.status, condition.reason)
        };
        let mut supply = Supply::default();
        assert_eq!(seen(&supply), (ConditionStatus::Unknown, reason::PENDING));
        for _ in 0..3 {
            supply.failed(ProblemCode::IssuerBadTls, now, 0.5);
        }
        assert_eq!(seen(&supply), (ConditionStatus::False, reason::BAD_TLS));
        supply.fetched("{}".to_owned(), 0, now, 0.5);
        assert_eq!(seen(&supply), (ConditionStatus::True, reason::REACHABLE));
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
    fn every_problem_is_one_plain_sentence() {
        let cases = [
            (
                ProblemCode::CredentialsMissing,
                "CredentialsMissing",
                "Issuer okta needs the Secret okta-items with the keys clientId and clientSecret.",
            ),
            (
                ProblemCode::CredentialsRefused,
                "CredentialsRefused",
                "Issuer okta refuses the client in the Secret okta-items: check its clientId and clientSecret.",
            ),
            (
                ProblemCode::CaBundleMissing,
                "CaBundleMissing",
                "Issuer okta needs the ConfigMap corp-ca with PEM certificates under the key root.pem.",
            ),
            (
                ProblemCode::CaBundleUnusable,
                "CaBundleUnusable",
                "The ConfigMap corp-ca holds no PEM certificate under the key root.pem, which issuer okta needs: write the \
                 CA's certificate there.",
            ),
            (
                ProblemCode::IssuerUnreachable,
                "Unreachable",
                "Issuer okta at https://acme.okta.com/oauth2/default does not answer: check the name of its host, and that \
                 DNS, NetworkPolicies and firewalls let the pods reach it.",
            ),
            (
                ProblemCode::IssuerBadTls,
                "BadTLS",
                "The certificate of issuer okta at https://acme.okta.com/oauth2/default is not accepted: a private CA \
                 must be named in caBundle.",
            ),
            (
                ProblemCode::IssuerBadResponse,
                "BadResponse",
                "Issuer okta at https://acme.okta.com/oauth2/default answers, but not as an authorization server: check \
                 its url.",
            ),
        ];
        for (code, reason, message) in cases {
            let pod = pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[code]));
            let condition = issuers_reachable(&[pod], &issuers(), &Seeds::default());
            assert_eq!((condition.status, condition.reason), (ConditionStatus::False, reason));
            assert_eq!(condition.message, message);
        }
    }

    #[test]
    fn issuers_are_reachable_when_no_pod_has_a_problem_and_unknown_without_reports() {
        assert_eq!(issuers_reachable(&[conforming()], &issuers(), &Seeds::default()).status, ConditionStatus::True);
        assert_eq!(issuers_reachable(&[], &issuers(), &Seeds::default()).status, ConditionStatus::Unknown);
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
