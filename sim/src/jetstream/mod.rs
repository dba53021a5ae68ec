//! The rules of a JetStream stream as far as a server's upstream and its history can see them: seqs, limits, purge,
//! deletion, and what the stream says of itself. Consumers are in [`Consumer`].
//!
//! The one home of these rules: the broker of the scenarios and the swarm both keep their messages here, and
//! `tests/conformance` holds it against real servers. Who publishes, what breaks, and which of all that the oracle is
//! told, is theirs.

mod consumer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use odin_core::feed::{EpochNonce, SeqRange, StreamInfo};

pub use consumer::{COUNTED_AFTER, Consumer, Delivery, Gone};

use crate::past::Held;

/// What the file store adds to the subject and the payload of each message (nats-server, `fileStoreMsgSize`).
const RECORD_BYTES: u64 = 30;

/// A stored message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its subject.
    pub subject: Arc<str>,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// Its payload.
    pub payload: Bytes,
}

impl Stored {
    fn bytes(&self) -> u64 {
        RECORD_BYTES + (self.subject.len() + self.payload.len()) as u64
    }
}

/// What a stream keeps: when it is full, the oldest goes. 0 is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Messages in all.
    pub messages: usize,
    /// Bytes in all, as the file store counts them.
    pub bytes: u64,
    /// Messages of one subject.
    pub per_subject: usize,
    /// Whether the stream also carries subjects that the servers do not follow.
    pub foreign: bool,
}

/// Which nats-server it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Release {
    /// 2.9, the oldest that is supported: streams have no metadata.
    Old,
    /// 2.11 and later.
    #[default]
    Current,
}

/// What a purge removes: of these messages, all but the last `keep`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Purge<'a> {
    /// Those of this subject; `None`: all.
    pub subject: Option<&'a str>,
    /// Those below this seq; `None`: all.
    pub below: Option<u64>,
    /// How many of them stay. Not together with `below`.
    pub keep: u64,
}

/// A stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What the subjects have in common that servers follow.
    prefix: &'static str,
    created: u64,
    release: Release,
    /// Counts whatever no consumer outlives.
    life: u64,
    last_seq: u64,
    messages: BTreeMap<u64, Stored>,
    subjects: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// The seqs of the messages that servers follow, ascending.
    followed: VecDeque<u64>,
    bytes: u64,
    limits: Limits,
    nonce: Option<EpochNonce>,
    /// The seq up to which consumers count what is pending.
    counted: u64,
    /// Messages that were ever removed.
    removals: u64,
    /// What was removed since somebody asked, in the order in which it was.
    gone: Vec<SeqRange>,
}

impl Stream {
    /// An empty stream, created at this time (nanoseconds since the Unix epoch). Servers follow the subjects that begin
    /// with `prefix`.
    #[must_use]
    pub fn new(prefix: &'static str, created: u64, limits: Limits) -> Self {
        Self {
            prefix,
            created,
            release: Release::default(),
            life: 0,
            last_seq: 0,
            messages: BTreeMap::new(),
            subjects: BTreeMap::new(),
            followed: VecDeque::new(),
            bytes: 0,
            limits,
            nonce: None,
            counted: 0,
            removals: 0,
            gone: Vec::new(),
        }
    }

    /// Changes the server's release.
    pub fn set_release(&mut self, release: Release) {
        self.release = release;
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The seq of the last message ever stored.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many messages it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message with this seq.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<&Stored> {
        self.messages.get(&seq)
    }

    /// All that it holds, ascending.
    pub(crate) fn held(&self) -> impl Iterator<Item = Held<'_>> {
        let held = self.messages.iter();
        held.map(|(seq, held)| (*seq, &*held.subject, held.time, &*held.payload))
    }

    /// What was removed since the last call, in the order in which it was.
    pub fn take_gone(&mut self) -> Vec<SeqRange> {
        std::mem::take(&mut self.gone)
    }

    fn follows(&self, subject: &str) -> bool {
        subject.starts_with(self.prefix)
    }

