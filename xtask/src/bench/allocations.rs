//! How often the sidecar allocates for a request whose token is known: counted by a test that runs it under a counting
//! allocator, because the binary that ships has none. It counts nothing itself.

use std::process::Command;

use anyhow::Context;

use crate::images::cargo;
use crate::{paths, process};

/// What the test prints before the figure.
const MARK: &str = "allocations per request: ";

/// Allocations of a request on the hit path.
pub(super) fn count() -> anyhow::Result<f64> {
    let mut command = Command::new(cargo());
    command.current_dir(paths::repository());
    command.args(["test", "--workspace", "--locked", "--test", "allocations", "--", "--nocapture"]);
    let output = process::capture(&mut command)?;
    let figure = output.lines().find_map(|line| line.split_once(MARK)).context("the test printed no figure")?.1;
    figure.trim().parse().with_context(|| format!("reading {figure:?}"))
}
