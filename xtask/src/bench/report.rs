//! What a run measured, and how it is shown: the goals, the table of rows, docs/benchmarks.md, and one JSON object with the
//! goals' keys. Of what is compared, the figure is the median of the rounds' differences or ratios, as both sides of a
//! round meet the machine in the same mood.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use tollgate_contract::Algorithm;

use super::Effort;
use super::goals::{self, GOALS};
use super::load::{Sample, to_f64};
use super::memory::{Connections, Tokens};
use super::paced::Times;
use super::row::Row;
use crate::{console, paths};

/// Everything that a run measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) effort: Effort,
    /// A row's samples, one a round; none where it failed or its anchor is missing.
    pub(super) rows: Vec<(Row, Vec<Option<Sample>>)>,
    /// By round.
    pub(super) paced: Vec<Paced>,
    pub(super) connections: Option<Connections>,
    pub(super) tokens: Option<Tokens>,
    pub(super) starts_ms: Vec<f64>,
    pub(super) binary_bytes: Option<u64>,
    pub(super) image_bytes: Option<u64>,
    pub(super) allocations: Option<f64>,
    /// What is missing, and why.
    pub(super) missing: Vec<String>,
}

/// Times at a steady pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced {
    /// The upstream itself.
    pub(super) direct: Times,
    /// With the bare proxy in front of it.
    pub(super) bare_hyper: Times,
    pub(super) sidecar: Times,
}

impl Figures {
    /// The figure of a goal.
    pub(super) fn of(&self, key: &str) -> Option<f64> {
        let connections = |field: fn(&Connections) -> f64| self.connections.as_ref().map(field);
        let added = |field| self.added(|paced| &paced.sidecar, field);
        let figure = match key {
            "cpu_us_over_hyper" => self.cpu(Row::CachedToken, Row::BareHyper, |ours, theirs| ours - theirs),
            "cpu_us_over_hyper_logged" => {
                self.cpu(Row::CachedTokenLogged, Row::BareHyper, |ours, theirs| ours - theirs)
            }
            "cached_vs_envoy_cached" => self.cpu(Row::CachedToken, Row::EnvoyCached, |ours, theirs| theirs / ours),
            "unique_vs_envoy" => {
                self.cpu(Row::EveryTokenNew(Algorithm::Rs256), Row::EnvoyDefault, |ours, theirs| theirs / ours)
            }
            "introspect_cached_vs_cached" => {
                self.cpu(Row::IntrospectedCached, Row::CachedToken, |asked, local| asked / local)
            }
            "introspect_new_cpu_us" => self.cpu(Row::IntrospectedNew, Row::IntrospectedNew, |ours, _| ours),
            "added_p50_us" => added(|times| times.p50_us),
            "added_p99_us" => added(|times| times.p99_us),
            "rss_idle_mb" => connections(|memory| memory.idle),
            "rss_1k_idle_mb" => connections(|memory| memory.with_idle_connections),
            "rss_1k_active_mb" => connections(|memory| memory.with_busy_connections),
            "rss_100k_tokens_mb" => self.tokens.as_ref().map(|tokens| tokens.with_as_many_as_fit),
            "start_to_ready_ms" => median(self.starts_ms.iter().copied()),
            "binary_mb" => self.binary_bytes.map(|bytes| to_f64(bytes) / 1e6),
            "image_mb" => self.image_bytes.map(|bytes| to_f64(bytes) / 1e6),
            "allocations_per_request" => self.allocations,
            _ => None,
        };
        figure.map(round)
    }

    /// The goals with their figures, a Markdown table.
    pub(super) fn goals(&self) -> String {
        let lines: String = GOALS.iter().map(|goal| goal.line(self.of(goal.key))).collect();
        format!("| figure | goal | measured | |\n| --- | ---: | ---: | --- |\n{lines}")
    }

