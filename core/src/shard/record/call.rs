//! The calls of a shard as they were recorded: read back, and made again.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;

use super::{Context, Shard};
use crate::event::{Event, Publication};
use crate::history::Page;
use crate::id::ConnId;
use crate::reason::{CloseReason, TokenFault};
use crate::record::codec::Code;
use crate::record::{self, Broken, Reader};
use crate::shard::{Grant, Input, Message, Output};
use crate::time::Instant;
use crate::wire::request::Rejected;

/// A call of a [`Shard`], as it was recorded.
#[derive(Clone, PartialEq, Debug)]
pub enum Call {
    /// [`Shard::open`].
    Open,
    /// [`Shard::open_as`].
    OpenAs(Grant),
    /// A text message, as it came; of an `auth` everything but the token.
    Text(ConnId, String),
    /// A text message that may hold a token and was rejected: how long it was, and how it was answered.
    Rejected(ConnId, usize, Rejected),
    /// A text message of so many bytes that was over the rate, and so not read.
    Dropped(ConnId, usize),
    /// A binary message of so many bytes.
    Binary(ConnId, usize),
    /// A ping with so many bytes.
    Ping(ConnId, usize),
    /// A pong.
    Pong(ConnId),
    /// So many fragments of a message.
    Fragments(ConnId, u32),
    /// A close frame.
    Goodbye(ConnId, Option<u16>),
    /// [`Input::Violation`].
    Violation(ConnId, CloseReason),
    /// [`Input::Written`].
    Written(ConnId, usize),
    /// [`Input::Writable`].
    Writable(ConnId),
    /// [`Input::Closed`].
    Closed(ConnId, CloseReason),
    /// [`Input::Authenticated`].
    Authenticated(ConnId, Grant),
    /// [`Input::TokenRefused`].
    TokenRefused(ConnId, TokenFault),
    /// [`Input::Revoked`].
    Revoked(ConnId),
    /// A publication, with a stand-in for its frame, and the hash of the frame.
    Published(Arc<Publication>, u64),
    /// Any other event, with stand-ins for frames.
    Event(Event),
    /// [`Input::History`], with stand-ins for frames.
    History(u64, Option<Arc<Page>>),
    /// [`Input::Relieve`].
    Relieve,
    /// [`Input::Drain`].
    Drain(Instant),
    /// [`Shard::handle_timeout`].
    Timeout,
    /// [`Shard::poll_output`], which gave something.
    Output,
    /// [`Shard::poll_ready`], with something in the queue.
    Ready,
    /// [`Shard::transmit`].
    Transmit(ConnId),
}

/// What a call gave.
#[derive(Clone, PartialEq, Debug)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// The connection that was opened, and the id of its session as its client was told.
    Opened(ConnId, String),
    /// What was to be done.
    Output(Option<Output>),
    /// Who was ready.
    Ready(Option<ConnId>),
    /// What was gathered.
    Gathered(usize),
}

pub(super) const OPEN: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const REJECTED: u8 = 2;
pub(super) const BINARY: u8 = 3;
pub(super) const PING: u8 = 4;
pub(super) const PONG: u8 = 5;
pub(super) const GOODBYE: u8 = 6;
pub(super) const VIOLATION: u8 = 7;
pub(super) const WRITTEN: u8 = 8;
pub(super) const WRITTEN_ALL: u8 = 9;
pub(super) const WRITABLE: u8 = 10;
pub(super) const CLOSED: u8 = 11;
pub(super) const PUBLISHED: u8 = 12;
pub(super) const LOST: u8 = 13;
pub(super) const RESET: u8 = 14;
pub(super) const EVICT: u8 = 15;
pub(super) const SOURCE_READY: u8 = 16;
pub(super) const DRAIN: u8 = 17;
pub(super) const TIMEOUT: u8 = 18;
pub(super) const OUTPUT: u8 = 19;
pub(super) const READY: u8 = 20;
pub(super) const TRANSMIT: u8 = 21;
pub(super) const TRANSMIT_POLLED: u8 = 22;
pub(super) const DROPPED: u8 = 23;
pub(super) const HISTORY: u8 = 24;
pub(super) const OPEN_AS: u8 = 25;
pub(super) const AUTHENTICATED: u8 = 26;
pub(super) const TOKEN_REFUSED: u8 = 27;
pub(super) const REVOKED: u8 = 28;
pub(super) const FRAGMENTS: u8 = 29;
pub(super) const RELIEVE: u8 = 30;

fn get_publication(from: &mut Reader<'_>) -> Result<Publication, Broken> {
    Ok(Publication {
        order: Code::get(from)?,
        channel: Code::get(from)?,
        name: Code::get(from)?,
        seq: Code::get(from)?,
        prev: Code::get(from)?,
        ts: Code::get(from)?,
        received: Code::get(from)?,
        kind: Code::get(from)?,
        frame: Code::get(from)?,
    })
}

impl record::Recorded for Shard {
    type Call = Call;
    type Given = Given;
    type Context = Context;

    fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        Self::restore(bytes)
    }

    fn state_hash(&self) -> u64 {
        Self::state_hash(self)
    }

    fn read(
        from: &mut Reader<'_>,
        context: &Context,
        last: &mut u64,
    ) -> Result<(Instant, Call), Broken> {
        const NONE: Broken = Broken("a call refers to none before it");
        let tag = from.byte()?;
        let now = match tag {
            OUTPUT | READY => Instant::from_nanos(*last),
            _ => record::time(from, last)?,
        };
        let call = match tag {
            OPEN => Call::Open,
            TIMEOUT => Call::Timeout,
            OUTPUT => Call::Output,
            READY => Call::Ready,
            TEXT => Call::Text(Code::get(from)?, Code::get(from)?),
            REJECTED => Call::Rejected(Code::get(from)?, Code::get(from)?, Code::get(from)?),
            DROPPED => Call::Dropped(Code::get(from)?, Code::get(from)?),
            BINARY => Call::Binary(Code::get(from)?, Code::get(from)?),
            PING => Call::Ping(Code::get(from)?, Code::get(from)?),
            PONG => Call::Pong(Code::get(from)?),
            FRAGMENTS => Call::Fragments(Code::get(from)?, Code::get(from)?),
            GOODBYE => Call::Goodbye(Code::get(from)?, Code::get(from)?),
            VIOLATION => Call::Violation(Code::get(from)?, Code::get(from)?),
            WRITTEN => Call::Written(Code::get(from)?, Code::get(from)?),
            WRITTEN_ALL => {
                let (conn, bytes) = context.gathered.ok_or(NONE)?;
                Call::Written(conn, bytes)
            }
            WRITABLE => Call::Writable(Code::get(from)?),
            CLOSED => Call::Closed(Code::get(from)?, Code::get(from)?),
            HISTORY => Call::History(Code::get(from)?, Code::get(from)?),
            RELIEVE => Call::Relieve,
            DRAIN => Call::Drain(Code::get(from)?),
            OPEN_AS => Call::OpenAs(Code::get(from)?),
            AUTHENTICATED => Call::Authenticated(Code::get(from)?, Code::get(from)?),
            TOKEN_REFUSED => Call::TokenRefused(Code::get(from)?, Code::get(from)?),
            REVOKED => Call::Revoked(Code::get(from)?),
            TRANSMIT => Call::Transmit(Code::get(from)?),
            TRANSMIT_POLLED => Call::Transmit(context.polled.ok_or(NONE)?),
            PUBLISHED => {
                let publication = get_publication(from)?;
                let mut sum = [0; 8];
                sum.copy_from_slice(from.raw(8)?);
                Call::Published(Arc::new(publication), u64::from_le_bytes(sum))
            }
            LOST => Call::Event(Event::Lost(Code::get(from)?)),
            RESET => Call::Event(Event::Reset(Code::get(from)?)),
            EVICT => Call::Event(Event::Evict {
                floor: Code::get(from)?,
            }),
            SOURCE_READY => Call::Event(Event::SourceReady(Code::get(from)?)),
            _ => return Err(Broken("a call is of no known kind")),
        };
        Ok((now, call))
    }

    fn apply(&mut self, now: Instant, call: &Call, context: &mut Context) -> Given {
        match call {
            Call::Open => {
                let session = self.next_session();
                return Given::Opened(self.open(now), session);
            }
            Call::OpenAs(grant) => {
                let session = self.next_session();
                return Given::Opened(self.open_as(now, grant.clone()), session);
            }
            Call::Timeout => self.handle_timeout(now),
            Call::Output => return Given::Output(self.poll_output()),
            Call::Ready => {
                context.polled = self.poll_ready();
                return Given::Ready(context.polled);
            }
            Call::Transmit(conn) => {
                let bytes = self.transmit(now, *conn).bytes;
                context.gathered = Some((*conn, bytes));
                return Given::Gathered(bytes);
            }
            Call::Rejected(conn, len, rejected) => {
                let (conn, text) = (*conn, " ".repeat(*len));
                let answer = rejected.clone();
                self.hear(now, conn, Message::Text(&text), |_| Err(answer));
            }
            _ => self.apply_input(now, call),
        }
        Given::Nothing
    }
}

impl Shard {
    /// The id of the session that is opened next.
    fn next_session(&mut self) -> String {
        let random = self.random;
        let session = alloc::format!("{:016x}", self.next_random());
        self.random = random;
        session
    }

    fn apply_input(&mut self, now: Instant, call: &Call) {
        let (filler, zeros);
        let (conn, message) = match call {
            Call::Text(conn, text) => (*conn, Message::Text(text)),
            Call::Dropped(conn, len) => {
                filler = " ".repeat(*len);
                (*conn, Message::Text(&filler))
            }
            Call::Binary(conn, len) => (*conn, Message::Binary(*len)),
            Call::Ping(conn, len) => {
                zeros = vec![0; *len];
                (*conn, Message::Ping(&zeros))
            }
            Call::Pong(conn) => (*conn, Message::Pong),
            Call::Fragments(conn, count) => (*conn, Message::Fragments(*count)),
            Call::Goodbye(conn, code) => (*conn, Message::Close(*code)),
            _ => return self.apply_other(now, call),
        };
        self.handle(now, Input::Message { conn, message });
    }

    fn apply_other(&mut self, now: Instant, call: &Call) {
        let input = match call.clone() {
            Call::Violation(conn, reason) => Input::Violation { conn, reason },
            Call::Written(conn, bytes) => Input::Written { conn, bytes },
            Call::Writable(conn) => Input::Writable { conn },
            Call::Closed(conn, reason) => Input::Closed { conn, reason },
            Call::Authenticated(conn, grant) => Input::Authenticated { conn, grant },
            Call::TokenRefused(conn, fault) => Input::TokenRefused { conn, fault },
            Call::Revoked(conn) => Input::Revoked { conn },
            Call::Published(publication, _) => Input::Event(Event::Published(publication)),
            Call::Event(event) => Input::Event(event),
            Call::History(request, page) => Input::History { request, page },
            Call::Relieve => Input::Relieve,
            Call::Drain(deadline) => Input::Drain { deadline },
            _ => return,
        };
        self.handle(now, input);
    }
}
