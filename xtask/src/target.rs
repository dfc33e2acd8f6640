//! The cluster to work on: the one that KUBECONFIG names, else the local one.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::cluster::LocalCluster;
use crate::images::Image;
use crate::run_lock::RunLock;
use crate::{console, process, toolchain};

/// A shell command that takes an image archive into a cluster that is not the local one, for example
/// `kind load image-archive "$ARCHIVE" --name dev`. It runs once for each image, with ARCHIVE and IMAGE set.
const LOAD_HOOK: &str = "TOLLGATE_LOAD";

/// A cluster, not yet started when it is the local one.
#[derive(Debug)]
pub enum Target {
    /// Ours.
    Local {
        /// The cluster.
        cluster: LocalCluster,
        /// Whether it ran already, and so is not ended.
        was_up: bool,
    },
    /// Somebody's.
    Foreign {
        /// Its kubeconfig.
        kubeconfig: PathBuf,
        /// The command that loads images.
        hook: String,
    },
}

impl Target {
    /// Keeps the local cluster for this run until the value is dropped; `None` for somebody's cluster.
    ///
    /// # Errors
    /// When another run uses the local cluster.
    pub fn reserve() -> anyhow::Result<Option<RunLock>> {
        match named(&LocalCluster::default()) {
            None => RunLock::take().map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Finds the cluster. What cannot work is refused here, before anybody waits for a build.
    ///
    /// # Errors
    /// When the named cluster does not answer or comes without the hook that loads images, or when the local one cannot
    /// be started on this machine.
    pub fn find() -> anyhow::Result<Self> {
        let cluster = LocalCluster::default();
        let Some(kubeconfig) = named(&cluster) else {
            cluster.check_machine()?;
            return Ok(Self::Local { was_up: cluster.is_ready(), cluster });
        };
        let Ok(hook) = env::var(LOAD_HOOK) else {
            bail!(
                "no registry has the images that are built here: set {LOAD_HOOK} to a command that loads the archive \
                 $ARCHIVE into the cluster of {}, for example {LOAD_HOOK}='kind load image-archive \"$ARCHIVE\"', or to \
                 `true` when its nodes have the images",
                kubeconfig.display()
            );
        };
        toolchain::ensure(&["kubectl", "helm"])?;
        let mut ask = Command::new(toolchain::path("kubectl")?);
        ask.env("KUBECONFIG", &kubeconfig).args(["version", "--request-timeout=10s"]);
        process::capture(&mut ask).context("the cluster that KUBECONFIG names does not answer")?;
        console::line(format_args!("   using the cluster of {}", kubeconfig.display()));
        Ok(Self::Foreign { kubeconfig, hook })
    }

    /// Starts the cluster if it is the local one and does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self) -> anyhow::Result<()> {
        match self {
            Self::Local { .. } => LocalCluster::up().map(drop),
            Self::Foreign { .. } => Ok(()),
        }
    }

    /// An administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Local { cluster, .. } => cluster.kubeconfig(),
            Self::Foreign { kubeconfig, .. } => kubeconfig.clone(),
        }
    }

    /// Makes images known to the cluster.
    ///
    /// # Errors
    /// When an image is refused.
    pub fn load(&self, images: &[Image]) -> anyhow::Result<()> {
        console::step("loading the images", || {
            images.iter().try_for_each(|image| match self {
                Self::Local { cluster, .. } => cluster.load(&image.archive),
                Self::Foreign { hook, .. } => {
                    let mut command = Command::new("sh");
                    command.args(["-c", hook]).env("ARCHIVE", &image.archive).env("IMAGE", &image.reference);
                    process::capture(&mut command).map(drop)
                }
            })
        })
    }
}

/// What KUBECONFIG names, unless that is the local cluster.
fn named(cluster: &LocalCluster) -> Option<PathBuf> {
    let named = env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.filter(|kubeconfig| *kubeconfig != cluster.kubeconfig())
}
