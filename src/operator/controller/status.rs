//! Writes the status, under a manager of its own and only when it changes, and publishes the Events of its transitions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tollgate_api::{OktaProtectedApi, OktaProtectedApiStatus};

use super::apply::Applied;
use super::context::{Context, Key};
use super::error::Error;
use crate::plan::keys::Seeds;
use crate::plan::names::STATUS_MANAGER;
use crate::plan::reports::PolledPod;
use crate::plan::schedule::{Pace, next_look};
use crate::plan::status::{Announcement, Assessment, Facts, assess, unreadable};

/// An Event's note may have 1 kB.
const NOTE_LENGTH: usize = 1000;

/// Tells what is so; returns when to look again.
pub(super) async fn publish(
    context: &Context,
    resource: &OktaProtectedApi,
    applied: &Applied,
    pods: &[PolledPod],
    seeds: &Seeds,
) -> Result<Pace, Error> {
    let key = Key::of(resource);
    let uid = resource.uid().unwrap_or_default();
    let stored = resource.status.clone().unwrap_or_default();
    let previous = context.memory.status(&key, &uid).unwrap_or_else(|| stored.clone());
    let facts = Facts {
        resource,
        verdict: &applied.verdict,
        deployment: applied.deployment.as_ref(),
        pods,
        seeds,
        operator_namespace: &context.shared.settings.pod_namespace,
    };
    let Assessment { status, announcements, pace } = assess(&facts, &previous, &now());
    // Who sees the condition finds the Event.
    for announcement in announcements {
        announce(context, resource, announcement).await;
    }
    if status != stored {
        write(context, &key, &uid, &status).await?;
    }
    context.memory.remember_status(&key, &uid, status);
    Ok(pace)
}

/// Says on a resource that it cannot be read.
pub(super) async fn publish_unreadable(context: &Context, object: &InvalidObject) -> Result<Action, Error> {
    let metadata = &object.metadata;
    let key = Key {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    };
    tracing::warn!(namespace = key.namespace, name = key.name, error = object.error, "a resource cannot be read");
    let resource = ApiResource::erase::<OktaProtectedApi>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.shared.client.clone(), &key.namespace, &resource);
    let Some(live) = api.get_opt(&key.name).await.map_err(Error::Status)? else { return Ok(Action::await_change()) };
    let conditions: Vec<Condition> = live
        .data
        .pointer("/status/conditions")
        .and_then(|conditions| serde_json::from_value(conditions.clone()).ok())
        .unwrap_or_default();
    let told = unreadable(&conditions, metadata.generation.unwrap_or_default(), &object.error, &now());
    if told != conditions {
        let patch = json!({"metadata": {"uid": metadata.uid}, "status": {"conditions": told}});
        context.shared.metrics.wrote("OktaProtectedApi", "status");
        let manager = PatchParams::apply(STATUS_MANAGER);
        api.patch_status(&key.name, &manager, &Patch::Merge(patch)).await.map_err(Error::Status)?;
    }
    Ok(Action::requeue(next_look(Pace::Idle, rand::random())))
}

async fn write(context: &Context, key: &Key, uid: &str, status: &OktaProtectedApiStatus) -> Result<(), Error> {
    let api: Api<OktaProtectedApi> = Api::namespaced(context.shared.client.clone(), &key.namespace);
    let applied = json!({
        "apiVersion": OktaProtectedApi::api_version(&()),
        "kind": OktaProtectedApi::kind(&()),
        "metadata": {"name": key.name, "uid": uid},
        "status": status,
    });
    context.shared.metrics.wrote("OktaProtectedApi", "status");
    let manager = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&key.name, &manager, &Patch::Apply(applied)).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::Status(error)),
    }
}

/// An Event that cannot be written is lost: the condition has the same words.
async fn announce(context: &Context, resource: &OktaProtectedApi, announcement: Announcement) {
    let Announcement { warning, reason, action, note } = announcement;
    let note = note[..note.floor_char_boundary(NOTE_LENGTH)].to_owned();
    let type_ = if warning { EventType::Warning } else { EventType::Normal };
    let event = Event { type_, reason, note: Some(note), action, secondary: None };
    if let Err(error) = context.shared.recorder.publish(&event, &resource.object_ref(&())).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an Event could not be published");
    }
}

/// Kubernetes' times have whole seconds.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
