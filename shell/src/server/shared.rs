//! What all threads of one server share: the Gate, the counts of sockets, the ways to the shards.
//!
//! Counts are given back by guards ([`Seat`], [`Handshake`], [`Permit`]), so that no way a connection
//! can end, a panic included, leaves a place taken.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use odin_core::config::Config;
use odin_core::gate::{Gate, Refused};
use odin_core::time::Instant;
use tokio::sync::Notify;

use super::backlog::Backlog;
use super::counters::{Broken, Counters};
use super::lobby::{Lobby, Ticket};
use super::ports::Ports;
use crate::auth::Auth;
use crate::auth::publishers::Publishers;
use crate::metrics::{Exporter, ShardSnapshot};
use crate::recorder::{Recorder, Shares};
use crate::reload::Reloads;
use crate::settings::Settings;
use crate::source::history::History;
use crate::source::{Clock, Publisher, SharedStatus};
use crate::tls::Certificates;

/// What is done with the data messages of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Talk {
    /// They are requests, which the core answers.
    Protocol,
    /// Each is sent back as it came, and nothing else is said: see [`crate::server::echo`].
    Echo,
}

/// Which of the server's listeners a socket came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entrance {
    /// That of clients.
    Main,
    /// That of `admin_listen`.
    Admin,
}

/// What all threads of one server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) talk: Talk,
    /// What TLS is spoken with on the main listener; `None`: it is not.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// Where administration is listened for apart; `None`: on the main listener.
    pub(crate) admin_addr: Option<SocketAddr>,
    pub(crate) core_config: Config,
    pub(crate) clock: Clock,
    pub(crate) gate: Mutex<Gate>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) publisher: Publisher,
    pub(crate) history: Arc<dyn History>,
    /// Who may publish beside the holder of `publish_token`.
    pub(crate) publishers: Option<Arc<Publishers>>,
    /// `None`: nobody has to authenticate.
    pub(crate) auth: Option<Arc<Auth>>,
    pub(crate) reloads: Reloads,
    pub(crate) source: SharedStatus,
    pub(crate) ports: Box<dyn Ports>,
    pub(crate) backlog: Backlog,
    pub(crate) counters: Counters,
    pub(crate) exporter: Exporter,
    pub(crate) recorder: Arc<Recorder>,
    /// What each machine may use to record.
    pub(crate) shares: Shares,
    /// The last report of each shard, for scrapes that it does not answer in time.
    reports: Vec<Mutex<ShardSnapshot>>,
    /// Sockets of each shard, whatever their state.
    seats: Vec<Arc<AtomicUsize>>,
    /// Sockets that are no WebSocket connection (yet), of each entrance: clients that stall must not
    /// take the places of who looks after the server.
    handshakes: [Arc<Lobby>; 2],
    /// WebSocket connections that were admitted and are not gone.
    permits: AtomicUsize,
    /// Told when the last of them goes.
    idle: Notify,
    draining: AtomicBool,
    seed: u64,
}

/// What a server is made of, for [`Shared::new`].
pub(crate) struct Made {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) gate: Gate,
    pub(crate) local_addr: SocketAddr,
    pub(crate) publisher: Publisher,
    pub(crate) history: Arc<dyn History>,
    pub(crate) publishers: Option<Arc<Publishers>>,
    pub(crate) auth: Option<Arc<Auth>>,
    pub(crate) source: SharedStatus,
    pub(crate) ports: Box<dyn Ports>,
    pub(crate) exporter: Exporter,
    pub(crate) shards: usize,
    pub(crate) shares: Shares,
    pub(crate) seed: u64,
    pub(crate) started_unix_ms: u64,
    pub(crate) talk: Talk,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) admin_addr: Option<SocketAddr>,
}

impl Shared {
    pub(crate) fn new(made: Made) -> Self {
        let mut reloads = Reloads::default();
        if let Some(certificates) = &made.certificates {
            reloads.add(Arc::clone(certificates) as _);
        }
        if let Some(auth) = &made.auth {
            reloads.add(Arc::clone(auth) as _);
            if let Some(revoked) = auth.revoked() {
                reloads.add(Arc::clone(revoked) as _);
            }
        }
        if let Some(publishers) = &made.publishers {
            reloads.add(Arc::clone(publishers) as _);
        }
        let limit = made.settings.handshakes_in_flight;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let core_config = Config {
            started_unix_ms: made.started_unix_ms,
            ..made.settings.core_config(made.shards)
        };
        Self {
            talk: made.talk,
            certificates: made.certificates,
            admin_addr: made.admin_addr,
            core_config,
            recorder: Arc::new(Recorder::new(&made.settings, made.started_unix_ms)),
            shares: made.shares,
            settings: made.settings,
            clock: made.clock,
            gate: Mutex::new(made.gate),
            local_addr: made.local_addr,
            publisher: made.publisher,
            history: made.history,
            publishers: made.publishers,
            auth: made.auth,
            reloads,
            source: made.source,
            ports: made.ports,
            backlog: Backlog::new(made.shards),
            counters: Counters::default(),
            exporter: made.exporter,
            reports: (0..made.shards).map(|_| Mutex::default()).collect(),
            seats: (0..made.shards).map(|_| Arc::default()).collect(),
            handshakes: [limit, limit].map(|limit| Arc::new(Lobby::new(limit))),
            permits: AtomicUsize::new(0),
            idle: Notify::new(),
            draining: AtomicBool::new(false),
            seed: made.seed,
        }
    }

