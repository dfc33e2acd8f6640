//! A namespace of one test, with an operator that looks after nothing else.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::wait::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollgate_api::{OktaProtectedApi, OktaProtectedApiStatus};
use tollgate_operator::{Operator, OperatorError, Settings};

use crate::{api_server, rights};

/// For what the operator does at once; generous, for the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What the operator promises for drift.
pub(crate) const REPAIR: Duration = Duration::from_secs(5);

/// The sidecar's image of all operators here.
pub(crate) const SIDECAR_IMAGE: &str = "registry.test/tollgate-sidecar:1";

/// The ConfigMap of the hints of `items`.
pub(crate) const HINTS: &str = "items-tollgate-hints";

/// A namespace, and how to reach it.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Where the sidecars of this scene report.
    pub(crate) poll_port: u16,
    /// With the operator's rights.
    config: Config,
}

/// An operator in this process.
pub(crate) struct Running {
    admin: SocketAddr,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), OperatorError>>>,
}

impl Scene {
    /// In the cluster of all tests.
    pub(crate) async fn new(purpose: &str) -> Self {
        Self::within(api_server::config().await, purpose).await
    }

    /// A namespace that enforces the `restricted` Pod Security Standard, as a careful administrator has it.
    pub(crate) async fn within(config: Config, purpose: &str) -> Self {
        let client = Client::try_from(config.clone()).expect("a client");
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {
            "generateName": format!("{purpose}-"),
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }}))
        .expect("a namespace");
        let namespace = Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("created");
        rights::grant(&client, &namespace.name_any()).await;
        // Whoever asks next for a free port gets another one.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let poll_port = free.local_addr().expect("an address").port();
        let namespace = namespace.name_any();
        Self { config: rights::with_them(config, &namespace), client, namespace, poll_port }
    }

    /// A scene with an operator that leads.
    pub(crate) async fn with_operator(purpose: &str) -> (Self, Running) {
        let scene = Self::new(purpose).await;
        let operator = scene.operator("operator-0").await;
        (scene, operator)
    }

    /// Starts an operator.
    pub(crate) async fn operator(&self, pod_name: &str) -> Running {
        self.start(pod_name, false).await
    }

    /// Starts an operator that takes issuers for tests: `http://`, and of its own node.
    pub(crate) async fn lenient_operator(&self, pod_name: &str) -> Running {
        self.start(pod_name, true).await
    }

    async fn start(&self, pod_name: &str, allow_insecure_issuers: bool) -> Running {
        let settings = Settings {
            sidecar_image: SIDECAR_IMAGE.to_owned(),
            watch_namespaces: vec![self.namespace.clone()],
            allow_insecure_issuers,
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            pod_name: pod_name.to_owned(),
            pod_namespace: self.namespace.clone(),
            poll_port: self.poll_port,
        };
        let operator = Operator::bind(settings, &self.config).await.expect("an operator");
        let (admin, shutdown) = (operator.admin_addr(), CancellationToken::new());
        let task = Some(tokio::spawn(operator.run(shutdown.clone())));
        Running { admin, shutdown, task }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The resource `items` of the examples, with these changes to its spec.
    pub(crate) fn items(&self, changes: Value) -> OktaProtectedApi {
        let mut resource = json!({
            "apiVersion": "tollgate.dev/v1alpha1",
            "kind": "OktaProtectedApi",
            "metadata": {"name": "items", "namespace": self.namespace},
            "spec": {
                "issuers": [{
                    "name": "okta",
                    "url": "https://okta.test/oauth2/default",
                    "audiences": ["api://default"],
                    "validation": "LocalAndIntrospection",
                    "client": {"secretRef": {"name": "okta-items"}},
                }],
                "routes": [{"name": "docs", "match": {"path": {"prefix": "/docs"}}, "access": "Public"}],
                "upstream": {"port": 8000},
                "app": {"image": "registry.test/items:1.4", "replicas": 2},
            },
        });
        merge(&mut resource["spec"], changes);
        serde_json::from_value(resource).expect("a resource")
    }

    /// Creates `items` as it is.
    pub(crate) async fn create_items(&self) -> OktaProtectedApi {
        self.create(&self.items(json!({}))).await
    }

    /// Creates `items` with one pod and these changes to its spec; the pod.
    pub(crate) async fn one_pod(&self, changes: Value) -> Pod {
        let mut items = json!({"app": {"replicas": 1}});
        merge(&mut items, changes);
        self.create(&self.items(items)).await;
        self.pods(1).await.remove(0)
    }

    /// Makes the operator look at `items` once more; `why` is another word each time.
    pub(crate) async fn look(&self, why: &str) {
        self.edit::<OktaProtectedApi>(json!({"metadata": {"annotations": {"look": why}}})).await;
    }

    pub(crate) async fn create<K>(&self, object: &K) -> K
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        self.api().create(&PostParams::default(), object).await.expect("the object is taken")
    }

    /// Edits an object named `items`, as a person would.
    pub(crate) async fn edit<K>(&self, change: Value) -> K
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let person = PatchParams { field_manager: Some("a-person".to_owned()), ..PatchParams::default() };
        self.api().patch("items", &person, &Patch::Merge(change)).await.expect("the edit is taken")
    }

    /// Deletes an object named `items`.
    pub(crate) async fn delete<K>(&self)
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().delete("items", &DeleteParams::default()).await.expect("the object is deleted");
    }

    /// Awaits an object named `items` that `holds`.
    pub(crate) async fn awaits<K>(&self, what: &str, deadline: Duration, holds: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        eventually(what, deadline, || async {
            let object = self.api::<K>().get_opt("items").await?.context("it is not there")?;
            if holds(&object) { Ok(object) } else { bail!("{object:?}") }
        })
        .await
    }

    /// Awaits all objects of `items`.
    pub(crate) async fn await_objects(&self) {
        self.awaits::<ServiceAccount>("the ServiceAccount", SOON, |_| true).await;
        self.awaits::<NetworkPolicy>("the NetworkPolicy", SOON, |_| true).await;
        self.awaits::<Deployment>("the Deployment", SOON, |_| true).await;
        self.awaits::<Service>("the Service", SOON, |_| true).await;
        assert_eq!(self.policies().await.len(), 1);
    }

    /// Awaits a condition of `items` that speaks of its current generation; returns its message.
    pub(crate) async fn condition(&self, kind: &str, status: &str, reason: &str) -> String {
        eventually(&format!("{kind}={status}, {reason}"), SOON, || async {
            let seen = self.seen(kind).await?;
            if seen.status == status && seen.reason == reason {
                return Ok(seen.message);
            }
            bail!("{}={}, {}: {}", seen.type_, seen.status, seen.reason, seen.message)
        })
        .await
    }

    /// A condition of `items` as it is, of its current generation.
    pub(crate) async fn seen(&self, kind: &str) -> anyhow::Result<Condition> {
        let resource = self.api::<OktaProtectedApi>().get("items").await?;
        let status = resource.status.context("no status")?;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == kind);
        let condition = condition.with_context(|| format!("no condition {kind}"))?;
        if condition.observed_generation != resource.metadata.generation {
            bail!("{kind} speaks of an earlier generation");
        }
        Ok(condition)
    }

    /// The status of `items` as it is.
    pub(crate) async fn status(&self) -> OktaProtectedApiStatus {
        let resource = self.api::<OktaProtectedApi>().get("items").await.expect("it is there");
        resource.status.expect("a status")
    }

    /// Names of the policies that exist.
    pub(crate) async fn policies(&self) -> Vec<String> {
        let ours = ListParams::default().labels("tollgate.dev/api=items");
        let policies = self.api::<ConfigMap>().list(&ours).await.expect("a list");
        policies.iter().map(ResourceExt::name_any).filter(|name| name != HINTS).collect()
    }

    /// The pods of `items`, when there are as many as this.
    pub(crate) async fn pods(&self, count: usize) -> Vec<Pod> {
        eventually(&format!("{count} pods"), SOON, || async {
            let ours = ListParams::default().labels("tollgate.dev/api=items");
            let pods = self.api::<Pod>().list(&ours).await?.items;
            if pods.len() == count { Ok(pods) } else { bail!("{} pods", pods.len()) }
        })
        .await
    }

    /// Awaits an Event on `items` with this reason; returns its type and text.
    pub(crate) async fn event(&self, reason: &str) -> (String, String) {
        eventually(&format!("an Event {reason}"), SOON, || async {
            let events = self.api::<Event>().list(&ListParams::default()).await?;
            let event = events.items.into_iter().find(|event| event.reason.as_deref() == Some(reason));
            let event = event.context("no such Event")?;
            anyhow::Ok((event.type_.unwrap_or_default(), event.note.unwrap_or_default()))
        })
        .await
    }

    /// Awaits a Warning on `items` with this reason, which says just this.
    pub(crate) async fn warning(&self, reason: &str, message: &str) {
        assert_eq!(self.event(reason).await, ("Warning".to_owned(), message.to_owned()));
    }
}

impl Running {
    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.expect("it does not panic").expect("it stops in time");
        }
    }

    /// Ends it as SIGKILL does: the Lease stays.
    pub(crate) async fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// One of its metrics, summed over all labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.text().await.expect("a text");
        text.lines()
            .filter(|line| line.starts_with(name) && !line.starts_with('#'))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64
    }

    /// GET on its admin port.
    pub(crate) async fn admin(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("http://{}{path}", self.admin)).await.expect("an answer")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// RFC 7396.
fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, change) in change {
                merge(into.entry(name).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change,
    }
}
