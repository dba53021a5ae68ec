//! What `GET /metrics` answers.
//!
//! The machines count; nothing is counted here. At each scrape the server fills a [`Snapshot`], and the
//! [`Exporter`] writes it out in the Prometheus text format beside the `process_*` metrics of this
//! process. Names, types and help texts are in `families`; every series exists from the start, at 0,
//! so that `rate` and `increase` see the first event.

mod families;
mod family;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use odin_core::reason::TokenFault;
use odin_core::stats::{Behind, FeedStats, GateStats, Lag, Stats};
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use crate::source::RequestKind;

/// The `Content-Type` of [`Exporter::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A client that is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// What the core says of it.
    pub behind: Behind,
    /// Its address, if its socket still has one.
    pub peer: Option<SocketAddr>,
}

/// What one shard answered.
#[derive(Clone, Debug, Default)]
pub struct ShardSnapshot {
    /// Its counters.
    pub stats: Stats,
    /// How often it paused between two passes over its connections.
    pub pauses: u64,
    /// How far its cursors are behind.
    pub lag: Lag,
    /// The clients that are furthest behind, worst first. They are no metrics.
    pub worst: Vec<Client>,
    /// It did not answer in time: the rest is its last answer.
    pub stale: bool,
}

/// Handshakes that broke before the Gate was asked, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Handshakes {
    /// Not a valid WebSocket upgrade (RFC 6455 4.2.1), or only unknown subprotocols.
    pub invalid: u64,
    /// Host or Origin is not allowed.
    pub forbidden: u64,
    /// Not complete within `handshake_timeout`, or not done with within `request_timeout`.
    pub timeout: u64,
    /// Larger than `handshake_max_bytes`.
    pub too_large: u64,
    /// The handshake of TLS failed.
    pub tls: u64,
    /// A trusted proxy did not say whom it speaks for, or not in a way that can be read.
    pub proxy: u64,
    /// Closed for another one, as there were more than `handshakes_in_flight`.
    pub in_flight: u64,
    /// The transport failed or ended before the upgrade was complete.
    pub transport: u64,
    /// A token came with it that is not accepted.
    pub unauthorized: u64,
}

impl Handshakes {
    /// The counts with their metric labels.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("invalid", self.invalid),
            ("forbidden", self.forbidden),
            ("timeout", self.timeout),
            ("too_large", self.too_large),
            ("tls", self.tls),
            ("proxy", self.proxy),
            ("in_flight", self.in_flight),
            ("transport", self.transport),
            ("unauthorized", self.unauthorized),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}

/// What the HTTP side counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HttpStats {
    /// Answers by class of status: 1xx (an upgrade) to 5xx.
    pub responses: [u64; 5],
    /// Messages accepted by `POST /publish/{channel}`.
    pub published: u64,
    /// Messages that were not taken because their idempotency key had been there before.
    pub duplicates: u64,
    /// Publications refused to who may not publish, or not there.
    pub publish_forbidden: u64,
    /// Idempotency keys that the embedded source keeps.
    pub idempotency_keys: u64,
    /// Of those it forgot before their time, because there were too many.
    pub idempotency_keys_dropped: u64,
}

/// What was counted of clients' tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuthStats {
    /// Tokens that were accepted.
    pub accepted: u64,
    /// Tokens that were not, by [`TokenFault`].
    pub failures: [u64; TokenFault::COUNT],
    /// Keys that they are verified with.
    pub keys: u64,
}

/// Everything that is exported, as of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The shards, in order of their number.
    pub shards: Vec<ShardSnapshot>,
    /// The Gate's counters.
    pub gate: GateStats,
    /// Whether new connections are let in.
    pub gate_open: bool,
    /// The capacity; 0: unlimited.
    pub connections_max: u64,
    /// The Feed's counters.
    pub feed: FeedStats,
    /// Whether the source is connected; an embedded source is.
    pub source_connected: bool,
    /// Requests to JetStream, in the order of [`RequestKind::ALL`].
    pub requests: [u64; RequestKind::COUNT],
    /// CPU in percent of the quota; `None`: unknown.
    pub cpu_percent: Option<f64>,
    /// The working set in bytes; `None`: unknown.
    pub memory_bytes: Option<u64>,
    /// Its limit in bytes; `None`: unknown.
    pub memory_limit: Option<u64>,
    /// Tasks alive in the runtimes.
    pub tasks: u64,
    /// Handshakes that broke.
    pub handshakes: Handshakes,
    /// The HTTP side.
    pub http: HttpStats,
    /// Authentication; zeros where there is none.
    pub auth: AuthStats,
    /// Files that were read again while the server ran, and could not be.
    pub reloads: [u64; 2],
}

/// Hands the latest snapshot to the registry when it gathers.
struct Latest {
    snapshot: Arc<Mutex<Snapshot>>,
    descs: Vec<Desc>,
}

impl Latest {
    fn new(snapshot: Arc<Mutex<Snapshot>>) -> prometheus::Result<Self> {
        // One shard, so that the families with a label per shard are described as well.
        let sample = Snapshot {
            shards: vec![ShardSnapshot::default()],
            ..Snapshot::default()
        };
        let describe = |family: &MetricFamily| {
            let labels = family
                .get_metric()
                .first()
                .map_or(&[][..], |m| m.get_label());
            Desc::new(
                family.name().to_owned(),
                family.help().to_owned(),
                labels.iter().map(|label| label.name().to_owned()).collect(),
                std::collections::HashMap::new(),
            )
        };
        let descs = families::families(&sample)
            .iter()
            .map(describe)
            .collect::<prometheus::Result<_>>()?;
        Ok(Self { snapshot, descs })
    }
}

impl Collector for Latest {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A snapshot is stored whole, so one left by a panicking thread is sound.
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        families::families(&snapshot)
    }
}

/// Writes snapshots as Prometheus text. Made once per server.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
    snapshot: Arc<Mutex<Snapshot>>,
}

impl Exporter {
    /// With this server's metrics and those of the process.
    ///
    /// # Errors
    /// Two metrics have one name, or a name is none: a mistake in this program.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let snapshot = Arc::new(Mutex::new(Snapshot::default()));
        registry.register(Box::new(Latest::new(Arc::clone(&snapshot))?))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry, snapshot })
    }

    /// The text for one scrape.
    ///
    /// # Errors
    /// A metric cannot be written as text: a mistake in this program.
    pub fn render(&self, snapshot: Snapshot) -> prometheus::Result<String> {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
