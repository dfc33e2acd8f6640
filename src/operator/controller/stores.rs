//! Copies of the objects and pods that carry our label, kept by watches and found by resource: a look at a resource
//! costs the API server nothing, and costs the same however many there are. Managed fields are dropped: they are most
//! of an object's size and are needed only for the rare write.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::reflector::{ObjectRef, reflector};
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tollgate_contract::names::API_LABEL;

use super::context::Key;
use super::error::Error;
use crate::plan::Kind;

/// The copies of one scope.
pub(crate) struct Stores {
    objects: HashMap<ApiResource, Copies<DynamicObject>>,
    pods: Copies<Pod>,
}

/// Streams that keep the copies up to date while they are polled, and yield what changed.
pub(crate) struct Watches {
    pub(crate) objects: Vec<(ApiResource, Changes<DynamicObject>)>,
    pub(crate) pods: Changes<Pod>,
}

pub(crate) type Changes<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// The copies of a kind.
struct Copies<K>
where
    K: Resource + 'static,
    K::DynamicType: Eq + Hash,
{
    store: Store<K>,
    index: Arc<Index>,
    resource: K::DynamicType,
}

/// The names of the objects that carry a resource's label.
#[derive(Default)]
struct Index(Mutex<Names>);

#[derive(Default)]
struct Names {
    current: HashMap<Key, BTreeSet<String>>,
    /// A list that is on its way; as long as it is not complete the copies are the earlier ones.
    arriving: HashMap<Key, BTreeSet<String>>,
}

/// Starts the watches of a scope: a namespace, or all.
pub(crate) fn watches(client: &Client, namespace: Option<&str>) -> (Stores, Watches) {
    let mut objects = HashMap::new();
    let mut changes = Vec::new();
    for resource in Kind::ALL.map(Kind::resource) {
        if objects.contains_key(&resource) {
            continue;
        }
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let (copies, stream) = copies(api, resource.clone());
        objects.insert(resource.clone(), copies);
        changes.push((resource, stream));
    }
    let api = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (pods, stream) = copies(api, ());
    (Stores { objects, pods }, Watches { objects: changes, pods: stream })
}

impl Stores {
    /// Waits until every copy is complete.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        for copies in self.objects.values() {
            copies.store.wait_until_ready().await.map_err(|_| Error::Stopping)?;
        }
        self.pods.store.wait_until_ready().await.map_err(|_| Error::Stopping)
    }

    /// The object of this name, if it carries our label.
    pub(crate) fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.objects.get(&kind.resource())?.named(namespace, name)
    }

    /// The objects of a kind's resource that carry a resource's label.
    pub(crate) fn objects(&self, kind: Kind, key: &Key) -> Vec<Arc<DynamicObject>> {
        self.objects.get(&kind.resource()).map(|copies| copies.of(key)).unwrap_or_default()
    }

    /// The pods that carry a resource's label, whoever made them: its Service leads to them.
    pub(crate) fn pods(&self, key: &Key) -> Vec<Arc<Pod>> {
        self.pods.of(key)
    }
}

/// The resource that an object's label names.
pub(crate) fn named_by_label<K: Resource>(object: &K) -> Option<Key> {
    let name = object.labels().get(API_LABEL)?.clone();
    Some(Key { namespace: object.namespace()?, name })
}

impl<K> Copies<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    fn named(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new_with(name, self.resource.clone()).within(namespace))
    }

    fn of(&self, key: &Key) -> Vec<Arc<K>> {
        let names = self.index.lock().current.get(key).cloned().unwrap_or_default();
        let found = names.iter().filter_map(|name| self.named(&key.namespace, name));
        found.filter(|object| named_by_label(&**object).as_ref() == Some(key)).collect()
    }
}

impl Index {
    fn note<K: Resource>(&self, event: &watcher::Event<K>) {
        let mut names = self.lock();
        match event {
            watcher::Event::Init => names.arriving.clear(),
            watcher::Event::InitApply(object) => add(&mut names.arriving, object),
            watcher::Event::InitDone => names.current = std::mem::take(&mut names.arriving),
            watcher::Event::Apply(object) => add(&mut names.current, object),
            watcher::Event::Delete(object) => remove(&mut names.current, object),
        }
    }

    /// A panic elsewhere leaves nothing half done here that a lookup would not survive.
    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add<K: Resource>(names: &mut HashMap<Key, BTreeSet<String>>, object: &K) {
    if let Some(key) = named_by_label(object) {
        names.entry(key).or_default().insert(object.name_any());
    }
}

fn remove<K: Resource>(names: &mut HashMap<Key, BTreeSet<String>>, object: &K) {
    let Some(key) = named_by_label(object) else { return };
    if let Some(of_resource) = names.get_mut(&key) {
        of_resource.remove(&object.name_any());
        if of_resource.is_empty() {
            names.remove(&key);
        }
    }
}

fn copies<K>(api: Api<K>, resource: K::DynamicType) -> (Copies<K>, Changes<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync + Unpin + 'static,
{
    let writer = Writer::new(resource.clone());
    let copies = Copies { store: writer.as_reader(), index: Arc::default(), resource };
    let index = Arc::clone(&copies.index);
    let events = watcher(api, watcher::Config::default().labels(API_LABEL))
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .inspect_ok(move |event| index.note(event));
    (copies, reflector(writer, events).touched_objects().boxed())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, api: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "shop", "labels": {"tollgate.dev/api": api},
        }}))
        .expect("a pod")
    }

    /// Copies after these events.
    fn after(events: &[watcher::Event<Pod>]) -> Copies<Pod> {
        let mut writer = Writer::default();
        let copies = Copies { store: writer.as_reader(), index: Arc::default(), resource: () };
        for event in events {
            copies.index.note(event);
            writer.apply_watcher_event(event);
        }
        copies
    }

    fn found(copies: &Copies<Pod>, api: &str) -> Vec<String> {
        let key = Key { namespace: "shop".to_owned(), name: api.to_owned() };
        copies.of(&key).iter().map(|pod| pod.name_any()).collect()
    }

    #[test]
    fn pods_are_found_by_the_resource_that_their_label_names() {
        use watcher::Event::{Apply, Delete};
        let mut events = vec![Apply(pod("a", "items")), Apply(pod("b", "items")), Apply(pod("c", "orders"))];
        assert_eq!(found(&after(&events), "items"), ["a", "b"]);
        events.push(Apply(pod("a", "orders")));
        events.push(Delete(pod("b", "items")));
        assert_eq!(found(&after(&events), "items"), [] as [&str; 0]);
        assert_eq!(found(&after(&events), "orders"), ["a", "c"]);
    }

    #[test]
    fn a_new_list_replaces_the_old_one_when_it_is_complete() {
        use watcher::Event::{Apply, Init, InitApply, InitDone};
        let mut events = vec![Apply(pod("a", "items")), Init, InitApply(pod("b", "items"))];
        assert_eq!(found(&after(&events), "items"), ["a"]);
        events.push(InitDone);
        assert_eq!(found(&after(&events), "items"), ["b"]);
    }
}
