//! The processes of a measurement, each on its core: the upstream (which also serves the issuer's metadata and keys as
//! files), the stub that answers introspection, and the sidecar; what it is compared with is in `anchors`. Dropping a
//! server ends it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::exchange::connect;
use super::policy::{self, Judgement};
use super::programs::Programs;
use crate::paths;

/// The upstream's answer: 91 bytes, the three items.
const BODY: &str = r#"[{"id":1,"name":"red ball"},{"id":2,"name":"blue square"},{"id":3,"name":"purple ellipse"}]"#;

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The folder and the upstream of a whole run.
pub(super) struct Stage {
    dir: PathBuf,
    pub(super) upstream_port: u16,
    issuer_port: u16,
    stub_port: u16,
    pub(super) programs: Programs,
    _upstream: Server,
}

/// How the sidecar is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sidecar<'a> {
    pub(super) judgement: Judgement,
    pub(super) access_log: bool,
    /// Whether it heeds the issuer's rate limits, as it always does where it is used.
    pub(super) heeds_limits: bool,
    pub(super) hints: Option<&'a Path>,
    /// To the core of the proxies.
    pub(super) pinned: bool,
}

/// A process under measurement, pinned to a core.
pub(super) struct Server {
    child: Child,
    port: u16,
    /// nginx's worker does the work, of all others the process itself.
    measured: u32,
}

impl Stage {
    /// Starts the upstream.
    pub(super) fn prepare(programs: Programs) -> anyhow::Result<Self> {
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
        Ok(Self { dir, upstream_port, issuer_port, stub_port, programs, _upstream: upstream })
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
    /// Answers introspection on the load's core; `answer` is what it says.
    pub(super) fn issuer_stub(stage: &Stage, answer: &Path) -> anyhow::Result<Self> {
        let port = stage.stub_port;
        let mut command = on_core("1", &std::env::current_exe()?);
        command.args(["issuer-stub", &port.to_string()]).arg(answer);
        let server = Self::start(&mut command, port)?;
        server.listens()
    }

    /// The sidecar as it ships, one worker; ready when this returns.
    pub(super) fn sidecar(stage: &Stage, how: Sidecar<'_>) -> anyhow::Result<Self> {
        let (port, admin) = (free_port()?, free_port()?);
        let config = stage.path("sidecar.json");
        let policy = policy::config(stage.issuer(), stage.upstream_port, how.judgement, &stage.path("credentials"));
        fs::write(&config, policy.to_file()?)?;
        let program = &stage.programs.sidecar;
        let mut command = if how.pinned { on_core("0", program) } else { Command::new(program) };
        command.arg("--config").arg(&config).args(["--workers", "1", "--drain-lead", "0"]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin", &format!("127.0.0.1:{admin}")]);
        if !how.access_log {
            command.arg("--no-access-log");
        }
        if !how.heeds_limits {
            command.arg("--benchmark-without-issuer-limits");
        }
        if let Some(hints) = how.hints {
            command.arg("--hints").arg(hints);
        }
        let server = Self::start(&mut command, port)?;
        await_condition("the sidecar is ready", || is_ready(admin))?;
        Ok(server)
    }

    /// Starts a program that will listen on this port; what it says is nobody's.
    pub(super) fn start(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let measured = child.id();
        Ok(Self { child, port, measured })
    }

    /// Waits until it does.
    pub(super) fn listens(self) -> anyhow::Result<Self> {
        await_condition("a server listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok())?;
        Ok(self)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
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

    pub(super) fn nginx(config: &Path, port: u16, core: &str) -> anyhow::Result<Self> {
        let mut command = on_core(core, Path::new("nginx"));
        let mut server = Self::start(command.arg("-c").arg(config), port)?.listens()?;
        let master = server.child.id();
        let worker = || {
            let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        };
        // It listens before it has one.
        await_condition("nginx has a worker", || worker().is_some())?;
        server.measured = worker().context("nginx has no worker")?;
        Ok(server)
    }
}

impl Sidecar<'_> {
    /// As it runs in a pod, without an access log.
    pub(super) fn judging(judgement: Judgement) -> Self {
        Self { judgement, access_log: false, heeds_limits: true, hints: None, pinned: true }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's master takes its worker along on SIGTERM; SIGKILL would leave it behind. Who has not ended then is made to.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let ended = await_condition("a server ends", || matches!(self.child.try_wait(), Ok(Some(_))));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
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

pub(super) fn nginx_conf(dir: &Path, name: &str, servers: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;\n\
         client_body_temp_path {dir}/{name}-body; proxy_temp_path {dir}/{name}-proxy; fastcgi_temp_path {dir}/{name}-f;\n\
         uwsgi_temp_path {dir}/{name}-u; scgi_temp_path {dir}/{name}-s;\n{servers}\n}}\n"
    )
}

pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A command that runs on this core alone.
pub(super) fn on_core(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Asked without a program in between, which would take longer than what is measured.
fn is_ready(admin: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut connection = connect(admin)?;
        connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

fn await_condition(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > START_LIMIT {
            bail!("not within {START_LIMIT:?}: {what}");
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
