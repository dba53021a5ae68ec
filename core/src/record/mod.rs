//! The flight recorder: what a machine was and what it was told since, so that it can be run again
//! elsewhere to the same state.
//!
//! Each machine keeps a `Tape`: a checkpoint (its complete state) and the calls since then. When a
//! segment is full a new checkpoint is taken, and the segment before it is kept as well, so that a
//! recording always covers the time of at least one full segment. Bytes are bounded.
//!
//! Decided here: how much is kept, and in which form. A frame is recorded as its length (and, when it
//! is published, a hash of its bytes), never as its payload, for no decision depends on more; what a
//! client sent is recorded as it came, except for tokens. When a recording is written, and to where,
//! is the shell's; what is asked of it is the replay tool's.

pub(crate) mod codec;
mod file;

use alloc::vec::Vec;
use core::time::Duration;

pub use codec::{Broken, Reader, hash};
pub use file::{File, Header, Machine, Recording, Segment};

use crate::time::Instant;
use codec::Writer;

/// Of a segment, how much its checkpoint may take, in percent; the rest is for calls.
const CHECKPOINT_PERCENT_MAX: usize = 75;

/// How long recording rests when a state is too large for its share of `record_bytes`.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The least that a call needs; calls with texts need more.
const CALL_BYTES: usize = 256;

/// The checkpoints of one machine and its calls since then.
#[derive(Debug)]
pub(crate) struct Tape {
    /// Of one segment, of which there are two.
    bytes_max: usize,
    older: Option<Segment>,
    current: Option<Segment>,
    /// The time of the last call, which the next one's is written relative to.
    last: u64,
    /// The state was too large: no attempt before this.
    rest_until: Option<Instant>,
}

impl Tape {
    /// A tape without a checkpoint: the first call makes one.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max: bytes_max / 2,
            older: None,
            current: None,
            last: 0,
            rest_until: None,
        }
    }

    /// Whether a new checkpoint is due before a call with so many bytes of text.
    pub(crate) fn is_due(&self, now: Option<Instant>, text: usize) -> bool {
        match &self.current {
            Some(segment) => {
                segment.checkpoint.len() + segment.calls.len() + text + CALL_BYTES > self.bytes_max
            }
            None => match (self.rest_until, now) {
                (None, _) => true,
                (Some(until), Some(now)) => now >= until,
                (Some(_), None) => false,
            },
        }
    }

    /// Begins a segment with the state that `save` writes.
    pub(crate) fn begin(&mut self, now: Option<Instant>, save: impl FnOnce(&mut Writer)) {
        // The buffers of the segment that is given up are used again.
        let spent = core::mem::replace(&mut self.older, self.current.take());
        let (mut checkpoint, mut calls) = spent.map_or_else(Default::default, |segment| {
            (segment.checkpoint, segment.calls)
        });
        checkpoint.clear();
        calls.clear();
        let limit = self.bytes_max / 100 * CHECKPOINT_PERCENT_MAX;
        let mut out = Writer::new(checkpoint, limit);
        save(&mut out);
        let (checkpoint, over) = out.finish();
        self.last = 0;
        if over {
            // The calls that are not recorded would be missing between two segments.
            self.older = None;
            let last = now.unwrap_or_default();
            self.rest_until = Some(last + RETRY_AFTER);
            return;
        }
        self.rest_until = None;
        calls.reserve_exact(self.bytes_max - checkpoint.len());
        self.current = Some(Segment {
            hash: hash(&checkpoint),
            checkpoint,
            calls,
        });
    }

    /// Writes a call. One that does not fit ends the recording, which then begins anew after a while.
    pub(crate) fn call(&mut self, tag: u8, now: Option<Instant>, write: impl FnOnce(&mut Writer)) {
        let Some(segment) = &mut self.current else {
            return;
        };
        let room = self.bytes_max - segment.checkpoint.len();
        let mut out = Writer::new(core::mem::take(&mut segment.calls), room);
        out.byte(tag);
        if let Some(now) = now {
            out.near(now.as_nanos(), self.last);
            self.last = now.as_nanos();
        }
        write(&mut out);
        let (calls, over) = out.finish();
        segment.calls = calls;
        if over {
            self.current = None;
            self.older = None;
            self.rest_until = now.map(|now| now + RETRY_AFTER);
        }
    }

    /// Whether calls are being written.
    pub(crate) fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// A copy of what is on the tape, with the hash of the state now, where it can be had.
    pub(crate) fn copy(&self, machine: Machine, hash: Option<u64>) -> Recording {
        let segments = self.older.iter().chain(&self.current).cloned().collect();
        Recording {
            machine,
            segments,
            hash,
        }
    }
}