    /// The rows, a Markdown table.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "| row | CPU a request | requests/s | p50 | p99 | memory |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for (row, samples) in &self.rows {
            let of = |field: fn(&Sample) -> Option<f64>| median(samples.iter().flatten().filter_map(field));
            let shown = |figure: Option<f64>, digits: usize, unit: &str| {
                figure.map_or_else(String::new, |figure| format!("{figure:.digits$}{unit}"))
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                row.title(),
                shown(of(|sample| sample.cpu_us), 1, " us"),
                shown(of(|sample| Some(sample.requests_per_second)), 0, ""),
                shown(of(|sample| Some(sample.p50_us / 1e3)), 2, " ms"),
                shown(of(|sample| Some(sample.p99_us / 1e3)), 2, " ms"),
                shown(of(|sample| sample.rss_kib.map(|kib| to_f64(kib) / 1024.0)), 1, " MB"),
            );
        }
        text
    }

    /// What a proxy adds to the upstream's own time.
    fn added(&self, of: fn(&Paced) -> &Times, field: fn(&Times) -> f64) -> Option<f64> {
        median(self.paced.iter().map(|paced| field(of(paced)) - field(&paced.direct)))
    }

    /// The median over the rounds in which both rows were measured.
    fn cpu(&self, ours: Row, theirs: Row, compare: fn(f64, f64) -> f64) -> Option<f64> {
        let of = |row: Row| self.rows.iter().find(|(held, _)| *held == row).map(|(_, samples)| samples);
        let rounds = of(ours)?.iter().zip(of(theirs)?);
        median(rounds.filter_map(|(ours, theirs)| Some(compare(ours.as_ref()?.cpu_us?, theirs.as_ref()?.cpu_us?))))
    }

    fn page(&self) -> String {
        let Effort { rounds, seconds, .. } = self.effort;
        let (goals, table, machine) = (self.goals(), self.table(), machine());
        let mut page = format!(
            "<!-- generated by `cargo xtask bench`; do not edit -->\n# Benchmarks\n\n\
             `make bench` measures the sidecar beside what bounds it and what it is compared with, in one run. The proxy under\n\
             test has CPU 0 for itself, one worker; the upstream (nginx, 91 bytes of JSON) and the load (wrk, one thread, 32\n\
             keep-alive connections) share CPU 1. Both are busy, so requests/s is bounded by both: rank by the CPU time that the\n\
             proxy's own process takes for a request. Rows are interleaved; each figure is the median of {rounds} rounds of\n\
             {seconds} s, and of what is compared the median of the rounds' differences or ratios. A row with any answer but 200\n\
             has no figure.\n\n## Goals\n\n{goals}\n## Rows\n\n{table}\n\
             - *one token*: an RS256 access token in Okta's shape whose verdict is cached; route and scopes are evaluated on\n  \
             each request.\n\
             - *every token new*: no token is met twice; each costs a signature check. Envoy without its cache checks each\n  \
             signature too, so its row needs no new tokens.\n\
             - *one opaque token, introspected*: the issuer's answer is cached.\n\
             - *every opaque token new*: each costs a question to a local issuer that answers after 20 ms; 256 connections wait.\n  \
             For this row alone the sidecar does not heed the issuer's rate limits, which it always does in a pod.\n\
             - *at 2,000 requests/s*: 16 connections on a schedule, times from when a request was due.\n"
        );
        let bare = |field| self.added(|paced| &paced.bare_hyper, field);
        if let Some((p50, p99)) = bare(|times| times.p50_us).zip(bare(|times| times.p99_us)) {
            let _ = writeln!(
                page,
                "  The bare hyper proxy adds {p50:.0} us at p50 and {p99:.0} us at p99: that is what the wake-ups cost."
            );
        }
        if let Some(memory) = &self.connections {
            let _ = writeln!(
                page,
                "- Of the bare hyper proxy, 1,000 busy connections take {:.1} MB.",
                memory.bare_hyper_with_busy_connections
            );
        }
        if let Some(tokens) = &self.tokens {
            let _ = writeln!(
                page,
                "- Memory of tokens is bounded: {:.1} MB after 100,000 good ones, {:.1} MB after 1,000,000.",
                tokens.with_as_many_as_fit, tokens.with_ten_times_as_many
            );
        }
        self.missing.iter().for_each(|missing| page.push_str(&format!("- {missing}\n")));
        let _ = writeln!(
            page,
            "\nMeasured on {machine}. Figures of other machines differ; ratios within one run are what to compare."
        );
        page
    }
}

