//! Plain counters, kept by each machine and read by the shell at scrape. Durations are nanoseconds.

use crate::id::ConnId;
use crate::reason::{CloseReason, LostReason, Refusal, UnrecoveredReason};
use crate::record::codec::coded;

/// The upper bounds of the buckets of [`Histogram`], in nanoseconds: 50 us to 30 s.
pub const LATENCY_BOUNDS_NANOS: [u64; 18] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// A histogram of durations with the fixed bounds of [`LATENCY_BOUNDS_NANOS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// Observations per bucket (not cumulative); the last bucket is for all above the bounds.
    pub buckets: [u64; LATENCY_BOUNDS_NANOS.len() + 1],
    /// The sum of all observations, in nanoseconds.
    pub sum: u64,
}

impl Histogram {
    /// Counts one observation of `nanos`.
    pub fn observe(&mut self, nanos: u64) {
        let bucket = LATENCY_BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket] += 1;
        self.sum = self.sum.saturating_add(nanos);
    }

    /// Adds the observations of `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many observations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// How the resumes of a shard ended: recovered, or why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resumes {
    /// Positions that were recovered exactly.
    pub recovered: u64,
    /// Positions that were not, by [`UnrecoveredReason`].
    pub unrecovered: [u64; UnrecoveredReason::COUNT],
}

/// What a shard counted since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Connections ever opened.
    pub connections_opened: u64,
    /// Connections open now.
    pub connections: u64,
    /// WebSocket messages written: data, answers and notices, without pings, pongs and close.
    pub messages_sent: u64,
    /// WebSocket messages received from clients, dropped ones included.
    pub messages_received: u64,
    /// Bytes written to sockets.
    pub bytes_sent: u64,
    /// Writes that the socket did not take whole, because it was full.
    pub writes_blocked: u64,
    /// Payload bytes received from clients.
    pub bytes_received: u64,
    /// Client messages dropped because of their rate.
    pub rate_limited: u64,
    /// Replay requests accepted.
    pub replay_requests: u64,
    /// Connections closed, by [`CloseReason`].
    pub disconnects: [u64; CloseReason::COUNT],
    /// Upstream receipt to socket write, per delivered message.
    pub delivery: Histogram,
    /// How resumes ended.
    pub resumes: Resumes,
    /// Messages announced as lost to one subscription, by [`LostReason`]; what is lost upstream is
    /// counted by the Feed, once for all shards.
    pub lost: [u64; LostReason::COUNT],
    /// Messages passed over in latest mode.
    pub conflated: u64,
    /// `reset` notices that this shard was told to send on.
    pub resets: u64,
    /// Requests answered with an error, by [`ErrorCode`](crate::reason::ErrorCode).
    pub errors: [u64; crate::reason::ErrorCode::COUNT],
    /// Last values given up because of `last_value_bytes`.
    pub last_values_dropped: u64,
    /// Pages of history asked for.
    pub history_fetches: u64,
    /// Those that the upstream could not be asked for.
    pub history_failed: u64,
    /// Subscriptions that fell off the log and went on in history.
    pub refills: u64,
    /// Pages of history kept.
    pub history_pages: u64,
    /// Bytes of pages of history.
    pub history_bytes: u64,
    /// Bytes of frames in the log, last values included.
    pub log_bytes: u64,
    /// Channels known.
    pub channels: u64,
    /// Of these, names that are subscribed and have had no message.
    pub unpublished: u64,
    /// Patterns kept.
    pub patterns: u64,
    /// Subscriptions.
    pub subscriptions: u64,
}

/// How far the cursors of a shard are behind, measured when asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    /// The worst cursor, in messages.
    pub messages_max: u64,
    /// The worst cursor, in nanoseconds since its next message was received.
    pub nanos_max: u64,
    /// All subscriptions that are behind, by the age of their next message.
    pub histogram: Histogram,
}

/// A connection that is behind, as of one measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind {
    /// The connection.
    pub conn: ConnId,
    /// Its worst subscription, in messages.
    pub messages: u64,
    /// Its worst subscription, in nanoseconds since the next message was received.
    pub nanos: u64,
    /// How many of its subscriptions are behind.
    pub subscriptions: u32,
    /// Its socket is full.
    pub blocked: bool,
}

impl Behind {
    /// What connections are compared by: time, then messages.
    #[must_use]
    pub const fn lag(&self) -> (u64, u64) {
        (self.nanos, self.messages)
    }
}

/// What the Feed counted since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeedStats {
    /// Messages received from upstream.
    pub received: u64,
    /// Messages lost upstream, by [`LostReason`]; one each where the count is unknown.
    pub lost: [u64; LostReason::COUNT],
    /// Times the number line began anew.
    pub resets: u64,
    /// Times a consumer was opened.
    pub consumers_opened: u64,
    /// Bytes of frames between the floor and the head of the log.
    pub log_bytes: u64,
    /// Channels known.
    pub channels: u64,
}

/// What the Gate counted since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GateStats {
    /// Connections admitted.
    pub admitted: u64,
    /// Upgrades refused, by [`Refusal`].
    pub refused: [u64; Refusal::COUNT],
}

coded!(Histogram { buckets, sum });

coded!(Resumes {
    recovered,
    unrecovered
});

coded!(Stats {
    connections_opened,
    connections,
    messages_sent,
    messages_received,
    bytes_sent,
    writes_blocked,
    bytes_received,
    rate_limited,
    replay_requests,
    disconnects,
    delivery,
    resumes,
    lost,
    conflated,
    resets,
    errors,
    last_values_dropped,
    history_fetches,
    history_failed,
    refills,
    history_pages,
    history_bytes,
    log_bytes,
    channels,
    unpublished,
    patterns,
    subscriptions
});

coded!(FeedStats {
    received,
    lost,
    resets,
    consumers_opened,
    log_bytes,
    channels
});

coded!(GateStats { admitted, refused });
