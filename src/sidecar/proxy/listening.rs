//! Whether the app has begun to listen, for the operator to say that it has not: a wrong port shows before the first caller
//! finds it. It keeps no request back, and stops looking once it has found the app: what ends later is the kubelet's to see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Soon enough for a person who waits, and nothing that could be measured on loopback.
const LOOK: Duration = Duration::from_millis(500);

/// What is known of the app's port.
#[derive(Clone, Default)]
pub(crate) struct Listening(Arc<AtomicBool>);

impl Listening {
    /// Looks until the app accepts a connection. Needs a tokio runtime.
    pub(crate) fn watch(app: SocketAddr, stop: CancellationToken) -> Self {
        let listening = Self::default();
        let found = listening.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                if TcpStream::connect(app).await.is_ok() {
                    return found.0.store(true, Ordering::Relaxed);
                }
            }
        }));
        listening
    }

    /// Whether the app has listened at some time.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
