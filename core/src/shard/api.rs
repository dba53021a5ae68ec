//! What goes into a shard and what comes out of it.

use alloc::sync::Arc;

use super::Grant;
#[cfg(doc)]
use super::Shard;
#[cfg(doc)]
use crate::config::Config;
use crate::event::Event;
use crate::history::{Fetch, Page};
use crate::id::ConnId;
use crate::reason::{CloseReason, TokenFault};
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
    /// The token of a connection, from [`Shard::poll_token`], is accepted.
    Authenticated {
        /// Whose token.
        conn: ConnId,
        /// What it allows.
        grant: Grant,
    },
    /// The token of a connection, from [`Shard::poll_token`], is not accepted.
    TokenRefused {
        /// Whose token.
        conn: ConnId,
        /// Why not.
        fault: TokenFault,
    },
    /// The token that a connection was authenticated by is accepted no more.
    Revoked {
        /// Whose token.
        conn: ConnId,
    },
    /// The Feed says.
    Event(Event),
    /// The answer to an [`Output::FetchHistory`].
    History {
        /// [`Fetch::request`].
        request: u64,
        /// What the stream holds; `None`: it could not be asked.
        page: Option<Arc<Page>>,
    },
    /// Memory is short: some of those who have taken nothing for the longest time are to go. Said again
    /// while it stays short.
    Relieve,
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
    /// No message, but so many fragments before the last one of a message, whether that has come or not.
    /// They are no sign of life: a message that never ends is none.
    Fragments(u32),
    /// A close frame with its code, if it had one.
    Close(Option<u16>),
}

/// What the shell is to do, beside writing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Drop this socket, whether all was written or not, then say [`Input::Closed`].
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// Ask the upstream, then say [`Input::History`]. At most [`Config::history_fetches`] are under way
    /// at once.
    FetchHistory(Fetch),
}

/// What [`Shard::transmit`] gathered. The slices themselves stay in the shard: [`Shard::slices`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transmit {
    /// Bytes to write; 0: there is nothing, and no [`Input::Written`] is to follow.
    pub bytes: usize,
    /// How many slices; at most [`Shard::SLICES_MAX`].
    pub slices: usize,
}
