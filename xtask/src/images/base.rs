//! What the apps' images build on. Without a registry it is Debian's minimal system with Python, made once.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::engine::{Engine, buildah};
use crate::digest::Digest;
use crate::{console, process};

const SUITE: &str = "bookworm";
/// Python with venv for items-api; libstdc++ for the Node of okta-like, which comes as a package.
const PACKAGES: &str = "python3-venv,libstdc++6,ca-certificates";
const ANY_MIRROR: &str = "http://deb.debian.org/debian";
/// Nothing in these folders is used in a container.
const UNUSED: [&str; 6] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/apt/lists", "var/cache/apt"];

#[derive(Debug)]
pub(crate) enum Base {
    /// The default that the app's Dockerfile names.
    FromRegistry,
    /// Debian by debootstrap.
    Debian,
}

impl Base {
    /// What the images on top depend on.
    pub(crate) fn version(&self) -> String {
        match self {
            Self::FromRegistry => "registry".into(),
            Self::Debian => Digest::default().text(SUITE).text(PACKAGES).text(&UNUSED.concat()).short(),
        }
    }

    /// The image's reference, made when it is missing.
    pub(crate) fn ensure(&self, engine: &Engine) -> anyhow::Result<Option<String>> {
        match (self, engine) {
            (Self::Debian, Engine::Buildah) => {
                let reference = format!("localhost/tollgate/debian:{}", self.version());
                if !process::succeeds(buildah().args(["inspect", "--type=image", &reference])) {
                    console::step("base image from Debian packages, once", || make(&reference))?;
                }
                Ok(Some(reference))
            }
            _ => Ok(None),
        }
    }
}

fn make(reference: &str) -> anyhow::Result<()> {
    let work = super::scratch()?;
    let root = work.path().join("root");
    let packages = format!("--include={PACKAGES}");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &packages, SUITE]).arg(&root).arg(mirror());
    process::capture(&mut debootstrap).context("making a minimal Debian")?;
    for folder in UNUSED {
        remove_content(&root.join(folder))?;
    }
    let dockerfile = work.path().join("Dockerfile");
    fs::write(&dockerfile, "FROM scratch\nCOPY . /\n")?;
    let mut build = buildah();
    build.args(["bud", "--isolation=chroot", "--layers=false", "--tag", reference, "--file"]);
    process::capture(build.arg(dockerfile).arg(&root)).map(drop)
}

/// The mirror that this machine's apt uses.
fn mirror() -> String {
    let asks = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let known = process::capture(Command::new("apt-get").args(asks)).unwrap_or_default();
    let mirror = known.lines().find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    mirror.unwrap_or(ANY_MIRROR).trim_end_matches('/').to_owned()
}

fn remove_content(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}
