//! The floor: the least that a server does. One thread, plain epoll, and one `write` of a frame that was
//! encoded by someone else for every socket and message. No limits, no metrics, no log, no resume.
//!
//! Its part of a connection is the same handshake and one subscribe request. Frames come in on a connection
//! that it makes, each behind the number of its channel and its length.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use sha1::{Digest, Sha1};

use crate::{Result, frame};

/// Tokens of the listener and of the connection that frames come in on; the others are clients.
const CLIENTS: u64 = u64::MAX;
const FEED: u64 = u64::MAX - 1;

/// The constant of RFC 6455 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The frames' own header: channel and length.
const HEADER: usize = 8;

struct Client {
    socket: TcpStream,
    upgraded: bool,
    received: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
}

/// Who is where.
struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    /// Where frames come from.
    feed: TcpStream,
    clients: Vec<Client>,
    channels: BTreeMap<u32, Vec<usize>>,
    /// What came of a frame that is not whole yet.
    received: Vec<u8>,
}

/// Serves until the connection to `feed`, which frames come in on, ends.
pub(crate) fn run(feed: SocketAddr) -> Result<()> {
    let (floor, addr) = Floor::start(feed)?;
    println!("floor listening on {addr}");
    floor.serve()
}

impl Floor {
    /// Connects to where frames come from, and listens for clients: where, it says.
    fn start(feed: SocketAddr) -> Result<(Self, SocketAddr)> {
        let feed = TcpStream::connect(feed)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        listener.set_nonblocking(true)?;
        feed.set_nonblocking(true)?;
        for (socket, token) in [(listener.as_fd(), CLIENTS), (feed.as_fd(), FEED)] {
            epoll::add(&epoll, socket, EventData::new_u64(token), EventFlags::IN)?;
        }
        let floor = Self {
            epoll,
            listener,
            feed,
            clients: Vec::new(),
            channels: BTreeMap::new(),
            received: Vec::new(),
        };
        Ok((floor, addr))
    }

    fn serve(mut self) -> Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                match data.u64() {
                    CLIENTS => self.accept()?,
                    FEED if !self.take_in()? => return Ok(()),
                    FEED => {}
                    client => self.client(usize::try_from(client)?, flags)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let data = EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            self.clients.push(Client {
                socket,
                upgraded: false,
                received: Vec::new(),
                unsent: Vec::new(),
            });
        }
    }

    /// Reads frames and writes each to its subscribers; false: there will be no more.
    fn take_in(&mut self) -> Result<bool> {
        let held = self.received.len();
        self.received.resize(held + 64 * 1024, 0);
        let read = match self.feed.read(&mut self.received[held..]) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.received.truncate(held + read);
        let frames = std::mem::take(&mut self.received);
        let mut rest = &frames[..];
        while let Some((header, body)) = rest.split_first_chunk::<HEADER>() {
            let [a, b, c, d, len @ ..] = *header;
            let len = usize::try_from(u32::from_le_bytes(len))?;
            let Some(frame) = body.get(..len) else {
                break;
            };
            for at in self
                .channels
                .get(&u32::from_le_bytes([a, b, c, d]))
                .into_iter()
                .flatten()
            {
                write(&self.epoll, &mut self.clients[*at], *at, frame)?;
            }
            rest = &body[len..];
        }
        self.received.extend_from_slice(rest);
        Ok(true)
    }

    fn client(&mut self, at: usize, flags: EventFlags) -> Result<()> {
        let client = &mut self.clients[at];
        if flags.contains(EventFlags::OUT) {
            return flush(&self.epoll, client, at);
        }
        let mut buffer = [0; 4096];
        match client.socket.read(&mut buffer) {
            Ok(read) if read > 0 => client.received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Ok(_) | Err(_) => {
                // The place stays, as nobody comes back to a floor.
                epoll::delete(&self.epoll, &client.socket)?;
                client.received = Vec::new();
                // It may be shut down already.
                let _ = client.socket.shutdown(std::net::Shutdown::Both);
                return Ok(());
            }
        }
        if !client.upgraded {
            if !client.received.ends_with(b"\r\n\r\n") {
                return Ok(());
            }
            let answer = upgrade(&client.received)?;
            client.upgraded = true;
            client.received = Vec::new();
            return write(&self.epoll, client, at, answer.as_bytes());
        }
        if let Some((frame::TEXT, payload, used)) = frame::first(&client.received) {
            let text = std::str::from_utf8(payload)?;
            for name in text.split('"').filter_map(|word| word.strip_prefix("ch.")) {
                self.channels.entry(name.parse()?).or_default().push(at);
            }
            client.received.drain(..used);
            client.received.shrink_to_fit();
            let mut ack = Vec::new();
            frame::put_text(&mut ack, br#"{"type":"subscription_ack"}"#);
            return write(&self.epoll, client, at, &ack);
        }
        Ok(())
    }
}

