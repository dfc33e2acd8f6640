//! Carries out the writes that the plan found to be left. An object is created with POST and applied with force only
//! under the uid that was seen to be ours, so that no race can make us take what is someone else's.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use serde_json::{Value, json};
use tollgate_api::conditions::reason;
use tollgate_api::{OktaProtectedApi, ValidatedApi};
use tollgate_contract::names::POLICY_HASH_ANNOTATION;

use super::context::{Context, Key};
use super::dereference::our_deployment;
use super::error::Error;
use crate::plan::changes::{Change, Observed, Obstacle, changes, repairs, unused_policies};
use crate::plan::names::{FIELD_MANAGER, Kind};
use crate::plan::ownership::migrated;
use crate::plan::render::{Rendered, RenderedObject};
use crate::plan::reports::PolledPod;
use crate::plan::status::Verdict;

/// The status may speak only of what was applied, or was left as it is: this is made nowhere else.
pub(super) struct Applied {
    pub(super) verdict: Verdict,
    /// The live Deployment, if it is ours.
    pub(super) deployment: Option<Deployment>,
}

/// Keeps the objects as they were `rendered` when the resource was last acted upon: what stays in force while it is not must
/// not rot. A repair that is refused changes nothing of the verdict.
pub(super) async fn keep(
    context: &Context,
    resource: &OktaProtectedApi,
    verdict: Verdict,
    rendered: Option<&Rendered>,
    observed: &Observed,
) -> Result<Applied, Error> {
    let owner = resource.uid().unwrap_or_default();
    let deployment = our_deployment(observed, &owner)?;
    for change in rendered.map(|rendered| repairs(rendered, observed, &owner)).unwrap_or_default() {
        if let Err(error) = write(context, &Key::of(resource), change).await {
            refused(error)?;
        }
    }
    Ok(Applied { verdict, deployment })
}

/// Makes the objects as rendered.
pub(super) async fn apply(
    context: &Context,
    resource: &OktaProtectedApi,
    api: Box<ValidatedApi>,
    rendered: &Rendered,
    observed: &Observed,
) -> Result<Applied, Error> {
    let mut deployment = our_deployment(observed, &api.uid)?;
    let key = Key { namespace: api.namespace.clone(), name: api.name.clone() };
    let changes = match changes(rendered, observed, &api.uid) {
        Ok(changes) => changes,
        Err(obstacle) => {
            let in_force = context.memory.in_force(&key, &api.uid).is_some_and(|in_force| *in_force == *api);
            return keep(context, resource, obstructed(&obstacle), in_force.then_some(rendered), observed).await;
        }
    };
    for change in changes {
        match write(context, &key, change).await {
            Ok(Some(object)) if object.types.as_ref().is_some_and(|types| types.kind == Kind::Deployment.as_str()) => {
                let name = object.name_any();
                let understood = object.try_parse();
                deployment = Some(understood.map_err(|error| Error::Understand {
                    kind: Kind::Deployment,
                    name,
                    source: serde::de::Error::custom(error),
                })?);
            }
            Ok(_) => {}
            Err(error) => return refused(error).map(|verdict| Applied { verdict, deployment }),
        }
    }
    context.memory.remember_in_force(&key, &api);
    Ok(Applied { verdict: Verdict::Accepted(api), deployment })
}

/// Deletes policies that nothing needs any more.
pub(super) async fn sweep(
    context: &Context,
    resource: &OktaProtectedApi,
    applied: &Applied,
    observed: &Observed,
    pods: &[PolledPod],
) -> Result<(), Error> {
    if !matches!(applied.verdict, Verdict::Accepted(_)) {
        return Ok(());
    }
    let template = applied.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref());
    let annotations = template.and_then(|spec| spec.template.metadata.as_ref()?.annotations.as_ref());
    let in_force = annotations.and_then(|annotations| annotations.get(POLICY_HASH_ANNOTATION));
    let carried: BTreeSet<&str> =
        pods.iter().filter_map(|pod| pod.view.policy.as_ref()).chain(in_force).map(String::as_str).collect();
    let key = Key::of(resource);
    for change in unused_policies(&key.name, observed, &carried, &resource.uid().unwrap_or_default()) {
        write(context, &key, change).await?;
    }
    Ok(())
}

