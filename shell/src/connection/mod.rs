//! A WebSocket connection's own task: it reads, and it waits for a full socket to drain.
//!
//! Inbound frames go through tungstenite's context, which parses, unmasks, joins fragments and checks
//! UTF-8. What it would answer (pongs, the closing handshake) is swallowed: answers are the core's.
//! Between two messages a client's task holds neither parser nor buffer: both are the shard's, and
//! lent to whoever is heard. The task writes nothing: that is the shard's loop.

mod boundary;
mod parser;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::shard::{Input, Message};
use odin_core::time::Instant;
use odin_core::wire::frame::Opcode;
use tokio::io::ReadBuf;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

use crate::auth::Accepted;
use crate::driver::{Local, State};
use crate::listener::Stream;
use crate::server::shared::{Permit, Seat, Talk};
pub(crate) use parser::Parser;
use parser::Wire;

/// Reads of one poll, so that a flooding client shares the thread with the others.
const READS_PER_POLL: usize = 4;

/// A connection's places in the counts of the server, given back when they are dropped.
pub(crate) type Places = (Seat, Permit);

/// Takes over an upgraded socket, with the response that is still to be written, the bytes that the client
/// sent after its handshake, and the token that came with that.
pub(crate) fn start<S: Stream>(
    local: &Rc<Local<S>>,
    socket: S,
    response: Vec<u8>,
    early: &[u8],
    places: Places,
    accepted: Option<Accepted>,
) {
    let now = local.shared.clock.now();
    let id = local
        .state()
        .open(now, local.shared.talk, socket, response, accepted);
    let task = Connection {
        local: Rc::clone(local),
        id,
        parser: (!early.is_empty())
            .then(|| Box::new(Parser::new(local.shared.settings.message_max_bytes, early))),
        deaf: false,
        _places: places,
    };
    tokio::task::spawn_local(task);
    local.kick.notify_one();
}

/// The task, which every connection has for as long as it lives: each field is in the memory that an
/// idle one takes.
struct Connection<S: Stream> {
    local: Rc<Local<S>>,
    id: ConnId,
    /// The parser, from the first byte of a message to its last.
    parser: Option<Box<Parser>>,
    /// Nothing that still comes can have a meaning; it is read only to see the end.
    deaf: bool,
    _places: Places,
}

/// Why parsing stopped.
enum Parsed {
    /// All bytes are used.
    Used,
    /// The core does not want more now.
    Paused,
}

impl<S: Stream> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let now = this.local.shared.clock.now();
        let local = Rc::clone(&this.local);
        let mut state = local.state();
        let ended = this.advance(now, &mut state, cx);
        drop(state);
        local.kick.notify_one();
        ended
    }
}

