//! Debian packages: only those whose programs are missing, and the package lists are refreshed only when that is needed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::{console, process};

/// A program and the package that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Debian's name.
    name: &'static str,
    /// A file that is there when the package is; one of several for programs that come in several ways.
    files: &'static [&'static str],
}

/// What the local cluster runs on.
pub const CLUSTER: &[Package] = &[
    package("runc", &["/usr/sbin/runc", "/usr/bin/runc"]),
    package("containernetworking-plugins", &["/usr/lib/cni/bridge"]),
    package("iptables", &["/usr/sbin/iptables", "/sbin/iptables"]),
    package("conntrack", &["/usr/sbin/conntrack"]),
    package("iproute2", &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"]),
    package("ca-certificates", &["/etc/ssl/certs/ca-certificates.crt"]),
];

/// What builds images where no Docker engine does.
pub const IMAGES: &[Package] =
    &[package("buildah", &["/usr/bin/buildah"]), package("debootstrap", &["/usr/sbin/debootstrap"])];

/// What makes certificates, fetches npm packages, and sends the requests.
pub const WORLD: &[Package] = &[
    package("openssl", &["/usr/bin/openssl"]),
    package("npm", &["/usr/bin/npm", "/usr/local/bin/npm"]),
    package("curl", &["/usr/bin/curl", "/usr/local/bin/curl"]),
];

/// What fetches Python packages; npm is in [`WORLD`].
pub const VERIFIERS: &[Package] = &[package("python3-pip", &["/usr/bin/pip3", "/usr/local/bin/pip3"])];

/// What real servers in tests come with.
pub const SERVERS: &[Package] =
    &[package("python3-pip", &["/usr/bin/pip3", "/usr/local/bin/pip3"]), package("nginx-light", &["/usr/sbin/nginx"])];

/// What the browser test drives.
pub const BROWSER: &[Package] = &[
    package("chromium", &["/usr/bin/chromium"]),
    package("chromium-driver", &["/usr/bin/chromedriver"]),
    package("fonts-dejavu-core", &["/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"]),
];

/// What the benchmark compares with and loads with.
pub const BENCH: &[Package] = &[package("wrk", &["/usr/bin/wrk"]), package("nginx-light", &["/usr/sbin/nginx"])];

const fn package(name: &'static str, files: &'static [&'static str]) -> Package {
    Package { name, files }
}

/// Installs those of `packages` that are missing.
///
/// # Errors
/// When they are missing and this is no Debian, or not root, or apt-get fails; the message says the fix.
pub fn ensure(packages: &[&[Package]]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        packages.concat().into_iter().filter(|package| !package.is_there()).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing programs, and no apt-get to install them: install what Debian calls {names}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "missing Debian packages, and only root installs them: run `sudo apt-get install --no-install-recommends {names}`"
        );
    }
    console::step(&format!("installing Debian packages: {names}"), || {
        let first = install(&missing);
        if first.is_ok() {
            return Ok(());
        }
        // The lists of a fresh machine are empty or old.
        process::capture(apt().arg("update")).context("refreshing the package lists")?;
        install(&missing)
    })
}

impl Package {
    fn is_there(self) -> bool {
        self.files.iter().any(|file| Path::new(file).exists())
    }
}

fn install(names: &[&str]) -> anyhow::Result<()> {
    process::capture(apt().args(["install", "--yes", "--no-install-recommends"]).args(names)).map(drop)
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_when_all_is_there() {
        ensure(&[&[package("no-such-package", &["/nonexistent", "/proc/self/stat"])]]).unwrap();
    }
}
