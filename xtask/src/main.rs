//! The developer's loop: `cargo xtask <task>`. It parses the command line and calls the library.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::cluster::LocalCluster;
use xtask::toolchain::{self, apt};
use xtask::{bench, console, demo, fuzz, images, interrupt, lint, paths, process, suite};

/// The environment variables of a run on a cluster.
const SETTINGS: &str = "\
Environment:
  KEEP=1                   as --keep
  KUBECONFIG=<file>        use that cluster instead of the local one; needs TOLLGATE_LOAD
  TOLLGATE_LOAD=<command>  loads the image archive $ARCHIVE into that cluster, for example
                           `kind load image-archive \"$ARCHIVE\"`; `true` when its nodes have the images
  TOLLGATE_CACHE=<folder>  built tools, images, and the local cluster; default ~/.cache/tollgate
  TOLLGATE_PROFILE=quick   compile the images' programs in a fraction of the time, not as they ship";

#[derive(Parser)]
#[command(about = "Tollgate's developer loop")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The main job on a real cluster, each command shown with its result
    #[command(after_help = SETTINGS)]
    Demo {
        /// Leave everything running, and say how to look around
        #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
        keep: bool,
    },
    /// Every test, from units to real pods and a real browser
    #[command(after_help = SETTINGS)]
    Test {
        /// Leave the cluster running, to look into a failure
        #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
        keep: bool,
    },
    /// The tests of endurance in their long versions, about an hour
    Endurance {
        /// Only those whose names begin so, such as `rotation`
        only: Option<String>,
    },
    /// What strangers send, altered without end, against what must hold
    Fuzz {
        /// This target only; the names are those in tests/fuzz/targets
        target: Option<String>,
        /// How long each target runs
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Formatting, clippy, dependency rules, chart
    Lint,
    /// The sidecar beside its anchors; writes docs/benchmarks.md
    Bench {
        /// Rounds over all rows; the medians count
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Length of one measurement
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Measure only what has this in its name, such as `cached`, `envoy`, `paced`, `memory`; writes no page
        #[arg(long)]
        only: Option<String>,
        /// Also write the figures as one JSON object
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The benchmark's load at a steady pace
    #[command(hide = true)]
    PacedLoad {
        /// On loopback
        port: u16,
        /// The file with the token to send
        token: PathBuf,
        /// How long
        seconds: u64,
    },
    /// The benchmark's authorization server
    #[command(hide = true)]
    IssuerStub {
        /// On loopback
        port: u16,
        /// The file with what it answers
        answer: PathBuf,
    },
    /// Write the custom resource definition anew
    Crd,
    /// Build the images; `TOLLGATE_PROFILE=quick` compiles in a fraction of the time
    Images,
    /// The local cluster: one node on this machine
    Cluster {
        #[command(subcommand)]
        action: ClusterAction,
    },
    /// Install the Debian packages and build the Kubernetes programs that this machine lacks
    Toolchain,
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

fn run(task: &Task) -> Result<()> {
    // The benchmark's own programs end when they are told to, at once.
    if !matches!(task, Task::IssuerStub { .. } | Task::PacedLoad { .. }) {
        interrupt::take_over()?;
    }
    match task {
        Task::Demo { keep } => demo::run(*keep),
        Task::Test { keep } => suite::run(*keep),
        Task::Endurance { only } => suite::endurance(only.as_deref()),
        Task::Fuzz { target, seconds } => fuzz::run(*seconds, target.as_deref()),
        Task::Lint => lint::run(),
        Task::Bench { rounds, seconds, only, json } => {
            bench::run(bench::Effort { rounds: *rounds, seconds: *seconds }, only.as_deref(), json.as_deref())
        }
        Task::PacedLoad { port, token, seconds } => bench::paced::load(*port, token, Duration::from_secs(*seconds)),
        Task::IssuerStub { port, answer } => bench::stub::serve(*port, answer),
        Task::Crd => crd(),
        Task::Images => list_images(),
        Task::Cluster { action: ClusterAction::Up } => cluster_up(),
        Task::Cluster { action: ClusterAction::Down } => LocalCluster::down(),
        Task::Cluster { action: ClusterAction::Status } => LocalCluster::status(),
        Task::Toolchain => {
            apt::ensure(&[apt::CLUSTER, apt::IMAGES, apt::WORLD, apt::BROWSER, apt::BENCH])?;
            toolchain::ensure(&toolchain::ALL.map(|tool| tool.name))
        }
    }
}

fn crd() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(paths::repository()).args([
        "run",
        "--quiet",
        "--package",
        "tollgate-api",
        "--bin",
        "tollgate-crd",
    ]);
    process::show(&mut cargo)
}

fn list_images() -> Result<()> {
    for image in images::build()? {
        console::line(format_args!("{} {}", image.reference, image.archive.display()));
    }
    Ok(())
}

fn cluster_up() -> Result<()> {
    let cluster = LocalCluster::up()?;
    console::line(format_args!("export KUBECONFIG={}", cluster.kubeconfig().display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help_of_a_run_names_every_setting() {
        for task in ["demo", "test"] {
            let help = Arguments::command().find_subcommand_mut(task).unwrap().render_long_help().to_string();
            for setting in ["KEEP", "KUBECONFIG", "TOLLGATE_LOAD", "TOLLGATE_CACHE", "TOLLGATE_PROFILE"] {
                assert!(help.contains(&format!("{setting}=")), "{task} --help lacks {setting}:\n{help}");
            }
        }
    }
}
