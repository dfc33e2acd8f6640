//! The wish to stop: SIGTERM or SIGINT, as a token that every task can watch; and the wish to get ready for it, SIGUSR1,
//! which another process of the same container sends ahead. What they mean is each task's own decision.

use std::io;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. Must be called within a tokio runtime.
///
/// # Errors
/// The process may not install signal handlers.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
    });
    Ok(token)
}

/// A token that is cancelled by the first SIGUSR1. Must be called within a tokio runtime.
///
/// # Errors
/// The process may not install signal handlers.
pub fn on_announcement() -> io::Result<CancellationToken> {
    let mut announced = signal(SignalKind::user_defined1())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        if announced.recv().await.is_some() {
            tracing::info!("stopping soon");
            cancelled.cancel();
        }
    });
    Ok(token)
}

/// Announces to a container's main process, which is its process 1, that it will be stopped soon.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub fn announce() -> io::Result<()> {
    Ok(kill_process(Pid::INIT, Signal::USR1)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_announcement_is_no_stop() {
        let announced = on_announcement().unwrap();
        let stop = on_signal().unwrap();
        kill_process(rustix::process::getpid(), Signal::USR1).unwrap();
        tokio::time::timeout(Duration::from_secs(10), announced.cancelled()).await.unwrap();
        assert!(!stop.is_cancelled());
    }
}
