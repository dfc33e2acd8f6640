//! The sidecar's process: flags, log, signal, exit status. Everything else is the library's.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tollgate_contract::{LogLevel, names};
use tollgate_runtime::{descriptors, files, shutdown, telemetry};
use tollgate_sidecar::policy::Policy;
use tollgate_sidecar::{AccessLogTo, DrainTimes, Limits, Options, Sidecar, StartError};

/// A ConfigMap holds at most 1 MiB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The configuration is refused; starting again with the same file would not help.
const EXIT_CONFIG: u8 = 2;

/// Lets requests through to an app only with a valid access token.
#[derive(Debug, Parser)]
#[command(name = "tollgate-sidecar", version)]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    /// The policy that the operator wrote.
    #[arg(long, default_value_os_t = PathBuf::from(names::POLICY_DIR).join(names::POLICY_FILE))]
    config: PathBuf,
    /// What helps and is no policy: how many share the issuers' limits, keys to start with. It may be absent.
    #[arg(long, default_value_os_t = PathBuf::from(names::HINTS_DIR).join(names::HINTS_FILE))]
    hints: PathBuf,
    /// Where callers come in.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, names::PROXY_PORT)))]
    listen: SocketAddr,
    /// Where probes, metrics and the report are served.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, names::ADMIN_PORT)))]
    admin: SocketAddr,
    /// No access log on standard output.
    #[arg(long)]
    no_access_log: bool,
    /// Threads that serve connections [default: the cores at hand, 4 at most].
    #[arg(long)]
    workers: Option<NonZeroUsize>,
    /// Seconds between "unready" and "no new connections" when stopping.
    #[arg(long, default_value_t = DrainTimes::default().lead.as_secs())]
    drain_lead: u64,
    /// Seconds after that for requests in flight.
    #[arg(long, default_value_t = DrainTimes::default().deadline.as_secs())]
    drain_deadline: u64,
    /// For benchmarks: asks issuers as often as it likes. Refused unless every issuer is on loopback.
    #[arg(long, hide = true)]
    benchmark_without_issuer_limits: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells the sidecar of this container that the pod is going away, so that callers leave before it does. Meant as
    /// its preStop hook: a native sidecar gets its SIGTERM only when the app has ended.
    Drain,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = match flags.command {
        Some(Command::Drain) => shutdown::announce().context("telling process 1 to drain"),
        None => run(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-sidecar: {error:#}");
            let refused = error.is::<StartError>()
                && !matches!(
                    error.downcast_ref(),
                    Some(StartError::Listen { .. } | StartError::Thread(_) | StartError::Traces(_))
                );
            if refused { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(flags: &Flags) -> anyhow::Result<()> {
    let config = files::read(&flags.config, MAX_CONFIG_BYTES)?;
    let policy = Policy::from_file(&config).map_err(StartError::from)?;
    telemetry::init(log_directives(policy.config.log_level)).context("setting up the log")?;
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!(%error, "the limit of open connections stays as it is");
    }
    let stop = shutdown::on_signal().context("watching for signals")?;
    let announced = shutdown::on_announcement().context("watching for signals")?;
    let sidecar = Sidecar::start(Options {
        config,
        hints: flags.hints.clone(),
        listen: flags.listen,
        admin: flags.admin,
        pod_uid: std::env::var(names::POD_UID_ENV).unwrap_or_default(),
        pod_ip: std::env::var(names::POD_IP_ENV).ok().and_then(|address| address.parse().ok()),
        access_log: if flags.no_access_log { AccessLogTo::Off } else { AccessLogTo::Stdout },
        workers: flags.workers,
        drain: DrainTimes {
            lead: Duration::from_secs(flags.drain_lead),
            deadline: Duration::from_secs(flags.drain_deadline),
        },
        limits: Limits { heeds_rate_limits: !flags.benchmark_without_issuer_limits, ..Limits::default() },
    })
    .await?;
    tracing::info!(
        proxy = %sidecar.proxy_addr(),
        admin = %sidecar.admin_addr(),
        policy = %policy.hash,
        api = format_args!("{}/{}", policy.config.namespace, policy.config.name),
        "serving"
    );
    tokio::select! {
        () = stop.cancelled() => {}
        () = announced.cancelled() => {
            sidecar.begin_drain();
            stop.cancelled().await;
        }
    }
    if sidecar.shutdown().await {
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped with requests still in flight");
    }
    Ok(())
}

/// Libraries stay quiet: their details may name what ours never do.
fn log_directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,tollgate_sidecar=info,tollgate_runtime=info",
        LogLevel::Debug => "warn,tollgate_sidecar=debug,tollgate_runtime=debug",
    }
}
