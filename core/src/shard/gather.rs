//! One subscription's turn: the entries that it reads next, or the hole that it stands before.

use alloc::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::catalog::{ChannelIx, PatternIx};
use super::subscription::{SubIx, Subscription, Topic};
use super::transmit::{Piece, Taken, Until, Visit};
use crate::event::Publication;
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::reason::LostReason;
use crate::wire::event;
use crate::wire::request::{Mode, OnLost};

/// How many places of the arena one turn looks at, so that a pattern that matches little of much
/// does not hold up others.
const SCAN_MAX: usize = 1_024;

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Gathered {
    /// Everything below the limit is gathered.
    All(Visit),
    /// There is more, for the next turn.
    Part(Visit),
    /// The transmit is full: the turn has not begun.
    NoRoom,
    /// Entries before the next one are gone.
    Hole,
}

/// A turn under way.
struct Turn<'a> {
    taken: &'a mut Taken,
    ix: SubIx,
    room: usize,
    advance: Order,
    /// Messages passed over since the last entry that was gathered.
    conflated: u64,
}

impl Turn<'_> {
    /// Gathers an entry; `false`: there is no room for it.
    fn push(&mut self, place: Order, publication: &Publication) -> bool {
        let len = publication.frame.len();
        if self.room == 0 || !self.taken.fits(len) {
            return false;
        }
        self.room -= 1;
        let conflated = core::mem::take(&mut self.conflated);
        self.taken.push(Piece::Data(self.ix, place, conflated), len);
        self.advance = place.next();
        true
    }

    fn visit(&self) -> Visit {
        Visit {
            sub: self.ix,
            advance: self.advance,
            seq: 0,
            conflated: self.conflated,
        }
    }
}

impl Shard {
    /// Gathers what a subscription reads before `until`, at most `share` entries.
    pub(super) fn gather_subscription(
        &self,
        ix: SubIx,
        until: Until,
        share: usize,
        taken: &mut Taken,
    ) -> Gathered {
        let sub = &self.subs[ix.0];
        if sub.cold {
            return self.gather_cold(ix, until.seq, share, taken);
        }
        let limit = until.place;
        if self.stands_before_hole(sub) {
            return Gathered::Hole;
        }
        if !taken.fits(1) {
            return Gathered::NoRoom;
        }
        let turn = Turn {
            taken,
            ix,
            room: share,
            // What is gone and was not for this subscription is passed over.
            advance: sub.next.max(self.gone_before(sub).0.next()),
            conflated: 0,
        };
        match (sub.topic, sub.mode) {
            (Topic::Channel(channel), Mode::Lossless) => {
                self.gather_channel(sub, channel, limit, turn)
            }
            (Topic::Channel(channel), Mode::Latest) => {
                self.gather_newest(sub, channel, limit, turn)
            }
            (Topic::Pattern(pattern), mode) => {
                let log = &self.catalog.pattern(pattern);
                if mode == Mode::Latest || turn.advance < log.complete_from || is_in_snapshot(sub) {
                    self.gather_scan(sub, pattern, limit, turn)
                } else {
                    let from = log.log.index_from(turn.advance);
                    self.gather_places(sub, log.log.places.range(from..), limit, turn)
                }
            }
        }
    }

    /// The newest entry of a subscription's topic that cannot be had any more and that it would have
    /// been sent, had it not read it: its place and its seq.
    fn gone_before(&self, sub: &Subscription) -> (Order, u64) {
        let log = self.log(sub.topic);
        let gone = (log.dropped_to, log.dropped_seq);
        match (sub.topic, sub.mode) {
            (Topic::Channel(ix), Mode::Latest)
                if self.catalog.channel(ix).newest() >= Some(sub.next) =>
            {
                (Order(0), 0)
            }
            (Topic::Pattern(_), Mode::Latest) => {
                let (place, seq) = self.store.value_dropped_to;
                (gone.0.min(place), gone.1.min(seq))
            }
            (Topic::Pattern(_), Mode::Lossless) if is_in_snapshot(sub) => (Order(0), 0),
            _ => gone,
        }
    }

    /// Whether entries that a subscription has not read are gone, and it has to know.
    pub(super) fn stands_before_hole(&self, sub: &Subscription) -> bool {
        let (place, seq) = self.gone_before(sub);
        sub.owes_lost || sub.next <= place && seq > sub.seq
    }

    /// Moves a cursor over the hole that it stands before, and gives the notice; `None`: this
    /// subscription would rather be closed.
    pub(super) fn announce_hole(&mut self, ix: SubIx) -> Option<Bytes> {
        let sub = &self.subs[ix.0];
        if sub.cold {
            return self.announce_history_hole(ix);
        }
        let asked_to_close = sub.on_lost == OnLost::Close && sub.mode == Mode::Lossless;
        if asked_to_close && !sub.owes_lost {
            return None;
        }
        let (place, mut to) = self.gone_before(sub);
        let mut next = place.next();
        let mut reason = LostReason::SlowConsumer;
        let from = sub.seq + 1;
        if sub.owes_lost {
            to = self.kept_after(self.log(sub.topic).dropped_seq).max(from);
            next = match sub.topic {
                Topic::Channel(ix) => self.store.first_of_channel_after(&self.catalog, ix, to),
                Topic::Pattern(_) => self.store.first_after(to),
            };
            reason = LostReason::Discarded;
        }
        if mutant::is(Mutant::LostRangeShort) && to > from {
            to -= 1;
        }
        let name = self.topic_name(sub.topic);
        let frame = event::lost(Some(name), from, Some(to), reason);
        let sub = &mut self.subs[ix.0];
        // A subscription that owes a notice has not read anything: what is kept lies behind it.
        sub.next = if core::mem::take(&mut sub.owes_lost) {
            next
        } else {
            next.max(sub.next)
        };
        sub.seq = to;
        self.stats.lost[reason as usize] += to - from + 1;
        Some(frame)
    }

