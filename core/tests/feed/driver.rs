//! Drives a Feed and compares everything that it puts out, written as short lines:
//!
//! - `read`, `write 1-0000000000000000`, `open last`, `open 7`, `fetch`, `tail`, `deleted 4..5`: commands;
//! - `#3 A 7<5`: place 3 is message 7 of channel A with prev 5 (`<null`: unknown, a snapshot);
//! - `#3 A 7<5 lost too_large`: an entry that is a notice;
//! - `#3 lost 5..7 discarded`: a hole of every subscription (`5..`: unknown end; with `until 9`: up to there more
//!   may be missing);
//! - `#3 reset source_ready EPOCH`, `evict #3`, `ready EPOCH head 7 from 3 durable`.

use std::time::Duration;

use odin_core::config::FeedConfig;
use odin_core::event::{Event, Kind};
use odin_core::feed::{
    Command, DeliverPolicy, Delivered, EpochNonce, Feed, Input, Outcome, Output, SeqRange, Source,
    StreamInfo, Tail,
};
use odin_core::reason::ResetReason;
use odin_core::record::Player;
use odin_core::time::Instant;
use odin_core::wire::event as wire;

pub(crate) const PAYLOAD: &[u8] = br#"{"n":1}"#;
pub(crate) const CREATED: u64 = 1_700_000_000_000_000_000;

pub(crate) struct Driver {
    pub(crate) feed: Feed,
    pub(crate) now: Instant,
    /// The nonce that the Feed last had written.
    pub(crate) written: Option<EpochNonce>,
    /// The consumer's place.
    consumer_seq: u64,
}

/// The time of the message `seq`, as the driver's stream stores it.
pub(crate) fn time_of(seq: u64) -> u64 {
    CREATED + seq * 1_000_000
}

/// A stream of messages `first..=last`, all of them there, none beside the filter's.
pub(crate) fn stream(first_seq: u64, last_seq: u64) -> StreamInfo {
    StreamInfo {
        created: CREATED,
        first_seq,
        last_seq,
        num_deleted: 0,
        nonce: None,
        covers_all: true,
        replicated: false,
    }
}

pub(crate) fn embedded() -> Source {
    Source::Embedded { epoch: "e1".into() }
}

pub(crate) fn nats() -> Source {
    Source::Nats { epoch: "n1".into() }
}

/// Room for what a test does, and little enough for a second segment in long ones.
pub(crate) const RECORD_BYTES: usize = 32_000;

/// What was recorded runs again to the state in which the Feed is.
pub(crate) fn check_recording(feed: &Feed) {
    let recording = feed.recording().expect("it is on");
    if !recording.segments.is_empty() {
        let mut player: Player<'_, Feed> = Player::new(&recording).expect("a checkpoint");
        player.run().expect("the recorded states");
        assert_eq!(player.machine.state_hash(), feed.state_hash());
    }
}

/// Every test is a test of the recorder as well.
impl Drop for Driver {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            check_recording(&self.feed);
        }
    }
}

impl Driver {
    pub(crate) fn new(source: Source, config: FeedConfig) -> Self {
        Self::seeded(source, config, 42)
    }

    pub(crate) fn seeded(source: Source, config: FeedConfig, seed: u64) -> Self {
        let mut feed = Feed::new(config, source, "odin.", seed);
        feed.record(RECORD_BYTES);
        Self {
            feed,
            now: Instant::from_millis(1),
            written: None,
            consumer_seq: 0,
        }
    }

    pub(crate) fn jetstream() -> Self {
        Self::new(
            Source::JetStream { stream: "S".into() },
            FeedConfig::default(),
        )
    }

    /// A JetStream Feed that has taken messages 1 to 3 (A, B, A) of a stream that holds just these.
    pub(crate) fn following() -> Self {
        Self::following_seeded(42)
    }

    /// The same on a server of another seed.
    pub(crate) fn following_seeded(seed: u64) -> Self {
        let source = Source::JetStream { stream: "S".into() };
        let mut d = Self::seeded(source, FeedConfig::default(), seed);
        d.outputs(Input::Connected);
        d.outputs(Input::Info(stream(0, 0)));
        d.outputs(Input::ConsumerOpened { pending: 0 });
        d.outputs(Input::Info(stream(1, 0)));
        for (seq, subject) in [(1, "odin.A"), (2, "odin.B"), (3, "odin.A")] {
            d.deliver(seq, subject, 0);
        }
        d
    }

    /// Reopens after a loss of connection, up to the point where messages flow again.
    #[track_caller]
    pub(crate) fn reopen(&mut self, info: StreamInfo, open: &str) {
        self.expect(Input::Disconnected, &[]);
        self.expect(Input::Connected, &["read"]);
        self.expect(Input::Info(info), &[open]);
        self.expect(Input::ConsumerOpened { pending: 1 }, &["read"]);
        self.expect(Input::Info(info), &["fetch"]);
    }

    pub(crate) fn epoch(&self) -> String {
        self.feed.epoch().expect("an epoch").to_string()
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, input: Input<'_>, expected: &[&str]) -> Outcome {
        let (outcome, lines) = self.outputs(input);
        assert_eq!(lines, expected, "after {input:?}");
        outcome
    }

