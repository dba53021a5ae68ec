//! The limits of the three machines. Names and defaults are those of `docs/CONFIGURATION.md`; where
//! a value comes from (flag, environment, file) is the shell's affair. A limit of 0 is off.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::record::codec::coded;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The limits of a [`Shard`](crate::shard::Shard).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    /// When [`Instant::ZERO`](crate::time::Instant::ZERO) was: milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Client messages a second that are allowed for long.
    pub message_rate: u32,
    /// Client messages that are allowed at once.
    pub message_burst: u32,
    /// Dropped messages in a row after which the connection is closed with 4029.
    pub message_drops_max: u32,
    /// Names and patterns that one connection may subscribe.
    pub channels_per_connection: u32,
    /// Patterns that one connection may subscribe.
    pub patterns_per_connection: u32,
    /// Distinct patterns that one shard keeps.
    pub patterns_per_server: u32,
    /// Names without any message that subscriptions may bring into being, per shard.
    pub channels_max: u32,
    /// Messages kept per channel.
    pub log_messages: u32,
    /// Bytes of last values kept for channels whose messages have left the log.
    pub last_value_bytes: usize,
    /// Bytes of pages of history that are kept; 0: none is ever asked for.
    pub history_bytes: usize,
    /// Pages of history that are asked for at once; at least 1.
    pub history_fetches: u32,
    /// How often a WebSocket ping is sent.
    pub ping_interval: Duration,
    /// Silence after which a connection is closed with 4009.
    pub idle_timeout: Duration,
    /// Time without a byte accepted, while data waits, after which a connection is closed with 4008.
    pub write_stall: Duration,
    /// How long a subscribe waits for the source to become ready.
    pub subscribe_hold: Duration,
    /// How long the closing handshake may take before the socket is dropped.
    pub close_timeout: Duration,
    /// Whether a client must authenticate before it may do anything else.
    pub auth: bool,
    /// How long it may take to, after which the connection is closed with 4001.
    pub auth_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            started_unix_ms: 0,
            message_rate: 10,
            message_burst: 100,
            message_drops_max: 500,
            channels_per_connection: 256,
            patterns_per_connection: 16,
            patterns_per_server: 10_000,
            channels_max: 100_000,
            log_messages: 16_384,
            last_value_bytes: 64 * MIB,
            history_bytes: 32 * MIB,
            history_fetches: 4,
            ping_interval: Duration::from_secs(25),
            idle_timeout: Duration::from_secs(60),
            write_stall: Duration::from_secs(10),
            subscribe_hold: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            auth: false,
            auth_timeout: Duration::from_secs(5),
        }
    }
}

/// For how long a [`Shard`](crate::shard::Shard) holds flushes back, so that one write carries what
/// was published meanwhile.
#[derive(Clone, PartialEq, Debug)]
pub struct Coalesce {
    /// For messages of all channels that nothing else is said of; zero: they are not held back.
    pub all: Duration,
    /// The same for the channels that a name or a pattern covers. The first that does holds.
    pub channels: Vec<(String, Duration)>,
    /// Bytes of messages that a window gathers at most before it closes early. What the log holds is to
    /// be a multiple of it, so that nothing leaves the log before it was offered.
    pub bytes_max: usize,
}

impl Coalesce {
    /// How many different spans above zero may be named, that of `all` included.
    pub const SPANS_MAX: usize = 8;

    /// How many different spans above zero are named.
    #[must_use]
    pub fn spans(&self) -> usize {
        let channels = self.channels.iter().map(|(_, span)| *span);
        let all = channels.chain([self.all]).filter(|span| !span.is_zero());
        all.collect::<alloc::collections::BTreeSet<_>>().len()
    }
}

impl Default for Coalesce {
    fn default() -> Self {
        Self {
            all: Duration::ZERO,
            channels: Vec::new(),
            bytes_max: 8 * MIB,
        }
    }
}

/// The limits of the [`Feed`](crate::feed::Feed).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FeedConfig {
    /// Bytes of frames that the logs of all channels hold together.
    pub log_bytes: usize,
    /// How long a message stays in the log.
    pub log_age: Duration,
    /// The largest payload that is passed on.
    pub payload_bytes_max: usize,
    /// Channels that the server keeps.
    pub channels_max: u32,
    /// Silence of a JetStream consumer after which it is opened again.
    pub silence: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            log_bytes: 64 * MIB,
            log_age: Duration::from_secs(300),
            payload_bytes_max: MIB,
            channels_max: 100_000,
            silence: Duration::from_secs(3),
        }
    }
}

/// The limits of the [`Gate`](crate::gate::Gate).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GateConfig {
    /// WebSocket connections of the whole server.
    pub connections_max: u32,
    /// New connections a second that are allowed for long.
    pub accept_rate: u32,
    /// New connections that are allowed at once.
    pub accept_burst: u32,
    /// Connections of one address.
    pub ip_max_connections: u32,
    /// New connections a second of one address.
    pub ip_accept_rate: u32,
    /// New connections at once of one address.
    pub ip_accept_burst: u32,
    /// CPU, in percent of the quota, above which (for 5 s) upgrades are refused.
    pub cpu_refuse_percent: u32,
    /// CPU below which (for 5 s) they are let in again.
    pub cpu_admit_percent: u32,
    /// Memory, in percent of the limit, above which upgrades are refused at once.
    pub memory_refuse_percent: u32,
    /// Memory below which (for 5 s) they are let in again.
    pub memory_admit_percent: u32,
    /// Memory above which connections whose client takes nothing are let go.
    pub memory_shed_percent: u32,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            accept_rate: 2_000,
            accept_burst: 2_000,
            ip_max_connections: 0,
            ip_accept_rate: 0,
            ip_accept_burst: 0,
            cpu_refuse_percent: 90,
            cpu_admit_percent: 80,
            memory_refuse_percent: 90,
            memory_admit_percent: 85,
            memory_shed_percent: 80,
        }
    }
}

coded!(Config {
    started_unix_ms,
    message_rate,
    message_burst,
    message_drops_max,
    channels_per_connection,
    patterns_per_connection,
    patterns_per_server,
    channels_max,
    log_messages,
    last_value_bytes,
    history_bytes,
    history_fetches,
    ping_interval,
    idle_timeout,
    write_stall,
    subscribe_hold,
    close_timeout,
    auth,
    auth_timeout
});

coded!(GateConfig {
    connections_max,
    accept_rate,
    accept_burst,
    ip_max_connections,
    ip_accept_rate,
    ip_accept_burst,
    cpu_refuse_percent,
    cpu_admit_percent,
    memory_refuse_percent,
    memory_admit_percent,
    memory_shed_percent
});
