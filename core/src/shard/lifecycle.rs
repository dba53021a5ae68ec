//! The life of a connection: how it begins, what time does to it, how it ends.
//!
//! A connection ends in steps. A reason is given once, the first holds; the close frame goes out
//! after what must be said before it; the socket is dropped when the client's close frame has come,
//! or when `close_timeout` has passed; and the shell's `Closed` frees the place.
//!
//! Deadlines are filed once per connection, under the earliest thing that may be due. What moves a
//! deadline back (a sign of life, a write) leaves the filing alone: when it comes up, nothing is due
//! and it is filed anew. So traffic costs no work here.

use alloc::format;
use core::time::Duration;

use super::auth::Access;
use super::session::{Closing, Purpose, Session, State};
use super::subscription::SubIx;
use super::{Output, Shard, Slot};
use crate::id::{ConnId, Order};
use crate::limiter::TokenBucket;
use crate::mutant::{self, Mutant};
use crate::reason::CloseReason;
use crate::time::Instant;
use crate::wire::{event, frame};

/// The part of the drain window over which closes are spread; the rest is for the last ones to be
/// flushed and to shake hands.
const DRAIN_SPREAD_PERCENT: u64 = 80;

/// How long the socket of a client that broke the protocol, or flooded, stays after that.
const DEAF_LINGER: Duration = Duration::from_secs(1);

impl Shard {
    pub(super) fn insert_session(&mut self, now: Instant, access: Option<Access>) -> ConnId {
        let ping_at = after(now, self.config.ping_interval).unwrap_or(now);
        let bucket = TokenBucket::full(now, &self.rate);
        let is_stranger = matches!(access, Some(Access::Awaited(_)));
        let session = Session::new(now, access, bucket, self.notices_total, ping_at);
        let index = if let Some(index) = self.free.pop() {
            index
        } else {
            self.slots.push(Slot {
                generation: 0,
                session: None,
            });
            let index = u32::try_from(self.slots.len() - 1);
            index.unwrap_or_else(|_| unreachable!("file descriptors run out long before indices"))
        };
        self.slots[index as usize].session = Some(session);
        self.stats.connections_opened += 1;
        self.stats.connections += 1;
        let id = format!("{:016x}", self.next_random());
        let ping_ms = u64::try_from(self.config.ping_interval.as_millis()).unwrap_or(u64::MAX);
        let told = self.source.ready && !is_stranger;
        let epoch = self.source.epoch.as_deref().filter(|_| told);
        let welcome = event::welcome(&id, epoch, ping_ms, self.config.channels_per_connection);
        self.say(index, welcome, Purpose::Message);
        if let Some(deadline) = self.draining {
            self.schedule_drain(index, now, now, deadline);
        }
        self.file(index);
        self.conn_id(index)
    }

    pub(super) fn closed(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        let Some(session) = self.session(conn) else {
            return;
        };
        let reason = session.closing().map_or(reason, |closing| closing.reason);
        let filed = session.filed;
        self.taken.abandon(conn);
        let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
        self.leave_history(index);
        self.unsubscribe_all(index, now);
        if let Some(at) = filed {
            self.deadlines.remove(&(at, index));
        }
        let slot = &mut self.slots[conn.index()];
        slot.session = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.stats.connections -= 1;
        self.stats.disconnects[reason as usize] += 1;
    }

    pub(super) fn violation(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        if self.session(conn).is_some() {
            let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
            self.close_deaf(index, now, reason);
            self.file(index);
            self.check(conn);
        }
    }

    /// Begins to end a connection of which nothing more is read, its close frame neither. The socket stays
    /// for a moment, so that ours is not overtaken by a reset for unread bytes.
    pub(super) fn close_deaf(&mut self, index: u32, now: Instant, reason: CloseReason) {
        self.close(index, now, reason);
        if let Some(closing) = self.at(index).closing_mut() {
            closing.by = closing.by.min(now + DEAF_LINGER);
        }
    }

    /// Begins to end a connection: what it was answered already is still sent, data is not.
    pub(super) fn close(&mut self, index: u32, now: Instant, reason: CloseReason) {
        let by = now + self.config.close_timeout;
        let flushing = match self.at(index).closing_mut() {
            Some(closing) if closing.flush_until.is_none() => return,
            Some(closing) => {
                closing.flush_until = None;
                closing.by = closing.by.min(by);
                if matches!(reason, CloseReason::Expired | CloseReason::Revoked) {
                    closing.reason = reason;
                }
                true
            }
            None => false,
        };
        if !flushing {
            let closing = Closing {
                reason,
                by,
                flush_until: None,
                said: false,
                heard: false,
                dropped: false,
            };
            self.at(index).extra_mut().closing = Some(closing);
        }
        self.say_close(index, now);
        self.file(index);
    }

