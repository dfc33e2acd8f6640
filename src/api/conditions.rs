//! What the resource's status can say: condition types, their reasons, and how new conditions replace old ones without
//! a transition time that moves on its own. It decides no condition (the operator does) and knows no clock.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The condition types, in the order in which they stand in the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Accepted, WorkloadAvailable and PolicyEnforced all hold: every pod that answers enforces this policy.
    Ready,
    /// The resource is sound; when not, the policy that was in force stays.
    Accepted,
    /// The Deployment has the pods that it should have.
    WorkloadAvailable,
    /// Every pod whose sidecar runs enforces the current policy.
    PolicyEnforced,
    /// The issuers answer; never part of Ready.
    IssuersReachable,
}

impl ConditionType {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Ready, Self::Accepted, Self::WorkloadAvailable, Self::PolicyEnforced, Self::IssuersReachable];

    /// The `type` in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Accepted => "Accepted",
            Self::WorkloadAvailable => "WorkloadAvailable",
            Self::PolicyEnforced => "PolicyEnforced",
            Self::IssuersReachable => "IssuersReachable",
        }
    }
}

/// A condition's `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can say at the moment.
    Unknown,
}

impl ConditionStatus {
    /// The word in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The reasons, one word each; the same word is the reason of the Event.
pub mod reason {
    /// Ready: the three conditions that make it hold.
    pub const READY: &str = "Ready";

    /// Accepted: the resource is sound.
    pub const ACCEPTED: &str = "Accepted";
    /// Accepted is false: a rule of the resource is broken that the API server did not or could not check.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Accepted is false: an `http://` issuer without the operator's `--allow-insecure-issuers`.
    pub const INSECURE_ISSUER: &str = "InsecureIssuer";
    /// Accepted is false: an `http://` external URL without an `http://` issuer.
    pub const INSECURE_EXTERNAL_URL: &str = "InsecureExternalUrl";
    /// Accepted is false: a route's `when` does not compile.
    pub const INVALID_RULE: &str = "InvalidRule";
    /// Accepted is false: an object with a name that we need belongs to someone else; it is left alone.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// Accepted is false: the API server refused an object that we rendered from this resource.
    pub const OBJECT_REFUSED: &str = "ObjectRefused";

    /// WorkloadAvailable: all pods are there and ready.
    pub const AVAILABLE: &str = "Available";
    /// WorkloadAvailable is false: pods are being started or replaced.
    pub const PROGRESSING: &str = "Progressing";
    /// WorkloadAvailable is false: an image cannot be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// WorkloadAvailable is false: a container starts and ends again and again.
    pub const CRASH_LOOPING: &str = "CrashLooping";
    /// WorkloadAvailable is false: a container cannot be created, such as for a missing ConfigMap or Secret.
    pub const CONTAINER_CONFIG_ERROR: &str = "ContainerConfigError";
    /// WorkloadAvailable is false: the app runs but its readiness probe fails, or it does not listen on `upstream.port`.
    pub const APP_NOT_READY: &str = "AppNotReady";
    /// WorkloadAvailable is false: no node takes the pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// WorkloadAvailable is false: the API server refuses the pods (quota, Pod Security, a webhook).
    pub const PODS_REFUSED: &str = "PodsRefused";

    /// PolicyEnforced: every pod that can answer runs the current policy.
    pub const ENFORCED: &str = "Enforced";
    /// PolicyEnforced is false: some pods still run an earlier policy.
    pub const ROLL_PENDING: &str = "RollPending";
    /// PolicyEnforced is false: there are no pods with a running sidecar.
    pub const NO_PODS: &str = "NoPods";
    /// PolicyEnforced is unknown: the operator cannot reach the pods' admin port.
    pub const POLL_BLOCKED: &str = "PollBlocked";

