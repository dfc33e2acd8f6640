//! What examples/items.yaml presupposes on a cluster: the Okta-like server, Tollgate by its chart, and a namespace with
//! the CA and the credentials. The demo and the tests start from the same one.

use std::fs;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::images;
use crate::shell::Shell;
use crate::target::Target;
use crate::toolchain::apt;
use crate::{console, interrupt, paths, process};

/// Namespaces that are made, and removed at the end.
const NAMESPACES: [&str; 3] = ["shop", "okta", "tollgate-system"];
const DEFINITION: &str = "oktaprotectedapis.tollgate.dev";
/// The Okta-like server's name inside the cluster.
pub const OKTA_HOST: &str = "okta-like.okta.svc.cluster.local";

/// A cluster with the world in it.
#[derive(Debug)]
pub struct World {
    target: Target,
    /// For commands against it.
    pub shell: Shell,
}

/// A client of the Okta-like server.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret; the test server's, so no secret.
    pub secret: String,
}

impl World {
    /// Starts or finds the cluster, builds and loads the images, and sets up what the examples presuppose.
    ///
    /// # Errors
    /// When any of it fails. What was made until then is removed, unless `keep`.
    pub fn prepare(is_transcript: bool, keep: bool) -> anyhow::Result<Self> {
        let target = Target::find()?;
        apt::ensure(&[apt::WORLD])?;
        let images = images::build()?;
        target.start()?;
        let world = Self { shell: Shell::new(&target.kubeconfig(), is_transcript)?, target };
        let prepared =
            world.refuse_strangers().and_then(|()| world.target.load(&images)).and_then(|()| world.populate());
        if let Err(error) = prepared {
            if interrupt::check().is_ok() {
                world.explain();
            }
            world.end(keep)?;
            return Err(error);
        }
        Ok(world)
    }

