//! The watches, and what they trigger: a change of a resource, of an object that it owns or of a pod that carries its
//! label makes for one look at the resource.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::controller::{Config, Controller, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::census::Census;
use super::context::{Context, Key, Shared};
use super::error::error_policy;
use super::keys::Keys;
use super::memory::Memory;
use super::stores::{Stores, Watches, named_by_label, watches};
use super::{Guarded, reconcile};

/// Changes come in bursts; one look is enough for all of a burst.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Looks at a time. Most of a look is waiting for pods.
const CONCURRENT_LOOKS: u16 = 64;

/// How a term ends.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// No look is begun any more; those under way are finished.
    pub(crate) gently: CancellationToken,
    /// Those under way are dropped where they wait.
    pub(crate) at_once: CancellationToken,
}

/// The resources of a namespace, or of all, with everything that triggers a look at one.
struct Scope {
    controller: Controller<Guarded>,
    stores: Stores,
}

/// Runs until it is stopped.
pub(crate) async fn run(shared: Shared, stop: Stop) {
    let scopes = shared.settings.scopes();
    let scopes: Vec<_> = scopes.iter().map(|namespace| Scope::of(&shared, namespace.as_deref(), &stop)).collect();
    let census = Arc::new(Census::of(scopes.iter().map(|scope| scope.controller.store()).collect()));
    let counted = Arc::clone(&census);
    shared.metrics.show(move || counted.standings());
    let keys = Arc::new(Keys::default());
    let looks = scopes.into_iter().map(|Scope { controller, stores }| {
        let (shared, memory, census, keys) =
            (shared.clone(), Memory::default(), Arc::clone(&census), Arc::clone(&keys));
        look(controller, Arc::new(Context { shared, stores, memory, census, keys }), &stop)
    });
    futures::future::join_all(looks).await;
}

impl Scope {
    fn of(shared: &Shared, namespace: Option<&str>, stop: &Stop) -> Self {
        let client = shared.watching.clone();
        let (stores, Watches { objects, pods }) = watches(&client, namespace);
        let resources: Api<Guarded> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let of_label = |pod| named_by_label(&pod).map(|key: Key| ObjectRef::new(&key.name).within(&key.namespace));
        let mut controller = Controller::new(resources, watcher::Config::default())
            .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENT_LOOKS))
            .watches_stream(pods, of_label)
            .graceful_shutdown_on(stop.gently.clone().cancelled_owned());
        for (resource, stream) in objects {
            controller = controller.owns_stream_with(stream, resource);
        }
        Self { controller, stores }
    }
}

/// Looks at every resource that something triggers a look at, until it is stopped.
async fn look(controller: Controller<Guarded>, context: Arc<Context>, stop: &Stop) {
    let looks = controller
        .run(reconcile, |object, error, context| error_policy(&object, error, &context), Arc::clone(&context))
        .for_each(|outcome| {
            match outcome {
                Err(ControllerError::ObjectNotFound(gone)) => {
                    let key = Key { namespace: gone.namespace.unwrap_or_default(), name: gone.name };
                    context.memory.forget(&key);
                    context.keys.forget(&key);
                }
                Err(ControllerError::QueueError(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a watch failed and is tried again");
                }
                // Failed looks are logged where their next try is decided.
                Ok(_) | Err(_) => {}
            }
            std::future::ready(())
        });
    tokio::select! {
        () = looks => {}
        () = stop.at_once.cancelled() => {}
    }
}