/// Writes docs/benchmarks.md.
pub(super) fn write_page(figures: &Figures) -> anyhow::Result<()> {
    let page = paths::repository().join("docs/benchmarks.md");
    fs::write(&page, figures.page()).with_context(|| format!("writing {}", page.display()))?;
    console::line("wrote docs/benchmarks.md");
    Ok(())
}

/// Writes the JSON object.
pub(super) fn write_json(figures: &Figures, file: &Path) -> anyhow::Result<()> {
    let object = goals::object(|key| figures.of(key));
    fs::write(file, serde_json::to_string_pretty(&object)? + "\n")
        .with_context(|| format!("writing {}", file.display()))?;
    console::line(format_args!("wrote {}", file.display()));
    Ok(())
}

/// Of figures in ascending order.
pub(super) fn median_of_sorted(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    median_of_sorted(&values)
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

    fn sample(cpu_us: f64) -> Option<Sample> {
        Some(Sample { requests_per_second: 1.0, p50_us: 1.0, p99_us: 2.0, cpu_us: Some(cpu_us), rss_kib: Some(1024) })
    }

    fn paced(times: [(f64, f64); 3]) -> Paced {
        let [direct, bare_hyper, sidecar] = times.map(|(p50_us, p99_us)| Times { p50_us, p99_us });
        Paced { direct, bare_hyper, sidecar }
    }

    fn figures() -> Figures {
        Figures {
            effort: Effort { rounds: 3, seconds: 1 },
            rows: vec![
                (Row::BareHyper, vec![sample(20.0), sample(30.0), sample(21.0)]),
                (Row::CachedToken, vec![sample(22.0), sample(31.5), sample(24.0)]),
                (Row::EnvoyCached, vec![sample(44.0), None, sample(72.0)]),
                (Row::EnvoyDefault, vec![None, None, None]),
            ],
            paced: vec![
                paced([(100.0, 200.0), (140.0, 300.0), (150.0, 350.0)]),
                paced([(200.0, 900.0), (260.0, 940.0), (270.0, 950.0)]),
            ],
            connections: None,
            tokens: None,
            starts_ms: vec![12.0, 40.0, 13.0],
            binary_bytes: Some(11_500_000),
            image_bytes: None,
            allocations: Some(11.0),
            missing: vec!["oauth2-proxy could not be installed here: no go".to_owned()],
        }
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([9.0, 1.0, 5.0].into_iter()), Some(5.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn rows_are_compared_round_by_round() {
        let figures = figures();
        assert_eq!(figures.of("cpu_us_over_hyper"), Some(2.0), "of 2, 1.5 and 3");
        assert_eq!(figures.of("cached_vs_envoy_cached"), Some(2.5), "of 2 and 3; a round without both does not count");
        assert_eq!(figures.of("unique_vs_envoy"), None);
        assert_eq!((figures.of("added_p50_us"), figures.of("added_p99_us")), (Some(60.0), Some(100.0)));
        assert_eq!((figures.of("start_to_ready_ms"), figures.of("binary_mb")), (Some(13.0), Some(11.5)));
        assert_eq!((figures.of("image_mb"), figures.of("no_such_key")), (None, None));
    }

    #[test]
    fn the_page_says_what_is_missing() {
        let page = figures().page();
        assert!(page.contains("oauth2-proxy could not be installed here: no go"), "{page}");
        assert!(page.contains("The bare hyper proxy adds 50 us at p50 and 70 us at p99"), "{page}");
        assert!(page.contains("| 2 us | met |") && page.contains("not measured"), "{page}");
    }
}
