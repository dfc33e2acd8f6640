//! The benchmark: the sidecar beside the anchors that bound it (the upstream itself, nginx and a bare hyper proxy) and
//! those it is compared with (Envoy, oauth2-proxy), one core each, interleaved, medians of the rounds. It measures, and
//! says which goals are met; it fails only where it could not measure.
//!
//! CPU 0 runs the proxy under test, CPU 1 the upstream and the load. Both are busy, so requests/s is bounded by both:
//! the proxy's CPU time a request is the figure to rank by.

mod allocations;
mod anchors;
mod exchange;
mod goals;
mod load;
mod memory;
pub mod paced;
mod policy;
mod programs;
mod report;
mod row;
mod servers;
pub mod stub;
mod tokens;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use tollgate_contract::Algorithm;

use self::anchors::EnvoyJwt;
use self::load::{Load, Sample};
use self::policy::Judgement;
use self::programs::Programs;
use self::report::{Figures, Paced};
use self::row::Row;
use self::servers::{Server, Sidecar, Stage};
use self::tokens::{Files, Mint};
use crate::{console, interrupt};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds over all rows; the medians count.
    pub rounds: usize,
    /// Length of one measurement.
    pub seconds: u64,
}

/// Distinct tokens for the rows in which every token is new. More than a round can use at the rates seen, and each round
/// starts a fresh sidecar, so no token is met twice; a row that runs out of them fails.
const DISTINCT_TOKENS_PER_SECOND: u64 = 30_000;

/// Keep-alive connections of the load.
const CONNECTIONS: u32 = 32;

/// Where each request waits 20 ms for the issuer, as many wait at once.
const WAITING_CONNECTIONS: u32 = 256;

/// A start takes milliseconds: so many of them, for a median that says something.
const STARTS: usize = 11;

/// What is measured beside the rows, as `--only` names it.
const PACED: &str = "paced";
const MEMORY: &str = "memory";
const START: &str = "start";
const SIZES: &str = "sizes";
const ALLOCATIONS: &str = "allocations";

/// A run in progress.
struct Run<'a> {
    effort: Effort,
    /// Only what has this in its name.
    only: Option<&'a str>,
    stage: Stage,
    mint: Mint,
    files: Files,
    /// What could not be measured.
    failures: Vec<String>,
}

/// Runs the benchmark, writes docs/benchmarks.md and, when asked, one JSON object. With `only`, measures what has that in
/// its name and writes no page.
///
/// # Errors
/// When ours does not build or the upstream does not start; at the end, when something could not be measured.
pub fn run(effort: Effort, only: Option<&str>, json: Option<&Path>) -> anyhow::Result<()> {
    if effort.rounds == 0 || effort.seconds == 0 {
        bail!("the benchmark needs at least one round of one second");
    }
    // A thousand connections are two thousand files of a proxy; children inherit the limit.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")?;
    let stage = Stage::prepare(Programs::prepare()?)?;
    let mint = Mint::new()?;
    let wanted: Vec<Algorithm> = rows(only).filter_map(Row::distinct).collect();
    let files = console::step("signing tokens", || mint.write(&stage, effort.seconds, &wanted))?;
    let mut run = Run { effort, only, stage, mint, files, failures: Vec::new() };
    let figures = run.measure()?;
    console::line(format_args!("\n{}\n{}", figures.goals(), figures.table()));
    figures.missing.iter().for_each(console::line);
    if only.is_none() {
        report::write_page(&figures)?;
    }
    if let Some(file) = json {
        report::write_json(&figures, file)?;
    }
    if run.failures.is_empty() { Ok(()) } else { bail!("not measured:\n{}", run.failures.join("\n")) }
}

/// The rows that are wanted.
fn rows(only: Option<&str>) -> impl Iterator<Item = Row> {
    Row::ALL.into_iter().filter(move |row| only.is_none_or(|only| row.key().contains(only)))
}

