//! What is written next to a connection, in which order: the frame that is half written, the
//! answers, then data.
//!
//! Nothing moves while a transmit is gathered but what must be made for it (a notice at a hole, the
//! end of a replay): cursors move in [`super::settle`], when the socket has taken what was gathered.
//! What is made becomes the connection's front, and only when nothing is gathered before it, so that
//! it cannot overtake.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::gather::Gathered;
use super::lane::Lane;
use super::session::{Front, Purpose, State};
use super::subscription::SubIx;
use super::{Shard, Transmit};
use crate::event::Lost;
use crate::history::{Entry, Page};
use crate::id::{ConnId, Order};
use crate::mutant::{self, Mutant};
use crate::reason::CloseReason;
use crate::time::Instant;

/// Where the bytes of a slice are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// What is left of the connection's front.
    Front,
    /// The next frame of its lane.
    Lane,
    /// The entry of the log at a place, for a subscription, and how many messages before it were
    /// passed over because newer ones of their channels are sent.
    Data(SubIx, Order, u64),
    /// The entry of the log at a place, for the replay of this number.
    Replay(usize, Order),
    /// Of a page of the transmit the entry of this number, for a subscription.
    History(SubIx, usize, usize),
    /// Of a page of the transmit the entry of this number, for the replay of that number.
    HistoryReplay(usize, usize, usize),
}

/// A subscription that had its turn in a transmit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) sub: SubIx,
    /// Everything before this place is dealt with, once all pieces are written.
    pub(super) advance: Order,
    /// Of a cold one: every seq up to this one is dealt with, likewise.
    pub(super) seq: u64,
    /// Messages that were passed over after the last piece.
    pub(super) conflated: u64,
}

/// How the turns of a connection's subscriptions ended.
enum Turns {
    /// Each gathered all that it may.
    Done,
    /// There is more than one transmit takes.
    Stopped,
    /// The first subscription stands before a hole.
    Hole(SubIx),
}

/// How far a connection's subscriptions may be read: the next notice for all comes between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    /// In the log: up to this place, exclusive.
    pub(super) place: Order,
    /// In history: up to this seq, exclusive.
    pub(super) seq: u64,
}

/// What was gathered for the connection that is being written to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) conn: Option<ConnId>,
    pub(super) pieces: Vec<(Piece, usize)>,
    pub(super) visits: Vec<Visit>,
    /// The pages of history that pieces are of: kept until they are written, whatever the shard keeps.
    pub(super) pages: Vec<Arc<Page>>,
    pub(super) bytes: usize,
}

impl Taken {
    pub(super) fn is_open(&self) -> bool {
        self.conn.is_some()
    }

    /// Forgets what was gathered for a connection that is gone.
    pub(super) fn abandon(&mut self, conn: ConnId) {
        if self.conn == Some(conn) {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.conn = None;
        self.pieces.clear();
        self.visits.clear();
        self.pages.clear();
        self.bytes = 0;
    }

    /// Whether one more slice of so many bytes is within the bounds. The first always is.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.pieces.is_empty()
            || self.pieces.len() < Shard::SLICES_MAX
                && self.bytes + len <= Shard::TRANSMIT_BYTES_MAX
    }

    /// Takes a page for the time of the transmit, and gives its number.
    pub(super) fn hold(&mut self, page: Arc<Page>) -> usize {
        self.pages.push(page);
        self.pages.len() - 1
    }

    /// The entry of history that a piece is.
    pub(super) fn entry(&self, page: usize, entry: usize) -> &Entry {
        &self.pages[page].entries[entry]
    }

    pub(super) fn push(&mut self, piece: Piece, len: usize) {
        self.pieces.push((piece, len));
        self.bytes += len;
    }
}