    /// IssuersReachable: every issuer answers.
    pub const REACHABLE: &str = "Reachable";
    /// IssuersReachable is false: no connection or no answer in time.
    pub const UNREACHABLE: &str = "Unreachable";
    /// IssuersReachable is false: the issuer's certificate is not accepted.
    pub const BAD_TLS: &str = "BadTLS";
    /// IssuersReachable is false: the answer is not an issuer's.
    pub const BAD_RESPONSE: &str = "BadResponse";
    /// The Secret with the API's own client is missing or lacks a key.
    pub const CREDENTIALS_MISSING: &str = "CredentialsMissing";
    /// The issuer refused the API's own client.
    pub const CREDENTIALS_REFUSED: &str = "CredentialsRefused";
    /// The ConfigMap with the CA certificates is missing, or holds none.
    pub const CA_BUNDLE_MISSING: &str = "CaBundleMissing";
    /// A ConfigMap with CA certificates is there, and its key holds none.
    pub const CA_BUNDLE_UNUSABLE: &str = "CaBundleUnusable";
    /// The Secret with the certificate of the port that callers use is missing, or holds none.
    pub const CERTIFICATE_MISSING: &str = "CertificateMissing";
    /// The certificate of the port that callers use has expired.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

    /// Any condition that nothing is known about yet; Accepted while objects of an earlier resource of the same name are
    /// being removed.
    pub const PENDING: &str = "Pending";
}

/// A condition as it is now, before it is merged into the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCondition {
    /// Which condition.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// A constant of [`reason`].
    pub reason: &'static str,
    /// One plain sentence: what is so, and what mends it.
    pub message: String,
}

impl NewCondition {
    /// A condition with these parts.
    #[must_use]
    pub fn new(kind: ConditionType, status: ConditionStatus, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status, reason, message: message.into() }
    }
}

/// Ready, from the conditions that it depends on: it holds when they all do, else it speaks with the words of the first
/// that does not.
#[must_use]
pub fn ready(accepted: &NewCondition, workload: &NewCondition, enforced: &NewCondition) -> NewCondition {
    [accepted, workload, enforced].into_iter().find(|condition| condition.status != ConditionStatus::True).map_or_else(
        || {
            NewCondition::new(
                ConditionType::Ready,
                ConditionStatus::True,
                reason::READY,
                "Every pod that can answer enforces this policy.",
            )
        },
        |first| NewCondition { kind: ConditionType::Ready, status: ConditionStatus::False, ..first.clone() },
    )
}

/// The status' conditions: `new` over `old`. A condition keeps its transition time while its status word stays the
/// same; old ones that `new` does not name stay as they are.
#[must_use]
pub fn merge(old: &[Condition], new: &[NewCondition], generation: i64, now: &Time) -> Vec<Condition> {
    let ours = ConditionType::ALL.into_iter().filter_map(|kind| {
        let before = find(old, kind);
        match new.iter().find(|condition| condition.kind == kind) {
            Some(condition) => Some(transition(before, condition, generation, now)),
            None => before.cloned(),
        }
    });
    let foreign = old.iter().filter(|condition| ConditionType::ALL.iter().all(|kind| kind.as_str() != condition.type_));
    ours.chain(foreign.cloned()).collect()
}

/// The conditions of `merged` whose status or reason differs from `old`: each is worth one Event.
#[must_use]
pub fn transitions<'a>(old: &[Condition], merged: &'a [Condition]) -> Vec<&'a Condition> {
    let same = |a: &Condition, b: &Condition| a.type_ == b.type_ && a.status == b.status && a.reason == b.reason;
    merged.iter().filter(|condition| !old.iter().any(|before| same(before, condition))).collect()
}

/// The condition of this type, if the status has it.
#[must_use]
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

