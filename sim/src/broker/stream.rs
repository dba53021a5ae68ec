//! A stream as JetStream keeps it, and the journal of all that it ever stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use odin_core::feed::{DeliverPolicy, EpochNonce, SeqRange, StreamInfo, Tail};
use odin_core::history::{Extent, PAGE_MESSAGES_MAX};

use super::wire::PastMessage;
use crate::past::Past;

/// What the stream's subjects have in common; the channel's name follows.
pub const PREFIX: &str = "odin.token.";

/// A subject of the stream that no server follows, where the stream carries such.
pub const FOREIGN: &str = "orders.eu";

/// A stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its subject.
    pub subject: Arc<str>,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// Its payload.
    pub payload: Bytes,
}

/// What the stream keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages in all.
    pub messages: usize,
    /// Whether it also carries subjects that the servers do not follow.
    pub foreign: bool,
}

/// A stream: seqs, creation time, what is kept and what is gone.
#[derive(Clone, Debug)]
pub struct Stream {
    created: u64,
    last_seq: u64,
    messages: BTreeMap<u64, Stored>,
    /// The last message of each subject.
    last: BTreeMap<Arc<str>, u64>,
    limits: Limits,
    nonce: Option<EpochNonce>,
    /// What was discarded since it was last asked: from here to there.
    discarded: Option<(u64, u64)>,
}

impl Stream {
    /// An empty stream, created at this time (nanoseconds since the Unix epoch).
    #[must_use]
    pub fn new(created: u64, limits: Limits) -> Self {
        Self {
            created,
            last_seq: 0,
            messages: BTreeMap::new(),
            last: BTreeMap::new(),
            limits,
            nonce: None,
            discarded: None,
        }
    }

