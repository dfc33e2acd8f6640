//! The issuers' keys as the operator holds them: fetched once for all resources that share a source, in the background, so
//! that no look waits for an issuer. What may be used of them, how many are held, and who is asked next, the plan decides.

mod bundles;
mod fetch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use kube::ResourceExt;
use tollgate_api::validated::CaBundle;
use tollgate_api::{OktaProtectedApi, ValidatedApi};
use tollgate_contract::Hints;
use tollgate_contract::names::HINTS_FILE;

use bundles::Bundles;
use fetch::FetchError;

use super::context::{Context, Key, Shared};
use crate::plan::Kind;
use crate::plan::keys::{Seeds, Source, Supplies, Turn, digest, written};
use crate::plan::names::hints_name;

/// Of a term, for all its scopes.
#[derive(Default)]
pub(crate) struct Keys {
    supplies: Mutex<Supplies>,
    bundles: Mutex<Bundles>,
}

impl Keys {
    /// The resource is gone.
    pub(crate) fn forget(&self, key: &Key) {
        lock(&self.supplies).name(&key.namespace, &key.name, &[], Instant::now());
    }
}

/// What is known of the resource's issuers, as they are in force; those whose turn it is are asked meanwhile, and the next
/// look knows what they said.
pub(super) async fn seeds(context: &Context, resource: &OktaProtectedApi) -> Seeds {
    let (key, mut seeds) = (Key::of(resource), Seeds::default());
    let parsed = ValidatedApi::parse(resource, context.shared.settings.parse_options()).map(Arc::new);
    let in_force = || context.memory.in_force(&key, &resource.uid().unwrap_or_default());
    let Some(api) = parsed.ok().or_else(in_force) else {
        context.keys.forget(&key);
        return seeds;
    };
    let hints = hints(context, resource).unwrap_or_default();
    let epoch_seconds = epoch_seconds();
    let mut named = Vec::new();
    let mut sources = Vec::new();
    for issuer in &api.issuers {
        let bundle = issuer.ca_bundle.as_ref();
        let digest = match bundle {
            None => None,
            Some(bundle) => match bundle_digest(context, &api.namespace, bundle).await {
                Some(digest) => Some(digest),
                // Without its authority an issuer cannot be asked; the sidecars say which ConfigMap is missing.
                None => {
                    seeds.keep(issuer, written(&hints, &issuer.name), epoch_seconds);
                    continue;
                }
            },
        };
        let source = Source::of(issuer, digest);
        sources.push((source.clone(), bundle.cloned()));
        named.push((issuer, source));
    }
    let mut supplies = lock(&context.keys.supplies);
    supplies.name(&key.namespace, &key.name, &sources, Instant::now());
    for (issuer, source) in named {
        let supply = supplies.supply(&source);
        seeds.add(issuer, &source, &supply, written(&hints, &issuer.name), epoch_seconds, &api.uid);
    }
    take_turns(&context.shared, &context.keys, &mut supplies);
    seeds
}

/// What the sidecars of a resource are told now, if it is we who tell them.
fn hints(context: &Context, resource: &OktaProtectedApi) -> Option<Hints> {
    let key = Key::of(resource);
    let object = context.stores.object(Kind::Hints, &key.namespace, &hints_name(&key.name))?;
    let owner = object.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    let is_ours = Some(&owner.uid) == resource.metadata.uid.as_ref();
    let file = object.data.get("data")?.get(HINTS_FILE)?.as_str().filter(|_| is_ours)?;
    serde_json::from_str(file).ok()
}

async fn bundle_digest(context: &Context, namespace: &str, bundle: &CaBundle) -> Option<String> {
    let known = lock(&context.keys.bundles).digest(namespace, bundle, Instant::now());
    let before = match known {
        Ok(digest) => return digest,
        Err(before) => before,
    };
    let digest = bundles::read_digest(&context.shared.client, namespace, bundle, before).await;
    lock(&context.keys.bundles).keep(namespace, bundle, digest.clone(), Instant::now());
    digest
}

/// Begins the fetches whose turn it is. They end by their own time-outs and touch nothing but this memory, whoever leads by
/// then.
fn take_turns(shared: &Shared, keys: &Arc<Keys>, supplies: &mut Supplies) {
    while let Some(turn) = supplies.next_turn(Instant::now()) {
        tokio::spawn(take(shared.clone(), Arc::clone(keys), turn));
    }
    shared.metrics.hold_sources(supplies.len());
}

async fn take(shared: Shared, keys: Arc<Keys>, turn: Turn) {
    let outcome = fetch(&shared, &turn).await;
    let (now, jitter) = (Instant::now(), rand::random());
    let mut supplies = lock(&keys.supplies);
    let supply = supplies.end(&turn);
    match outcome {
        Ok(jwks) => {
            if let Some(supply) = supply {
                supply.fetched(jwks, epoch_seconds(), now, jitter);
            }
            shared.metrics.fetched_keys("ok");
        }
        Err(error) => {
            match (error.code(), supply) {
                (Some(code), Some(supply)) => supply.failed(code, now, jitter),
                (None, Some(supply)) => supply.put_back(),
                (_, None) => {}
            }
            shared.metrics.fetched_keys(error.word());
            let (issuer, namespace) = (&turn.source.named.issuer, &turn.namespace);
            let error = &error as &dyn std::error::Error;
            tracing::debug!(issuer, namespace, error, "an issuer's keys could not be fetched");
        }
    }
    take_turns(&shared, &keys, &mut supplies);
}

/// Asks the source, with the trust that it is known by: the bundle may have changed since.
async fn fetch(shared: &Shared, Turn { namespace, source, bundle }: &Turn) -> Result<String, FetchError> {
    let pem = match bundle {
        None => None,
        Some(bundle) => {
            let pem = bundles::read(&shared.client, namespace, bundle).await;
            pem.map_err(|_| FetchError::Bundle("cannot be read"))?
        }
    };
    if pem.as_deref().map(digest) != source.named.ca_bundle {
        return Err(FetchError::Bundle("is another by now"));
    }
    fetch::fetch(source, pem.as_deref(), shared.settings.allow_insecure_issuers).await
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A panic elsewhere leaves nothing half done here that a later look would not survive.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
