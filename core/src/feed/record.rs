//! The Feed's part of the flight recorder: its state as bytes, the calls that it records, and how a
//! recorded call is made again.
//!
//! Of a message the length of the payload is recorded, and of the frame that was made of it, which
//! depends on what the payload says. What is polled is not recorded: it decides nothing.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Delivered, Feed, Input, SeqRange, StreamInfo, Tail, Upstream};
use crate::record::codec::{Code, Writer, hash};
use crate::record::{self, Broken, Machine, Reader, Recording, Tape};
use crate::time::Instant;

/// A call of a [`Feed`], as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// [`Input::Connected`].
    Connected,
    /// [`Input::Disconnected`].
    Disconnected,
    /// [`Input::Info`].
    Info(StreamInfo),
    /// [`Input::NonceWritten`].
    NonceWritten,
    /// [`Input::ConsumerOpened`].
    ConsumerOpened(u64),
    /// [`Input::Tail`].
    Tail(Tail),
    /// [`Input::Deleted`]: how far it goes, and what is gone.
    Deleted(u64, Vec<SeqRange>),
    /// [`Input::Delivered`].
    Delivered(Arrival),
    /// [`Input::Heartbeat`].
    Heartbeat,
    /// [`Input::Failed`].
    Failed,
    /// [`Input::Overloaded`].
    Overloaded(u64),
    /// [`Feed::handle_timeout`].
    Timeout,
}

/// A message without its payload: see [`Delivered`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its seq in the stream.
    pub stream_seq: u64,
    /// Its place in the consumer.
    pub consumer_seq: u64,
    /// Messages that were to come after it.
    pub pending: u64,
    /// When the upstream stored it: nanoseconds since the Unix epoch.
    pub time: u64,
    /// Its subject.
    pub subject: String,
    /// How long its payload was.
    pub payload_bytes: usize,
    /// How long the frame was that was made of it; 0: none was.
    pub frame_bytes: usize,
}

/// What is known of a payload that was not recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct StandIn {
    pub(super) payload_bytes: usize,
    frame_bytes: usize,
}

impl StandIn {
    pub(super) fn frame(self) -> Bytes {
        Bytes::from(vec![0; self.frame_bytes])
    }
}

const CONNECTED: u8 = 0;
const DISCONNECTED: u8 = 1;
const INFO: u8 = 2;
const NONCE_WRITTEN: u8 = 3;
const CONSUMER_OPENED: u8 = 4;
const DELIVERED: u8 = 5;
const HEARTBEAT: u8 = 6;
const FAILED: u8 = 7;
const OVERLOADED: u8 = 8;
const TIMEOUT: u8 = 9;
/// Not a call: how long the frame of the message before is.
const FRAMED: u8 = 10;
const TAIL: u8 = 11;
const DELETED: u8 = 12;

/// A range takes at most so many bytes on the tape: two numbers of 64 bits.
const RANGE_BYTES_MAX: usize = 20;

impl Feed {
    /// From now on records what happens, in at most so many bytes; 0: no longer.
    pub fn record(&mut self, bytes_max: usize) {
        self.tape = (bytes_max > 0).then(|| Box::new(Tape::new(bytes_max)));
    }

    /// What was recorded; `None`: nothing is. Without the hash of the state while outputs wait.
    #[must_use]
    pub fn recording(&self) -> Option<Recording> {
        let tape = self.tape.as_ref()?;
        let whole = tape.is_running() && self.outputs.is_empty();
        Some(tape.copy(Machine::Feed, whole.then(|| self.state_hash())))
    }

    /// The complete state, without the outputs that wait.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        record::saved(|out| self.save(out))
    }

    /// The Feed that [`Self::checkpoint`] was taken of. It records nothing.
    ///
    /// # Errors
    /// The bytes are no checkpoint of this version.
    pub fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        record::restored(bytes, Self::load)
    }

    /// A hash of the complete state, without the outputs that wait.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        hash(&self.checkpoint())
    }

    fn save(&self, out: &mut Writer) {
        let Self {
            payload_bytes_max,
            upstream,
            epoch,
            line,
            retention,
            notices,
            order,
            connected,
            ready,
            left_out,
            stats,
            steps: _,
            outputs: _,
            tape: _,
            stand_in: _,
        } = self;
        payload_bytes_max.put(out);
        upstream.put(out);
        epoch.put(out);
        line.put(out);
        retention.put(out);
        notices.put(out);
        order.put(out);
        connected.put(out);
        ready.put(out);
        left_out.put(out);
        stats.put(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Self {
            payload_bytes_max: Code::get(from)?,
            upstream: Code::get(from)?,
            epoch: Code::get(from)?,
            line: Code::get(from)?,
            retention: Code::get(from)?,
            notices: Code::get(from)?,
            order: Code::get(from)?,
            connected: Code::get(from)?,
            ready: Code::get(from)?,
            left_out: Code::get(from)?,
            stats: Code::get(from)?,
            steps: Vec::new(),
            outputs: VecDeque::new(),
            tape: None,
            stand_in: None,
        })
    }

    /// The tape, with a new checkpoint where one is due before a call with so many bytes of text.
    fn roll(&mut self, now: Instant, text: usize) -> Option<&mut Tape> {
        let mut tape = self.tape.take()?;
        if self.outputs.is_empty() && tape.is_due(Some(now), text) {
            tape.begin(Some(now), |out| self.save(out));
        }
        Some(self.tape.insert(tape))
    }

    pub(super) fn note_timeout(&mut self, now: Instant) {
        if let Some(tape) = self.roll(now, 0) {
            tape.call(TIMEOUT, Some(now), |_| {});
        }
    }

    pub(super) fn note_frame(&mut self, bytes: usize) {
        if let Some(tape) = &mut self.tape {
            tape.call(FRAMED, None, |out| bytes.put(out));
        }
    }

    pub(super) fn note_input(&mut self, now: Instant, input: &Input<'_>) {
        let text = match input {
            Input::Delivered(message) => message.subject.len(),
            Input::Deleted { ranges, .. } => ranges.len() * RANGE_BYTES_MAX,
            _ => 0,
        };
        let Some(tape) = self.roll(now, text) else {
            return;
        };
        let now = Some(now);
        match input {
            Input::Connected => tape.call(CONNECTED, now, |_| {}),
            Input::Disconnected => tape.call(DISCONNECTED, now, |_| {}),
            Input::Info(info) => tape.call(INFO, now, |out| info.put(out)),
            Input::NonceWritten => tape.call(NONCE_WRITTEN, now, |_| {}),
            Input::ConsumerOpened { pending } => {
                tape.call(CONSUMER_OPENED, now, |out| pending.put(out));
            }
            Input::Tail(tail) => tape.call(TAIL, now, |out| tail.put(out)),
            Input::Deleted { to, ranges } => tape.call(DELETED, now, |out| {
                to.put(out);
                ranges.len().put(out);
                ranges.iter().for_each(|range| range.put(out));
            }),
            Input::Delivered(message) => tape.call(DELIVERED, now, |out| put(message, out)),
            Input::Heartbeat => tape.call(HEARTBEAT, now, |_| {}),
            Input::Failed => tape.call(FAILED, now, |_| {}),
            Input::Overloaded { count } => tape.call(OVERLOADED, now, |out| count.put(out)),
        }
    }
}

