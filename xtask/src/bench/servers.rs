//! The processes of a measurement, each on its core: the upstream (which also serves the issuer's metadata and keys as
//! files), the stub that answers introspection, nginx as a plain proxy, and the sidecar. Dropping a server ends it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::policy::{self, Judgement};
use crate::images::programs;
use crate::toolchain::apt;
use crate::{paths, process};

/// The upstream's answer: 91 bytes, the three items.
const BODY: &str = r#"[{"id":1,"name":"red ball"},{"id":2,"name":"blue square"},{"id":3,"name":"purple ellipse"}]"#;

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The folder and the upstream of a whole run.
pub(super) struct Stage {
    dir: PathBuf,
    upstream_port: u16,
    issuer_port: u16,
    stub_port: u16,
    sidecar: PathBuf,
    _upstream: Server,
}

/// A process under measurement, pinned to a core.
pub(super) struct Server {
    child: Child,
    port: u16,
    /// nginx's worker does the work, the sidecar's process itself.
    measured: u32,
}

impl Stage {
    /// Installs what is missing, builds the sidecar, starts the upstream.
    pub(super) fn prepare() -> anyhow::Result<Self> {
        apt::ensure(&[apt::BENCH])?;
        let sidecar = programs::build()?.join("tollgate-sidecar");
        let dir = paths::cache().join("bench");
        fs::create_dir_all(dir.join("www")).with_context(|| format!("creating {}", dir.display()))?;
        let (upstream_port, issuer_port, stub_port) = (free_port()?, free_port()?, free_port()?);
        let config = dir.join("upstream.conf");
        fs::write(&config, upstream_conf(&dir, upstream_port, issuer_port))?;
        let upstream = Server::nginx(&config, upstream_port, "1")?;
        let credentials = dir.join("credentials");
        fs::create_dir_all(&credentials).with_context(|| format!("creating {}", credentials.display()))?;
        fs::write(credentials.join("clientId"), "bench")?;
        fs::write(credentials.join("clientSecret"), "bench")?;
        Ok(Self { dir, upstream_port, issuer_port, stub_port, sidecar, _upstream: upstream })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn upstream_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.upstream_port)
    }

    pub(super) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}/oauth2/bench", self.issuer_port)
    }

    /// Size of the sidecar's stripped binary.
    pub(super) fn sidecar_bytes(&self) -> anyhow::Result<u64> {
        Ok(fs::metadata(&self.sidecar)?.len())
    }

    /// Puts the issuer's metadata and keys where its server finds them.
    pub(super) fn publish_keys(&self, jwks: &str) -> anyhow::Result<()> {
        let issuer = self.issuer();
        let metadata = serde_json::json!({
            "issuer": issuer, "jwks_uri": format!("{issuer}/v1/keys"), "token_endpoint": format!("{issuer}/v1/token"),
            "introspection_endpoint": format!("http://127.0.0.1:{}/introspect", self.stub_port),
        });
        let www = self.dir.join("www");
        fs::write(www.join("metadata.json"), metadata.to_string())?;
        fs::write(www.join("keys.json"), jwks).context("writing the key set")
    }
}

impl Server {
    /// nginx as a plain forwarding proxy, the anchor.
    pub(super) fn nginx_proxy(stage: &Stage) -> anyhow::Result<Self> {
        let port = free_port()?;
        let config = stage.path("proxy.conf");
        let forward = format!(
            "upstream app {{ server 127.0.0.1:{}; keepalive 64; }}\nserver {{ listen 127.0.0.1:{port}; location / {{ \
             proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
            stage.upstream_port
        );
        fs::write(&config, nginx_conf(&stage.dir, "proxy", &forward))?;
        Self::nginx(&config, port, "0")
    }

    /// Answers introspection on the load's core; `answer` is what it says.
    pub(super) fn issuer_stub(stage: &Stage, answer: &Path) -> anyhow::Result<Self> {
        let port = stage.stub_port;
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]).arg(std::env::current_exe()?).args(["issuer-stub", &port.to_string()]).arg(answer);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let measured = child.id();
        let server = Self { child, port, measured };
        await_condition("the stub listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(server)
    }

    /// The sidecar as it ships, one worker.
    pub(super) fn sidecar(stage: &Stage, judgement: Judgement, access_log: bool) -> anyhow::Result<Self> {
        let (port, admin) = (free_port()?, free_port()?);
        let config = stage.path("sidecar.json");
        let policy = policy::config(stage.issuer(), stage.upstream_port, judgement, &stage.path("credentials"));
        fs::write(&config, policy.to_file()?)?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(&stage.sidecar).arg("--config").arg(&config);
        command.args(["--workers", "1"]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin", &format!("127.0.0.1:{admin}")]);
        if !access_log {
            command.arg("--no-access-log");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let measured = child.id();
        let server = Self { child, port, measured };
        await_condition("the sidecar is ready", || {
            let mut curl = Command::new("curl");
            curl.args(["-fso", "/dev/null", &format!("http://127.0.0.1:{admin}/readyz")]);
            process::succeeds(&mut curl)
        })?;
        Ok(server)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// User and system time so far.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        /// `USER_HZ`: fixed at 100 for every architecture that Linux reports to user space.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.measured)).context("reading a server's CPU time")?;
        // The command's name may hold blanks; what follows its closing bracket does not.
        let after_name = stat.rsplit_once(')').context("an odd stat line")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("a stat line without times")?;
        Ok(Duration::from_secs_f64((user + system) / TICKS_PER_SECOND))
    }

    /// Resident anonymous memory (`RssAnon`).
    pub(super) fn anonymous_rss_kib(&self) -> anyhow::Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.measured)).context("reading a server's memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context("an odd RssAnon line")
    }

    fn nginx(config: &Path, port: u16, cpu: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", cpu, "nginx", "-c"]).arg(config);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let master = child.id();
        let mut server = Self { child, port, measured: master };
        await_condition("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        server.measured = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))
            .ok()
            .and_then(|children| children.split_whitespace().next()?.parse().ok())
            .context("nginx has no worker")?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's master takes its worker along on SIGTERM; SIGKILL would leave it behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn upstream_conf(dir: &Path, upstream: u16, issuer: u16) -> String {
    let www = dir.join("www");
    let www = www.display();
    nginx_conf(
        dir,
        "upstream",
        &format!(
            "server {{ listen 127.0.0.1:{upstream}; location / {{ default_type application/json; return 200 '{BODY}'; }} }}\n\
             server {{ listen 127.0.0.1:{issuer}; default_type application/json;\n\
             location = /.well-known/oauth-authorization-server/oauth2/bench {{ alias {www}/metadata.json; }}\n\
             location = /oauth2/bench/v1/keys {{ alias {www}/keys.json; }} }}"
        ),
    )
}

fn nginx_conf(dir: &Path, name: &str, servers: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;\n\
         client_body_temp_path {dir}/{name}-body; proxy_temp_path {dir}/{name}-proxy; fastcgi_temp_path {dir}/{name}-f;\n\
         uwsgi_temp_path {dir}/{name}-u; scgi_temp_path {dir}/{name}-s;\n{servers}\n}}\n"
    )
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn await_condition(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > START_LIMIT {
            bail!("not within {START_LIMIT:?}: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
