//! Programs built from Go modules: each once per version, into the cache, from the pinned modules in xtask/tools.
//!
//! A program's folder is named after a digest of its go.mod, its go.sum, its main.go where it is ours, and its flags, so a new version is a new folder
//! and an old build is never mistaken for it. A build ends with a rename; a broken one leaves nothing that looks whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::digest::Digest;
use crate::{console, paths, process};

/// `go` of this version fetches the newer toolchain that a module asks for by itself.
const OLDEST_GO: (u32, u32) = (1, 21);

/// The version that the Kubernetes programs carry; helm and kubectl refuse to work with an empty one.
const KUBERNETES_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
    -X k8s.io/component-base/version.gitTreeState=clean";
const CONTAINERD_FLAGS: &str = "-s -w -X github.com/containerd/containerd/v2/version.Version=2.4.2";
const PLAIN_FLAGS: &str = "-s -w";
/// Snapshotters that need C headers and that nobody uses here.
const CONTAINERD_TAGS: &str = "no_btrfs no_zfs";

/// One program of the toolchain.
#[derive(Debug)]
pub struct Tool {
    /// File name of the program.
    pub name: &'static str,
    /// Folder in xtask/tools with the go.mod that pins it.
    module: &'static str,
    package: &'static str,
    tags: &'static str,
    linker_flags: &'static str,
}

/// Every program, in the order in which they are built: what a control plane needs comes first.
pub const ALL: [Tool; 14] = [
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    plain("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    containerd("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    containerd("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    containerd("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    plain("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
    plain("coredns", "coredns", "github.com/coredns/coredns"),
    // Put together from its parts, as its own builder does: the ready distributions are no Go modules.
    plain("otelcol", "collector", "tollgate.dev/tools/collector"),
    plain("h2spec", "h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
];

/// What the benchmark compares with; no part of a test run.
pub const OAUTH2_PROXY: Tool = plain("oauth2-proxy", "oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7");

/// Builds those of the named programs that the cache lacks.
///
/// # Errors
/// When Go is missing or too old, when a build fails, or for a name that is neither in [`ALL`] nor [`OAUTH2_PROXY`].
pub fn ensure(names: &[&str]) -> anyhow::Result<()> {
    let tools = names.iter().map(|name| find(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let is_missing = |tool: &&Tool| built(tool).map(|file| !file.exists());
    if tools.iter().map(is_missing).collect::<anyhow::Result<Vec<_>>>()?.iter().all(|missing| !missing) {
        return Ok(());
    }
    let _lock = lock()?;
    // Asked again under the lock: another run may have built them meanwhile.
    let mut missing = Vec::new();
    for tool in tools {
        if !built(tool)?.exists() {
            missing.push(tool);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    check_go()?;
    console::line(format_args!(
        "   {} programs are built from source once, about 10 minutes for all on two cores; later runs find them in {}",
        missing.len(),
        bin().display()
    ));
    for (done, tool) in missing.iter().enumerate() {
        console::step(&format!("[{}/{}] {}", done + 1, missing.len(), tool.name), || build(tool))?;
    }
    Ok(())
}

/// Where a program lies once [`ensure`] has built it.
///
/// # Errors
/// For a name that is not in [`ALL`], or when the files that pin its version cannot be read.
pub fn path(name: &str) -> anyhow::Result<PathBuf> {
    built(find(name)?)
}

const fn kubernetes(name: &'static str, package: &'static str) -> Tool {
    Tool { name, module: "kubernetes", package, tags: "", linker_flags: KUBERNETES_FLAGS }
}

const fn containerd(name: &'static str, package: &'static str) -> Tool {
    Tool { name, module: "containerd", package, tags: CONTAINERD_TAGS, linker_flags: CONTAINERD_FLAGS }
}

const fn plain(name: &'static str, module: &'static str, package: &'static str) -> Tool {
    Tool { name, module, package, tags: "", linker_flags: PLAIN_FLAGS }
}

fn find(name: &str) -> anyhow::Result<&'static Tool> {
    ALL.iter()
        .chain([&OAUTH2_PROXY])
        .find(|tool| tool.name == name)
        .with_context(|| format!("no tool is called {name}"))
}

fn bin() -> PathBuf {
    paths::cache().join("bin")
}

fn sources(tool: &Tool) -> PathBuf {
    paths::repository().join("xtask/tools").join(tool.module)
}

/// `<cache>/bin/<module>-<digest>/<name>`
fn built(tool: &Tool) -> anyhow::Result<PathBuf> {
    let mut pins = Digest::default().file(&sources(tool).join("go.mod"))?.file(&sources(tool).join("go.sum"))?;
    let program = sources(tool).join("main.go");
    if program.exists() {
        pins = pins.file(&program)?;
    }
    let version = pins.text(tool.tags).text(tool.linker_flags).short();
    Ok(bin().join(format!("{}-{version}", tool.module)).join(tool.name))
}

fn build(tool: &Tool) -> anyhow::Result<()> {
    let target = built(tool)?;
    let folder = target.parent().context("a built program has a folder")?;
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!(".{}.unfinished", tool.name));
    process::capture(
        Command::new("go")
            .current_dir(sources(tool))
            .env("CGO_ENABLED", "0")
            .env_remove("GOFLAGS")
            .args(["build", "-mod=readonly", "-trimpath", "-tags", tool.tags, "-ldflags", tool.linker_flags, "-o"])
            .arg(&unfinished)
            .arg(tool.package),
    )?;
    fs::rename(&unfinished, &target)?;
    remove_other_versions(folder, tool.module)
}

/// Half a gigabyte each: only the version in use is kept.
fn remove_other_versions(current: &Path, module: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(bin())?.flatten() {
        let is_other =
            entry.file_name().to_string_lossy().starts_with(&format!("{module}-")) && entry.path() != current;
        if is_other {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// One builder at a time; the others wait for its results.
fn lock() -> anyhow::Result<File> {
    fs::create_dir_all(bin())?;
    let file = File::create(bin().join(".lock"))?;
    if file.try_lock().is_err() {
        console::line("   another run builds the tools; waiting for it");
        file.lock()?;
    }
    Ok(file)
}

fn check_go() -> anyhow::Result<()> {
    const FIX: &str = "install Go 1.21 or newer (https://go.dev/dl, or `apt-get install -t bookworm-backports golang`)";
    let Ok(version) = process::capture(Command::new("go").args(["env", "GOVERSION"])) else {
        bail!("Kubernetes is built from source and there is no `go` on the PATH; {FIX}");
    };
    if parse_go_version(&version).is_none_or(|found| found < OLDEST_GO) {
        bail!("{} is too old to build Kubernetes; {FIX}", version.trim());
    }
    Ok(())
}

/// `go1.26.8` -> `(1, 26)`
fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split(['.', 'r', 'b', '-', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(parse_go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.19"), Some((1, 19)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go_version("devel"), None);
    }

    #[test]
    fn every_tool_is_pinned_by_a_module_of_ours() {
        for tool in ALL.iter().chain([&OAUTH2_PROXY]) {
            let module = fs::read_to_string(sources(tool).join("go.mod")).unwrap();
            assert!(module.contains(tool.package), "{} is not in xtask/tools/{}/go.mod", tool.package, tool.module);
        }
    }

    #[test]
    fn an_unknown_tool_is_refused() {
        assert!(path("kubeadm").is_err());
    }
}
