//! Load at a steady pace, as wrk2 sends it: requests leave on a schedule whether or not earlier ones are back, and an
//! answer's time counts from when its request was due. A program of its own, so that it runs on the load's core.

use std::num::NonZeroU64;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use super::exchange::{connect, exchange, get};
use super::report::median_of_sorted;
use crate::{console, process};

/// Requests a second, of all connections.
const RATE: u32 = 2_000;

/// Few enough that a thread each is no load, enough that none waits for its own earlier request.
const CONNECTIONS: u32 = 16;

/// Not measured: connections are opened, caches filled.
const WARM_UP: Duration = Duration::from_millis(500);

/// Times from when requests were due.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Loads a port from the load's core and returns the times.
pub(super) fn measure(port: u16, token: &Path, duration: Duration) -> anyhow::Result<Times> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).arg(std::env::current_exe()?).arg("paced-load");
    command.arg(port.to_string()).arg(token).arg(duration.as_secs().to_string());
    let output = process::capture(&mut command)?;
    serde_json::from_str(output.trim()).with_context(|| format!("reading {output}"))
}

/// The load itself; prints the times as JSON.
///
/// # Errors
/// When a connection fails or an answer is not 200.
pub fn load(port: u16, token: &Path, duration: Duration) -> anyhow::Result<()> {
    let token = std::fs::read_to_string(token)?;
    let request = get("/items", token.trim());
    let start = Instant::now() + Duration::from_millis(50);
    let lanes: Vec<anyhow::Result<Vec<f64>>> = thread::scope(|scope| {
        let lane = |number| {
            scope.spawn({
                let request = &request;
                move || lane(number, port, request, start, duration)
            })
        };
        let lanes: Vec<_> = (0..CONNECTIONS).map(lane).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))).collect()
    });
    let mut times: Vec<f64> = lanes.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat();
    times.sort_unstable_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).copied().context("nothing was sent")?;
    let p50 = median_of_sorted(&times).context("nothing was sent")?;
    console::line(serde_json::to_string(&Times { p50_us: p50, p99_us: p99 })?);
    Ok(())
}

/// One connection's part of the schedule; times in microseconds.
fn lane(number: u32, port: u16, request: &[u8], start: Instant, duration: Duration) -> anyhow::Result<Vec<f64>> {
    // The default slack of 50 us is as much as what is measured.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("setting the timer slack")?;
    let mut connection = connect(port)?;
    let (mut times, mut buffer) = (Vec::new(), Vec::new());
    let period = Duration::from_secs(1) * CONNECTIONS / RATE;
    let mut due = start + Duration::from_secs(1) * number / RATE;
    while due < start + WARM_UP + duration {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        exchange(&mut connection, request, &mut buffer)?;
        if due >= start + WARM_UP {
            times.push(due.elapsed().as_secs_f64() * 1e6);
        }
        due += period;
    }
    Ok(times)
}
