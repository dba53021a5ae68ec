//! A deliberately simple stream behind the Feed, whose consumer is cut at any moment.

use std::collections::BTreeMap;

use odin_core::config::FeedConfig;
use odin_core::feed::{Command, Delivered, Feed, Input, Outcome, Output, SeqRange, Source, Tail};
use odin_core::time::Instant;

use super::model::{Consumer, PAYLOAD, Stored, Stream};
use super::recording::{RECORD_BYTES, check_recording};

#[derive(Clone, Debug)]
pub(crate) enum Step {
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

pub(crate) fn server(seed: u64) -> Feed {
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
pub(crate) struct Kinds {
    pub(crate) drops_metadata: bool,
    pub(crate) last_only: bool,
    pub(crate) shared: bool,
}

pub(crate) struct World {
    pub(crate) stream: Stream,
    pub(crate) consumer: Consumer,
    /// The message that is to be given again, and its place.
    pub(crate) held: Option<(Stored, u64)>,
    pub(crate) feed: Feed,
    pub(crate) now: Instant,
    pub(crate) connected: bool,
    pub(crate) pending_command: Option<Command>,
    /// What a client that subscribes everything holds: per channel the last seq; `None` after a
    /// notice that covers it.
    pub(crate) chains: BTreeMap<String, Option<u64>>,
    /// Whether a channel that is not in `chains` has an unknown past.
    pub(crate) unknown: bool,
    /// Ranges that were announced as lost.
    pub(crate) lost: Vec<(u64, u64)>,
    /// Seq and time of every message since the number line began.
    pub(crate) seen: Vec<(u64, u64)>,
    pub(crate) resets: u64,
    /// How far the stream was when the number line was ready.
    pub(crate) ready_at: u64,
    /// The time of every message by epoch and seq, of all number lines.
    pub(crate) named: BTreeMap<(String, u64), u64>,
    /// Whether a nonce was not written because the connection was cut or the answer a refusal.
    pub(crate) nonce_refused: bool,
}

impl World {
    pub(crate) fn new(kind: Kinds) -> Self {
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

    pub(crate) fn apply(&mut self, step: &Step) {
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

    /// Heals everything, and requires that all that the stream had was seen or announced.
    pub(crate) fn finish(&mut self) {
        self.settle();
        self.check_seen();
        self.check_epoch();
        check_recording(&self.feed);
        // The last message of each channel was seen, or announced, or gone before the number line began.
        let mut last = BTreeMap::new();
        for m in self.stream.all.iter().filter(|m| self.stream.is_ours(m)) {
            // An older value, where the last one is deleted while the snapshot is read, is left out.
            let of_snapshot = !self.stream.deleted && self.stream.kept.contains(m);
            if of_snapshot || m.seq > self.ready_at {
                last.insert(m.channel, m.seq);
            }
        }
        for (channel, seq) in last {
            let name = char::from(b'A' + channel).to_string();
            let mut lost = self.lost.iter();
            let announced = lost.any(|(from, to)| (*from..=*to).contains(&seq));
            let held = self.chains.get(&name).copied().flatten();
            assert!(
                announced || held >= Some(seq),
                "{name}: {held:?}, stream has {seq}"
            );
        }
    }

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