    /// Begins to end a connection after all that was published until now.
    fn close_gracefully(&mut self, index: u32, reason: CloseReason, by: Instant) {
        if self.at(index).closing().is_none() {
            let flush_until = Some(self.store.head());
            let closing = Closing {
                reason,
                by,
                flush_until,
                said: false,
                heard: false,
                dropped: false,
            };
            self.at(index).extra_mut().closing = Some(closing);
            self.rouse(index);
        }
    }

    /// Ends all that is not said yet and puts the close frame last.
    pub(super) fn say_close(&mut self, index: u32, now: Instant) {
        self.leave_history(index);
        self.unsubscribe_all(index, now);
        let answers = self.at(index).lane.as_ref().map_or(0, |lane| lane.len());
        let extra = self.at(index).extra_mut();
        extra.replays.clear();
        extra.held = None;
        // Answers behind a reset are of the new number line, which it names.
        extra.resets.retain(|(before, _)| *before < answers);
        let Some(closing) = &mut extra.closing else {
            return;
        };
        closing.flush_until = None;
        let reason = closing.reason;
        self.say(
            index,
            frame::close(reason.code(), reason.label()),
            Purpose::Close,
        );
    }

    /// The client's close frame came: answer it (RFC 6455 5.5.1), or take it as the answer to ours.
    pub(super) fn heard_close(&mut self, index: u32, now: Instant) {
        if self.at(index).closing().is_none() {
            self.close(index, now, CloseReason::Client);
        }
        let by = now + self.config.close_timeout;
        if let Some(closing) = self.at(index).closing_mut() {
            closing.heard = true;
            closing.by = closing.by.min(by);
            if closing.flush_until.is_some() {
                // The client listens no more, so there is nothing to flush.
                self.close(index, now, CloseReason::Client);
            }
            self.file(index);
        }
        self.drop_if_done(index);
    }

    /// The close frame is written.
    pub(super) fn said_close(&mut self, index: u32, now: Instant) {
        let by = now + self.config.close_timeout;
        if let Some(closing) = self.at(index).closing_mut() {
            closing.said = true;
            closing.by = closing.by.min(by);
        }
        self.drop_if_done(index);
    }

    fn drop_if_done(&mut self, index: u32) {
        if self
            .at(index)
            .closing()
            .is_some_and(|closing| closing.said && closing.heard)
        {
            self.drop_socket(index);
        }
    }

    pub(super) fn drop_socket(&mut self, index: u32) {
        let conn = self.conn_id(index);
        if let Some(closing) = self.at(index).closing_mut()
            && !closing.dropped
        {
            closing.dropped = true;
            let reason = closing.reason;
            self.outputs.push_back(Output::Close { conn, reason });
        }
    }