/// The bytes of a state.
pub(crate) fn saved(save: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::new(Vec::new(), usize::MAX);
    save(&mut out);
    out.finish().0
}

/// Reads a state, which must be all there is.
pub(crate) fn restored<T>(
    bytes: &[u8],
    load: impl FnOnce(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<T, Broken> {
    let mut from = Reader::new(bytes);
    let state = load(&mut from)?;
    if from.is_empty() {
        Ok(state)
    } else {
        Err(Broken("more follows than a state"))
    }
}

/// The time of a call.
pub(crate) fn time(from: &mut Reader<'_>, last: &mut u64) -> Result<Instant, Broken> {
    *last = from.near(*last)?;
    Ok(Instant::from_nanos(*last))
}

/// A machine that can be recorded and run again.
pub trait Recorded: Sized {
    /// A call that changes its state.
    type Call;
    /// What a call gives.
    type Given;
    /// What a call may be written relative to.
    type Context: Default;

    /// The machine that a checkpoint was taken of.
    ///
    /// # Errors
    /// The bytes are no checkpoint of it.
    fn restore(bytes: &[u8]) -> Result<Self, Broken>;

    /// The hash of the complete state.
    fn state_hash(&self) -> u64;

    /// Reads the next call and its time. `last` is the time of the one before.
    ///
    /// # Errors
    /// The bytes are no call.
    fn read(
        from: &mut Reader<'_>,
        context: &Self::Context,
        last: &mut u64,
    ) -> Result<(Instant, Self::Call), Broken>;

    /// Makes a call again.
    fn apply(
        &mut self,
        now: Instant,
        call: &Self::Call,
        context: &mut Self::Context,
    ) -> Self::Given;
}

/// Runs a recording again, call by call.
///
/// A call may panic: as it did when a recording was written after a panic.
#[derive(Debug)]
pub struct Player<'a, M: Recorded> {
    /// The machine as it is now.
    pub machine: M,
    recording: &'a Recording,
    /// The number of the segment under way.
    segment: usize,
    calls: Reader<'a>,
    context: M::Context,
    last: u64,
}

impl<'a, M: Recorded> Player<'a, M> {
    /// The machine as it was when the recording begins.
    ///
    /// # Errors
    /// There is no recording, or the checkpoint is damaged.
    pub fn new(recording: &'a Recording) -> Result<Self, Broken> {
        let first = recording.segments.first();
        let first = first.ok_or(Broken("nothing was recorded: the state was too large"))?;
        let machine = M::restore(&first.checkpoint)?;
        if machine.state_hash() != first.hash {
            return Err(Broken("the first checkpoint is not the state it should be"));
        }
        Ok(Self {
            machine,
            recording,
            segment: 0,
            calls: Reader::new(&first.calls),
            context: M::Context::default(),
            last: 0,
        })
    }

    /// The next call and its time, to be made with [`Self::apply`]; `None`: that was all, and the state
    /// is the recorded one.
    ///
    /// # Errors
    /// The call is damaged, or the state is not the recorded one at the end of a segment.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator cannot be applied to itself"
    )]
    pub fn next(&mut self) -> Result<Option<(Instant, M::Call)>, Broken> {
        while self.calls.is_empty() {
            let next = self.recording.segments.get(self.segment + 1);
            let expected = match next {
                Some(segment) => Some(segment.hash),
                None => self.recording.hash,
            };
            if expected.is_some_and(|expected| expected != self.machine.state_hash()) {
                return Err(Broken("the state is not the one that was recorded"));
            }
            let Some(segment) = next else {
                return Ok(None);
            };
            self.segment += 1;
            self.calls = Reader::new(&segment.calls);
            self.context = M::Context::default();
            self.last = 0;
        }
        M::read(&mut self.calls, &self.context, &mut self.last).map(Some)
    }

    /// Makes a call that [`Self::next`] gave.
    pub fn apply(&mut self, now: Instant, call: &M::Call) -> M::Given {
        self.machine.apply(now, call, &mut self.context)
    }

    /// Makes all calls that are left.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn run(&mut self) -> Result<u64, Broken> {
        let mut count = 0;
        while let Some((now, call)) = self.next()? {
            self.apply(now, &call);
            count += 1;
        }
        Ok(count)
    }
}
