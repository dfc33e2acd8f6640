//! Docker where its engine answers, else buildah in a store of its own inside the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::base::Base;
use crate::toolchain::apt;
use crate::{paths, process};

/// Certificates that the machine trusts. A machine behind a proxy with its own CA needs them inside a build as well.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug)]
pub(crate) enum Engine {
    Docker,
    Buildah,
}

/// What an image is made of.
pub(crate) struct Recipe<'a> {
    pub(crate) reference: &'a str,
    pub(crate) dockerfile: &'a Path,
    pub(crate) context: &'a Path,
    /// A stage of the Dockerfile.
    pub(crate) target: Option<&'a str>,
    /// Value of the Dockerfile's argument BASE; its default names an image of a registry.
    pub(crate) base: Option<&'a str>,
}

impl Engine {
    pub(crate) fn detect() -> anyhow::Result<Self> {
        let asks = ["version", "--format", "{{.Server.Version}}"];
        if process::succeeds(Command::new("docker").args(asks)) {
            return Ok(Self::Docker);
        }
        apt::ensure(&[apt::IMAGES])?;
        Ok(Self::Buildah)
    }

    /// Docker's users have a registry; buildah here builds on a base of its own.
    pub(crate) fn base(&self) -> Base {
        match self {
            Self::Docker => Base::FromRegistry,
            Self::Buildah => Base::Debian,
        }
    }

    /// Builds an image and writes it to `archive` in the format of `docker save`.
    pub(crate) fn build(&self, recipe: &Recipe<'_>, archive: &Path) -> anyhow::Result<()> {
        let mut build = match self {
            Self::Docker => docker("build"),
            Self::Buildah => {
                let mut command = buildah();
                command.args(["bud", "--isolation=chroot", "--layers=false", "--pull=never"]);
                if Path::new(TRUSTED).exists() {
                    command.args(["--volume", &format!("{TRUSTED}:{TRUSTED}:ro")]);
                }
                command
            }
        };
        build.args(["--tag", recipe.reference, "--file"]).arg(recipe.dockerfile);
        if let Some(target) = recipe.target {
            build.args(["--target", target]);
        }
        if let Some(base) = recipe.base {
            build.args(["--build-arg", &format!("BASE={base}")]);
        }
        process::capture(build.arg(recipe.context)).with_context(|| format!("building {}", recipe.reference))?;
        self.save(recipe.reference, archive)
    }

    fn save(&self, reference: &str, archive: &Path) -> anyhow::Result<()> {
        match self {
            Self::Docker => process::capture(docker("save").arg("--output").arg(archive).arg(reference)).map(drop),
            Self::Buildah => {
                let to = format!("docker-archive:{}:{reference}", archive.display());
                process::capture(buildah().args(["push", reference, &to]))?;
                // The archive is all that counts; the store would grow with every build.
                process::capture(buildah().args(["rmi", reference])).map(drop)
            }
        }
    }
}

/// A buildah whose store nobody else sees and `rm -r` of the cache removes.
pub(crate) fn buildah() -> Command {
    let store = store();
    let mut command = Command::new("buildah");
    command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run")).arg("--storage-driver=vfs");
    command
}

fn store() -> PathBuf {
    paths::cache().join("buildah")
}

fn docker(task: &str) -> Command {
    let mut command = Command::new("docker");
    command.arg(task);
    command
}