impl Shard {
    pub(super) fn gather(&mut self, now: Instant, conn: ConnId) -> Transmit {
        let is_taken = self
            .session(conn)
            .is_some_and(|session| session.state == State::Taken);
        assert!(
            is_taken && !self.taken.is_open(),
            "a transmit follows the poll_ready that gave it"
        );
        let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
        let mut taken = core::mem::take(&mut self.taken);
        self.at(index).awaits_history = false;
        let passed = self.at(index).notices_passed;
        if self.has_missed_notice(passed) && self.at(index).subscription_count > 0 {
            self.close(index, now, CloseReason::SlowConsumer);
        }
        while self.gather_once(now, index, &mut taken) {}
        taken.conn = Some(conn);
        let transmit = Transmit {
            bytes: taken.bytes,
            slices: taken.pieces.len(),
        };
        self.taken = taken;
        if transmit.bytes == 0 {
            self.written(now, conn, 0);
        }
        transmit
    }

    /// Gathers what there is. `true`: something was made that goes first; gather again.
    fn gather_once(&mut self, now: Instant, index: u32, taken: &mut Taken) -> bool {
        let session = self.at(index);
        if taken.pieces.is_empty()
            && let Some(front) = &session.front
        {
            taken.push(Piece::Front, front.rest.len());
        }
        if !self.gather_lane(index, taken) {
            return false;
        }
        let reset = self
            .at(index)
            .extra
            .as_deref_mut()
            .and_then(|extra| extra.resets.pop_front());
        match reset {
            None => self.gather_data(now, index, taken),
            Some((0, frame)) if taken.pieces.is_empty() => self.make_front(index, frame),
            Some(reset) => {
                // Its own transmit: what stands before it is written first, and nothing passes it.
                self.at(index).extra_mut().resets.push_front(reset);
                false
            }
        }
    }

    /// Gathers the lane, up to where a `reset` comes between. `false`: something of it did not fit,
    /// so nothing may follow.
    fn gather_lane(&mut self, index: u32, taken: &mut Taken) -> bool {
        let session = self.at(index);
        let reset = session
            .extra
            .as_ref()
            .and_then(|extra| extra.resets.front());
        let mut answers = reset.map_or(usize::MAX, |(answers, _)| *answers);
        if mutant::is(Mutant::AckAfterMessage) && session.pending_tail != SubIx::NONE {
            answers = 0;
        }
        let frames = session.lane.as_deref().into_iter().flat_map(Lane::iter);
        for frame in frames.take(answers) {
            if !taken.fits(frame.len()) {
                return false;
            }
            taken.push(Piece::Lane, frame.len());
        }
        true
    }