impl<S: Stream> Connection<S> {
    fn advance(&mut self, now: Instant, state: &mut State<S>, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait_for_room(now, state, cx).is_err() {
            state.gone(now, self.id, CloseReason::Transport);
        }
        if let Some(parser) = &mut self.parser {
            let left = parser.take_left();
            if let Parsed::Paused = self.parse(now, state, &left) {
                return self.still_here(state, cx);
            }
        }
        for _ in 0..READS_PER_POLL {
            let Some(socket) = state.socket(self.id, cx) else {
                return Poll::Ready(());
            };
            let mut buffer = ReadBuf::new(socket.scratch);
            let count = match Pin::new(socket.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => buffer.filled().len(),
                Poll::Ready(Err(_)) => {
                    state.gone(now, self.id, CloseReason::Transport);
                    return Poll::Ready(());
                }
            };
            if count == 0 {
                state.gone(now, self.id, CloseReason::Client);
                return Poll::Ready(());
            }
            // The buffer is lent to the parser: the core's inputs need the rest of the state.
            let scratch = std::mem::take(&mut state.scratch);
            let parsed = self.parse(now, state, &scratch[..count]);
            state.scratch = scratch;
            if let Parsed::Paused = parsed {
                return self.still_here(state, cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the connection still has its socket, and so a reason to be woken.
    fn still_here(&self, state: &mut State<S>, cx: &Context<'_>) -> Poll<()> {
        match state.socket(self.id, cx) {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }

    /// Where the socket was full: tells the core when it is not any more.
    fn wait_for_room(
        &self,
        now: Instant,
        state: &mut State<S>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(socket) = state.socket(self.id, cx) else {
            return Ok(());
        };
        if !*socket.full {
            return Ok(());
        }
        if let Poll::Ready(ready) = socket.stream.poll_write_ready(cx) {
            ready?;
            *socket.full = false;
            state.input(now, Input::Writable { conn: self.id });
        }
        Ok(())
    }

    /// Gives the core the messages in these bytes, as long as it wants them, and keeps the rest.
    fn parse(&mut self, now: Instant, state: &mut State<S>, bytes: &[u8]) -> Parsed {
        if self.deaf {
            return Parsed::Used;
        }
        let lent = self.parser.take().or_else(|| state.parser.take());
        let mut parser = lent.unwrap_or_else(|| {
            let bytes_max = self.local.shared.settings.message_max_bytes;
            Box::new(Parser::new(bytes_max, &[]))
        });
        let parsed = self.parse_with(now, state, &mut parser, bytes);
        let is_used = matches!(parsed, Parsed::Used);
        if self.deaf {
            // Nothing is parsed any more.
        } else if !(is_used && parser.is_between_messages()) {
            self.parser = Some(parser);
        } else if parser.is_small() {
            state.parser = Some(parser);
        }
        parsed
    }

    fn parse_with(
        &mut self,
        now: Instant,
        state: &mut State<S>,
        parser: &mut Parser,
        bytes: &[u8],
    ) -> Parsed {
        let mut wire = Wire::new(bytes);
        while !self.deaf {
            if !state.wants_read(self.id) {
                parser.pause(&wire);
                self.fragments(now, state, parser.take_fragments());
                return Parsed::Paused;
            }
            match parser.next(&mut wire) {
                Ok(Some(frame)) => self.message(now, state, &frame),
                Ok(None) => {
                    self.fragments(now, state, parser.take_fragments());
                    if !wire.advance() {
                        return Parsed::Used;
                    }
                }
                Err(error) => {
                    self.deaf = true;
                    if let Some(reason) = violation(&error) {
                        let conn = self.id;
                        state.input(now, Input::Violation { conn, reason });
                    }
                }
            }
        }
        Parsed::Used
    }

    /// Tells the core of the frames that make no message, which cost time all the same.
    fn fragments(&mut self, now: Instant, state: &mut State<S>, count: u32) {
        if count > 0 && self.local.shared.talk == Talk::Protocol {
            self.tell(now, state, Message::Fragments(count));
        }
    }

    fn tell(&mut self, now: Instant, state: &mut State<S>, message: Message<'_>) {
        let conn = self.id;
        state.input(now, Input::Message { conn, message });
        self.deaf |= state.shard.is_deaf(conn);
    }

    fn message(&mut self, now: Instant, state: &mut State<S>, frame: &Frame) {
        let message = match frame {
            Frame::Text(text) if self.local.shared.talk == Talk::Echo => {
                return state
                    .shard
                    .send(now, self.id, Opcode::Text, text.as_bytes());
            }
            Frame::Binary(bytes) if self.local.shared.talk == Talk::Echo => {
                return state.shard.send(now, self.id, Opcode::Binary, bytes);
            }
            Frame::Text(text) => Message::Text(text),
            Frame::Binary(bytes) => Message::Binary(bytes.len()),
            Frame::Ping(data) => Message::Ping(data),
            Frame::Pong(_) => Message::Pong,
            Frame::Close(frame) => {
                // RFC 6455 5.5.1: after a close frame nothing more is sent.
                self.deaf = true;
                let code = frame.as_ref().map(|frame| frame.code);
                if code == Some(CloseCode::Protocol) {
                    // The parser puts this code in the place of one that must not be sent.
                    let reason = CloseReason::Protocol;
                    state.input(
                        now,
                        Input::Violation {
                            conn: self.id,
                            reason,
                        },
                    );
                }
                Message::Close(code.map(u16::from))
            }
            // The parser gives raw frames only to those who write them.
            Frame::Frame(_) => return,
        };
        self.tell(now, state, message);
    }
}

/// A task that ends, in whatever way, leaves no socket behind.
impl<S: Stream> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Some(mut state) = self.local.try_state() {
            let now = self.local.shared.clock.now();
            state.gone(now, self.id, CloseReason::Transport);
        }
        self.local.kick.notify_one();
    }
}

/// What the client broke; `None` after the end of a closing handshake.
fn violation(error: &Error) -> Option<CloseReason> {
    match error {
        Error::Capacity(_) => Some(CloseReason::TooBig),
        Error::Utf8(_) => Some(CloseReason::InvalidUtf8),
        Error::ConnectionClosed | Error::AlreadyClosed => None,
        _ => Some(CloseReason::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::Connection;

    /// With tokio's own 104 bytes a task of up to 152 bytes is one block of 256, aligned to 128.
    #[test]
    fn the_task_of_an_idle_connection_is_small() {
        assert_eq!(size_of::<Connection<TcpStream>>(), 72);
    }
}
