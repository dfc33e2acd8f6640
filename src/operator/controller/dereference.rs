//! What exists of a resource's objects. It decides nothing.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::DynamicObject;

use super::context::{Context, Key};
use super::error::Error;
use crate::plan::changes::{Live, Observed};
use crate::plan::names::{Kind, hints_name};
use crate::plan::render::Rendered;

/// The objects with the names that are needed, and the policies of ours beside the current one. What the copies lack is
/// asked for: it may be someone else's, or ours without its label.
pub(super) async fn dereference(context: &Context, key: &Key, rendered: Option<&Rendered>) -> Result<Observed, Error> {
    let mut observed = Observed::default();
    let hints = hints_name(&key.name);
    for kind in Kind::ALL {
        let wanted = rendered.and_then(|rendered| rendered.objects.iter().find(|object| object.kind == kind));
        let name = match wanted {
            Some(object) => object.name.as_str(),
            None if kind == Kind::Policy => continue,
            None if kind == Kind::Hints => hints.as_str(),
            None => key.name.as_str(),
        };
        let found = match context.stores.object(kind, &key.namespace, name) {
            Some(object) => Some(live(kind, &object)?),
            None if wanted.is_none() => None,
            None => {
                let failed = |source| Error::Read { kind, name: name.to_owned(), source };
                let object = context.api(kind, &key.namespace).get_opt(name).await.map_err(failed)?;
                object.map(|object| live(kind, &object)).transpose()?
            }
        };
        observed.objects.extend(found.map(|live| (kind, live)));
    }
    let current = observed.objects.get(&Kind::Policy).map(|live| live.name.as_str());
    observed.old_policies = context
        .stores
        .objects(Kind::Policy, key)
        .iter()
        .filter(|object| object.name_any() != hints && Some(object.name_any().as_str()) != current)
        .map(|object| live(Kind::Policy, object))
        .collect::<Result<_, _>>()?;
    Ok(observed)
}

/// The live Deployment, if it is ours.
pub(super) fn our_deployment(observed: &Observed, owner: &str) -> Result<Option<Deployment>, Error> {
    let ours = observed.objects.get(&Kind::Deployment).filter(|live| live.controller.as_deref() == Some(owner));
    ours.map(|live| serde_json::from_value(live.body.clone())).transpose().map_err(|source| Error::Understand {
        kind: Kind::Deployment,
        name: "of the resource".to_owned(),
        source,
    })
}

fn live(kind: Kind, object: &DynamicObject) -> Result<Live, Error> {
    let name = object.name_any();
    let controller = object.owner_references().iter().find(|owner| owner.controller == Some(true));
    let mut body =
        serde_json::to_value(object).map_err(|source| Error::Understand { kind, name: name.clone(), source })?;
    // Objects that come in a list do not say what they are.
    let resource = kind.resource();
    body["apiVersion"] = resource.api_version.into();
    body["kind"] = resource.kind.into();
    Ok(Live {
        uid: object.uid().unwrap_or_default(),
        controller: controller.map(|owner| owner.uid.clone()),
        terminating: object.metadata.deletion_timestamp.is_some(),
        body,
        name,
    })
}
