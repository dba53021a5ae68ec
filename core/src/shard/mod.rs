//! One shard: the logs, the connections and their cursors.

use crate::config::Config;
use crate::event::Event;
use crate::id::ConnId;
use crate::reason::CloseReason;
use crate::stats::{Lag, Stats};
use crate::time::Instant;

/// What happened to a shard or to one of its connections.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// A whole message arrived from a client.
    Message {
        /// Where from.
        conn: ConnId,
        /// What it is.
        message: Message<'a>,
    },
    /// A client broke the rules of WebSocket or of size before a message was whole.
    Violation {
        /// Who.
        conn: ConnId,
        /// How: one of the reasons that are the client's fault.
        reason: CloseReason,
    },
    /// The socket took this many bytes of the last [`Shard::transmit`] of this connection. Less
    /// than the batch held means that the socket is full.
    Written {
        /// Whose socket.
        conn: ConnId,
        /// Bytes taken.
        bytes: usize,
    },
    /// A socket that was full can take bytes again.
    Writable {
        /// Whose socket.
        conn: ConnId,
    },
    /// The socket is gone; the shell has dropped it and gives up the id.
    Closed {
        /// Whose socket.
        conn: ConnId,
        /// Why, where the core did not ask for it: `Client` (end of stream) or `Transport`.
        reason: CloseReason,
    },
    /// The Feed says.
    Event(Event),
    /// Every connection is to be told to go, and closed, before the deadline.
    Drain {
        /// When the last must be closed.
        deadline: Instant,
    },
}

/// A whole message from a client (RFC 6455 5.2: a data message, or a control frame).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message of so many bytes.
    Binary(usize),
    /// A ping with its application data (125 bytes at most).
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// A close frame with its code, if it had one.
    Close(Option<u16>),
}

/// What the shell is to do, beside writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Drop this socket, whether all was written or not, then say [`Input::Closed`].
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// What [`Shard::transmit`] gathered. Made once by the shell and used for every connection.
#[derive(Debug, Default)]
pub struct Batch {}

impl Batch {
    /// The most slices that one transmit gathers.
    pub const SLICES_MAX: usize = 64;

    /// How many slices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }
}

/// What is to be written now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Bytes in the batch; 0: there is nothing, and no [`Input::Written`] is to follow.
    pub bytes: usize,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    stats: Stats,
}

impl Shard {
    /// A shard without connections. `seed` feeds session ids and jitter.
    #[must_use]
    pub fn new(_config: Config, _seed: u64, _now: Instant) -> Self {
        Self {
            stats: Stats::default(),
        }
    }

    /// A new WebSocket connection, after its upgrade. Its `welcome` is ready to be written.
    pub fn open(&mut self, _now: Instant) -> ConnId {
        ConnId::new(0, 0)
    }

    /// Takes one input. Total: whatever is wrong with it becomes an answer to the client or a close.
    /// Afterwards poll [`Self::poll_output`], [`Self::poll_ready`] and [`Self::poll_timeout`].
    pub fn handle(&mut self, _now: Instant, _input: Input<'_>) {}

    /// Does what is due. Poll everything afterwards.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Self::handle_timeout`] is to be called. May change at every call that takes `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What to do next, beside writing. Poll until `None` after every `handle*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Takes the next connection that has something to write out of the ready queue. The shell calls
    /// [`Self::transmit`] for it, and, where that gathered bytes, writes and says
    /// [`Input::Written`], before any other call. Sweep in slices: what stays queued stays ready.
    pub fn poll_ready(&mut self) -> Option<ConnId> {
        None
    }

    /// Gathers what is to be written to a connection that [`Self::poll_ready`] gave.
    pub fn transmit(&mut self, _now: Instant, _conn: ConnId, _batch: &mut Batch) -> Transmit {
        Transmit { bytes: 0 }
    }

    /// The slices of the batch, in the order in which they are to be written. Valid until the next
    /// call of `handle`.
    pub fn slices<'a>(
        &'a self,
        _conn: ConnId,
        _batch: &'a Batch,
    ) -> impl Iterator<Item = &'a [u8]> {
        core::iter::empty()
    }

    /// Whether the shell should read from this connection: not while its answers pile up, while a
    /// request of it is held, or while it is being closed with nothing more to hear. It can become
    /// true again after any call but `open`.
    #[must_use]
    pub fn wants_read(&self, _conn: ConnId) -> bool {
        true
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How far the cursors are behind. Walks the subscriptions that wait for data.
    #[must_use]
    pub fn lag(&self, _now: Instant) -> Lag {
        Lag::default()
    }
}
