//! WebSocket frames as a client reads them (RFC 6455 5.2), in whatever pieces the bytes arrive.

/// What arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A text message.
    Text(&'a str),
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A close frame with its code, if it has one.
    Close(Option<u16>),
}

/// Puts frames together.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out.
    used: usize,
}

impl Decoder {
    /// Takes bytes from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that are not a whole frame yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.used
    }

    /// The next whole frame; `None`: there is none yet.
    ///
    /// # Errors
    /// What arrived is no frame that a server may send.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, String> {
        let rest = &self.buffer[self.used..];
        let [first, second, ..] = *rest else {
            return Ok(None);
        };
        let (header, len) = match second & 0x7f {
            126 if rest.len() >= 4 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            127 if rest.len() >= 10 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&rest[2..10]);
                (
                    10,
                    usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX),
                )
            }
            126 | 127 => return Ok(None),
            short => (2, usize::from(short)),
        };
        if second & 0x80 != 0 || first & 0xf0 != 0x80 || len > 1 << 26 {
            return Err(format!("no frame of a server: {first:#04x} {second:#04x}"));
        }
        if rest.len() < header + len {
            return Ok(None);
        }
        let start = self.used + header;
        self.used = start + len;
        let payload = &self.buffer[start..start + len];
        match first & 0x0f {
            0x1 => std::str::from_utf8(payload)
                .map(|text| Some(Frame::Text(text)))
                .map_err(|error| format!("a text frame that is no text: {error}")),
            0x8 => Ok(Some(Frame::Close(match payload {
                [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            }))),
            0x9 => Ok(Some(Frame::Ping)),
            0xa => Ok(Some(Frame::Pong)),
            other => Err(format!("an opcode that no server sends: {other}")),
        }
    }
}
