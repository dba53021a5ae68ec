//! What a client knows and is owed.

use std::collections::{BTreeMap, VecDeque};

use odin_core::id::ConnId;
use odin_core::time::Instant;

/// A wish to continue.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    /// Whether a client really had it; an invented one is no seq of any message.
    pub(crate) real: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscribe {
    pub(crate) names: Vec<&'static str>,
    pub(crate) latest: bool,
    pub(crate) snapshot: bool,
    pub(crate) keep_on: bool,
    pub(crate) wishes: BTreeMap<&'static str, Wish>,
}

/// What the ack of a name must say, and where the name stood when it was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) name: &'static str,
    pub(crate) position: Option<u64>,
    pub(crate) resumed: Option<Result<(), &'static str>>,
    pub(crate) epoch: Option<usize>,
    /// The last place when it was accepted.
    pub(crate) order: u64,
    /// The newest seq when it was accepted.
    pub(crate) head: u64,
    pub(crate) options: Subscribe,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Subscribe(Vec<Accepted>, usize),
    Unsubscribe(Vec<&'static str>, usize),
    Replay(Replay),
    Pong,
    Error(&'static [&'static str]),
}

#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) id: u64,
    pub(crate) channel: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The last seq that the client had of the subscription when this was asked.
    pub(crate) had: u64,
    /// The last seq that was replayed, and how many.
    pub(crate) at: u64,
    pub(crate) count: u64,
    /// An unsubscribe or a reset ended it.
    pub(crate) ended: bool,
}

/// A subscription as its client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Sub {
    pub(crate) name: &'static str,
    pub(crate) options: Subscribe,
    pub(crate) order: u64,
    /// Every message after this one is owed; `None`: nothing before the `reset`.
    pub(crate) start: Option<u64>,
    /// A value at or before the position is still owed or allowed: the first of each channel.
    pub(crate) values_to: u64,
    /// Positions of which every message has a true predecessor that the client had.
    pub(crate) chained: bool,
    pub(crate) last: u64,
    pub(crate) newest_live: u64,
    pub(crate) got: BTreeMap<&'static str, u64>,
    pub(crate) lost: Vec<(u64, u64)>,
    /// After a snapshot, a `lost` or a `reset` a predecessor may be unknown.
    pub(crate) may_begin: bool,
}

impl Sub {
    pub(crate) fn is_lost(&self, seq: u64) -> bool {
        self.lost
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&seq))
    }

    /// The seq of a channel after which everything is owed.
    pub(crate) fn have(&self, channel: &str) -> u64 {
        let got = self.got.get(channel).copied().unwrap_or(0);
        got.max(self.start.unwrap_or(0))
    }

    /// All that the subscription began with is void.
    pub(crate) fn restart(&mut self) {
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
pub(crate) struct Client {
    pub(crate) conn: ConnId,
    /// Bytes that the socket takes before it is full.
    pub(crate) room: usize,
    pub(crate) full_since: Option<Instant>,
    pub(crate) stream: Vec<u8>,
    pub(crate) welcomed: bool,
    /// The close code that it was sent.
    pub(crate) closed: Option<u16>,
    /// It asked to close.
    pub(crate) leaving: bool,
    /// It broke the rules of `wants_read`, so what it is answered is not predicted.
    pub(crate) rogue: bool,
    pub(crate) heard: Instant,
    pub(crate) epoch: Option<usize>,
    pub(crate) subs: Vec<Sub>,
    /// The names that the shard has, once all requests are answered.
    pub(crate) names: Vec<&'static str>,
    pub(crate) held: Option<(Instant, u64, Subscribe)>,
    /// Nothing comes before the `reset` that gives the subscriptions their epoch.
    pub(crate) gated: bool,
    /// The resets of which the last is owed: number line, and why.
    pub(crate) resets_owed: Vec<(usize, &'static str)>,
    pub(crate) requests: VecDeque<(u64, Request)>,
    pub(crate) replays: Vec<Replay>,
    /// Notices about all subscriptions that must come, with their places, and those that may.
    pub(crate) notices: VecDeque<(u64, String)>,
    pub(crate) notices_optional: Vec<String>,
    pub(crate) next_id: u64,
    pub(crate) pings: u32,
    /// It took nothing for too long, or was not heard of.
    pub(crate) may_be_closed: bool,
}

impl Client {
    pub(crate) fn new(conn: ConnId, now: Instant) -> Self {
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
    pub(crate) fn is_judged(&self) -> bool {
        self.closed.is_none() && !self.leaving && !self.rogue
    }
}
