//! Subscribing: whether a connection may, where its cursor starts, and what the ack says.
//!
//! A request is done whole or refused whole. Where a cursor starts is one [`Start`] per name, made
//! from the log before anything changes; a position is recovered only where what this server saw, or
//! still holds, proves that nothing after it is missing.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Shard;
use super::catalog::{ChannelIx, PatternIx};
use super::session::Purpose;
use super::subscription::{SubIx, Subscription, Topic};
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::name;
use crate::reason::{ErrorCode, UnrecoveredReason};
use crate::time::Instant;
use crate::wire::event::{self, SubscriptionAck, Unrecovered};
use crate::wire::request::{Mode, OnLost, Position, RequestId, Resume, Subscribe};

/// Where a cursor starts.
#[derive(Debug)]
struct Start {
    next: Order,
    seq: u64,
    /// The position that the ack names; `None`: unknown.
    position: Option<u64>,
    /// Send the newest of each channel that a pattern matches first.
    snapshot: bool,
    owes_lost: bool,
    /// What became of the resume, if there was one.
    resumed: Option<Result<(), Unresumed>>,
}

/// Why a resume failed, and what is kept.
#[derive(Debug)]
struct Unresumed {
    reason: UnrecoveredReason,
    oldest: Option<u64>,
    newest: Option<u64>,
}

impl Shard {
    /// Does a subscribe at once, or holds it while the source is not ready.
    pub(super) fn subscribe_or_hold(
        &mut self,
        now: Instant,
        index: u32,
        id: Option<&RequestId>,
        subscribe: &Subscribe,
    ) {
        let may = self.may_subscribe(index, &subscribe.channels);
        if let Err((code, message)) = may.and(self.forbidden_of(index, subscribe).map(|_| ())) {
            return self.refuse(index, code, &message, id);
        }
        if !self.source.ready && !self.config.subscribe_hold.is_zero() {
            let until = now + self.config.subscribe_hold;
            self.at(index).extra_mut().held = Some((until, id.cloned(), subscribe.clone()));
            return;
        }
        self.subscribe(index, id, subscribe);
    }

    pub(super) fn subscribe(&mut self, index: u32, id: Option<&RequestId>, subscribe: &Subscribe) {
        let may = self.may_subscribe(index, &subscribe.channels);
        let forbidden = match may.and(self.forbidden_of(index, subscribe)) {
            Ok(forbidden) => forbidden,
            Err((code, message)) => return self.refuse(index, code, &message, id),
        };
        let ready = self.source.ready;
        if self.at(index).subscription_count == 0 {
            self.at(index).notices_passed = self.notices_total;
        }
        if !ready {
            self.at(index).extra_mut().without_epoch = true;
        }
        let mut starts = Vec::with_capacity(subscribe.channels.len());
        for name in &subscribe.channels {
            if forbidden.contains(&name.as_str()) {
                continue;
            }
            let (topic, start) = self.start(name, subscribe);
            self.insert_subscription(index, topic, subscribe, &start);
            starts.push((name.as_str(), start));
        }
        self.ack(index, id, &starts, &forbidden);
    }

    fn ack(
        &mut self,
        index: u32,
        id: Option<&RequestId>,
        starts: &[(&str, Start)],
        forbidden: &[&str],
    ) {
        let mut recovered = Vec::new();
        let mut unrecovered = Vec::new();
        for channel in forbidden {
            let reason = UnrecoveredReason::Forbidden;
            self.stats.resumes.unrecovered[reason as usize] += 1;
            unrecovered.push(Unrecovered {
                channel,
                reason,
                oldest: None,
                newest: None,
            });
        }
        for (name, start) in starts {
            match &start.resumed {
                None => {}
                Some(Ok(())) => recovered.push(*name),
                Some(Err(Unresumed {
                    reason,
                    oldest,
                    newest,
                })) => {
                    self.stats.resumes.unrecovered[*reason as usize] += 1;
                    let (reason, oldest, newest) = (*reason, *oldest, *newest);
                    unrecovered.push(Unrecovered {
                        channel: name,
                        reason,
                        oldest,
                        newest,
                    });
                }
            }
        }
        self.stats.resumes.recovered += recovered.len() as u64;
        let names: Vec<&str> = starts.iter().map(|(name, _)| *name).collect();
        let positions: Vec<_> = starts
            .iter()
            .map(|(name, start)| (*name, start.position))
            .collect();
        let count = u32::from(self.at(index).subscription_count);
        let frame = event::subscription_ack(&SubscriptionAck {
            id,
            subscribed: &names,
            count,
            epoch: self.source.epoch.as_deref().filter(|_| self.source.ready),
            durable: self.source.durable,
            positions: &positions,
            recovered: &recovered,
            unrecovered: &unrecovered,
        });
        self.say(index, frame, Purpose::Message);
    }

