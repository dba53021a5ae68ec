//! One subscription: a cursor into the log of a channel or a pattern.
//!
//! There is one of these for every subscription of every client, so it is kept small, and it lives
//! in two intrusive lists (all of its connection, those of its connection that have data) instead of
//! containers of their own.

use super::Shard;
use super::catalog::{ChannelIx, PatternIx};
use super::log::Log;
use super::session::Session;
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;
use crate::wire::request::{Mode, OnLost};

/// A subscription of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SubIx(pub(crate) u32);

impl SubIx {
    /// No subscription: the end of a list.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// What a subscription reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Topic {
    Channel(ChannelIx),
    Pattern(PatternIx),
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) topic: Topic,
    /// The connection's index.
    pub(crate) conn: u32,
    /// Every entry before this place was sent, or is not for this subscription. Of a cold one that owes a `lost` the
    /// last seq of it.
    pub(crate) next: Order,
    /// Every seq up to this one was sent, or is not for this subscription.
    pub(crate) seq: u64,
    /// The head of the log when it began: what is older is no live delivery.
    pub(crate) since: Order,
    /// The next subscription of the same connection.
    pub(crate) sibling: SubIx,
    /// The next subscription of the same connection that has data; the list is circular.
    pub(crate) pending_next: SubIx,
    /// Where it stands in its log's list of those that wait.
    pub(crate) waiting_at: u32,
    pub(crate) mode: Mode,
    pub(crate) on_lost: OnLost,
    /// In its connection's list of those that have data; else it waits.
    pub(crate) pending: bool,
    /// Of a pattern: of the entries before `since` only each channel's newest is sent.
    pub(crate) snapshot: bool,
    /// It reads pages of history: the log does not reach back to where it stands.
    pub(crate) cold: bool,
    /// It waits for a page of history, and is in no other list.
    pub(crate) parked: bool,
    /// A `lost` notice up to the oldest entry that can be had comes before anything else.
    pub(crate) owes_lost: bool,
}

impl Shard {
    /// The subscriptions of a connection, newest first.
    pub(super) fn subscriptions_of(&self, index: u32) -> impl Iterator<Item = SubIx> {
        let session = self.slots[index as usize].session.as_ref();
        let first = session.and_then(|session| session.subscriptions.some());
        core::iter::successors(first, |sub| self.subs[sub.0].sibling.some())
    }

    pub(super) fn topic_name(&self, topic: Topic) -> &str {
        match topic {
            Topic::Channel(ix) => &self.catalog.channel(ix).name,
            Topic::Pattern(ix) => &self.catalog.pattern(ix).text,
        }
    }

    pub(super) fn find_subscription(&self, index: u32, name: &str) -> Option<SubIx> {
        self.subscriptions_of(index)
            .find(|sub| self.topic_name(self.subs[sub.0].topic) == name)
    }

    pub(super) fn log(&self, topic: Topic) -> &Log {
        match topic {
            Topic::Channel(ix) => &self.catalog.channel(ix).log,
            Topic::Pattern(ix) => &self.catalog.pattern(ix).log,
        }
    }

    fn log_mut(&mut self, topic: Topic) -> &mut Log {
        match topic {
            Topic::Channel(ix) => &mut self.catalog.channel_mut(ix).log,
            Topic::Pattern(ix) => &mut self.catalog.pattern_mut(ix).log,
        }
    }

    /// Puts a subscription that is in neither list where it belongs: with those of its connection
    /// that have data, or with those of its log that wait.
    pub(super) fn place(&mut self, ix: SubIx) {
        if self.subs[ix.0].cold && !self.place_cold(ix) {
            return;
        }
        let sub = &self.subs[ix.0];
        if self.has_data(sub) {
            self.pend(ix);
        } else {
            let topic = sub.topic;
            let log = self.log_mut(topic);
            log.waiting.push(ix);
            let at = u32::try_from(log.waiting.len() - 1).unwrap_or(u32::MAX);
            self.subs[ix.0].waiting_at = at;
        }
    }

    /// Appends a subscription that waits in no list to its connection's list of those with data.
    pub(super) fn pend(&mut self, ix: SubIx) {
        let conn = self.subs[ix.0].conn;
        let tail = self.at(conn).pending_tail;
        let head = match tail.some() {
            Some(tail) => core::mem::replace(&mut self.subs[tail.0].pending_next, ix),
            None => ix,
        };
        let sub = &mut self.subs[ix.0];
        sub.pending = true;
        sub.pending_next = head;
        let session = self.at(conn);
        session.pending_tail = ix;
        if !session.gated() {
            self.rouse(conn);
        }
    }

