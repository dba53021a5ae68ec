//! The sources of messages: each carries out what the [`Feed`] decides and reports what it hears;
//! [`run`] is the loop between the two. Nothing here decides what a message means.

pub mod demo;
pub mod embedded;
pub mod history;
pub mod jetstream;
mod link;
pub mod nats;
mod publisher;
mod pull;
mod requests;
mod run;
mod state;
mod window;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use odin_core::event::Event;
use odin_core::feed::{Command, Delivered, Feed, Input, Outcome, SeqRange, StreamInfo, Tail};
use odin_core::record::Recording;
use odin_core::stats::FeedStats;
use odin_core::time::Instant;
use tokio::sync::{Notify, oneshot};

pub use link::{NatsError, NatsOptions};
pub use publisher::{PublishError, Published, Publisher};
pub use requests::RequestKind;
pub use run::run;
pub use window::Window;

/// The one clock of the server: [`Instant`]s since it was made. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// A clock that reads zero now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Instant {
        let nanos = self.start.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The same moment for tokio's timers.
    #[must_use]
    pub fn to_tokio(&self, at: Instant) -> tokio::time::Instant {
        self.start + std::time::Duration::from_nanos(at.as_nanos())
    }
}

/// A message as an upstream hands it over: the owned form of [`odin_core::feed::Delivered`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Seq in the stream; 0 where there is none.
    pub stream_seq: u64,
    /// Place in the consumer; 0 where there is none.
    pub consumer_seq: u64,
    /// Messages that the consumer has yet to deliver after this one.
    pub pending: u64,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// The subject.
    pub subject: Subject,
    /// The payload.
    pub payload: Bytes,
}

/// A subject without a copy of its bytes.
pub type Subject = async_nats::Subject;

/// What an upstream reports: the owned form of [`odin_core::feed::Input`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpstreamEvent {
    /// See [`odin_core::feed::Input::Connected`].
    Connected,
    /// See [`odin_core::feed::Input::Disconnected`].
    Disconnected,
    /// See [`odin_core::feed::Input::Info`].
    Info(StreamInfo),
    /// See [`odin_core::feed::Input::NonceWritten`].
    NonceWritten,
    /// See [`odin_core::feed::Input::ConsumerOpened`].
    ConsumerOpened {
        /// Messages that the consumer has to deliver now.
        pending: u64,
    },
    /// See [`odin_core::feed::Input::Tail`].
    Tail(Tail),
    /// See [`odin_core::feed::Input::Deleted`].
    Deleted {
        /// Up to here the answer says everything.
        to: u64,
        /// What of it is gone.
        ranges: Vec<SeqRange>,
    },
    /// See [`odin_core::feed::Input::Delivered`].
    Message(Message),
    /// See [`odin_core::feed::Input::Heartbeat`].
    Heartbeat,
    /// See [`odin_core::feed::Input::Failed`].
    Failed,
    /// See [`odin_core::feed::Input::Overloaded`].
    Overloaded {
        /// How many were dropped, at least.
        count: u64,
    },
}

impl UpstreamEvent {
    /// What the Feed is told.
    #[must_use]
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Self::Connected => Input::Connected,
            Self::Disconnected => Input::Disconnected,
            Self::Info(info) => Input::Info(*info),
            Self::NonceWritten => Input::NonceWritten,
            Self::ConsumerOpened { pending } => Input::ConsumerOpened { pending: *pending },
            Self::Tail(tail) => Input::Tail(*tail),
            Self::Deleted { to, ranges } => Input::Deleted { to: *to, ranges },
            Self::Message(message) => Input::Delivered(Delivered {
                stream_seq: message.stream_seq,
                consumer_seq: message.consumer_seq,
                pending: message.pending,
                time: message.time,
                subject: &message.subject,
                payload: &message.payload,
            }),
            Self::Heartbeat => Input::Heartbeat,
            Self::Failed => Input::Failed,
            Self::Overloaded { count } => Input::Overloaded { count: *count },
        }
    }
}

/// An upstream: does what the Feed decided, and reports what it hears.
pub trait Upstream: Send {
    /// Whether it keeps what is not read, so that [`run`] may stop reading while the shards' queue is
    /// full. One that cannot wait is read on, and what finds no room is announced as lost.
    const CAN_WAIT: bool;

    /// The next report; `None` once there will be none any more. Must be cancel safe: a call that was
    /// dropped before it was ready has taken nothing.
    fn next(&mut self) -> impl Future<Output = Option<UpstreamEvent>> + Send;

    /// The next [`UpstreamEvent::Connected`] or [`UpstreamEvent::Disconnected`], while nothing else is
    /// read because the shards' queue is full. Cancel safe. The default: none ever comes.
    fn next_change(&mut self) -> impl Future<Output = UpstreamEvent> + Send {
        std::future::pending()
    }

    /// Begins to do what the Feed decided. The answer comes from [`Self::next`].
    fn carry_out(&mut self, command: Command);

    /// What became of the message that [`Self::next`] gave last.
    fn settled(&mut self, outcome: Outcome) {
        let _ = outcome;
    }
}

/// Where the Feed's events go: the queues of all shards.
pub trait EventSink: Send {
    /// Hands an event to every shard. Never refuses: the bound is [`Self::is_full`].
    fn send(&mut self, event: Event);

    /// Whether more than the queue's bound (16 MiB of [`Event::queued_bytes`]) waits in any shard's queue.
    fn is_full(&self) -> bool;

    /// Waits until the queue is no longer full. Cancel safe.
    fn drained(&mut self) -> impl Future<Output = ()> + Send;
}

/// What is known about the source, for health and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceStatus {
    /// Whether the upstream is connected (embedded: always).
    pub connected: bool,
    /// Whether the source has been ready once; it stays so.
    pub ready: bool,
    /// What the Feed counted.
    pub stats: FeedStats,
}

/// The [`SourceStatus`] as [`run`] last wrote it, shared with whoever reads it. Cheap to clone; never
/// held across an await.
#[derive(Clone, Debug, Default)]
pub struct SharedStatus {
    latest: Arc<Mutex<SourceStatus>>,
    desk: Arc<Desk>,
}

/// Where the Feed is asked for what it recorded.
#[derive(Debug, Default)]
struct Desk {
    asked: Mutex<Vec<oneshot::Sender<Option<Recording>>>>,
    bell: Notify,
}

impl SharedStatus {
    /// A copy of the status.
    #[must_use]
    pub fn get(&self) -> SourceStatus {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the Feed says of itself.
    fn copy_from(&self, feed: &Feed) {
        let status = SourceStatus {
            connected: feed.is_connected(),
            ready: feed.is_ready(),
            stats: *feed.stats(),
        };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Asks for what the Feed recorded.
    pub(crate) fn ask_recording(&self) -> oneshot::Receiver<Option<Recording>> {
        let (answer, asked) = oneshot::channel();
        self.desk.lock().push(answer);
        self.desk.bell.notify_one();
        asked
    }

    /// Waits until somebody asks. Cancel safe.
    async fn asked(&self) {
        self.desk.bell.notified().await;
    }

    /// Answers those who asked.
    fn answer(&self, feed: &Feed) {
        for asked in self.desk.lock().drain(..) {
            // Who asked may have stopped waiting.
            let _ = asked.send(feed.recording());
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Option<Recording>>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wall-clock time for sources that store nothing: nanoseconds since the Unix epoch; 0 for a clock
/// before it.
fn unix_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
