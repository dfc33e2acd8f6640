//! The one node of the local cluster: containerd, kubelet, kube-proxy, the scheduler, and the cluster's DNS server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::control_plane::{Site, free_port};
use super::network::{self, BRIDGE, HOST, POD_RANGE, POD_SUBNET};
use super::pki::{Pki, Subject};
use crate::daemon::{self, Daemon};
use crate::{process, toolchain, wait};

pub(crate) const NODE: &str = "local";
/// Where pods find the DNS server; the convention is the tenth address of the Services' range.
const DNS_SERVICE: &str = "10.96.0.10";
/// Port 53 of the host may be taken.
const DNS_PORT: u16 = 10053;
/// The image that holds a pod's namespaces; see [`super::pause`].
pub(crate) const PAUSE_IMAGE: &str = "localhost/tollgate/pause:1";
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The node's programs, on top of a control plane.
pub(crate) struct Node<'a> {
    pub(crate) site: &'a Site,
}

impl Node<'_> {
    /// Credentials of the kubelet, of kube-proxy and of the scheduler, as the node authorizer and RBAC know them.
    pub(crate) fn create_credentials(&self, pki: &Pki) -> anyhow::Result<()> {
        let user = format!("system:node:{NODE}");
        pki.issue(&Subject { file: "kubelet-server", common_name: NODE, organization: None, names: &[NODE, HOST] })?;
        for (file, common_name, organization) in [
            ("kubelet", user.as_str(), Some("system:nodes")),
            ("kube-proxy", "system:kube-proxy", None),
            ("kube-scheduler", "system:kube-scheduler", None),
        ] {
            let subject = Subject { file, common_name, organization, names: &[] };
            pki.kubeconfig(&self.site.server(), &subject, &self.kubeconfig(file))?;
        }
        Ok(())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.site.dir)
    }

    /// Starts containerd and waits until it answers: the kubelet gives up at once without it.
    pub(crate) fn start_containerd(&self) -> anyhow::Result<Daemon> {
        let dir = &self.site.dir;
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "tollgate",
            "plugins": [{
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": dir.join("cni/addresses"),
                    "ranges": [[{"subnet": POD_SUBNET, "gateway": HOST}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        fs::create_dir_all(dir.join("cni/net.d"))?;
        fs::write(dir.join("cni/net.d/10-tollgate.conflist"), network.to_string())?;
        fs::write(dir.join("containerd.toml"), self.containerd_settings())?;
        let program = toolchain::path("containerd")?;
        // containerd finds its shim beside itself on the PATH.
        let path =
            format!("{}:{}", program.parent().unwrap_or(&program).display(), std::env::var("PATH").unwrap_or_default());
        let daemon = Daemon::start(
            "containerd",
            dir,
            Command::new(program).env("PATH", path).arg("--config").arg(dir.join("containerd.toml")),
        )?;
        wait::until("containerd", START_DEADLINE, || {
            daemon.ensure_running()?;
            Ok(process::succeeds(ctr(dir)?.arg("version")).then_some(()))
        })?;
        Ok(daemon)
    }

    pub(crate) fn start_kubelet(&self) -> anyhow::Result<Daemon> {
        let dir = &self.site.dir;
        let settings = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": HOST,
            "port": free_port()?,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.site.pki_file("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.site.pki_file("kubelet-server.crt"),
            "tlsPrivateKeyFile": self.site.pki_file("kubelet-server.key"),
            "cgroupDriver": "cgroupfs",
            // Old cgroups still work.
            "failCgroupV1": false,
            "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{}", self.socket().display()),
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            // A developer's disk is often nearly full, and images here are not fetched again.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": dir.join("pods"),
            "volumePluginDir": dir.join("kubelet/volumeplugins"),
            // Its chains would stay behind; nothing here needs them.
            "makeIPTablesUtilChains": false,
            // Default 0.5 s to 1 min; a mended Secret or ConfigMap should show within seconds.
            "syncFrequency": "10s",
        });
        fs::write(dir.join("kubelet.json"), settings.to_string())?;
        Daemon::start(
            "kubelet",
            dir,
            Command::new(toolchain::path("kubelet")?)
                .arg(format!("--config={}", dir.join("kubelet.json").display()))
                .arg(format!("--kubeconfig={}", self.kubeconfig("kubelet").display()))
                .arg(format!("--root-dir={}", dir.join("kubelet").display()))
                .arg(format!("--cert-dir={}", dir.join("kubelet/pki").display()))
                .arg(format!("--hostname-override={NODE}"))
                .arg(format!("--node-ip={HOST}")),
        )
    }

    pub(crate) fn start_kube_proxy(&self) -> anyhow::Result<Daemon> {
        let dir = &self.site.dir;
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": self.kubeconfig("kube-proxy")},
            "mode": "iptables",
            "iptables": {"masqueradeAll": network::needs_masquerade(), "minSyncPeriod": "0s"},
            "clusterCIDR": POD_RANGE,
            "hostnameOverride": NODE,
            "bindAddress": HOST,
            "nodePortAddresses": ["127.0.0.0/8", format!("{HOST}/32")],
            "healthzBindAddress": format!("127.0.0.1:{}", free_port()?),
            "metricsBindAddress": format!("127.0.0.1:{}", free_port()?),
            // Leave the kernel's tables as they are.
            "conntrack": {"maxPerCore": 0, "min": 0},
        });
        let file = proxy_settings(dir);
        fs::write(&file, settings.to_string())?;
        let mut command = Command::new(toolchain::path("kube-proxy")?);
        Daemon::start("kube-proxy", dir, command.arg(format!("--config={}", file.display())))
    }

    pub(crate) fn start_scheduler(&self) -> anyhow::Result<Daemon> {
        let mut command = Command::new(toolchain::path("kube-scheduler")?);
        command
            .arg(format!("--kubeconfig={}", self.kubeconfig("kube-scheduler").display()))
            .args(["--leader-elect=false", "--secure-port=0"]);
        Daemon::start("kube-scheduler", &self.site.dir, &mut command)
    }

    /// DNS for the names of Services. Other names do not exist: pods do not reach beyond this machine.
    pub(crate) fn start_dns(&self) -> anyhow::Result<Daemon> {
        let dir = &self.site.dir;
        let corefile = format!(
            "cluster.local:{DNS_PORT} {{\n  bind {HOST}\n  errors\n  \
             kubernetes cluster.local {{\n    kubeconfig {}\n    ttl 5\n  }}\n}}\n\
             .:{DNS_PORT} {{\n  bind {HOST}\n  template ANY ANY {{\n    rcode NXDOMAIN\n  }}\n}}\n",
            self.site.admin().display()
        );
        fs::write(dir.join("Corefile"), corefile)?;
        let mut command = Command::new(toolchain::path("coredns")?);
        Daemon::start("coredns", dir, command.arg("-conf").arg(dir.join("Corefile")))
    }

    /// The Service `kube-dns`, which leads to the DNS server on the host.
    pub(crate) fn publish_dns(&self) -> anyhow::Result<()> {
        let ports = |target: Option<u16>| -> Value {
            ["UDP", "TCP"]
                .map(|protocol| {
                    json!({
                "name": format!("dns-{}", protocol.to_lowercase()), "protocol": protocol, "port": target.unwrap_or(53)})
                })
                .into()
        };
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
             "spec": {"clusterIP": DNS_SERVICE, "ports": ports(None)}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": "kube-dns-host", "namespace": "kube-system",
                          "labels": {"kubernetes.io/service-name": "kube-dns"}},
             "endpoints": [{"addresses": [HOST], "conditions": {"ready": true}}], "ports": ports(Some(DNS_PORT))},
        ]});
        let file = self.site.dir.join("kube-dns.json");
        fs::write(&file, objects.to_string())?;
        process::capture(self.site.kubectl()?.args(["apply", "--server-side", "-f"]).arg(file)).map(drop)
    }

    /// Waits until the node says that it takes pods, or until one of `daemons` ends.
    pub(crate) fn wait_until_ready(&self, daemons: &[Daemon]) -> anyhow::Result<()> {
        let ready = wait::until("the node", START_DEADLINE, || {
            daemons.iter().try_for_each(Daemon::ensure_running)?;
            let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            let mut ask = self.site.kubectl()?;
            let answer = process::capture(ask.args(["get", "node", NODE, "--output", condition]));
            Ok(answer.is_ok_and(|status| status == "True").then_some(()))
        });
        ready.map_err(|error| daemon::blame(error, daemons, "kubelet"))
    }

    fn kubeconfig(&self, of: &str) -> PathBuf {
        self.site.dir.join(format!("{of}.kubeconfig"))
    }

    fn containerd_settings(&self) -> String {
        let dir = self.site.dir.display();
        let socket = self.socket();
        format!(
            r#"version = 3
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "{socket}"
[plugins.'io.containerd.internal.v1.opt']
path = "{dir}/containerd/opt"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE a pod's own value cannot be set, and no pod would start.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{dir}/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
Root = "{dir}/containerd/runc"
SystemdCgroup = false
"#,
            socket = socket.display()
        )
    }
}

/// A ctr of the cluster's containerd, in the kubelet's namespace.
pub(crate) fn ctr(state: &std::path::Path) -> anyhow::Result<Command> {
    let mut command = Command::new(toolchain::path("ctr")?);
    command.arg("--address").arg(socket(state)).args(["--namespace", "k8s.io"]);
    Ok(command)
}

pub(crate) fn socket(state: &std::path::Path) -> PathBuf {
    state.join("containerd/containerd.sock")
}

pub(crate) fn proxy_settings(state: &std::path::Path) -> PathBuf {
    state.join("kube-proxy.json")
}
