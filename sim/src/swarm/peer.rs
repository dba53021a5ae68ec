//! A client of the swarm: its socket, as bytes in flight, and what it remembers across connections.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::time::Instant;

use super::laws::Bucket;
use super::setup::Profile;
use super::steps::Wish;
use crate::oracle::{ClientId, Decoder, Positions};

/// What a client sends.
#[derive(Clone, Debug)]
pub(super) enum Outgoing {
    Text(String),
    Binary,
    Ping,
    Pong,
    Close,
    Violation(CloseReason),
}

/// Where a client is connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) server: usize,
    pub(super) unit: usize,
    pub(super) conn: ConnId,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ClientId,
    pub(super) profile: Profile,
    pub(super) address: Option<IpAddr>,
    pub(super) home: Option<Home>,
    /// Bytes that the server wrote and the client has not read, and how many there may be.
    pub(super) inflight: Vec<u8>,
    pub(super) window: usize,
    pub(super) limit: Option<usize>,
    pub(super) breaks: bool,
    /// The server was told that the socket is full.
    pub(super) full: bool,
    pub(super) decoder: Decoder,
    pub(super) outbox: VecDeque<Outgoing>,
    pub(super) next_id: u64,
    pub(super) names: Vec<String>,
    pub(super) wish: Option<Wish>,
    pub(super) memory: Positions,
    pub(super) memory_of: usize,
    /// Since when the socket has taken nothing while there was something.
    pub(super) blocked_since: Option<Instant>,
    pub(super) ever_blocked: bool,
    /// When the server last heard of it.
    pub(super) heard: Instant,
    pub(super) bucket: Bucket,
    /// Messages over the rate in a row.
    pub(super) drops: u32,
    /// By when the server must have ended this connection.
    pub(super) must_end: Option<Instant>,
    /// It was told that it is being closed, or closes by itself.
    pub(super) closing: bool,
    /// When it was written to last, some of its subscriptions read history.
    pub(super) reads_history: bool,
}

impl Peer {
    pub(super) fn new(at: usize, profile: Profile, window: usize) -> Self {
        let number = u8::try_from(at).unwrap_or(u8::MAX);
        let address = match at % 4 {
            0 => None,
            1 => Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))),
            _ => Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200))),
        };
        Self {
            id: ClientId(u32::from(number)),
            profile,
            address,
            home: None,
            inflight: Vec::new(),
            window,
            limit: None,
            breaks: false,
            full: false,
            decoder: Decoder::default(),
            outbox: VecDeque::new(),
            next_id: 1,
            names: Vec::new(),
            wish: None,
            memory: Positions::default(),
            memory_of: 0,
            blocked_since: None,
            ever_blocked: false,
            heard: Instant::ZERO,
            bucket: Bucket::new(Instant::ZERO, 0, 0),
            drops: 0,
            must_end: None,
            closing: false,
            reads_history: false,
        }
    }

    /// A new connection: the socket is empty, and the server knows nothing of the client.
    pub(super) fn connected(&mut self, now: Instant, home: Home, bucket: Bucket) {
        self.home = Some(home);
        self.inflight.clear();
        self.limit = None;
        self.breaks = false;
        self.full = false;
        self.decoder = Decoder::default();
        self.outbox.clear();
        self.blocked_since = None;
        self.ever_blocked = false;
        self.heard = now;
        self.bucket = bucket;
        self.drops = 0;
        self.must_end = None;
        self.closing = false;
        self.reads_history = false;
    }

    /// How many bytes the socket takes of `total`.
    pub(super) fn takes(&mut self, total: usize) -> usize {
        let room = self.window.saturating_sub(self.inflight.len());
        let limit = self.limit.take().unwrap_or(usize::MAX);
        total.min(room).min(limit)
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Remembers from where to go on.
    pub(super) fn remember(&mut self, positions: Positions, server: usize) {
        if positions.epoch != self.memory.epoch {
            self.memory = positions;
        } else {
            self.memory.positions.extend(positions.positions);
        }
        self.memory_of = server;
    }
}