impl Run<'_> {
    fn measure(&mut self) -> anyhow::Result<Figures> {
        let mut figures = Figures {
            effort: self.effort,
            rows: rows(self.only).filter(|row| self.has(*row)).map(|row| (row, Vec::new())).collect(),
            paced: Vec::new(),
            connections: None,
            tokens: None,
            starts_ms: Vec::new(),
            binary_bytes: None,
            image_bytes: None,
            allocations: None,
            missing: self.stage.programs.missing(),
        };
        for round in 1..=self.effort.rounds {
            let of = self.effort.rounds;
            for (row, samples) in &mut figures.rows {
                samples.push(self.attempt(&format!("round {round} of {of}: {}", row.title()), |run| run.row(*row))?);
            }
            if self.wants(PACED) {
                let what = format!("round {round} of {of}: at 2,000 requests/s");
                figures.paced.extend(self.attempt(&what, Self::paced)?);
            }
        }
        if self.wants(MEMORY) {
            let busy = self.seconds();
            let connections = |run: &Self| memory::connections(&run.stage, &run.files.one, busy);
            figures.connections = self.attempt("memory with many connections", connections)?;
            let tokens = |run: &Self| memory::tokens(&run.stage, &run.mint);
            figures.tokens = self.attempt("memory with many tokens", tokens)?;
        }
        if self.wants(START) {
            let starts = |run: &Self| (0..STARTS).map(|_| memory::start_to_ready(&run.stage, &run.mint)).collect();
            figures.starts_ms = self.attempt("starting", starts)?.unwrap_or_default();
        }
        if self.wants(SIZES) {
            figures.binary_bytes = self.attempt("size of the binary", |run| run.stage.programs.sidecar_bytes())?;
            figures.image_bytes = self.attempt("size of the image", |_| programs::image_bytes())?;
        }
        if self.wants(ALLOCATIONS) {
            figures.allocations = self.attempt("counting allocations of a request", |_| allocations::count())?;
        }
        Ok(figures)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_none_or(|only| name.contains(only))
    }

    /// Whether what a row needs is installed.
    fn has(&self, row: Row) -> bool {
        let programs = &self.stage.programs;
        match row {
            Row::EnvoyPlain | Row::EnvoyDefault | Row::EnvoyCached => programs.envoy.is_ok(),
            Row::Oauth2Proxy => programs.oauth2_proxy.is_ok(),
            _ => true,
        }
    }

    /// One measurement; that it failed is told at the end, and the others are still made.
    fn attempt<T>(&mut self, what: &str, work: impl FnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        interrupt::check()?;
        match console::step(what, || work(self)) {
            Ok(measured) => Ok(Some(measured)),
            Err(error) => {
                interrupt::check()?;
                let failure = format!("{what}: {error:#}");
                console::line(&failure);
                self.failures.push(failure);
                Ok(None)
            }
        }
    }

    fn row(&self, row: Row) -> anyhow::Result<Sample> {
        let Self { stage, files, .. } = self;
        let stub = match row {
            Row::IntrospectedCached | Row::IntrospectedNew => Some(Server::issuer_stub(stage, &files.answer)?),
            _ => None,
        };
        let proxy = self.proxy(row)?;
        let distinct = row.distinct().is_some() || row == Row::IntrospectedNew;
        let load = Load {
            url: proxy.as_ref().map_or_else(|| stage.upstream_url(), Server::url),
            tokens: match row {
                Row::EveryTokenNew(algorithm) => files.distinct(algorithm)?,
                Row::IntrospectedCached => &files.one_opaque,
                Row::IntrospectedNew => &files.distinct_opaque,
                _ => &files.one,
            },
            connections: if row == Row::IntrospectedNew { WAITING_CONNECTIONS } else { CONNECTIONS },
            duration: self.seconds(),
            at_most: distinct.then_some(DISTINCT_TOKENS_PER_SECOND * self.effort.seconds),
        };
        let sample = load.run(stage, proxy.as_ref())?;
        drop((proxy, stub));
        Ok(sample)
    }

    /// What a row sends its requests to; none for the upstream itself.
    fn proxy(&self, row: Row) -> anyhow::Result<Option<Server>> {
        let stage = &self.stage;
        let envoy = |jwt| anchors::envoy(stage, jwt, &self.mint.jwks());
        let rs256 = Sidecar::judging(Judgement::Local(Algorithm::Rs256));
        let introspecting = Sidecar::judging(Judgement::Introspection);
        Ok(Some(match row {
            Row::Direct => return Ok(None),
            Row::Nginx => anchors::nginx(stage)?,
            Row::BareHyper => anchors::bare_hyper(stage)?,
            Row::EnvoyPlain => envoy(EnvoyJwt::Off)?,
            Row::EnvoyDefault => envoy(EnvoyJwt::Default)?,
            Row::EnvoyCached => envoy(EnvoyJwt::Cached)?,
            Row::Oauth2Proxy => anchors::oauth2_proxy(stage)?,
            Row::CachedToken => Server::sidecar(stage, rs256)?,
            Row::CachedTokenLogged => Server::sidecar(stage, Sidecar { access_log: true, ..rs256 })?,
            Row::EveryTokenNew(algorithm) => Server::sidecar(stage, Sidecar::judging(Judgement::Local(algorithm)))?,
            Row::IntrospectedCached => Server::sidecar(stage, introspecting)?,
            Row::IntrospectedNew => Server::sidecar(stage, Sidecar { heeds_limits: false, ..introspecting })?,
        }))
    }

    /// One after the other.
    fn paced(&self) -> anyhow::Result<Paced> {
        let Self { stage, files, .. } = self;
        let measure = |port| paced::measure(port, &files.one, self.seconds());
        let direct = measure(stage.upstream_port)?;
        let bare_hyper = measure(anchors::bare_hyper(stage)?.port())?;
        let sidecar = Server::sidecar(stage, Sidecar::judging(Judgement::Local(Algorithm::Rs256)))?;
        Ok(Paced { direct, bare_hyper, sidecar: measure(sidecar.port())? })
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.effort.seconds)
    }
}

impl Row {
    /// The algorithm of which every token is new.
    fn distinct(self) -> Option<Algorithm> {
        match self {
            Self::EveryTokenNew(algorithm) => Some(algorithm),
            _ => None,
        }
    }
}
