//! The Feed: everything that is decided about the upstream.
//!
//! It turns what the upstream says into one ordered line of [`Event`]s for every shard: it gives
//! out channel numbers, seq and prev, encodes each message once, decides when the number line begins
//! anew and what is announced as lost, when the source is ready, and which part of the log stays. For
//! JetStream it also decides how the stream is followed: when to read its state, which consumer to
//! open and when to give one up.
//!
//! It leaves to others: how the upstream is spoken to (the shell carries out [`Command`]s and reports
//! [`Input`]s), who subscribes to what (the shards), and who may publish (HTTP).

mod jetstream;
mod numbering;
mod retention;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;

use crate::config::FeedConfig;
use crate::event::Event;
use crate::reason::LostReason;
use crate::stats::FeedStats;
use crate::time::Instant;

/// Which upstream the Feed follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Messages published to this process. Numbers are this server's own.
    Embedded {
        /// The identity of the number line: new at each start of the server.
        epoch: String,
    },
    /// A core NATS subscription: at most once. Numbers are this server's own.
    Nats {
        /// The identity of the number line: new at each start of the server.
        epoch: String,
    },
    /// A JetStream stream. Numbers are the stream's.
    JetStream {
        /// The stream's name; with its creation time it makes the epoch.
        stream: String,
    },
}

/// What a stream says about itself (JetStream `STREAM.INFO`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamInfo {
    /// When it was created: nanoseconds since the Unix epoch.
    pub created: u64,
    /// The seq of the oldest message kept; `last_seq + 1` where none is.
    pub first_seq: u64,
    /// The seq of the last message ever stored; 0: none was.
    pub last_seq: u64,
    /// Messages between the two that are gone.
    pub num_deleted: u64,
    /// Whether the consumer's filter covers every subject of the stream, so that every missing seq
    /// is a missing message.
    pub covers_all: bool,
}

/// A message of the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered<'a> {
    /// Its seq in the stream; 0 for embedded and core NATS, which have none.
    pub stream_seq: u64,
    /// Its place in the consumer, from 1 without gaps; 0 for embedded and core NATS.
    pub consumer_seq: u64,
    /// Messages that the consumer has yet to deliver after this one; 0 for embedded and core NATS.
    pub pending: u64,
    /// When the upstream stored it (or, where it stores nothing, when it was read): nanoseconds since
    /// the Unix epoch.
    pub time: u64,
    /// Its subject.
    pub subject: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What the upstream says. Answers to a [`Command`] that a later one superseded must not be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// The upstream can be spoken to. For embedded: once, at the start.
    Connected,
    /// It cannot be spoken to any more.
    Disconnected,
    /// The answer to [`Command::ReadInfo`].
    Info(StreamInfo),
    /// The answer to [`Command::OpenConsumer`].
    ConsumerOpened {
        /// Messages that it has to deliver now.
        pending: u64,
    },
    /// A message.
    Delivered(Delivered<'a>),
    /// The consumer is alive and has nothing to deliver.
    Heartbeat,
    /// The last command failed, or the consumer ended or cannot be trusted any more.
    Failed,
    /// Messages of core NATS were dropped because they could not be taken in time.
    Overloaded {
        /// How many, at least; 0: unknown.
        count: u64,
    },
}

/// Where a consumer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliverPolicy {
    /// With the last message of each subject.
    LastPerSubject,
    /// With the first message at or after this seq.
    ByStartSequence(u64),
}

/// What the shell is to do with the upstream. Each command supersedes the one before, except that
/// `ReadInfo` leaves a consumer that was opened alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read the stream's state, creating the stream where it is absent; answer with
    /// [`Input::Info`] or [`Input::Failed`].
    ReadInfo,
    /// Give up the consumer and open a new one; answer with [`Input::ConsumerOpened`] or
    /// [`Input::Failed`]. Nothing is to be delivered before [`Command::Fetch`].
    OpenConsumer(DeliverPolicy),
    /// Deliver from the consumer that was opened last, until it fails or another command follows:
    /// [`Input::Delivered`], [`Input::Heartbeat`], [`Input::Failed`].
    Fetch,
}

/// What the Feed puts out.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// For the upstream.
    Command(Command),
    /// For every shard, in this order.
    Event(Event),
}

/// What became of a [`Delivered`] message, for a publisher that waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The input was no message, or one that was dropped as a duplicate or unproven.
    Nothing,
    /// It was published with this seq.
    Published(u64),
    /// It was refused.
    Refused(LostReason),
}

/// The Feed of one server.
#[derive(Debug)]
pub struct Feed {
    config: FeedConfig,
    outputs: VecDeque<Output>,
    epoch: Option<Arc<str>>,
    connected: bool,
    ready: bool,
    stats: FeedStats,
}

impl Feed {
    /// A Feed that has heard nothing yet. `strip` is the prefix that subjects have and channels do
    /// not; `seed` is random per server and tells number lines apart that nothing else tells apart.
    #[must_use]
    pub fn new(
        config: FeedConfig,
        _source: Source,
        _strip: &str,
        _seed: u64,
        _now: Instant,
    ) -> Self {
        Self {
            config,
            outputs: VecDeque::new(),
            epoch: None,
            connected: false,
            ready: false,
            stats: FeedStats::default(),
        }
    }

    /// Takes one input. Total: nothing that an upstream says is an error here. Poll
    /// [`Self::poll_output`] until `None`, then [`Self::poll_timeout`], afterwards.
    pub fn handle(&mut self, _now: Instant, _input: Input<'_>) -> Outcome {
        let _ = &self.config;
        Outcome::Nothing
    }

    /// Does what is due. Poll everything afterwards.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do or to tell. Poll until `None` after every `handle*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the upstream can be spoken to.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the source has been ready once: connected, and its first snapshot complete.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// The identity of the number line, once it is known.
    #[must_use]
    pub fn epoch(&self) -> Option<&Arc<str>> {
        self.epoch.as_ref()
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &FeedStats {
        &self.stats
    }
}
