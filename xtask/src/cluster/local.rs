//! The local cluster: one node on this machine, from [`crate::toolchain`]'s programs, Ready in seconds.
//!
//! It outlives the run that started it; its state folder says all that is needed to end it, also after a crash.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::control_plane::{Site, kubectl};
use super::node::{self, Node};
use super::{network, pause, teardown};
use crate::daemon::Daemon;
use crate::toolchain::apt;
use crate::{console, interrupt, paths, process, toolchain};

/// A path longer than this makes the socket of containerd longer than the 107 bytes that the kernel takes.
const LONGEST_STATE_PATH: usize = 70;
const API_PORT: u16 = 6443;
/// etcd's own ports may be taken by another etcd.
const ETCD_PORTS: (u16, u16) = (12379, 12380);

/// The local cluster of this user's cache.
#[derive(Debug)]
pub struct LocalCluster {
    state: PathBuf,
}

impl Default for LocalCluster {
    /// The cluster as it would be; [`LocalCluster::up`] makes it so.
    fn default() -> Self {
        Self { state: paths::cluster() }
    }
}

impl LocalCluster {
    /// Starts it, or finds it running.
    ///
    /// # Errors
    /// When this is not root on Linux, when a program is missing and cannot be had, or when a component fails; the
    /// message names its log.
    pub fn up() -> anyhow::Result<Self> {
        let cluster = Self::default();
        cluster.check_machine()?;
        let _lock = cluster.lock()?;
        if cluster.is_ready() {
            return Ok(cluster);
        }
        apt::ensure(&[apt::CLUSTER])?;
        toolchain::ensure(&toolchain::ALL.map(|tool| tool.name))?;
        teardown::remove(&cluster.state).context("removing what an earlier cluster left")?;
        if let Err(error) = console::step("starting Kubernetes", || cluster.start()) {
            interrupt::forget();
            let logs = cluster.keep_logs();
            teardown::remove(&cluster.state)?;
            return Err(error.context(format!("the local cluster did not start; its logs are in {}", logs.display())));
        }
        Ok(cluster)
    }

    /// Refuses a machine on which the cluster could not run, with what to do.
    ///
    /// # Errors
    /// When this is not Linux, not root, or a node of another cluster.
    pub fn check_machine(&self) -> anyhow::Result<()> {
        const OTHERWISE: &str = "or set KUBECONFIG to a cluster that you have";
        if !cfg!(target_os = "linux") {
            bail!("the local cluster needs Linux: use a Linux machine, {OTHERWISE}");
        }
        if !rustix::process::geteuid().is_root() {
            bail!("the local cluster needs root for its network and its containers: run as root, {OTHERWISE}");
        }
        if self.state.as_os_str().len() > LONGEST_STATE_PATH {
            bail!("{} is too long a path for a socket: set TOLLGATE_CACHE to a shorter one", self.state.display());
        }
        let has_other_node = process::succeeds(Command::new("iptables").args(["-t", "nat", "-S", "KUBE-SERVICES"]));
        if has_other_node && Daemon::recorded(&self.state).is_empty() {
            bail!(
                "this machine is a node of another Kubernetes cluster, which the local one would disturb: set KUBECONFIG \
                 to it. If it is a local cluster of another TOLLGATE_CACHE, `TOLLGATE_CACHE=... cargo xtask cluster \
                 down` ends it"
            );
        }
        Ok(())
    }

    /// Ends the cluster and removes all that it made; fine when there is none.
    ///
    /// # Errors
    /// When something of it cannot be ended.
    pub fn down() -> anyhow::Result<()> {
        let cluster = Self::default();
        let _lock = cluster.lock()?;
        teardown::remove(&cluster.state)
    }

    /// Says what runs.
    ///
    /// # Errors
    /// When the cluster is not up and well.
    pub fn status() -> anyhow::Result<()> {
        let cluster = Self::default();
        let daemons = Daemon::recorded(&cluster.state);
        if daemons.is_empty() {
            bail!("there is no local cluster; `cargo xtask cluster up` starts one");
        }
        for daemon in &daemons {
            let state = if daemon.is_running() { "running" } else { "ENDED" };
            console::line(format_args!("{:24} {state:8} {}", daemon.name(), daemon.log().display()));
        }
        daemons.iter().try_for_each(Daemon::ensure_running)?;
        process::show(kubectl(&cluster.kubeconfig())?.args(["get", "nodes,pods", "--all-namespaces"]))?;
        console::line(format_args!("export KUBECONFIG={}", cluster.kubeconfig().display()));
        Ok(())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Takes an image archive (`docker save` or OCI) into the cluster.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub fn load(&self, archive: &Path) -> anyhow::Result<()> {
        let mut command = node::ctr(&self.state)?;
        process::capture(command.args(["images", "import"]).arg(archive)).map(drop)
    }

    /// The folder of its logs.
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    fn start(&self) -> anyhow::Result<()> {
        let site = Site {
            dir: self.state.clone(),
            address: network::HOST.into(),
            api_port: API_PORT,
            etcd_ports: ETCD_PORTS,
            has_node: true,
        };
        for port in [ETCD_PORTS.0, ETCD_PORTS.1] {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                bail!("port {port} of 127.0.0.1 is taken; the local cluster needs it for etcd");
            }
        }
        fs::create_dir_all(&self.state)?;
        let node = Node { site: &site };
        let pki = site.create_credentials()?;
        node.create_credentials(&pki)?;
        network::up(&self.state)?;
        let mut daemons = vec![site.start_etcd()?, site.start_api_server()?, node.start_containerd()?];
        pause::load(&self.state)?;
        site.wait_until_ready(&daemons)?;
        daemons.extend([
            site.start_controller_manager()?,
            node.start_scheduler()?,
            node.start_kubelet()?,
            node.start_kube_proxy()?,
            node.start_dns()?,
        ]);
        node.publish_dns()?;
        node.wait_until_ready(&daemons)
    }

    /// Whether all its programs run and its node takes pods.
    pub fn is_ready(&self) -> bool {
        let daemons = Daemon::recorded(&self.state);
        let is_whole = !daemons.is_empty() && daemons.iter().all(Daemon::is_running);
        is_whole
            && kubectl(&self.kubeconfig()).is_ok_and(|mut kubectl| {
                let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
                let ask = kubectl.args(["get", "node", node::NODE, "--request-timeout=5s", "--output", condition]);
                process::capture(ask).is_ok_and(|status| status == "True")
            })
    }

    /// Moves the logs out of what is about to be removed.
    fn keep_logs(&self) -> PathBuf {
        let kept = paths::cache().join("failed-cluster-log");
        let _ = fs::remove_dir_all(&kept);
        let _ = fs::rename(self.logs(), &kept);
        kept
    }

    /// Two runs at once would fight over the bridge.
    fn lock(&self) -> anyhow::Result<File> {
        let file = self.state.with_extension("lock");
        fs::create_dir_all(paths::cache())?;
        let file = File::create(file)?;
        file.try_lock().or_else(|_| {
            console::line("   another run starts or ends the local cluster; waiting for it");
            file.lock()
        })?;
        Ok(file)
    }
}
