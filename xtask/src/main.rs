//! The developer's loop: `cargo xtask <task>`. It parses the command line and calls the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::cluster::LocalCluster;
use xtask::{console, images, interrupt, toolchain};

#[derive(Parser)]
#[command(about = "Tollgate's developer loop")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages and build the Kubernetes programs that this machine lacks
    Toolchain,
    /// Build the images; `TOLLGATE_PROFILE=quick` compiles in a fraction of the time
    Images,
    /// The local cluster: one node on this machine
    Cluster {
        #[command(subcommand)]
        action: ClusterAction,
    },
}

#[derive(Subcommand)]
enum ClusterAction {
    /// Start it; fine when it runs
    Up,
    /// End it and remove all that it made
    Down,
    /// Show what runs
    Status,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::line(format_args!("\nerror: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    interrupt::take_over()?;
    match task {
        Task::Cluster { action: ClusterAction::Up } => {
            let cluster = LocalCluster::up()?;
            console::line(format_args!("export KUBECONFIG={}", cluster.kubeconfig().display()));
            Ok(())
        }
        Task::Cluster { action: ClusterAction::Down } => LocalCluster::down(),
        Task::Cluster { action: ClusterAction::Status } => LocalCluster::status(),
        Task::Images => {
            for image in images::build()? {
                console::line(format_args!("{} {}", image.reference, image.archive.display()));
            }
            Ok(())
        }
        Task::Toolchain => toolchain::ensure(&toolchain::ALL.map(|tool| tool.name)),
    }
}
