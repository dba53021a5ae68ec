//! The server: puts the shards, the acceptor, the source and the sampler together, and ends them.
//!
//! Everything that differs between production and a simulation comes in through [`Parts`]. Nothing is
//! global, so that a process may hold many servers.

mod accept;
mod assemble;
mod backlog;
pub(crate) mod counters;
pub(crate) mod lobby;
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

use crate::auth::Auth;
use crate::auth::publishers::Publishers;
use crate::driver;
use crate::listener::{Listener, Spawn, Tuning};
use crate::metrics::Exporter;
use crate::recorder::{RecordError, Shares, Written};
use crate::settings::Settings;
use crate::source::history::History;
use crate::source::{self, Clock, Publisher, SharedStatus, Upstream};
use crate::tls::Certificates;
pub use assemble::{echo, from_settings};
use backlog::Sink;
use ports::Port;
use shared::{Entrance, Made, Shared, Talk};

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
/// When the listener has no address, a file of keys or tokens is not what it should be, or a shard's
/// thread cannot be started.
pub fn start<L, P, U, M>(settings: Settings, parts: Parts<L, P, U, M>) -> io::Result<RunningServer>
where
    L: Listener,
    P: Spawn,
    U: Upstream + 'static,
    M: FnMut(Instant) -> Sample + Send + 'static,
{
    let extras = Extras {
        talk: Talk::Protocol,
        certificates: None,
        admin: None,
    };
    start_with(extras, settings, parts)
}

/// What only a server on TCP may have beside its [`Parts`].
struct Extras<L> {
    talk: Talk,
    certificates: Option<Arc<Certificates>>,
    /// Where administration is asked for apart.
    admin: Option<L>,
}

fn start_with<L, P, U, M>(
    mut extras: Extras<L>,
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
    let tuning = Tuning {
        send_buffer: settings.send_buffer,
        send_unsent: settings.send_unsent,
    };
    parts.listener.tune(&tuning)?;
    if let Some(admin) = &mut extras.admin {
        admin.tune(&tuning)?;
    }
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
    let auth = Auth::new(&settings).map_err(|error| setting("auth", &error))?;
    let publishers = settings.publish_tokens.as_deref().map(Publishers::new);
    let publishers = publishers.transpose();
    let publishers = publishers.map_err(|error| setting("publish_tokens", &error))?;
    let config = settings.gate_config(parts.connections_max);
    let status = SharedStatus::default();
    let shares = Shares::of(settings.record_bytes, shards);
    let mut gate = Gate::new(config, parts.seed, parts.clock.now());
    gate.record(shares.gate);
    let admin_addr = extras.admin.as_ref().map(Listener::local_addr);
    let shared = Arc::new(Shared::new(Made {
        gate,
        settings,
        clock: parts.clock,
        local_addr: parts.listener.local_addr()?,
        publisher: parts.publisher,
        history: parts.history,
        publishers: publishers.map(Arc::new),
        auth: auth.map(Arc::new),
        source: status.clone(),
        ports: Box::new(ports),
        exporter: Exporter::new().map_err(io::Error::other)?,
        shards,
        shares,
        seed: parts.seed,
        started_unix_ms: parts.started_unix_ms,
        talk: extras.talk,
        certificates: extras.certificates,
        admin_addr: admin_addr.transpose()?,
    }));
    if shared.auth.is_none() && !shared.is_loopback(Entrance::Main) {
        tracing::warn!(
            address = %shared.local_addr,
            "everybody who reaches this address may subscribe everything: no authentication is configured (auth_keys)"
        );
    }
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
    for (listener, entrance) in [
        (Some(parts.listener), Entrance::Main),
        (extras.admin, Entrance::Admin),
    ] {
        if let Some(listener) = listener {
            let (shared, doors) = (Arc::clone(&shared), doors.clone());
            tasks.spawn(accept::run(listener, entrance, shared, doors));
        }
    }
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

/// What is wrong with the files that a setting names.
fn setting(name: &str, error: &str) -> io::Error {
    io::Error::other(format!("{name}: {error}"))
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
        let sheds = {
            let mut gate = shared.gate();
            gate.sample(now, sample);
            gate.sheds()
        };
        if sheds {
            shared.ports.relieve();
        }
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

    /// Where administration is listened for apart; `None`: on the main listener.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.shared.admin_addr
    }

    /// Whether clients speak TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.shared.certificates.is_some()
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

    /// Reads again what comes from files: the certificate, keys, revoked tokens, publishers. What cannot be read
    /// stays as it was, and the log says why. A connection whose token is revoked by now is closed.
    pub async fn reload(&self) {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || shared.reloads.run()).await;
        if let Err(error) = read {
            tracing::error!(%error, "reading again failed");
        }
        self.shared.ports.reloaded();
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
