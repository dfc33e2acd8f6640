//! Copies of the objects and pods that carry our label, kept by watches: a look at a resource costs the API server
//! nothing. Managed fields are dropped, they are most of an object's size and are needed only for the rare write.

use std::collections::HashMap;
use std::sync::Arc;

use futures::Stream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::reflector::{ObjectRef, reflector};
use kube::runtime::watcher::{self, watcher};
use kube::{Client, ResourceExt};
use tollgate_contract::names::API_LABEL;

use super::context::Key;
use super::error::Error;
use crate::plan::Kind;

/// The copies of one scope.
pub(crate) struct Stores {
    objects: HashMap<Kind, Store<DynamicObject>>,
    pods: Store<Pod>,
}

/// A stream that keeps a copy up to date while it is polled, and yields what changed.
pub(crate) struct Watches {
    pub(crate) objects: Vec<(ApiResource, ObjectStream<DynamicObject>)>,
    pub(crate) pods: ObjectStream<Pod>,
}

pub(crate) type ObjectStream<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// Starts the watches of a scope: a namespace, or all.
pub(crate) fn watches(client: &Client, namespace: Option<&str>) -> (Stores, Watches) {
    let mut objects = HashMap::new();
    let mut streams = Vec::new();
    for kind in Kind::ALL {
        let resource = kind.resource();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let writer = Writer::new(resource.clone());
        objects.insert(kind, writer.as_reader());
        streams.push((resource, boxed(reflector(writer, labelled(api)).touched_objects())));
    }
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let writer = Writer::default();
    let pods = writer.as_reader();
    let stream = boxed(reflector(writer, labelled(api)).touched_objects());
    (Stores { objects, pods }, Watches { objects: streams, pods: stream })
}

impl Stores {
    /// Waits until every copy is complete.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        for store in self.objects.values() {
            store.wait_until_ready().await.map_err(|_| Error::Stopping)?;
        }
        self.pods.wait_until_ready().await.map_err(|_| Error::Stopping)
    }

    /// The object of this name, if it carries our label.
    pub(crate) fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let at = ObjectRef::new_with(name, kind.resource()).within(namespace);
        self.objects.get(&kind)?.get(&at)
    }

    /// The objects of a kind that carry a resource's label.
    pub(crate) fn objects(&self, kind: Kind, key: &Key) -> Vec<Arc<DynamicObject>> {
        self.objects.get(&kind).map(|store| store.state_filter(|object| belongs(object, key))).unwrap_or_default()
    }

    /// The pods that carry a resource's label, whoever made them: its Service leads to them.
    pub(crate) fn pods(&self, key: &Key) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| belongs(pod, key))
    }
}

/// The resource that an object's label names.
pub(crate) fn named_by_label<K: ResourceExt>(object: &K) -> Option<Key> {
    let name = object.labels().get(API_LABEL)?.clone();
    Some(Key { namespace: object.namespace()?, name })
}

fn belongs<K: ResourceExt>(object: &K, key: &Key) -> bool {
    object.labels().get(API_LABEL) == Some(&key.name) && object.namespace().as_deref() == Some(&key.namespace)
}

fn labelled<K>(api: Api<K>) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, watcher::Config::default().labels(API_LABEL))
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
}

fn boxed<K>(stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static) -> ObjectStream<K> {
    Box::pin(stream)
}
