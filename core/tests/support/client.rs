//! A client: a socket with room for so many bytes, and a decoder for what went into it.

use std::collections::VecDeque;

use odin_core::id::ConnId;
use serde_json::{Value, json};

pub(super) struct Client {
    pub(super) id: ConnId,
    /// Bytes that the socket's buffer still takes; `usize::MAX`: it is always drained.
    pub(super) room: usize,
    /// The most bytes that one write takes.
    pub(super) chunk: usize,
    pub(super) full: bool,
    pub(super) gone: bool,
    undecoded: Vec<u8>,
    pub(super) got: VecDeque<Value>,
}

impl Client {
    /// A client that reads everything at once.
    pub(super) fn new(id: ConnId) -> Self {
        Self {
            id,
            room: usize::MAX,
            chunk: usize::MAX,
            full: false,
            gone: false,
            undecoded: Vec::new(),
            got: VecDeque::new(),
        }
    }

    /// The socket is given these bytes, and takes what it has room for: so many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room).min(self.chunk);
        if self.room != usize::MAX {
            self.room -= taken;
        }
        self.full = taken < bytes.len();
        self.undecoded.extend_from_slice(&bytes[..taken]);
        taken
    }

    pub(super) fn is_writable(&self) -> bool {
        self.full && !self.gone && self.room > 0
    }

    /// Decodes the whole frames that have come (RFC 6455 5.2), and counts the messages.
    pub(super) fn decode(&mut self) -> u64 {
        let mut messages = 0;
        while let Some((opcode, payload, used)) = frame(&self.undecoded) {
            let text = || String::from_utf8(payload.to_vec()).unwrap();
            let value = match opcode {
                0x1 => {
                    messages += 1;
                    serde_json::from_slice(payload).expect("text frames hold JSON")
                }
                0x8 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
                    json!({"close": code, "reason": reason})
                }
                0x9 => json!({"ping": text()}),
                0xA => json!({"pong": text()}),
                other => panic!("a frame with opcode {other}"),
            };
            let closed = self
                .got
                .back()
                .is_some_and(|last| last.get("close").is_some());
            assert!(!closed, "nothing follows a close frame, but {value} did");
            self.got.push_back(value);
            self.undecoded.drain(..used);
        }
        messages
    }
}

/// The first frame of `bytes`, if it is whole: its opcode, its payload and its length.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first & 0xF0, 0x80, "frames are whole, and reserved bits 0");
    let (len, header) = match second {
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        126 => (
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        len if len < 126 => (u64::from(len), 2),
        _ => panic!("a server masks nothing"),
    };
    let end = header + usize::try_from(len).ok()?;
    Some((first & 0x0F, bytes.get(header..end)?, end))
}
