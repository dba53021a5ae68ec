//! Recomputes what the shard keeps account of, for simulations and tests: what is counted and listed must be
//! what a walk over everything finds. Costs a walk over everything, so it is behind a feature.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::Shard;
use super::archive::Waiter;
use super::session::{Session, State};
use super::subscription::{SubIx, Topic};

/// What a walk over a shard found, for those who want to know which states were reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Connections with a frame that is written in part.
    pub partial: usize,
    /// Connections whose socket is full.
    pub blocked: usize,
    /// Connections with answers that wait.
    pub answers: usize,
    /// Connections with a `reset` that is not sent yet.
    pub resets: usize,
    /// Connections whose subscriptions have no epoch yet.
    pub gated: usize,
    /// Connections with a subscribe that waits for the source.
    pub held_subscribes: usize,
    /// Connections that are flushed before their close.
    pub flushing: usize,
    /// Replays under way.
    pub replays: usize,
    /// Replays under way of the number line that is.
    pub replays_valid: usize,
    /// Subscriptions with something to send.
    pub pending: usize,
    /// Subscriptions that stand before a hole.
    pub before_hole: usize,
    /// Subscriptions that owe a `lost` for their resume.
    pub owing: usize,
    /// Subscriptions of a pattern that read from before its log.
    pub scanning: usize,
    /// Subscriptions that read history.
    pub cold: usize,
    /// Subscriptions that wait for a page of history.
    pub parked: usize,
    /// Subscriptions in the snapshot of a pattern.
    pub in_snapshot: usize,
    /// Subscriptions that are ahead of what this server has read.
    pub ahead: usize,
    /// Last values held apart from the arena.
    pub held_values: usize,
    /// Notices for all that some connection has yet to pass.
    pub notices_behind: usize,
    /// Patterns without subscribers.
    pub idle_patterns: usize,
}