    pub(super) fn drain(&mut self, now: Instant, deadline: Instant) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(deadline);
        let living = self.living();
        let window =
            deadline.saturating_since(now).as_nanos() / 100 * u128::from(DRAIN_SPREAD_PERCENT);
        for (place, index) in living.iter().enumerate() {
            let share = window * (place as u128 + 1) / living.len() as u128;
            let offset = Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX));
            self.schedule_drain(*index, now, now + offset, deadline);
            self.file(*index);
        }
    }

    /// Tells a connection when it will be closed, which is also when it may come back: elsewhere.
    fn schedule_drain(&mut self, index: u32, now: Instant, at: Instant, deadline: Instant) {
        if self.at(index).closing().is_some() {
            return;
        }
        let delay_ms = u64::try_from(at.saturating_since(now).as_millis()).unwrap_or(u64::MAX);
        self.say(index, event::goaway("draining", delay_ms), Purpose::Message);
        self.at(index).extra_mut().drain_at = Some(at);
        if deadline <= now {
            self.close(index, now, CloseReason::Draining);
        }
    }

    /// Files the connection under the earliest thing that may be due.
    pub(super) fn file(&mut self, index: u32) {
        let Some(due) = self.next_due(index) else {
            return;
        };
        let session = self.at(index);
        let filed = session.filed;
        if filed.is_none_or(|at| due < at) {
            session.filed = Some(due);
            if let Some(at) = filed {
                self.deadlines.remove(&(at, index));
            }
            self.deadlines.insert((due, index));
        }
    }

    fn next_due(&mut self, index: u32) -> Option<Instant> {
        let config = self.config;
        let session = self.at(index);
        let ends = session.access.as_ref().and_then(|access| access.ends());
        let access = ends.map(|(at, _)| at);
        if let Some(closing) = session.closing() {
            let ends = access.filter(|_| closing.flush_until.is_some());
            let due = ends.map_or(closing.by, |at| at.min(closing.by));
            return (!closing.dropped).then_some(due);
        }
        let extra = session.extra.as_deref();
        let idle = after(session.heard, config.idle_timeout);
        let stall = session
            .stalled
            .then(|| after(session.stalled_since, config.write_stall))
            .flatten();
        let ping = (!config.ping_interval.is_zero()).then_some(session.ping_at);
        let held = extra
            .and_then(|extra| extra.held.as_ref())
            .map(|held| held.until);
        let drain = extra.and_then(|extra| extra.drain_at);
        let due = [idle, stall, ping, held, drain, access];
        due.into_iter().flatten().min()
    }

    /// A filed deadline came up: does what is due, and files anew.
    pub(super) fn due(&mut self, now: Instant, index: u32) {
        self.at(index).filed = None;
        if self
            .at(index)
            .closing()
            .is_some_and(|closing| closing.by <= now)
        {
            self.drop_socket(index);
            return;
        }
        match self.at(index).closing() {
            None => self.do_due(now, index),
            // What a grant allowed is flushed no longer than it lasts.
            Some(closing) if closing.flush_until.is_some() => {
                self.end_access(now, index);
            }
            Some(_) => {}
        }
        self.file(index);
        self.check(self.conn_id(index));
    }

    /// Closes a connection whose access is over. `true`: it is.
    fn end_access(&mut self, now: Instant, index: u32) -> bool {
        let ends = self
            .at(index)
            .access
            .as_ref()
            .and_then(|access| access.ends());
        match ends.filter(|(at, _)| *at <= now) {
            Some((_, reason)) => {
                self.close(index, now, reason);
                true
            }
            None => false,
        }
    }

    fn do_due(&mut self, now: Instant, index: u32) {
        let config = self.config;
        let session = self.at(index);
        if session.stalled
            && after(session.stalled_since, config.write_stall).is_some_and(|at| at <= now)
        {
            return self.close(index, now, CloseReason::SlowConsumer);
        }
        if self.end_access(now, index) {
            return;
        }
        let session = self.at(index);
        if after(session.heard, config.idle_timeout).is_some_and(|at| at <= now) {
            if mutant::is(Mutant::IdleNotNoticed) {
                session.heard = now;
                return;
            }
            return self.close(index, now, CloseReason::Idle);
        }
        if let Some(extra) = session.extra.as_deref_mut() {
            if extra.drain_at.is_some_and(|at| at <= now) {
                let by = self
                    .draining
                    .unwrap_or(now)
                    .max(now + Duration::from_millis(1));
                if mutant::is(Mutant::CloseBeforeFlush) {
                    return self.close(index, now, CloseReason::Draining);
                }
                return self.close_gracefully(index, CloseReason::Draining, by);
            }
            if extra.held.as_ref().is_some_and(|held| held.until <= now)
                && let Some(held) = extra.held.take()
            {
                self.subscribe_unproven(index, held);
            }
        }
        let session = self.at(index);
        if !config.ping_interval.is_zero() && session.ping_at <= now {
            session.ping_at = now + config.ping_interval;
            session.pings = session.pings.saturating_add(1);
            self.say(index, frame::ping(b""), Purpose::Ping);
        }
    }

    /// Ends every subscription of a connection, without a word.
    pub(super) fn unsubscribe_all(&mut self, index: u32, now: Instant) {
        while let Some(sub) = self.at(index).subscriptions.some() {
            self.remove_subscription(sub, now);
        }
        debug_assert!(
            self.at(index).pending_tail == SubIx::NONE,
            "no subscription, none with data"
        );
    }

    pub(super) fn writable(&mut self, conn: ConnId) {
        if let Some(session) = self.session_mut(conn)
            && session.state == State::Blocked
            && !mutant::is(Mutant::WritableIgnored)
        {
            session.state = State::Ready;
            self.ready.push_back(conn);
        }
    }

    /// The place up to which data is still sent to a connection that is being closed.
    pub(super) fn flush_until(session: &Session) -> Option<Order> {
        session.closing().and_then(|closing| closing.flush_until)
    }
}

/// `span` after `from`; a span of zero is off.
fn after(from: Instant, span: Duration) -> Option<Instant> {
    (!span.is_zero()).then(|| from + span)
}