    /// Whether these names can be subscribed by this connection.
    fn may_subscribe(&self, index: u32, names: &[String]) -> Result<(), (ErrorCode, String)> {
        let Some(session) = &self.slots[index as usize].session else {
            return Ok(());
        };
        let patterns = names.iter().filter(|name| name::is_pattern(name)).count();
        let over = |count: usize, limit: u32| limit > 0 && count > limit as usize;
        let config = &self.config;
        if over(
            usize::from(session.subscription_count) + names.len(),
            config.channels_per_connection,
        ) {
            let message = format!("more than {} channels", config.channels_per_connection);
            return Err((ErrorCode::TooManyChannels, message));
        }
        if over(
            usize::from(session.pattern_count) + patterns,
            config.patterns_per_connection,
        ) {
            let message = format!("more than {} patterns", config.patterns_per_connection);
            return Err((ErrorCode::TooManyPatterns, message));
        }
        if !mutant::is(Mutant::OverlapAllowed) {
            self.check_overlaps(index, names)?;
        }
        let new_patterns = names.iter().filter(|name| name::is_pattern(name));
        let new_patterns = new_patterns
            .filter(|name| !self.catalog.is_active_pattern(name))
            .count();
        let patterns = self.catalog.active_pattern_count() + new_patterns;
        let new_names = names.iter().filter(|name| !name::is_pattern(name));
        let new_names = new_names
            .filter(|name| self.catalog.find_channel(name).is_none())
            .count();
        let unpublished = self.catalog.unpublished_count() as usize + new_names;
        if new_patterns > 0 && over(patterns, config.patterns_per_server)
            || new_names > 0 && over(unpublished, config.channels_max)
        {
            let message = String::from("this server keeps no more names or patterns");
            return Err((ErrorCode::ServerLimit, message));
        }
        Ok(())
    }

    fn check_overlaps(&self, index: u32, names: &[String]) -> Result<(), (ErrorCode, String)> {
        for sub in self.subscriptions_of(index) {
            let theirs = self.topic_name(self.subs[sub.0].topic);
            let wild = matches!(self.subs[sub.0].topic, Topic::Pattern(_));
            for name in names {
                if name == theirs {
                    let message = format!("{name} is subscribed already");
                    return Err((ErrorCode::AlreadySubscribed, message));
                }
                if (wild || name::is_pattern(name)) && name::intersects(name, theirs) {
                    let message = format!("{name} overlaps {theirs}, which is subscribed");
                    return Err((ErrorCode::SubscriptionOverlap, message));
                }
            }
        }
        Ok(())
    }

    /// Finds or makes what a name stands for, and where its cursor starts.
    fn start(&mut self, name: &str, subscribe: &Subscribe) -> (Topic, Start) {
        let resume = subscribe.resume.as_ref();
        let wish = resume.and_then(|resume| {
            let mut positions = resume.positions.iter();
            let (_, position) = positions.find(|(channel, _)| channel == name)?;
            Some((resume, *position))
        });
        if name::is_pattern(name) {
            let full = self.catalog.pattern_count() >= self.config.patterns_per_server as usize;
            if full
                && self.config.patterns_per_server > 0
                && self.catalog.find_pattern(name).is_none()
            {
                self.catalog.drop_one_idle();
            }
            let ix = self.catalog.pattern_named(name, self.store.head());
            let start = self.start_pattern(ix, subscribe, wish);
            (Topic::Pattern(ix), start)
        } else {
            let ix = self.catalog.channel_named(name);
            let start = self.start_channel(ix, subscribe, wish);
            (Topic::Channel(ix), start)
        }
    }

    /// The start of who has nothing and asks for nothing: live from here on.
    fn live(&self, seq: u64) -> Start {
        Start {
            next: self.store.head(),
            seq,
            position: self.source.ready.then_some(seq),
            snapshot: false,
            owes_lost: false,
            resumed: None,
        }
    }

    fn start_channel(
        &self,
        ix: ChannelIx,
        asked: &Subscribe,
        wish: Option<(&Resume, Position)>,
    ) -> Start {
        let channel = self.catalog.channel(ix);
        let mut start = self.live(channel.last_seq);
        if let Some((resume, position)) = wish {
            let outcome = self.prove_channel(ix, resume, position);
            if asked.mode == Mode::Latest && self.source.ready {
                return self.start_at_newest(ix, position, outcome);
            }
            match outcome {
                Ok(()) => {
                    start.next = self
                        .store
                        .first_of_channel_after(&self.catalog, ix, position.seq);
                    (start.seq, start.position) = (position.seq, Some(position.seq));
                    if mutant::is(Mutant::ResumeDuplicate) && position.seq > 0 {
                        start.seq = position.seq - 1;
                        start.next =
                            self.store
                                .first_of_channel_after(&self.catalog, ix, start.seq);
                    }
                    start.resumed = Some(Ok(()));
                    return start;
                }
                Err(reason) => {
                    let places = channel.held.or_else(|| channel.log.places.front().copied());
                    let oldest = places.and_then(|place| self.store.get(place));
                    start.resumed = Some(Err(Unresumed {
                        reason,
                        oldest: oldest.map(|publication| publication.seq),
                        newest: (channel.last_seq > 0).then_some(channel.last_seq),
                    }));
                    if reason == UnrecoveredReason::TooOld && asked.on_lost == OnLost::Continue {
                        return self.owing_lost(start, position);
                    }
                }
            }
        }
        if asked.snapshot
            && let Some(last) = self.store.get(channel.last)
        {
            start.next = channel.last;
            start.seq = last.seq.saturating_sub(1);
            start.position = last.prev.filter(|_| self.source.ready);
        }
        start
    }

