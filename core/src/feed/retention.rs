//! Which part of the log stays: the oldest entries leave when all frames together are over
//! `log_bytes`, or when they are older than `log_age`. The shards hold the frames; kept here is only
//! what decides, so that all shards evict to the same place.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::id::Order;
use crate::record::codec::coded;
use crate::time::Instant;

/// Entries leave in batches of this share of the bound, so that a full log does not announce a new
/// floor at every message.
const BATCH_SHARE: usize = 64;

#[derive(Debug)]
pub(super) struct Retention {
    /// 0: no bound.
    bytes_max: usize,
    /// Zero: no bound.
    age_max: Duration,
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    order: Order,
    bytes: usize,
    received: Instant,
}

impl Retention {
    pub(super) fn new(bytes_max: usize, age_max: Duration) -> Self {
        Self {
            bytes_max,
            age_max,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Takes note of an entry; the new floor, if others have to leave for it. The newest entry stays
    /// whatever its size, so that whoever is caught up gets it.
    pub(super) fn push(&mut self, order: Order, bytes: usize, received: Instant) -> Option<Order> {
        self.entries.push_back(Entry {
            order,
            bytes,
            received,
        });
        self.bytes += bytes;
        if self.bytes_max == 0 || self.bytes <= self.bytes_max {
            return None;
        }
        let target = self.bytes_max - self.bytes_max / BATCH_SHARE;
        let before = self.entries.len();
        while self.bytes > target && self.entries.len() > 1 {
            self.pop();
        }
        let first = self.entries.front()?;
        (self.entries.len() < before).then_some(first.order)
    }

    /// Lets go what is too old; the new floor, if anything was.
    pub(super) fn expire(&mut self, now: Instant, next: Order) -> Option<Order> {
        if self.age_max.is_zero() {
            return None;
        }
        let before = self.entries.len();
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.received + self.age_max <= now)
        {
            self.pop();
        }
        (self.entries.len() < before)
            .then(|| self.entries.front().map_or(next, |first| first.order))
    }

    /// When [`Self::expire`] is to be called: a little after the oldest entry is due, so that its
    /// neighbours leave with it.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.entries.front()?;
        let slack = self.age_max / BATCH_SHARE as u32;
        (!self.age_max.is_zero()).then(|| first.received + self.age_max + slack)
    }

    /// The log begins anew.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Bytes of all entries that stay.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
        }
    }
}

coded!(Retention {
    bytes_max,
    age_max,
    entries,
    bytes
});

coded!(Entry {
    order,
    bytes,
    received
});
