//! What turns a client's bytes into messages, and when it can be given up or lent to another client.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

use super::boundary::Boundary;

/// The parser's read buffer: what most requests fit in. A client that stops in the middle of a message
/// holds one.
const READ_BUFFER_BYTES: usize = 128;

/// A parser that met a larger payload is dropped and not lent on, as it keeps the room.
const LENT_BYTES_MAX: u64 = 1024;

/// Room for the largest control frame that the parser may want to answer with.
const WRITE_BUFFER_BYTES: usize = 256;

/// The parser of one client at a time.
#[derive(Debug)]
pub(crate) struct Parser {
    context: WebSocketContext,
    boundary: Boundary,
    /// Bytes read and not yet given to the context, because the core did not want to hear more.
    left: Vec<u8>,
}

impl Parser {
    /// A parser for messages of at most so many bytes, with bytes that came already.
    pub(super) fn new(message_bytes_max: usize, early: &[u8]) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max))
            .accept_unmasked_frames(false);
        Self {
            context: WebSocketContext::new(Role::Server, Some(config)),
            boundary: Boundary::default(),
            left: early.to_vec(),
        }
    }

    /// The bytes that wait to be parsed: those of [`Self::pause`].
    pub(super) fn take_left(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.left)
    }

    /// The next message; `None`: the window is used up.
    pub(super) fn next(&mut self, wire: &mut Wire<'_>) -> Result<Option<Frame>, Error> {
        match self.context.read(wire) {
            Ok(frame) => Ok(Some(frame)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.boundary.feed(wire.bytes);
                wire.bytes = &[];
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what is not parsed yet. The context may hold messages too, which it has not given out.
    pub(super) fn pause(&mut self, wire: &Wire<'_>) {
        let used = wire.bytes.len() - wire.unread.len();
        self.boundary.feed(&wire.bytes[..used]);
        self.left = [wire.unread, wire.rest].concat();
    }

    /// Whether a parser whose bytes are used up holds nothing of its client.
    pub(super) fn is_between_messages(&self) -> bool {
        self.boundary.is_between_messages()
    }

    /// How many fragments came of messages that more was to follow of; each is told once.
    pub(super) fn take_fragments(&mut self) -> u32 {
        self.boundary.take_fragments()
    }

    /// Whether it is still as small as a new one.
    pub(super) fn is_small(&self) -> bool {
        self.boundary.largest() <= LENT_BYTES_MAX
    }
}

/// Bytes that the parser sees at once. Of small frames that make no message it may use up all of them before
/// anybody can say that there were too many.
const WINDOW_BYTES: usize = 1024;

/// The parser's view of the socket: it reads the bytes at hand, a window of them at a time, and what it
/// writes is dropped.
pub(super) struct Wire<'a> {
    /// The window.
    bytes: &'a [u8],
    /// What is left of it.
    unread: &'a [u8],
    /// What comes after it.
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut wire = Self {
            bytes: &[],
            unread: &[],
            rest: bytes,
        };
        wire.advance();
        wire
    }

    /// Moves the window on, when all of it is used; `false`: there is nothing more.
    pub(super) fn advance(&mut self) -> bool {
        let (window, rest) = self.rest.split_at(self.rest.len().min(WINDOW_BYTES));
        (self.bytes, self.unread, self.rest) = (window, window, rest);
        !window.is_empty()
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.unread.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
