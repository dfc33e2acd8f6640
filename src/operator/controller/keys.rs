//! The issuers' keys as the operator holds them: fetched once for all resources that share a source, in the background, so
//! that no look waits for an issuer. What may be used of them, and when they are asked for again, the plan decides.

mod fetch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::Api;
use tokio::sync::Semaphore;
use tollgate_api::validated::{CaBundle, Issuer};
use tollgate_api::{OktaProtectedApi, ValidatedApi};
use tollgate_contract::Hints;
use tollgate_contract::names::HINTS_FILE;

use fetch::FetchError;

use super::context::{Context, Key, Shared};
use crate::plan::Kind;
use crate::plan::keys::{Seeds, Source, Supply, written};
use crate::plan::names::hints_name;

/// Issuers asked at a time: with ten thousand of them, each has its turn within the interval even when many do not answer.
const CONCURRENT_FETCHES: usize = 64;

/// A bundle is read again after this: the pods' mounts are refreshed about as often.
const BUNDLE_AGE: Duration = Duration::from_secs(60);

/// What nobody has asked for in this time is of no resource any more. The rarest looks are an hour apart.
const UNUSED: Duration = Duration::from_secs(3 * 60 * 60);

/// A ConfigMap holds a MiB; a bundle of every public authority takes a fifth of it.
const LARGEST_BUNDLE: usize = 1024 * 1024;

/// Of all terms and scopes; bounded by the sources and bundles that resources name.
pub(crate) struct Keys {
    supplies: Mutex<HashMap<Source, Used<Supply>>>,
    bundles: Mutex<HashMap<(String, CaBundle), Used<Bundle>>>,
    fetches: Semaphore,
}

/// Something, and when it was last asked for.
#[derive(Default)]
struct Used<T> {
    value: T,
    last: Option<Instant>,
}

/// A CA bundle as it was when it was read; absent while there is none.
#[derive(Clone, Default)]
struct Bundle {
    pem: Option<Arc<[u8]>>,
    read: Option<Instant>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { supplies: Mutex::default(), bundles: Mutex::default(), fetches: Semaphore::new(CONCURRENT_FETCHES) }
    }
}

/// What is known of the resource's issuers; those whose turn it is are asked meanwhile, and the next look knows what they
/// said.
pub(super) async fn seeds(context: &Context, resource: &OktaProtectedApi) -> Seeds {
    let mut seeds = Seeds::default();
    let Ok(api) = ValidatedApi::parse(resource, context.shared.settings.parse_options()) else { return seeds };
    let hints = hints(context, resource).unwrap_or_default();
    let epoch_seconds = epoch_seconds();
    for issuer in &api.issuers {
        let pem = match &issuer.ca_bundle {
            None => None,
            Some(bundle) => match pem(&context.shared, &api.namespace, bundle).await {
                Some(pem) => Some(pem),
                // Without its authority an issuer cannot be asked; the sidecars say which ConfigMap is missing.
                None => {
                    seeds.keep(issuer, written(&hints, &issuer.name), epoch_seconds);
                    continue;
                }
            },
        };
        let source = Source::of(issuer, pem.as_deref());
        let supply = supply(&context.shared, issuer, &source, pem);
        seeds.add(issuer, &source, &supply, written(&hints, &issuer.name), epoch_seconds, &api.uid);
    }
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

/// What the source has brought so far. Begins a fetch when it is due.
fn supply(shared: &Shared, issuer: &Issuer, source: &Source, pem: Option<Arc<[u8]>>) -> Supply {
    let now = Instant::now();
    let mut supplies = lock(&shared.keys.supplies);
    if !supplies.contains_key(source) {
        supplies.retain(|_, used| used.last.is_some_and(|last| now.duration_since(last) < UNUSED));
    }
    let used = supplies.entry(source.clone()).or_default();
    used.last = Some(now);
    if used.value.begin(now) {
        // It ends by its own time-outs and touches nothing but this memory, whoever leads by then.
        tokio::spawn(fetch(shared.clone(), issuer.name.clone(), source.clone(), pem));
    }
    used.value.clone()
}

async fn fetch(shared: Shared, issuer: String, source: Source, pem: Option<Arc<[u8]>>) {
    // The semaphore is never closed; were it, an unbounded fetch would still be right.
    let slot = shared.keys.fetches.acquire().await;
    let outcome = fetch::fetch(&source, pem.as_deref(), shared.settings.allow_insecure_issuers).await;
    drop(slot);
    let (now, jitter) = (Instant::now(), rand::random());
    let mut supplies = lock(&shared.keys.supplies);
    let supply = &mut supplies.entry(source).or_default().value;
    let error = match outcome {
        Ok(jwks) => {
            supply.fetched(jwks, epoch_seconds(), now, jitter);
            None
        }
        Err(error) => {
            supply.failed(error.code(), now, jitter);
            Some(error)
        }
    };
    drop(supplies);
    shared.metrics.fetched_keys(error.as_ref().map_or("ok", FetchError::word));
    if let Some(error) = error {
        tracing::debug!(issuer, error = &error as &dyn std::error::Error, "an issuer's keys could not be fetched");
    }
}

/// The bundle's content, read at most once a minute for all who name it; `None` while there is none. One that cannot be
/// read at the moment is what it was.
async fn pem(shared: &Shared, namespace: &str, bundle: &CaBundle) -> Option<Arc<[u8]>> {
    let (name, now) = ((namespace.to_owned(), bundle.clone()), Instant::now());
    let before = {
        let mut bundles = lock(&shared.keys.bundles);
        if let Some(used) = bundles.get_mut(&name) {
            used.last = Some(now);
            if used.value.read.is_some_and(|read| now.duration_since(read) < BUNDLE_AGE) {
                return used.value.pem.clone();
            }
            used.value.pem.clone()
        } else {
            bundles.retain(|_, used| used.last.is_some_and(|last| now.duration_since(last) < UNUSED));
            None
        }
    };
    let api: Api<ConfigMap> = Api::namespaced(shared.client.clone(), namespace);
    let pem = match api.get_opt(&bundle.config_map).await {
        Ok(map) => map.and_then(|map| content(map, &bundle.key)),
        Err(error) => {
            tracing::debug!(namespace, error = &error as &dyn std::error::Error, "a CA bundle could not be read");
            before
        }
    };
    let read = Bundle { pem: pem.clone(), read: Some(now) };
    lock(&shared.keys.bundles).insert(name, Used { value: read, last: Some(now) });
    pem
}

fn content(map: ConfigMap, key: &str) -> Option<Arc<[u8]>> {
    let text = map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes);
    let bytes = text.or_else(|| Some(map.binary_data?.remove(key)?.0))?;
    (bytes.len() <= LARGEST_BUNDLE).then(|| bytes.into())
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A panic elsewhere leaves nothing half done here: every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
