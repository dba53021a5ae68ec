//! What the Feed tells every shard, in one order: publications, notices, and the floor of the log.

use alloc::sync::Arc;

use bytes::Bytes;

use crate::id::{ChannelId, Order};
use crate::reason::{LostReason, ResetReason};
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;

/// One entry of a channel's log, shared by all shards and all subscribers.
#[derive(Clone, PartialEq, Debug)]
pub struct Publication {
    /// The place in arrival order.
    pub order: Order,
    /// The Feed's number for the channel.
    pub channel: ChannelId,
    /// The channel's name.
    pub name: Arc<str>,
    /// The sequence number; increases with `order` within an epoch.
    pub seq: u64,
    /// The seq of the preceding message of the channel; 0: there is none; `None`: unknown.
    pub prev: Option<u64>,
    /// When the upstream stored it: milliseconds since the Unix epoch.
    pub ts: u64,
    /// When this server received it.
    pub received: Instant,
    /// What kind of entry this is.
    pub kind: Kind,
    /// The complete WebSocket frame, header included.
    pub frame: Bytes,
}

/// What an entry of a log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A message, with its true predecessor.
    Message,
    /// The channel's last value as found when an epoch began: it has no known predecessor, and
    /// serves as snapshot and as the first message after a `reset`.
    Snapshot,
    /// A `lost` notice for one message of this channel; `seq` is the seq that is missing.
    Lost(LostReason),
}

/// A hole in the upstream that concerns every subscription.
#[derive(Clone, PartialEq, Debug)]
pub struct Lost {
    /// The place in arrival order.
    pub order: Order,
    /// The first seq that may be missing.
    pub from: u64,
    /// The last seq of the hole; `None`: unknown.
    pub to: Option<u64>,
    /// Further messages up to this seq may be missing as well: at least `to`. Holes up to there are not
    /// told again to who was told this. `None`: unknown.
    pub until: Option<u64>,
    /// Why.
    pub reason: LostReason,
    /// The complete WebSocket frame.
    pub frame: Bytes,
}

/// The number line begins anew: all entries before this place are void.
#[derive(Clone, PartialEq, Debug)]
pub struct Reset {
    /// The place in arrival order.
    pub order: Order,
    /// The new number line.
    pub epoch: Arc<str>,
    /// Why.
    pub reason: ResetReason,
    /// The complete WebSocket frame.
    pub frame: Bytes,
}

/// The source is connected and its snapshot complete.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceReady {
    /// The identity of the number line.
    pub epoch: Arc<str>,
    /// Whether the number line survives this server (JetStream) or not (embedded, core NATS).
    pub durable: bool,
    /// When the stream of this number line was created, in nanoseconds since the Unix epoch; 0 where there is none.
    pub created: u64,
    /// The last seq of the number line as known now.
    pub head: u64,
    /// This server saw everything with a seq above this one; a position at or above it needs no
    /// other proof. 0 where nothing was ever deleted.
    pub observed_from: u64,
    /// The frame of the `reset` (reason `source_ready`) for clients that were acked without an epoch.
    pub reset_frame: Bytes,
}

/// What the Feed tells every shard.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// An entry of a channel's log.
    Published(Arc<Publication>),
    /// A hole that concerns every subscription.
    Lost(Arc<Lost>),
    /// The number line begins anew. A [`SourceReady`] follows when its snapshot is complete.
    Reset(Arc<Reset>),
    /// Entries before this place leave the log.
    Evict {
        /// The first place that stays.
        floor: Order,
    },
    /// The source is connected and its snapshot complete; sent at the first connection of an epoch.
    SourceReady(Arc<SourceReady>),
}

impl Event {
    /// The bytes that this event holds while it waits in a queue, for the queue's bound.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let frame = match self {
            Self::Published(p) => p.frame.len(),
            Self::Lost(l) => l.frame.len(),
            Self::Reset(r) => r.frame.len(),
            Self::SourceReady(_) | Self::Evict { .. } => 0,
        };
        frame + core::mem::size_of::<Publication>()
    }
}

coded!(Lost {
    order,
    from,
    to,
    until,
    reason,
    frame
});

coded!(Reset {
    order,
    epoch,
    reason,
    frame
});

coded!(SourceReady {
    epoch,
    durable,
    created,
    head,
    observed_from,
    reset_frame
});

impl Code for Kind {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Message => out.byte(0),
            Self::Snapshot => out.byte(1),
            Self::Lost(reason) => {
                out.byte(2);
                reason.put(out);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(match from.byte()? {
            0 => Self::Message,
            1 => Self::Snapshot,
            2 => Self::Lost(Code::get(from)?),
            _ => return Err(Broken("an entry is of no known kind")),
        })
    }
}