    /// The start of who asked to go on after a loss: a notice of it, then all that is kept.
    fn owing_lost(&self, start: Start, position: Position) -> Start {
        Start {
            next: self.source.begin,
            seq: position.seq,
            position: Some(position.seq),
            owes_lost: true,
            ..start
        }
    }

    /// The start of a resume in latest mode: the newest entry, if the client does not have it. A
    /// position that means nothing here is before everything.
    fn start_at_newest(
        &self,
        ix: ChannelIx,
        position: Position,
        outcome: Result<(), UnrecoveredReason>,
    ) -> Start {
        let channel = self.catalog.channel(ix);
        let mut start = self.live(channel.last_seq);
        start.resumed = Some(Ok(()));
        start.seq = if is_void(outcome) { 0 } else { position.seq };
        start.position = Some(start.seq);
        if channel.last_seq > start.seq {
            // Where the newest is gone, the cursor stands before a hole and says so.
            start.next = channel.newest().unwrap_or(channel.log.dropped_to);
        }
        start
    }

    fn start_pattern(
        &self,
        ix: PatternIx,
        asked: &Subscribe,
        wish: Option<(&Resume, Position)>,
    ) -> Start {
        let mut start = self.live(self.source.head_seq);
        if let Some((resume, position)) = wish {
            let outcome = self.prove_pattern(ix, resume, position);
            if asked.mode == Mode::Latest && self.source.ready {
                start.seq = if is_void(outcome) { 0 } else { position.seq };
                start.position = Some(start.seq);
                start.next = self.store.first_after(start.seq);
                let (gone, gone_seq) = self.store.value_dropped_to;
                let log = &self.catalog.pattern(ix).log;
                if gone_seq.min(log.dropped_seq) > start.seq {
                    // The newest of some channel may be gone: the cursor stands before that hole.
                    start.next = start.next.min(gone).min(log.dropped_to);
                }
                start.resumed = Some(Ok(()));
                return start;
            }
            match outcome {
                Ok(()) => {
                    start.next = self.store.first_after(position.seq);
                    (start.seq, start.position) = (position.seq, Some(position.seq));
                    start.resumed = Some(Ok(()));
                    return start;
                }
                Err(reason) => {
                    let kept_from = self.kept_after(self.catalog.pattern(ix).log.dropped_seq);
                    let oldest = self.source.ready.then_some(kept_from + 1);
                    let newest = self.source.ready.then_some(self.source.head_seq);
                    start.resumed = Some(Err(Unresumed {
                        reason,
                        oldest,
                        newest,
                    }));
                    if reason == UnrecoveredReason::TooOld && asked.on_lost == OnLost::Continue {
                        return self.owing_lost(start, position);
                    }
                }
            }
        }
        if asked.snapshot {
            start.next = self.source.begin;
            start.snapshot = true;
            start.seq = 0;
        }
        start
    }

    fn insert_subscription(&mut self, index: u32, topic: Topic, asked: &Subscribe, start: &Start) {
        let sibling = self.at(index).subscriptions;
        let since = self.store.head();
        let sub = SubIx(self.subs.insert(Subscription {
            topic,
            conn: index,
            next: start.next,
            seq: start.seq,
            since,
            snapshot: start.snapshot,
            sibling,
            pending_next: SubIx::NONE,
            waiting_at: 0,
            mode: asked.mode,
            on_lost: asked.on_lost,
            pending: false,
            owes_lost: start.owes_lost,
        }));
        let session = self.at(index);
        session.subscriptions = sub;
        session.subscription_count += 1;
        match topic {
            Topic::Channel(ix) => self.catalog.channel_mut(ix).subscribers += 1,
            Topic::Pattern(ix) => {
                session.pattern_count += 1;
                self.catalog.retain_pattern(ix);
            }
        }
        self.place(sub);
    }
}

/// Whether a position means nothing on this number line: it is of another one, or after the end of one
/// that only this server extends, where waiting for it would hide what comes until then.
fn is_void(outcome: Result<(), UnrecoveredReason>) -> bool {
    matches!(
        outcome,
        Err(UnrecoveredReason::EpochChanged | UnrecoveredReason::AheadOfLog)
    )
}