/// The answer to an upgrade request (RFC 6455 4.2.2).
fn upgrade(request: &[u8]) -> Result<String> {
    let request = std::str::from_utf8(request)?;
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("sec-websocket-key");
        named.then(|| value.trim())
    });
    let key = key.ok_or("an upgrade without a key")?;
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        base64(&hash)
    ))
}

/// Base64 (RFC 4648 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { digit.into() } else { '=' });
        }
    }
    text
}

/// Writes at once if it can, and keeps what the socket does not take.
fn write(epoll: &OwnedFd, client: &mut Client, at: usize, bytes: &[u8]) -> Result<()> {
    if !client.unsent.is_empty() {
        client.unsent.extend_from_slice(bytes);
        return Ok(());
    }
    let written = write_some(&client.socket, bytes);
    if written < bytes.len() {
        client.unsent.extend_from_slice(&bytes[written..]);
        let flags = EventFlags::IN | EventFlags::OUT;
        epoll::modify(epoll, &client.socket, EventData::new_u64(at as u64), flags)?;
    }
    Ok(())
}

/// Writes what was kept, now that the socket takes some.
fn flush(epoll: &OwnedFd, client: &mut Client, at: usize) -> Result<()> {
    let written = write_some(&client.socket, &client.unsent);
    client.unsent.drain(..written);
    if client.unsent.is_empty() {
        client.unsent = Vec::new();
        let data = EventData::new_u64(at as u64);
        epoll::modify(epoll, &client.socket, data, EventFlags::IN)?;
    }
    Ok(())
}

/// How much the socket took. That it has ended shows when it is read from.
fn write_some(mut socket: &TcpStream, bytes: &[u8]) -> usize {
    match socket.write(bytes) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::load::Load;
    use crate::source::Source;
    use crate::topology::Topology;

    /// The floor, a load of 20 clients, of which each has a channel of its own and half of two shared
    /// ones, and the way in.
    fn twenty() -> (Source, Load) {
        let topology = Topology::Own { shared: 2, each: 1 };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (floor, addr) = Floor::start(listener.local_addr().expect("it")).expect("a floor");
        std::thread::spawn(move || floor.serve());
        let source = Source::floor(&listener, topology.channels(20)).expect("a way in");
        let mut load = Load::new(256).expect("a load");
        let clients = (0..20).map(|client| topology.of(client, 20));
        load.connect(addr, clients, false).expect("20 clients");
        (source, load)
    }

    fn receive(load: &mut Load, deliveries: u64) {
        let mut turns = 0;
        while load.tally.deliveries < deliveries {
            turns += 1;
            assert!(turns < 1_000, "{:?}", load.tally);
            load.turn(Duration::from_millis(10)).expect("a turn");
        }
    }

    #[test]
    fn every_subscriber_gets_every_message_of_its_channels_once() {
        let (mut source, mut load) = twenty();
        for round in 0..100 {
            for channel in 0..22 {
                source.put(channel, 256, clock::now());
            }
            source.flush().expect("it is taken");
            receive(&mut load, (round + 1) * 40);
        }
        let tally = &load.tally;
        assert_eq!(
            (tally.deliveries, tally.broken, tally.notices),
            (4_000, 0, 0)
        );
        assert_eq!(tally.problem, None);
        assert!(tally.latency.quantile(500) > 0);
    }

    #[test]
    fn a_message_that_is_missing_is_seen() {
        let (mut source, mut load) = twenty();
        source.put(21, 256, 1);
        source.skip(21);
        source.put(21, 256, 1);
        source.flush().expect("it is taken");
        receive(&mut load, 20);
        assert_eq!(load.tally.broken, 10);
    }

    #[test]
    fn the_answer_of_the_standard() {
        // RFC 6455 1.3.
        let request = b"GET /ws HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let answer = upgrade(request).expect("an answer");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }

    #[test]
    fn base64_of_the_standard() {
        // RFC 4648 10.
        for (bytes, text) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
