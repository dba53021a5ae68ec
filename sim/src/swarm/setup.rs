//! What a seed decides before anything happens: limits, names, clients, and what the upstream is.

use std::time::Duration;

use odin_core::config::{Config, FeedConfig, GateConfig};

use super::rng::Rng;
use crate::jetstream::Release;

/// Which upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upstream {
    Embedded,
    Nats,
    JetStream,
}

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// Reads everything at once.
    Fast,
    /// Reads now and then.
    Slow,
    /// Seldom reads.
    Stalled,
    /// Comes and goes.
    Flapping,
    /// Sends more than it may.
    Flooding,
    /// Comes back on another server.
    Roaming,
    /// Subscribes in latest mode.
    Latest,
    /// Subscribes patterns.
    Patterns,
    /// Sends what is no request.
    Malformed,
}

impl Profile {
    const ALL: [Self; 9] = [
        Self::Fast,
        Self::Slow,
        Self::Stalled,
        Self::Flapping,
        Self::Flooding,
        Self::Roaming,
        Self::Latest,
        Self::Patterns,
        Self::Malformed,
    ];

    /// Whether it reads by itself whatever arrives.
    pub(crate) fn reads(self) -> bool {
        !matches!(self, Self::Slow | Self::Stalled)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) upstream: Upstream,
    pub(crate) servers: usize,
    pub(crate) shards: usize,
    pub(crate) config: Config,
    pub(crate) feed: FeedConfig,
    pub(crate) gate: GateConfig,
    pub(crate) channels: Vec<&'static str>,
    pub(crate) patterns: Vec<&'static str>,
    pub(crate) clients: Vec<(Profile, usize)>,
    /// Other subjects share the stream.
    pub(crate) shared_stream: bool,
    /// The stream goes back to earlier states (and nothing is deleted, and there is one server).
    pub(crate) rollbacks: bool,
    /// Messages are deleted upstream.
    pub(crate) deletes: bool,
    /// The stream keeps the last message of each subject only.
    pub(crate) last_values: bool,
    /// The release of the stream's server.
    pub(crate) release: Release,
    /// The stream keeps so many messages.
    pub(crate) stream_max: usize,
    /// Messages that are there before the servers are.
    pub(crate) prestored: u64,
    pub(crate) restarts: bool,
    /// Questions about the past fail, or take long.
    pub(crate) history_faults: bool,
    /// The most messages of a page of history.
    pub(crate) page_messages: usize,
    pub(crate) values_bounded: bool,
    pub(crate) roomy: bool,
}

const CHANNELS: [&str; 9] = [
    "a.x", "a.y", "a.z", "b.x", "b.y", "c", "a.x.1", "d/e.q", "b.x.2",
];
const PATTERNS: [&str; 10] = [
    "a.*", "*.x", "b.*", "a.>", ">", "*.*", "b.>", "*.x.*", "d/e.*", "*",
];