fn put(message: &Delivered<'_>, out: &mut Writer) {
    let Delivered {
        stream_seq,
        consumer_seq,
        pending,
        time,
        subject,
        payload,
    } = message;
    stream_seq.put(out);
    consumer_seq.put(out);
    pending.put(out);
    time.put(out);
    out.text(subject);
    payload.len().put(out);
}

fn get(from: &mut Reader<'_>) -> Result<Arrival, Broken> {
    let mut arrival = Arrival {
        stream_seq: Code::get(from)?,
        consumer_seq: Code::get(from)?,
        pending: Code::get(from)?,
        time: Code::get(from)?,
        subject: Code::get(from)?,
        payload_bytes: Code::get(from)?,
        frame_bytes: 0,
    };
    let mut ahead = from.clone();
    if ahead.byte() == Ok(FRAMED) {
        arrival.frame_bytes = Code::get(&mut ahead)?;
        *from = ahead;
    }
    Ok(arrival)
}

impl record::Recorded for Feed {
    type Call = Call;
    type Given = ();
    type Context = ();

    fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        Self::restore(bytes)
    }

    fn state_hash(&self) -> u64 {
        Self::state_hash(self)
    }

    fn read(from: &mut Reader<'_>, (): &(), last: &mut u64) -> Result<(Instant, Call), Broken> {
        let tag = from.byte()?;
        let now = record::time(from, last)?;
        let call = match tag {
            CONNECTED => Call::Connected,
            DISCONNECTED => Call::Disconnected,
            INFO => Call::Info(Code::get(from)?),
            NONCE_WRITTEN => Call::NonceWritten,
            CONSUMER_OPENED => Call::ConsumerOpened(Code::get(from)?),
            TAIL => Call::Tail(Code::get(from)?),
            DELETED => Call::Deleted(Code::get(from)?, Code::get(from)?),
            DELIVERED => Call::Delivered(get(from)?),
            HEARTBEAT => Call::Heartbeat,
            FAILED => Call::Failed,
            OVERLOADED => Call::Overloaded(Code::get(from)?),
            TIMEOUT => Call::Timeout,
            _ => return Err(Broken("a call is of no known kind")),
        };
        Ok((now, call))
    }

    fn apply(&mut self, now: Instant, call: &Call, (): &mut ()) {
        let input = match call {
            Call::Timeout => {
                self.handle_timeout(now);
                return self.outputs.clear();
            }
            Call::Connected => Input::Connected,
            Call::Disconnected => Input::Disconnected,
            Call::Info(info) => Input::Info(*info),
            Call::NonceWritten => Input::NonceWritten,
            Call::ConsumerOpened(pending) => Input::ConsumerOpened { pending: *pending },
            Call::Tail(tail) => Input::Tail(*tail),
            Call::Deleted(to, ranges) => Input::Deleted { to: *to, ranges },
            Call::Heartbeat => Input::Heartbeat,
            Call::Failed => Input::Failed,
            Call::Overloaded(count) => Input::Overloaded { count: *count },
            Call::Delivered(arrival) => {
                self.stand_in = Some(StandIn {
                    payload_bytes: arrival.payload_bytes,
                    frame_bytes: arrival.frame_bytes,
                });
                Input::Delivered(Delivered {
                    stream_seq: arrival.stream_seq,
                    consumer_seq: arrival.consumer_seq,
                    pending: arrival.pending,
                    time: arrival.time,
                    subject: &arrival.subject,
                    payload: &[],
                })
            }
        };
        self.handle(now, input);
        self.stand_in = None;
        self.outputs.clear();
    }
}

impl Code for Upstream {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Embedded => out.byte(0),
            Self::Nats => out.byte(1),
            Self::JetStream(follower) => {
                out.byte(2);
                follower.put(out);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(match from.byte()? {
            0 => Self::Embedded,
            1 => Self::Nats,
            2 => Self::JetStream(Code::get(from)?),
            _ => return Err(Broken("a source is of no known kind")),
        })
    }
}
