//! Notices of losses that concern every subscription.
//!
//! Each hole is announced by itself, with exactly its range, as long as holes are few. Where they follow
//! each other quickly, as in a stream that keeps the last value of each subject and is read late, one
//! notice also says that more may be missing up to a later seq, and the holes up to there are told to
//! those only who came after it: a notice costs every connection, and a connection that cannot keep up
//! with them is closed.

use alloc::sync::Arc;

use super::{Delivered, Feed, Upstream};
use crate::event::{Event, Lost};
use crate::limiter::{Rate, TokenBucket};
use crate::reason::LostReason;
use crate::record::codec::coded;
use crate::time::Instant;
use crate::wire::event as wire;

/// Notices with exactly their range. A shard keeps the last 64 for connections that have not passed
/// them, which is what they have some nine seconds for.
const EXACT: Rate = Rate {
    per_second: 5,
    burst: 16,
};

/// How far beyond its hole a notice reaches that is to cover those that follow it, at least.
const REACH: u64 = 4_096;

/// How notices are spared.
#[derive(Debug)]
pub(super) struct Notices {
    bucket: TokenBucket,
    /// Up to this seq it was said that messages may be missing.
    told_until: u64,
    /// The last seq that the stream was said to have.
    known_last: u64,
}

impl Notices {
    pub(super) fn new() -> Self {
        Self {
            bucket: TokenBucket::full(Instant::ZERO, &EXACT),
            told_until: 0,
            known_last: 0,
        }
    }

    /// The stream says that it reaches to this seq.
    pub(super) fn stream_reaches(&mut self, last_seq: u64) {
        self.known_last = last_seq;
    }

    /// The number line begins anew.
    pub(super) fn restart(&mut self) {
        self.told_until = 0;
    }

    /// Up to where a notice of a hole that ends with `to` says that more may be missing; `to`: not at all.
    fn until(&mut self, now: Instant, to: u64) -> u64 {
        if to > self.told_until {
            self.told_until = match self.bucket.take(now, &EXACT) {
                Ok(()) => to,
                Err(_) => self.known_last.max(to.saturating_add(REACH)),
            };
        }
        self.told_until
    }
}

impl Feed {
    /// A message without a channel. Embedded publishers learn of it from the outcome, so that
    /// nothing is lost; and what a snapshot leaves out was never promised.
    pub(super) fn refuse(&mut self, now: Instant, seq: u64, historic: bool, reason: LostReason) {
        if historic || matches!(self.upstream, Upstream::Embedded) {
            self.stats.lost[reason as usize] += 1;
            self.left_out |= historic;
            return;
        }
        self.line.advance(seq);
        self.lose(now, seq, Some(seq), reason, 1);
    }

    /// A channel that moves on while the snapshot is read, which reaches to `read_to` at least: what lies
    /// between the message that came last of all and its new one may have been of this channel, which
    /// is said to have had another value last.
    pub(super) fn lose_within_snapshot(
        &mut self,
        now: Instant,
        message: &Delivered<'_>,
        read_to: u64,
    ) {
        let seq = message.stream_seq;
        let from = self.line.head().max(read_to).saturating_add(1);
        if from < seq && self.line.has_value(message.subject) {
            let count = seq - from;
            self.lose(now, from, Some(seq - 1), LostReason::Discarded, count);
        }
    }

    /// A hole of unknown size in a source that numbers nothing itself: it takes one seq, so that
    /// positions before it and after it differ.
    pub(super) fn lose_unknown(&mut self, now: Instant, reason: LostReason, count: u64) {
        let from = self.line.head() + 1;
        self.line.advance(from);
        self.lose(now, from, None, reason, count);
    }

    /// Announces a hole: messages with `from <= seq <= to` may be missing.
    pub(super) fn lose(
        &mut self,
        now: Instant,
        from: u64,
        to: Option<u64>,
        reason: LostReason,
        count: u64,
    ) {
        let lost = &mut self.stats.lost[reason as usize];
        *lost = lost.saturating_add(count);
        let until = to.map(|to| self.notices.until(now, to));
        let order = self.next_order();
        let frame = wire::lost_all(from, to, until, reason);
        let bytes = frame.len();
        self.tell(Event::Lost(Arc::new(Lost {
            order,
            from,
            to,
            until,
            reason,
            frame,
        })));
        self.keep(order, bytes, now);
    }
}

coded!(Notices {
    bucket,
    told_until,
    known_last
});
