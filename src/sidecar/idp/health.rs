//! How calls to an issuer go, as the operator should see it: the last success or failure counts. It decides nothing.

use std::sync::{Mutex, PoisonError};

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
}

impl Health {
    /// Loading metadata and keys has ended.
    pub(super) fn record_keys(&self, outcome: Result<(), &IdpError>) {
        self.change(|state| note(&mut state.keys, outcome));
    }

    /// A question about a token, asked as our own client, has ended. True when the problems are others than before.
    pub(super) fn record_question(&self, outcome: Result<(), &IdpError>) -> bool {
        self.change(|state| match outcome {
            Err(IdpError::ClientRefused) => {
                state.client_refused = true;
                state.questions = None;
            }
            outcome => {
                state.client_refused &= outcome.is_err();
                note(&mut state.questions, outcome);
            }
        })
    }

    /// Other credentials are mounted: what was said of the old ones is void.
    pub(super) fn forget_refusal(&self) {
        self.change(|state| state.client_refused = false);
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
        *state != before
    }
}

fn note(reach: &mut Option<ProblemCode>, outcome: Result<(), &IdpError>) {
    match outcome {
        Ok(()) => *reach = None,
        Err(error @ (IdpError::Unreachable | IdpError::BadTls | IdpError::Down(_) | IdpError::BadResponse(_))) => {
            *reach = error.problem()
        }
        // Said from what is mounted, or nothing that anybody must act on.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_a_problem_of_its_kind_and_a_limit_makes_none() {
        let health = Health::default();
        health.record_keys(Err(&IdpError::Unreachable));
        assert!(health.record_question(Err(&IdpError::Unreachable)));
        assert!(!health.record_question(Err(&IdpError::Busy)));
        assert_eq!(health.problems(), [ProblemCode::IssuerUnreachable]);
        health.record_keys(Ok(()));
        assert_eq!(health.problems().len(), 1, "questions still fail");
        health.record_question(Err(&IdpError::ClientRefused));
        assert_eq!(health.problems(), [ProblemCode::CredentialsRefused], "it did answer");
        health.record_question(Err(&IdpError::Unreachable));
        assert_eq!(health.problems(), [ProblemCode::IssuerUnreachable, ProblemCode::CredentialsRefused]);
        health.record_question(Ok(()));
        assert!(health.problems().is_empty());
    }
}
