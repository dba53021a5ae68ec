//! WebSocket frames as a server sends them (RFC 6455 5.2): unmasked, never fragmented.
//!
//! Frames of clients are parsed by the shell, which needs a parser with a buffer per socket; sending
//! needs only a header, and a frame that is made here once is shared by all who are sent it.

use alloc::vec::Vec;

use bytes::Bytes;

/// The longest header of a frame that a server sends.
pub const HEADER_BYTES_MAX: usize = 10;

/// The most application data of a control frame (RFC 6455 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// FIN: this frame is the whole message.
const FIN: u8 = 0x80;

/// What a frame is (RFC 6455 5.2), without fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// A text message.
    Text = 0x1,
    /// A binary message; the protocol of this server has none.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// The answer to a ping.
    Pong = 0xA,
}

/// The header of a frame with `len` bytes of payload, in the shortest form, as RFC 6455 demands.
#[must_use]
pub fn header(opcode: Opcode, len: usize) -> heapless::Vec<u8, HEADER_BYTES_MAX> {
    let mut bytes = [FIN | opcode as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let used = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len), _) if usize::from(len) <= CONTROL_BYTES_MAX => {
            bytes[1] = len;
            2
        }
        (_, Ok(len)) => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    bytes[..used].iter().copied().collect()
}

/// Takes the payload of a frame: first only to count it, then to hold it.
#[derive(Debug)]
pub struct Sink {
    out: Option<Vec<u8>>,
    len: usize,
}

impl Sink {
    /// Appends `bytes` to the payload.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        match &mut self.out {
            None => self.len += bytes.len(),
            Some(out) => out.extend_from_slice(bytes),
        }
    }
}

/// A text frame whose payload `write` puts into the sink. It is called twice and must put the same
/// each time: once to learn the length, so that the frame takes one allocation without slack, since a
/// frame lives in the log for minutes and the log's bound counts its bytes.
pub fn text(write: impl Fn(&mut Sink)) -> Bytes {
    let mut counter = Sink { out: None, len: 0 };
    write(&mut counter);
    let header = header(Opcode::Text, counter.len);
    let bytes = header.len() + counter.len;
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(&header);
    let mut sink = Sink {
        out: Some(out),
        len: 0,
    };
    write(&mut sink);
    let frame = sink.out.unwrap_or_default();
    debug_assert_eq!(frame.len(), bytes, "the payload changed between the passes");
    Bytes::from(frame)
}

/// A ping with application data, of which the first [`CONTROL_BYTES_MAX`] bytes are sent.
#[must_use]
pub fn ping(data: &[u8]) -> Bytes {
    control(Opcode::Ping, &[data])
}

/// A pong with application data, of which the first [`CONTROL_BYTES_MAX`] bytes are sent.
#[must_use]
pub fn pong(data: &[u8]) -> Bytes {
    control(Opcode::Pong, &[data])
}

/// A close frame (RFC 6455 5.5.1). A reason that does not fit is cut after a whole character.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let code = code.to_be_bytes();
    let end = reason.floor_char_boundary(CONTROL_BYTES_MAX - code.len());
    control(Opcode::Close, &[&code, &reason.as_bytes()[..end]])
}

/// A control frame of several parts, cut at the length that RFC 6455 allows.
fn control(opcode: Opcode, parts: &[&[u8]]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let len = len.min(CONTROL_BYTES_MAX);
    let header = header(opcode, len);
    let mut out = Vec::with_capacity(header.len() + len);
    out.extend_from_slice(&header);
    out.extend(parts.iter().flat_map(|part| part.iter()).take(len));
    Bytes::from(out)
}