    /// The subscription that is next in its connection's turn.
    pub(super) fn pending_head(&self, session: &Session) -> Option<SubIx> {
        Some(self.subs[session.pending_tail.some()?.0].pending_next)
    }

    /// Takes the subscription that is next in its connection's turn off the list.
    pub(super) fn pop_pending(&mut self, index: u32) -> Option<SubIx> {
        let tail = self.at(index).pending_tail.some()?;
        let head = self.subs[tail.0].pending_next;
        if head == tail {
            self.at(index).pending_tail = SubIx::NONE;
        } else {
            self.subs[tail.0].pending_next = self.subs[head.0].pending_next;
        }
        self.subs[head.0].pending = false;
        Some(head)
    }

    /// Everyone who waits for a log has data now.
    pub(super) fn wake(&mut self, topic: Topic) {
        // The list is emptied in place and given back, so that its room is used again.
        let mut waiting = core::mem::take(&mut self.log_mut(topic).waiting);
        if mutant::is(Mutant::WakeMissed) && waiting.len() > 1 {
            waiting.pop();
        }
        for ix in waiting.drain(..) {
            self.pend(ix);
        }
        self.log_mut(topic).waiting = waiting;
    }

    /// Ends a subscription: takes it out of every list.
    pub(super) fn remove_subscription(&mut self, ix: SubIx, now: Instant) {
        let Subscription {
            conn,
            topic,
            pending,
            sibling,
            ..
        } = self.subs[ix.0];
        if pending {
            self.unlink_pending(conn, ix);
        } else if !self.leave_parked(ix) {
            self.leave_waiting(ix);
        }
        if self.at(conn).subscriptions == ix {
            self.at(conn).subscriptions = sibling;
        } else {
            let before = self
                .subscriptions_of(conn)
                .find(|other| self.subs[other.0].sibling == ix);
            if let Some(before) = before {
                self.subs[before.0].sibling = sibling;
            }
        }
        self.subs.remove(ix.0);
        let session = self.at(conn);
        session.subscription_count -= 1;
        match topic {
            Topic::Channel(_) if mutant::is(Mutant::IndexLeak) => {}
            Topic::Channel(ix) => self.catalog.release_channel(ix),
            Topic::Pattern(ix) => {
                session.pattern_count -= 1;
                self.catalog.release_pattern(ix, now);
            }
        }
    }

    /// Takes a subscription off its log's list of those that wait.
    pub(super) fn leave_waiting(&mut self, ix: SubIx) {
        let Subscription {
            topic, waiting_at, ..
        } = self.subs[ix.0];
        let log = self.log_mut(topic);
        log.waiting.swap_remove(waiting_at as usize);
        if let Some(moved) = log.waiting.get(waiting_at as usize).copied()
            && !mutant::is(Mutant::WaitingPlaceStale)
        {
            self.subs[moved.0].waiting_at = waiting_at;
        }
    }

    pub(super) fn unlink_pending(&mut self, conn: u32, ix: SubIx) {
        let tail = self.at(conn).pending_tail;
        let mut before = tail;
        while self.subs[before.0].pending_next != ix {
            before = self.subs[before.0].pending_next;
        }
        if before == ix {
            self.at(conn).pending_tail = SubIx::NONE;
        } else {
            self.subs[before.0].pending_next = self.subs[ix.0].pending_next;
            if tail == ix {
                self.at(conn).pending_tail = before;
            }
        }
    }
}

coded!(Subscription {
    topic,
    conn,
    next,
    seq,
    since,
    sibling,
    pending_next,
    waiting_at,
    mode,
    on_lost,
    pending,
    snapshot,
    cold,
    parked,
    owes_lost
});

coded!(SubIx(1));

impl Code for Topic {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Channel(ix) => (0_u8, *ix).put(out),
            Self::Pattern(ix) => {
                1_u8.put(out);
                ix.put(out);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        match from.byte()? {
            0 => Ok(Self::Channel(Code::get(from)?)),
            1 => Ok(Self::Pattern(Code::get(from)?)),
            _ => Err(Broken("a topic is of no known kind")),
        }
    }
}