fn transition(before: Option<&Condition>, new: &NewCondition, generation: i64, now: &Time) -> Condition {
    let since = before
        .filter(|before| before.status == new.status.as_str())
        .map_or_else(|| now.clone(), |before| before.last_transition_time.clone());
    Condition {
        last_transition_time: since,
        message: new.message.clone(),
        observed_generation: Some(generation),
        reason: new.reason.to_owned(),
        status: new.status.as_str().to_owned(),
        type_: new.kind.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("a small number of seconds"))
    }

    fn workload(status: ConditionStatus, reason: &'static str, message: &str) -> NewCondition {
        NewCondition::new(ConditionType::WorkloadAvailable, status, reason, message)
    }

    #[test]
    fn the_transition_time_stays_while_the_status_stays() {
        let old = merge(&[], &[workload(ConditionStatus::False, reason::PROGRESSING, "1 of 3")], 1, &at(10));
        let new = merge(&old, &[workload(ConditionStatus::False, reason::CRASH_LOOPING, "2 of 3")], 2, &at(20));
        assert_eq!(new[0].last_transition_time, at(10));
        assert_eq!((new[0].reason.as_str(), new[0].message.as_str()), ("CrashLooping", "2 of 3"));
        assert_eq!(new[0].observed_generation, Some(2));
    }

    #[test]
    fn the_transition_time_moves_with_the_status() {
        let old = merge(&[], &[workload(ConditionStatus::False, reason::PROGRESSING, "")], 1, &at(10));
        let new = merge(&old, &[workload(ConditionStatus::True, reason::AVAILABLE, "")], 1, &at(20));
        assert_eq!(new[0].last_transition_time, at(20));
    }

    #[test]
    fn merging_what_is_already_there_changes_nothing() {
        let conditions = [workload(ConditionStatus::True, reason::AVAILABLE, "3 of 3")];
        let old = merge(&[], &conditions, 4, &at(10));
        assert_eq!(merge(&old, &conditions, 4, &at(99)), old);
        assert!(transitions(&old, &merge(&old, &conditions, 4, &at(99))).is_empty());
    }

    #[test]
    fn conditions_that_are_not_named_stay_and_order_is_fixed() {
        let enforced =
            NewCondition::new(ConditionType::PolicyEnforced, ConditionStatus::True, reason::ENFORCED, "3 of 3");
        let foreign = Condition { type_: "example.com/Audited".into(), ..transition(None, &enforced, 1, &at(1)) };
        let old = merge(&[foreign], &[enforced], 1, &at(10));
        let new = merge(&old, &[workload(ConditionStatus::True, reason::AVAILABLE, "")], 1, &at(20));
        let types: Vec<_> = new.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["WorkloadAvailable", "PolicyEnforced", "example.com/Audited"]);
    }

    #[test]
    fn a_new_reason_is_a_transition_and_a_new_message_is_not() {
        let old = merge(&[], &[workload(ConditionStatus::False, reason::PROGRESSING, "1 of 3")], 1, &at(10));
        let counted = merge(&old, &[workload(ConditionStatus::False, reason::PROGRESSING, "2 of 3")], 1, &at(20));
        assert!(transitions(&old, &counted).is_empty());
        let crashed = merge(&old, &[workload(ConditionStatus::False, reason::CRASH_LOOPING, "")], 1, &at(20));
        assert_eq!(transitions(&old, &crashed).len(), 1);
    }

    #[test]
    fn ready_speaks_with_the_first_condition_that_does_not_hold() {
        let accepted = NewCondition::new(ConditionType::Accepted, ConditionStatus::True, reason::ACCEPTED, "");
        let down = workload(ConditionStatus::False, reason::IMAGE_PULL_FAILED, "The image cannot be pulled.");
        let unknown =
            NewCondition::new(ConditionType::PolicyEnforced, ConditionStatus::Unknown, reason::POLL_BLOCKED, "");
        let up = workload(ConditionStatus::True, reason::AVAILABLE, "");
        let enforced = NewCondition::new(ConditionType::PolicyEnforced, ConditionStatus::True, reason::ENFORCED, "");

        let not_ready = ready(&accepted, &down, &unknown);
        assert_eq!((not_ready.status, not_ready.reason), (ConditionStatus::False, reason::IMAGE_PULL_FAILED));
        assert_eq!(not_ready.message, "The image cannot be pulled.");
        assert_eq!(ready(&accepted, &up, &unknown).status, ConditionStatus::False);
        assert_eq!(ready(&accepted, &up, &enforced).status, ConditionStatus::True);
    }
}
