//! Many readers of one busy channel, cheap enough that it is the server that is tested: they look at
//! the frames as bytes, and at the numbers of every message.

use std::net::SocketAddr;
use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common;

/// A client that takes only messages of one channel.
pub(crate) struct Reader {
    stream: TcpStream,
    /// Bytes that were read, of which those before `used` are dealt with.
    buffer: Vec<u8>,
    used: usize,
    /// What every message begins with.
    head: String,
    /// The seq of the last message.
    pub(crate) last: u64,
}

/// A frame, by the place of its payload in the buffer.
enum Frame {
    /// A text message.
    Text(Range<usize>),
    /// A close frame with this code.
    Close(u16),
}

/// What ended a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// A close frame.
    Closed(u16),
    /// The end of the stream, or a reset.
    Gone,
}

/// Connects a socket with a receive buffer of so many bytes (0: as the kernel has it), and subscribes
/// a channel.
pub(crate) async fn subscribed(addr: SocketAddr, buffer: u32, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if buffer > 0 {
        socket.set_recv_buffer_size(buffer).expect("a buffer");
    }
    let mut stream = socket.connect(addr).await.expect("the server accepts");
    let upgrade = common::request(&common::upgrade_lines(addr));
    stream.write_all(upgrade.as_bytes()).await.expect("send");
    assert_eq!(common::answer(&mut stream, false).await.status, 101);
    assert_eq!(common::message(&mut stream).await["type"], "welcome");
    let request = common::masked(0x81, request.as_bytes());
    stream.write_all(&request).await.expect("send");
    let ack = common::message(&mut stream).await;
    assert_eq!(ack["type"], "subscription_ack", "{ack}");
    stream
}

impl Reader {
    /// Connects and subscribes a channel that has no message yet.
    pub(crate) async fn connect(addr: SocketAddr, channel: &str, buffer: u32) -> Self {
        let request = format!(r#"{{"type":"subscribe","data":{{"channels":["{channel}"]}}}}"#);
        Self {
            stream: subscribed(addr, buffer, &request).await,
            buffer: Vec::new(),
            used: 0,
            head: format!(r#"{{"type":"message","channel":"{channel}","seq":"#),
            last: 0,
        }
    }

    /// Reads up to this seq. Every message must be the one after the one before.
    pub(crate) async fn read_to(&mut self, seq: u64) {
        while self.last < seq {
            match self.next().await {
                Ok(()) => {}
                Err(end) => panic!("{end:?} after {}", self.last),
            }
        }
    }

    /// Reads until the connection ends.
    pub(crate) async fn read_to_end(&mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    async fn next(&mut self) -> Result<(), End> {
        loop {
            match self.frame() {
                Some(Frame::Text(at)) => {
                    self.check(at);
                    return Ok(());
                }
                Some(Frame::Close(code)) => return Err(End::Closed(code)),
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), End> {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.reserve(64 * 1024);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(End::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// The next frame, if all of it is there (RFC 6455 5.2; a server does not mask).
    fn frame(&mut self) -> Option<Frame> {
        let bytes = &self.buffer[self.used..];
        let (first, short) = (*bytes.first()?, *bytes.get(1)?);
        let (head, length) = match short {
            126 => (
                4,
                usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            ),
            0..126 => (2, usize::from(short)),
            _ => panic!("a frame of more than 64 KiB"),
        };
        let payload = bytes.get(head..head + length)?;
        let begin = self.used + head;
        let frame = match first {
            0x81 => Frame::Text(begin..begin + length),
            0x88 => Frame::Close(
                payload
                    .first_chunk()
                    .map_or(1005, |code| u16::from_be_bytes(*code)),
            ),
            other => panic!("an unexpected frame {other:#x}"),
        };
        self.used = begin + length;
        Some(frame)
    }

    /// The only channel of the server has the numbers 1, 2, 3 and so on.
    fn check(&mut self, at: Range<usize>) {
        let text = &self.buffer[at];
        let expected = format!("{}{},\"prev\":{},", self.head, self.last + 1, self.last);
        assert!(
            text.starts_with(expected.as_bytes()),
            "a silent hole after {}: {}",
            self.last,
            String::from_utf8_lossy(&text[..text.len().min(120)])
        );
        self.last += 1;
    }
}
