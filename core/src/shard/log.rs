//! What a shard keeps of the past: one arena of publications in arrival order, the logs of channels
//! and patterns as lists of places in it, and the last values of channels that went quiet.
//!
//! Decides what is kept and what is dropped; who reads it, and what a reader is told about what was
//! dropped, is the business of [`super::transmit`].

mod places;
mod saved;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

pub(crate) use self::places::{Log, PATTERN_PLACES_MAX};
use super::catalog::{Catalog, ChannelIx};
use crate::event::{Kind, Publication};
use crate::id::Order;
use crate::mutant::{self, Mutant};

#[derive(Debug)]
struct Slot {
    seq: u64,
    channel: ChannelIx,
    /// `None` where the entry was trimmed by `log_messages`, or is no entry of a log.
    publication: Option<Arc<Publication>>,
}

/// All entries between the Feed's floor and head, and the last values from before the floor.
#[derive(Debug)]
pub(crate) struct Store {
    base: Order,
    slots: VecDeque<Slot>,
    arena_bytes: usize,
    /// Last values whose entry left the arena, by place.
    held: BTreeMap<Order, (ChannelIx, Arc<Publication>)>,
    held_bytes: usize,
    held_bytes_max: usize,
    messages_max: usize,
    /// Last values given up because of `held_bytes_max`.
    pub(crate) values_dropped: u64,
    /// The newest of them, or of the `lost` in their place: its place and its seq. A cursor that
    /// passes over what is superseded may have missed it.
    pub(crate) value_dropped_to: (Order, u64),
}

impl Store {
    pub(crate) fn new(messages_max: usize, held_bytes_max: usize) -> Self {
        Self {
            base: Order(1),
            slots: VecDeque::new(),
            arena_bytes: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            held_bytes_max,
            messages_max,
            values_dropped: 0,
            value_dropped_to: (Order(0), 0),
        }
    }

    /// The place that the next entry gets.
    pub(crate) fn head(&self) -> Order {
        Order(self.base.0 + self.slots.len() as u64)
    }

    /// Bytes of frames kept.
    pub(crate) fn bytes(&self) -> usize {
        self.arena_bytes + self.held_bytes
    }

    /// The entry at a place, in the arena or held apart.
    pub(crate) fn get(&self, order: Order) -> Option<&Arc<Publication>> {
        self.entry(order).map(|(_, publication)| publication)
    }

    /// The entry at a place, with its channel.
    pub(crate) fn entry(&self, order: Order) -> Option<(ChannelIx, &Arc<Publication>)> {
        let in_arena = order
            .0
            .checked_sub(self.base.0)
            .and_then(|index| usize::try_from(index).ok());
        let slot = in_arena.and_then(|index| self.slots.get(index));
        if let Some(Slot {
            channel,
            publication: Some(publication),
            ..
        }) = slot
        {
            return Some((*channel, publication));
        }
        self.held
            .get(&order)
            .map(|(channel, publication)| (*channel, publication))
    }

    /// The first place at or after `order` where an entry may stand: below the floor only held
    /// values do.
    pub(crate) fn next_place(&self, order: Order) -> Order {
        if order >= self.base {
            return order;
        }
        self.held
            .range(order..self.base)
            .next()
            .map_or(self.base, |(place, _)| *place)
    }

    /// The first place whose entry, of whatever channel, has a seq above `seq`.
    pub(crate) fn first_after(&self, seq: u64) -> Order {
        let newer = self
            .held
            .iter()
            .rev()
            .take_while(|(_, (_, publication))| publication.seq > seq);
        let held = newer.last().map(|(place, _)| *place);
        let index = self.slots.partition_point(|slot| slot.seq <= seq);
        let in_arena = Order(self.base.0 + index as u64);
        held.map_or(in_arena, |place| place.min(in_arena))
    }

    /// The first place of a channel whose entry has a seq above `seq`, or the head.
    pub(crate) fn first_of_channel_after(
        &self,
        catalog: &Catalog,
        channel: ChannelIx,
        seq: u64,
    ) -> Order {
        let channel = catalog.channel(channel);
        if let Some(held) = channel.held
            && self
                .get(held)
                .is_some_and(|publication| publication.seq > seq)
        {
            return held;
        }
        let places = &channel.log.places;
        let index = places.partition_point(|place| self.get(*place).is_some_and(|p| p.seq <= seq));
        places.get(index).copied().unwrap_or_else(|| self.head())
    }

