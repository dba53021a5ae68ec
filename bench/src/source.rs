//! Where messages come from: in the place of nats-server for the server, or straight into the floor.
//!
//! The server is fed as in production, by a core NATS subscription: what stands in for nats-server
//! speaks the few verbs that one subscriber needs, so that no broker takes CPU from the two programs
//! that are measured. All CPU that the server needs to take a message in is in its own process, and counted.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use odin_core::wire::event;

use crate::Result;
use crate::message;

/// What subjects begin with.
pub(crate) const PREFIX: &str = "bench.";

/// How long the server may take to subscribe.
const SUBSCRIBE_TIME_MAX: Duration = Duration::from_secs(10);

/// Stands in for nats-server, for one client with one subscription.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    subscribed: mpsc::Receiver<Subscribed>,
}

/// A client's connection, and the id of its subscription.
#[derive(Debug)]
struct Subscribed {
    stream: Arc<Mutex<TcpStream>>,
    id: String,
}

impl Broker {
    /// Listens for the server.
    pub(crate) fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let (sender, subscribed) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                // It ends with its connection, which shows to whoever waits for the subscription.
                std::thread::spawn(move || serve(&stream, addr, &sender));
            }
        });
        Ok(Self { addr, subscribed })
    }

    /// Waits for the server's subscription, and gives what publishes to it.
    pub(crate) fn source(&self) -> Result<Source> {
        let subscribed = self.subscribed.recv_timeout(SUBSCRIBE_TIME_MAX);
        let Subscribed { stream, id } =
            subscribed.map_err(|_| "the server did not subscribe to NATS")?;
        Ok(Source {
            way: Way::Nats { stream, id },
            pending: Vec::new(),
            payload: Vec::new(),
        })
    }
}

/// Speaks the protocol of NATS: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
fn serve(stream: &TcpStream, addr: SocketAddr, sender: &mpsc::Sender<Subscribed>) -> Result<()> {
    stream.set_nodelay(true)?;
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let say = |text: &str| {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(text.as_bytes())
    };
    let (host, port) = (addr.ip(), addr.port());
    say(&format!(
        "INFO {{\"server_id\":\"bench\",\"server_name\":\"bench\",\"version\":\"2.10.0\",\"proto\":1,\
         \"host\":\"{host}\",\"port\":{port},\"headers\":true,\"max_payload\":1048576}}\r\n"
    ))?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        match words.next() {
            Some("PING") => say("PONG\r\n")?,
            Some("SUB") => {
                let id = words.next_back().unwrap_or_default().to_owned();
                let stream = Arc::clone(&writer);
                // Who wanted to know may have given up.
                let _ = sender.send(Subscribed { stream, id });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The way into a program under measurement. Messages are gathered and go out together.
#[derive(Debug)]
pub(crate) struct Source {
    way: Way,
    pending: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Nats {
        stream: Arc<Mutex<TcpStream>>,
        id: String,
    },
    /// The floor takes whole frames, each behind its channel and its length.
    Floor {
        stream: TcpStream,
        seq: u64,
        /// The last seq of each channel.
        last: Vec<u64>,
    },
}

impl Source {
    /// The way into a floor that connects to this listener.
    pub(crate) fn floor(listener: &TcpListener, channels: u32) -> Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let last = vec![0; channels as usize];
        Ok(Self {
            way: Way::Floor {
                stream,
                seq: 0,
                last,
            },
            pending: Vec::new(),
            payload: Vec::new(),
        })
    }

    /// Adds a message with a payload of `size` bytes to what goes out next.
    pub(crate) fn put(&mut self, channel: u32, size: usize, at: u64) {
        self.payload.clear();
        message::put_payload(&mut self.payload, size, at);
        let name = message::channel_name(channel);
        match &mut self.way {
            Way::Nats { id, .. } => {
                let head = format!("MSG {PREFIX}{name} {id} {}\r\n", self.payload.len());
                self.pending.extend_from_slice(head.as_bytes());
                self.pending.extend_from_slice(&self.payload);
                self.pending.extend_from_slice(b"\r\n");
            }
            Way::Floor { seq, last, .. } => {
                *seq += 1;
                let prev = std::mem::replace(&mut last[channel as usize], *seq);
                let millis = at / 1_000_000;
                let frame = event::message(&name, *seq, Some(prev), millis, &self.payload);
                self.pending.extend_from_slice(&channel.to_le_bytes());
                let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                self.pending.extend_from_slice(&len.to_le_bytes());
                self.pending.extend_from_slice(&frame);
            }
        }
    }

    /// Passes over a seq, as if a message of this channel had been lost.
    #[cfg(test)]
    pub(crate) fn skip(&mut self, channel: u32) {
        if let Way::Floor { seq, last, .. } = &mut self.way {
            *seq += 1;
            last[channel as usize] = *seq;
        }
    }

    /// Writes what was added; waits while the program takes no more.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.way {
            Way::Nats { stream, .. } => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                stream.write_all(&self.pending)?;
            }
            Way::Floor { stream, .. } => stream.write_all(&self.pending)?,
        }
        self.pending.clear();
        Ok(())
    }
}