    #[track_caller]
    pub(crate) fn expect_timeout(&mut self, after: Duration, expected: &[&str]) {
        self.now = self.now + after;
        self.feed.handle_timeout(self.now);
        assert_eq!(self.drain(), expected, "after {after:?}");
    }

    /// Expects what the next message of the consumer leads to.
    #[track_caller]
    pub(crate) fn expect_message(
        &mut self,
        seq: u64,
        subject: &str,
        pending: u64,
        expected: &[&str],
    ) -> Outcome {
        let (outcome, lines) = self.deliver(seq, subject, pending);
        assert_eq!(lines, expected, "after message {seq}");
        outcome
    }

    pub(crate) fn deliver(
        &mut self,
        seq: u64,
        subject: &str,
        pending: u64,
    ) -> (Outcome, Vec<String>) {
        self.consumer_seq += 1;
        let message = Delivered {
            stream_seq: seq,
            consumer_seq: self.consumer_seq,
            pending,
            time: time_of(seq),
            subject,
            payload: PAYLOAD,
        };
        let (outcome, lines) = self.outputs(Input::Delivered(message));
        if outcome == Outcome::Held {
            // It is given again, as the same one.
            self.consumer_seq -= 1;
        }
        (outcome, lines)
    }

    /// Expects what a look at the stream's end leads to: `pending` messages are to come, and `missing` are
    /// on their way.
    #[track_caller]
    pub(crate) fn expect_tail(
        &mut self,
        info: StreamInfo,
        missing: u64,
        pending: u64,
        expected: &[&str],
    ) {
        let tail = Tail {
            info,
            delivered: self.consumer_seq + missing,
            pending,
        };
        self.expect(Input::Heartbeat, &["tail"]);
        self.expect(Input::Tail(tail), expected);
    }

    /// A message of a source that stores nothing.
    #[track_caller]
    pub(crate) fn expect_unstored(
        &mut self,
        subject: &str,
        payload: &[u8],
        expected: &[&str],
    ) -> Outcome {
        let message = Delivered {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: CREATED,
            subject,
            payload,
        };
        self.expect(Input::Delivered(message), expected)
    }

    pub(crate) fn outputs(&mut self, input: Input<'_>) -> (Outcome, Vec<String>) {
        let outcome = self.feed.handle(self.now, input);
        (outcome, self.drain())
    }

    fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.feed.poll_output() {
            match output {
                Output::Command(command) => lines.push(self.command(command)),
                Output::Event(event) => lines.push(self.event(&event)),
            }
        }
        lines
    }

    fn command(&mut self, command: Command) -> String {
        match command {
            Command::ReadInfo => "read".into(),
            Command::WriteNonce(nonce) => {
                self.written = Some(nonce);
                format!("write {nonce}")
            }
            Command::Fetch => "fetch".into(),
            Command::ReadTail => "tail".into(),
            Command::ReadDeleted(SeqRange { from, to }) => format!("deleted {from}..{to}"),
            Command::OpenConsumer(policy) => {
                self.consumer_seq = 0;
                match policy {
                    DeliverPolicy::LastPerSubject => "open last".into(),
                    DeliverPolicy::ByStartSequence(seq) => format!("open {seq}"),
                }
            }
        }
    }

    fn event(&self, event: &Event) -> String {
        match event {
            Event::Published(p) => {
                assert_eq!(p.received, self.now);
                let prev = p.prev.map_or("null".into(), |prev| prev.to_string());
                let line = format!("#{} {} {}<{prev}", p.order.0, p.name, p.seq);
                match p.kind {
                    Kind::Message => assert!(p.prev.is_some()),
                    Kind::Snapshot => assert_eq!(p.prev, None),
                    Kind::Lost(reason) => {
                        assert_eq!(
                            p.frame,
                            wire::lost(Some(&p.name), p.seq, Some(p.seq), reason)
                        );
                        return format!("{line} lost {}", reason.label());
                    }
                }
                let frame = wire::message(&p.name, p.seq, p.prev, p.ts, PAYLOAD);
                assert_eq!(p.frame, frame);
                line
            }
            Event::Lost(l) => {
                assert_eq!(l.frame, wire::lost_all(l.from, l.to, l.until, l.reason));
                let to = l.to.map_or(String::new(), |to| to.to_string());
                let line = format!("#{} lost {}..{to} {}", l.order.0, l.from, l.reason.label());
                match l.until {
                    Some(until) if l.to < Some(until) => format!("{line} until {until}"),
                    _ => line,
                }
            }
            Event::Reset(r) => {
                assert_eq!(r.frame, wire::reset(&r.epoch, r.reason));
                format!("#{} reset {} {}", r.order.0, r.reason.label(), r.epoch)
            }
            Event::Evict { floor } => format!("evict #{}", floor.0),
            Event::SourceReady(r) => {
                assert_eq!(self.feed.epoch(), Some(&r.epoch));
                assert_eq!(
                    r.reset_frame,
                    wire::reset(&r.epoch, ResetReason::SourceReady)
                );
                let durable = if r.durable { " durable" } else { "" };
                format!(
                    "ready {} head {} from {}{durable}",
                    r.epoch, r.head, r.observed_from
                )
            }
        }
    }
}
