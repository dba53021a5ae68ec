//! Whatever a stream goes through, each channel's chain is whole, or a notice says what is not.
//!
//! A deliberately simple stream stands behind the Feed, whose consumer is cut at any moment.

use std::collections::BTreeMap;

use odin_core::config::FeedConfig;
use odin_core::event::{Event, Kind};
use odin_core::feed::{Command, Delivered, Feed, Input, Outcome, Output, SeqRange, Source, Tail};
use odin_core::time::Instant;
use proptest::prelude::*;

use crate::driver::{PAYLOAD, RECORD_BYTES, check_recording};
use crate::model::{Consumer, NANOS_PER_MILLI, Stored, Stream};

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Deliver(u8),
    Discard(u8),
    /// So many back.
    Delete(u8),
    Disconnect,
    Fail,
    SkipOne,
    Recreate,
    /// To so many messages, and then so many others are published.
    RollBack(u8, u8),
}

fn server(seed: u64) -> Feed {
    let source = Source::JetStream { stream: "S".into() };
    let mut feed = Feed::new(FeedConfig::default(), source, "odin.", seed);
    feed.record(RECORD_BYTES);
    feed
}

/// The subject of a channel; the last one is none that is followed.
fn subject(channel: u8) -> String {
    format!("odin.{}", char::from(b'A' + channel))
}

/// What the stream is like.
#[derive(Clone, Copy, Debug)]
struct Kinds {
    drops_metadata: bool,
    last_only: bool,
    shared: bool,
}

struct World {
    stream: Stream,
    consumer: Consumer,
    /// The message that is to be given again, and its place.
    held: Option<(Stored, u64)>,
    feed: Feed,
    now: Instant,
    connected: bool,
    pending_command: Option<Command>,
    /// What a client that subscribes everything holds: per channel the last seq; `None` after a
    /// notice that covers it.
    chains: BTreeMap<String, Option<u64>>,
    /// Whether a channel that is not in `chains` has an unknown past.
    unknown: bool,
    /// Ranges that were announced as lost.
    lost: Vec<(u64, u64)>,
    /// Seq and time of every message since the number line began.
    seen: Vec<(u64, u64)>,
    resets: u64,
    /// How far the stream was when the number line was ready.
    ready_at: u64,
    /// The time of every message by epoch and seq, of all number lines.
    named: BTreeMap<(String, u64), u64>,
    /// Whether a nonce was not written because the connection was cut or the answer a refusal.
    nonce_refused: bool,
}

impl World {
    fn new(kind: Kinds) -> Self {
        let mut world = Self {
            stream: Stream {
                created: 1,
                drops_metadata: kind.drops_metadata,
                last_only: kind.last_only,
                shared: kind.shared,
                ..Stream::default()
            },
            consumer: Consumer::default(),
            held: None,
            feed: server(7),
            now: Instant::ZERO,
            connected: false,
            pending_command: None,
            chains: BTreeMap::new(),
            unknown: true,
            lost: Vec::new(),
            seen: Vec::new(),
            resets: 0,
            ready_at: 0,
            named: BTreeMap::new(),
            nonce_refused: false,
        };
        world.connect();
        world
    }

    /// The command that waits is never answered.
    fn cut(&mut self) {
        let command = self.pending_command.take();
        self.nonce_refused |= matches!(command, Some(Command::WriteNonce(_)));
    }

    fn connect(&mut self) {
        self.connected = true;
        self.tell(Input::Connected);
    }

    fn tell(&mut self, input: Input<'_>) {
        self.feed.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.feed.poll_output() {
            match output {
                Output::Command(command) => self.pending_command = Some(command),
                Output::Event(event) => self.check(&event),
            }
        }
    }

    fn check(&mut self, event: &Event) {
        match event {
            Event::Published(p) => {
                assert!(matches!(p.kind, Kind::Message | Kind::Snapshot));
                assert!(
                    self.seen.last().is_none_or(|last| last.0 < p.seq),
                    "order of seq"
                );
                let channel = p.name.to_string();
                match (self.chains.get(&channel), p.prev) {
                    (Some(Some(last)), prev) => {
                        assert_eq!(prev, Some(*last), "chain of {channel}");
                        // A snapshot promises nothing about what lies between its messages.
                        if !self.unknown {
                            self.check_between(*last, p.seq, &channel);
                        }
                    }
                    (Some(None), _) => {}
                    (None, None) => assert!(self.unknown, "null after the snapshot"),
                    (None, Some(prev)) => assert_eq!(prev, 0, "first of {channel}"),
                }
                self.chains.insert(channel, Some(p.seq));
                self.seen.push((p.seq, p.ts));
                if !self.unknown {
                    self.name(p.seq, p.ts);
                }
            }
            Event::Lost(l) => {
                assert!(
                    self.seen.last().is_none_or(|last| last.0 < l.from),
                    "a loss of what was seen"
                );
                let to = l.to.expect("a stream knows its ranges");
                let kept = self.stream.kept.iter().map(|m| m.seq);
                // What a snapshot leaves out may be named with what was gone before it was whole.
                let first = l.from.max(if self.unknown {
                    u64::MAX
                } else {
                    self.ready_at + 1
                });
                let kept: Vec<u64> = kept.filter(|seq| first <= *seq && *seq <= to).collect();
                assert!(kept.is_empty(), "{kept:?} is not lost");
                self.lost.push((l.from, to));
            }
            Event::Reset(_) => {
                self.chains.clear();
                self.lost.clear();
                self.seen.clear();
                self.unknown = true;
                self.resets += 1;
            }
            Event::SourceReady(ready) => {
                self.ready_at = ready.head;
                self.unknown = false;
                let seen = self.seen.clone();
                seen.iter().for_each(|(seq, ts)| self.name(*seq, *ts));
            }
            Event::Evict { .. } => {}
        }
    }