    /// Stores a message and returns its seq; what is over a limit then goes, the oldest first.
    pub fn store(&mut self, message: Stored) -> u64 {
        self.last_seq += 1;
        let seq = self.last_seq;
        if self.follows(&message.subject) {
            self.followed.push_back(seq);
        }
        let of_it = self.subjects.entry(Arc::clone(&message.subject));
        of_it.or_default().insert(seq);
        self.bytes += message.bytes();
        let subject = Arc::clone(&message.subject);
        self.messages.insert(seq, message);
        self.trim_subject(&subject);
        self.trim();
        seq
    }

    /// Lets consumers count what was stored. A server does so on its own a moment after it has stored a message, which
    /// they may deliver before.
    pub fn count(&mut self) {
        self.counted = self.last_seq;
    }

    fn trim_subject(&mut self, subject: &str) {
        let keep = self.limits.per_subject;
        if keep > 0 {
            let seqs = self.subjects.get(subject);
            let over = seqs.map_or(0, |seqs| seqs.len().saturating_sub(keep));
            let over: Vec<u64> = seqs.into_iter().flatten().take(over).copied().collect();
            over.into_iter().for_each(|seq| self.remove(seq));
        }
    }

    fn trim(&mut self) {
        let Limits {
            messages, bytes, ..
        } = self.limits;
        while messages > 0 && self.messages.len() > messages || bytes > 0 && self.bytes > bytes {
            let Some((seq, _)) = self.messages.first_key_value() else {
                return;
            };
            self.remove(*seq);
        }
    }

    fn remove(&mut self, seq: u64) {
        let Some(gone) = self.messages.remove(&seq) else {
            return;
        };
        self.bytes -= gone.bytes();
        if let Some(of_it) = self.subjects.get_mut(&gone.subject) {
            of_it.remove(&seq);
            if of_it.is_empty() {
                self.subjects.remove(&gone.subject);
            }
        }
        if let Ok(at) = self.followed.binary_search(&seq) {
            self.followed.remove(at);
        }
        self.removals += 1;
        match self.gone.last_mut() {
            Some(last) if last.to + 1 == seq => last.to = seq,
            _ => self.gone.push(SeqRange { from: seq, to: seq }),
        }
    }

    /// Removes messages of one subject or of all, and says how many.
    pub fn purge(&mut self, purge: Purge<'_>) -> u64 {
        let below = match purge {
            // By seqs and not by messages, though some may be missing.
            Purge {
                subject: None,
                below: None,
                keep,
            } if keep > 0 && self.release == Release::Old => {
                if keep >= self.messages.len() as u64 {
                    return 0;
                }
                return self.purge(Purge {
                    below: Some(self.last_seq + 1 - keep),
                    ..Purge::default()
                });
            }
            Purge { below, .. } => below.unwrap_or(u64::MAX),
        };
        let keep = usize::try_from(purge.keep).unwrap_or(usize::MAX);
        let gone: Vec<u64> = match purge.subject {
            None => {
                let count = self.messages.len().saturating_sub(keep);
                let seqs = self.messages.keys().take(count);
                seqs.copied().filter(|seq| *seq < below).collect()
            }
            Some(subject) => {
                let seqs = self.subjects.get(subject);
                let count = seqs.map_or(0, |seqs| seqs.len().saturating_sub(keep));
                let seqs = seqs.into_iter().flatten().take(count);
                seqs.copied().filter(|seq| *seq < below).collect()
            }
        };
        let count = gone.len() as u64;
        gone.into_iter().for_each(|seq| self.remove(seq));
        if let (None, Some(below)) = (purge.subject, purge.below) {
            // Seqs that nothing had yet are passed over.
            self.last_seq = self.last_seq.max(below.saturating_sub(1));
        }
        count
    }

    /// Removes one message. `false`: it was not there.
    pub fn delete(&mut self, seq: u64) -> bool {
        let is_there = self.messages.contains_key(&seq);
        self.remove(seq);
        is_there
    }

    /// Changes the limits; what is over them goes at once.
    pub fn set_limits(&mut self, limits: Limits) {
        let before = std::mem::replace(&mut self.limits, limits);
        self.trim();
        if self.release == Release::Old && limits.per_subject >= before.per_subject {
            // Only a limit of messages per subject that was higher before is applied at once; any other shows at the next
            // message of each subject.
            return;
        }
        let subjects: Vec<Arc<str>> = self.subjects.keys().cloned().collect();
        subjects
            .iter()
            .for_each(|subject| self.trim_subject(subject));
    }

