//! A deliberately simple stream, and a consumer on it: a list of messages that publishes, discards its
//! oldest, deletes any, keeps only the last of each channel, is made again or goes back to an earlier state,
//! metadata included. It may carry a channel that the consumer does not follow.

use std::collections::BTreeMap;

use odin_core::feed::{DeliverPolicy, EpochNonce, StreamInfo};

pub(crate) const NANOS_PER_MILLI: u64 = 1_000_000;

/// The channel that a shared stream carries for others.
pub(crate) const FOREIGN: u8 = 3;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) channel: u8,
}

#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) created: u64,
    pub(crate) clock: u64,
    pub(crate) last_seq: u64,
    pub(crate) kept: Vec<Stored>,
    /// Everything that was ever stored on this number line, by what a reader could have seen.
    pub(crate) all: Vec<Stored>,
    /// Whether it drops metadata, as nats-server before 2.10 does.
    pub(crate) drops_metadata: bool,
    /// Whether a message was deleted by itself.
    pub(crate) deleted: bool,
    /// Whether it keeps one message of each channel.
    pub(crate) last_only: bool,
    /// Whether [`FOREIGN`] is not followed.
    pub(crate) shared: bool,
    /// The nonces that were written and its last seq then, the present one last.
    pub(crate) nonces: Vec<(u64, EpochNonce)>,
}

impl Stream {
    pub(crate) fn publish(&mut self, channel: u8) {
        self.clock += NANOS_PER_MILLI;
        self.last_seq += 1;
        let stored = Stored {
            seq: self.last_seq,
            time: self.clock,
            channel,
        };
        if self.last_only {
            self.kept.retain(|m| m.channel != channel);
        }
        self.kept.push(stored);
        self.all.push(stored);
    }

    /// Deletes the message that is so many back, if it is there.
    pub(crate) fn delete(&mut self, back: u64) {
        let seq = self.last_seq.saturating_sub(back);
        self.deleted = true;
        self.kept.retain(|m| m.seq != seq);
    }

    /// Whether a message is one that is followed.
    pub(crate) fn is_ours(&self, message: &Stored) -> bool {
        !(self.shared && message.channel == FOREIGN)
    }

    pub(crate) fn info(&self) -> StreamInfo {
        let first_seq = self
            .kept
            .first()
            .map_or(self.last_seq + 1, |first| first.seq);
        StreamInfo {
            created: self.created,
            first_seq,
            last_seq: self.last_seq,
            num_deleted: self.last_seq + 1 - first_seq - self.kept.len() as u64,
            nonce: self.nonces.last().map(|(_, nonce)| *nonce),
            covers_all: !self.shared,
            replicated: false,
        }
    }

    pub(crate) fn write(&mut self, nonce: EpochNonce) {
        if !self.drops_metadata {
            self.nonces.push((self.last_seq, nonce));
        }
    }

    /// Back to its first `keep` messages, and on from there with others.
    pub(crate) fn roll_back(&mut self, keep: u64) {
        self.all.retain(|m| m.seq <= keep);
        self.kept.retain(|m| m.seq <= keep);
        self.nonces.retain(|(last_seq, _)| *last_seq <= keep);
        self.last_seq = self.last_seq.min(keep);
    }
}

/// A consumer: what it delivers next.
#[derive(Default)]
pub(crate) struct Consumer {
    pub(crate) snapshot: Vec<u64>,
    pub(crate) next_seq: u64,
    pub(crate) place: u64,
    pub(crate) fetching: bool,
}

impl Consumer {
    pub(crate) fn open(stream: &Stream, policy: DeliverPolicy) -> Self {
        let mut consumer = Self::default();
        match policy {
            DeliverPolicy::LastPerSubject => {
                let ours = stream.kept.iter().filter(|m| stream.is_ours(m));
                let last: BTreeMap<u8, u64> = ours.map(|m| (m.channel, m.seq)).collect();
                consumer.snapshot = last.into_values().collect();
                consumer.snapshot.sort_unstable_by(|a, b| b.cmp(a));
                consumer.next_seq = stream.last_seq + 1;
            }
            DeliverPolicy::ByStartSequence(seq) => consumer.next_seq = seq,
        }
        consumer
    }

    pub(crate) fn pending(&self, stream: &Stream) -> u64 {
        let from = self.next_seq;
        let ours = stream.kept.iter().filter(|m| stream.is_ours(m));
        let due = |m: &&Stored| m.seq >= from || self.snapshot.contains(&m.seq);
        ours.filter(due).count() as u64
    }

    /// Messages that it has to deliver and that are still there.
    pub(crate) fn left(&self, stream: &Stream) -> usize {
        let due = |m: &&Stored| m.seq >= self.next_seq || self.snapshot.contains(&m.seq);
        let ours = stream.kept.iter().filter(|m| stream.is_ours(m));
        ours.filter(due).count()
    }

    /// The next message; `None`: there is none.
    pub(crate) fn next(&mut self, stream: &Stream) -> Option<Stored> {
        while let Some(seq) = self.snapshot.pop() {
            if let Some(m) = stream.kept.iter().find(|m| m.seq == seq) {
                self.place += 1;
                return Some(*m);
            }
        }
        let from = self.next_seq;
        let mut ours = stream.kept.iter().filter(|m| stream.is_ours(m));
        let m = ours.find(|m| m.seq >= from)?;
        self.next_seq = m.seq + 1;
        self.place += 1;
        Some(*m)
    }
}