    /// Takes a place without an entry of the arena: that of a notice, or of a value held at once.
    pub(crate) fn skip(&mut self, order: Order, seq: u64) {
        self.push(
            order,
            Slot {
                seq,
                channel: ChannelIx::NONE,
                publication: None,
            },
        );
        // While nothing else stands in the arena its floor follows its head: a hundred thousand
        // snapshot values need no places there.
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.publication.is_none())
        {
            self.slots.pop_front();
            self.base = self.base.next();
        }
    }

    fn push(&mut self, order: Order, slot: Slot) {
        if self.slots.is_empty() {
            self.base = order;
        }
        assert!(order == self.head(), "the Feed numbers places without gaps");
        self.slots.push_back(slot);
    }

    /// Appends an entry to its channel's log and to those of the patterns that match it.
    pub(crate) fn append(
        &mut self,
        catalog: &mut Catalog,
        ix: ChannelIx,
        publication: &Arc<Publication>,
    ) {
        let order = publication.order;
        if publication.kind == Kind::Snapshot {
            self.release_held(catalog, ix);
            self.skip(order, publication.seq);
            catalog.note_last(ix, publication);
            // What came before the snapshot is unknown, so it counts as dropped; the places do not,
            // because no cursor of this number line can stand there.
            if !mutant::is(Mutant::SnapshotHidesPast) {
                let seq = publication.seq.saturating_sub(1);
                catalog.channel_mut(ix).log.dropped_seq = seq;
                catalog.note_dropped(Order(0), seq);
            }
            self.hold(catalog, ix, publication.clone());
        } else {
            let slot = Slot {
                seq: publication.seq,
                channel: ix,
                publication: Some(publication.clone()),
            };
            self.push(order, slot);
            self.arena_bytes += publication.frame.len();
            catalog.note_last(ix, publication);
            let log = &mut catalog.channel_mut(ix).log;
            log.places.push_back(order);
            if publication.prev.is_none() {
                // The notice of a value that is too large, and nobody knows what came before it.
                let seq = publication.seq.saturating_sub(1);
                log.dropped_seq = log.dropped_seq.max(seq);
                catalog.note_dropped(Order(0), seq);
            }
            if catalog.channel(ix).log.places.len() > self.messages_max {
                self.trim_oldest(catalog, ix);
            }
        }
        let patterns = catalog.take_patterns(ix);
        for pattern in &patterns {
            let pattern = catalog.pattern_mut(*pattern);
            if publication.prev.is_none() {
                let unknown = publication.seq.saturating_sub(1);
                pattern.log.dropped_seq = pattern.log.dropped_seq.max(unknown);
            }
            pattern.push(order);
        }
        catalog.put_patterns(ix, patterns);
    }

    /// Drops the oldest entry of a channel that holds more than `log_messages`.
    fn trim_oldest(&mut self, catalog: &mut Catalog, ix: ChannelIx) {
        let Some(order) = catalog.channel_mut(ix).log.places.pop_front() else {
            return;
        };
        let index = usize::try_from(order.0 - self.base.0).unwrap_or(usize::MAX);
        if let Some(publication) = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.publication.take())
        {
            self.arena_bytes -= publication.frame.len();
            self.release_held(catalog, ix);
            note_dropped(catalog, ix, order, publication.seq);
        }
    }

    /// Evicts every entry before `floor`. The last value of a channel is held apart.
    pub(crate) fn evict(&mut self, catalog: &mut Catalog, floor: Order) {
        while self.base < floor {
            let Some(slot) = self.slots.pop_front() else {
                break;
            };
            let order = self.base;
            self.base = self.base.next();
            let Some(publication) = slot.publication else {
                continue;
            };
            if !mutant::is(Mutant::BytesLeak) {
                self.arena_bytes -= publication.frame.len();
            }
            let channel = catalog.channel_mut(slot.channel);
            let oldest = channel.log.places.pop_front();
            assert!(
                oldest == Some(order),
                "a channel's log lists its entries of the arena"
            );
            let is_last = channel.last == order;
            // An older value was kept until now for those whose snapshot it is; what superseded it
            // leaves the arena, so it goes as well.
            self.release_held(catalog, slot.channel);
            if is_last && !mutant::is(Mutant::HeldValueDropped) {
                self.hold(catalog, slot.channel, publication);
            } else {
                if catalog.channel(slot.channel).newest().is_none() {
                    // A `lost` that stood in place of the newest value.
                    let gone = (order, publication.seq);
                    self.value_dropped_to = self.value_dropped_to.max(gone);
                }
                note_dropped(catalog, slot.channel, order, publication.seq);
            }
        }
        if self.slots.is_empty() {
            self.base = self.base.max(floor);
        }
    }

    fn hold(&mut self, catalog: &mut Catalog, ix: ChannelIx, publication: Arc<Publication>) {
        self.held_bytes += publication.frame.len();
        catalog.channel_mut(ix).held = Some(publication.order);
        self.held.insert(publication.order, (ix, publication));
        while self.held_bytes > self.held_bytes_max {
            let Some((place, (oldest, publication))) = self.held.first_key_value() else {
                break;
            };
            let (oldest, dropped) = (*oldest, (*place, publication.seq));
            if catalog.channel(oldest).newest() == Some(*place) {
                self.value_dropped_to = self.value_dropped_to.max(dropped);
                self.values_dropped += 1;
            }
            self.release_held(catalog, oldest);
        }
    }

    /// Drops the held value of a channel, if it has one.
    fn release_held(&mut self, catalog: &mut Catalog, ix: ChannelIx) {
        let channel = catalog.channel_mut(ix);
        let Some(order) = channel.held.take() else {
            return;
        };
        if channel.last == order {
            channel.last = Order(0);
        }
        if let Some((_, publication)) = self.held.remove(&order) {
            self.held_bytes -= publication.frame.len();
            note_dropped(catalog, ix, order, publication.seq);
        }
    }

    /// Forgets everything: the number line begins anew after `order`.
    pub(crate) fn clear(&mut self, catalog: &mut Catalog, order: Order) {
        self.slots.clear();
        self.held.clear();
        self.arena_bytes = 0;
        self.held_bytes = 0;
        self.base = order.next();
        self.value_dropped_to = (Order(0), 0);
        catalog.forget_dropped();
        for channel in catalog.channels_mut() {
            channel.log.clear();
            channel.held = None;
            channel.last = Order(0);
            channel.last_seq = 0;
            channel.first_seen = 0;
        }
        for pattern in catalog.patterns_mut() {
            pattern.log.clear();
            pattern.complete_from = order.next();
        }
    }
}

