//! The proof that a consumer goes on where the one before ended: a message that was taken must still be
//! the same one, by seq and time.
//!
//! The last message that was taken is asked for first, for it costs one message. Where a limit per
//! subject has removed it, the consumer begins further back, with the oldest of those that are
//! remembered: the first of them that is still there is as good a proof. Where none is left, nothing can
//! be compared, and the stream's own count of deletions must explain why.

use alloc::collections::VecDeque;

use super::Follower;
use crate::feed::StreamInfo;
use crate::mutant::{self, Mutant};
use crate::record::codec::{Broken, Code, Reader, Writer, coded};

/// Messages that are remembered.
const RECENT_MAX: usize = 1_024;

/// A message that was taken: no other message of the same stream has this seq and time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) seq: u64,
    pub(super) time: u64,
}

/// The messages of a number line that were taken last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The last one of all.
    last: Option<Identity>,
    /// Every one that was taken from the first of these on; none of the snapshot.
    all: VecDeque<Identity>,
}

impl Recent {
    /// Remembers a message. `is_live`: all that follow it are taken as well, which a snapshot's are not.
    pub(super) fn push(&mut self, identity: Identity, is_live: bool) {
        self.last = Some(identity);
        if is_live {
            if self.all.len() == RECENT_MAX {
                self.all.pop_front();
            }
            self.all.push_back(identity);
        }
    }

    fn find(&self, seq: u64) -> Option<Identity> {
        let at = self.all.binary_search_by_key(&seq, |identity| identity.seq);
        at.ok().and_then(|at| self.all.get(at)).copied()
    }

    /// The first seq from which on every message that was taken is remembered.
    fn first_seq(&self) -> Option<u64> {
        let first = self.all.front().copied().or(self.last);
        first.map(|first| first.seq)
    }

    /// The oldest at or after `seq` that is not the last.
    fn oldest_from(&self, seq: u64) -> Option<Identity> {
        let at = self.all.partition_point(|identity| identity.seq < seq);
        let oldest = self.all.get(at).copied();
        oldest.filter(|oldest| self.last.is_some_and(|last| oldest.seq < last.seq))
    }

    /// How many of them are at or after `seq`, the last one always counted.
    fn count_from(&self, seq: u64) -> u64 {
        let at = self.all.partition_point(|identity| identity.seq < seq);
        ((self.all.len() - at) as u64).max(1)
    }
}

/// Which proof a consumer has yet to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// None, or none can be asked for: every message is new.
    Given,
    /// Its first message is the last that was taken.
    Last,
    /// What it delivers of the messages that were taken. `seen`: one was the same.
    Older { seen: bool },
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It follows what was taken.
    New,
    /// It was taken before.
    Known,
    /// The stream must be asked before anything else is taken.
    Unproven,
    /// It is older than everything that was asked for: the replica that holds the consumer did not reach that
    /// far when it was opened, and began where it ended. Nothing can be compared with it.
    TooEarly,
}

impl Follower {
    /// Chooses the proof that the next consumer is to give: the seq with which it is to begin.
    pub(super) fn begin_proof(&mut self, info: &StreamInfo) -> u64 {
        let next = self.have.saturating_add(1);
        let wants_older = core::mem::take(&mut self.wants_older);
        if let Some(oldest) = self
            .recent
            .oldest_from(info.first_seq)
            .filter(|_| wants_older)
        {
            self.proof = Proof::Older { seen: false };
            return oldest.seq;
        }
        // A message that is gone can prove nothing, but it is remembered: should the stream have it
        // again, it must be the same one.
        let last = self.recent.last.filter(|last| last.seq >= info.first_seq);
        self.proof = last.map_or(Proof::Given, |_| Proof::Last);
        last.map_or(next, |last| last.seq)
    }

