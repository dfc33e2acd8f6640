//! The network of the local cluster: one bridge with the host's address on it, and rules that keep traffic on this
//! machine. Everything has our name, so that it can be removed without touching what is not ours.
//!
//! The API server, the kubelet and the DNS server listen on the bridge's address: pods reach them, other machines do not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::bail;

use super::control_plane::SERVICE_RANGE;
use crate::process;

pub(crate) const BRIDGE: &str = "tollgate0";
/// The host's address on the bridge: the node, as pods and Kubernetes see it.
pub(crate) const HOST: &str = "10.244.0.1";
pub(crate) const POD_SUBNET: &str = "10.244.0.0/24";
/// Everything that could be a pod; the subnet of the bridge is more specific and wins.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
const CHAIN: &str = "TOLLGATE-CLUSTER";

/// Kernel settings that the cluster needs, with what kube-proxy sets on its own.
const SETTINGS: [&str; 3] =
    ["net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/all/route_localnet"];

/// Makes the bridge, the routes and the rules, and notes in `state` what the kernel's settings were.
pub(crate) fn up(state: &Path) -> anyhow::Result<()> {
    refuse_taken_ranges()?;
    let _ = process::succeeds(Command::new("modprobe").arg("br_netfilter"));
    remember_settings(state)?;
    for setting in &SETTINGS[..2] {
        // The second exists only where the kernel has br_netfilter; see `needs_masquerade`.
        let _ = fs::write(Path::new("/proc/sys").join(setting), "1");
    }
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["address", "add", &format!("{HOST}/24"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    // A request to a pod or a Service that is gone must fail here, not leave by the default route.
    ip(&["route", "add", "blackhole", POD_RANGE])?;
    ip(&["route", "add", SERVICE_RANGE, "dev", "lo"])?;
    iptables(&["-N", CHAIN])?;
    iptables(&["-A", CHAIN, "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"])?;
    iptables(&["-A", CHAIN, "-i", BRIDGE, "-j", "REJECT"])?;
    iptables(&["-A", CHAIN, "-o", BRIDGE, "-j", "REJECT"])?;
    iptables(&["-I", "FORWARD", "-j", CHAIN])
}

/// Removes all of it and restores the kernel's settings; whatever is not there is not missed.
pub(crate) fn down(state: &Path) {
    let _ = iptables(&["-D", "FORWARD", "-j", CHAIN]);
    let _ = iptables(&["-F", CHAIN]);
    let _ = iptables(&["-X", CHAIN]);
    let _ = ip(&["route", "del", SERVICE_RANGE, "dev", "lo"]);
    let _ = ip(&["route", "del", "blackhole", POD_RANGE]);
    let _ = ip(&["link", "del", BRIDGE]);
    for setting in SETTINGS {
        if let Ok(value) = fs::read_to_string(remembered(state, setting)) {
            let _ = fs::write(Path::new("/proc/sys").join(setting), value);
        }
    }
}

/// Without br_netfilter, the answer of a pod to its neighbour passes the bridge without the translation of the Service's
/// address; then kube-proxy must hide the neighbour's address.
pub(crate) fn needs_masquerade() -> bool {
    fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").map_or(true, |value| value.trim() != "1")
}

/// A machine whose own network uses these addresses would lose it.
fn refuse_taken_ranges() -> anyhow::Result<()> {
    let routes = process::capture(Command::new("ip").args(["-4", "route", "show"]))?;
    for range in [POD_RANGE, SERVICE_RANGE] {
        let prefix: String = range.split('.').take(2).map(|part| format!("{part}.")).collect();
        if let Some(route) = routes.lines().find(|route| route.trim_start_matches("blackhole ").starts_with(&prefix)) {
            bail!("the local cluster uses {range}, and this machine already has the route `{}`", route.trim());
        }
    }
    Ok(())
}

fn remember_settings(state: &Path) -> anyhow::Result<()> {
    for setting in SETTINGS {
        if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(setting)) {
            let file = remembered(state, setting);
            fs::create_dir_all(file.parent().unwrap_or(state))?;
            fs::write(file, value)?;
        }
    }
    Ok(())
}

fn remembered(state: &Path, setting: &str) -> std::path::PathBuf {
    state.join("settings").join(setting.replace('/', "."))
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    process::capture(Command::new("ip").args(arguments)).map(drop)
}

fn iptables(arguments: &[&str]) -> anyhow::Result<()> {
    process::capture(Command::new("iptables").arg("--wait").args(arguments)).map(drop)
}