/// One write; the object as it is now, unless it is gone.
async fn write(context: &Context, key: &Key, change: Change) -> Result<Option<DynamicObject>, Error> {
    let (kind, name, verb) = match &change {
        Change::Create(object) => (object.kind, object.name.clone(), "create"),
        Change::Apply { object, .. } => (object.kind, object.name.clone(), "apply"),
        Change::Replace { object, .. } => (object.kind, object.name.clone(), "replace"),
        Change::Delete { kind, name, .. } => (*kind, name.clone(), "delete"),
    };
    let api = context.api(kind, &key.namespace);
    context.shared.metrics.wrote(kind.as_str(), verb);
    let at = if let Change::Apply { at, .. } = &change { at.as_str() } else { "" };
    tracing::info!(namespace = key.namespace, kind = kind.as_str(), name, verb, at, "writing an object");
    let written = match change {
        Change::Create(object) => create(&api, &object).await.map(Some),
        Change::Apply { object, uid, before, .. } => force(&api, &object, &uid, before).await.map(Some),
        Change::Replace { object, uid } => match delete(&api, &name, uid).await {
            Ok(()) => create(&api, &object).await.map(Some),
            Err(error) => Err(error),
        },
        Change::Delete { uid, .. } => delete(&api, &name, uid).await.map(|()| None),
    };
    written.map_err(|source| Error::Write { kind, name, source })
}

async fn create(api: &Api<DynamicObject>, object: &RenderedObject) -> kube::Result<DynamicObject> {
    let object = serde_json::from_value(object.body.clone()).map_err(kube::Error::SerdeError)?;
    let manager = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    api.create(&manager, &object).await
}

async fn force(
    api: &Api<DynamicObject>,
    object: &RenderedObject,
    uid: &str,
    before: Option<Value>,
) -> kube::Result<DynamicObject> {
    let manager = PatchParams::apply(FIELD_MANAGER);
    if let Some(mut patch) = before {
        patch["metadata"]["uid"] = uid.into();
        api.patch(&object.name, &manager, &Patch::Strategic(patch)).await?;
    }
    let live = api.get_metadata(&object.name).await?;
    if let Some(entries) = migrated(live.metadata.managed_fields.as_deref().unwrap_or_default()) {
        let version = live.metadata.resource_version;
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "managedFields": entries}});
        api.patch(&object.name, &manager, &Patch::Merge(patch)).await?;
    }
    let mut wanted = object.body.clone();
    wanted["metadata"]["uid"] = uid.into();
    api.patch(&object.name, &manager.force(), &Patch::Apply(wanted)).await
}

async fn delete(api: &Api<DynamicObject>, name: &str, uid: String) -> kube::Result<()> {
    let this_one = Preconditions { uid: Some(uid), resource_version: None };
    match api.delete(name, &DeleteParams::default().preconditions(this_one)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

fn obstructed(obstacle: &Obstacle) -> Verdict {
    let reason = match obstacle {
        Obstacle::NameTaken(_) => reason::NAME_TAKEN,
        Obstacle::Predecessor(_) => reason::PENDING,
        Obstacle::Selector(_) => reason::OBJECT_REFUSED,
    };
    Verdict::NotAccepted { reason, message: obstacle.to_string() }
}

/// A refusal by the API server is a verdict on what was rendered, and so is that of an admission webhook that is down,
/// which lasts until somebody knows of it; everything else is tried again.
fn refused(error: Error) -> Result<Verdict, Error> {
    let lasts = |status: &Status| matches!(status.code, 400 | 403 | 422) || status.message.contains(WEBHOOK_IS_DOWN);
    match error {
        Error::Write { kind, name, source: kube::Error::Api(status) } if lasts(&status) => {
            let why: String = status.message.chars().filter(|c| !c.is_control()).take(QUOTE_LENGTH).collect();
            let message = format!("Kubernetes refuses the {kind} {name}: {}.", why.trim_end_matches('.'));
            Ok(Verdict::NotAccepted { reason: reason::OBJECT_REFUSED, message })
        }
        other => Err(other),
    }
}

/// The API server's words, with status 500, for a webhook that it cannot reach and may not do without.
const WEBHOOK_IS_DOWN: &str = "failed calling webhook";

/// Enough of the API server's sentence to see what is wrong, in characters.
const QUOTE_LENGTH: usize = 500;

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16, message: &str) -> Error {
        let status = Status { code, message: message.to_owned(), ..Status::success() };
        Error::Write { kind: Kind::Deployment, name: "items".to_owned(), source: kube::Error::Api(status.boxed()) }
    }

    #[test]
    fn a_refusal_is_a_verdict_in_the_api_servers_words() {
        let verdict = refused(answered(422, "Deployment \"items\" is invalid: spec: bad.")).expect("a verdict");
        let message = "Kubernetes refuses the Deployment items: Deployment \"items\" is invalid: spec: bad.".to_owned();
        assert_eq!(verdict, Verdict::NotAccepted { reason: "ObjectRefused", message });
    }

    #[test]
    fn conflicts_and_failures_are_tried_again() {
        for code in [409, 429, 500, 503] {
            assert!(refused(answered(code, "later")).is_err(), "{code}");
        }
    }
}
