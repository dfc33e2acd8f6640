//! The benchmark: the sidecar beside the anchors that bound it (the upstream itself, nginx as a plain proxy), one core
//! each, interleaved, medians of the rounds. It measures and reports; it never judges.
//!
//! CPU 0 runs the proxy under test, CPU 1 the upstream and the load. Both are busy, so requests/s is bounded by both:
//! the proxy's CPU time a request is the figure to rank by.

mod allocations;
mod load;
mod policy;
mod report;
mod servers;
pub mod stub;
mod tokens;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use load::{Load, Sample};
use policy::Judgement;
use report::{Figures, Row};
use servers::{Server, Stage};
use tollgate_contract::Algorithm;

use crate::console;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds over all rows; the medians count.
    pub rounds: usize,
    /// Length of one measurement.
    pub seconds: u64,
}

/// Distinct tokens for the row in which every token is new. More than a round can use at the rates seen, and each round
/// starts a fresh sidecar, so no token is met twice.
const DISTINCT_TOKENS_PER_SECOND: u64 = 40_000;

/// Keep-alive connections of the load.
const CONNECTIONS: u32 = 32;

/// Where each request waits 20 ms for the issuer, as many wait at once.
const WAITING_CONNECTIONS: u32 = 256;

/// Runs the benchmark, writes docs/benchmarks.md and, when asked, one JSON object.
///
/// # Errors
/// When a tool is missing, a server does not start, or a row sees any answer but 200.
pub fn run(effort: Effort, json: Option<&Path>) -> anyhow::Result<()> {
    if effort.rounds == 0 || effort.seconds == 0 {
        bail!("the benchmark needs at least one round of one second");
    }
    let stage = Stage::prepare()?;
    let tokens = console::step("signing tokens", || tokens::Mint::new()?.write(&stage, effort))?;
    let mut rows: Vec<(Row, Vec<Sample>)> = Row::ALL.map(|row| (row, Vec::new())).into();
    let mut idle_rss = Vec::new();
    for round in 1..=effort.rounds {
        for (row, samples) in &mut rows {
            let sample = console::step(&format!("round {round} of {}: {}", effort.rounds, row.title()), || {
                measure(*row, &stage, &tokens, effort, &mut idle_rss)
            })?;
            samples.push(sample);
        }
    }
    let allocations = console::step("counting allocations of a request", allocations::count)?;
    let figures = Figures::from(effort, &rows, &idle_rss, stage.sidecar_bytes()?, allocations);
    console::line(figures.table());
    report::write(&figures, json)
}

fn measure(
    row: Row,
    stage: &Stage,
    tokens: &tokens::Files,
    effort: Effort,
    idle_rss: &mut Vec<u64>,
) -> anyhow::Result<Sample> {
    let rs256 = Judgement::Local(Algorithm::Rs256);
    let stub = match row {
        Row::IntrospectedCached | Row::IntrospectedNew => Some(Server::issuer_stub(stage, &tokens.answer)?),
        _ => None,
    };
    let proxy = match row {
        Row::Direct => None,
        Row::Nginx => Some(Server::nginx_proxy(stage)?),
        Row::CachedToken => Some(Server::sidecar(stage, rs256, false)?),
        Row::CachedTokenLogged => Some(Server::sidecar(stage, rs256, true)?),
        Row::EveryTokenNew(algorithm) => Some(Server::sidecar(stage, Judgement::Local(algorithm), false)?),
        Row::IntrospectedCached | Row::IntrospectedNew => {
            Some(Server::sidecar(stage, Judgement::Introspection, false)?)
        }
    };
    if let (Row::CachedToken, Some(sidecar)) = (row, &proxy) {
        idle_rss.push(sidecar.anonymous_rss_kib()?);
    }
    let load = Load {
        url: proxy.as_ref().map_or_else(|| stage.upstream_url(), Server::url),
        tokens: match row {
            Row::EveryTokenNew(algorithm) => tokens.distinct(algorithm)?,
            Row::IntrospectedCached => &tokens.one_opaque,
            Row::IntrospectedNew => &tokens.distinct_opaque,
            _ => &tokens.one,
        },
        connections: if row == Row::IntrospectedNew { WAITING_CONNECTIONS } else { CONNECTIONS },
        duration: Duration::from_secs(effort.seconds),
    };
    let sample = load.run(stage, proxy.as_ref()).with_context(|| format!("measuring {}", row.title()))?;
    drop((proxy, stub));
    Ok(sample)
}
