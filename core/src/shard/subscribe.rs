//! Subscribing: whether a connection may, where its cursor starts, and what the ack says.
//!
//! A request is done whole or refused whole. Where a cursor starts is one [`Start`] per name, made by
//! [`super::start`]; positions that only the stream can prove are asked for first ([`super::cold`]).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Shard;
use super::proof::{Held, PROOF_TIME_MAX, Verdict};
use super::session::Purpose;
use super::start::{Start, Unresumed};
use super::subscription::{SubIx, Subscription, Topic};
use crate::mutant::{self, Mutant};
use crate::name;
use crate::reason::{ErrorCode, UnrecoveredReason};
use crate::time::Instant;
use crate::wire::event::{self, SubscriptionAck, Unrecovered};
use crate::wire::request::{RequestId, Subscribe};

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
        let waits = !self.source.ready && !self.config.subscribe_hold.is_zero();
        if !waits && subscribe.resume.is_none() {
            return self.subscribe(index, id, subscribe, &BTreeMap::new());
        }
        let time_max = match waits {
            true => self.config.subscribe_hold,
            false => PROOF_TIME_MAX,
        };
        let held = Held {
            until: now + time_max,
            id: id.cloned(),
            subscribe: subscribe.clone(),
            verdicts: BTreeMap::new(),
            asks: Vec::new(),
        };
        if waits {
            self.at(index).extra_mut().held = Some(held);
        } else {
            self.prove_and_subscribe(index, held);
        }
    }

    /// Subscribes. `verdicts`: what the stream said of positions that this server cannot prove itself.
    pub(super) fn subscribe(
        &mut self,
        index: u32,
        id: Option<&RequestId>,
        subscribe: &Subscribe,
        verdicts: &BTreeMap<String, Verdict>,
    ) {
        let may = self.may_subscribe(index, &subscribe.channels);
        let forbidden = match may.and(self.forbidden_of(index, subscribe)) {
            Ok(forbidden) => forbidden,
            Err((code, message)) => return self.refuse(index, code, &message, id),
        };
        let ready = self.source.ready;
        // It was not told what the others were.
        if !mutant::is(Mutant::LatecomerNotTold) {
            self.told_until = 0;
        }
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
            let (topic, start) = self.start(name, subscribe, verdicts.get(name).copied());
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
                    let (reason, newest) = (*reason, *newest);
                    // The stream may be further than this server.
                    let next = newest.map_or(u64::MAX, |newest| newest.saturating_add(1));
                    let oldest = oldest.map(|oldest| oldest.min(next));
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
            cold: start.cold,
            parked: false,
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