    /// The seqs that were discarded since the last call, the first and the last.
    pub fn take_discarded(&mut self) -> Option<(u64, u64)> {
        self.discarded.take()
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

    /// Stores a message; what is over the limit is discarded, the oldest first.
    pub fn publish(&mut self, message: Stored) -> u64 {
        self.last_seq += 1;
        self.last
            .insert(Arc::clone(&message.subject), self.last_seq);
        self.messages.insert(self.last_seq, message);
        while self.messages.len() > self.limits.messages {
            self.discard_first();
        }
        self.last_seq
    }

    fn discard_first(&mut self) {
        let Some((seq, gone)) = self.messages.pop_first() else {
            return;
        };
        let (first, _) = *self.discarded.get_or_insert((seq, seq));
        self.discarded = Some((first, seq));
        if self.last.get(&gone.subject) == Some(&seq) {
            self.last.remove(&gone.subject);
        }
    }

    /// Removes every message below `seq`.
    pub fn purge_below(&mut self, seq: u64) {
        while self
            .messages
            .first_key_value()
            .is_some_and(|(first, _)| *first < seq)
        {
            self.discard_first();
        }
    }

    /// Puts a nonce into its metadata.
    pub fn set_nonce(&mut self, nonce: EpochNonce) {
        self.nonce = Some(nonce);
    }

    /// Goes back to the state in which it had `seq` as its last: a store that was restored. What was
    /// purged meanwhile stays so.
    pub fn roll_back(&mut self, seq: u64) {
        self.last_seq = self.last_seq.min(seq);
        let _ = self.messages.split_off(&(self.last_seq + 1));
        self.last.clear();
        for (seq, stored) in &self.messages {
            self.last.insert(Arc::clone(&stored.subject), *seq);
        }
    }

    /// Changes the limit of messages; what is over it is discarded at once.
    pub fn set_limit(&mut self, messages: usize) {
        self.limits.messages = messages.max(1);
        while self.messages.len() > self.limits.messages {
            self.discard_first();
        }
    }

    /// What `STREAM.INFO` says.
    #[must_use]
    pub fn info(&self) -> StreamInfo {
        let first = self.messages.first_key_value().map(|(seq, _)| *seq);
        let first_seq = first.unwrap_or(self.last_seq + 1);
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

    /// What it holds of a topic after a seq.
    #[must_use]
    pub fn past(&self, topic: &str, after: u64) -> (Extent, Vec<PastMessage>) {
        let past = Past {
            created: self.created,
            last_seq: self.last_seq,
            strip: PREFIX,
            payload_bytes_max: 0,
            messages_max: PAGE_MESSAGES_MAX,
        };
        let held = self.messages.iter();
        let held = held.map(|(seq, held)| (*seq, &*held.subject, held.time, &*held.payload));
        let (extent, stored) = past.read(topic, after, held);
        let messages = stored.into_iter().filter_map(|stored| {
            let held = self.messages.get(&stored.seq)?;
            Some(PastMessage {
                seq: stored.seq,
                prev: stored.prev,
                time: stored.time,
                subject: Arc::clone(&held.subject),
                payload: held.payload.clone(),
            })
        });
        (extent, messages.collect())
    }

    /// What of a range it does not have.
    #[must_use]
    pub fn missing(&self, range: SeqRange) -> Vec<SeqRange> {
        let mut ranges: Vec<SeqRange> = Vec::new();
        for seq in (range.from..=range.to).filter(|seq| !self.messages.contains_key(seq)) {
            match ranges.last_mut() {
                Some(last) if last.to + 1 == seq => last.to = seq,
                _ => ranges.push(SeqRange { from: seq, to: seq }),
            }
        }
        ranges
    }

    fn next_followed(&self, from: u64) -> Option<(u64, &Stored)> {
        let mut rest = self.messages.range(from..);
        let found = rest.find(|(_, stored)| stored.subject.starts_with(PREFIX));
        found.map(|(seq, stored)| (*seq, stored))
    }

    fn followed_from(&self, from: u64) -> u64 {
        let rest = self.messages.range(from..);
        let followed = rest.filter(|(_, stored)| stored.subject.starts_with(PREFIX));
        followed.count() as u64
    }
}

/// An ephemeral consumer: what it has yet to deliver.
#[derive(Debug)]
pub struct Consumer {
    /// The creation time of the stream that it was made for.
    created: u64,
    /// What comes first of all: the last message of each subject, the highest seq last.
    snapshot: Vec<u64>,
    /// Then everything from here on.
    next: u64,
    /// The place of the last message that it delivered.
    place: u64,
    /// Messages that it has yet to deliver, as of `counted_to`.
    pending: u64,
    counted_to: u64,
}

/// What a consumer delivers.
#[derive(Debug)]
pub struct Delivery {
    /// The message's seq in the stream.
    pub seq: u64,
    /// Its place in the consumer.
    pub place: u64,
    /// What comes after it, as of now.
    pub pending: u64,
    /// The message.
    pub stored: Stored,
}

impl Consumer {
    /// A consumer of the stream as it is now.
    #[must_use]
    pub fn open(stream: &Stream, policy: DeliverPolicy) -> Self {
        let (snapshot, next) = match policy {
            DeliverPolicy::LastPerSubject => {
                let followed = stream.last.iter().filter(|(s, _)| s.starts_with(PREFIX));
                let mut last: Vec<u64> = followed.map(|(_, seq)| *seq).collect();
                last.sort_unstable_by(|a, b| b.cmp(a));
                (last, stream.last_seq + 1)
            }
            DeliverPolicy::ByStartSequence(seq) => (Vec::new(), seq),
        };
        let pending = snapshot.len() as u64 + stream.followed_from(next);
        Self {
            created: stream.created,
            snapshot,
            next,
            place: 0,
            pending,
            counted_to: stream.last_seq,
        }
    }

    /// What it has to deliver.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Where it is, beside the end of its stream; `None`: that is no more.
    #[must_use]
    pub fn tail(&self, stream: &Stream) -> Option<Tail> {
        let left = self.snapshot.iter();
        let left = left.filter(|seq| stream.messages.contains_key(seq)).count() as u64;
        (stream.created == self.created).then(|| Tail {
            info: stream.info(),
            delivered: self.place,
            pending: left + stream.followed_from(self.next),
        })
    }

    /// The next message. `Err`: the stream that it was made for is no more.
    ///
    /// # Errors
    /// See above.
    pub fn next(&mut self, stream: &Stream) -> Result<Option<Delivery>, Gone> {
        if stream.created != self.created {
            return Err(Gone);
        }
        self.pending += stream.followed_from(self.counted_to + 1);
        self.counted_to = self.counted_to.max(stream.last_seq);
        while let Some(seq) = self.snapshot.pop() {
            self.pending = self.pending.saturating_sub(1);
            if let Some(stored) = stream.messages.get(&seq) {
                return Ok(Some(self.delivery(seq, stored.clone())));
            }
        }
        let Some((seq, stored)) = stream.next_followed(self.next) else {
            self.pending = 0;
            return Ok(None);
        };
        self.next = seq + 1;
        self.pending = self.pending.saturating_sub(1);
        Ok(Some(self.delivery(seq, stored.clone())))
    }

    fn delivery(&mut self, seq: u64, stored: Stored) -> Delivery {
        self.place += 1;
        Delivery {
            seq,
            place: self.place,
            pending: self.pending,
            stored,
        }
    }
}

/// The stream of a consumer was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;
