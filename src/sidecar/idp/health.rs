//! How calls to an issuer go, as the operator should see it: the last success or failure counts. It decides nothing.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tollgate_contract::ProblemCode;

use super::error::IdpError;

/// The last outcome of each kind.
#[derive(Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Default, Clone, Copy, PartialEq)]
struct State {
    /// How loading metadata and keys went.
    keys: Option<ProblemCode>,
    /// How asking about tokens went.
    questions: Option<ProblemCode>,
    client_refused: bool,
    /// When the issuer last gave a good answer.
    answered_at: Option<Instant>,
    /// Since when every attempt to load metadata and keys has met an outage.
    away_since: Option<Instant>,
}

impl Health {
    /// Loading metadata and keys has ended.
    pub(super) fn record_keys(&self, outcome: Result<(), &IdpError>, now: Instant) {
        self.change(|state| {
            // Keys say nothing of revoked tokens: once questions fail, only an answered one counts as good.
            if outcome.is_ok() && state.questions.is_none() {
                state.answered_at = Some(now);
            }
            state.away_since = match outcome {
                Err(error) if error.is_outage() => state.away_since.or(Some(now)),
                Ok(()) | Err(_) => None,
            };
            note(&mut state.keys, outcome);
        });
    }

    /// A question about a token, asked as our own client, has ended. True when the problems are others than before.
    pub(super) fn record_question(&self, outcome: Result<(), &IdpError>, now: Instant) -> bool {
        self.change(|state| match outcome {
            Err(IdpError::ClientRefused) => {
                state.client_refused = true;
                state.questions = None;
            }
            outcome => {
                state.client_refused &= outcome.is_err();
                state.answered_at = outcome.map_or(state.answered_at, |()| Some(now));
                note(&mut state.questions, outcome);
            }
        })
    }

    /// Other credentials are mounted: what was said of the old ones is void.
    pub(super) fn forget_refusal(&self) {
        self.change(|state| state.client_refused = false);
    }

    /// When the issuer last gave a good answer: to a question about a token, or with keys while no question failed.
    pub(super) fn answered_at(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).answered_at
    }

    /// Since when it has been away as far as metadata and keys go; `None` when the last attempt met no outage.
    pub(super) fn away_since(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).away_since
    }

    pub(super) fn problems(&self) -> Vec<ProblemCode> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = state.client_refused.then_some(ProblemCode::CredentialsRefused);
        let mut problems: Vec<_> = state.keys.into_iter().chain(state.questions).chain(refused).collect();
        problems.dedup();
        problems
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        // A panic elsewhere leaves plain values behind, any of which is fine.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *state;
        change(&mut state);
        (state.keys, state.questions, state.client_refused) != (before.keys, before.questions, before.client_refused)
    }
}

fn note(reach: &mut Option<ProblemCode>, outcome: Result<(), &IdpError>) {
    match outcome {
        Ok(()) => *reach = None,
        Err(error) if error.is_outage() || matches!(error, IdpError::BadResponse(_)) => *reach = error.problem(),
        // Said from what is mounted, or nothing that anybody must act on.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_success_ends_a_problem_of_its_kind_and_a_limit_makes_none() {
        let (health, now) = (Health::default(), Instant::now());
        health.record_keys(Err(&IdpError::Unreachable), now);
        assert!(health.record_question(Err(&IdpError::Unreachable), now));
        assert!(!health.record_question(Err(&IdpError::Busy), now));
        assert_eq!(health.problems(), [ProblemCode::IssuerUnreachable]);
        health.record_keys(Ok(()), now);
        assert_eq!(health.problems().len(), 1, "questions still fail");
        health.record_question(Err(&IdpError::ClientRefused), now);
        assert_eq!(health.problems(), [ProblemCode::CredentialsRefused], "it did answer");
        health.record_question(Err(&IdpError::Unreachable), now);
        assert_eq!(health.problems(), [ProblemCode::IssuerUnreachable, ProblemCode::CredentialsRefused]);
        health.record_question(Ok(()), now);
        assert!(health.problems().is_empty());
    }

    #[test]
    fn an_issuer_is_away_from_its_first_outage_until_anything_else_comes_of_an_attempt() {
        let (health, start) = (Health::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(health.away_since(), None);
        for second in 1..4 {
            health.record_keys(Err(&IdpError::Unreachable), at(second));
            assert_eq!(health.away_since(), Some(at(1)));
        }
        for other in [IdpError::BadResponse("no metadata"), IdpError::CaBundleMissing, IdpError::Busy] {
            health.record_keys(Err(&IdpError::Down(500)), at(5));
            health.record_keys(Err(&other), at(6));
            assert_eq!(health.away_since(), None, "{other}");
        }
        health.record_keys(Err(&IdpError::BadTls), at(7));
        health.record_keys(Ok(()), at(8));
        assert_eq!(health.away_since(), None);
    }

    #[test]
    fn keys_are_a_good_answer_only_while_no_question_fails() {
        let (health, start) = (Health::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(health.answered_at(), None);
        health.record_keys(Ok(()), at(1));
        assert_eq!(health.answered_at(), Some(at(1)));
        health.record_question(Ok(()), at(2));
        health.record_question(Err(&IdpError::Down(500)), at(3));
        health.record_keys(Ok(()), at(4));
        assert_eq!(health.answered_at(), Some(at(2)), "a revocation would not have been seen since");
        health.record_question(Ok(()), at(5));
        health.record_keys(Err(&IdpError::Unreachable), at(6));
        assert_eq!(health.answered_at(), Some(at(5)));
    }
}
