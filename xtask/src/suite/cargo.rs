//! cargo as the test runner: its output passes through as it comes, its verdicts are kept for the end.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::images::cargo;
use crate::{console, interrupt, paths, process};

/// What was run, and how it went.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    lines: Vec<String>,
    failures: Vec<String>,
}

impl Verdicts {
    /// Runs `cargo test` on a selection of the workspace's targets. A failed test is kept, not returned.
    ///
    /// The selection is always of the whole workspace: another choice of packages would build their dependencies anew,
    /// with other features.
    pub(super) fn run(
        &mut self,
        selection: &[String],
        prepare: impl FnOnce(&mut Command) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new(cargo());
        command.current_dir(paths::repository());
        command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(selection);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        prepare(&mut command)?;
        let mut child = command.spawn().context("starting cargo test")?;
        let shown = process::shown(&command);
        // Holds the pipe's other end open.
        drop(command);
        let mut of = String::new();
        for line in BufReader::new(reader).lines() {
            let line = line?;
            console::line(&line);
            if line.trim_start().starts_with("Running ") || line.trim_start().starts_with("Doc-tests ") {
                of = line.trim().to_owned();
            } else if line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed;") {
                self.lines.push(format!("{of}\n{line}"));
            }
        }
        let status = child.wait()?;
        interrupt::check()?;
        if !status.success() {
            self.failures.push(format!("`{shown}` failed"));
        }
        Ok(())
    }

    /// Adds the result of something else than cargo.
    pub(super) fn add(&mut self, what: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.lines.push(format!("{what}: ok")),
            Err(error) => self.failures.push(format!("{what}: {error:#}")),
        }
    }

    /// Repeats the verdicts.
    ///
    /// # Errors
    /// When something failed.
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        self.lines.iter().for_each(console::line);
        self.verdict()
    }

    fn verdict(&self) -> anyhow::Result<()> {
        if !self.failures.is_empty() {
            bail!("{}", self.failures.join("\n"));
        }
        Ok(())
    }
}

/// Names of the workspace's test targets, so that a new one is run without being listed here.
pub(super) fn tests() -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(cargo());
    command.current_dir(paths::repository()).args(["metadata", "--no-deps", "--locked", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&process::capture(&mut command)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let is_test =
        |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
    Ok(targets.filter(is_test).filter_map(|target| target["name"].as_str()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_targets_are_found() {
        let found = tests().unwrap();
        for name in ["e2e", "tidy", "process"] {
            assert!(found.iter().any(|found| found == name), "{name} is not among {found:?}");
        }
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let mut verdicts = Verdicts::default();
        verdicts.add("good", Ok(()));
        assert!(verdicts.verdict().is_ok());
        verdicts.add("bad", Err(anyhow::anyhow!("it broke")));
        assert!(verdicts.verdict().unwrap_err().to_string().contains("bad: it broke"));
    }
}
