//! The images of the demo and the tests, as archives that any cluster can load without a registry.
//!
//! Each archive's name has a digest of all that went into it, so nothing is built twice.

mod base;
mod engine;
pub(crate) mod programs;

pub(crate) use programs::cargo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::digest::Digest;
use crate::toolchain::apt;
use crate::{console, paths, process};
use engine::{Engine, Recipe};

/// The tag of all images that are built here, and the chart's default; never `latest`, which Kubernetes would try to pull.
const TAG: &str = "dev";

/// An image on disk.
#[derive(Debug, Clone)]
pub struct Image {
    /// As manifests name it, `localhost/tollgate/sidecar:dev`.
    pub reference: String,
    /// In the format of `docker save`.
    pub archive: PathBuf,
}

/// Builds what is missing of the four images.
///
/// # Errors
/// When a program or an image cannot be built; the message has what the builder said.
pub fn build() -> anyhow::Result<Vec<Image>> {
    Ok([product()?, apps()?].concat())
}

/// The product: operator and sidecar.
fn product() -> anyhow::Result<Vec<Image>> {
    let programs = programs::build(&programs::SHIPPED)?;
    let engine = Engine::detect()?;
    ["operator", "sidecar"].iter().map(|name| ours(&engine, name, &programs)).collect()
}

/// The sidecar's image alone.
pub(crate) fn sidecar() -> anyhow::Result<Image> {
    ours(&Engine::detect()?, "sidecar", &programs::build(&programs::SHIPPED)?)
}

/// What the demo puts around it: the API to protect, and the server in Okta's place.
fn apps() -> anyhow::Result<Vec<Image>> {
    let engine = Engine::detect()?;
    let folders = [("items-api", "examples/items-api"), ("okta-like", "tests/okta-like")];
    folders.iter().map(|(name, folder)| app(&engine, name, &paths::repository().join(folder))).collect()
}

/// An image of the project's own Dockerfile: one static program.
fn ours(engine: &Engine, name: &str, programs: &Path) -> anyhow::Result<Image> {
    let dockerfile = paths::repository().join("Dockerfile");
    let program = format!("tollgate-{name}");
    let digest = Digest::default().file(&dockerfile)?.file(&programs.join(&program))?;
    finished(name, digest, |reference, archive| {
        let context = scratch()?;
        let to = context.path().join(&program);
        fs::copy(programs.join(&program), &to).with_context(|| format!("copying {program}"))?;
        let recipe =
            Recipe { reference, dockerfile: &dockerfile, context: context.path(), target: Some(name), base: None };
        console::step(&format!("image {reference}"), || engine.build(&recipe, archive))
    })
}

/// An image of an app in Python or JavaScript, from its own folder and Dockerfile, on a base that needs no registry.
fn app(engine: &Engine, name: &str, folder: &Path) -> anyhow::Result<Image> {
    let base = engine.base();
    let digest = Digest::default().folder(folder, &["node_modules"])?.text(&base.version());
    finished(name, digest, |reference, archive| {
        let context = with_packages(name, folder)?;
        let dockerfile = context.path().join("Dockerfile");
        let base = base.ensure(engine)?;
        let recipe =
            Recipe { reference, dockerfile: &dockerfile, context: context.path(), target: None, base: base.as_deref() };
        console::step(&format!("image {reference}"), || engine.build(&recipe, archive))
    })
}

/// A copy of an app's folder with its npm packages, as the lock file pins them; removed with the value.
///
/// # Errors
/// When npm cannot be had or a package cannot be fetched.
pub fn with_packages(name: &str, folder: &Path) -> anyhow::Result<tempfile::TempDir> {
    apt::ensure(&[apt::WORLD])?;
    let copied = scratch()?;
    copy(folder, copied.path())?;
    console::step(&format!("npm packages of {name}"), || {
        let mut npm = Command::new("npm");
        npm.current_dir(copied.path()).args(["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]);
        process::capture(&mut npm)
    })?;
    Ok(copied)
}

/// The image with this digest, built when it is not there yet; other versions of it are removed.
fn finished(
    name: &str,
    digest: Digest,
    build: impl FnOnce(&str, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<Image> {
    let folder = paths::cache().join("images");
    let archive = folder.join(format!("{name}-{}.tar", digest.short()));
    let reference = format!("localhost/tollgate/{name}:{TAG}");
    if !archive.exists() {
        fs::create_dir_all(&folder)?;
        let unfinished = folder.join(format!(".{name}.unfinished"));
        let _ = fs::remove_file(&unfinished);
        build(&reference, &unfinished)?;
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
                fs::remove_file(entry.path())?;
            }
        }
        fs::rename(&unfinished, &archive)?;
    }
    Ok(Image { reference, archive })
}

/// A folder that is removed with the value; in the cache, where a rename or a link is cheap.
fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let folder = paths::cache().join("work");
    fs::create_dir_all(&folder)?;
    Ok(tempfile::tempdir_in(folder)?)
}

/// Copies a folder without its installed packages.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let script = r#"tar -C "$1" --exclude=./node_modules -cf - . | tar -C "$2" -xf -"#;
    process::capture(Command::new("sh").args(["-c", script, "copy"]).arg(from).arg(to)).map(drop)
}
