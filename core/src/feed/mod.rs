//! The Feed: everything that is decided about the upstream.
//!
//! It turns what the upstream says into one ordered line of [`Event`]s for every shard: it gives
//! out channel numbers, seq and prev, encodes each message once, decides when the number line begins
//! anew and what is announced as lost, when the source is ready, and which part of the log stays. For
//! JetStream it also decides how the stream is followed: when to read its state, which consumer to
//! open and when to give one up.
//!
//! It leaves to others: how the upstream is spoken to (the shell carries out [`Command`]s and reports
//! [`Input`]s), who subscribes to what (the shards), and who may publish (HTTP).

mod epoch;
mod exchange;
mod jetstream;
mod notices;
mod numbering;
mod record;
mod retention;
mod step;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::FeedConfig;
use crate::event::{Event, Kind, Publication, Reset, SourceReady};
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::reason::{LostReason, ResetReason};
use crate::record::Tape;
use crate::stats::FeedStats;
use crate::time::Instant;
use crate::wire::event as wire;
pub use epoch::EpochNonce;
pub use exchange::{
    Command, DeliverPolicy, Delivered, Input, Outcome, Output, SeqRange, Source, StreamInfo, Tail,
};
use jetstream::Follower;
use notices::Notices;
use numbering::Line;
use record::StandIn;
pub use record::{Arrival, Call};
use retention::Retention;
use step::Step;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// The Feed of one server.
#[derive(Debug)]
pub struct Feed {
    payload_bytes_max: usize,
    upstream: Upstream,
    epoch: Option<Arc<str>>,
    line: Line,
    retention: Retention,
    notices: Notices,
    /// The place in arrival order that was given last.
    order: Order,
    connected: bool,
    ready: bool,
    /// The snapshot of this number line had a value that is of no channel here.
    left_out: bool,
    stats: FeedStats,
    steps: Vec<Step>,
    outputs: VecDeque<Output>,
    /// What happened, for the flight recorder; `None`: it is off.
    tape: Option<Box<Tape>>,
    /// Of a message that is replayed: what its payload was.
    stand_in: Option<StandIn>,
}

#[derive(Debug)]
enum Upstream {
    Embedded,
    Nats,
    JetStream(Box<Follower>),
}

impl Feed {
    /// A Feed that has heard nothing yet. `strip` is the prefix that subjects have and channels do
    /// not; `seed` is random per server and tells number lines apart that nothing else tells apart.
    #[must_use]
    pub fn new(config: FeedConfig, source: Source, strip: &str, seed: u64) -> Self {
        let (upstream, epoch) = match source {
            Source::Embedded { epoch } => (Upstream::Embedded, Some(epoch.into())),
            Source::Nats { epoch } => (Upstream::Nats, Some(epoch.into())),
            Source::JetStream { stream } => {
                let follower = Follower::new(stream, seed, config.silence);
                (Upstream::JetStream(Box::new(follower)), None)
            }
        };
        Self {
            payload_bytes_max: config.payload_bytes_max,
            upstream,
            epoch,
            line: Line::new(strip, config.channels_max),
            retention: Retention::new(config.log_bytes, config.log_age),
            notices: Notices::new(),
            order: Order(0),
            connected: false,
            ready: false,
            left_out: false,
            stats: FeedStats::default(),
            steps: Vec::new(),
            outputs: VecDeque::new(),
            tape: None,
            stand_in: None,
        }
    }

