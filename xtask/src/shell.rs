//! Command lines as a user would type them, against one cluster. In the demo each is shown before it runs, so what is
//! read is what was done.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::{console, paths, process, toolchain, wait};

/// A shell with kubectl and helm on its PATH, KUBECONFIG set, and a folder for files that are nobody's business.
#[derive(Debug)]
pub struct Shell {
    environment: BTreeMap<&'static str, OsString>,
    work: tempfile::TempDir,
    is_transcript: bool,
}

impl Shell {
    /// A shell for the cluster of this kubeconfig; `is_transcript` shows commands and their output.
    ///
    /// # Errors
    /// When the toolchain's versions cannot be read or the folder cannot be made.
    pub fn new(kubeconfig: &Path, is_transcript: bool) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("tollgate-").tempdir()?;
        let mut environment = environment(kubeconfig)?;
        // Neither program writes to the home folder.
        environment.insert("KUBECACHEDIR", work.path().join("kubectl").into());
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            environment.insert(folder, work.path().join("helm").into());
        }
        environment.insert("WORK", work.path().into());
        Ok(Self { environment, work, is_transcript })
    }

    /// A folder that ends with the shell; `$WORK` in command lines.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// Sets a variable for the lines that follow.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.insert(name, value.into());
    }

    /// Sets a variable and shows that.
    pub fn declare(&mut self, name: &'static str, value: &str) {
        self.announce(&format!("{name}={value}"));
        self.set(name, value);
    }

    /// Runs a line and shows it with its output.
    ///
    /// # Errors
    /// When it ends with another code than 0; the message has the end of its output.
    pub fn run(&self, line: &str) -> anyhow::Result<String> {
        self.announce(line);
        let said = self.ask(line)?;
        self.show(&said);
        Ok(said)
    }

    /// Runs a line and shows nothing.
    ///
    /// # Errors
    /// When it ends with another code than 0; the message has the end of its output.
    pub fn ask(&self, line: &str) -> anyhow::Result<String> {
        process::capture_as(line, &mut self.command(line))
    }

    /// Whether a line ends with code 0; nothing is shown.
    pub fn holds(&self, line: &str) -> bool {
        process::succeeds(&mut self.command(line))
    }

    /// Shows a line that is about to run.
    pub fn announce(&self, line: &str) {
        if self.is_transcript {
            console::line(format_args!("\n$ {line}"));
        }
    }

    /// Shows what a command said.
    pub fn show(&self, said: &str) {
        if self.is_transcript && !said.trim().is_empty() {
            console::line(said.trim_end());
        }
    }

    /// A sentence between the commands.
    pub fn remark(&self, text: &str) {
        if self.is_transcript {
            console::line(format_args!("\n# {text}"));
        }
    }

    /// Forwards a local port to a Service until the value is dropped. It leads to one pod, and ends with that pod.
    ///
    /// # Errors
    /// When nothing answers at the port within 20 s.
    pub fn forward(&self, namespace: &str, service: &str, local: u16, port: u16) -> anyhow::Result<Forward> {
        let line = format!("kubectl --namespace {namespace} port-forward service/{service} {local}:{port}");
        self.announce(&format!("{line} &"));
        let mut command = self.command(&format!("exec {line}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut forward = Forward { child: command.spawn().context("starting kubectl port-forward")? };
        wait::until(&line, Duration::from_secs(20), || {
            if let Some(status) = forward.child.try_wait()? {
                anyhow::bail!("`{line}` ended ({status}): no pod is behind the Service, or the port is taken");
            }
            Ok(TcpStream::connect(("127.0.0.1", local)).is_ok().then_some(()))
        })?;
        Ok(forward)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", line]).current_dir(paths::repository()).envs(&self.environment);
        command
    }
}

/// A forwarded port.
#[derive(Debug)]
pub struct Forward {
    child: Child,
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// KUBECONFIG, and a PATH on which the toolchain's kubectl and helm come first.
///
/// # Errors
/// When the toolchain's versions cannot be read.
pub fn environment(kubeconfig: &Path) -> anyhow::Result<BTreeMap<&'static str, OsString>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders()?.into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).context("the PATH cannot take the toolchain's folders")?;
    Ok(BTreeMap::from([("KUBECONFIG", kubeconfig.into()), ("PATH", path)]))
}

/// The folders of the toolchain's kubectl and helm.
///
/// # Errors
/// When the toolchain's versions cannot be read.
pub fn folders() -> anyhow::Result<[PathBuf; 2]> {
    let folder = |tool| -> anyhow::Result<PathBuf> {
        Ok(toolchain::path(tool)?.parent().context("a tool has a folder")?.to_path_buf())
    };
    Ok([folder("kubectl")?, folder("helm")?])
}