    /// A position never means two messages, once a snapshot was whole. Before, it is void when the
    /// snapshot is made again.
    fn name(&mut self, seq: u64, ts: u64) {
        let epoch = self.feed.epoch().expect("an epoch").to_string();
        let other = self.named.insert((epoch, seq), ts);
        assert!(
            other.is_none_or(|other| other == ts),
            "{seq} means two messages"
        );
    }

    /// What the stream ever stored between two neighbours of a channel was announced.
    fn check_between(&self, last: u64, next: u64, channel: &str) {
        for m in self
            .stream
            .all
            .iter()
            // What was gone before the number line began was never promised.
            .filter(|m| last.max(self.ready_at) < m.seq && m.seq < next)
            .filter(|m| self.stream.is_ours(m))
        {
            let ours = char::from(b'A' + m.channel).to_string() == channel;
            let announced = self
                .lost
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&m.seq));
            assert!(
                !ours || announced,
                "{channel} {} is missing silently",
                m.seq
            );
        }
    }

    /// Nothing is held that is not the stream's.
    fn check_seen(&self) {
        for (seq, ts) in &self.seen {
            let theirs = self.stream.all.iter().find(|m| m.seq == *seq);
            let theirs = theirs.map(|m| m.time / NANOS_PER_MILLI);
            assert_eq!(theirs, Some(*ts), "message {seq} is of another past");
        }
    }

    /// A server that starts now is on the same number line.
    fn check_epoch(&self) {
        if self.stream.drops_metadata || self.nonce_refused {
            return;
        }
        let mut fresh = server(8);
        fresh.handle(self.now, Input::Connected);
        fresh.handle(self.now, Input::Info(self.stream.info()));
        assert_eq!(fresh.epoch(), self.feed.epoch());
    }

    /// Carries out the command that waits, and is cut as a real connection is.
    fn carry_out(&mut self) {
        if !self.connected {
            return;
        }
        match self.pending_command.take() {
            None => {}
            Some(Command::ReadInfo) => {
                self.consumer.fetching = false;
                self.tell(Input::Info(self.stream.info()));
            }
            Some(Command::WriteNonce(nonce)) => {
                self.stream.write(nonce);
                self.tell(Input::NonceWritten);
            }
            Some(Command::OpenConsumer(policy)) => {
                self.consumer = Consumer::open(&self.stream, policy);
                self.held = None;
                let pending = self.pending();
                self.tell(Input::ConsumerOpened { pending });
            }
            Some(Command::Fetch) => {
                self.consumer.fetching = true;
                if let Some((message, place)) = self.held.take() {
                    self.give(message, place);
                }
            }
            Some(Command::ReadTail) => {
                let tail = Tail {
                    info: self.stream.info(),
                    delivered: self.consumer.place,
                    pending: self.pending(),
                };
                self.tell(Input::Tail(tail));
            }
            Some(Command::ReadDeleted(asked)) => {
                self.consumer.fetching = false;
                let gone = |seq: &u64| self.stream.kept.iter().all(|m| m.seq != *seq);
                let gone = (asked.from..=asked.to).filter(gone);
                let ranges: Vec<_> = gone.map(|seq| SeqRange { from: seq, to: seq }).collect();
                self.tell(Input::Deleted {
                    to: asked.to,
                    ranges: &ranges,
                });
            }
        }
    }

    fn pending(&self) -> u64 {
        self.consumer.pending(&self.stream)
    }

    fn deliver(&mut self) {
        if !self.connected || !self.consumer.fetching {
            return;
        }
        let Some(message) = self.consumer.next(&self.stream) else {
            return;
        };
        self.give(message, self.consumer.place);
    }

    fn give(&mut self, message: Stored, place: u64) {
        let pending = self.pending();
        let delivered = Delivered {
            stream_seq: message.seq,
            consumer_seq: place,
            pending,
            time: message.time,
            subject: &subject(message.channel),
            payload: PAYLOAD,
        };
        let outcome = self.feed.handle(self.now, Input::Delivered(delivered));
        if outcome == Outcome::Held {
            self.held = Some((message, place));
        }
        self.drain();
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Publish(channel) => self.stream.publish(*channel),
            Step::Deliver(count) => (0..*count).for_each(|_| self.deliver()),
            Step::Discard(count) => {
                let count = usize::from(*count).min(self.stream.kept.len());
                self.stream.kept.drain(..count);
            }
            Step::Delete(back) => self.stream.delete(u64::from(*back)),
            Step::Disconnect if self.connected => {
                self.connected = false;
                self.cut();
                self.tell(Input::Disconnected);
            }
            Step::Disconnect => self.connect(),
            Step::Fail if self.connected => {
                self.consumer.fetching = false;
                self.cut();
                self.tell(Input::Failed);
                self.wait();
            }
            Step::Fail => {}
            // A message gets lost on the way, and another one follows.
            Step::SkipOne if self.consumer.left(&self.stream) > 1 => {
                self.consumer.next(&self.stream);
            }
            Step::SkipOne => {}
            // A server that goes back restarts: no connection outlives it.
            Step::Recreate => {
                let clock = self.stream.clock + 1;
                self.stream = Stream {
                    created: clock + 1_000,
                    clock,
                    drops_metadata: self.stream.drops_metadata,
                    last_only: self.stream.last_only,
                    shared: self.stream.shared,
                    ..Stream::default()
                };
                self.restart();
            }
            // What is gone, or of another subject, cannot be compared.
            Step::RollBack(..)
                if self.stream.last_only || self.stream.deleted || self.stream.shared => {}
            Step::RollBack(keep, others) => {
                self.stream.roll_back(u64::from(*keep));
                (0..*others).for_each(|_| self.stream.publish(0));
                self.restart();
                // Until the overlap is seen: what is discarded before cannot be compared any more.
                (0..4).for_each(|_| self.carry_out());
                self.deliver();
            }
        }
        self.carry_out();
    }

    fn restart(&mut self) {
        if self.connected {
            self.connected = false;
            self.tell(Input::Disconnected);
        }
        self.consumer = Consumer::default();
        self.cut();
        self.connect();
    }

    fn wait(&mut self) {
        if let Some(due) = self.feed.poll_timeout() {
            self.now = self.now.max(due);
            self.feed.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Heals everything; then all that the stream has is seen or announced.
    fn settle(&mut self) {
        if !self.connected {
            self.connect();
        }
        // What follows the last message, or was lost on its way, shows when it stays quiet.
        for _ in 0..4 {
            self.come_to_rest();
            self.tell(Input::Heartbeat);
        }
        self.come_to_rest();
        assert!(!self.unknown && self.consumer.fetching, "it never settles");
    }

    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            self.carry_out();
            let before = self.consumer.place;
            self.deliver();
            if before == self.consumer.place && self.pending_command.is_none() {
                if !self.unknown && self.consumer.fetching && self.pending() == 0 {
                    break;
                }
                self.wait();
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4).prop_map(Step::Publish),
        8 => (1u8..6).prop_map(Step::Deliver),
        1 => (1u8..6).prop_map(Step::Discard),
        1 => (0u8..6).prop_map(Step::Delete),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Fail),
        1 => Just(Step::SkipOne),
        1 => Just(Step::Recreate),
        1 => (0u8..20, 0u8..20).prop_map(|(keep, others)| Step::RollBack(keep, others)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_chain_is_whole_or_announced(
        (drops_metadata, last_only, shared) in any::<(bool, bool, bool)>(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(Kinds { drops_metadata, last_only, shared });
        for step in &steps {
            world.apply(step);
        }
        world.settle();
        world.check_seen();
        world.check_epoch();
        check_recording(&world.feed);
        // The last message of each channel was seen, or announced, or gone before the number line began.
        let mut last = BTreeMap::new();
        for m in world.stream.all.iter().filter(|m| world.stream.is_ours(m)) {
            // An older value, where the last one is deleted while the snapshot is read, is left out.
            let of_snapshot = !world.stream.deleted && world.stream.kept.contains(m);
            if of_snapshot || m.seq > world.ready_at {
                last.insert(m.channel, m.seq);
            }
        }
        for (channel, seq) in last {
            let name = char::from(b'A' + channel).to_string();
            let announced = world.lost.iter().any(|(from, to)| (*from..=*to).contains(&seq));
            let held = world.chains.get(&name).copied().flatten();
            prop_assert!(announced || held >= Some(seq), "{name}: {held:?}, stream has {seq}");
        }
    }
}
