//! Names: which channels and patterns a shard knows, and which pattern matches which channel.
//!
//! A channel comes into being with its first publication or its first subscriber; one that only a
//! subscriber named goes when the last subscriber goes, so that guessing names costs nothing that
//! stays. A pattern lingers for a while after its last subscriber.

mod matching;
mod saved;
mod tree;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use self::tree::Node;
use super::log::{Log, PATTERN_PLACES_MAX};
use super::slab::Slab;
use crate::event::{Kind, Publication};
use crate::id::{ChannelId, Order};
use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// How long a pattern without subscribers is kept, for those who come back.
pub(crate) const PATTERN_LINGER: Duration = Duration::from_secs(60);

/// A channel of this shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ChannelIx(u32);

impl ChannelIx {
    /// No channel.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// A pattern of this shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PatternIx(u32);

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: Arc<str>,
    pub(crate) log: Log,
    /// The place of the last value where it is held apart from the arena.
    pub(crate) held: Option<Order>,
    /// The place of the last value; 0: there is none.
    pub(crate) last: Order,
    /// The seq of the newest entry, a `lost` included: what the next message's `prev` will be.
    pub(crate) last_seq: u64,
    /// The seq of the value with which this number line began here; 0: none.
    pub(crate) first_seen: u64,
    /// The patterns that match, ascending, as of `matched_at`. Found when the channel has a publication, so that neither
    /// a new pattern nor a name that is only subscribed costs anything here.
    patterns: Vec<PatternIx>,
    /// The [`Catalog::patterns_changed`] of then; 0: never.
    matched_at: u64,
    pub(crate) subscribers: u32,
    /// Whether the Feed has numbered this channel; else only subscribers know it.
    published: bool,
}

impl Channel {
    /// Whether the Feed has numbered this channel; else it goes with its last subscriber.
    pub(crate) fn is_published(&self) -> bool {
        self.published
    }

    /// The place of the newest entry that can be had.
    pub(crate) fn newest(&self) -> Option<Order> {
        self.log.places.back().copied().or(self.held)
    }
}

#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Arc<str>,
    pub(crate) log: Log,
    /// The log lists every matching entry from this place on.
    pub(crate) complete_from: Order,
    pub(crate) subscribers: u32,
    idle_until: Option<Instant>,
}

impl Pattern {
    /// Appends a place and keeps the list short.
    pub(crate) fn push(&mut self, order: Order) {
        let places = &mut self.log.places;
        places.push_back(order);
        if places.len() > PATTERN_PLACES_MAX
            && let Some(oldest) = places.pop_front()
        {
            self.complete_from = oldest.next();
        }
    }
}

/// All names of a shard.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    channels: Slab<Channel>,
    names: BTreeMap<Arc<str>, ChannelIx>,
    /// By the Feed's number.
    by_feed: Vec<ChannelIx>,
    /// Channels that only subscribers named.
    unpublished: u32,
    patterns: Slab<Pattern>,
    pattern_names: BTreeMap<Arc<str>, PatternIx>,
    tree: Node,
    /// One more for each pattern that came or went.
    patterns_changed: u64,
    /// Patterns without subscribers, by when they go.
    idle: BTreeSet<(Instant, PatternIx)>,
    /// The newest entry that any log dropped: its place and its seq, each the highest.
    dropped: (Order, u64),
}

impl Catalog {
    pub(crate) fn channel(&self, ix: ChannelIx) -> &Channel {
        &self.channels[ix.0]
    }

    pub(crate) fn channel_mut(&mut self, ix: ChannelIx) -> &mut Channel {
        &mut self.channels[ix.0]
    }

