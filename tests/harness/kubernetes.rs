//! A real cluster as a user has it: `KUBECONFIG` and kubectl. Each scenario gets a namespace of its own that enforces the
//! `restricted` Pod Security Standard, and shows its state when it fails.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use serde_json::{Value, json};
use tollgate_api::OktaProtectedApi;

use crate::wait::eventually;

/// How long pods may take to roll on a busy machine.
pub const ROLL: Duration = Duration::from_secs(180);

/// The Okta-like server of the cluster, as pods reach it.
pub const ISSUER: &str = "https://okta-like.okta.svc.cluster.local/oauth2/default";

/// Runs kubectl against the cluster of `KUBECONFIG`.
///
/// # Errors
/// When it fails; the message has what it said.
pub fn kubectl(args: &[&str], stdin: Option<&str>) -> anyhow::Result<String> {
    if std::env::var_os("KUBECONFIG").is_none() {
        bail!("KUBECONFIG is not set: `make test` starts a cluster and sets it, `cargo xtask cluster up` starts one");
    }
    let mut command = Command::new("kubectl");
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().context("cannot start kubectl: is it on PATH?")?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        std::io::Write::write_all(&mut pipe, text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A namespace of one scenario, with the CA bundle and the API's client that examples/items.yaml names. Removed when
/// the scenario ends, shown first when it failed.
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The cluster.
    pub client: kube::Client,
}

impl Namespace {
    /// Makes one; `purpose` shows in its name.
    ///
    /// # Panics
    /// When the cluster is not as `make test` prepares it.
    pub async fn create(purpose: &str) -> Self {
        crate::install_crypto();
        let name = format!("e2e-{purpose}-{}", std::process::id());
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        kubectl(&["apply", "-f", "-"], Some(&namespace.to_string())).expect("a namespace can be made");
        let client = kube::Client::try_default().await.expect("KUBECONFIG leads to a cluster");
        let namespace = Self { name, client };
        for (kind, object) in [("configmap", "okta-ca"), ("secret", "okta-items")] {
            namespace.copy(kind, object).expect("the namespace `shop` has what examples/items.yaml needs");
        }
        namespace
    }

    /// Runs kubectl in the namespace.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).expect("kubectl succeeds")
    }

    /// Runs kubectl in the namespace.
    ///
    /// # Errors
    /// When it fails; the message has what it said.
    pub fn try_kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        kubectl(&[&["--namespace", &self.name], args].concat(), None)
    }

    /// Applies an object as a user would.
    ///
    /// # Errors
    /// When the API server refuses it; the message has why.
    pub fn apply(&self, object: &Value) -> anyhow::Result<String> {
        kubectl(&["--namespace", &self.name, "apply", "-f", "-"], Some(&object.to_string()))
    }

    /// examples/items.yaml, in this namespace.
    ///
    /// # Panics
    /// When the example is not YAML.
    #[must_use]
    pub fn items(&self) -> Value {
        let text = std::fs::read_to_string(repository().join("examples/items.yaml")).expect("the example is there");
        let mut object: Value = serde_saphyr::from_str(&text).expect("the example is one YAML document");
        object["metadata"]["namespace"] = json!(self.name);
        object
    }

    /// The resource `items`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn resource(&self) -> anyhow::Result<OktaProtectedApi> {
        Ok(Api::<OktaProtectedApi>::namespaced(self.client.clone(), &self.name).get("items").await?)
    }

    /// A condition of `items` that speaks of the resource's current generation.
    ///
    /// # Errors
    /// When there is none yet.
    pub async fn condition(&self, kind: &str) -> anyhow::Result<Condition> {
        let resource = self.resource().await?;
        let status = resource.status.context("no status yet")?;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == kind);
        let condition = condition.with_context(|| format!("no condition {kind} yet"))?;
        if condition.observed_generation != resource.metadata.generation {
            bail!(
                "{kind} speaks of generation {:?}, not {:?}",
                condition.observed_generation,
                resource.metadata.generation
            );
        }
        Ok(condition)
    }

    /// Awaits a condition's status and reason, and returns its message.
    pub async fn await_condition(&self, kind: &str, status: &str, reason: Option<&str>) -> String {
        eventually(&format!("{kind}={status} {}", reason.unwrap_or_default()), ROLL, || async {
            let seen = self.condition(kind).await?;
            if seen.status == status && reason.is_none_or(|reason| seen.reason == reason) {
                return Ok(seen.message);
            }
            bail!("{kind}={} {}: {}", seen.status, seen.reason, seen.message)
        })
        .await
    }

    /// Awaits `Ready=True`.
    pub async fn await_ready(&self) {
        self.await_condition("Ready", "True", None).await;
    }

    /// The messages of the Events on `items` with this reason.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn event(&self, reason: &str) -> anyhow::Result<String> {
        let notes = self.try_kubectl(&[
            "get",
            "events.events.k8s.io",
            "--field-selector",
            &format!("reason={reason},regarding.kind=OktaProtectedApi"),
            "-o",
            "jsonpath={range .items[*]}{.note}{\"\\n\"}{end}",
        ])?;
        if notes.trim().is_empty() {
            bail!("no Event {reason} yet");
        }
        Ok(notes)
    }

    /// Copies what the demo's namespace has.
    fn copy(&self, kind: &str, object: &str) -> anyhow::Result<()> {
        let text = kubectl(&["--namespace", "shop", "get", kind, object, "-o", "json"], None)?;
        let source: Value = serde_json::from_str(&text)?;
        let mut copy = json!({
            "apiVersion": "v1", "kind": source["kind"], "metadata": {"name": object}, "data": source["data"],
        });
        if kind == "secret" {
            copy["type"] = source["type"].clone();
        }
        self.apply(&copy).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in [
                &["get", "okapi,deployment,replicaset,pod,service", "-o", "wide"][..],
                &["get", "okapi", "-o", "yaml"],
                &["get", "events"],
            ] {
                eprintln!("-- kubectl {}", what.join(" "));
                eprintln!("{}", self.try_kubectl(what).unwrap_or_else(|error| error.to_string()));
            }
        }
        if let Err(error) = kubectl(&["delete", "namespace", &self.name, "--wait=false"], None) {
            eprintln!("{error}");
        }
    }
}
