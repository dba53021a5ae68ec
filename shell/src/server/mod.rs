//! The server: puts the shards, the acceptor, the source and the sampler together, and ends them.
//!
//! Everything that differs between production and a simulation comes in through [`Parts`]. Nothing is
//! global, so that a process may hold many servers.

mod accept;
mod assemble;
pub(crate) mod counters;
pub(crate) mod ports;
pub(crate) mod shared;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use odin_core::feed::Feed;
use odin_core::gate::Gate;
use odin_core::load::Sample;
use odin_core::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::driver;
use crate::listener::{Listener, Spawn, Tuning};
use crate::metrics::Exporter;
use crate::recorder::{RecordError, Shares, Written};
use crate::settings::Settings;
use crate::source::history::History;
use crate::source::{self, Clock, Publisher, SharedStatus, Upstream};
pub use assemble::from_settings;
use ports::Port;
use shared::{Made, Shared, Sink};

/// How often the machine's load is measured.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// How long the shards may take to end after they were told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server stands on.
pub struct Parts<L, P, U, M> {
    /// Where clients come from.
    pub listener: L,
    /// What runs the shards.
    pub spawn: P,
    /// Measures the machine's load: at once, and about every 500 ms.
    pub sample: M,
    /// The clock, started when the server was.
    pub clock: Clock,
    /// The decisions about the upstream.
    pub feed: Feed,
    /// The upstream.
    pub upstream: U,
    /// The way of published messages into the source.
    pub publisher: Publisher,
    /// Where the shards' questions about the past go.
    pub history: Arc<dyn History>,
    /// The most WebSocket connections.
    pub connections_max: u32,
    /// How many shards; at least one is made.
    pub shards: usize,
    /// Where session ids and jitter come from.
    pub seed: u64,
    /// When the clock read zero: milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
}

/// A server that runs until it is told to stop, or dropped.
pub struct RunningServer {
    shared: Arc<Shared>,
    /// The acceptor, the source and the sampler: none of them ends by itself.
    tasks: JoinSet<()>,
    /// Closed when the last shard has ended; a message says that one ended.
    ended: mpsc::Receiver<()>,
}

/// Starts a server.
///
/// # Errors
/// When the listener has no address or a shard's thread cannot be started.
pub fn start<L, P, U, M>(
    settings: Settings,
    mut parts: Parts<L, P, U, M>,
) -> io::Result<RunningServer>
where
    L: Listener,
    P: Spawn,
    U: Upstream + 'static,
    M: FnMut(Instant) -> Sample + Send + 'static,
{
    let shards = parts.shards.max(1);
    parts.listener.tune(&Tuning {
        send_buffer: settings.send_buffer,
    })?;
    let mut doors: accept::Doors<L> = Vec::new();
    let mut ports = Vec::new();
    let mut queues = Vec::new();
    for _ in 0..shards {
        let (events, event_queue) = mpsc::unbounded_channel();
        let (commands, command_queue) = mpsc::unbounded_channel();
        doors.push(commands.clone());
        ports.push(Port { events, commands });
        queues.push(driver::Queues {
            events: event_queue,
            commands: command_queue,
        });
    }
    let config = settings.gate_config(parts.connections_max);
    let status = SharedStatus::default();
    let shares = Shares::of(settings.record_bytes, shards);
    let mut gate = Gate::new(config, parts.seed, parts.clock.now());
    gate.record(shares.gate);
    let shared = Arc::new(Shared::new(Made {
        gate,
        settings,
        clock: parts.clock,
        local_addr: parts.listener.local_addr()?,
        publisher: parts.publisher,
        history: parts.history,
        source: status.clone(),
        ports: Box::new(ports),
        exporter: Exporter::new().map_err(io::Error::other)?,
        shards,
        shares,
        seed: parts.seed,
        started_unix_ms: parts.started_unix_ms,
    }));
    let (alive, ended) = mpsc::channel(1);
    for (index, queues) in queues.into_iter().enumerate() {
        let (shared, alive) = (Arc::clone(&shared), Alive(alive.clone()));
        let name = format!("odin-shard-{index}");
        parts.spawn.shard(&name, move || async move {
            let _alive = alive;
            driver::run::<L::Stream>(shared, index, queues).await;
        })?;
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(sampler(Arc::clone(&shared), parts.sample));
    tasks.spawn(accept::run(parts.listener, Arc::clone(&shared), doors));
    let sink = Sink {
        shared: Arc::clone(&shared),
    };
    let mut feed = parts.feed;
    feed.record(shares.feed);
    tasks.spawn(source::run(feed, parts.upstream, sink, parts.clock, status));
    Ok(RunningServer {
        shared,
        tasks,
        ended,
    })
}

/// Tells the server that a shard ended, however it did.
struct Alive(mpsc::Sender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        // When the one place is taken the server knows already.
        let _ = self.0.try_send(());
    }
}

/// Measures now, so that no request is answered before, and then for ever.
fn sampler(
    shared: Arc<Shared>,
    mut measure: impl FnMut(Instant) -> Sample + Send,
) -> impl Future<Output = ()> + Send {
    let mut sample = move || {
        let now = shared.clock.now();
        let sample = measure(now);
        shared.gate().sample(now, sample);
    };
    sample();
    async move {
        loop {
            tokio::time::sleep(SAMPLE_INTERVAL).await;
            sample();
        }
    }
}

impl RunningServer {
    /// The address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// WebSocket connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.permits()
    }

    /// Writes what the flight recorder holds. `cause` is noted in the file.
    ///
    /// # Errors
    /// Nothing is recorded, or the file cannot be written.
    pub async fn record(&self, cause: &str) -> Result<Written, RecordError> {
        self.shared.record(cause).await
    }

    /// Waits for the server to fail: it has no other way to end by itself.
    pub async fn failed(&mut self) {
        tokio::select! {
            biased;
            _ = self.ended.recv() => tracing::error!("a shard ended"),
            ended = self.tasks.join_next() => tracing::error!(?ended, "a task of the server ended"),
        }
    }

    /// Lets nobody in any more, tells every client to go within `drain_timeout`, and waits until they
    /// are gone; then ends. Health, metrics and refusals are answered meanwhile.
    pub async fn drain(self) {
        crate::drain::run(&self.shared).await;
        self.stop().await;
    }

    /// Ends now: open connections get close code 1001 where their socket has room for it.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.shared.ports.stop();
        let ended = async { while self.ended.recv().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::error!("a shard did not end");
        }
    }
}

/// A server that is dropped leaves no threads behind.
impl Drop for RunningServer {
    fn drop(&mut self) {
        self.shared.ports.stop();
    }
}
