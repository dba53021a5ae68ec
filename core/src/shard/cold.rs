//! Reading from history: cold cursors.
//!
//! A subscription or replay that stands where the log does not reach back to reads pages of history until it stands
//! where the log has all that follows. It owns no page: it is looked up by where the cursor stands, and while there
//! is none the cursor is parked. A page must prove where the cursor stands; one that shows a hole is met like a hole in the
//! log. What is asked for, and what is kept, is the business of [`super::archive`]; which positions a client may resume
//! from, of [`super::proof`].

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::archive::{Place, Waiter};
use super::gather::Gathered;
use super::proof::proof;
use super::subscription::{SubIx, Topic};
use super::transmit::{Piece, Taken, Visit};
use super::{Output, Shard};
use crate::history::{Entry, Page, Proof};
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::reason::{CloseReason, LostReason};
use crate::time::Instant;
use crate::wire::event;
use crate::wire::request::{Mode, OnLost, Position};

/// What history has for a cursor.
pub(super) enum Look {
    /// Messages.
    Entries(Arc<Page>),
    /// No message up to this seq.
    Nothing(u64),
    /// Messages after the cursor may be gone.
    Hole(Arc<Page>),
    /// It is not known here. `own`: a page of all channels does not tell.
    Unknown { own: bool },
}

/// What a page has of a topic after a seq.
fn entries_of<'a>(
    page: &'a Page,
    topic: Topic,
    name: &'a str,
    seq: u64,
) -> impl Iterator<Item = (usize, &'a Entry)> {
    let (mut of_channel, mut of_pattern) = (None, None);
    match topic {
        Topic::Channel(_) => of_channel = Some(page.of_channel(name, seq)),
        Topic::Pattern(_) => of_pattern = Some(page.of_pattern(name, seq)),
    }
    let of_pattern = of_pattern.into_iter().flatten();
    of_channel.into_iter().flatten().chain(of_pattern)
}

impl Shard {
    /// Whether the upstream keeps a past that may be asked for.
    pub(super) fn has_history(&self) -> bool {
        self.source.ready && self.source.durable && self.archive.is_on()
    }

    /// Asks for what is wanted, as far as may be asked at once.
    pub(super) fn ask(&mut self, now: Instant) {
        while self.archive.has_turns()
            && let Some(fetch) = self.archive.next_fetch(now, self.source.head_seq)
        {
            self.stats.history_fetches += 1;
            self.outputs.push_back(Output::FetchHistory(fetch));
        }
    }

    /// The answer to a fetch. A page of another stream than that of the number line is none.
    pub(super) fn history(&mut self, now: Instant, request: u64, page: Option<Arc<Page>>) {
        let page = page.filter(|page| page.extent.created == self.source.created);
        let page = page.map(|page| self.archive.known(request, page));
        let Some(served) = self.archive.answered(now, request, page.as_ref()) else {
            return;
        };
        self.stats.history_failed += u64::from(page.is_none());
        let answered = served.waiters.into_iter().map(|who| (who, true));
        let given_up = served.given_up.into_iter().map(|who| (who, false));
        let mut all: Vec<_> = answered.chain(given_up).collect();
        // Subscribes come last: the subscriptions that they make may get the numbers of some that go here.
        all.sort_by_key(|((_, waiter), _)| matches!(waiter, Waiter::Subscribe(_)));
        for ((place, waiter), is_answered) in all {
            if is_answered {
                self.serve(&place, waiter, page.as_deref());
            } else {
                self.forsake(now, &place, waiter);
            }
        }
    }

    fn serve(&mut self, place: &Place, waiter: Waiter, page: Option<&Page>) {
        match waiter {
            Waiter::Subscription(ix) => {
                self.subs[ix.0].parked = false;
                self.place(ix);
                self.reconsider(self.subs[ix.0].conn);
            }
            Waiter::Subscribe(conn) => {
                let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
                self.judge(index, place, page);
            }
            Waiter::Replay(conn) => {
                let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
                self.unpark_replay(index, &place.0, false);
            }
        }
    }

    /// The upstream could not be asked for too long.
    fn forsake(&mut self, now: Instant, place: &Place, waiter: Waiter) {
        match waiter {
            // Its connection was closed for another one just now.
            Waiter::Subscription(ix) if !self.subs.contains(ix.0) => {}
            Waiter::Subscription(ix) => {
                // What the log has is what is left, after a notice of what is not.
                let begin = self.source.begin;
                let sub = &mut self.subs[ix.0];
                (sub.parked, sub.cold, sub.owes_lost) = (false, false, true);
                sub.next = begin;
                let (conn, on_lost) = (sub.conn, sub.on_lost);
                self.place(ix);
                self.reconsider(conn);
                if on_lost == OnLost::Close {
                    self.close(conn, now, CloseReason::SlowConsumer);
                    self.file(conn);
                }
            }
            Waiter::Subscribe(_) => self.serve(place, waiter, None),
            Waiter::Replay(conn) => {
                let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
                self.unpark_replay(index, &place.0, true);
            }
        }
    }

