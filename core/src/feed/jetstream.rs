//! How a JetStream stream is followed without a silent hole: when its state is read, which consumer is
//! opened, which message is proof of continuity, and when the number line begins anew.
//!
//! One run is: read the stream's state, open a consumer, read the state again (the stream could have
//! been another one by the time the consumer was opened), fetch. A number line starts with a snapshot
//! (the last message of each subject); every later run starts with the last message that was taken
//! (the overlap), whose time proves that the stream is still the same one. What a stream announces
//! about itself (creation time, first and last seq, nonce) decides the rest.
//!
//! A stream that went back to an earlier state begins a new number line, of which its creation time
//! shows nothing: the server that sees it writes a nonce into the stream's metadata, so that others
//! and those who start later are on the same number line. What the stream holds then counts, whoever
//! wrote it.
//!
//! The follower says what is to be done as [`Step`]s; numbering and encoding are the Feed's.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::epoch::Naming;
use super::step::Step;
use super::{Command, DeliverPolicy, Delivered, StreamInfo};
use crate::mutant::{self, Mutant};
use crate::reason::ResetReason;
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;

/// How long an answer may take before the command counts as failed. The shell gives up much
/// earlier; this is for a shell that does not answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause after a failure, doubled at each further one in a row.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest pause, in doublings of the first: 1.6 s.
const RETRY_DOUBLINGS_MAX: u32 = 5;

/// When the stream's state is read once more after a nonce was sent out. Another server that saw the
/// same rollback, and read the stream before the nonce was there, has written its own by then.
const NONCE_SETTLE_TIME: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not connected.
    Down,
    /// After a failure.
    Waiting,
    /// For the stream's state.
    Reading,
    /// For the nonce to be written.
    Writing,
    /// For the consumer.
    Opening,
    /// For the stream's state, which must fit the consumer.
    Confirming { pending: u64 },
    /// Messages flow.
    Following,
}

/// A message that was taken: no other message of the same stream has this seq and time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    seq: u64,
    time: u64,
}

#[derive(Debug)]
pub(super) struct Follower {
    naming: Naming,
    silence: Duration,
    phase: Phase,
    /// When the phase has lasted too long.
    deadline: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// The creation time of the stream that the number line is of; `None`: none was seen yet.
    created: Option<u64>,
    /// When the stream's state is to be read although nothing is wrong.
    recheck: Option<Instant>,
    /// The consumer has shown that the stream went back.
    went_back: bool,
    epoch: Arc<str>,
    /// Why the number line began, to be said again when its snapshot has to be made again.
    began: ResetReason,
    /// Whether anything of this number line was published.
    published: bool,
    /// The epoch that the shards know.
    announced: Option<Arc<str>>,
    /// Whether the snapshot of this number line is complete.
    complete: bool,
    /// The snapshot reaches up to this seq.
    snapshot_to: u64,
    /// Up to this seq everything was taken, announced as discarded, or none of ours.
    have: u64,
    /// The last message that was taken.
    last: Option<Identity>,
    /// The message that the consumer has to deliver first.
    overlap: Option<Identity>,
    /// The consumer's last place.
    consumer_seq: u64,
    /// The stream's state when the consumer was opened.
    info: Option<StreamInfo>,
}

impl Follower {
    pub(super) fn new(stream: String, seed: u64, silence: Duration) -> Self {
        Self {
            naming: Naming::new(stream, seed),
            silence,
            phase: Phase::Down,
            deadline: None,
            failures: 0,
            created: None,
            recheck: None,
            went_back: false,
            epoch: "".into(),
            began: ResetReason::SourceReady,
            published: false,
            announced: None,
            complete: false,
            snapshot_to: 0,
            have: 0,
            last: None,
            overlap: None,
            consumer_seq: 0,
            info: None,
        }
    }

    /// When the stream of the number line was created; 0: none was seen yet.
    pub(super) fn created(&self) -> u64 {
        self.created.unwrap_or_default()
    }

    pub(super) fn connected(&mut self, now: Instant, steps: &mut Vec<Step>) {
        self.failures = 0;
        self.read_info(now, steps);
    }

    pub(super) fn disconnected(&mut self) {
        self.phase = Phase::Down;
        self.deadline = None;
        self.naming.disconnected();
    }

