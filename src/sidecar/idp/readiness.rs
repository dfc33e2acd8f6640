//! When a pod is ready (pure): once it can judge the tokens of every issuer. An issuer that is away must not keep a pod from
//! serving the callers of the others, so it is not waited for where the operator, from elsewhere, has keys of others and none
//! of it, and its outage has lasted. Its tokens are answered 503 until its keys come. What it answers, or what is missing
//! here, is no outage: a mistake in the policy must not get past the first new pod.

use std::time::Duration;

/// What is known of one issuer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outlook {
    /// Its tokens could be judged at some time.
    pub(super) ready: bool,
    /// The hints have keys of it.
    pub(super) told: bool,
    /// For how long nothing but an outage of its own has kept its tokens from being judged.
    pub(super) away_for: Option<Duration>,
}

/// Whether a pod with these issuers is ready; `patience` is for one that is away.
pub(super) fn is_ready(issuers: &[Outlook], patience: Duration) -> bool {
    // The network of this pod works, and so does the operator's.
    let others_work = issuers.iter().any(|issuer| issuer.ready && issuer.told);
    let is_away = |issuer: &Outlook| !issuer.told && issuer.away_for.is_some_and(|away| away >= patience);
    issuers.iter().all(|issuer| issuer.ready || (others_work && is_away(issuer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const GOOD: Outlook = Outlook { ready: true, told: true, away_for: None };
    const AWAY: Outlook = Outlook { ready: false, told: false, away_for: Some(PATIENCE) };

    #[test]
    fn an_issuer_that_is_away_for_long_keeps_no_pod_from_serving_the_others() {
        assert!(is_ready(&[GOOD, AWAY], PATIENCE));
        assert!(is_ready(&[AWAY, GOOD, AWAY], PATIENCE));
    }

    #[test]
    fn nothing_else_makes_a_pod_ready_without_keys() {
        let soon = Outlook { away_for: Some(PATIENCE - Duration::from_millis(1)), ..AWAY };
        let no_outage = Outlook { away_for: None, ..AWAY };
        let known_elsewhere = Outlook { told: true, ..AWAY };
        for bad in [soon, no_outage, known_elsewhere] {
            assert!(!is_ready(&[GOOD, bad], PATIENCE), "{bad:?}");
            assert!(!is_ready(&[GOOD, AWAY, bad], PATIENCE), "{bad:?}");
        }
        let without_hints = Outlook { told: false, ..GOOD };
        assert!(!is_ready(&[without_hints, AWAY], PATIENCE), "the operator may be the one without a network");
        let unready = Outlook { ready: false, ..GOOD };
        assert!(!is_ready(&[unready, AWAY], PATIENCE));
        assert!(!is_ready(&[AWAY, AWAY], PATIENCE));
    }

    #[test]
    fn a_single_issuer_is_always_waited_for() {
        assert!(!is_ready(&[AWAY], PATIENCE));
        assert!(!is_ready(&[Outlook { told: true, ..AWAY }], PATIENCE));
        assert!(is_ready(&[GOOD], PATIENCE));
        assert!(is_ready(&[Outlook { told: false, ..GOOD }], PATIENCE));
    }
}
