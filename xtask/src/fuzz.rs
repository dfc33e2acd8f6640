//! `cargo xtask fuzz`: hands what strangers send, altered without end, to the readers that meet it first, and fails
//! where an invariant breaks. The targets lie in `tests/fuzz`; they are built as cargo-fuzz builds them without a
//! sanitizer, which the stable toolchain can do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, bail};

use crate::images::cargo;
use crate::{console, interrupt, paths, process};

/// Targets that run beside each other; more would only share the cores of a small machine.
const AT_ONCE: usize = 2;

/// Which dictionary suits a target.
const DICTIONARIES: [(&str, &str); 9] = [
    ("authorization", "authorization"),
    ("claims", "json"),
    ("dpop", "json"),
    ("introspection", "json"),
    ("jwks", "json"),
    ("jws", "json"),
    ("metadata", "json"),
    ("path", "path"),
    ("rule", "rule"),
];

/// What cargo-fuzz passes to rustc: edges, comparisons and their operands are counted, and branches stay apart.
const INSTRUMENTATION: [&str; 9] = [
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// Runs every target, or the one named, for so many seconds each.
///
/// # Errors
/// When a target finds something (the input that shows it is kept), or cannot be built.
pub fn run(seconds: u64, only: Option<&str>) -> anyhow::Result<()> {
    let targets: Vec<&str> = DICTIONARIES
        .iter()
        .map(|(target, _)| *target)
        .filter(|target| only.is_none_or(|only| only == *target))
        .collect();
    if targets.is_empty() {
        bail!("there is no fuzz target {}", only.unwrap_or_default());
    }
    let programs = console::step("building the fuzz targets", build)?;
    let mut findings = Vec::new();
    for pair in targets.chunks(AT_ONCE) {
        let outcomes = console::step(&format!("{}, {seconds} s", pair.join(" and ")), || {
            Ok(side_by_side(&programs, pair, seconds))
        })?;
        interrupt::check()?;
        for (target, outcome) in pair.iter().zip(outcomes) {
            match outcome {
                Ok(executions) => console::line(format_args!("   {target}: {executions} executions, nothing found")),
                Err(error) => findings.push(format!("{target}: {error:#}")),
            }
        }
    }
    if findings.is_empty() { Ok(()) } else { bail!("{}", findings.join("\n")) }
}

fn folder() -> PathBuf {
    paths::repository().join("tests/fuzz")
}

/// Builds all targets; returns the folder of their programs.
fn build() -> anyhow::Result<PathBuf> {
    let host = host()?;
    // Apart from all other builds: every crate is instrumented.
    let target_dir = paths::repository().join("target/fuzz");
    let mut command = Command::new(cargo());
    command
        .current_dir(folder())
        // A named target keeps the flags away from build scripts. Not `--locked`: a new dependency of the sidecar must
        // not wait for somebody to think of this lock.
        .args(["build", "--release", "--target", &host, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f"));
    process::capture(&mut command)?;
    Ok(target_dir.join(host).join("release"))
}

fn host() -> anyhow::Result<String> {
    let said = process::capture(Command::new("rustc").arg("-vV").current_dir(paths::repository()))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say for which host it is")
}

fn side_by_side(programs: &Path, targets: &[&str], seconds: u64) -> Vec<anyhow::Result<u64>> {
    thread::scope(|scope| {
        let runs: Vec<_> = targets.iter().map(|target| scope.spawn(|| fuzz(programs, target, seconds))).collect();
        runs.into_iter().map(|run| run.join().unwrap_or_else(|_| bail!("the run panicked"))).collect()
    })
}

/// Runs one target; returns how many inputs it tried.
fn fuzz(programs: &Path, target: &str, seconds: u64) -> anyhow::Result<u64> {
    let seeds = folder().join("corpus").join(target);
    // What libFuzzer adds goes here, and serves the next run; the seeds stay as they are committed.
    let grown = paths::repository().join("target/fuzz/corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    fs::create_dir_all(&grown)?;
    fs::create_dir_all(&artifacts)?;
    let dictionary = DICTIONARIES.iter().find(|(name, _)| *name == target).map_or("json", |(_, dictionary)| dictionary);
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-dict={}", folder().join("dictionaries").join(format!("{dictionary}.dict")).display()))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        // Seconds for one input are a finding too: nothing here takes long, however busy the machine is.
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"])
        .args([&grown, &seeds]);
    let output = command.output().with_context(|| format!("starting {}", process::shown(&command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}\nthe input is in {}", process::tail(&said), artifacts.display());
    }
    executions(&said).context("libFuzzer did not say how many inputs it tried")
}

fn executions(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_target_has_seeds_and_a_dictionary_and_is_run() {
        let targets = names(&folder().join("targets"));
        assert_eq!(targets, DICTIONARIES.map(|(target, _)| target));
        assert_eq!(targets, names(&folder().join("corpus")));
        let dictionaries = names(&folder().join("dictionaries"));
        assert!(DICTIONARIES.iter().all(|(_, dictionary)| dictionaries.iter().any(|name| name == dictionary)));
    }

    #[test]
    fn the_count_is_read_from_what_libfuzzer_says() {
        assert_eq!(executions("Done 7 runs\nstat::number_of_executed_units: 4211\nstat::x: 1"), Some(4_211));
        assert_eq!(executions("ERROR: libFuzzer"), None);
    }
}