    /// The consumer is open, and the stream was read again: what was discarded meanwhile proves nothing.
    pub(super) fn narrow_proof(&mut self, info: &StreamInfo) {
        if self
            .recent
            .last
            .is_none_or(|last| last.seq < info.first_seq)
        {
            self.proof = Proof::Given;
        }
    }

    /// Judges what a message proves.
    pub(super) fn judge(&mut self, this: Identity) -> Verdict {
        if this.seq == 0 {
            // A stream numbers its messages from 1.
            return Verdict::TooEarly;
        }
        let Some(last) = self.recent.last else {
            return Verdict::New;
        };
        match self.proof {
            // A consumer delivers in order; one that does not cannot be trusted.
            Proof::Given if this.seq <= last.seq => Verdict::Unproven,
            Proof::Given => Verdict::New,
            Proof::Last | Proof::Older { seen: false }
                if self
                    .recent
                    .first_seq()
                    .is_some_and(|first| this.seq < first) =>
            {
                Verdict::TooEarly
            }
            Proof::Last if this.seq == last.seq => self.proven_by(this == last || is_unchecked()),
            Proof::Last | Proof::Older { .. } if this.seq <= last.seq => {
                let same = self.recent.find(this.seq) == Some(this);
                let verdict = self.proven_by(same);
                self.proof = Proof::Older { seen: same };
                verdict
            }
            Proof::Last => self.without_the_last(),
            Proof::Older { seen: true } => {
                self.proof = Proof::Given;
                Verdict::New
            }
            Proof::Older { seen: false } => self.without_any(),
        }
    }

    fn proven_by(&mut self, same: bool) -> Verdict {
        if same {
            self.proof = Proof::Given;
            self.doubted = false;
            return Verdict::Known;
        }
        self.went_back = true;
        Verdict::Unproven
    }

    /// The last message that was taken is gone: an older one has to serve.
    fn without_the_last(&mut self) -> Verdict {
        let first_seq = self.info.map_or(0, |info| info.first_seq);
        if self.recent.oldest_from(first_seq).is_some() {
            self.wants_older = true;
            return Verdict::Unproven;
        }
        self.without_any()
    }

    /// None of the messages that are remembered is left. That is no other past where the stream has
    /// deleted as many; a count that is older than the deletion is read once more.
    fn without_any(&mut self) -> Verdict {
        let explained = self
            .info
            .is_some_and(|info| self.recent.count_from(info.first_seq) <= info.num_deleted);
        if explained {
            self.proof = Proof::Given;
            self.doubted = false;
            return Verdict::New;
        }
        self.went_back |= self.doubted;
        self.doubted = !self.doubted;
        Verdict::Unproven
    }
}

fn is_unchecked() -> bool {
    mutant::is(Mutant::OverlapNotChecked)
}

coded!(Identity { seq, time });

/// The messages are many and each is near to the one before.
impl Code for Recent {
    fn put(&self, out: &mut Writer) {
        let Self { last, all } = self;
        last.put(out);
        all.len().put(out);
        let (mut seq, mut time) = (0, 0);
        for identity in all {
            out.near(identity.seq, seq);
            out.near(identity.time, time);
            (seq, time) = (identity.seq, identity.time);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let mut recent = Self {
            last: Code::get(from)?,
            all: VecDeque::new(),
        };
        let (mut seq, mut time) = (0, 0);
        for _ in 0..from.count()? {
            seq = from.near(seq)?;
            time = from.near(time)?;
            recent.all.push_back(Identity { seq, time });
        }
        Ok(recent)
    }
}

impl Code for Proof {
    fn put(&self, out: &mut Writer) {
        out.byte(match self {
            Self::Given => 0,
            Self::Last => 1,
            Self::Older { seen: false } => 2,
            Self::Older { seen: true } => 3,
        });
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(match from.byte()? {
            0 => Self::Given,
            1 => Self::Last,
            2 => Self::Older { seen: false },
            3 => Self::Older { seen: true },
            _ => return Err(Broken("a proof is unknown")),
        })
    }
}
