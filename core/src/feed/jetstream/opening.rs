//! What the stream's state leads to: which number line it is, where the next consumer begins, and
//! whether it is the one that was asked for.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::holes::{Checked, Quiet};
use super::proof::{Proof, Recent};
use super::{ANSWER_TIME_MAX, Follower, NONCE_SETTLE_TIME, Phase, SHORT_TIME_MIN};
use crate::feed::step::Step;
use crate::feed::{Command, DeliverPolicy, StreamInfo};
use crate::mutant::{self, Mutant};
use crate::reason::ResetReason;
use crate::time::Instant;

impl Follower {
    /// Decides from the stream's state where to begin.
    pub(super) fn open(&mut self, now: Instant, info: StreamInfo, steps: &mut Vec<Step>) {
        self.recheck = self.recheck.filter(|recheck| now < *recheck);
        if self.may_be_behind(now, &info) {
            return self.failed(now);
        }
        match self.created {
            None => self.adopt(&info, ResetReason::SourceReady, steps),
            Some(created)
                if created != info.created && !mutant::is(Mutant::RecreationNotNoticed) =>
            {
                self.adopt(&info, ResetReason::StreamRecreated, steps);
            }
            // Another server saw a rollback, perhaps the same one that this server is about to see.
            Some(_) if self.naming.is_news(info.nonce) => {
                self.adopt(&info, ResetReason::StreamRolledBack, steps);
            }
            Some(created) if self.is_earlier(&info) => {
                self.naming.diverge(created);
                self.begin(created, ResetReason::StreamRolledBack, steps);
            }
            // The snapshot was interrupted: what it would have told of is not known any more.
            Some(created) if !self.complete => {
                // A number line that is this server's own cannot tell whether the stream went back
                // once more meanwhile, so what was published of it gets no continuation.
                if self.published && self.naming.is_own() {
                    self.naming.diverge(created);
                }
                self.begin(created, self.began, steps);
            }
            Some(_) => self.skip_discarded(&info, steps),
        }
        self.naming.read(info.nonce);
        let Some(nonce) = self.naming.next_write() else {
            return self.open_consumer(now, &info, steps);
        };
        self.recheck = Some(now + NONCE_SETTLE_TIME);
        self.phase = Phase::Writing;
        self.deadline = Some(now + ANSWER_TIME_MAX);
        steps.push(Step::Command(Command::WriteNonce(nonce)));
    }

    /// Opens a consumer that begins where the one before ended, or with a snapshot.
    fn open_consumer(&mut self, now: Instant, info: &StreamInfo, steps: &mut Vec<Step>) {
        let policy = if self.complete {
            DeliverPolicy::ByStartSequence(self.begin_proof(info))
        } else {
            self.proof = Proof::Given;
            DeliverPolicy::LastPerSubject
        };
        self.checked = Checked::default();
        self.quiet = Quiet::default();
        self.read_to = info.last_seq;
        self.phase = Phase::Opening;
        self.deadline = Some(now + ANSWER_TIME_MAX);
        steps.push(Step::Command(Command::OpenConsumer(policy)));
    }

    /// The consumer is open: the stream must still be the one for which it was opened.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        info: StreamInfo,
        pending: u64,
        steps: &mut Vec<Step>,
    ) {
        let same = self.created == Some(info.created) && self.naming.is_unchanged(info.nonce);
        if !same || info.last_seq < self.have {
            return self.open(now, info, steps);
        }
        let empty = info.last_seq == 0 || info.first_seq > info.last_seq;
        if !self.complete && pending == 0 && info.covers_all && !empty {
            // The replica that holds the consumer is behind the one that answered.
            return self.failed(now);
        }
        self.phase = Phase::Following;
        self.deadline = Some(now + self.silence);
        self.consumer_seq = 0;
        self.opened = pending;
        self.info = Some(info);
        if self.complete {
            self.skip_discarded(&info, steps);
            self.narrow_proof(&info);
        } else {
            // What was stored between the first reading and the opening may have replaced values of
            // the snapshot, so the snapshot ends where the stream ended after the opening. Where there
            // are no values it ends where the first reading did: what came since is delivered. A replica that is
            // behind may have none where there are some.
            self.snapshot_to = match pending {
                0 if info.replicated && !info.covers_all => 0,
                0 => self.read_to,
                _ => info.last_seq,
            };
            if pending == 0 || mutant::is(Mutant::ReadyBeforeSnapshot) {
                self.finish_snapshot(steps);
            }
        }
        steps.push(Step::Command(Command::Fetch));
    }

    /// Whether the stream only seems to end before what was taken, because the replica that answered is behind.
    fn may_be_behind(&mut self, now: Instant, info: &StreamInfo) -> bool {
        let is_same = self.created == Some(info.created) && !self.naming.is_news(info.nonce);
        if !info.replicated || !is_same || self.went_back || info.last_seq >= self.have {
            self.short_since = None;
            return false;
        }
        let since = *self.short_since.get_or_insert(now);
        now < since + SHORT_TIME_MIN
    }

    /// Whether the stream went back to an earlier state: it has another message where this server took
    /// one, it ends before that, or its metadata is what it was before.
    fn is_earlier(&self, info: &StreamInfo) -> bool {
        self.went_back || info.last_seq < self.have || self.naming.is_earlier(info.nonce)
    }

    /// Begins a number line as the stream names it.
    fn adopt(&mut self, info: &StreamInfo, reason: ResetReason, steps: &mut Vec<Step>) {
        self.naming.adopt(info.nonce);
        self.begin(info.created, reason, steps);
    }

    fn begin(&mut self, created: u64, reason: ResetReason, steps: &mut Vec<Step>) {
        self.created = Some(created);
        self.epoch = self.naming.epoch(created);
        self.went_back = false;
        self.short_since = None;
        let known = self.announced.as_ref();
        let told = self.published || known.is_some_and(|known| *known != self.epoch);
        if told {
            self.announced = Some(Arc::clone(&self.epoch));
        }
        self.began = if told { reason } else { self.began };
        self.published = false;
        self.complete = false;
        self.snapshot_to = 0;
        self.have = 0;
        self.recent = Recent::default();
        self.proof = Proof::Given;
        self.wants_older = false;
        self.doubted = false;
        self.info = None;
        steps.push(Step::Begin {
            epoch: Arc::clone(&self.epoch),
            announce: told.then_some(reason),
        });
    }

    /// The consumer has delivered what there was when it was opened. What was stored between the first reading and the
    /// end of the snapshot, and was not delivered, was deleted or is still to come: nats-server counts a message as
    /// pending a moment after it has stored it (`signalConsumersLoop`). Where values were taken it is therefore left to
    /// what follows. So is, of a replicated stream, what was there at the first reading: the replica that holds the
    /// consumer may have been behind.
    pub(super) fn finish_snapshot(&mut self, steps: &mut Vec<Step>) {
        if self.have > 0 && !mutant::is(Mutant::PendingTrusted) {
            let behind = self.info.is_some_and(|info| info.replicated);
            let read_to = if behind { 0 } else { self.read_to };
            self.snapshot_to = self.snapshot_to.min(self.have.max(read_to));
        }
        // Fewer came than there were: some were deleted on the way.
        let deleted = self.consumer_seq < self.opened
            || self
                .info
                .is_none_or(|info| info.first_seq > 1 || info.num_deleted > 0);
        self.complete = true;
        self.announced = Some(Arc::clone(&self.epoch));
        self.have = self.have.max(self.snapshot_to);
        steps.push(Step::Ready {
            head: self.have,
            observed_from: if deleted { self.snapshot_to } else { 0 },
        });
    }
}