    /// Gathers replays, then subscriptions in turn, up to the next notice for all.
    fn gather_data(&mut self, now: Instant, index: u32, taken: &mut Taken) -> bool {
        let session = self.at(index);
        let flush_until = Self::flush_until(session);
        if session.closing().is_some() && flush_until.is_none() {
            return false;
        }
        if session.gated() {
            // Without an epoch there is nothing to flush before a close frame.
            if flush_until.is_some() && taken.pieces.is_empty() {
                self.say_close(index, now);
                return true;
            }
            return false;
        }
        if let Some(made) = self.gather_replays(index, taken) {
            return made;
        }
        let passed = self.at(index).notices_passed;
        // A notice is for subscriptions; a connection that is flushed may have none.
        let concerns = self.at(index).subscription_count > 0;
        let notice = self.notice_after(passed).filter(|_| concerns).cloned();
        let barrier = notice.as_ref().map(|notice| notice.order);
        let barrier = barrier.filter(|_| !mutant::is(Mutant::NoticeOutOfOrder));
        let limit = [barrier, flush_until]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Order(u64::MAX));
        let until = Until {
            place: limit,
            seq: notice.as_ref().map_or(u64::MAX, |notice| notice.from),
        };
        match self.gather_pending(index, until, taken) {
            Turns::Stopped => return false,
            Turns::Hole(sub) => return self.meet_hole(now, index, sub),
            Turns::Done if !taken.pieces.is_empty() => return false,
            Turns::Done => {}
        }
        match notice.filter(|notice| notice.order <= limit) {
            Some(notice) if self.waits_for_history(index, notice.from) => {
                if flush_until.is_some() {
                    // What is not sent by now is resumed elsewhere.
                    taken.visits.clear();
                    self.say_close(index, now);
                    return true;
                }
                // Whoever is not parked goes on once it is placed again.
                self.at(index).awaits_history = self.has_parked(index);
                false
            }
            Some(notice) => self.pass_notice(index, taken, &notice),
            None if flush_until.is_some() => {
                taken.visits.clear();
                self.say_close(index, now);
                true
            }
            None => false,
        }
    }

    /// Gives each subscription that has data its turn.
    fn gather_pending(&mut self, index: u32, until: Until, taken: &mut Taken) -> Turns {
        let count = usize::from(self.at(index).subscription_count).max(1);
        let share = (Self::SLICES_MAX / count).max(4);
        let last = self.at(index).pending_tail;
        let mut next = last.some().map(|tail| self.subs[tail.0].pending_next);
        let mut turns = Turns::Done;
        while let Some(sub) = next {
            match self.gather_subscription(sub, until, share, taken) {
                Gathered::All(visit) => taken.visits.push(visit),
                Gathered::Part(visit) => {
                    turns = Turns::Stopped;
                    taken.visits.push(visit);
                }
                Gathered::NoRoom => return Turns::Stopped,
                Gathered::Hole if taken.pieces.is_empty() && taken.visits.is_empty() => {
                    return Turns::Hole(sub);
                }
                // What is made at a hole goes first in a transmit of its own.
                Gathered::Hole => return Turns::Stopped,
            }
            next = (sub != last).then(|| self.subs[sub.0].pending_next);
        }
        turns
    }

    /// Everything before a notice for all is sent, so it is next.
    fn pass_notice(&mut self, index: u32, taken: &mut Taken, notice: &Lost) -> bool {
        taken.visits.clear();
        self.at(index).notices_passed += 1;
        self.pass_over(index, notice.to.unwrap_or(0));
        self.make_front(index, notice.frame.clone())
    }

    /// A cursor met a hole: the client is told, or is too slow for what it wants.
    fn meet_hole(&mut self, now: Instant, index: u32, ix: SubIx) -> bool {
        if self.goes_on_in_history(ix) {
            return true;
        }
        match self.announce_hole(ix) {
            Some(frame) => self.make_front(index, frame),
            None => {
                self.close(index, now, CloseReason::SlowConsumer);
                true
            }
        }
    }

    /// Makes a frame the next thing that the connection is sent. Always `true`: gather again.
    pub(super) fn make_front(&mut self, index: u32, frame: Bytes) -> bool {
        let session = self.at(index);
        debug_assert!(
            session.front.is_none(),
            "what is half written is gathered first"
        );
        session.front = Some(alloc::boxed::Box::new(Front {
            rest: frame,
            purpose: Purpose::Message,
        }));
        true
    }

    pub(super) fn taken_slices(&self) -> impl Iterator<Item = &[u8]> {
        let session = self.taken.conn.and_then(|conn| self.session(conn));
        let lane = session.and_then(|session| session.lane.as_deref());
        let mut lane = lane.into_iter().flat_map(Lane::iter);
        self.taken
            .pieces
            .iter()
            .filter_map(move |(piece, _)| match piece {
                Piece::Front => session?.front.as_ref().map(|front| &front.rest[..]),
                Piece::Lane => lane.next().map(|frame| &frame[..]),
                Piece::History(_, page, entry) | Piece::HistoryReplay(_, page, entry) => {
                    Some(&self.taken.entry(*page, *entry).frame[..])
                }
                Piece::Data(_, place, _) | Piece::Replay(_, place) => self
                    .store
                    .get(*place)
                    .map(|publication| Arc::as_ref(publication).frame.as_ref()),
            })
    }
}