    /// Deletes it and creates it anew, empty, with the same limits.
    pub fn recreate(&mut self, created: u64) {
        let (life, release) = (self.life + 1, self.release);
        *self = Self::new(self.prefix, created, self.limits);
        (self.life, self.release) = (life, release);
    }

    /// Its server ended and came back.
    pub fn restart(&mut self) {
        self.life += 1;
    }

    /// Somebody deletes its consumers.
    pub fn drop_consumers(&mut self) {
        self.life += 1;
    }

    /// Goes back to the state in which it had `seq` as its last: its server lost what it had not written. What was
    /// removed meanwhile stays so.
    pub fn roll_back(&mut self, seq: u64) {
        self.life += 1;
        self.last_seq = self.last_seq.min(seq);
        self.counted = self.counted.min(self.last_seq);
        for (seq, lost) in self.messages.split_off(&(self.last_seq + 1)) {
            self.bytes -= lost.bytes();
            if let Some(of_it) = self.subjects.get_mut(&lost.subject) {
                of_it.remove(&seq);
            }
        }
        self.subjects.retain(|_, seqs| !seqs.is_empty());
        let last = self.last_seq;
        self.followed.retain(|seq| *seq <= last);
        self.removals += 1;
    }

    /// Goes back to an older copy of itself: its server's store was restored from a backup.
    pub fn restore(&mut self, copy: Self) {
        let life = self.life + 1;
        *self = copy;
        self.life = life;
    }

    /// Puts a nonce into its metadata, where it has some.
    pub fn set_nonce(&mut self, nonce: EpochNonce) {
        self.nonce = Some(nonce).filter(|_| self.release != Release::Old);
    }

    fn first_seq(&self) -> u64 {
        let first = self.messages.first_key_value().map(|(seq, _)| *seq);
        first.unwrap_or(self.last_seq + 1)
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> StreamInfo {
        let first_seq = self.first_seq();
        let between = (self.last_seq + 1).saturating_sub(first_seq);
        StreamInfo {
            created: self.created,
            first_seq,
            last_seq: self.last_seq,
            num_deleted: between.saturating_sub(self.messages.len() as u64),
            nonce: self.nonce,
            covers_all: !self.limits.foreign,
            replicated: false,
        }
    }

    /// What of a range was there once and is not any more.
    #[must_use]
    pub fn missing(&self, range: SeqRange) -> Vec<SeqRange> {
        let mut ranges: Vec<SeqRange> = Vec::new();
        let seqs = range.from..=range.to.min(self.last_seq);
        for seq in seqs.filter(|seq| !self.messages.contains_key(seq)) {
            match ranges.last_mut() {
                Some(last) if last.to + 1 == seq => last.to = seq,
                _ => ranges.push(SeqRange { from: seq, to: seq }),
            }
        }
        ranges
    }

    /// Whether its last message is there, and one that servers follow.
    #[must_use]
    pub fn ends_with_followed(&self) -> bool {
        self.last_seq == 0 || self.followed.back() == Some(&self.last_seq)
    }

    /// The seq of the last message that servers follow; 0: there is none.
    #[must_use]
    pub fn last_followed(&self) -> u64 {
        self.followed.back().copied().unwrap_or(0)
    }

    /// The last message of each subject that servers follow, ascending.
    fn last_of_each(&self) -> VecDeque<u64> {
        let followed = self.subjects.iter().filter(|(s, _)| self.follows(s));
        let mut last: Vec<u64> = followed
            .filter_map(|(_, seqs)| seqs.last().copied())
            .collect();
        last.sort_unstable();
        last.into()
    }

    /// The first message from `seq` on that servers follow.
    fn next_followed(&self, seq: u64) -> Option<(u64, &Stored)> {
        let at = self.followed.partition_point(|followed| *followed < seq);
        let seq = *self.followed.get(at)?;
        Some((seq, self.messages.get(&seq)?))
    }

    /// How many messages from `from` to `to` servers follow.
    fn followed_within(&self, from: u64, to: u64) -> u64 {
        let before = |seq| self.followed.partition_point(|followed| *followed < seq);
        before(to.saturating_add(1)).saturating_sub(before(from)) as u64
    }
}
