//! The operator and the sidecar as static programs, for images that hold nothing else.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::{console, paths, process};

/// What the images hold. Built together, so that each has the same dependencies with the same features every time.
pub(crate) const SHIPPED: [&str; 2] = ["tollgate-operator", "tollgate-sidecar"];

/// glibc linked in; names are resolved by hickory-dns, so that nothing is loaded at run time. Relocations of an executable
/// that may lie anywhere take 0.7 MB unless they are packed.
const FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// AES-GCM for AVX-512 alone would take 0.7 MB of code; the one for AVX is what processors without it use.
const CFLAGS: &str = "-DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX";

/// Builds these packages and returns the folder that holds their programs. Cargo does nothing when nothing changed.
pub(crate) fn build(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let profile = env::var("TOLLGATE_PROFILE").unwrap_or_else(|_| "release".into());
    let target = host()?;
    let what = format!(
        "compiling {}, static, profile {profile} (minutes, where nothing is compiled yet)",
        packages.join(", ")
    );
    console::step(&what, || {
        process::capture(
            Command::new(cargo())
                .current_dir(paths::repository())
                .env("RUSTFLAGS", FLAGS)
                .env("AWS_LC_SYS_CFLAGS", CFLAGS)
                .args(["build", "--locked", "--profile", &profile, "--target", &target])
                .args(packages.iter().flat_map(|package| ["--package", package]))
                .arg("--bins"),
        )
    })?;
    Ok(target_folder().join(target).join(profile))
}

/// The cargo that runs us, else the one on the PATH.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| paths::repository().join("target"), PathBuf::from)
}

/// The target of this machine. Named explicitly, so that the flags above do not reach build scripts and macros.
fn host() -> anyhow::Result<String> {
    let version = process::capture(Command::new("rustc").current_dir(paths::repository()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}
