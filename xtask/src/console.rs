//! What the developer sees: one line a step, with its time, and a sign of life while a long one runs.

use std::fmt::Display;
use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a long step says that it still runs: nobody watches a silent screen for longer.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Writes one line to standard output. A closed output (`| head`) is not an error of ours.
pub fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A headline between the parts of a run.
pub fn title(text: impl Display) {
    line(format_args!("\n== {text}"));
}

/// Runs `work` and says what it is, that it still runs (every 15 s), and how long it took.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let started = Instant::now();
    line(format_args!("   {what} ..."));
    let (done, ended) = mpsc::channel::<()>();
    let what_still = what.to_owned();
    let ticker = thread::spawn(move || {
        while ended.recv_timeout(SIGN_OF_LIFE) == Err(RecvTimeoutError::Timeout) {
            line(format_args!("   {what_still} ... {} s", started.elapsed().as_secs()));
        }
    });
    let result = work();
    drop(done);
    let _ = ticker.join();
    match &result {
        Ok(_) => line(format_args!("   {what}: {:.1} s", started.elapsed().as_secs_f32())),
        Err(_) => line(format_args!("   {what}: FAILED after {:.1} s", started.elapsed().as_secs_f32())),
    }
    result
}
