//! The image that every pod of the local cluster starts with, made without a registry and without a builder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::json;

use super::node::{self, PAUSE_IMAGE};
use crate::digest::{self, Digest};
use crate::{paths, process};

/// Puts the image into the cluster of this state folder.
pub(crate) fn load(state: &Path) -> anyhow::Result<()> {
    let archive = archive()?;
    process::capture(node::ctr(state)?.args(["images", "import", "--no-unpack"]).arg(archive)).map(drop)
}

/// The image in the format of `docker save`: one layer with one static program.
fn archive() -> anyhow::Result<PathBuf> {
    let source = paths::repository().join("xtask/tools/pause/pause.c");
    let cache = paths::cache().join("images");
    let finished = cache.join(format!("pause-{}.tar", Digest::default().file(&source)?.short()));
    if finished.exists() {
        return Ok(finished);
    }
    fs::create_dir_all(&cache)?;
    let work = tempfile::tempdir_in(&cache)?;
    let at = |name: &str| work.path().join(name);
    process::capture(Command::new("cc").args(["-static", "-Os", "-s", "-o"]).arg(at("pause")).arg(&source))
        .context("building the pause image needs a C compiler, as Rust does: `apt-get install gcc libc6-dev`")?;
    tar(&at("layer.tar"), work.path(), &["pause"])?;
    let settings = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest::of_file(&at("layer.tar"))?)]},
    });
    fs::write(at("config.json"), settings.to_string())?;
    let manifest = json!([{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(at("manifest.json"), manifest.to_string())?;
    tar(&at("image.tar"), work.path(), &["manifest.json", "config.json", "layer.tar"])?;
    fs::rename(at("image.tar"), &finished)?;
    Ok(finished)
}

fn tar(to: &Path, from: &Path, names: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "--numeric-owner", "-cf"]).arg(to).arg("-C").arg(from).args(names);
    process::capture(&mut command).map(drop)
}
