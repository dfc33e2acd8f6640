//! The end of a local cluster, also of one that was killed half way: processes, pods, mounts, rules, cgroups, files.
//!
//! Only what is ours: processes that we recorded, or whose program lies in our cache and whose command line names our
//! state folder; mounts below that folder; network objects with our name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::{network, node};
use crate::daemon::{self, Daemon};
use crate::{paths, process, toolchain, wait};

/// Removes the cluster of this state folder; fine when there is none.
pub(crate) fn remove(state: &Path) -> anyhow::Result<()> {
    if !state.exists() {
        return Ok(());
    }
    for mut daemon in Daemon::recorded(state) {
        daemon.kill()?;
    }
    // Pods outlive the kubelet and containerd: their shims carry on.
    wait::until("the end of the pods", Duration::from_secs(20), || {
        let left = processes_of(state);
        for pid in &left {
            if let Some(pid) = Pid::from_raw(*pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(left.is_empty().then_some(()))
    })?;
    remove_service_rules(state);
    remove_shim_sockets(state);
    unmount_below(state)?;
    network::down(state);
    remove_cgroups();
    remove_fixed_folders();
    fs::remove_dir_all(state).with_context(|| format!("removing {}", state.display()))
}

/// Our programs that work in this state folder, with all their descendants, deepest first.
fn processes_of(state: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<(i32, i32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, daemon::parent(pid)?)))
        .collect();
    let mut ours: Vec<i32> = all.iter().map(|(pid, _)| *pid).filter(|pid| is_ours(*pid, state)).collect();
    let mut next = 0;
    while next < ours.len() {
        let children = all.iter().filter(|(pid, parent)| *parent == ours[next] && !ours.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        ours.extend(children);
        next += 1;
    }
    ours.reverse();
    ours
}

fn is_ours(pid: i32, state: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let is_from_cache = fs::read_link(process.join("exe")).is_ok_and(|exe| exe.starts_with(paths::cache().join("bin")));
    is_from_cache
        && fs::read(process.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&format!("{}/", state.display())))
}

/// kube-proxy removes its own chains, but for one that the kubelet also knows.
fn remove_service_rules(state: &Path) {
    let settings = node::proxy_settings(state);
    if let (true, Ok(proxy)) = (settings.exists(), toolchain::path("kube-proxy")) {
        let _ = process::capture(Command::new(proxy).arg(format!("--config={}", settings.display())).arg("--cleanup"));
    }
    let rest: [&[&str]; 4] = [
        &["-D", "INPUT", "-j", "KUBE-FIREWALL"],
        &["-D", "OUTPUT", "-j", "KUBE-FIREWALL"],
        &["-F", "KUBE-FIREWALL"],
        &["-X", "KUBE-FIREWALL"],
    ];
    for program in ["iptables", "ip6tables"] {
        for arguments in rest {
            let _ = process::capture(Command::new(program).arg("--wait").args(arguments));
        }
    }
}

/// Two folders that no setting moves: the CNI plugins' notes about our pods, and the kubelet's device socket. Folders
/// that others use are not empty and stay.
fn remove_fixed_folders() {
    let notes = Path::new("/var/lib/cni/results");
    for note in fs::read_dir(notes).into_iter().flatten().flatten() {
        let name = note.file_name().to_string_lossy().into_owned();
        if let Some(pod) = name.strip_prefix("tollgate-").and_then(|name| name.strip_suffix("-eth0")) {
            let _ = fs::remove_file(note.path());
            let _ = fs::remove_file(notes.join(format!("cni-loopback-{pod}-lo")));
        }
    }
    let _ = fs::remove_file("/var/lib/kubelet/device-plugins/kubelet.sock");
    for folder in ["/var/lib/cni/results", "/var/lib/cni", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet"] {
        let _ = fs::remove_dir(folder);
    }
}

/// A shim's socket lies in /run/containerd, wherever containerd keeps the rest; a killed shim leaves it there.
fn remove_shim_sockets(state: &Path) {
    let bundles = state.join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
    for bundle in fs::read_dir(bundles).into_iter().flatten().flatten() {
        let bootstrap = fs::read_to_string(bundle.path().join("bootstrap.json")).unwrap_or_default();
        let address = serde_json::from_str::<serde_json::Value>(&bootstrap).unwrap_or_default();
        if let Some(socket) = address["address"].as_str().and_then(|address| address.strip_prefix("unix://")) {
            let _ = fs::remove_file(socket);
        }
    }
    // Gone only when empty, so another containerd keeps its own.
    let _ = fs::remove_dir("/run/containerd/s");
    let _ = fs::remove_dir("/run/containerd");
}

fn unmount_below(state: &Path) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // The fifth field is the mount point; see proc_pid_mountinfo(5).
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| point.replace("\\040", " "));
    let mut ours: Vec<String> = points.filter(|point| Path::new(point).starts_with(state)).collect();
    ours.reverse();
    for point in ours {
        unmount(&point, UnmountFlags::DETACH).with_context(|| format!("unmounting {point}"))?;
    }
    Ok(())
}

/// Empty cgroups of pods; the kernel refuses to remove any that still has a process.
fn remove_cgroups() {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in controllers.chain([root.to_path_buf()]) {
        remove_cgroup(&folder.join("kubepods"));
    }
}

fn remove_cgroup(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
