//! The cluster to work on: the one that KUBECONFIG names, else the local one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cluster::LocalCluster;
use crate::images::Image;
use crate::{console, process, toolchain};

/// A shell command that takes an image archive into a cluster that is not the local one, for example
/// `kind load image-archive "$ARCHIVE" --name dev`. It runs once for each image, with ARCHIVE and IMAGE set.
const LOAD_HOOK: &str = "TOLLGATE_LOAD";

/// A cluster that answers.
#[derive(Debug)]
pub enum Target {
    /// Ours.
    Local {
        /// The cluster.
        cluster: LocalCluster,
        /// Whether this run started it, and so ends it.
        is_ours_to_end: bool,
    },
    /// Somebody's.
    Foreign {
        /// Its kubeconfig.
        kubeconfig: PathBuf,
    },
}

impl Target {
    /// Finds the cluster, or starts the local one.
    ///
    /// # Errors
    /// When the named cluster does not answer, or the local one does not start.
    pub fn up() -> anyhow::Result<Self> {
        toolchain::ensure(&["kubectl", "helm"])?;
        let named = env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        match named {
            Some(kubeconfig) if kubeconfig != LocalCluster::default().kubeconfig() => {
                let mut ask = Command::new(toolchain::path("kubectl")?);
                ask.env("KUBECONFIG", &kubeconfig).args(["version", "--request-timeout=10s"]);
                process::capture(&mut ask).context("the cluster that KUBECONFIG names does not answer")?;
                console::line(format_args!("   using the cluster of {}", kubeconfig.display()));
                Ok(Self::Foreign { kubeconfig })
            }
            _ => {
                let was_up = LocalCluster::default().is_ready();
                Ok(Self::Local { cluster: LocalCluster::up()?, is_ours_to_end: !was_up })
            }
        }
    }

    /// An administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Local { cluster, .. } => cluster.kubeconfig(),
            Self::Foreign { kubeconfig } => kubeconfig.clone(),
        }
    }

    /// Makes images known to the cluster.
    ///
    /// # Errors
    /// When an image is refused, or a cluster that is not ours comes without the hook that loads images.
    pub fn load(&self, images: &[Image]) -> anyhow::Result<()> {
        console::step("loading the images", || {
            images.iter().try_for_each(|image| match self {
                Self::Local { cluster, .. } => cluster.load(&image.archive),
                Self::Foreign { .. } => load_by_hook(&image.reference, &image.archive),
            })
        })
    }
}

fn load_by_hook(image: &str, archive: &Path) -> anyhow::Result<()> {
    let Ok(hook) = env::var(LOAD_HOOK) else {
        bail!(
            "no registry has {image}: set {LOAD_HOOK} to a command that loads the archive $ARCHIVE into your cluster, for \
             example {LOAD_HOOK}='kind load image-archive \"$ARCHIVE\"', or to `true` when its nodes have the images"
        );
    };
    let mut command = Command::new("sh");
    process::capture(command.args(["-c", &hook]).env("ARCHIVE", archive).env("IMAGE", image)).map(drop)
}
