//! The developer's loop: `cargo xtask <task>`. It parses the command line and calls the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{console, interrupt, toolchain};

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
        Task::Toolchain => toolchain::ensure(&toolchain::ALL.map(|tool| tool.name)),
    }
}
