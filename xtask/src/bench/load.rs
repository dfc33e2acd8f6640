//! One measurement: wrk drives a URL for a while; the proxy's own CPU time is read before and after.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::servers::{Server, Stage};
use crate::process;

/// What is sent.
pub(super) struct Load<'a> {
    pub(super) url: String,
    pub(super) tokens: &'a Path,
    pub(super) connections: u32,
    pub(super) duration: Duration,
    /// Requests that the tokens are enough for, where none may be met twice.
    pub(super) at_most: Option<u64>,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The proxy's user and system time, by request; none for the upstream itself.
    pub(super) cpu_us: Option<f64>,
    /// The proxy's anonymous memory under this load.
    pub(super) rss_kib: Option<u64>,
}

/// What the script below prints.
#[derive(Deserialize)]
struct Summary {
    requests: u64,
    duration_us: f64,
    p50_us: f64,
    p99_us: f64,
    bad: u64,
}

/// Sends each line of the token file in turn, starting over at the end, and prints one JSON object.
const SCRIPT: &str = r#"
local requests, next = {}, 0
function init(args)
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", "/items", {["Authorization"] = "Bearer " .. line})
  end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"bad":%d}\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

impl Load<'_> {
    pub(super) fn run(&self, stage: &Stage, proxy: Option<&Server>) -> anyhow::Result<Sample> {
        let script = stage.path("load.lua");
        fs::write(&script, SCRIPT)?;
        let cpu = |server: &Server| server.cpu_time();
        let before = proxy.map(cpu).transpose()?;
        let mut wrk = Command::new("taskset");
        wrk.args(["-c", "1", "wrk", "-t1", "--timeout", "10s"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.duration.as_secs()))
            .arg("-s")
            .arg(&script)
            .args([&self.url, "--"])
            .arg(self.tokens);
        let output = process::capture(&mut wrk)?;
        let after = proxy.map(cpu).transpose()?;
        let line = output.lines().rev().find(|line| line.starts_with('{')).context("wrk printed no summary")?;
        let summary: Summary = serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
        if summary.bad > 0 || summary.requests == 0 {
            bail!("{} of {} requests failed: a figure of errors is no figure", summary.bad, summary.requests);
        }
        if self.at_most.is_some_and(|most| summary.requests > most) {
            bail!("{} requests, more than there are tokens: some were met twice", summary.requests);
        }
        let requests = to_f64(summary.requests);
        Ok(Sample {
            requests_per_second: requests / (summary.duration_us / 1e6),
            p50_us: summary.p50_us,
            p99_us: summary.p99_us,
            cpu_us: before.zip(after).map(|(before, after)| (after - before).as_secs_f64() * 1e6 / requests),
            rss_kib: proxy.map(Server::anonymous_rss_kib).transpose()?,
        })
    }
}

/// Counts stay far below 2^52.
pub(super) fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
