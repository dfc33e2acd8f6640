//! Ctrl-C and SIGTERM: the first asks us to stop and clean up, the second ends us at once.
//!
//! Long loops call [`check`]; background processes run in their own process groups, so the terminal's signal reaches
//! only us and the command in the foreground.

use std::io;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED_TO_STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

/// Takes over the signals. Only the binary calls it: a test runner keeps its own.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn take_over() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&ASKED_TO_STOP))?;
        flag::register(signal, Arc::clone(&ASKED_TO_STOP))?;
    }
    Ok(())
}

/// From here on we clean up: only another signal stops us.
pub fn forget() {
    ASKED_TO_STOP.store(false, Ordering::Relaxed);
}

/// Fails once we were asked to stop, so that the caller unwinds and cleans up.
///
/// # Errors
/// When a signal came.
pub fn check() -> anyhow::Result<()> {
    if ASKED_TO_STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
