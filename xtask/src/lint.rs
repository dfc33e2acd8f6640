//! `make lint`: formatting, clippy, the rules about dependencies, and Helm's opinion of the chart.

use std::process::Command;

use crate::images::cargo;
use crate::{console, paths, process, toolchain};

const CARGO_DENY: &str = "0.20.2";

/// Checks all of it, in the order of how fast an answer comes.
///
/// # Errors
/// With the first that does not pass.
pub fn run() -> anyhow::Result<()> {
    check("formatting", in_repository(cargo()).args(["fmt", "--all", "--check"]))?;
    toolchain::ensure(&["helm"])?;
    check("chart", in_repository(toolchain::path("helm")?).args(["lint", "--strict", "--quiet", "charts/tollgate"]))?;
    let mut clippy = in_repository(cargo());
    check("clippy", clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]))?;
    let deny = cargo_deny()?;
    check("dependencies", in_repository(deny).args(["--log-level=error", "check", "bans", "licenses", "sources"]))
}

fn check(what: &str, command: &mut Command) -> anyhow::Result<()> {
    console::step(what, || process::show(command))
}

fn in_repository(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::repository());
    command
}

/// cargo-deny of a known version, built once into the cache.
fn cargo_deny() -> anyhow::Result<std::path::PathBuf> {
    let root = paths::cache().join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        console::step("building cargo-deny, once", || {
            let mut install = Command::new(cargo());
            // It reads a few hundred lines: compiling it well would take longer than it ever runs.
            install
                .args(["install", "cargo-deny", "--debug", "--locked", "--version", CARGO_DENY, "--root"])
                .arg(&root);
            process::capture(&mut install)
        })?;
    }
    Ok(program)
}
