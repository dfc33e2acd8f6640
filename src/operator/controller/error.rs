//! Why a look at a resource fails, and when it is tried again.

use kube::runtime::controller::Action;
use thiserror::Error as ThisError;

use super::Guarded;
use super::context::{Context, Key};
use crate::plan::Kind;
use crate::plan::schedule::retry;

/// What went wrong.
#[derive(Debug, ThisError)]
pub(crate) enum Error {
    /// Reading an object.
    #[error("reading {kind} {name}")]
    Read {
        kind: Kind,
        name: String,
        #[source]
        source: kube::Error,
    },
    /// Writing an object.
    #[error("writing {kind} {name}")]
    Write {
        kind: Kind,
        name: String,
        #[source]
        source: kube::Error,
    },
    /// Reading or writing the resource itself.
    #[error("writing the status")]
    Status(#[source] kube::Error),
    /// An object that the API server sent is not what its kind says.
    #[error("understanding {kind} {name}")]
    Understand {
        kind: Kind,
        name: String,
        #[source]
        source: serde_json::Error,
    },
    /// Rendering an object.
    #[error("rendering the objects")]
    Render(#[source] serde_json::Error),
    /// The watches have ended, for this operator stops.
    #[error("stopping")]
    Stopping,
}

/// The wait before the next try: longer with every failure in a row.
pub(super) fn error_policy(object: &Guarded, error: &Error, context: &Context) -> Action {
    let key = Key::of(object);
    let failures = context.memory.count_failure(&key);
    let wait = retry(failures, rand::random());
    tracing::warn!(
        namespace = key.namespace,
        name = key.name,
        error = error as &dyn std::error::Error,
        failures,
        retry_in_seconds = wait.as_secs_f64(),
        "looking at a resource failed"
    );
    Action::requeue(wait)
}
