//! The surroundings of one shard: a Feed that says what it is told to, sockets that fill up, clients
//! that ask for things. Every byte that a socket takes is judged at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use odin_core::config::Config;
use odin_core::event::{Event, Kind, Lost, Publication, Reset, SourceReady};
use odin_core::id::{ChannelId, ConnId, Order};
use odin_core::reason::{CloseReason, LostReason, ResetReason};
use odin_core::shard::{Input, Message, Output, Shard};
use odin_core::time::Instant;
use serde_json::json;

use super::client::{Accepted, Client, Replay, Request, Subscribe, Wish};
use super::frames;
use super::history::{CHANNELS, History, Kept, What, covers, epoch_name, meet};
use super::ops::{Op, Resume, Setup};

const NAMES: [&str; 9] = ["a", "b", "x.a", "x.b", "y.a", "*", "x.*", "*.a", ">"];
const CLIENTS_MAX: usize = 8;

/// A position that a client had when it went.
struct Saved {
    epoch: usize,
    name: &'static str,
    seq: u64,
}

pub(crate) struct World {
    shard: Shard,
    config: Config,
    now: Instant,
    history: History,
    clients: Vec<Client>,
    dead: Vec<ConnId>,
    saved: Vec<Saved>,
    published: BTreeSet<&'static str>,
    floor: u64,
    opened: u64,
    texts: u64,
    bytes: u64,
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
                let first = NAMES[usize::from(*names) % NAMES.len()];
                let second = NAMES[usize::from(*more) % NAMES.len()];
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
    fn after(&mut self) {
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

    fn judge_close(&self, client: &Client) {
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
            4008 => client.may_be_closed || fell_off(),
            4009 => client.may_be_closed,
            _ => false,
        };
        assert!(fair, "closed with {code}: {client:?}");
    }

    fn assert_whole(&self) {
        for client in &self.clients {
            if client.is_judged() && client.full_since.is_none() {
                client.assert_whole(&self.history);
            }
        }
    }

    fn pick(&self, who: u8) -> Option<usize> {
        (!self.clients.is_empty()).then(|| usize::from(who) % self.clients.len())
    }

    fn newest(&self, channel: u8) -> Option<u64> {
        self.history
            .newest(CHANNELS[usize::from(channel)])
            .map(|e| e.seq)
    }