    /// The seq from which on the log has everything of a topic, with its true predecessors.
    pub(super) fn log_reaches_back_to(&self, topic: Topic) -> u64 {
        let kept = self.kept_after(self.log(topic).dropped_seq);
        match topic {
            Topic::Channel(ix) => kept.max(self.catalog.channel(ix).first_seen),
            Topic::Pattern(_) => kept.max(self.source.snapshot_head),
        }
    }

    pub(super) fn topic_key(&self, topic: Topic) -> Arc<str> {
        match topic {
            Topic::Channel(ix) => self.catalog.channel(ix).name.clone(),
            Topic::Pattern(ix) => self.catalog.pattern(ix).text.clone(),
        }
    }

    /// What history has after a seq.
    pub(super) fn look(&self, topic: Topic, seq: u64) -> Look {
        let name = self.topic_key(topic);
        let mut own = false;
        for page in self.archive.find(&name, seq).into_iter().flatten() {
            let position = Position { seq, ts: None };
            match proof(page, &name, position) {
                Proof::Whole => {}
                Proof::Unknown => {
                    own = true;
                    continue;
                }
                Proof::Hole | Proof::Different => return Look::Hole(page.clone()),
            }
            // What the Feed has not read yet comes from the log, with its notices.
            let head = self.source.head_seq;
            let next = entries_of(page, topic, &name, seq).next();
            return match next.is_some_and(|(_, entry)| entry.seq <= head) {
                true => Look::Entries(page.clone()),
                false => Look::Nothing(page.to().min(head)),
            };
        }
        Look::Unknown { own }
    }

    /// Puts a cold subscription where it belongs: with those of its connection that have data, or with those that wait
    /// for a page. `true`: it is cold no more and in no list.
    pub(super) fn place_cold(&mut self, ix: SubIx) -> bool {
        loop {
            let sub = &self.subs[ix.0];
            let (topic, seq) = (sub.topic, sub.seq);
            if sub.owes_lost {
                self.pend(ix);
                return false;
            }
            let early = u64::from(mutant::is(Mutant::HistoryLeftEarly));
            if seq + early >= self.log_reaches_back_to(topic) {
                let next = match topic {
                    Topic::Channel(channel) => {
                        self.store
                            .first_of_channel_after(&self.catalog, channel, seq)
                    }
                    Topic::Pattern(_) => self.store.first_after(seq),
                };
                let sub = &mut self.subs[ix.0];
                (sub.cold, sub.next) = (false, next);
                return true;
            }
            match self.look(topic, seq) {
                Look::Entries(_) | Look::Hole(_) => {
                    self.pend(ix);
                    return false;
                }
                Look::Nothing(to) => self.subs[ix.0].seq = to,
                Look::Unknown { own } => {
                    let place = (self.topic_key(topic), seq);
                    self.archive.want(place, Waiter::Subscription(ix), own);
                    self.subs[ix.0].parked = true;
                    return false;
                }
            }
        }
    }

    /// Takes a subscription off the list of those that wait for a page; `false`: it is not in it.
    pub(super) fn leave_parked(&mut self, ix: SubIx) -> bool {
        let sub = &mut self.subs[ix.0];
        if !core::mem::take(&mut sub.parked) {
            return false;
        }
        let (conn, topic, seq) = (sub.conn, sub.topic, sub.seq);
        let place = (self.topic_key(topic), seq);
        self.archive.leave(&place, Waiter::Subscription(ix));
        self.reconsider(conn);
        true
    }

    /// Whether a subscription of a connection has yet to read messages below a seq from a page that is not there.
    pub(super) fn waits_for_history(&self, index: u32, below: u64) -> bool {
        self.subscriptions_of(index).any(|ix| {
            let sub = &self.subs[ix.0];
            let is_behind = sub.cold && sub.seq.saturating_add(1) < below;
            is_behind && {
                let look = self.look(sub.topic, sub.seq);
                sub.parked || matches!(look, Look::Nothing(_) | Look::Unknown { .. })
            }
        })
    }

    /// Whether a subscription of a connection waits for a page.
    pub(super) fn has_parked(&self, index: u32) -> bool {
        self.subscriptions_of(index)
            .any(|ix| self.subs[ix.0].parked)
    }

    /// What a notice for all named as lost, up to a seq, does not come from history after it.
    pub(super) fn pass_over(&mut self, index: u32, to: u64) {
        let mut next = self.at(index).subscriptions;
        while let Some(ix) = next.some() {
            let sub = &self.subs[ix.0];
            next = sub.sibling;
            if sub.seq >= to {
                continue;
            }
            let was_parked = self.leave_parked(ix);
            self.subs[ix.0].seq = to;
            if was_parked {
                self.place(ix);
            }
        }
    }

