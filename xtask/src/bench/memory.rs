//! What the sidecar holds in memory: idle, with many connections, with many tokens; and how soon it is ready. Anonymous
//! resident memory (`RssAnon`), as the rest is the binary, which the kernel may drop.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tollgate_contract::Algorithm;

use super::anchors;
use super::exchange::{connect, exchange, get};
use super::load::{Load, to_f64};
use super::policy::Judgement;
use super::servers::{Server, Sidecar, Stage};
use super::tokens::Mint;

/// Connections of the rows with many.
const MANY_CONNECTIONS: u32 = 1_000;

/// As many as the cache of verdicts holds, and ten times as many.
const TOKENS: u64 = 100_000;
const FLOOD: u64 = 1_000_000;

/// Threads that sign and send tokens.
const SENDERS: u64 = 4;

/// Signs about as fast as it is checked; what is remembered of a token is the same for all algorithms.
const ALGORITHM: Algorithm = Algorithm::EdDsa;

/// How often the peak of a load is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Memory in MB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connections {
    pub(super) idle: f64,
    pub(super) with_idle_connections: f64,
    pub(super) with_busy_connections: f64,
    pub(super) bare_hyper_with_busy_connections: f64,
}

/// Memory in MB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    pub(super) with_as_many_as_fit: f64,
    pub(super) with_ten_times_as_many: f64,
}

/// Idle, then with connections that have had an answer and wait, then with as many that ask all the time.
pub(super) fn connections(stage: &Stage, token: &Path, busy: Duration) -> anyhow::Result<Connections> {
    let rs256 = Sidecar::judging(Judgement::Local(Algorithm::Rs256));
    let sidecar = Server::sidecar(stage, rs256)?;
    let idle = megabytes(sidecar.anonymous_rss_kib()?);
    let with_idle_connections = {
        let request = get("/items", std::fs::read_to_string(token)?.trim());
        let mut buffer = Vec::new();
        let mut held = Vec::new();
        for _ in 0..MANY_CONNECTIONS {
            let mut connection = connect(sidecar.port())?;
            exchange(&mut connection, &request, &mut buffer)?;
            held.push(connection);
        }
        megabytes(sidecar.anonymous_rss_kib()?)
    };
    drop(sidecar);
    // A fresh one: what the first ones left behind is not the others'.
    let with_busy_connections = peak(stage, &Server::sidecar(stage, rs256)?, token, busy)?;
    let bare_hyper_with_busy_connections = peak(stage, &anchors::bare_hyper(stage)?, token, busy)?;
    Ok(Connections { idle, with_idle_connections, with_busy_connections, bare_hyper_with_busy_connections })
}

/// The most that a proxy holds while many connections ask all the time.
fn peak(stage: &Stage, proxy: &Server, token: &Path, busy: Duration) -> anyhow::Result<f64> {
    let load = Load { url: proxy.url(), tokens: token, connections: MANY_CONNECTIONS, duration: busy, at_most: None };
    thread::scope(|scope| {
        let loading = scope.spawn(|| load.run(stage, Some(proxy)));
        let mut peak = 0;
        while !loading.is_finished() {
            peak = peak.max(proxy.anonymous_rss_kib()?);
            thread::sleep(LOOK);
        }
        loading.join().map_err(|_| anyhow!("the load panicked"))??;
        anyhow::Ok(megabytes(peak))
    })
}

/// After as many good tokens as are remembered, then after ten times as many.
pub(super) fn tokens(stage: &Stage, mint: &Mint) -> anyhow::Result<Tokens> {
    let sidecar = Server::sidecar(stage, Sidecar::judging(Judgement::Local(ALGORITHM)))?;
    send(stage, mint, &sidecar, 0, TOKENS)?;
    let with_as_many_as_fit = megabytes(sidecar.anonymous_rss_kib()?);
    send(stage, mint, &sidecar, TOKENS, FLOOD)?;
    Ok(Tokens { with_as_many_as_fit, with_ten_times_as_many: megabytes(sidecar.anonymous_rss_kib()?) })
}

/// Milliseconds from the start of the process to the first good answer to the readiness probe, keys seeded.
pub(super) fn start_to_ready(stage: &Stage, mint: &Mint) -> anyhow::Result<f64> {
    let hints = mint.write_hints(stage)?;
    let sidecar =
        Sidecar { hints: Some(&hints), pinned: false, ..Sidecar::judging(Judgement::Local(Algorithm::Rs256)) };
    let started = Instant::now();
    let sidecar = Server::sidecar(stage, sidecar)?;
    let took = started.elapsed();
    drop(sidecar);
    Ok(took.as_secs_f64() * 1e3)
}

/// Each token once.
fn send(stage: &Stage, mint: &Mint, sidecar: &Server, from: u64, to: u64) -> anyhow::Result<()> {
    let issuer = stage.issuer();
    let part = |number: u64| {
        let issuer = &issuer;
        move || -> anyhow::Result<()> {
            let mut connection = connect(sidecar.port())?;
            let mut buffer = Vec::new();
            for serial in (from..to).filter(|serial| serial % SENDERS == number) {
                let token = mint.token(ALGORITHM, issuer, serial)?;
                exchange(&mut connection, &get("/items", &token), &mut buffer).context("sending a new token")?;
            }
            Ok(())
        }
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..SENDERS).map(|number| scope.spawn(part(number))).collect();
        parts.into_iter().try_for_each(|part| part.join().map_err(|_| anyhow!("a sender panicked"))?)
    })
}

fn megabytes(kib: u64) -> f64 {
    to_f64(kib) / 1024.0
}
