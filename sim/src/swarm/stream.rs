//! A JetStream stream and the consumers that servers open on it, as far as the Feed can see them
//! (nats-server 2.10, measured): sequences, limits, purge, deletion, recreation, a store that goes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use odin_core::feed::{DeliverPolicy, EpochNonce, SeqRange, StreamInfo};

use crate::oracle::{LineId, Oracle};

/// A stored message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) time: u64,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) line: LineId,
    pub(crate) created: u64,
    /// Which life of the store this is: consumers do not survive it.
    pub(crate) life: u64,
    pub(crate) last_seq: u64,
    pub(crate) messages: BTreeMap<u64, Stored>,
    pub(crate) max: usize,
    /// Whether it keeps the last message of each subject only.
    pub(crate) last_values: bool,
    pub(crate) shared: bool,
    pub(crate) nonce: Option<EpochNonce>,
}

/// A consumer that a server opened.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) life: u64,
    pub(crate) place: u64,
    /// What it delivers of the time before it was opened.
    first: VecDeque<u64>,
    next: u64,
}

impl Stream {
    pub(crate) fn store(&mut self, oracle: &mut Oracle, message: Stored) -> u64 {
        self.last_seq += 1;
        if self.last_values {
            let of_it = |(_, m): &(&u64, &Stored)| m.subject == message.subject;
            let superseded = self.messages.iter().rev().find(of_it).map(|(seq, _)| *seq);
            if let Some(seq) = superseded {
                self.messages.remove(&seq);
                oracle.gone(self.line, seq, seq);
            }
        }
        self.messages.insert(self.last_seq, message);
        while self.messages.len() > self.max {
            self.drop_first(oracle);
        }
        self.last_seq
    }

    fn drop_first(&mut self, oracle: &mut Oracle) {
        if let Some((seq, _)) = self.messages.pop_first() {
            oracle.gone(self.line, seq, seq);
        }
    }

    pub(crate) fn purge(&mut self, oracle: &mut Oracle, keep: usize) {
        while self.messages.len() > keep {
            self.drop_first(oracle);
        }
    }

    pub(crate) fn delete(&mut self, oracle: &mut Oracle, back: u64) {
        let seq = self.last_seq.saturating_sub(back);
        if self.messages.remove(&seq).is_some() {
            oracle.gone(self.line, seq, seq);
        }
    }

    pub(crate) fn recreate(&mut self, oracle: &mut Oracle, created: u64) {
        self.line = oracle.line();
        self.created = created;
        self.life += 1;
        self.last_seq = 0;
        self.nonce = None;
        self.messages.clear();
    }

    pub(crate) fn roll_back(&mut self, oracle: &mut Oracle, back: u64) {
        self.last_seq = self.last_seq.saturating_sub(back);
        self.line = oracle.rolled_back(self.line, self.last_seq);
        self.life += 1;
        self.messages.split_off(&(self.last_seq + 1));
    }

    pub(crate) fn info(&self) -> StreamInfo {
        let first = self.messages.first_key_value().map(|(seq, _)| *seq);
        let first_seq = first.unwrap_or(self.last_seq + 1);
        StreamInfo {
            created: self.created,
            first_seq,
            last_seq: self.last_seq,
            num_deleted: self.last_seq + 1 - first_seq - self.messages.len() as u64,
            nonce: self.nonce,
            covers_all: !self.shared,
            replicated: false,
        }
    }

    /// What of a range it does not have.
    pub(crate) fn missing(&self, range: SeqRange) -> Vec<SeqRange> {
        let mut ranges: Vec<SeqRange> = Vec::new();
        for seq in (range.from..=range.to).filter(|seq| !self.messages.contains_key(seq)) {
            match ranges.last_mut() {
                Some(last) if last.to + 1 == seq => last.to = seq,
                _ => ranges.push(SeqRange { from: seq, to: seq }),
            }
        }
        ranges
    }

    /// Whether its last message is there, and one that servers follow.
    pub(crate) fn ends_with_ours(&self) -> bool {
        let last = self.messages.get(&self.last_seq);
        self.last_seq == 0 || last.is_some_and(is_ours)
    }

    pub(crate) fn open(&self, policy: DeliverPolicy) -> Consumer {
        let (first, next) = match policy {
            DeliverPolicy::ByStartSequence(seq) => (VecDeque::new(), seq),
            DeliverPolicy::LastPerSubject => {
                let mut subjects = BTreeSet::new();
                let mut newest: Vec<u64> = self
                    .messages
                    .iter()
                    .rev()
                    .filter(|(_, m)| is_ours(m) && subjects.insert(&m.subject))
                    .map(|(seq, _)| *seq)
                    .collect();
                newest.reverse();
                (newest.into(), self.last_seq + 1)
            }
        };
        Consumer {
            life: self.life,
            place: 0,
            first,
            next,
        }
    }

    /// What a consumer has to deliver now.
    pub(crate) fn pending(&self, consumer: &Consumer) -> u64 {
        let first = consumer.first.iter();
        let first = first.filter(|seq| self.messages.contains_key(seq)).count();
        let rest = self.messages.range(consumer.next..);
        (first + rest.filter(|(_, m)| is_ours(m)).count()) as u64
    }

    /// Takes the next message of a consumer.
    pub(crate) fn next(&self, consumer: &mut Consumer) -> Option<(u64, &Stored)> {
        while let Some(seq) = consumer.first.pop_front() {
            if let Some(message) = self.messages.get(&seq) {
                consumer.place += 1;
                return Some((seq, message));
            }
        }
        let mut rest = self.messages.range(consumer.next..);
        let (seq, message) = rest.find(|(_, m)| is_ours(m))?;
        consumer.next = seq + 1;
        consumer.place += 1;
        Some((*seq, message))
    }
}

/// Whether a message is one of the subjects that servers follow.
fn is_ours(message: &Stored) -> bool {
    message.subject.starts_with(super::STRIP)
}
