//! What examples/items.yaml presupposes on a cluster: the Okta-like server, Tollgate by its chart, and a namespace with
//! the CA and the credentials. The demo and the tests start from the same one.

mod things;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::images::{self, Image};
use crate::shell::{self, Shell};
use crate::target::Target;
use crate::toolchain::apt;
use crate::{console, interrupt, paths, process};
use things::Things;

/// A client of the test server that may call the items API, by the words of its name.
pub const CALLER: &str = "a caller of the items API";
/// The Okta-like server's name inside the cluster.
pub const OKTA_HOST: &str = "okta-like.okta.svc.cluster.local";

/// A cluster with the world in it.
#[derive(Debug)]
pub struct World {
    target: Target,
    /// What the cluster had when this run came to it; never removed.
    before: Things,
    /// What this run made, or began to make.
    made: Things,
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
        let shell = Shell::new(&target.kubeconfig(), is_transcript)?;
        let mut world = Self { target, before: Things::default(), made: Things::default(), shell };
        if matches!(world.target, Target::Foreign { .. }) {
            // Before anybody waits for a build; asked again after it.
            world.make_room()?;
        }
        let images = images::build()?;
        world.target.start()?;
        if let Err(error) = world.set_up(&images) {
            if !world.made.is_empty() && interrupt::check().is_ok() {
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
            Target::Foreign { .. } if self.removable().is_empty() => Ok(()),
            _ if keep => {
                console::line(self.look_around()?);
                Ok(())
            }
            Target::Local { was_up: false, .. } => {
                console::step("removing the cluster", crate::cluster::LocalCluster::down)
            }
            _ => console::step("removing what was installed", || self.remove(&self.removable())),
        }
    }

    /// Shows the state of things, for a failure.
    pub fn explain(&self) {
        for line in [
            "kubectl get pods --all-namespaces --output wide",
            "kubectl get okapi --all-namespaces --output yaml",
            "kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -n 25",
            "kubectl --namespace tollgate-system logs --selector app.kubernetes.io/name=tollgate --prefix --tail=25",
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
        command.envs(shell::environment(&self.target.kubeconfig())?);
        Ok(())
    }

    fn set_up(&mut self, images: &[Image]) -> anyhow::Result<()> {
        self.make_room()?;
        self.target.load(images)?;
        self.populate()
    }

    /// What several commands or objects make counts as made from just before: that may fail or be interrupted half way.
    fn populate(&mut self) -> anyhow::Result<()> {
        let shell = &self.shell;
        shell.remark("An Okta-like authorization server, with https by a private CA");
        certificates(shell)?;
        self.made.add_namespace(things::OKTA);
        shell.run("kubectl apply --filename tests/okta-like/okta-like.yaml")?;
        shell
            .run("kubectl --namespace okta create secret tls okta-like-tls --cert $WORK/tls.crt --key $WORK/tls.key")?;

        shell.remark("Tollgate, by its chart");
        self.made.add_release();
        shell.run(
            "helm install tollgate charts/tollgate --namespace tollgate-system --create-namespace --wait --timeout 3m",
        )?;

        shell.remark(
            "A namespace that enforces the restricted Pod Security Standard, with the CA and the API's Okta client",
        );
        let created = shell.run("kubectl create namespace shop");
        if created.is_ok() || interrupt::check().is_err() {
            self.made.add_namespace(things::SHOP);
        }
        created?;
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
    fn make_room(&mut self) -> anyhow::Result<()> {
        let found = Things::listed(&self.shell.ask(things::LISTING)?);
        match &self.target {
            _ if found.is_empty() => Ok(()),
            Target::Local { .. } => {
                console::step("replacing the world that an earlier run left on the local cluster", || {
                    self.remove(&found)
                })
            }
            Target::Foreign { .. } => {
                self.before = found.clone();
                bail!(
                    "the cluster already has {}; nothing was changed. If that is of an earlier run, remove it first:\n{}",
                    found.names(),
                    found.removal().join("\n")
                )
            }
        }
    }

    fn removable(&self) -> Things {
        Things::removable(&self.made, &self.before)
    }

    fn remove(&self, things: &Things) -> anyhow::Result<()> {
        things.removal().iter().try_for_each(|line| self.shell.ask(line).map(drop))
    }

    fn look_around(&self) -> anyhow::Result<String> {
        let clean_up = match &self.target {
            Target::Local { .. } => vec!["make cluster-down".to_owned()],
            Target::Foreign { .. } => self.removable().removal(),
        };
        Ok(look_around(&self.target.kubeconfig(), &shell::folders()?, &self.client(CALLER)?, &clean_up))
    }
}

fn look_around(kubeconfig: &Path, folders: &[PathBuf], caller: &Client, clean_up: &[String]) -> String {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let Client { id, secret } = caller;
    format!(
        "\nEverything still runs. To look around:\n    export KUBECONFIG={} PATH={}:$PATH\n    \
         kubectl --namespace shop describe okapi items\n    \
         kubectl --namespace shop port-forward service/items 8080:80    # then http://127.0.0.1:8080/docs\n    \
         curl -s http://127.0.0.1:8080/token --user {id}:{secret} --data grant_type=client_credentials \
         --data scope=items\n\
         The client id is {id}, the client secret {secret}.\n\
         To remove it:\n    {}",
        kubeconfig.display(),
        folders.join(":"),
        clean_up.join("\n    ")
    )
}

fn certificates(shell: &Shell) -> anyhow::Result<()> {
    let script = paths::repository().join("tests/okta-like/certs.sh");
    process::capture(Command::new("sh").arg(script).arg(shell.work()).arg(OKTA_HOST)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_around_text_has_both_tools_the_client_and_the_end() {
        let caller = Client { id: "an-id".into(), secret: "a-secret".into() };
        let folders = ["/cache/kubernetes".into(), "/cache/helm".into()];
        let text = look_around(Path::new("/cache/kubeconfig"), &folders, &caller, &["first".into(), "second".into()]);
        assert!(text.contains("KUBECONFIG=/cache/kubeconfig PATH=/cache/kubernetes:/cache/helm:$PATH\n"), "{text}");
        assert!(text.contains("--user an-id:a-secret ") && text.contains("secret a-secret."), "{text}");
        assert!(text.ends_with("To remove it:\n    first\n    second"), "{text}");
    }
}
