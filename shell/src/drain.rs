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

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// To end.
    End,
    /// To write what the flight recorder holds.
    Record,
    /// To read again what comes from files.
    Reload,
}

/// SIGTERM and SIGINT; SIGUSR1, which asks for a recording; and SIGHUP, which asks to read files again.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    record: Signal,
    reload: Signal,
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
            record: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// The next of the four.
    pub async fn any(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.record.recv() => Asked::Record,
            _ = self.reload.recv() => Asked::Reload,
        }
    }

    /// The next of the two that end the server.
    pub async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