    /// Takes one input. Total: nothing that an upstream says is an error here. Poll
    /// [`Self::poll_output`] until `None`, then [`Self::poll_timeout`], afterwards. The outcome is
    /// that of a message, for a publisher that waits for it.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> Outcome {
        if self.tape.is_some() {
            self.note_input(now, &input);
        }
        match input {
            Input::Connected => self.connected = true,
            Input::Disconnected => self.connected = false,
            Input::Info(info) | Input::Tail(Tail { info, .. }) => {
                self.notices.stream_reaches(info.last_seq);
            }
            _ => {}
        }
        match &mut self.upstream {
            Upstream::JetStream(follower) => {
                let steps = &mut self.steps;
                match input {
                    Input::Connected => follower.connected(now, steps),
                    Input::Disconnected => follower.disconnected(),
                    Input::Info(info) => follower.info(now, info, steps),
                    Input::NonceWritten => follower.nonce_written(now, steps),
                    Input::ConsumerOpened { pending } => {
                        follower.consumer_opened(now, pending, steps);
                    }
                    Input::Delivered(message) => follower.delivered(now, &message, steps),
                    Input::Heartbeat => follower.heartbeat(now, steps),
                    Input::Tail(tail) => follower.tail(now, tail, steps),
                    Input::Deleted { to, ranges } => follower.deleted(now, to, ranges, steps),
                    Input::Failed => follower.failed(now),
                    // A consumer that lost messages shows it by its own numbers.
                    Input::Overloaded { .. } => {}
                }
                let judged = match input {
                    Input::Delivered(message) => Some(message),
                    _ => None,
                };
                self.perform(now, judged)
            }
            Upstream::Embedded | Upstream::Nats => self.handle_unstored(now, input),
        }
    }

    /// Does what is due. Poll everything afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.tape.is_some() {
            self.note_timeout(now);
        }
        if let Upstream::JetStream(follower) = &mut self.upstream {
            follower.timeout(now, &mut self.steps);
            self.perform(now, None);
        }
        if self.retention.due().is_some_and(|due| due <= now)
            && let Some(floor) = self.retention.expire(now, self.order.next())
        {
            self.evict(floor);
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let follower = match &self.upstream {
            Upstream::JetStream(follower) => follower.deadline(),
            Upstream::Embedded | Upstream::Nats => None,
        };
        follower.into_iter().chain(self.retention.due()).min()
    }

    /// The next thing to do or to tell. Poll until `None` after every `handle*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the upstream can be spoken to.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the source has been ready once: connected, and its first snapshot complete.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// The identity of the number line, once it is known.
    #[must_use]
    pub fn epoch(&self) -> Option<&Arc<str>> {
        self.epoch.as_ref()
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &FeedStats {
        &self.stats
    }

    /// The sources that store nothing: every message is new, and numbered here.
    fn handle_unstored(&mut self, now: Instant, input: Input<'_>) -> Outcome {
        match input {
            Input::Connected if !self.ready => self.become_ready(0, 0),
            // What was sent while the connection was down is gone, and nobody knows how much.
            Input::Connected => self.lose_unknown(now, LostReason::Reconnected, 1),
            Input::Overloaded { count } => {
                self.lose_unknown(now, LostReason::Overload, count.max(1));
            }
            Input::Delivered(message) => {
                self.stats.received += 1;
                return self.publish(now, &message, self.line.head() + 1, Some(0));
            }
            Input::Disconnected
            | Input::Info(_)
            | Input::NonceWritten
            | Input::ConsumerOpened { .. }
            | Input::Tail(_)
            | Input::Deleted { .. }
            | Input::Heartbeat
            | Input::Failed => {}
        }
        Outcome::Nothing
    }

    /// Does what the follower decided, in its order. `message` is the one that it judged.
    fn perform(&mut self, now: Instant, message: Option<Delivered<'_>>) -> Outcome {
        let mut outcome = Outcome::Nothing;
        let mut steps = core::mem::take(&mut self.steps);
        for step in steps.drain(..) {
            match step {
                Step::Command(command) => {
                    if matches!(command, Command::OpenConsumer(_)) {
                        self.stats.consumers_opened += 1;
                    }
                    self.outputs.push_back(Output::Command(command));
                }
                Step::Hold => outcome = Outcome::Held,
                Step::Discarded(SeqRange { from, to }) => {
                    let count = (to - from).saturating_add(1);
                    self.lose(now, from, Some(to), LostReason::Discarded, count);
                    self.line.advance(to);
                }
                Step::Begin { epoch, announce } => self.begin(now, epoch, announce),
                Step::Publish { historic } => {
                    let Some(message) = &message else { continue };
                    self.stats.received += 1;
                    if let Some(read_to) = historic {
                        self.lose_within_snapshot(now, message, read_to);
                    }
                    let first = if historic.is_some() { None } else { Some(0) };
                    outcome = self.publish(now, message, message.stream_seq, first);
                }
                Step::Ready {
                    head,
                    observed_from,
                } => self.become_ready(head, observed_from),
            }
        }
        self.steps = steps;
        outcome
    }

    /// Publishes a message as `seq`. `first_prev` is the prev of a channel's first message on this
    /// number line; `None` where the upstream may hold predecessors that were not delivered.
    fn publish(
        &mut self,
        now: Instant,
        message: &Delivered<'_>,
        seq: u64,
        first_prev: Option<u64>,
    ) -> Outcome {
        let channel = match self.line.channel(message.subject) {
            Ok(channel) => channel,
            Err(reason) => {
                self.refuse(now, seq, first_prev.is_none(), reason);
                return Outcome::Refused(reason);
            }
        };
        self.stats.channels = self.line.channels();
        let (name, last) = self.line.append(channel, seq);
        let prev = last.or(first_prev);
        let ts = message.time / NANOS_PER_MILLI;
        let bytes_max = self.payload_bytes_max;
        let stand_in = self.stand_in.take();
        let bytes = stand_in.map_or(message.payload.len(), |stand_in| stand_in.payload_bytes);
        let (kind, frame) = if bytes_max != 0 && bytes > bytes_max {
            let reason = LostReason::TooLarge;
            self.stats.lost[reason as usize] += 1;
            (
                Kind::Lost(reason),
                wire::lost(Some(&name), seq, Some(seq), reason),
            )
        } else {
            let kind = if prev.is_some() {
                Kind::Message
            } else {
                Kind::Snapshot
            };
            let frame = match stand_in {
                Some(stand_in) => stand_in.frame(),
                None => wire::message(&name, seq, prev, ts, message.payload),
            };
            if self.tape.is_some() {
                self.note_frame(frame.len());
            }
            (kind, frame)
        };
        if mutant::is(Mutant::TooLargeSilent)
            && let Kind::Lost(reason) = kind
        {
            return Outcome::Refused(reason);
        }
        let outcome = match kind {
            Kind::Lost(reason) => Outcome::Refused(reason),
            Kind::Message | Kind::Snapshot => Outcome::Published(seq),
        };
        let order = self.next_order();
        let bytes = frame.len();
        self.tell(Event::Published(Arc::new(Publication {
            order,
            channel,
            name,
            seq,
            prev,
            ts,
            received: now,
            kind,
            frame,
        })));
        self.keep(order, bytes, now);
        outcome
    }

    fn begin(&mut self, now: Instant, epoch: Arc<str>, announce: Option<ResetReason>) {
        self.line.restart();
        self.notices.restart();
        self.left_out = false;
        self.epoch = Some(Arc::clone(&epoch));
        let Some(reason) = announce else { return };
        self.stats.resets += 1;
        self.retention.clear();
        let order = self.next_order();
        let frame = wire::reset(&epoch, reason);
        let bytes = frame.len();
        self.tell(Event::Reset(Arc::new(Reset {
            order,
            epoch,
            reason,
            frame,
        })));
        self.keep(order, bytes, now);
    }

    fn become_ready(&mut self, head: u64, observed_from: u64) {
        let Some(epoch) = self.epoch.clone() else {
            return;
        };
        self.ready = true;
        self.line.advance(head);
        // What the snapshot left out may be what a position is before: it proves nothing.
        let observed_from = if self.left_out { head } else { observed_from };
        let reset_frame = wire::reset(&epoch, ResetReason::SourceReady);
        self.tell(Event::SourceReady(Arc::new(SourceReady {
            epoch,
            durable: matches!(self.upstream, Upstream::JetStream(_)),
            created: match &self.upstream {
                Upstream::JetStream(follower) => follower.created(),
                Upstream::Embedded | Upstream::Nats => 0,
            },
            head: self.line.head(),
            observed_from,
            reset_frame,
        })));
    }

    fn keep(&mut self, order: Order, bytes: usize, now: Instant) {
        if let Some(floor) = self.retention.push(order, bytes, now) {
            self.evict(floor);
        }
        self.stats.log_bytes = self.retention.bytes();
    }

    fn evict(&mut self, floor: Order) {
        self.stats.log_bytes = self.retention.bytes();
        self.tell(Event::Evict { floor });
    }

    fn next_order(&mut self) -> Order {
        self.order = self.order.next();
        self.order
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
