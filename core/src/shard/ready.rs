//! Who has something to write, and in which order they are written to.
//!
//! A connection that has work is Ready and in the queue, or Taken out of it, or Blocked by its socket, or Held by a
//! window; who is Idle has none. What is written to it is decided in `gather`, how long it is held back in `window`.

use super::Shard;
use super::replay::Replay;
use super::session::{Session, State};
use super::subscription::{SubIx, Subscription, Topic};
use crate::id::ConnId;

impl Shard {
    /// Takes the next connection that has something to write out of the ready queue. The shell calls
    /// [`Self::transmit`] for it, and, where that gathered bytes, writes and says
    /// [`Input::Written`](super::Input::Written), before any other call. Sweep in slices: what stays queued stays ready.
    pub fn poll_ready(&mut self) -> Option<ConnId> {
        if self.tape.is_some() && !self.ready.is_empty() {
            self.note_ready();
        }
        while let Some(conn) = self.ready.pop_front() {
            if let Some(session) = self.session_mut(conn)
                && session.state == State::Ready
            {
                session.state = State::Taken;
                self.note_polled(conn);
                return Some(conn);
            }
        }
        None
    }

    /// Whether [`Self::poll_ready`] may have something to give.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts a connection that has something to write into the ready queue, if it is idle or held back.
    pub(super) fn rouse(&mut self, index: u32) {
        if matches!(self.at(index).state, State::Idle | State::Held) {
            self.at(index).state = State::Ready;
            self.ready.push_back(self.conn_id(index));
        }
    }

    /// Whether a subscription has, or may have, something to send.
    pub(super) fn has_data(&self, sub: &Subscription) -> bool {
        if sub.owes_lost {
            return true;
        }
        match sub.topic {
            Topic::Channel(ix) => {
                let channel = self.catalog.channel(ix);
                channel.log.reaches(sub.next)
                    || channel.held.is_some_and(|held| held >= sub.next)
                    || channel.log.dropped_to >= sub.next
            }
            Topic::Pattern(ix) => {
                let pattern = self.catalog.pattern(ix);
                // Before its start the pattern's log does not tell what there is; the arena does.
                pattern.log.reaches(sub.next)
                    || sub.next < pattern.complete_from
                    || pattern.log.dropped_to >= sub.next
                    || sub.snapshot && sub.next < sub.since
            }
        }
    }

    /// Who has something to write is Ready, Taken or Blocked, and who is Idle has nothing.
    pub(super) fn check(&self, conn: ConnId) {
        if cfg!(debug_assertions)
            && let Some(session) = self.session(conn)
            && session.state == State::Idle
        {
            assert!(
                !self.has_work(session),
                "an idle connection has nothing to write"
            );
        }
    }

    /// Whether a connection has something to write.
    pub(super) fn has_work(&self, session: &Session) -> bool {
        if session.front.is_some() || session.lane.as_ref().is_some_and(|lane| !lane.is_empty()) {
            return true;
        }
        if session
            .closing()
            .is_some_and(|closing| closing.flush_until.is_none())
        {
            return false;
        }
        let extra = session.extra.as_deref();
        let reads = !session.gated() && !session.awaits_history;
        reads && session.pending_tail != SubIx::NONE
            || reads
                && session.subscription_count > 0
                && session.notices_passed < self.notices_total
            || extra.is_some_and(|extra| {
                !extra.resets.is_empty()
                    || !session.gated() && extra.replays.iter().any(Replay::is_ready)
                    || extra
                        .closing
                        .as_ref()
                        .is_some_and(|closing| closing.flush_until.is_some())
            })
    }
}
