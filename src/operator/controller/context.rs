//! What every look at a resource needs at hand.

use std::sync::Arc;

use kube::api::{Api, DynamicObject};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::Semaphore;

use super::census::Census;
use super::keys::Keys;
use super::memory::Memory;
use super::stores::Stores;
use crate::metrics::Metrics;
use crate::plan::Kind;
use crate::settings::Settings;

/// Reports asked for at one time, by all resources together: far below any limit on open files.
const CONCURRENT_POLLS: usize = 128;

/// What lives as long as the process.
#[derive(Clone)]
pub(crate) struct Shared {
    /// For single requests.
    pub(crate) client: Client,
    /// For the copies.
    pub(crate) watching: Client,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    pub(crate) polls: Arc<Semaphore>,
}

/// What lives as long as a term of leadership, for one scope (a namespace, or all).
pub(crate) struct Context {
    pub(crate) shared: Shared,
    pub(crate) stores: Stores,
    pub(crate) memory: Memory,
    /// Of all scopes.
    pub(crate) census: Arc<Census>,
    /// Of all scopes.
    pub(crate) keys: Arc<Keys>,
}

/// Which resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Shared {
    pub(crate) fn new(client: Client, watching: Client, settings: Settings, metrics: Metrics) -> Self {
        let reporter =
            Reporter { controller: "tollgate.dev/operator".to_owned(), instance: Some(settings.pod_name.clone()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            watching,
            settings: Arc::new(settings),
            metrics,
            polls: Arc::new(Semaphore::new(CONCURRENT_POLLS)),
        }
    }
}

impl Context {
    /// The API for objects of this kind in a namespace.
    pub(crate) fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.shared.client.clone(), namespace, &kind.resource())
    }
}

impl Key {
    pub(crate) fn of<K: Resource>(resource: &K) -> Self {
        Self { namespace: resource.namespace().unwrap_or_default(), name: resource.name_any() }
    }
}
