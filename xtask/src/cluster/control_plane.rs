//! etcd, kube-apiserver and kube-controller-manager: what a test of the operator needs of Kubernetes.
//!
//! Also the first half of the local cluster. There are no nodes here, so pods stay pending; garbage collection,
//! Deployments, service account tokens, CRDs with CEL and the Pod Security admission are the real ones.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::pki::{Pki, Subject};
use super::watchdog::Watchdog;
use crate::daemon::{self, Daemon};
use crate::{process, toolchain, wait};

/// Generous: a busy two-core machine starts the API server in 4 s to 20 s.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// Services get addresses of this range.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first address of [`SERVICE_RANGE`], where pods find the API server.
const API_SERVICE: &str = "10.96.0.1";

/// What to start.
#[derive(Debug, Default)]
pub struct Options {
    /// Manifests (CRDs) to apply before the controller manager starts. It looks for new kinds every 30 s only, so an
    /// owner of a kind that comes later is noticed late by garbage collection.
    pub manifests: Vec<PathBuf>,
    /// Leave the controller manager out: no garbage collection, no ReplicaSets, no service account of a namespace.
    pub without_controllers: bool,
}

/// A running control plane on ports of 127.0.0.1 that were free; ends with the value, or with the process.
#[derive(Debug)]
pub struct ControlPlane {
    kubeconfig: PathBuf,
    daemons: Vec<Daemon>,
    /// Its end removes what is left, on a failed start as well.
    _watchdog: Watchdog,
}

impl ControlPlane {
    /// Starts it in a new temporary folder and waits until the API server is ready (about 5 s). The programs come from
    /// the cache and are built when they are missing.
    ///
    /// # Errors
    /// When a program cannot be built, started, or ends early; the message has the end of its log.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        toolchain::ensure(&["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"])?;
        let dir = temporary_folder()?;
        let site = Site {
            dir: dir.clone(),
            address: "127.0.0.1".into(),
            api_port: free_port()?,
            etcd_ports: (free_port()?, free_port()?),
            has_node: false,
        };
        site.create_credentials()?;
        let watchdog = Watchdog::over(&dir)?;
        let mut daemons = vec![site.start_etcd()?, site.start_api_server()?];
        site.wait_until_ready(&daemons)?;
        for manifest in &options.manifests {
            process::capture(site.kubectl()?.args(["apply", "--server-side", "-f"]).arg(manifest))?;
        }
        if !options.without_controllers {
            daemons.push(site.start_controller_manager()?);
        }
        Ok(Self { kubeconfig: site.admin(), daemons, _watchdog: watchdog })
    }

    /// A kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubectl of this control plane.
    ///
    /// # Errors
    /// When the toolchain's versions cannot be read.
    pub fn kubectl(&self) -> anyhow::Result<Command> {
        kubectl(&self.kubeconfig)
    }

    /// The end of a component's log, for messages of tests.
    pub fn log_tail(&self, component: &str) -> String {
        self.daemons.iter().filter(|daemon| daemon.name() == component).map(Daemon::log_tail).collect()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
        }
    }
}

/// Where a control plane lives and what it listens on.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    /// Address of the API server: loopback, or the one that pods can reach.
    pub(crate) address: String,
    pub(crate) api_port: u16,
    /// Client and peer port of etcd, always on 127.0.0.1.
    pub(crate) etcd_ports: (u16, u16),
    /// Whether pods will look for the API server at its Service.
    pub(crate) has_node: bool,
}