fn note_dropped(catalog: &mut Catalog, ix: ChannelIx, order: Order, seq: u64) {
    catalog.channel_mut(ix).log.note_dropped(order, seq);
    catalog.note_dropped(order, seq);
    let patterns = catalog.take_patterns(ix);
    for pattern in &patterns {
        catalog.pattern_mut(*pattern).log.note_dropped(order, seq);
    }
    catalog.put_patterns(ix, patterns);
}

#[cfg(feature = "verify")]
impl Store {
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Recomputes the bytes, and compares the arena with the logs of the channels.
    pub(crate) fn verify(&self, catalog: &Catalog) -> Result<(), alloc::string::String> {
        use super::verify::same;
        let mut bytes = 0;
        let mut listed: BTreeMap<ChannelIx, VecDeque<Order>> = BTreeMap::new();
        for (at, slot) in self.slots.iter().enumerate() {
            if let Some(publication) = &slot.publication {
                let place = Order(self.base.0 + at as u64);
                same("the place of an entry", publication.order.0, place.0)?;
                bytes += publication.frame.len();
                listed.entry(slot.channel).or_default().push_back(place);
            }
        }
        same("bytes of the arena", self.arena_bytes as u64, bytes as u64)?;
        let held = self
            .held
            .values()
            .map(|(_, p)| p.frame.len())
            .sum::<usize>();
        same("bytes of last values", self.held_bytes as u64, held as u64)?;
        if self.held_bytes > self.held_bytes_max {
            return Err("more bytes of last values than allowed".into());
        }
        let mut values = 0;
        for (ix, channel) in catalog.channels() {
            let places = listed.remove(&ix).unwrap_or_default();
            if channel.log.places != places {
                return Err(alloc::format!(
                    "the log of {} lists {:?}, the arena has {places:?}",
                    channel.name,
                    channel.log.places
                ));
            }
            if places.len() > self.messages_max {
                return Err(alloc::format!("{} has too many entries", channel.name));
            }
            if let Some(held) = channel.held {
                values += 1;
                let found = self.held.get(&held).map(|(channel, _)| *channel);
                if found != Some(ix) {
                    return Err(alloc::format!(
                        "{} holds no value at {held:?}",
                        channel.name
                    ));
                }
            }
        }
        same("last values", self.held.len() as u64, values)?;
        match listed.is_empty() {
            true => Ok(()),
            false => Err("entries of no channel".into()),
        }
    }
}
