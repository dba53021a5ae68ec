//! The end of a server in good order, and the signals that ask for it.
//!
//! When each connection is closed is the core's decision; here is only the order of the steps.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::shared::Shared;

/// How long after the deadline the closing handshakes that are under way may still take.
const GRACE: Duration = Duration::from_millis(500);

/// Drains: see [`RunningServer::drain`](crate::server::RunningServer::drain).
pub(crate) async fn run(shared: &Shared) {
    let window = shared.settings.drain_timeout;
    shared.start_draining();
    tracing::info!(connections = shared.permits(), ?window, "draining");
    let deadline = shared.clock.now() + window;
    shared.ports.drain(deadline);
    let last = shared.tokio_instant(deadline + GRACE);
    if tokio::time::timeout_at(last, shared.idle()).await.is_err() {
        tracing::warn!(
            connections = shared.permits(),
            "connections are left at the end of the drain"
        );
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    ///
    /// # Errors
    /// When the handlers cannot be set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
