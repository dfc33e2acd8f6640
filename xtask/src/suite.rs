//! `make test`: every test there is, from units to real pods and a real browser, cheapest first. A failure does not stop
//! the rest; the end repeats cargo's verdicts.

mod cargo;

use std::process::Command;

use anyhow::bail;

use crate::real_servers::RealServers;
use crate::target::Target;
use crate::toolchain::{self, apt};
use crate::verifiers::Verifiers;
use crate::world::World;
use crate::{console, fuzz, images, paths, process};
use cargo::Verdicts;

/// Tests that need the world on a cluster, in this order: the commands of the docs end with removing everything.
const ON_CLUSTER: [&str; 3] = ["e2e", "browser", "docs"];

/// Tests that need npm packages: the Okta-like server, and a client that is not ours.
const WITH_PACKAGES: &str = "clients";

/// Tests whose load would disturb the others, and theirs them.
const ENDURANCE: &str = "endurance::";

/// How long each fuzz target runs here: enough to try all seeds and their nearest neighbours.
const FUZZ_SECONDS: u64 = 10;

/// Runs all tests. With `keep` the cluster stays, to look into a failure.
///
/// # Errors
/// When a test fails, or when something cannot be prepared.
pub fn run(keep: bool) -> anyhow::Result<()> {
    let _reserved = Target::reserve()?;
    console::title("Tools");
    apt::ensure(&[apt::CLUSTER, apt::WORLD, apt::BROWSER])?;
    toolchain::ensure(&toolchain::ALL.map(|tool| tool.name))?;
    Verifiers::ensure()?;
    RealServers::ensure()?;

    let mut verdicts = Verdicts::default();
    console::title("Units, the sidecar in process, the chart, and the operator on a real API server");
    let elsewhere = |test: &String| ON_CLUSTER.contains(&test.as_str()) || test == WITH_PACKAGES;
    let here = cargo::tests()?.into_iter().filter(|test| !elsewhere(test));
    let selection: Vec<String> = here.flat_map(|test| ["--test".into(), test]).collect();
    let units = ["--lib".into(), "--bins".into()];
    let apart = ["--".into(), "--skip".into(), ENDURANCE.into()];
    verdicts.run(&[&units, selection.as_slice(), &apart].concat(), |_| Ok(()))?;

    console::title("The sidecar under load and faults, the short versions");
    verdicts.run(&endurance_tests(), |_| Ok(()))?;

    console::title("Fuzzing, the short run");
    verdicts.add("fuzzing", fuzz::run(FUZZ_SECONDS, None));

    console::title("The Okta-like server, and a client that is not ours");
    if let Err(error) = with_packages(&mut verdicts) {
        verdicts.add("npm packages", Err(error));
    }

    console::title("A cluster with the product on it");
    match World::prepare(false, keep) {
        Ok(world) => {
            let result = on_cluster(&world, &mut verdicts);
            world.end(keep)?;
            result?;
        }
        Err(error) => verdicts.add("the cluster", Err(error)),
    }

    console::title("Results");
    verdicts.finish()
}

/// The tests of endurance in their long versions: minutes each, one after the other, with their figures shown.
///
/// # Errors
/// When one fails.
pub fn endurance(only: Option<&str>) -> anyhow::Result<()> {
    let mut verdicts = Verdicts::default();
    console::title("The sidecar under load and faults, the long versions");
    let mut selection = endurance_tests();
    selection.splice(0..0, ["--profile".into(), "quick".into()]);
    selection.push("--nocapture".into());
    if let Some(only) = only {
        selection.iter_mut().filter(|argument| *argument == ENDURANCE).for_each(|filter| *filter += only);
    }
    verdicts.run(&selection, |command| {
        command.env("TOLLGATE_ENDURANCE", "full");
        Ok(())
    })?;
    verdicts.finish()
}

/// One after the other: each wants the machine for itself.
fn endurance_tests() -> Vec<String> {
    ["--test", "sidecar", "--test", "memory", "--", ENDURANCE, "--test-threads=1"].map(String::from).into()
}

fn on_cluster(world: &World, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    for test in ON_CLUSTER {
        if !cargo::tests()?.iter().any(|known| known == test) {
            bail!("the tests have no target {test}");
        }
        console::title(format_args!("On the cluster: {test}"));
        verdicts.run(&["--test".into(), test.into()], |command| world.environment(command))?;
    }
    Ok(())
}

fn with_packages(verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let folder = |name: &str| images::with_packages(name, &paths::repository().join("tests").join(name));
    let (okta_like, clients) = (folder("okta-like")?, folder("clients")?);
    let mut own_tests = Command::new("npm");
    own_tests.current_dir(okta_like.path()).args(["test", "--silent"]);
    let own_tests = console::step("the server's own tests", || process::capture(&mut own_tests).map(drop));
    verdicts.add("okta-like", own_tests);
    verdicts.run(&["--test".into(), WITH_PACKAGES.into()], |command| {
        command.env("TOLLGATE_OKTA_LIKE", okta_like.path()).env("TOLLGATE_CLIENTS", clients.path());
        Ok(())
    })
}