    /// Removes what was made: the local cluster if this run started it, else the world alone. With `keep` it says how to
    /// look around, and how to remove it later.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn end(self, keep: bool) -> anyhow::Result<()> {
        interrupt::forget();
        match &self.target {
            _ if keep => {
                console::line(self.look_around());
                Ok(())
            }
            Target::Local { was_up: false, .. } => {
                console::step("removing the cluster", crate::cluster::LocalCluster::down)
            }
            _ => console::step("removing what was installed", || self.remove()),
        }
    }

    /// Shows the state of things, for a failure.
    pub fn explain(&self) {
        for line in [
            "kubectl get pods --all-namespaces --output wide",
            "kubectl get okapi --all-namespaces --output yaml",
            "kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -n 25",
            "kubectl --namespace tollgate-system logs deployment/tollgate --tail=25",
            "kubectl --namespace shop logs --selector tollgate.dev/api=items --all-containers --prefix --tail=15",
            "kubectl --namespace okta logs deployment/okta-like --tail=15",
        ] {
            console::line(format_args!("\n$ {line}"));
            console::line(self.shell.ask(line).unwrap_or_else(|error| format!("{error:#}")).trim_end());
        }
        if let Target::Local { cluster, .. } = &self.target {
            console::line(format_args!("\nThe cluster's own logs are in {}", cluster.logs().display()));
        }
    }

    /// A client from tests/okta-like/okta.json by the words of its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn client(&self, named: &str) -> anyhow::Result<Client> {
        let text = fs::read_to_string(paths::repository().join("tests/okta-like/okta.json"))?;
        let settings: Value = serde_json::from_str(&text)?;
        let clients = settings["clients"].as_array().context("okta.json has clients")?;
        let found = clients.iter().find(|client| client["name"].as_str().is_some_and(|name| name.contains(named)));
        let found = found.with_context(|| format!("okta.json has a client {named}"))?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok(Client { id: text("clientId"), secret: text("clientSecret") })
    }

    /// KUBECONFIG and PATH for the tests.
    ///
    /// # Errors
    /// When the toolchain's versions cannot be read.
    pub fn environment(&self, command: &mut Command) -> anyhow::Result<()> {
        command.envs(crate::shell::environment(&self.target.kubeconfig())?);
        Ok(())
    }

    fn populate(&self) -> anyhow::Result<()> {
        let shell = &self.shell;
        shell.remark("An Okta-like authorization server, with https by a private CA");
        certificates(shell)?;
        shell.run("kubectl apply --filename tests/okta-like/okta-like.yaml")?;
        shell
            .run("kubectl --namespace okta create secret tls okta-like-tls --cert $WORK/tls.crt --key $WORK/tls.key")?;

        shell.remark("Tollgate, by its chart");
        shell.run(
            "helm install tollgate charts/tollgate --namespace tollgate-system --create-namespace --wait --timeout 3m",
        )?;

        shell.remark(
            "A namespace that enforces the restricted Pod Security Standard, with the CA and the API's Okta client",
        );
        shell.run("kubectl create namespace shop")?;
        shell.run("kubectl label namespace shop pod-security.kubernetes.io/enforce=restricted")?;
        shell.run("kubectl --namespace shop create configmap okta-ca --from-file=ca.crt=$WORK/ca.crt")?;
        let api = self.client("the items API itself")?;
        shell.run(&format!(
            "kubectl --namespace shop create secret generic okta-items --from-literal=clientId={} \
             --from-literal=clientSecret={}",
            api.id, api.secret
        ))?;
        shell.ask("kubectl --namespace okta rollout status deployment/okta-like --timeout=120s").map(drop)
    }

    /// The local cluster is a workbench: an earlier world on it is replaced. Somebody's cluster may have such names for
    /// reasons of its own.
    fn refuse_strangers(&self) -> anyhow::Result<()> {
        let names = self.shell.ask("kubectl get namespaces --output name")?;
        let taken: Vec<&str> =
            NAMESPACES.into_iter().filter(|name| names.contains(&format!("namespace/{name}\n"))).collect();
        let is_taken = !taken.is_empty() || self.shell.holds(&format!("kubectl get crd {DEFINITION}"));
        match &self.target {
            _ if !is_taken => Ok(()),
            Target::Local { .. } => console::step("removing what an earlier run left", || self.remove()),
            Target::Foreign { .. } => bail!(
                "the cluster already has {}: remove it first, if it is of an earlier run:\n{}",
                if taken.is_empty() { DEFINITION.to_owned() } else { format!("namespaces {}", taken.join(", ")) },
                removal().join("\n")
            ),
        }
    }

    fn remove(&self) -> anyhow::Result<()> {
        removal().iter().try_for_each(|line| self.shell.ask(line).map(drop))
    }

    fn look_around(&self) -> String {
        let clean_up = match &self.target {
            Target::Local { .. } => "cargo xtask cluster down".to_owned(),
            Target::Foreign { .. } => removal().join("\n    "),
        };
        let kubectl = self.shell.ask("command -v kubectl").unwrap_or_default();
        let tools = kubectl.trim().trim_end_matches("/kubectl");
        format!(
            "\nEverything still runs. To look around:\n    export KUBECONFIG={} PATH={tools}:$PATH\n    \
             kubectl --namespace shop describe okapi items\n    \
             kubectl --namespace shop port-forward service/items 8080:80    # then http://127.0.0.1:8080/docs\n\
             To remove it:\n    {clean_up}",
            self.target.kubeconfig().display()
        )
    }
}

/// Resources go before the operator that looks after them; namespaces take what else is in them.
fn removal() -> Vec<String> {
    vec![
        format!("kubectl delete crd {DEFINITION} --ignore-not-found"),
        "helm uninstall tollgate --namespace tollgate-system --ignore-not-found --wait".into(),
        format!("kubectl delete namespace {} --ignore-not-found", NAMESPACES.join(" ")),
    ]
}

fn certificates(shell: &Shell) -> anyhow::Result<()> {
    let script = paths::repository().join("tests/okta-like/certs.sh");
    process::capture(Command::new("sh").arg(script).arg(shell.work()).arg(OKTA_HOST)).map(drop)
}