impl Site {
    pub(crate) fn admin(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(crate) fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.api_port)
    }

    pub(crate) fn pki_file(&self, name: &str) -> String {
        self.dir.join("pki").join(name).display().to_string()
    }

    pub(crate) fn kubectl(&self) -> anyhow::Result<Command> {
        kubectl(&self.admin())
    }

    /// The certificate authority, the API server's certificate, and the kubeconfigs of the administrator and of the
    /// controller manager.
    pub(crate) fn create_credentials(&self) -> anyhow::Result<Pki> {
        let pki = Pki::create(&self.dir.join("pki"))?;
        pki.issue(&Subject {
            file: "apiserver",
            common_name: "kube-apiserver",
            organization: None,
            names: &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                "127.0.0.1",
                API_SERVICE,
                &self.address,
            ],
        })?;
        let admin = Subject { file: "admin", common_name: "admin", organization: Some("system:masters"), names: &[] };
        pki.kubeconfig(&self.server(), &admin, &self.admin())?;
        let user = "system:kube-controller-manager";
        let controllers = Subject { file: "controller-manager", common_name: user, organization: None, names: &[] };
        pki.kubeconfig(&self.server(), &controllers, &self.dir.join("controller-manager.kubeconfig"))?;
        Ok(pki)
    }

    pub(crate) fn start_etcd(&self) -> anyhow::Result<Daemon> {
        let client = format!("http://127.0.0.1:{}", self.etcd_ports.0);
        let peer = format!("http://127.0.0.1:{}", self.etcd_ports.1);
        Daemon::start(
            "etcd",
            &self.dir,
            Command::new(toolchain::path("etcd")?)
                .arg(format!("--data-dir={}", self.dir.join("etcd").display()))
                .arg(format!("--listen-client-urls={client}"))
                .arg(format!("--advertise-client-urls={client}"))
                .arg(format!("--listen-peer-urls={peer}"))
                .arg(format!("--initial-advertise-peer-urls={peer}"))
                .arg(format!("--initial-cluster=default={peer}"))
                // Nobody needs this data after a power cut.
                .arg("--unsafe-no-fsync"),
        )
    }

    pub(crate) fn start_api_server(&self) -> anyhow::Result<Daemon> {
        let mut command = Command::new(toolchain::path("kube-apiserver")?);
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_ports.0))
            .arg(format!("--bind-address={}", self.address))
            .arg(format!("--secure-port={}", self.api_port))
            .arg(format!("--tls-cert-file={}", self.pki_file("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", self.pki_file("apiserver.key")))
            .arg(format!("--client-ca-file={}", self.pki_file("ca.crt")))
            .arg(format!("--service-account-key-file={}", self.pki_file("service-accounts.pub")))
            .arg(format!("--service-account-signing-key-file={}", self.pki_file("service-accounts.key")))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--enable-admission-plugins=NodeRestriction")
            .arg("--allow-privileged=true")
            .arg("--profiling=false");
        if self.has_node {
            command
                .arg(format!("--advertise-address={}", self.address))
                .arg(format!("--kubelet-client-certificate={}", self.pki_file("admin.crt")))
                .arg(format!("--kubelet-client-key={}", self.pki_file("admin.key")))
                .arg(format!("--kubelet-certificate-authority={}", self.pki_file("ca.crt")))
                // The node's name is in no DNS.
                .arg("--kubelet-preferred-address-types=InternalIP");
        } else {
            // Loopback cannot be an endpoint of the API server's Service, and nobody asks for it.
            command.arg("--endpoint-reconciler-type=none");
        }
        Daemon::start("kube-apiserver", &self.dir, &mut command)
    }

    pub(crate) fn start_controller_manager(&self) -> anyhow::Result<Daemon> {
        let kubeconfig = self.dir.join("controller-manager.kubeconfig");
        Daemon::start(
            "kube-controller-manager",
            &self.dir,
            Command::new(toolchain::path("kube-controller-manager")?)
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg(format!("--service-account-private-key-file={}", self.pki_file("service-accounts.key")))
                .arg(format!("--root-ca-file={}", self.pki_file("ca.crt")))
                .arg("--use-service-account-credentials=true")
                .arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"))
                .arg("--leader-elect=false")
                // Its health and metrics: nobody asks, and a fixed port could be taken.
                .arg("--secure-port=0"),
        )
    }

    /// Waits until the API server says that it is ready, or until one of `daemons` ends.
    pub(crate) fn wait_until_ready(&self, daemons: &[Daemon]) -> anyhow::Result<()> {
        let ready = wait::until("the API server", START_DEADLINE, || {
            daemons.iter().try_for_each(Daemon::ensure_running)?;
            let mut ask = self.kubectl()?;
            Ok(process::succeeds(ask.args(["get", "--raw", "/readyz", "--request-timeout=2s"])).then_some(()))
        });
        ready.map_err(|error| daemon::blame(error, daemons, "kube-apiserver"))
    }
}

/// A kubectl that knows only this kubeconfig, and keeps no cache in the home folder.
pub(crate) fn kubectl(kubeconfig: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(toolchain::path("kubectl")?);
    command.env("KUBECONFIG", kubeconfig);
    Ok(command)
}

/// A port of 127.0.0.1 that nobody uses now.
///
/// # Errors
/// When the kernel has none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn temporary_folder() -> anyhow::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("tollgate-control-plane-").tempdir()?;
    Ok(folder.keep())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_one_control_plane_differ() {
        let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert_ne!(free_port().unwrap(), held.local_addr().unwrap().port());
    }
}
