//! The rows, their medians, and how they are shown: a table, docs/benchmarks.md, and one JSON object.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use tollgate_contract::Algorithm;

use super::Effort;
use super::load::{Sample, to_f64};
use crate::{console, paths};

/// What is measured, in the order of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Direct,
    Nginx,
    CachedToken,
    CachedTokenLogged,
    EveryTokenNew(Algorithm),
    IntrospectedCached,
    IntrospectedNew,
}

impl Row {
    pub(super) const ALL: [Self; 9] = [
        Self::Direct,
        Self::Nginx,
        Self::CachedToken,
        Self::CachedTokenLogged,
        Self::EveryTokenNew(Algorithm::Rs256),
        Self::EveryTokenNew(Algorithm::Es256),
        Self::EveryTokenNew(Algorithm::EdDsa),
        Self::IntrospectedCached,
        Self::IntrospectedNew,
    ];

    pub(super) fn title(self) -> String {
        match self {
            Self::Direct => "upstream itself".to_owned(),
            Self::Nginx => "nginx, plain forwarding".to_owned(),
            Self::CachedToken => "sidecar, one token".to_owned(),
            Self::CachedTokenLogged => "sidecar, one token, access log on".to_owned(),
            Self::EveryTokenNew(algorithm) => format!("sidecar, every token new ({})", algorithm.as_str()),
            Self::IntrospectedCached => "sidecar, one opaque token, introspected".to_owned(),
            Self::IntrospectedNew => "sidecar, every opaque token new, issuer answers in 20 ms".to_owned(),
        }
    }

    fn key(self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::Nginx => "nginx".to_owned(),
            Self::CachedToken => "sidecar_cached".to_owned(),
            Self::CachedTokenLogged => "sidecar_cached_logged".to_owned(),
            Self::EveryTokenNew(algorithm) => {
                format!("sidecar_every_token_new_{}", algorithm.as_str().to_ascii_lowercase())
            }
            Self::IntrospectedCached => "sidecar_introspect_cached".to_owned(),
            Self::IntrospectedNew => "sidecar_introspect_new".to_owned(),
        }
    }
}

/// Everything that a run measured. Keys without a unit in their name have none.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    rounds: usize,
    seconds: u64,
    rows: Vec<RowFigures>,
    /// The sidecar's CPU time a request over nginx's, cached token, access log off.
    cpu_us_over_nginx: Option<f64>,
    /// CPU time a request, one introspected token over one that is checked locally.
    introspect_cached_vs_cached: Option<f64>,
    /// CPU time a request where each asks the issuer.
    introspect_new_cpu_us: Option<f64>,
    /// Of a request whose token is known, in a debug build.
    allocations_per_request: f64,
    /// Anonymous resident memory before the first request.
    rss_idle_mb: f64,
    /// The stripped binary.
    binary_mb: f64,
    #[serde(skip)]
    machine: String,
}

#[derive(Debug, Serialize)]
struct RowFigures {
    key: String,
    #[serde(skip)]
    title: String,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us_per_request: Option<f64>,
    rss_mb: Option<f64>,
}

impl Figures {
    pub(super) fn from(
        effort: Effort,
        rows: &[(Row, Vec<Sample>)],
        idle_rss_kib: &[u64],
        binary_bytes: u64,
        allocations_per_request: f64,
    ) -> Self {
        let rows: Vec<RowFigures> = rows.iter().map(|(row, samples)| RowFigures::from(*row, samples)).collect();
        let cpu = |row: Row| rows.iter().find(|figures| figures.key == row.key())?.cpu_us_per_request;
        Self {
            rounds: effort.rounds,
            seconds: effort.seconds,
            cpu_us_over_nginx: cpu(Row::CachedToken).zip(cpu(Row::Nginx)).map(|(ours, theirs)| round(ours - theirs)),
            introspect_cached_vs_cached: cpu(Row::IntrospectedCached)
                .zip(cpu(Row::CachedToken))
                .map(|(asked, local)| round(asked / local)),
            introspect_new_cpu_us: cpu(Row::IntrospectedNew),
            allocations_per_request,
            rss_idle_mb: round(median(idle_rss_kib.iter().map(|kib| to_f64(*kib))).unwrap_or_default() / 1024.0),
            binary_mb: round(to_f64(binary_bytes) / 1e6),
            rows,
            machine: machine(),
        }
    }

