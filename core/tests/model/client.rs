//! What a client knows and is owed.

use std::collections::{BTreeMap, VecDeque};

use odin_core::id::ConnId;
use odin_core::time::Instant;

/// A wish to continue.
#[derive(Clone, Debug)]
pub struct Wish {
    pub epoch: String,
    pub seq: u64,
    /// Whether a client really had it; an invented one is no seq of any message.
    pub real: bool,
}

#[derive(Clone, Debug)]
pub struct Subscribe {
    pub names: Vec<&'static str>,
    pub latest: bool,
    pub snapshot: bool,
    pub keep_on: bool,
    pub wishes: BTreeMap<&'static str, Wish>,
}

/// What the ack of a name must say, and where the name stood when it was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub name: &'static str,
    pub position: Option<u64>,
    pub resumed: Option<Result<(), &'static str>>,
    pub epoch: Option<usize>,
    /// The last place when it was accepted.
    pub order: u64,
    /// The newest seq when it was accepted.
    pub head: u64,
    pub options: Subscribe,
}

#[derive(Clone, Debug)]
pub enum Request {
    Subscribe(Vec<Accepted>, usize),
    Unsubscribe(Vec<&'static str>, usize),
    Replay(Replay),
    Pong,
    Error(&'static [&'static str]),
}

#[derive(Clone, Debug)]
pub struct Replay {
    pub id: u64,
    pub channel: &'static str,
    pub from: u64,
    pub to: u64,
    /// The last seq that the client had of the subscription when this was asked.
    pub had: u64,
    /// The last seq that was replayed, and how many.
    pub at: u64,
    pub count: u64,
    /// An unsubscribe or a reset ended it.
    pub ended: bool,
}

/// A subscription as its client sees it.
#[derive(Clone, Debug)]
pub struct Sub {
    pub name: &'static str,
    pub options: Subscribe,
    pub order: u64,
    /// Every message after this one is owed; `None`: nothing before the `reset`.
    pub start: Option<u64>,
    /// A value at or before the position is still owed or allowed: the first of each channel.
    pub values_to: u64,
    /// Positions of which every message has a true predecessor that the client had.
    pub chained: bool,
    pub last: u64,
    pub newest_live: u64,
    pub got: BTreeMap<&'static str, u64>,
    pub lost: Vec<(u64, u64)>,
    /// After a snapshot, a `lost` or a `reset` a predecessor may be unknown.
    pub may_begin: bool,
}

impl Sub {
    pub fn is_lost(&self, seq: u64) -> bool {
        self.lost
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&seq))
    }

    /// The seq of a channel after which everything is owed.
    pub fn have(&self, channel: &str) -> u64 {
        let got = self.got.get(channel).copied().unwrap_or(0);
        got.max(self.start.unwrap_or(0))
    }

    /// All that the subscription began with is void.
    pub fn restart(&mut self) {
        self.start = Some(0);
        self.values_to = 0;
        self.chained = true;
        (self.last, self.newest_live) = (0, 0);
        self.got.clear();
        self.lost.clear();
        self.may_begin = true;
    }
}

#[derive(Debug)]
pub struct Client {
    pub conn: ConnId,
    /// Bytes that the socket takes before it is full.
    pub room: usize,
    pub full_since: Option<Instant>,
    pub stream: Vec<u8>,
    pub welcomed: bool,
    /// The close code that it was sent.
    pub closed: Option<u16>,
    /// It asked to close.
    pub leaving: bool,
    /// It broke the rules of `wants_read`, so what it is answered is not predicted.
    pub rogue: bool,
    pub heard: Instant,
    pub epoch: Option<usize>,
    pub subs: Vec<Sub>,
    /// The names that the shard has, once all requests are answered.
    pub names: Vec<&'static str>,
    pub held: Option<(Instant, u64, Subscribe)>,
    /// Nothing comes before the `reset` that gives the subscriptions their epoch.
    pub gated: bool,
    /// The resets of which the last is owed: number line, and why.
    pub resets_owed: Vec<(usize, &'static str)>,
    pub requests: VecDeque<(u64, Request)>,
    pub replays: Vec<Replay>,
    /// Notices about all subscriptions that must come, and those that may.
    pub notices: VecDeque<String>,
    pub notices_optional: Vec<String>,
    pub next_id: u64,
    pub pings: u32,
    /// It took nothing for too long, or was not heard of.
    pub may_be_closed: bool,
}

impl Client {
    pub fn new(conn: ConnId, now: Instant) -> Self {
        Self {
            conn,
            room: usize::MAX / 2,
            full_since: None,
            stream: Vec::new(),
            welcomed: false,
            closed: None,
            leaving: false,
            rogue: false,
            heard: now,
            epoch: None,
            subs: Vec::new(),
            names: Vec::new(),
            held: None,
            gated: false,
            resets_owed: Vec::new(),
            requests: VecDeque::new(),
            replays: Vec::new(),
            notices: VecDeque::new(),
            notices_optional: Vec::new(),
            next_id: 0,
            pings: 0,
            may_be_closed: false,
        }
    }

    /// Whether what it is sent can still be predicted.
    pub fn is_judged(&self) -> bool {
        self.closed.is_none() && !self.leaving && !self.rogue
    }
}