    /// The seed of a shard: the server's, told apart by the shard's number.
    pub(crate) fn seed(&self, shard: usize) -> u64 {
        // An odd multiplier keeps different shards different.
        let shard = u64::try_from(shard).unwrap_or(u64::MAX);
        self.seed ^ shard.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.seats.len()
    }

    /// The Gate. Never hold it across an await.
    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        lock(&self.gate)
    }

    pub(crate) fn tokio_instant(&self, at: Instant) -> tokio::time::Instant {
        self.clock.to_tokio(at)
    }

    /// Whether this listener can be reached from this machine only.
    pub(crate) fn is_loopback(&self, entrance: Entrance) -> bool {
        let addr = match entrance {
            Entrance::Main => self.local_addr,
            Entrance::Admin => self.admin_addr.unwrap_or(self.local_addr),
        };
        addr.ip().to_canonical().is_loopback()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on nobody is admitted, and `/ready` says so.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.gate().drain();
    }

    /// Asks the Gate for a place for a WebSocket connection.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Refused> {
        let peer = Some(peer.to_canonical()).filter(|peer| !self.settings.is_exempt(*peer));
        self.gate().admit(self.clock.now(), peer)?;
        self.permits.fetch_add(1, Ordering::Relaxed);
        Ok(Permit {
            shared: Arc::clone(self),
            peer,
        })
    }

    /// Ready when another socket may be accepted.
    pub(crate) async fn keeps_up(&self, entrance: Entrance) {
        self.handshakes[entrance as usize].keeps_up().await;
    }

    /// A place among the sockets that are no WebSocket connection; `None`: there are too many.
    pub(crate) fn handshake(&self, entrance: Entrance) -> Option<Handshake> {
        let Some(ticket) = self.handshakes[entrance as usize].enter() else {
            self.counters.broke(Broken::InFlight);
            return None;
        };
        Some(Handshake { ticket, entrance })
    }

    /// From now on a socket waits for its client's request, maybe in the place of another one.
    pub(crate) fn waits(&self, handshake: &Handshake) {
        if handshake.ticket.wait() {
            self.counters.broke(Broken::InFlight);
        }
    }

    /// A place on the shard with the fewest sockets, and the number of that shard.
    pub(crate) fn seat(&self) -> (usize, Seat) {
        let mut best = 0;
        for index in 1..self.seats.len() {
            if self.seats[index].load(Ordering::Relaxed) < self.seats[best].load(Ordering::Relaxed)
            {
                best = index;
            }
        }
        self.seats[best].fetch_add(1, Ordering::Relaxed);
        (
            best,
            Seat {
                taken: Arc::clone(&self.seats[best]),
            },
        )
    }

    /// WebSocket connections that are open or about to be.
    pub(crate) fn permits(&self) -> usize {
        self.permits.load(Ordering::Relaxed)
    }

    /// Tasks alive: one per socket, one per shard, and the acceptors, the source and the sampler.
    pub(crate) fn tasks(&self) -> u64 {
        let sockets: usize = self
            .seats
            .iter()
            .map(|seats| seats.load(Ordering::Relaxed))
            .sum();
        let acceptors = 1 + usize::from(self.admin_addr.is_some());
        u64::try_from(sockets + self.seats.len() + acceptors + 2).unwrap_or(u64::MAX)
    }

    /// Waits until no WebSocket connection is left.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if self.permits() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// One of a shard's sockets.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<AtomicUsize>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of the sockets that are no WebSocket connection (yet).
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) ticket: Ticket,
    pub(crate) entrance: Entrance,
}

/// One of the WebSocket connections that the Gate admitted.
pub(crate) struct Permit {
    shared: Arc<Shared>,
    peer: Option<IpAddr>,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared
            .gate()
            .closed(self.shared.clock.now(), self.peer);
        if self.shared.permits.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

/// How long each shard may take to answer a scrape.
const REPORT_TIMEOUT: Duration = Duration::from_millis(100);

/// How long each shard's loop may take to show that it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

impl Shared {
    /// A copy of every shard's counters; its last one where it does not answer in time.
    pub(crate) async fn reports(&self) -> Vec<ShardSnapshot> {
        let deadline = tokio::time::Instant::now() + REPORT_TIMEOUT;
        let asked: Vec<_> = (0..self.reports.len())
            .map(|shard| self.ports.report(shard))
            .collect();
        let mut reports = Vec::with_capacity(asked.len());
        for (answer, last) in asked.into_iter().zip(&self.reports) {
            let answer = tokio::time::timeout_at(deadline, answer).await;
            let mut last = lock(last);
            match answer {
                Ok(Ok(report)) => *last = report,
                Ok(Err(_)) | Err(_) => last.stale = true,
            }
            reports.push(last.clone());
        }
        reports
    }

    /// The shards whose loop does not answer.
    pub(crate) async fn stuck(&self) -> Vec<usize> {
        let deadline = tokio::time::Instant::now() + PING_TIMEOUT;
        let asked: Vec<_> = (0..self.reports.len())
            .map(|shard| self.ports.ping(shard))
            .collect();
        let mut stuck = Vec::new();
        for (shard, answer) in asked.into_iter().enumerate() {
            if !matches!(tokio::time::timeout_at(deadline, answer).await, Ok(Ok(()))) {
                stuck.push(shard);
            }
        }
        stuck
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole after every call, also one that panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