    fn entry_at(&self, place: Order) -> &Arc<Publication> {
        match self.store.get(place) {
            Some(publication) => publication,
            None => unreachable!("every entry after the newest dropped one can be had"),
        }
    }

    fn gather_channel(
        &self,
        sub: &Subscription,
        ix: ChannelIx,
        limit: Order,
        turn: Turn<'_>,
    ) -> Gathered {
        let channel = self.catalog.channel(ix);
        let held = channel.held.as_ref().filter(|held| **held >= turn.advance);
        let from = channel.log.index_from(turn.advance);
        let places = channel.log.places.range(from..);
        self.gather_places(sub, held.into_iter().chain(places), limit, turn)
    }

    /// Gathers the entries at these places, in order.
    fn gather_places<'a>(
        &self,
        sub: &Subscription,
        places: impl Iterator<Item = &'a Order>,
        limit: Order,
        mut turn: Turn<'_>,
    ) -> Gathered {
        for place in places.copied() {
            if place >= limit {
                break;
            }
            let publication = self.entry_at(place);
            if publication.seq <= sub.seq && !mutant::is(Mutant::AheadNotPassedOver) {
                turn.advance = place.next();
            } else if !turn.push(place, publication) {
                return Gathered::Part(turn.visit());
            }
        }
        Gathered::All(turn.visit())
    }

    /// Gathers the newest entry of a channel, if the cursor is not past it.
    fn gather_newest(
        &self,
        sub: &Subscription,
        ix: ChannelIx,
        limit: Order,
        mut turn: Turn<'_>,
    ) -> Gathered {
        let channel = self.catalog.channel(ix);
        let Some(newest) = channel
            .newest()
            .filter(|newest| *newest >= sub.next && *newest < limit)
        else {
            return Gathered::All(turn.visit());
        };
        let waiting = channel.log.places.len() - channel.log.index_from(sub.next);
        let skips = mutant::is(Mutant::ConflationDropsNewest) && waiting > 1;
        if self.entry_at(newest).seq <= sub.seq || skips {
            turn.advance = newest.next();
            return Gathered::All(turn.visit());
        }
        let unread = channel.log.places.len() - channel.log.index_from(sub.next);
        turn.conflated = unread.saturating_sub(1) as u64;
        if turn.push(newest, self.entry_at(newest)) {
            Gathered::All(turn.visit())
        } else {
            // Nothing was passed over: the next turn begins where this one did.
            turn.conflated = 0;
            Gathered::Part(turn.visit())
        }
    }

    /// Gathers what a pattern matches by looking at every place: for cursors before the start of the
    /// pattern's own log, and where only each channel's newest entry counts.
    fn gather_scan(
        &self,
        sub: &Subscription,
        ix: PatternIx,
        limit: Order,
        mut turn: Turn<'_>,
    ) -> Gathered {
        let in_snapshot = is_in_snapshot(sub);
        let newest_only = in_snapshot || sub.mode == Mode::Latest;
        // A snapshot ends at a place of its own: what was dropped after it is a hole.
        let end = if in_snapshot {
            let since = match mutant::is(Mutant::SnapshotEndsEarly) {
                true => Order(sub.since.0 - 1).max(sub.next),
                false => sub.since,
            };
            since.min(self.store.head())
        } else {
            self.store.head()
        };
        let mut place = self.store.next_place(turn.advance);
        for _ in 0..SCAN_MAX {
            if place >= end.min(limit) {
                turn.advance = place.min(end).max(turn.advance);
                return if end <= limit && in_snapshot {
                    turn.advance = end.max(turn.advance);
                    Gathered::Part(turn.visit())
                } else {
                    Gathered::All(turn.visit())
                };
            }
            if let Some((channel, publication)) = self.store.entry(place)
                && self.catalog.is_matched(channel, ix)
                && publication.seq > sub.seq
            {
                if newest_only && self.catalog.channel(channel).newest() != Some(place) {
                    turn.conflated += u64::from(!in_snapshot);
                } else if !turn.push(place, publication) {
                    return Gathered::Part(turn.visit());
                }
            }
            turn.advance = place.next();
            place = self.store.next_place(place.next());
        }
        Gathered::Part(turn.visit())
    }
}

/// Whether a cursor is still in the snapshot with which its subscription began.
fn is_in_snapshot(sub: &Subscription) -> bool {
    sub.snapshot && sub.next < sub.since
}