    pub(crate) fn channels_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.channels.iter_mut()
    }

    pub(crate) fn pattern(&self, ix: PatternIx) -> &Pattern {
        &self.patterns[ix.0]
    }

    pub(crate) fn pattern_mut(&mut self, ix: PatternIx) -> &mut Pattern {
        &mut self.patterns[ix.0]
    }

    pub(crate) fn patterns_mut(&mut self) -> impl Iterator<Item = &mut Pattern> {
        self.patterns.iter_mut()
    }

    pub(crate) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    pub(crate) fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    /// Patterns that have subscribers.
    pub(crate) fn active_pattern_count(&self) -> usize {
        self.patterns.len() - self.idle.len()
    }

    pub(crate) fn is_active_pattern(&self, text: &str) -> bool {
        self.find_pattern(text)
            .is_some_and(|ix| self.pattern(ix).subscribers > 0)
    }

    /// Channels that exist only because of subscribers.
    pub(crate) fn unpublished_count(&self) -> u32 {
        self.unpublished
    }

    pub(crate) fn find_channel(&self, name: &str) -> Option<ChannelIx> {
        self.names.get(name).copied()
    }

    pub(crate) fn find_pattern(&self, text: &str) -> Option<PatternIx> {
        self.pattern_names.get(text).copied()
    }

    /// The channel of a publication; new ones come into being.
    pub(crate) fn channel_of(&mut self, publication: &Publication) -> ChannelIx {
        let ChannelId(id) = publication.channel;
        let index = id as usize;
        if let Some(ix) = self.by_feed.get(index)
            && *ix != ChannelIx::NONE
        {
            return *ix;
        }
        let ix = self.channel_named(&publication.name);
        let channel = self.channel_mut(ix);
        if !channel.published {
            channel.published = true;
            self.unpublished -= 1;
        }
        if self.by_feed.len() <= index {
            self.by_feed.resize(index + 1, ChannelIx::NONE);
        }
        self.by_feed[index] = ix;
        ix
    }

    /// The channel of a name; a new one comes into being.
    pub(crate) fn channel_named(&mut self, name: &str) -> ChannelIx {
        if let Some(ix) = self.find_channel(name) {
            return ix;
        }
        let name: Arc<str> = name.into();
        let ix = ChannelIx(self.channels.insert(Channel {
            name: name.clone(),
            log: Log::default(),
            held: None,
            last: Order(0),
            last_seq: 0,
            first_seen: 0,
            patterns: Vec::new(),
            matched_at: 0,
            subscribers: 0,
            published: false,
        }));
        self.names.insert(name, ix);
        self.unpublished += 1;
        ix
    }

    /// The pattern of a text; a new one comes into being, with an empty log that starts at `head`.
    pub(crate) fn pattern_named(&mut self, text: &str, head: Order) -> PatternIx {
        if let Some(ix) = self.find_pattern(text) {
            return ix;
        }
        let text: Arc<str> = text.into();
        let ix = PatternIx(self.patterns.insert(Pattern {
            text: text.clone(),
            log: Log::default(),
            complete_from: match mutant::is(Mutant::PatternLogOffByOne) {
                true => Order(head.0 - 1),
                false => head,
            },
            subscribers: 0,
            idle_until: None,
        }));
        self.pattern_names.insert(text.clone(), ix);
        self.tree.set(&text, Some(ix));
        self.patterns_changed += 1;
        let dropped = self.dropped_of(&text);
        let log = &mut self.pattern_mut(ix).log;
        (log.dropped_to, log.dropped_seq) = dropped;
        ix
    }

    /// What a new entry changes about its channel, beside the log.
    pub(crate) fn note_last(&mut self, ix: ChannelIx, publication: &Publication) {
        let channel = self.channel_mut(ix);
        channel.last_seq = publication.seq;
        match publication.kind {
            Kind::Message => channel.last = publication.order,
            Kind::Snapshot => {
                channel.last = publication.order;
                channel.first_seen = publication.seq;
            }
            // The newest value is missing, so there is none to show.
            Kind::Lost(_) => channel.last = Order(0),
        }
    }

    /// A subscriber of a channel went.
    pub(crate) fn release_channel(&mut self, ix: ChannelIx) {
        let channel = self.channel_mut(ix);
        channel.subscribers -= 1;
        if channel.subscribers == 0 && !channel.published {
            let channel = self.channels.remove(ix.0);
            self.names.remove(&channel.name);
            self.unpublished -= 1;
        }
    }

    /// A pattern got a subscriber.
    pub(crate) fn retain_pattern(&mut self, ix: PatternIx) {
        let pattern = self.pattern_mut(ix);
        pattern.subscribers += 1;
        if let Some(until) = pattern.idle_until.take() {
            self.idle.remove(&(until, ix));
        }
    }

    /// A subscriber of a pattern went.
    pub(crate) fn release_pattern(&mut self, ix: PatternIx, now: Instant) {
        let pattern = self.pattern_mut(ix);
        pattern.subscribers -= 1;
        if pattern.subscribers == 0 {
            let until = now + PATTERN_LINGER;
            pattern.idle_until = Some(until);
            self.idle.insert((until, ix));
        }
    }

    /// When the next idle pattern goes.
    pub(crate) fn next_idle(&self) -> Option<Instant> {
        self.idle.first().map(|(until, _)| *until)
    }

    /// Drops the patterns that were idle for long enough.
    pub(crate) fn drop_idle(&mut self, now: Instant) {
        while let Some((until, ix)) = self.idle.first().copied()
            && until <= now
        {
            self.idle.remove(&(until, ix));
            self.drop_pattern(ix);
        }
    }

    /// Drops the pattern that is idle for the longest time, to make room; `false`: none is idle.
    pub(crate) fn drop_one_idle(&mut self) -> bool {
        let Some((_, ix)) = self.idle.pop_first() else {
            return false;
        };
        self.drop_pattern(ix);
        true
    }

    fn drop_pattern(&mut self, ix: PatternIx) {
        let pattern = self.patterns.remove(ix.0);
        self.pattern_names.remove(&pattern.text);
        self.tree.set(&pattern.text, None);
        self.patterns_changed += 1;
    }
}

#[cfg(feature = "verify")]
impl Catalog {
    pub(crate) fn channels(&self) -> impl Iterator<Item = (ChannelIx, &Channel)> {
        let channels = self.channels.iter();
        channels.map(|(index, channel)| (ChannelIx(index), channel))
    }

    /// How many subscribers each channel and pattern says it has.
    #[allow(clippy::type_complexity, reason = "two lists of the same form")]
    pub(crate) fn subscriber_counts(&self) -> (Vec<(ChannelIx, i64)>, Vec<(PatternIx, i64)>) {
        let channels = self.channels.iter();
        let patterns = self.patterns.iter();
        (
            channels
                .map(|(index, channel)| (ChannelIx(index), i64::from(channel.subscribers)))
                .collect(),
            patterns
                .map(|(index, pattern)| (PatternIx(index), i64::from(pattern.subscribers)))
                .collect(),
        )
    }

    /// Subscriptions in the lists of those that wait.
    pub(crate) fn waiting_count(&self) -> usize {
        let channels = self.channels.iter().map(|(_, c)| c.log.waiting.len());
        let patterns = self.patterns.iter().map(|(_, p)| p.log.waiting.len());
        channels.chain(patterns).sum()
    }
}