    fn open(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            let conn = self.shard.open(self.now);
            self.opened += 1;
            self.clients.push(Client::new(conn, self.now));
        }
    }

    fn gone(&mut self, at: usize, reason: CloseReason) {
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

    // What clients do.

    fn message(&mut self, at: usize, message: Message<'_>) {
        let conn = self.clients[at].conn;
        self.clients[at].heard = self.now;
        self.shard
            .handle(self.now, Input::Message { conn, message });
    }

    /// Sends a request, if the connection is read from.
    fn ask(&mut self, who: u8, request: Request, fields: &str) {
        let Some(at) = self.pick(who) else { return };
        self.ask_at(at, request, fields);
    }

    fn ask_at(&mut self, at: usize, mut request: Request, fields: &str) -> bool {
        let client = &mut self.clients[at];
        if !client.is_judged() || !self.shard.wants_read(client.conn) {
            return false;
        }
        client.next_id += 1;
        let id = client.next_id;
        if let Request::Replay(replay) = &mut request {
            replay.id = id;
            client.replays.push(replay.clone());
        }
        client.requests.push_back((id, request));
        let text = format!(r#"{{"id":{id},{fields}}}"#);
        self.message(at, Message::Text(&text));
        true
    }

    fn wishes(&self, names: &[&'static str], resume: Resume) -> BTreeMap<&'static str, Wish> {
        let mut wishes = BTreeMap::new();
        let epoch = epoch_name(self.history.epoch);
        let mut saved: Vec<(usize, &str, u64)> = self
            .saved
            .iter()
            .map(|s| (s.epoch, s.name, s.seq))
            .collect();
        for client in self.clients.iter().filter(|c| !c.rogue) {
            if let Some(epoch) = client.epoch {
                let subs = client.subs.iter().filter(|sub| sub.chained);
                saved.extend(subs.map(|sub| (epoch, sub.name, sub.last)));
            }
        }
        for name in names {
            let wish = match resume {
                Resume::No => continue,
                Resume::Stale(seq) => Wish {
                    epoch: "stale".into(),
                    seq: seq.into(),
                    real: false,
                },
                Resume::Invented(seq) => {
                    let seq = u64::from(seq) % (self.history.head + 4);
                    Wish {
                        epoch: epoch.clone(),
                        seq,
                        real: false,
                    }
                }
                Resume::Real(which) => {
                    let mine: Vec<_> = saved.iter().filter(|s| s.1 == *name).collect();
                    // Newer ones are more often still to be had.
                    let back = usize::from(which) % 4 + 1;
                    let Some(at) = mine.len().checked_sub(back) else {
                        continue;
                    };
                    Wish {
                        epoch: epoch_name(mine[at].0),
                        seq: mine[at].2,
                        real: true,
                    }
                }
            };
            wishes.insert(*name, wish);
        }
        // A request names one epoch.
        if let Some(first) = wishes.values().next().map(|wish| wish.epoch.clone()) {
            wishes.retain(|_, wish| wish.epoch == first);
        }
        wishes
    }

    fn subscribe(&mut self, who: u8, wish: Subscribe) {
        let Some(at) = self.pick(who) else { return };
        let mut data = json!({
            "channels": wish.names,
            "mode": if wish.latest { "latest" } else { "lossless" },
            "snapshot": wish.snapshot,
            "on_lost": if wish.keep_on { "continue" } else { "close" },
        });
        if let Some(first) = wish.wishes.values().next() {
            let positions: BTreeMap<_, _> = wish.wishes.iter().map(|(n, w)| (*n, w.seq)).collect();
            data["resume"] = json!({"epoch": first.epoch, "positions": positions});
        }
        let fields = format!(r#""type":"subscribe","data":{data}"#);
        let client = &self.clients[at];
        if wish
            .names
            .iter()
            .any(|n| client.names.iter().any(|m| meet(n, m)))
        {
            let codes = &["ALREADY_SUBSCRIBED", "SUBSCRIPTION_OVERLAP"];
            self.ask_at(at, Request::Error(codes), &fields);
        } else if !self.history.ready && !self.config.subscribe_hold.is_zero() {
            let until = self.now + self.config.subscribe_hold;
            if self.ask_at(at, Request::Pong, &fields) {
                let client = &mut self.clients[at];
                client.held = Some((until, client.next_id, wish));
            }
        } else {
            let accepted = accept(&self.history, &wish);
            let count = client.names.len() + wish.names.len();
            if self.ask_at(at, Request::Subscribe(accepted, count), &fields) {
                self.clients[at].names.extend(&wish.names);
                self.clients[at].gated |= !self.history.ready;
            }
        }
    }

    /// The subscribe that waited is accepted.
    fn accept_held(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((_, id, wish)) = client.held.take() else {
            return;
        };
        client.names.extend(&wish.names);
        let accepted = Request::Subscribe(accept(&self.history, &wish), client.names.len());
        if let Some(request) = client.requests.iter_mut().find(|(asked, _)| *asked == id) {
            request.1 = accepted;
        }
    }

    fn unsubscribe(&mut self, who: u8, which: u8) {
        let Some(at) = self.pick(who) else { return };
        let client = &self.clients[at];
        let which = usize::from(which);
        let name = match client.names.len() {
            0 => NAMES[which % NAMES.len()],
            len if which < 240 => client.names[which % len],
            _ => NAMES[which % NAMES.len()],
        };
        let fields = format!(r#""type":"unsubscribe","data":{{"channels":["{name}"]}}"#);
        if !client.names.contains(&name) {
            self.ask_at(at, Request::Error(&["NOT_SUBSCRIBED"]), &fields);
            return;
        }
        let request = Request::Unsubscribe(vec![name], client.names.len() - 1);
        if self.ask_at(at, request, &fields) {
            let client = &mut self.clients[at];
            client.names.retain(|n| *n != name);
            for replay in client
                .replays
                .iter_mut()
                .filter(|r| covers(name, r.channel))
            {
                replay.ended = true;
            }
            if client.names.is_empty() {
                client
                    .notices_optional
                    .extend(client.notices.drain(..).map(|n| n.1));
            }
        }
    }

    fn replay(&mut self, who: u8, channel: u8, from: u8, len: Option<u8>) {
        let Some(at) = self.pick(who) else { return };
        let client = &self.clients[at];
        // Mostly of a channel that is covered.
        let mut channel = CHANNELS[usize::from(channel) % CHANNELS.len()];
        if let Some(name) = client.names.first().filter(|_| !from.is_multiple_of(4))
            && !covers(name, channel)
        {
            channel = CHANNELS.into_iter().find(|c| covers(name, c)).unwrap();
        }
        let from = self.history.head.saturating_sub(u64::from(from)).max(1);
        let to = len.map(|len| from + u64::from(len));
        let data = match to {
            Some(to) => json!({"channel": channel, "from": from, "to": to}),
            None => json!({"channel": channel, "since": from - 1}),
        };
        let fields = format!(r#""type":"replay","data":{data}"#);
        if !client.names.iter().any(|name| covers(name, channel)) {
            self.ask_at(at, Request::Error(&["NOT_SUBSCRIBED"]), &fields);
            return;
        }
        let sub = client.subs.iter().find(|sub| covers(sub.name, channel));
        // What it had before a reset or an unsubscribe that is on its way counts no more.
        let changes =
            |r: &(u64, Request)| matches!(r.1, Request::Subscribe(..) | Request::Unsubscribe(..));
        let settled = client.resets_owed.is_empty() && !client.requests.iter().any(changes);
        let sub = sub.filter(|_| settled);
        let had = sub.map_or(0, |sub| sub.newest_live);
        let to = to.unwrap_or(u64::MAX);
        let replay = Replay {
            id: 0,
            channel,
            from,
            to,
            had,
            at: 0,
            count: 0,
            ended: false,
        };
        self.ask_at(at, Request::Replay(replay), &fields);
    }

    fn rude(&mut self, who: u8) {
        let text = r#"{"type":"subscribe","data":{"channels":[">"]}}"#;
        for conn in self.dead.iter().rev().take(3).copied().collect::<Vec<_>>() {
            assert!(!self.shard.wants_read(conn));
            let message = Message::Text(text);
            self.shard
                .handle(self.now, Input::Message { conn, message });
            self.shard.handle(self.now, Input::Writable { conn });
            let reason = CloseReason::TooBig;
            self.shard
                .handle(self.now, Input::Violation { conn, reason });
            let reason = CloseReason::Transport;
            self.shard.handle(self.now, Input::Closed { conn, reason });
        }
        let Some(at) = self.pick(who) else { return };
        if self.shard.wants_read(self.clients[at].conn) {
            return;
        }
        self.clients[at].rogue = true;
        for text in [
            text,
            r#"{"type":"replay","data":{"channel":"a","from":1}}"#,
            "no JSON",
        ] {
            for _ in 0..who {
                self.message(at, Message::Text(text));
                self.message(at, Message::Ping(b"p"));
            }
        }
    }

    // What sockets do.

    fn room(&mut self, who: u8, bytes: Option<u16>) {
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

    fn make_room(&mut self, at: usize, bytes: usize) {
        let client = &mut self.clients[at];
        client.room = (client.room + bytes).min(usize::MAX / 2);
        let conn = client.conn;
        if client.room > 0 {
            self.shard.handle(self.now, Input::Writable { conn });
        }
    }

    fn sweep(&mut self, count: usize) {
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

    fn transmit(&mut self, conn: ConnId) {
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

    fn wait(&mut self, ms: u64) {
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

    // What the Feed says.

    fn event(&mut self, event: Event) {
        self.shard.handle(self.now, Input::Event(event));
    }

    fn publish(&mut self, channel: u8, gap: u8, what: What, padding: usize) {
        let at = usize::from(channel);
        let received = self.now;
        self.published.insert(CHANNELS[at]);
        let entry = self.history.add(CHANNELS[at], gap.into(), what, padding);
        let publication = Publication {
            order: Order(entry.order),
            channel: ChannelId(channel.into()),
            name: entry.channel.into(),
            seq: entry.seq,
            prev: entry.prev,
            ts: entry.ts,
            received,
            kind: match what {
                What::Message => Kind::Message,
                What::Snapshot => Kind::Snapshot,
                What::Lost => Kind::Lost(LostReason::TooLarge),
            },
            frame: frames::text(&entry.text).into(),
        };
        self.event(Event::Published(Arc::new(publication)));
    }

    fn lost(&mut self, len: Option<u8>) {
        let from = self.history.head + 1;
        let to = len.map(|len| from + u64::from(len));
        self.history.head = to.unwrap_or(from);
        self.history.lost_to = self.history.head;
        self.history.order += 1;
        let order = Order(self.history.order);
        let shown = to.map_or("null".into(), |to| to.to_string());
        let text = format!(r#"{{"type":"lost","from":{from},"to":{shown},"reason":"discarded"}}"#);
        for client in self
            .clients
            .iter_mut()
            .filter(|c| !c.gated && !c.names.is_empty())
        {
            client.notices.push_back((order.0, text.clone()));
        }
        let frame = frames::text(&text).into();
        let reason = LostReason::Discarded;
        self.event(Event::Lost(Arc::new(Lost {
            order,
            from,
            to,
            reason,
            frame,
        })));
    }

    fn reset(&mut self) {
        self.history.reset();
        let order = Order(self.history.order);
        let epoch = epoch_name(self.history.epoch);
        let frame = reset_frame(&epoch, "stream_recreated");
        for client in &mut self.clients {
            client
                .notices_optional
                .extend(client.notices.drain(..).map(|n| n.1));
            client
                .replays
                .iter_mut()
                .for_each(|replay| replay.ended = true);
            if !client.gated && !client.names.is_empty() {
                client
                    .resets_owed
                    .push((self.history.epoch, "stream_recreated"));
            }
        }
        let (epoch, reason) = (epoch.into(), ResetReason::StreamRecreated);
        self.event(Event::Reset(Arc::new(Reset {
            order,
            epoch,
            reason,
            frame,
        })));
    }

    fn ready(&mut self, beyond: u64, observed: bool) {
        self.history.head += beyond;
        self.history.ready = true;
        let head = self.history.head;
        self.history.unproven_to = if observed { head } else { 0 };
        let epoch = epoch_name(self.history.epoch);
        let reset_frame = reset_frame(&epoch, "source_ready");
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if core::mem::take(&mut client.gated) {
                client
                    .replays
                    .iter_mut()
                    .for_each(|replay| replay.ended = true);
                if !client.names.is_empty() {
                    client
                        .resets_owed
                        .push((self.history.epoch, "source_ready"));
                }
            }
            self.accept_held(at);
        }
        self.event(Event::SourceReady(Arc::new(SourceReady {
            epoch: epoch.into(),
            durable: self.history.durable,
            head,
            observed_from: self.history.unproven_to,
            reset_frame,
        })));
    }
}

fn reset_frame(epoch: &str, reason: &str) -> Bytes {
    let text = format!(r#"{{"type":"reset","epoch":"{epoch}","reason":"{reason}"}}"#);
    frames::text(&text).into()
}

/// What the ack of a subscribe must say.
fn accept(history: &History, wish: &Subscribe) -> Vec<Accepted> {
    let names = wish.names.iter();
    names.map(|name| accept_name(history, wish, name)).collect()
}

fn accept_name(history: &History, options: &Subscribe, name: &'static str) -> Accepted {
    let wild = name.contains(['*', '>']);
    let newest = history.newest(name).map_or(0, |e| e.seq);
    let live = if wild { history.head } else { newest };
    let mut position = history.ready.then_some(live);
    let mut resumed = None;
    let mut has_start = false;
    if let Some(wish) = options.wishes.get(name) {
        let same = wish.epoch == epoch_name(history.epoch);
        let outcome = if !history.ready {
            Err("upstream_unavailable")
        } else if !same && !options.latest {
            Err("epoch_changed")
        } else if options.latest {
            Ok(())
        } else if !history.durable && wish.seq > history.head {
            Err("ahead_of_log")
        } else if history.is_proven(name, wish.seq) {
            Ok(())
        } else {
            Err("too_old")
        };
        has_start = outcome.is_ok() || outcome == Err("too_old") && options.keep_on;
        if has_start {
            // In latest mode a position of another number line is none: the newest is newer.
            position = Some(if same { wish.seq } else { 0 });
        }
        resumed = Some(outcome);
    }
    if options.snapshot
        && !has_start
        && !wild
        && history.ready
        && let Some(value) = history.value(name)
    {
        position = value.prev;
    }
    Accepted {
        name,
        position,
        resumed,
        epoch: history.ready.then_some(history.epoch),
        order: history.order,
        head: history.head,
        options: options.clone(),
    }
}
