//! What the Feed says: entries for the logs, and the notices that concern every subscription.
//!
//! A `lost` for all is a barrier: what came before it is sent first, then the notice, then what came
//! after. A `reset` voids what was not sent yet, so it goes out next, after the answers given before
//! it.

use alloc::sync::Arc;

use super::proof::PROOF_TIME_MAX;
use super::subscription::{SubIx, Topic};
use super::{Shard, Source};
use crate::event::{Event, Lost, Publication, Reset, SourceReady};
use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// Notices that are kept. A connection that has not passed one when it goes is closed as too slow.
const NOTICES_MAX: usize = 64;

impl Shard {
    pub(super) fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Published(publication) => self.published(&publication),
            Event::Lost(lost) => self.lost(lost),
            Event::Reset(reset) => self.reset(&reset),
            Event::Evict { floor } => {
                if mutant::is(Mutant::PartialLostOnEviction) {
                    for index in self.living() {
                        self.at(index).front = None;
                    }
                }
                self.store.evict(&mut self.catalog, floor);
            }
            Event::SourceReady(ready) => self.source_ready(now, &ready),
        }
    }

    fn published(&mut self, publication: &Arc<Publication>) {
        let ix = self.catalog.channel_of(publication);
        self.source.head_seq = self.source.head_seq.max(publication.seq);
        self.store.append(&mut self.catalog, ix, publication);
        self.wake(Topic::Channel(ix));
        let patterns = self.catalog.take_patterns(ix);
        for pattern in &patterns {
            self.wake(Topic::Pattern(*pattern));
        }
        self.catalog.put_patterns(ix, patterns);
    }

    fn lost(&mut self, lost: Arc<Lost>) {
        let head = lost.to.unwrap_or(lost.from);
        self.source.head_seq = self.source.head_seq.max(head);
        // Whoever resumes from before the hole must hear of it, and is told so by `unrecovered`.
        if !mutant::is(Mutant::HoleNotRemembered) {
            self.source.proven_from = self.source.proven_from.max(head);
        }
        self.source.lost_to = head;
        self.store.skip(lost.order, head);
        self.doubt_proofs();
        if lost.to.is_some_and(|to| to <= self.told_until) {
            // A notice that every subscription has, or will have first, speaks of it already.
            return;
        }
        self.told_until = lost.until.unwrap_or(0);
        self.notices.push_back(lost);
        self.notices_total += 1;
        if self.notices.len() > NOTICES_MAX {
            self.notices.pop_front();
        }
        let total = self.notices_total;
        for index in self.living() {
            let session = self.at(index);
            if session.subscription_count > 0 && !session.gated() {
                self.rouse(index);
            } else if session.subscription_count == 0 {
                session.notices_passed = total;
            }
        }
    }

    /// The number of the oldest notice that is kept, less one.
    fn notices_gone(&self) -> u64 {
        self.notices_total - self.notices.len() as u64
    }

    /// Whether a notice that a connection has not passed is gone.
    pub(super) fn has_missed_notice(&self, passed: u64) -> bool {
        passed < self.notices_gone()
    }

    /// The notice after number `passed`.
    pub(super) fn notice_after(&self, passed: u64) -> Option<&Arc<Lost>> {
        let at = usize::try_from(passed.checked_sub(self.notices_gone())?).ok()?;
        self.notices.get(at)
    }

    fn reset(&mut self, reset: &Reset) {
        self.stats.resets += 1;
        self.store.clear(&mut self.catalog, reset.order);
        self.archive.clear();
        self.notices.clear();
        self.told_until = 0;
        self.source = Source {
            ready: false,
            epoch: Some(reset.epoch.clone()),
            durable: self.source.durable,
            created: 0,
            snapshot_head: 0,
            head_seq: 0,
            proven_from: 0,
            lost_to: 0,
            begin: reset.order.next(),
            live_from: reset.order.next(),
        };
        for index in self.living() {
            self.at(index).notices_passed = self.notices_total;
            self.restart_subscriptions(index);
            self.end_all_replays(index);
            self.forget_proofs(index);
            if self.at(index).subscription_count > 0 && !self.at(index).gated() {
                self.owe_reset(index, reset.frame.clone());
            }
        }
    }

    fn source_ready(&mut self, now: Instant, ready: &SourceReady) {
        self.source.ready = true;
        self.told_until = 0;
        self.source.epoch = Some(ready.epoch.clone());
        self.source.durable = ready.durable;
        self.source.created = ready.created;
        self.source.snapshot_head = ready.head;
        self.source.live_from = self.store.head();
        self.source.head_seq = self.source.head_seq.max(ready.head);
        self.source.proven_from = self.source.proven_from.max(ready.observed_from);
        for index in self.living() {
            let gated = self.at(index).gated();
            let Some(extra) = self.at(index).extra.as_deref_mut() else {
                continue;
            };
            extra.without_epoch = false;
            let held = extra.held.take();
            if gated {
                self.at(index).notices_passed = self.notices_total;
                self.restart_subscriptions(index);
                self.end_all_replays(index);
                if self.at(index).subscription_count > 0 {
                    self.owe_reset(index, ready.reset_frame.clone());
                }
            }
            if let Some(mut held) = held {
                held.until = held.until.max(now + PROOF_TIME_MAX);
                self.prove_and_subscribe(index, held);
            }
            self.at(index).tidy();
        }
    }

    /// Puts every cursor of a connection at the beginning of the number line.
    fn restart_subscriptions(&mut self, index: u32) {
        let begin = self.source.begin;
        let mut next = self.at(index).subscriptions;
        self.at(index).pending_tail = SubIx::NONE;
        while let Some(ix) = next.some() {
            let was_parked = self.leave_parked(ix);
            let sub = &mut self.subs[ix.0];
            next = sub.sibling;
            sub.cold = false;
            sub.next = begin;
            sub.seq = 0;
            sub.since = begin;
            sub.snapshot = false;
            sub.owes_lost = false;
            let was_pending = core::mem::take(&mut sub.pending);
            if was_pending || was_parked {
                self.place(ix);
            } else if self.has_data(&self.subs[ix.0]) {
                self.leave_waiting(ix);
                self.place(ix);
            }
        }
    }

    /// A newer `reset` takes the place of those that wait, but not of one with answers behind it: they
    /// are of the number line that it names.
    fn owe_reset(&mut self, index: u32, frame: bytes::Bytes) {
        let session = self.at(index);
        let answers = session.lane.as_ref().map_or(0, |lane| lane.len());
        let resets = &mut session.extra_mut().resets;
        resets.retain(|(before, _)| *before < answers);
        resets.push_back((answers, frame));
        self.rouse(index);
    }
}
