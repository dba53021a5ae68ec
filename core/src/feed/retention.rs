//! Which part of the log stays: the oldest entries leave when all frames together are over
//! `log_bytes`, or when they are older than `log_age`. The shards hold the frames; kept here is only
//! what decides, so that all shards evict to the same place.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::id::Order;
use crate::record::codec::{Broken, Code, Reader, Writer};
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

/// The entries are many and each is near to the one before.
impl Code for Retention {
    fn put(&self, out: &mut Writer) {
        let Self {
            bytes_max,
            age_max,
            entries,
            bytes: _,
        } = self;
        bytes_max.put(out);
        age_max.put(out);
        entries.len().put(out);
        let (mut order, mut received) = (0, 0);
        for entry in entries {
            out.near(entry.order.0, order);
            out.near(entry.received.as_nanos(), received);
            entry.bytes.put(out);
            (order, received) = (entry.order.0, entry.received.as_nanos());
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let (bytes_max, age_max) = Code::get(from)?;
        let mut retention = Self::new(bytes_max, age_max);
        let (mut order, mut received) = (0, 0);
        for _ in 0..from.count()? {
            order = from.near(order)?;
            received = from.near(received)?;
            let bytes = usize::get(from)?;
            let sum = retention.bytes.checked_add(bytes);
            retention.bytes = sum.ok_or(Broken("the log is too large"))?;
            retention.entries.push_back(Entry {
                order: Order(order),
                bytes,
                received: Instant::from_nanos(received),
            });
        }
        Ok(retention)
    }
}