impl Setup {
    pub(crate) fn draw(rng: &mut Rng, seed: u64) -> Self {
        let upstream = rng.pick(&[
            Upstream::Embedded,
            Upstream::Nats,
            Upstream::JetStream,
            Upstream::JetStream,
            Upstream::JetStream,
        ]);
        let stream = upstream == Upstream::JetStream;
        let rollbacks = stream && rng.one_in(4);
        let shared_stream = stream && !rollbacks && rng.one_in(4);
        let deletes = stream && !rollbacks && rng.one_in(2);
        let servers = if stream && !rollbacks && rng.one_in(2) {
            2
        } else {
            1
        };
        let roomy = upstream == Upstream::Embedded && rng.one_in(2);
        let mut channels = CHANNELS.to_vec();
        channels.truncate(rng.range(1, CHANNELS.len() as u64) as usize);
        // From a sequence of its own: what a seed is otherwise does not change.
        let mut past = Rng::new(seed ^ 0x7061_7374);
        let mut config = shard_limits(rng, roomy);
        let whole = config.history_bytes;
        // History hides much of what a server without it shows: half of the worlds have none.
        config.history_bytes = past.pick(&[0, 0, 0, 0, 1, 1_500, 20_000, whole]);
        config.history_fetches = past.pick(&[1, 2, 4]);
        // What is deleted by itself leaves no trace in history: the stated limit.
        let forgets = config.history_bytes > 0;
        let feed = feed_limits(rng, roomy);
        let clients = (0..rng.range(2, 9))
            .map(|_| {
                (
                    rng.pick(&Profile::ALL),
                    rng.pick(&[64, 200, 700, 3_000, 100_000]),
                )
            })
            .collect();
        Self {
            seed,
            upstream,
            servers,
            shards: rng.range(1, 3) as usize,
            values_bounded: config.last_value_bytes < 1 << 20 || feed.channels_max < 100,
            config,
            feed,
            gate: gate_limits(rng),
            channels,
            patterns: PATTERNS.to_vec(),
            clients,
            shared_stream,
            rollbacks,
            deletes: deletes && !forgets,
            stream_max: if deletes && rng.one_in(2) {
                rng.range(2, 20) as usize
            } else {
                usize::MAX
            },
            prestored: if stream { rng.pick(&[0, 0, 3, 20]) } else { 0 },
            history_faults: past.one_in(2),
            page_messages: past.pick(&[1, 2, 5, 1_000, 1_000]),
            release: past.pick(&[Release::Old, Release::Current]),
            restarts: !rollbacks && !roomy && rng.one_in(3),
            // What is superseded cannot be compared after a rollback.
            last_values: stream && !rollbacks && rng.one_in(5),
            roomy,
        }
    }
}

fn shard_limits(rng: &mut Rng, roomy: bool) -> Config {
    let secs = Duration::from_secs;
    let default = Config::default();
    Config {
        started_unix_ms: 1_700_000_000_000,
        message_rate: rng.pick(&[0, 2, 10]),
        message_burst: rng.pick(&[3, 10, 100]),
        message_drops_max: rng.pick(&[0, 3, 10]),
        channels_per_connection: rng.pick(&[0, 3, 8, 256]),
        patterns_per_connection: rng.pick(&[0, 1, 2, 16]),
        patterns_per_server: rng.pick(&[0, 2, 10_000, 10_000]),
        channels_max: rng.pick(&[0, 2, 100_000, 100_000]),
        log_messages: if roomy {
            default.log_messages
        } else {
            rng.pick(&[1, 2, 4, 8, 60, 16_384])
        },
        last_value_bytes: if !roomy && rng.one_in(5) {
            300
        } else {
            default.last_value_bytes
        },
        history_bytes: default.history_bytes,
        history_fetches: 1,
        ping_interval: rng.pick(&[secs(0), secs(2), secs(25)]),
        idle_timeout: rng.pick(&[secs(0), secs(5), secs(60), secs(60)]),
        write_stall: rng.pick(&[secs(2), secs(10), secs(10)]),
        subscribe_hold: rng.pick(&[secs(0), secs(1), secs(5)]),
        close_timeout: rng.pick(&[secs(1), secs(5)]),
        // The clients of the swarm have no tokens.
        auth: false,
        auth_timeout: default.auth_timeout,
    }
}

fn feed_limits(rng: &mut Rng, roomy: bool) -> FeedConfig {
    let default = FeedConfig::default();
    FeedConfig {
        log_bytes: if roomy {
            default.log_bytes
        } else {
            rng.pick(&[300, 1_000, 5_000, default.log_bytes])
        },
        log_age: if roomy {
            Duration::ZERO
        } else {
            Duration::from_millis(rng.pick(&[0, 500, 5_000, 300_000]))
        },
        payload_bytes_max: rng.pick(&[0, 150, 1 << 20]),
        channels_max: if !roomy && rng.one_in(10) {
            3
        } else {
            default.channels_max
        },
        silence: Duration::from_secs(3),
    }
}

fn gate_limits(rng: &mut Rng) -> GateConfig {
    GateConfig {
        connections_max: rng.pick(&[3, 100, 16_384]),
        accept_rate: rng.pick(&[0, 1, 5, 2_000]),
        accept_burst: rng.pick(&[2, 5, 2_000]),
        ip_max_connections: rng.pick(&[0, 0, 2, 3]),
        ip_accept_rate: rng.pick(&[0, 0, 1, 3]),
        ip_accept_burst: rng.pick(&[1, 3]),
        ..GateConfig::default()
    }
}