impl Shard {
    /// Recomputes bytes, lists, counts and cursors, and compares them with what is kept.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn verify(&self) -> Result<Census, String> {
        let mut census = Census::default();
        self.store.verify(&self.catalog)?;
        census.held_values = self.store.held_count();
        census.idle_patterns = self.catalog.pattern_count() - self.catalog.active_pattern_count();
        let mut counts = Counts {
            channels: self.catalog.subscriber_counts().0,
            patterns: self.catalog.subscriber_counts().1,
            ready: vec![0_u32; self.slots.len()],
            ..Counts::default()
        };
        for conn in &self.ready {
            if self.session(*conn).is_some() {
                counts.ready[conn.index()] += 1;
            }
        }
        for index in self.living() {
            let Some(session) = &self.slots[index as usize].session else {
                continue;
            };
            counts.living += 1;
            self.verify_session(index, session, &mut counts, &mut census)?;
        }
        same("connections", self.stats.connections, counts.living)?;
        same("subscriptions", self.subs.len() as u64, counts.subs)?;
        same("deadlines", self.deadlines.len() as u64, counts.filed)?;
        let left = counts.channels.iter().map(|(_, left)| *left);
        let mut left = left.chain(counts.patterns.iter().map(|(_, left)| *left));
        if let Some(left) = left.find(|left| *left != 0) {
            return Err(format!("{left} subscribers that are no subscription"));
        }
        same(
            "subscriptions that wait",
            self.catalog.waiting_count() as u64,
            counts.waiting,
        )?;
        Ok(census)
    }

    fn verify_session(
        &self,
        index: u32,
        session: &Session,
        counts: &mut Counts,
        census: &mut Census,
    ) -> Result<(), String> {
        let place = index as usize;
        let queued = counts.ready[place];
        let should = u32::from(session.state == State::Ready);
        if queued != should {
            return Err(format!(
                "connection {index} is {:?} and {queued} times in the ready queue",
                session.state
            ));
        }
        let conn = self.conn_id(index);
        let held = self.windows.holding(conn).fold(0, |all, at| all | 1 << at);
        if session.held != held || session.state == State::Held && held == 0 {
            return Err(format!(
                "connection {index} is {:?} and in windows {held:b}, and says {:b}",
                session.state, session.held
            ));
        }
        if session.state == State::Idle && self.has_work(session) {
            return Err(format!("connection {index} is idle and has work"));
        }
        if let Some(at) = session.filed {
            counts.filed += 1;
            if !self.deadlines.contains(&(at, index)) {
                return Err(format!(
                    "connection {index} is not filed where it says it is"
                ));
            }
        }
        if session.notices_passed > self.notices_total {
            return Err(format!(
                "connection {index} passed notices that are not there"
            ));
        }
        let mut subs: Vec<SubIx> = Vec::new();
        for sub in self.subscriptions_of(index) {
            if subs.len() > self.subs.len() {
                return Err(format!("connection {index}: its subscriptions are a ring"));
            }
            subs.push(sub);
        }
        same(
            "subscriptions of a connection",
            u64::from(session.subscription_count),
            subs.len() as u64,
        )?;
        let mut pending = Vec::new();
        if let Some(tail) = session.pending_tail.some() {
            let mut at = self.subs[tail.0].pending_next;
            loop {
                pending.push(at);
                if at == tail || pending.len() > subs.len() {
                    break;
                }
                at = self.subs[at.0].pending_next;
            }
        }
        let patterns = subs
            .iter()
            .filter(|sub| matches!(self.subs[sub.0].topic, Topic::Pattern(_)));
        same(
            "patterns of a connection",
            u64::from(session.pattern_count),
            patterns.count() as u64,
        )?;
        for sub in &subs {
            self.verify_subscription(index, *sub, &pending, counts, census)?;
        }
        self.count_session(session, census);
        Ok(())
    }

    fn verify_subscription(
        &self,
        index: u32,
        ix: SubIx,
        pending: &[SubIx],
        counts: &mut Counts,
        census: &mut Census,
    ) -> Result<(), String> {
        let sub = &self.subs[ix.0];
        let name = self.topic_name(sub.topic);
        counts.subs += 1;
        census.cold += usize::from(sub.cold);
        census.parked += usize::from(sub.parked);
        if sub.conn != index {
            return Err(format!("{name} of {index} says that it is of {}", sub.conn));
        }
        let times = pending.iter().filter(|other| **other == ix).count();
        if times != usize::from(sub.pending) {
            return Err(format!(
                "{name} of {index} is {times} times in the list of those with data"
            ));
        }
        let log = match sub.topic {
            Topic::Channel(ix) => {
                if let Some((_, count)) = counts.channels.iter_mut().find(|(at, _)| *at == ix) {
                    *count -= 1;
                }
                &self.catalog.channel(ix).log
            }
            Topic::Pattern(ix) => {
                if let Some((_, count)) = counts.patterns.iter_mut().find(|(at, _)| *at == ix) {
                    *count -= 1;
                }
                let pattern = self.catalog.pattern(ix);
                census.scanning += usize::from(sub.next < pattern.complete_from);
                &pattern.log
            }
        };
        if sub.parked {
            let place = (self.topic_key(sub.topic), sub.seq);
            let waiter = Waiter::Subscription(ix);
            let times = self.archive.waiters(&place);
            let times = times.iter().filter(|other| **other == waiter).count();
            if times != 1 || sub.pending || !sub.cold {
                return Err(format!("{name} of {index} waits {times} times for history"));
            }
            return Ok(());
        }
        if !sub.pending {
            counts.waiting += 1;
            if log.waiting.get(sub.waiting_at as usize) != Some(&ix) {
                return Err(format!("{name} of {index} waits in no list"));
            }
            if self.has_data(sub) {
                return Err(format!("{name} of {index} waits and has data"));
            }
        }
        if !sub.cold && sub.next > self.store.head() || sub.since > self.store.head() {
            return Err(format!("{name} of {index} stands after the head"));
        }
        census.pending += usize::from(sub.pending);
        census.before_hole += usize::from(!sub.cold && sub.next <= log.dropped_to);
        census.owing += usize::from(sub.owes_lost);
        census.in_snapshot += usize::from(sub.snapshot && sub.next < sub.since);
        census.ahead += usize::from(sub.seq > self.source.head_seq);
        Ok(())
    }

    fn count_session(&self, session: &Session, census: &mut Census) {
        census.partial += usize::from(session.front.is_some());
        census.blocked += usize::from(session.state == State::Blocked);
        census.answers += usize::from(session.lane.as_ref().is_some_and(|l| !l.is_empty()));
        census.gated += usize::from(session.gated());
        census.notices_behind += usize::from(session.notices_passed < self.notices_total);
        if let Some(extra) = &session.extra {
            census.resets += usize::from(!extra.resets.is_empty());
            census.held_subscribes += usize::from(extra.held.is_some());
            census.replays += extra.replays.len();
            census.replays_valid += extra.replays.iter().filter(|r| !r.is_void()).count();
            let closing = extra.closing.as_ref();
            census.flushing +=
                usize::from(closing.is_some_and(|closing| closing.flush_until.is_some()));
        }
    }
}

/// What is counted on the way.
#[derive(Debug, Default)]
struct Counts {
    living: u64,
    subs: u64,
    filed: u64,
    waiting: u64,
    /// Subscribers that each says it has, less those that were found.
    channels: Vec<(super::catalog::ChannelIx, i64)>,
    patterns: Vec<(super::catalog::PatternIx, i64)>,
    ready: Vec<u32>,
}

/// Whether what is kept is what was found.
pub(super) fn same(what: &str, kept: u64, found: u64) -> Result<(), String> {
    if kept == found {
        return Ok(());
    }
    Err(format!("{what}: {kept} by account, {found} by counting"))
}
