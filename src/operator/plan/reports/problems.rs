//! What is said of a report's problems: IssuersReachable, and a sentence for each. Names are taken from the resource, never
//! from a report.

use std::collections::BTreeSet;

use tollgate_api::conditions::{ConditionStatus, ConditionType, NewCondition, reason};
use tollgate_api::types::{ConfigMapKeyRef, Issuer, OktaProtectedApiSpec};
use tollgate_contract::{Problem, ProblemCode};

use super::PolledPod;
use crate::plan::keys::{Seeds, View};

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
    told(issuer_problems(pods, &spec.issuers).chain(file_problems(pods, spec)))
}

/// PolicyEnforced, with what is wrong with the files of pods that serve: it holds, as the last good files are in force, and
/// somebody has to act before the next pod starts. Of pods that are not ready, WorkloadAvailable says it.
#[must_use]
pub fn with_broken_files(enforced: NewCondition, pods: &[PolledPod], spec: &OktaProtectedApiSpec) -> NewCondition {
    let serving: Vec<_> = pods.iter().filter(|pod| pod.view.sidecar_ready).cloned().collect();
    match told(file_problems(&serving, spec)) {
        Some((reason, sentences)) if enforced.status == ConditionStatus::True => {
            let message = format!(
                "{} {sentences} The pods that run keep what they have; new ones do not become ready.",
                enforced.message
            );
            NewCondition { reason, message, ..enforced }
        }
        _ => enforced,
    }
}

/// The problems of files of the data path that the resource names.
fn file_problems(pods: &[PolledPod], spec: &OktaProtectedApiSpec) -> impl Iterator<Item = (ProblemCode, String)> {
    reported(pods).filter_map(|problem| Some((problem.code, file_sentence(problem.code, spec)?)))
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

fn problem_reason(code: ProblemCode) -> &'static str {
    match code {
        ProblemCode::CredentialsMissing => reason::CREDENTIALS_MISSING,
        ProblemCode::CredentialsRefused => reason::CREDENTIALS_REFUSED,
        ProblemCode::CaBundleMissing | ProblemCode::ClientCaMissing | ProblemCode::UpstreamCaMissing => {
            reason::CA_BUNDLE_MISSING
        }
        ProblemCode::CaBundleUnusable => reason::CA_BUNDLE_UNUSABLE,
        ProblemCode::TlsCertificateMissing => reason::CERTIFICATE_MISSING,
        ProblemCode::TlsCertificateExpired => reason::CERTIFICATE_EXPIRED,
        ProblemCode::IssuerUnreachable | ProblemCode::IssuerNotLoaded => reason::UNREACHABLE,
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
        ProblemCode::IssuerNotLoaded => {
            format!("Tokens of issuer {name} are answered 503 until it answers; a pod became ready without its keys.")
        }
        ProblemCode::TlsCertificateMissing
        | ProblemCode::TlsCertificateExpired
        | ProblemCode::ClientCaMissing
        | ProblemCode::UpstreamCaMissing => return None,
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
        ProblemCode::TlsCertificateExpired => {
            let secret = &spec.tls.as_ref()?.secret_ref.name;
            return Some(format!("The certificate in the Secret {secret} has expired: put a renewed one there."));
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::plan::keys::{Source, Supply};
    use crate::plan::pods::SidecarState;
    use crate::plan::render::tests::{resource, validated};
    use crate::plan::reports::tests::{conforming, hash, issuers, pod, reporting};

    #[test]
    fn until_a_pod_reports_an_issuer_is_as_the_operator_finds_it() {
        let issuer = validated().issuers.remove(0);
        let now = Instant::now();
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
            (
                ProblemCode::IssuerNotLoaded,
                "Unreachable",
                "Tokens of issuer okta are answered 503 until it answers; a pod became ready without its keys.",
            ),
        ];
        for (code, reason, message) in cases {
            let pod = pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[code]));
            let condition = issuers_reachable(&[pod], &issuers(), &Seeds::default());
            assert_eq!((condition.status, condition.reason), (ConditionStatus::False, reason));
            assert_eq!(condition.message, message);
        }
    }

    fn with_files() -> OktaProtectedApiSpec {
        let bundle = |name: &str| json!({"configMapRef": {"name": name, "key": "ca.crt"}});
        let mut spec = resource().spec;
        let tls = json!({"secretRef": {"name": "items-tls"}, "clientCertificates": {"caBundle": bundle("callers")}});
        spec.tls = serde_json::from_value(tls).expect("tls");
        let upstream = json!({"port": 8000, "tls": {"serverName": "items.internal", "caBundle": bundle("inner")}});
        spec.upstream = serde_json::from_value(upstream).expect("upstream");
        spec
    }

    fn holds() -> NewCondition {
        NewCondition::new(ConditionType::PolicyEnforced, ConditionStatus::True, reason::ENFORCED, "It holds.")
    }

    #[test]
    fn broken_files_of_pods_that_serve_are_named_beside_what_holds() {
        let cases = [
            (
                ProblemCode::TlsCertificateMissing,
                "CertificateMissing",
                "tls needs the Secret items-tls with a certificate and its key in tls.crt and tls.key.",
            ),
            (
                ProblemCode::TlsCertificateExpired,
                "CertificateExpired",
                "The certificate in the Secret items-tls has expired: put a renewed one there.",
            ),
            (
                ProblemCode::ClientCaMissing,
                "CaBundleMissing",
                "tls.clientCertificates needs the ConfigMap callers with PEM certificates under the key ca.crt.",
            ),
            (
                ProblemCode::UpstreamCaMissing,
                "CaBundleMissing",
                "upstream.tls needs the ConfigMap inner with PEM certificates under the key ca.crt.",
            ),
        ];
        for (code, reason, sentence) in cases {
            let pod = pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[code]));
            let condition = with_broken_files(holds(), &[conforming(), pod], &with_files());
            assert_eq!((condition.status, condition.reason), (ConditionStatus::True, reason));
            let end = "The pods that run keep what they have; new ones do not become ready.";
            assert_eq!(condition.message, format!("It holds. {sentence} {end}"));
        }
    }

    #[test]
    fn nothing_is_said_of_files_that_the_resource_does_not_name_nor_of_pods_that_wait_nor_where_more_is_wrong() {
        let mut broken =
            pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[ProblemCode::TlsCertificateMissing]));
        assert_eq!(with_broken_files(holds(), std::slice::from_ref(&broken), &resource().spec), holds());
        let pending = NewCondition { status: ConditionStatus::False, reason: reason::ROLL_PENDING, ..holds() };
        assert_eq!(with_broken_files(pending.clone(), std::slice::from_ref(&broken), &with_files()), pending);
        let issuers = pod(&hash("new"), SidecarState::Up, reporting(&hash("new"), &[ProblemCode::IssuerBadTls]));
        assert_eq!(with_broken_files(holds(), &[issuers], &with_files()), holds());
        broken.view.sidecar_ready = false;
        assert_eq!(with_broken_files(holds(), &[broken], &with_files()), holds());
    }

    #[test]
    fn issuers_are_reachable_when_no_pod_has_a_problem_and_unknown_without_reports() {
        assert_eq!(issuers_reachable(&[conforming()], &issuers(), &Seeds::default()).status, ConditionStatus::True);
        assert_eq!(issuers_reachable(&[], &issuers(), &Seeds::default()).status, ConditionStatus::Unknown);
    }
}