    /// A Markdown table.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "| row | requests/s | p50 | p99 | CPU a request | memory |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for row in &self.rows {
            let optional =
                |value: Option<f64>, unit| value.map_or_else(String::new, |value| format!("{value:.1} {unit}"));
            text += &format!(
                "| {} | {:.0} | {:.2} ms | {:.2} ms | {} | {} |\n",
                row.title,
                row.requests_per_second,
                row.p50_us / 1e3,
                row.p99_us / 1e3,
                optional(row.cpu_us_per_request, "us"),
                optional(row.rss_mb, "MB"),
            );
        }
        text
    }

    fn page(&self) -> String {
        format!(
            "<!-- generated by `cargo xtask bench`; do not edit -->\n# Benchmarks\n\n\
             `make bench` measures the sidecar in front of an upstream that answers 91 bytes (nginx), beside the upstream\n\
             itself and nginx as a plain proxy. The proxy under test has CPU 0 for itself (one worker); the upstream and\n\
             the load (wrk, one thread, 32 keep-alive connections) share CPU 1. Rows are interleaved; each figure is the\n\
             median of {rounds} rounds of {seconds} s. Any answer but 200 fails the run.\n\n\
             Both cores are busy, so requests/s is bounded by both: rank by the proxy's own CPU time a request.\n\n\
             {table}\n\
             The sidecar idle: {idle:.1} MB of anonymous memory. Its stripped, static binary: {binary:.1} MB. A request \
             with a\nknown token allocates {allocations:.1} times (counted in a debug build).\n\n\
             - *one token*: an RS256 access token in Okta's shape whose verdict is cached; route and scopes are evaluated\n  \
             on each request.\n\
             - *every token new*: no token is met twice; each costs a signature check.\n\
             - *one opaque token, introspected*: the issuer's answer is cached.\n\
             - *every opaque token new*: each costs a question to a local issuer that answers after 20 ms; 256 \
             connections wait.\n\n\
             Measured on {machine}. Figures of other machines differ; ratios within one run are what to compare.\n",
            rounds = self.rounds,
            seconds = self.seconds,
            table = self.table(),
            idle = self.rss_idle_mb,
            binary = self.binary_mb,
            allocations = self.allocations_per_request,
            machine = self.machine,
        )
    }
}

impl RowFigures {
    fn from(row: Row, samples: &[Sample]) -> Self {
        let of = |field: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(field)).map(round);
        Self {
            key: row.key(),
            title: row.title(),
            requests_per_second: of(|sample| Some(sample.requests_per_second)).unwrap_or_default(),
            p50_us: of(|sample| Some(sample.p50_us)).unwrap_or_default(),
            p99_us: of(|sample| Some(sample.p99_us)).unwrap_or_default(),
            cpu_us_per_request: of(|sample| sample.cpu_us),
            rss_mb: of(|sample| sample.rss_kib.map(|kib| to_f64(kib) / 1024.0)),
        }
    }
}

/// Writes docs/benchmarks.md and the JSON file.
pub(super) fn write(figures: &Figures, json: Option<&Path>) -> anyhow::Result<()> {
    let page = paths::repository().join("docs/benchmarks.md");
    fs::write(&page, figures.page()).with_context(|| format!("writing {}", page.display()))?;
    console::line("wrote docs/benchmarks.md");
    if let Some(file) = json {
        fs::write(file, serde_json::to_string_pretty(figures)? + "\n")
            .with_context(|| format!("writing {}", file.display()))?;
        console::line(format_args!("wrote {}", file.display()));
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The processor's name and the kernel: what a reader needs to place the figures.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field =
        |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(": ").nth(1));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let major: Vec<&str> = kernel.trim().split(['.', '-']).take(2).collect();
    format!("{cores} cores of {}, Linux {}", field("model name").unwrap_or("an unknown processor"), major.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([9.0, 1.0, 5.0].into_iter()), Some(5.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
