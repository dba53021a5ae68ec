//! The surroundings of one shard: a Feed that says what it is told to, sockets that fill up, clients
//! that ask for things. Every byte that a socket takes is judged at once.

use std::collections::BTreeSet;
use std::time::Duration;

use odin_core::config::Config;
use odin_core::event::Event;
use odin_core::id::{ConnId, Order};
use odin_core::reason::CloseReason;
use odin_core::shard::{Input, Message, Output, Shard};
use odin_core::time::Instant;

use super::asks;
use super::client::{Client, Request, Subscribe};
use super::history::{CHANNELS, History, Kept, What, meet};
use super::ops::{Op, Setup};

const CLIENTS_MAX: usize = 8;

/// Notices about everything that may wait for a connection; with one more it is closed.
const NOTICES_MAX: usize = 64;

/// A position that a client had when it went.
pub(crate) struct Saved {
    pub(crate) epoch: usize,
    pub(crate) name: &'static str,
    pub(crate) seq: u64,
}

pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) history: History,
    pub(crate) clients: Vec<Client>,
    pub(crate) dead: Vec<ConnId>,
    pub(crate) saved: Vec<Saved>,
    pub(crate) published: BTreeSet<&'static str>,
    pub(crate) floor: u64,
    pub(crate) opened: u64,
    pub(crate) texts: u64,
    pub(crate) bytes: u64,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let config = setup.config;
        let log_messages = config.log_messages as usize;
        let mut world = Self {
            shard: Shard::new(config, 7),
            config,
            now: Instant::from_millis(5),
            history: History::new(setup.durable, log_messages, config.last_value_bytes),
            clients: Vec::new(),
            dead: Vec::new(),
            saved: Vec::new(),
            published: BTreeSet::new(),
            floor: 0,
            opened: 0,
            texts: 0,
            bytes: 0,
        };
        if setup.ready {
            world.ready(0, false);
        }
        world
    }

    pub(crate) fn step(&mut self, op: &Op) {
        self.now = self.now + Duration::from_micros(10);
        match op {
            Op::Open => self.open(),
            Op::Heartbeat { who } => self.ask(*who, Request::Pong, r#""type":"heartbeat""#),
            Op::Subscribe {
                who,
                names,
                more,
                latest,
                snapshot,
                keep_on,
                resume,
            } => {
                let first = asks::NAMES[usize::from(*names) % asks::NAMES.len()];
                let second = asks::NAMES[usize::from(*more) % asks::NAMES.len()];
                let mut names = vec![first];
                if *more < 128 && !meet(first, second) {
                    names.push(second);
                }
                let wishes = self.wishes(&names, *resume);
                let (latest, snapshot, keep_on) = (*latest, *snapshot, *keep_on);
                let wish = Subscribe {
                    names,
                    latest,
                    snapshot,
                    keep_on,
                    wishes,
                };
                self.subscribe(*who, wish);
            }
            Op::Unsubscribe { who, which } => self.unsubscribe(*who, *which),
            Op::Replay {
                who,
                channel,
                from,
                len,
            } => self.replay(*who, *channel, *from, *len),
            Op::Publish {
                channel,
                gap,
                padding,
            } => {
                let what = What::Message;
                // Before the source is ready a channel begins with the value that was found.
                let begins = !self.history.ready && self.newest(*channel).is_none();
                let what = if begins { What::Snapshot } else { what };
                self.publish(*channel, *gap, what, usize::from(*padding) * 50);
            }
            Op::ChannelLost { channel } if self.history.ready => {
                self.publish(*channel, 0, What::Lost, 0);
            }
            Op::Snapshot { channel, gap } if !self.history.ready => {
                if self.newest(*channel).is_none() {
                    self.publish(*channel, *gap, What::Snapshot, 0);
                }
            }
            Op::Lost { len } if self.history.ready => self.lost(*len),
            Op::Evict { percent } => {
                let span = self.history.order - self.floor.min(self.history.order);
                self.floor += span * u64::from(*percent) / 100;
                self.history.evict(self.floor);
                self.event(Event::Evict {
                    floor: Order(self.floor),
                });
            }
            Op::Reset => self.reset(),
            Op::Ready { beyond, observed } if !self.history.ready => {
                self.ready(u64::from(*beyond), *observed);
            }
            Op::Room { who, bytes } => self.room(*who, *bytes),
            Op::Sweep { count } => self.sweep(if *count == 255 {
                usize::MAX
            } else {
                usize::from(*count)
            }),
            Op::Leave { who } => {
                if let Some(at) = self.pick(*who) {
                    self.clients[at].leaving = true;
                    self.message(at, Message::Close(Some(1000)));
                }
            }
            Op::Vanish { who } => {
                if let Some(at) = self.pick(*who) {
                    self.gone(at, CloseReason::Transport);
                }
            }
            Op::Wait { ms } => self.wait(u64::from(*ms)),
            Op::Rude { who } => self.rude(*who),
            Op::ChannelLost { .. } | Op::Snapshot { .. } | Op::Lost { .. } | Op::Ready { .. } => {}
        }
        self.after();
    }

    /// Heals everything, and requires that every client has all that it is owed.
    pub(crate) fn finish(&mut self) {
        if !self.history.ready {
            self.ready(0, false);
        }
        for at in 0..self.clients.len() {
            self.make_room(at, usize::MAX / 2);
        }
        self.sweep(usize::MAX);
        self.after();
        self.assert_whole();
        let names: usize = self
            .clients
            .iter()
            .filter(|c| c.is_judged())
            .map(|c| c.names.len())
            .sum();
        if self.clients.iter().all(Client::is_judged) {
            assert_eq!(self.shard.stats().subscriptions, names as u64);
        }
        assert_eq!(
            self.shard.poll_ready(),
            None,
            "nothing is left to be written"
        );
        assert_eq!(self.shard.poll_output(), None);
        while !self.clients.is_empty() {
            self.gone(0, CloseReason::Client);
        }
        let stats = self.shard.stats();
        assert_eq!((stats.connections, stats.subscriptions), (0, 0));
        assert_eq!(
            stats.channels,
            self.published.len() as u64,
            "only published channels stay"
        );
        self.now = self.now + Duration::from_secs(61);
        self.shard.handle_timeout(self.now);
        assert_eq!(self.shard.stats().patterns, 0, "idle patterns go");
        assert_eq!(self.shard.poll_timeout(), None);
    }

    /// What holds after every step.
    pub(crate) fn after(&mut self) {
        while let Some(Output::Close { conn, reason }) = self.shard.poll_output() {
            let at = self.clients.iter().position(|c| c.conn == conn);
            self.gone(at.expect("a living connection is closed"), reason);
        }
        let stats = self.shard.stats();
        assert_eq!(stats.connections, self.clients.len() as u64);
        assert_eq!(stats.connections_opened, self.opened);
        assert_eq!(stats.messages_sent, self.texts, "messages sent");
        assert_eq!(stats.bytes_sent, self.bytes, "bytes sent");
        assert_eq!(
            stats.log_bytes,
            self.history.bytes() as u64,
            "bytes of the log"
        );
        let _ = self.shard.lag(self.now);
        for client in &self.clients {
            self.judge_close(client);
        }
    }

    /// Whether a close that a client was sent is for something that it did or left undone.
    pub(crate) fn judge_close(&self, client: &Client) {
        let Some(code) = client.closed.filter(|_| !client.leaving && !client.rogue) else {
            return;
        };
        let fell_off = || {
            client.subs.iter().any(|sub| {
                let epoch = client.epoch.unwrap_or(self.history.epoch);
                let strict = !sub.options.latest && !sub.options.keep_on;
                let mut entries = self.history.of(epoch, sub.name);
                strict
                    && entries.any(|e| {
                        e.kept == Kept::Gone && e.seq > sub.have(e.channel).min(sub.newest_live)
                    })
            })
        };
        let fair = match code {
            4008 => client.may_be_closed || client.notices.len() > NOTICES_MAX || fell_off(),
            4009 => client.may_be_closed,
            _ => false,
        };
        assert!(fair, "closed with {code}: {client:?}");
    }

    pub(crate) fn assert_whole(&self) {
        for client in &self.clients {
            if client.is_judged() && client.full_since.is_none() {
                client.assert_whole(&self.history);
            }
        }
    }

    pub(crate) fn pick(&self, who: u8) -> Option<usize> {
        (!self.clients.is_empty()).then(|| usize::from(who) % self.clients.len())
    }

    pub(crate) fn newest(&self, channel: u8) -> Option<u64> {
        self.history
            .newest(CHANNELS[usize::from(channel)])
            .map(|e| e.seq)
    }

    pub(crate) fn open(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            let conn = self.shard.open(self.now);
            self.opened += 1;
            self.clients.push(Client::new(conn, self.now));
        }
    }

    pub(crate) fn gone(&mut self, at: usize, reason: CloseReason) {
        let client = self.clients.remove(at);
        for sub in client
            .subs
            .iter()
            .filter(|sub| sub.chained && !client.rogue)
        {
            if let Some(epoch) = client.epoch {
                self.saved.push(Saved {
                    epoch,
                    name: sub.name,
                    seq: sub.last,
                });
            }
        }
        let conn = client.conn;
        self.shard.handle(self.now, Input::Closed { conn, reason });
        self.dead.push(conn);
    }

    pub(crate) fn room(&mut self, who: u8, bytes: Option<u16>) {
        let Some(at) = self.pick(who) else { return };
        match bytes {
            None => self.make_room(at, usize::MAX / 2),
            // The socket is full now; what it takes later comes with the next of these.
            Some(bytes) if self.clients[at].room > 1_000_000 => {
                self.clients[at].room = usize::from(bytes);
            }
            Some(bytes) => self.make_room(at, usize::from(bytes)),
        }
    }

    pub(crate) fn make_room(&mut self, at: usize, bytes: usize) {
        let client = &mut self.clients[at];
        client.room = (client.room + bytes).min(usize::MAX / 2);
        let conn = client.conn;
        if client.room > 0 {
            self.shard.handle(self.now, Input::Writable { conn });
        }
    }

    pub(crate) fn sweep(&mut self, count: usize) {
        for turn in 0..count {
            assert!(
                turn < 5_000,
                "a connection is ready again and again: {:?}",
                self.clients
            );
            let Some(conn) = self.shard.poll_ready() else {
                self.assert_whole();
                return;
            };
            self.transmit(conn);
        }
    }

    pub(crate) fn transmit(&mut self, conn: ConnId) {
        let at = self.clients.iter().position(|c| c.conn == conn);
        let at = at.expect("a living connection is ready");
        let transmit = self.shard.transmit(self.now, conn);
        if transmit.bytes == 0 {
            // Nothing was left of it. It must not be given again for nothing.
            self.clients[at].full_since = None;
            return;
        }
        let slices: Vec<&[u8]> = self.shard.slices().collect();
        assert_eq!(slices.len(), transmit.slices);
        assert!(transmit.slices <= Shard::SLICES_MAX);
        let batch = slices.concat();
        assert_eq!(batch.len(), transmit.bytes);
        let client = &mut self.clients[at];
        let bytes = batch.len().min(client.room);
        client.room -= bytes;
        self.shard.handle(self.now, Input::Written { conn, bytes });
        if bytes == batch.len() {
            client.full_since = None;
        } else if bytes > 0 || client.full_since.is_none() {
            client.full_since = Some(self.now);
        }
        self.bytes += bytes as u64;
        self.texts += client.read(&self.history, &batch[..bytes]);
        if client.pings > 0 {
            client.pings = 0;
            self.message(at, Message::Pong);
        }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        let stalls = self.config.write_stall;
        let idle = self.config.idle_timeout;
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            let stalled = client
                .full_since
                .is_some_and(|since| since + stalls <= self.now);
            client.may_be_closed |= stalled || client.heard + idle <= self.now;
            if client
                .held
                .as_ref()
                .is_some_and(|(until, ..)| *until <= self.now)
                && !client.may_be_closed
            {
                client.gated = true;
                self.accept_held(at);
            }
        }
        self.shard.handle_timeout(self.now);
    }
}
