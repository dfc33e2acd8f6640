//! The step from the plan to the cluster. `reconcile` reads top-down: plan, dereference, apply, enforce, status.
//! What is decided is decided in `plan`; here are the client, the watches and the clock.

mod apply;
mod census;
mod context;
mod dereference;
mod enforce;
mod error;
mod keys;
mod memory;
mod status;
mod stores;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tollgate_api::{NotAccepted, OktaProtectedApi, ValidatedApi};

use crate::plan::keys::Seeds;
use crate::plan::render::{Rendered, render};
use crate::plan::schedule::next_look;
use crate::plan::status::Verdict;

pub(crate) use context::Shared;
pub(crate) use watch::{Stop, run};

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
    context.stores.ready().await?;
    let seeds = keys::seeds(context, resource).await;
    let plan = plan(resource, context, &seeds).await?;
    let observed = dereference::dereference(context, &key, plan.rendered()).await?;
    let applied = match plan {
        Plan::Act { api, rendered } => apply::apply(context, resource, api, &rendered, &observed).await?,
        Plan::Keep { verdict, in_force } => {
            apply::keep(context, resource, verdict, in_force.as_ref(), &observed).await?
        }
    };
    let pods = enforce::poll(context, &key).await;
    apply::sweep(context, resource, &applied, &observed, &pods).await?;
    let pace = status::publish(context, resource, &applied, &pods, &seeds).await?;
    Ok(Action::requeue(next_look(pace, rand::random())))
}

/// What a look is to bring about.
enum Plan {
    /// The resource is sound: it is to have these objects.
    Act { api: Box<ValidatedApi>, rendered: Rendered },
    /// It is not: what it was before is to stay, as far as that is known.
    Keep { verdict: Verdict, in_force: Option<Rendered> },
}

impl Plan {
    fn rendered(&self) -> Option<&Rendered> {
        match self {
            Self::Act { rendered, .. } => Some(rendered),
            Self::Keep { in_force, .. } => in_force.as_ref(),
        }
    }
}

async fn plan(resource: &OktaProtectedApi, context: &Context, seeds: &Seeds) -> Result<Plan, Error> {
    let settings = &context.shared.settings;
    let shares = context.census.shares(Instant::now()).await;
    let render = |api: &ValidatedApi| render(api, &settings.render(), &shares, seeds).map_err(Error::Render);
    match ValidatedApi::parse(resource, settings.parse_options()) {
        Ok(api) => Ok(Plan::Act { rendered: render(&api)?, api: Box::new(api) }),
        Err(NotAccepted { reason, message }) => {
            let in_force = context.memory.in_force(&Key::of(resource), &resource.uid().unwrap_or_default());
            let in_force = in_force.as_deref().map(render).transpose()?;
            Ok(Plan::Keep { verdict: Verdict::NotAccepted { reason, message }, in_force })
        }
    }
}
