//! What goes into the Feed and what comes out: the contract with the shell, and with whatever stands
//! in for NATS in a simulation.

use alloc::string::String;

use super::epoch::EpochNonce;
use crate::event::Event;
use crate::reason::LostReason;
use crate::record::codec::coded;

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
        /// The stream's name; with its creation time, and the nonce of a rollback, it makes the epoch.
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
    /// What the metadata holds under [`EpochNonce::METADATA_KEY`]; `None`: nothing, or no nonce.
    pub nonce: Option<EpochNonce>,
    /// Whether the consumer's filter covers every subject of the stream, so that every missing seq
    /// is a missing message.
    pub covers_all: bool,
    /// Whether several servers hold it, so that the one that answers may be behind for a while.
    pub replicated: bool,
}

/// Seqs of a stream, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SeqRange {
    /// The first.
    pub from: u64,
    /// The last; not below `from`.
    pub to: u64,
}

/// Where a stream ends and how far its consumer is, read in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The stream's state.
    pub info: StreamInfo,
    /// The place of the last message that the consumer has sent; 0: none.
    pub delivered: u64,
    /// Messages that it has yet to send.
    pub pending: u64,
}

/// A message of the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered<'a> {
    /// Its seq in the stream, from 1; 0 for embedded and core NATS, which have none.
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
    /// The answer to [`Command::WriteNonce`]. Whether the stream took it over shows when its state
    /// is read: nats-server before 2.10 accepts metadata and drops it.
    NonceWritten,
    /// The answer to [`Command::OpenConsumer`].
    ConsumerOpened {
        /// Messages that it has to deliver now.
        pending: u64,
    },
    /// The answer to [`Command::ReadTail`].
    Tail(Tail),
    /// The answer to [`Command::ReadDeleted`].
    Deleted {
        /// Up to here the answer says everything. At least the end that was asked for; more where
        /// messages up to this seq had been received already when the stream was asked.
        to: u64,
        /// What of it the stream does not have, ascending and apart. What was received from the consumer
        /// may be among it. What cannot be found out counts as deleted.
        ranges: &'a [SeqRange],
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

/// What the shell is to do with the upstream. Each command supersedes the one before, except that those
/// that read leave a consumer that was opened alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read the stream's state, creating the stream where it is absent; answer with
    /// [`Input::Info`] or [`Input::Failed`].
    ReadInfo,
    /// Put the nonce into the stream's metadata in place of one that is there, and leave everything else
    /// of its configuration as it is; answer with [`Input::NonceWritten`] or [`Input::Failed`].
    WriteNonce(EpochNonce),
    /// Give up the consumer and open a new one; answer with [`Input::ConsumerOpened`] or
    /// [`Input::Failed`]. Nothing is to be delivered before [`Command::Fetch`].
    OpenConsumer(DeliverPolicy),
    /// Deliver from the consumer that was opened last, until it fails or another command follows:
    /// [`Input::Delivered`], [`Input::Heartbeat`], [`Input::Failed`]. What was held comes first.
    Fetch,
    /// Read the stream's state, then the consumer's, and go on delivering meanwhile; answer with
    /// [`Input::Tail`]. Where they cannot be read there is no answer: the next heartbeat asks again.
    ReadTail,
    /// Read which of these seqs the stream does not have, and deliver nothing until the next
    /// [`Command::Fetch`]; answer with [`Input::Deleted`] or [`Input::Failed`].
    ReadDeleted(SeqRange),
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
    /// It waits: it is to be given again after the next [`Command::Fetch`], before any other message.
    /// Where another consumer is opened first it is forgotten.
    Held,
}

coded!(StreamInfo {
    created,
    first_seq,
    last_seq,
    num_deleted,
    nonce,
    covers_all,
    replicated
});

coded!(SeqRange { from, to });

coded!(Tail {
    info,
    delivered,
    pending
});
