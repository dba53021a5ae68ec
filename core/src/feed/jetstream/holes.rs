//! What is missing: before the stream begins, between two messages, and after the last one.
//!
//! Where the consumer's filter covers all of the stream's subjects every seq that is not delivered is a
//! message that is gone. Where it does not, a gap may be of other subjects: the message after it waits
//! until the stream has said what it has deleted. What follows the last message shows when the consumer
//! has nothing to deliver and the stream is longer than what was taken, twice, since a replica may be a
//! little behind.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{ANSWER_TIME_MAX, Follower, Phase};
use crate::feed::step::Step;
use crate::feed::{Command, SeqRange, StreamInfo, Tail};
use crate::mutant::{self, Mutant};
use crate::record::codec::coded;
use crate::time::Instant;

/// What a stream that carries other subjects has said about gaps.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Up to this seq everything is accounted for: delivered, deleted or of another subject.
    to: u64,
    /// What of it is deleted, ascending.
    deleted: VecDeque<SeqRange>,
}

/// What was found the last time that the consumer had nothing to deliver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quiet {
    /// The place of the last message that it had sent.
    delivered: u64,
    /// The stream's last seq, if no message was on its way; else 0.
    last_seq: u64,
}

impl Follower {
    /// Announces what the limits of the stream or a purge took before it was read.
    pub(super) fn skip_discarded(&mut self, info: &StreamInfo, steps: &mut Vec<Step>) {
        if info.first_seq <= self.have.saturating_add(1) {
            return;
        }
        let to = match mutant::is(Mutant::DiscardedOffByOne) {
            true => info.first_seq,
            false => info.first_seq - 1,
        };
        self.discard_to(to, steps);
    }

    /// Decides about the seqs between what is had and a message that is next. `true`: it has to wait
    /// for the stream's answer.
    pub(super) fn is_held_by_gap(
        &mut self,
        now: Instant,
        next: u64,
        steps: &mut Vec<Step>,
    ) -> bool {
        let to = next.saturating_sub(1);
        if to <= self.have {
            return false;
        }
        if self.covers_all() {
            self.discard_to(to, steps);
        } else if to <= self.checked.to || mutant::is(Mutant::GapNotChecked) {
            self.account_to(to, steps);
        } else {
            steps.push(Step::Hold);
            self.read_deleted(now, to, 0, steps);
            return true;
        }
        false
    }

    /// The consumer had nothing to deliver: what the stream has beyond what was taken?
    pub(in crate::feed) fn tail(&mut self, now: Instant, tail: Tail, steps: &mut Vec<Step>) {
        if self.phase != Phase::Following || !self.complete {
            return;
        }
        let Tail {
            info,
            delivered,
            pending,
        } = tail;
        let same = self.created == Some(info.created) && self.naming.is_unchanged(info.nonce);
        if !same || info.last_seq < self.have {
            return self.read_info(now, steps);
        }
        let last_seq = info.last_seq;
        let this = Quiet {
            delivered,
            last_seq,
        };
        let before = core::mem::replace(&mut self.quiet, this);
        if before.delivered > self.consumer_seq {
            // What was on its way then would have come before the heartbeat.
            self.read_info(now, steps);
        } else if delivered != self.consumer_seq || pending > 0 {
            // Messages are on their way.
            self.quiet.last_seq = 0;
        } else if before.last_seq > self.have && self.covers_all() {
            self.discard_to(before.last_seq, steps);
        } else if before.last_seq > self.have {
            self.read_deleted(now, before.last_seq, before.last_seq, steps);
        }
    }

    /// What of a range the stream has deleted.
    pub(in crate::feed) fn deleted(
        &mut self,
        now: Instant,
        to: u64,
        ranges: &[SeqRange],
        steps: &mut Vec<Step>,
    ) {
        let Phase::Checking { tail_to } = self.phase else {
            return;
        };
        self.phase = Phase::Following;
        self.deadline = Some(now + self.silence);
        self.checked = Checked {
            to,
            deleted: ranges.iter().copied().collect(),
        };
        if tail_to > self.have {
            self.account_to(tail_to, steps);
        }
        steps.push(Step::Command(Command::Fetch));
    }

    fn covers_all(&self) -> bool {
        self.info.is_some_and(|info| info.covers_all)
    }

    fn read_deleted(&mut self, now: Instant, to: u64, tail_to: u64, steps: &mut Vec<Step>) {
        self.phase = Phase::Checking { tail_to };
        self.deadline = Some(now + ANSWER_TIME_MAX);
        steps.push(Step::Command(Command::ReadDeleted(SeqRange {
            from: self.have.saturating_add(1),
            to,
        })));
    }

    /// Everything up to `to` is gone.
    fn discard_to(&mut self, to: u64, steps: &mut Vec<Step>) {
        steps.push(Step::Discarded(SeqRange {
            from: self.have + 1,
            to,
        }));
        self.have = to;
    }

    /// Everything up to `to` is of other subjects, but for what was deleted.
    fn account_to(&mut self, to: u64, steps: &mut Vec<Step>) {
        while let Some(range) = self.checked.deleted.front().copied() {
            if range.from > to {
                break;
            }
            let gone = SeqRange {
                from: range.from.max(self.have + 1),
                to: range.to.min(to),
            };
            if gone.from <= gone.to {
                steps.push(Step::Discarded(gone));
            }
            if range.to > to {
                break;
            }
            self.checked.deleted.pop_front();
        }
        self.have = to;
    }
}

coded!(Checked { to, deleted });

coded!(Quiet {
    delivered,
    last_seq
});
