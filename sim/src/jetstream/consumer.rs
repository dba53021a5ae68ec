//! An ephemeral consumer of a stream.

use std::collections::VecDeque;
use std::time::Duration;

use odin_core::feed::{DeliverPolicy, Tail};

use super::{Release, Stored, Stream};

/// How long a server may take to count a message for its consumers ([`Stream::count`]).
pub const COUNTED_AFTER: Duration = Duration::from_millis(50);

/// An ephemeral consumer: what it has yet to deliver.
#[derive(Debug)]
pub struct Consumer {
    /// The creation time of the stream that it was made for, and the life of its server.
    of: (u64, u64),
    /// What comes first of all, ascending: what was the last message of each subject when it was made.
    snapshot: VecDeque<u64>,
    /// Of these, how many the stream still has, as of so many removals.
    left: (u64, u64),
    /// Then everything from here on.
    next: u64,
    /// The seq up to which it counted when it was made.
    counted: u64,
    /// The place of the last message that it delivered.
    place: u64,
}

/// What a consumer delivers.
#[derive(Clone, Debug)]
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

/// The stream of a consumer was deleted, or its server restarted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

impl Consumer {
    /// A consumer of the stream as it is now.
    #[must_use]
    pub fn open(stream: &Stream, policy: DeliverPolicy) -> Self {
        let (snapshot, next) = match policy {
            DeliverPolicy::LastPerSubject => (stream.last_of_each(), stream.last_seq + 1),
            DeliverPolicy::ByStartSequence(seq) if stream.release == Release::Old => {
                (VecDeque::new(), seq.min(stream.last_seq + 1))
            }
            DeliverPolicy::ByStartSequence(seq) => (VecDeque::new(), seq),
        };
        Self {
            of: (stream.created, stream.life),
            left: (snapshot.len() as u64, stream.removals),
            snapshot,
            next,
            counted: stream.last_seq,
            place: 0,
        }
    }

    /// Whether it is there still.
    #[must_use]
    pub fn is_of(&self, stream: &Stream) -> bool {
        self.of == (stream.created, stream.life)
    }

    /// What it has to deliver.
    #[must_use]
    pub fn left(&self, stream: &Stream) -> u64 {
        self.left_to(stream, stream.last_seq)
    }

    /// What it says that it has to deliver: what was stored but now does not count yet ([`Stream::count`]).
    #[must_use]
    pub fn pending(&self, stream: &Stream) -> u64 {
        self.left_to(stream, stream.counted.max(self.counted))
    }

    fn left_to(&self, stream: &Stream, to: u64) -> u64 {
        let (left, removals) = self.left;
        let left = match removals == stream.removals {
            true => left,
            false => self.count_left(stream),
        };
        left + stream.followed_within(self.next, to)
    }

    fn count_left(&self, stream: &Stream) -> u64 {
        let left = self.snapshot.iter();
        left.filter(|seq| stream.get(**seq).is_some()).count() as u64
    }

    /// Where it is, beside the end of its stream; `None`: it is no more.
    #[must_use]
    pub fn tail(&self, stream: &Stream) -> Option<Tail> {
        self.is_of(stream).then(|| Tail {
            info: stream.info(),
            delivered: self.place,
            pending: self.pending(stream),
        })
    }

    /// The next message.
    ///
    /// # Errors
    /// It is no more.
    pub fn next(&mut self, stream: &Stream) -> Result<Option<Delivery>, Gone> {
        if !self.is_of(stream) {
            return Err(Gone);
        }
        if self.left.1 != stream.removals {
            self.left = (self.count_left(stream), stream.removals);
        }
        while let Some(seq) = self.snapshot.pop_front() {
            let is_there = stream.get(seq).is_some();
            self.left.0 -= u64::from(is_there);
            let found = match is_there || stream.release == Release::Old {
                // Instead of one that is gone it takes the next that there is, and that then comes twice.
                true => stream.next_followed(seq),
                false => None,
            };
            if let Some((seq, stored)) = found {
                self.next = self.next.max(seq + 1);
                return Ok(Some(self.delivery(stream, seq, stored)));
            }
        }
        let Some((seq, stored)) = stream.next_followed(self.next) else {
            return Ok(None);
        };
        self.next = seq + 1;
        Ok(Some(self.delivery(stream, seq, stored)))
    }

    fn delivery(&mut self, stream: &Stream, seq: u64, stored: &Stored) -> Delivery {
        self.place += 1;
        Delivery {
            seq,
            place: self.place,
            pending: self.pending(stream),
            stored: stored.clone(),
        }
    }
}
