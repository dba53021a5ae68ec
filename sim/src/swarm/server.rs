//! One server, as the shell would run it: a Feed on its link to the upstream, a Gate, and shards.

use std::collections::{BTreeMap, VecDeque};

use odin_core::event::Event;
use odin_core::feed::{Command, Feed, Source};
use odin_core::gate::Gate;
use odin_core::shard::Shard;
use odin_core::time::Instant;

use super::STRIP;
use super::laws::GateLaw;
use super::past::{self, Asked};
use super::setup::{Setup, Upstream};
use crate::jetstream::{Consumer, Delivery};
use crate::oracle::LineId;

/// The link of a server to its upstream, and the faults that are in it.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) connected: bool,
    pub(super) back_at: Option<Instant>,
    pub(super) mute_until: Instant,
    pub(super) failures: u64,
    pub(super) gap: bool,
    pub(super) slow: bool,
    pub(super) command: Option<Command>,
    pub(super) consumer: Option<Consumer>,
    /// The message that the Feed wants again after its next `Fetch`.
    pub(super) held: Option<Delivery>,
    /// The message that it is to be given again.
    pub(super) again: Option<Delivery>,
    pub(super) fetching: bool,
    pub(super) heartbeat_at: Instant,
    /// How often the Feed was told the end of the stream since something was deleted.
    pub(super) tails: u32,
    /// Messages of core NATS were sent while the link was down.
    pub(super) missed: bool,
}

impl Link {
    pub(super) fn carry_out(&mut self, command: Command) {
        self.fetching = matches!(command, Command::Fetch | Command::ReadTail);
        match command {
            Command::Fetch => self.again = self.held.take(),
            Command::ReadInfo
            | Command::WriteNonce(_)
            | Command::ReadTail
            | Command::ReadDeleted(_) => self.command = Some(command),
            Command::OpenConsumer(_) => {
                self.consumer = None;
                self.held = None;
                self.command = Some(command);
            }
        }
    }

    pub(super) fn cut(&mut self, back_at: Instant) {
        self.connected = false;
        self.back_at = Some(back_at);
        self.command = None;
        self.consumer = None;
        self.held = None;
        self.again = None;
        self.fetching = false;
    }
}

/// A shard with what waits for it.
#[derive(Debug)]
pub(super) struct Unit {
    /// Unlike that of any other, also of a server that was in its place before.
    pub(super) id: u64,
    pub(super) shard: Shard,
    pub(super) events: VecDeque<Event>,
    pub(super) held: bool,
    /// What it wants to know of the past.
    pub(super) past: Vec<Asked>,
    /// Which client is which connection.
    pub(super) clients: BTreeMap<usize, usize>,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) feed: Feed,
    pub(super) gate: Gate,
    pub(super) law: GateLaw,
    pub(super) units: Vec<Unit>,
    pub(super) link: Link,
    /// Until when it may say that the stream could not be asked.
    pub(super) trouble_until: Instant,
    /// Of sources that number nothing: this server's own line, and its head.
    pub(super) line: LineId,
    pub(super) head: u64,
    /// Its number line began anew, and the snapshot of it is not complete.
    pub(super) begins: bool,
    pub(super) drain_by: Option<Instant>,
    /// Where the line stood when the drain began.
    pub(super) drain_head: Option<(LineId, u64)>,
    pub(super) retries: Vec<u128>,
}

impl Server {
    pub(super) fn new(setup: &Setup, now: Instant, boot: u64, line: LineId) -> Self {
        let epoch = format!("boot{boot}");
        let source = match setup.upstream {
            Upstream::Embedded => Source::Embedded { epoch },
            Upstream::Nats => Source::Nats { epoch },
            Upstream::JetStream => Source::JetStream { stream: "S".into() },
        };
        let seed = setup.seed ^ boot.wrapping_mul(0x1234_5677);
        let units = (0..setup.shards as u64).map(|at| Unit {
            id: boot << 8 | at,
            shard: Shard::new(setup.config, seed ^ at << 40),
            events: VecDeque::new(),
            held: false,
            past: Vec::new(),
            clients: BTreeMap::new(),
        });
        Self {
            feed: Feed::new(setup.feed, source, STRIP, seed),
            gate: Gate::new(setup.gate, seed, now),
            law: GateLaw::new(setup.gate, now),
            units: units.collect(),
            link: Link {
                back_at: Some(now),
                ..Link::default()
            },
            trouble_until: Instant::ZERO,
            line,
            head: 0,
            begins: false,
            drain_by: None,
            drain_head: None,
            retries: Vec::new(),
        }
    }

    /// When something is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let link = &self.link;
        let fetching = link.fetching && link.connected && link.consumer.is_some();
        let heartbeat = fetching.then_some(link.heartbeat_at.max(link.mute_until));
        // What the upstream has to say it says once it is heard again.
        let heard = link.command.is_some() || fetching;
        let answer = (heard && link.mute_until > now).then_some(link.mute_until);
        let shards = self
            .units
            .iter()
            .filter_map(|unit| unit.shard.poll_timeout());
        let past = self.units.iter().filter_map(|unit| past::due(&unit.past));
        let feed = self.feed.poll_timeout();
        let all = [heartbeat, answer, link.back_at, feed]
            .into_iter()
            .flatten();
        all.chain(shards).chain(past).min()
    }
}
