//! Which patterns match which channels, and what is known of the channels that a new pattern matches: found when it is
//! needed, in bounded time.

use alloc::vec::Vec;
use core::ops::Bound;

use super::{Catalog, ChannelIx, PatternIx};
use crate::id::Order;
use crate::name;

/// How many names are looked at to find out what the channels of a new pattern have dropped. Where more may match,
/// what was dropped of any channel counts: whoever makes patterns must not make the shard read all of its names.
const NAMES_MAX: usize = 1_024;

impl Catalog {
    /// The newest entry that the channels which a pattern matches have dropped, or a newer one: its place and its seq.
    pub(crate) fn dropped_of(&self, pattern: &str) -> (Order, u64) {
        let prefix = name::literal_prefix(pattern);
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let mut names = self
            .names
            .range::<str, _>(range)
            .take_while(|(name, _)| name.starts_with(prefix));
        let mut dropped = (Order(0), 0);
        for (name, ix) in names.by_ref().take(NAMES_MAX) {
            if name::matches(pattern, name) {
                let log = &self.channel(*ix).log;
                dropped = newer(dropped, (log.dropped_to, log.dropped_seq));
            }
        }
        match names.next() {
            None => dropped,
            Some(_) => self.dropped,
        }
    }

    /// A log dropped an entry of this place and seq.
    pub(crate) fn note_dropped(&mut self, order: Order, seq: u64) {
        self.dropped = newer(self.dropped, (order, seq));
    }

    /// Every log is empty: the number line begins anew.
    pub(crate) fn forget_dropped(&mut self) {
        self.dropped = (Order(0), 0);
    }

    /// The patterns that match a channel, ascending; to be given back with [`Self::put_patterns`].
    pub(crate) fn take_patterns(&mut self, ix: ChannelIx) -> Vec<PatternIx> {
        let channel = &mut self.channels[ix.0];
        let mut patterns = core::mem::take(&mut channel.patterns);
        if channel.matched_at != self.patterns_changed {
            channel.matched_at = self.patterns_changed;
            patterns.clear();
            self.tree.find(&channel.name, &mut patterns);
            patterns.sort_unstable();
        }
        patterns
    }

    /// Gives back what was taken, while no pattern came or went.
    pub(crate) fn put_patterns(&mut self, ix: ChannelIx, patterns: Vec<PatternIx>) {
        self.channel_mut(ix).patterns = patterns;
    }

    /// Whether a pattern matches a channel.
    pub(crate) fn is_matched(&self, ix: ChannelIx, pattern: PatternIx) -> bool {
        let channel = self.channel(ix);
        match channel.matched_at == self.patterns_changed {
            true => channel.patterns.binary_search(&pattern).is_ok(),
            false => name::matches(&self.pattern(pattern).text, &channel.name),
        }
    }
}

/// The newer of two entries, by place and by seq.
pub(super) fn newer(a: (Order, u64), b: (Order, u64)) -> (Order, u64) {
    (a.0.max(b.0), a.1.max(b.1))
}
