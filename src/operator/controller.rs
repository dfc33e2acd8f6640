//! The step from the plan to the cluster. `reconcile` reads top-down: validate, dereference, apply, enforce, status.
//! What is decided is decided in `plan`; here are the client, the watches and the clock.

mod apply;
mod census;
mod context;
mod dereference;
mod enforce;
mod error;
mod memory;
mod status;
mod stores;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tollgate_api::{OktaProtectedApi, ValidatedApi};

use crate::plan::render::{Rendered, render};
use crate::plan::schedule::next_look;
use crate::plan::status::Verdict;

pub(crate) use context::Shared;
pub(crate) use watch::{Stop, run};

use apply::Applied;
use context::{Context, Key};
use error::Error;

/// A resource, or why it cannot be read: one that cannot be read must not stop the watch of all others.
type Guarded = DeserializeGuard<OktaProtectedApi>;

/// Looks at one resource and does what is left to do.
async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = match &object.0 {
        Ok(resource) if resource.metadata.deletion_timestamp.is_some() => Ok(Action::await_change()),
        Ok(resource) => reconcile_readable(resource, &context).await,
        Err(unreadable) => status::publish_unreadable(&context, unreadable).await,
    };
    context.shared.metrics.reconciled(result.is_ok(), started.elapsed());
    if result.is_ok() {
        context.memory.forget_failures(&Key::of(&*object));
    }
    result
}

async fn reconcile_readable(resource: &OktaProtectedApi, context: &Context) -> Result<Action, Error> {
    let key = Key::of(resource);
    let planned = validate(resource, context).await?;
    let observed = dereference::dereference(context, &key, planned.as_ref().ok().map(|(_, rendered)| rendered)).await?;
    let applied = match planned {
        Ok((api, rendered)) => apply::apply(context, api, &rendered, &observed).await?,
        Err(verdict) => Applied::untouched(verdict, &observed, resource)?,
    };
    let pods = enforce::poll(context, &key).await;
    apply::sweep(context, resource, &applied, &observed, &pods).await?;
    let pace = status::publish(context, resource, &applied, &pods).await?;
    Ok(Action::requeue(next_look(pace, rand::random())))
}

/// The objects that a sound resource needs, or why there are none.
async fn validate(
    resource: &OktaProtectedApi,
    context: &Context,
) -> Result<Result<(ValidatedApi, Rendered), Verdict>, Error> {
    let settings = &context.shared.settings;
    match ValidatedApi::parse(resource, settings.parse_options()) {
        Ok(api) => {
            let shares = context.census.shares(Instant::now()).await;
            let rendered = render(&api, &settings.render(), &shares).map_err(Error::Render)?;
            Ok(Ok((api, rendered)))
        }
        Err(refused) => Ok(Err(Verdict::NotAccepted { reason: refused.reason, message: refused.message })),
    }
}
