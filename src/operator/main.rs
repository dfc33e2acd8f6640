//! The operator's process: command line, log, client, signals. What it does is the library's.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use tollgate_operator::{Operator, Settings};
use tollgate_runtime::{crypto, shutdown, telemetry};

/// Turns every OktaProtectedApi into a running, protected workload.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Image of the sidecar.
    #[arg(long, value_name = "IMAGE")]
    sidecar_image: String,
    /// Look after this namespace only; may be given several times.
    #[arg(long, value_name = "NAMESPACE")]
    watch_namespace: Vec<String>,
    /// Let issuers be http://, for tests.
    #[arg(long)]
    allow_insecure_issuers: bool,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    admin_listen: SocketAddr,
    /// Verbosity of the log.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// Name of this pod; identifies it as a leader.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: String,
    /// Namespace of this pod; the Lease is there.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pod_namespace: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    telemetry::init(&arguments.log_level)?;
    crypto::install_provider();
    let shutdown = shutdown::on_signal().context("listening for signals")?;
    let config = kube::Config::infer().await.context("finding the API server")?;
    let settings = Settings {
        sidecar_image: arguments.sidecar_image,
        watch_namespaces: arguments.watch_namespace,
        allow_insecure_issuers: arguments.allow_insecure_issuers,
        admin_listen: arguments.admin_listen,
        pod_name: arguments.pod_name,
        pod_namespace: arguments.pod_namespace,
        poll_port: Settings::POLL_PORT,
    };
    let operator = Operator::bind(settings, &config).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %operator.admin_addr(), "running");
    Ok(operator.run(shutdown).await?)
}
