//! One client: its handshake, its subscription, and the check of what it receives.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::tally::Tally;
use crate::frame;
use crate::message::{self, Seen};

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The answer to its upgrade is awaited.
    Upgrading,
    /// The answer to its subscription is awaited.
    Subscribing,
    /// It receives.
    Live,
    /// Its connection has ended.
    Gone,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: TcpStream,
    pub(super) state: State,
    /// It reads little, and not when there is something to read.
    pub(super) slow: bool,
    /// What was read of a frame that is not whole yet.
    rest: Vec<u8>,
    /// Its channels, ascending, each with the seq that it received last.
    last: Vec<(u32, u64)>,
}

impl Client {
    /// A client whose connection is made; its upgrade is sent.
    pub(super) fn new(socket: TcpStream, channels: &[u32], slow: bool) -> crate::Result<Self> {
        let addr = socket.peer_addr()?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        (&socket).write_all(request.as_bytes())?;
        Ok(Self {
            socket,
            state: State::Upgrading,
            slow,
            rest: Vec::new(),
            last: channels.iter().map(|channel| (*channel, 0)).collect(),
        })
    }

    /// Reads once, at most what the buffer holds, and takes in what came.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: impl Fn() -> u64, tally: &mut Tally) {
        let held = self.rest.len();
        buffer[..held].copy_from_slice(&self.rest);
        let read = match (&self.socket).read(&mut buffer[held..]) {
            Ok(read) if read > 0 => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => return self.gone(tally, "a connection ended"),
        };
        tally.reads += u64::from(!self.slow);
        self.rest.clear();
        let used = self.take_in(&buffer[..held + read], now(), tally);
        self.rest.extend_from_slice(&buffer[used..held + read]);
        if self.rest.is_empty() {
            // Most reads end between two frames: ten thousand clients then hold nothing.
            self.rest.shrink_to(0);
        }
    }

    /// Sends a text message.
    pub(super) fn say(&mut self, text: &[u8], tally: &mut Tally) {
        let mut bytes = Vec::with_capacity(text.len() + 16);
        frame::put_masked(&mut bytes, frame::TEXT, text);
        self.write(&bytes, tally);
    }

    fn write(&mut self, bytes: &[u8], tally: &mut Tally) {
        // A client says so little that its socket always has room.
        if (&self.socket).write_all(bytes).is_err() {
            self.gone(tally, "a client cannot write");
        }
    }

    fn gone(&mut self, tally: &mut Tally, why: &str) {
        if self.state != State::Gone {
            self.state = State::Gone;
            tally.closed += 1;
            tally.problem(why);
        }
    }

    /// Takes in whole frames, and gives the bytes that they were.
    fn take_in(&mut self, bytes: &[u8], now: u64, tally: &mut Tally) -> usize {
        let mut used = 0;
        if self.state == State::Upgrading {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return 0;
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let line = bytes
                    .split(|byte| *byte == b'\r')
                    .next()
                    .unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                self.gone(tally, &format!("an upgrade was answered {line:?}"));
                return bytes.len();
            }
            tally.upgraded += 1;
            self.subscribe(tally);
            used = end + 4;
        }
        while let Some((opcode, payload, len)) = frame::first(&bytes[used..]) {
            used += len;
            match opcode {
                frame::TEXT => match message::read(payload, tally.payload) {
                    Some(seen) => self.delivered(&seen, now, tally),
                    None => self.told(payload, tally),
                },
                frame::PING => {
                    let mut pong = Vec::new();
                    frame::put_masked(&mut pong, frame::PONG, payload);
                    self.write(&pong, tally);
                }
                frame::CLOSE => self.gone(tally, "the server closed a connection"),
                _ => {}
            }
        }
        used
    }

    fn subscribe(&mut self, tally: &mut Tally) {
        if self.last.is_empty() {
            self.state = State::Live;
            return;
        }
        self.state = State::Subscribing;
        let names = self
            .last
            .iter()
            .map(|(channel, _)| message::channel_name(*channel));
        let names = names.collect::<Vec<_>>().join("\",\"");
        let request = format!("{{\"type\":\"subscribe\",\"data\":{{\"channels\":[\"{names}\"]}}}}");
        self.say(request.as_bytes(), tally);
    }

    fn delivered(&mut self, seen: &Seen, now: u64, tally: &mut Tally) {
        let channel = self
            .last
            .binary_search_by_key(&seen.channel, |(number, _)| *number);
        let Ok(at) = channel else {
            tally.broken += 1;
            return tally.problem("a client received a channel that it has not subscribed to");
        };
        let last = &mut self.last[at].1;
        if seen.prev != Some(*last) {
            tally.broken += 1;
            tally.problem("a message is missing: its prev is not the seq before");
        }
        *last = seen.seq;
        if self.slow {
            tally.slow_deliveries += 1;
        } else {
            tally.deliveries += 1;
            tally.latency.record(now.saturating_sub(seen.at));
        }
    }

    /// Something other than a message of a channel.
    fn told(&mut self, text: &[u8], tally: &mut Tally) {
        let kind = |kind: &str| text.starts_with(format!("{{\"type\":\"{kind}\"").as_bytes());
        if kind("subscription_ack") {
            self.state = State::Live;
            tally.acked += 1;
        } else if kind("pong") {
            tally.pongs += 1;
        } else if !kind("welcome") {
            tally.notices += 1;
            let start = &text[..text.len().min(160)];
            tally.problem(&String::from_utf8_lossy(start));
        }
    }
}
