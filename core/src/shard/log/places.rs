//! The log of one channel or pattern: where its entries are, and who has them all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::shard::subscription::SubIx;

/// How many places a pattern's log holds. A cursor before its start reads the arena instead, so this
/// is a bound on an index and not on what can be delivered.
pub(crate) const PATTERN_PLACES_MAX: usize = 1_024;

/// The log of a channel or of a pattern: places in the arena, and who waits for the next one.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Places, ascending. Of a channel: exactly its entries in the arena. Of a pattern: its newest.
    pub(crate) places: VecDeque<Order>,
    /// The newest entry that was dropped; every entry after it can be had.
    pub(crate) dropped_to: Order,
    /// The seq up to which messages may be missing here; all after it can be had.
    pub(crate) dropped_seq: u64,
    /// Subscriptions that have everything, in no order of meaning.
    pub(crate) waiting: Vec<SubIx>,
}

impl Log {
    /// The index of the first place at or after `next`.
    pub(crate) fn index_from(&self, next: Order) -> usize {
        let len = self.places.len();
        // Nearly every cursor is one entry behind or has nothing to read.
        match self.places.back() {
            Some(back) if *back >= next => {}
            _ => return len,
        }
        if len < 2 || self.places[len - 2] < next {
            return len - 1;
        }
        self.places.partition_point(|place| *place < next)
    }

    /// Whether an entry stands at or after `next`.
    pub(crate) fn reaches(&self, next: Order) -> bool {
        self.places.back().is_some_and(|back| *back >= next)
    }

    pub(super) fn note_dropped(&mut self, order: Order, seq: u64) {
        let order = match mutant::is(Mutant::LogEdgeOffByOne) {
            true => Order(order.0 - 1),
            false => order,
        };
        self.dropped_to = self.dropped_to.max(order);
        self.dropped_seq = self.dropped_seq.max(seq);
    }

    /// Forgets everything but who waits: the number line begins anew.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.dropped_to = Order(0);
        self.dropped_seq = 0;
    }
}