    pub(super) fn info(&mut self, now: Instant, info: StreamInfo, steps: &mut Vec<Step>) {
        match self.phase {
            Phase::Reading => self.open(now, info, steps),
            Phase::Confirming { pending } => self.confirm(now, info, pending, steps),
            _ => {}
        }
    }

    pub(super) fn nonce_written(&mut self, now: Instant, steps: &mut Vec<Step>) {
        if self.phase == Phase::Writing {
            self.naming.answered();
            self.read_info(now, steps);
        }
    }

    pub(super) fn consumer_opened(&mut self, now: Instant, pending: u64, steps: &mut Vec<Step>) {
        if self.phase == Phase::Opening {
            self.phase = Phase::Confirming { pending };
            self.deadline = Some(now + ANSWER_TIME_MAX);
            steps.push(Step::Command(Command::ReadInfo));
        }
    }

    pub(super) fn heartbeat(&mut self, now: Instant) {
        // While the snapshot is incomplete a consumer that has nothing to deliver is of no use: what
        // it was to deliver was deleted under it. The silence then ends the run.
        if self.phase == Phase::Following && self.complete {
            self.failures = 0;
            self.deadline = Some(now + self.silence);
        }
    }

    pub(super) fn failed(&mut self, now: Instant) {
        if self.phase == Phase::Down {
            return;
        }
        if self.phase == Phase::Writing {
            // Refused: the number line keeps this server's own nonce.
            self.naming.answered();
        }
        self.phase = Phase::Waiting;
        let doublings = self.failures.min(RETRY_DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.deadline = Some(now + RETRY_FIRST * (1 << doublings));
    }

    pub(super) fn timeout(&mut self, now: Instant, steps: &mut Vec<Step>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Down => {}
            Phase::Following if mutant::is(Mutant::SilenceNotNoticed) => {
                self.deadline = Some(now + self.silence);
            }
            Phase::Waiting | Phase::Following => self.read_info(now, steps),
            Phase::Reading | Phase::Writing | Phase::Opening | Phase::Confirming { .. } => {
                self.failed(now);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let recheck = self.recheck.filter(|_| self.phase == Phase::Following);
        self.deadline.into_iter().chain(recheck).min()
    }

    /// Judges a message: it is published only if a [`Step::Publish`] says so.
    pub(super) fn delivered(&mut self, now: Instant, d: &Delivered<'_>, steps: &mut Vec<Step>) {
        if self.phase != Phase::Following {
            return;
        }
        self.deadline = Some(now + self.silence);
        let follows = d.consumer_seq == self.consumer_seq.saturating_add(1);
        if !follows && !mutant::is(Mutant::ConsumerGapNotNoticed) {
            return self.read_info(now, steps);
        }
        self.consumer_seq = d.consumer_seq;
        let this = Identity {
            seq: d.stream_seq,
            time: d.time,
        };
        if let Some(overlap) = self.overlap.take() {
            if this == overlap || mutant::is(Mutant::OverlapNotChecked) && this.seq == overlap.seq {
                self.failures = 0;
                return;
            }
            // The overlap was deleted since, or this is another past.
            let deletions = self.info.is_some_and(|info| info.num_deleted > 0);
            if this.seq <= overlap.seq || !deletions {
                self.went_back = true;
                return self.read_info(now, steps);
            }
        } else if self.last.is_some_and(|last| this.seq <= last.seq) {
            // A consumer delivers in order; one that does not cannot be trusted.
            return self.read_info(now, steps);
        }
        self.failures = 0;
        self.take(this, d.pending, steps);
    }

    fn take(&mut self, this: Identity, pending: u64, steps: &mut Vec<Step>) {
        if !self.complete && this.seq > self.snapshot_to {
            // The end of the snapshot was discarded before it was delivered. Some of it may have
            // followed on channels that are known already.
            let taken = self.have;
            self.finish_snapshot(steps);
            self.have = if taken > 0 { taken } else { self.have };
        }
        let covers_all = self.info.is_some_and(|info| info.covers_all);
        if self.complete && covers_all && this.seq > self.have.saturating_add(1) {
            steps.push(Step::Discarded {
                from: self.have + 1,
                to: this.seq - 1,
            });
        }
        self.last = Some(this);
        self.have = self.have.max(this.seq);
        self.published = true;
        steps.push(Step::Publish {
            historic: this.seq <= self.snapshot_to,
        });
        if !self.complete && (this.seq >= self.snapshot_to || pending == 0) {
            self.finish_snapshot(steps);
        }
    }

    fn read_info(&mut self, now: Instant, steps: &mut Vec<Step>) {
        self.phase = Phase::Reading;
        self.deadline = Some(now + ANSWER_TIME_MAX);
        steps.push(Step::Command(Command::ReadInfo));
    }

    /// Decides from the stream's state where to begin.
    fn open(&mut self, now: Instant, info: StreamInfo, steps: &mut Vec<Step>) {
        self.recheck = self.recheck.filter(|recheck| now < *recheck);
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
            // A message that is gone can prove nothing, but it is remembered: should the stream have
            // it again, it must be the same one.
            self.overlap = self.last.filter(|last| last.seq >= info.first_seq);
            let next = self.have.saturating_add(1);
            DeliverPolicy::ByStartSequence(self.overlap.map_or(next, |overlap| overlap.seq))
        } else {
            self.overlap = None;
            DeliverPolicy::LastPerSubject
        };
        self.phase = Phase::Opening;
        self.deadline = Some(now + ANSWER_TIME_MAX);
        steps.push(Step::Command(Command::OpenConsumer(policy)));
    }

    /// The consumer is open: the stream must still be the one for which it was opened.
    fn confirm(&mut self, now: Instant, info: StreamInfo, pending: u64, steps: &mut Vec<Step>) {
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
        self.info = Some(info);
        if self.complete {
            self.skip_discarded(&info, steps);
            self.overlap = self.overlap.filter(|overlap| overlap.seq >= info.first_seq);
        } else {
            // What was stored between the first reading and the opening may have replaced values of
            // the snapshot, so the snapshot ends where the stream ended after the opening.
            self.snapshot_to = info.last_seq;
            if pending == 0 || mutant::is(Mutant::ReadyBeforeSnapshot) {
                self.finish_snapshot(steps);
            }
        }
        steps.push(Step::Command(Command::Fetch));
    }

    /// Announces what the limits of the stream or a purge took before it was read.
    fn skip_discarded(&mut self, info: &StreamInfo, steps: &mut Vec<Step>) {
        if mutant::is(Mutant::DiscardedOffByOne) && info.first_seq > self.have.saturating_add(1) {
            steps.push(Step::Discarded {
                from: self.have + 1,
                to: info.first_seq,
            });
            self.have = info.first_seq;
        } else if info.first_seq > self.have.saturating_add(1) {
            steps.push(Step::Discarded {
                from: self.have + 1,
                to: info.first_seq - 1,
            });
            self.have = info.first_seq - 1;
        }
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
        self.last = None;
        self.overlap = None;
        self.info = None;
        steps.push(Step::Begin {
            epoch: Arc::clone(&self.epoch),
            announce: told.then_some(reason),
        });
    }

    fn finish_snapshot(&mut self, steps: &mut Vec<Step>) {
        let deleted = self
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

coded!(Identity { seq, time });

coded!(Follower {
    naming,
    silence,
    phase,
    deadline,
    failures,
    created,
    recheck,
    went_back,
    epoch,
    began,
    published,
    announced,
    complete,
    snapshot_to,
    have,
    last,
    overlap,
    consumer_seq,
    info
});

impl Code for Phase {
    fn put(&self, out: &mut Writer) {
        out.byte(match self {
            Self::Down => 0,
            Self::Waiting => 1,
            Self::Reading => 2,
            Self::Writing => 3,
            Self::Opening => 4,
            Self::Confirming { .. } => 5,
            Self::Following => 6,
        });
        if let Self::Confirming { pending } = self {
            pending.put(out);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(match from.byte()? {
            0 => Self::Down,
            1 => Self::Waiting,
            2 => Self::Reading,
            3 => Self::Writing,
            4 => Self::Opening,
            5 => Self::Confirming {
                pending: Code::get(from)?,
            },
            6 => Self::Following,
            _ => return Err(Broken("a phase is unknown")),
        })
    }
}