    /// What a connection waits for may be there.
    fn reconsider(&mut self, index: u32) {
        if core::mem::take(&mut self.at(index).awaits_history) {
            self.rouse(index);
        }
    }

    /// A subscription fell off the log: it goes on in history, where there is one. `false`: it cannot.
    pub(super) fn goes_on_in_history(&mut self, ix: SubIx) -> bool {
        let sub = &self.subs[ix.0];
        if sub.cold || sub.owes_lost || sub.mode == Mode::Latest || !self.has_history() {
            return false;
        }
        let began_anew = sub.since == self.source.begin && sub.next < self.source.live_from;
        if sub.snapshot || began_anew {
            // Nothing live was sent yet: the past is more than it asked for.
            return false;
        }
        let conn = sub.conn;
        self.unlink_pending(conn, ix);
        let sub = &mut self.subs[ix.0];
        (sub.pending, sub.cold) = (false, true);
        if sub.since == self.source.begin {
            // What the snapshot of a new number line left out was never promised.
            sub.seq = sub.seq.max(self.source.snapshot_head);
        }
        sub.next = Order(0);
        self.stats.refills += 1;
        self.place(ix);
        true
    }

    /// Gathers what a cold subscription reads below `limit`, at most `share` messages.
    pub(super) fn gather_cold(
        &self,
        ix: SubIx,
        limit: u64,
        share: usize,
        taken: &mut Taken,
    ) -> Gathered {
        if !taken.fits(1) {
            return Gathered::NoRoom;
        }
        let sub = &self.subs[ix.0];
        let visit = Visit {
            sub: ix,
            advance: Order(0),
            seq: 0,
            conflated: 0,
        };
        if sub.owes_lost {
            return Gathered::Hole;
        }
        match self.look(sub.topic, sub.seq) {
            Look::Hole(_) => Gathered::Hole,
            // The page had to go meanwhile.
            Look::Nothing(_) | Look::Unknown { .. } => Gathered::All(visit),
            Look::Entries(page) => {
                let at = taken.hold(page.clone());
                let mut room = share;
                for (number, entry) in
                    entries_of(&page, sub.topic, self.topic_name(sub.topic), sub.seq)
                {
                    if entry.seq >= limit || entry.seq > self.source.head_seq {
                        break;
                    }
                    if room == 0 || !taken.fits(entry.frame.len()) {
                        return Gathered::Part(visit);
                    }
                    room -= 1;
                    taken.push(Piece::History(ix, at, number), entry.frame.len());
                }
                let seq = page.to().min(self.source.head_seq).min(limit - 1);
                Gathered::All(Visit { seq, ..visit })
            }
        }
    }

    /// Gives the notice for a hole in history; `None`: this subscription would rather be closed.
    pub(super) fn announce_history_hole(&mut self, ix: SubIx) -> Option<Bytes> {
        let sub = &self.subs[ix.0];
        let (topic, from) = (sub.topic, sub.seq + 1);
        let to = match self.look(topic, sub.seq) {
            // It was said with the ack, where the position was judged.
            _ if sub.owes_lost => sub.next.0,
            Look::Hole(_) if sub.on_lost == OnLost::Close => {
                let (topic, seq) = (self.topic_key(topic), sub.seq);
                self.archive.note_hole(topic, seq);
                return None;
            }
            Look::Hole(page) => match topic {
                Topic::Channel(_) => hole_end(&page, self.topic_name(topic), sub.seq),
                // Other channels may have lost some anywhere on it.
                Topic::Pattern(_) => page.to(),
            },
            _ => return None,
        };
        let reason = LostReason::Discarded;
        let frame = event::lost(Some(self.topic_name(topic)), from, Some(to), reason);
        let sub = &mut self.subs[ix.0];
        sub.owes_lost = false;
        // Who is told of a loss up to a seq passes over what is below it.
        sub.seq = to;
        self.stats.lost[reason as usize] += to - from + 1;
        Some(frame)
    }

    /// A connection waits for history no more.
    pub(super) fn leave_history(&mut self, index: u32) {
        let conn = self.conn_id(index);
        let Some(extra) = self.at(index).extra.as_deref_mut() else {
            return;
        };
        let asks = extra
            .held
            .as_mut()
            .map(|held| core::mem::take(&mut held.asks));
        for place in asks.into_iter().flatten() {
            self.archive.leave(&place, Waiter::Subscribe(conn));
        }
        let replays = self.at(index).extra_mut().replays.len();
        for at in 0..replays {
            self.leave_parked_replay(index, at);
        }
    }
}

/// The last seq of the hole after `seq` of a channel: the one before its next message.
pub(super) fn hole_end(page: &Page, name: &str, seq: u64) -> u64 {
    let next = page.of_channel(name, seq).next();
    next.map_or(page.to(), |(_, entry)| entry.seq - 1)
}
