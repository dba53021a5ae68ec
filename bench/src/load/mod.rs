//! The load client: many connections on one thread, read as cheaply as epoll allows, because it shares
//! the machine with the program that is measured.

mod client;
mod tally;

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::time::Timespec;

use crate::Result;
use crate::clock;
use client::{Client, State};
pub(crate) use tally::Tally;

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Upgrades under way at once.
const UPGRADES_MAX: u64 = 64;

/// How long all upgrades together may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(60);

/// A slow client reads this much each time.
const SLOW_BYTES: usize = 2 * 1024;

/// The time between two reads of a slow client.
const SLOW_INTERVAL: Duration = Duration::from_millis(500);

/// The receive buffer of a slow client.
const SLOW_RECEIVE_BUFFER: usize = 4 * 1024;

/// The connections, and what they received.
pub(crate) struct Load {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    /// The slow ones among them, which read in turn.
    slow: Vec<usize>,
    /// When they began to read, and how often one has read since.
    slow_since: Instant,
    slow_reads: u128,
    /// What was received.
    pub(crate) tally: Tally,
}

impl Load {
    /// No connections yet. Messages are those with payloads of `payload` bytes.
    pub(crate) fn new(payload: usize) -> Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(1024),
            clients: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            slow: Vec::new(),
            slow_since: Instant::now(),
            slow_reads: 0,
            tally: Tally::new(payload),
        })
    }

    /// Connects one client for each list of channels, and waits until all are subscribed.
    pub(crate) fn connect(
        &mut self,
        addr: SocketAddr,
        clients: impl Iterator<Item = Vec<u32>>,
        slow: bool,
    ) -> Result<()> {
        let until = Instant::now() + CONNECT_TIME_MAX;
        let mut begun = self.tally.upgraded;
        let mut subscribing = self.tally.acked;
        for channels in clients {
            while begun - self.tally.upgraded >= UPGRADES_MAX {
                self.settle(until)?;
            }
            begun += 1;
            subscribing += u64::from(!channels.is_empty());
            let socket = if slow {
                slow_socket(addr)?
            } else {
                TcpStream::connect(addr)?
            };
            socket.set_nodelay(true)?;
            let data = EventData::new_u64(self.clients.len() as u64);
            let client = Client::new(socket, &channels, slow)?;
            client.socket.set_nonblocking(true)?;
            epoll::add(&self.epoll, &client.socket, data, EventFlags::IN)?;
            self.clients.push(client);
        }
        while self.tally.upgraded < begun || self.tally.acked < subscribing {
            self.settle(until)?;
        }
        if slow {
            let slow = self.clients.iter().enumerate().filter(|(_, c)| c.slow);
            for (at, client) in slow {
                epoll::delete(&self.epoll, &client.socket)?;
                self.slow.push(at);
            }
            self.slow_since = Instant::now();
        }
        Ok(())
    }

    /// Those slow clients read whose turn has come: evenly over the interval, as clients that know nothing
    /// of each other do. All at once they would hold up what the fast ones read, 300 sockets long.
    fn read_slow(&mut self) {
        let due = self.slow_since.elapsed().as_nanos() * self.slow.len() as u128;
        while self.slow_reads < due / SLOW_INTERVAL.as_nanos() {
            let at = self.slow[(self.slow_reads % self.slow.len() as u128) as usize];
            self.slow_reads += 1;
            let client = &mut self.clients[at];
            if client.state == State::Live {
                client.read(
                    &mut self.buffer[..2 * SLOW_BYTES],
                    clock::now,
                    &mut self.tally,
                );
            }
        }
    }

    /// A turn while nothing may go wrong.
    fn settle(&mut self, until: Instant) -> Result<()> {
        self.turn(Duration::from_millis(100))?;
        if let Some(problem) = &self.tally.problem {
            return Err(format!("while connecting: {problem}").into());
        }
        if Instant::now() > until {
            return Err("connecting takes too long".into());
        }
        Ok(())
    }

    /// Reads whatever is there, or waits for it, for at most `wait`.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<()> {
        self.read_slow();
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs())?,
            tv_nsec: wait.subsec_nanos().into(),
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let data = event.data;
            let client = &mut self.clients[usize::try_from(data.u64())?];
            client.read(&mut self.buffer, clock::now, &mut self.tally);
            if client.state == State::Gone {
                epoll::delete(&self.epoll, &client.socket)?;
            }
        }
        Ok(())
    }

    /// Reads for a while.
    pub(crate) fn run(&mut self, span: Duration) -> Result<()> {
        let until = Instant::now() + span;
        while Instant::now() < until {
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Sends a text to the server on every connection, some at a time, and waits for the pongs.
    pub(crate) fn heartbeat(&mut self, text: &[u8]) -> Result<()> {
        let until = Instant::now() + CONNECT_TIME_MAX;
        let before = self.tally.pongs;
        for at in 0..self.clients.len() {
            self.clients[at].say(text, &mut self.tally);
            while self.tally.pongs - before + UPGRADES_MAX < at as u64 {
                self.settle(until)?;
            }
        }
        while self.tally.pongs - before < self.clients.len() as u64 {
            self.settle(until)?;
        }
        Ok(())
    }

    /// Closes every connection.
    pub(crate) fn close(&mut self) {
        self.clients.clear();
    }
}

/// A connection whose receive buffer is so small that the server soon meets a full socket.
fn slow_socket(addr: SocketAddr) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, SLOW_RECEIVE_BUFFER)?;
    rustix::net::connect(&socket, &addr)?;
    Ok(TcpStream::from(socket))
}
