//! How a JetStream stream is followed without a silent hole: when its state is read, which consumer is
//! opened, which message is proof of continuity, and when the number line begins anew.
//!
//! One run is: read the stream's state, open a consumer, read the state again (the stream could have
//! been another one by the time the consumer was opened), fetch. A number line starts with a snapshot
//! (the last message of each subject); every later run starts with the last message that was taken
//! (the overlap), whose time proves that the stream is still the same one. What a stream announces
//! about itself (creation time, first and last seq, nonce) decides the rest.
//!
//! What its state leads to is decided in [`opening`], which message proves that the stream is still the same
//! one in [`proof`], and what is missing between two messages, or after the last one, in [`holes`].
//!
//! A stream that went back to an earlier state begins a new number line, of which its creation time
//! shows nothing: the server that sees it writes a nonce into the stream's metadata, so that others
//! and those who start later are on the same number line. What the stream holds then counts, whoever
//! wrote it.
//!
//! The follower says what is to be done as [`Step`]s; numbering and encoding are the Feed's.

mod holes;
mod opening;
mod proof;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::epoch::Naming;
use super::step::Step;
use super::{Command, Delivered, StreamInfo};
use crate::mutant::{self, Mutant};
use crate::reason::ResetReason;
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;
use holes::{Checked, Quiet};
use proof::{Identity, Proof, Recent, Verdict};

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

/// For how long a replicated stream must be said to end before what was taken, until it is believed. A leader that
/// has just been elected may not have caught up with what it stores, and one that was cut off from the others
/// does not know for ten seconds that it leads no more.
const SHORT_TIME_MIN: Duration = Duration::from_secs(12);

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
    /// For what was deleted; then messages flow again.
    Checking {
        /// After a quiet time, up to this seq; 0: before the message that waits.
        tail_to: u64,
    },
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
    /// Since when a replicated stream has been said to end before what was taken.
    short_since: Option<Instant>,
    epoch: Arc<str>,
    /// Why the number line began, to be said again when its snapshot has to be made again.
    began: ResetReason,
    /// Whether anything of this number line was published.
    published: bool,
    /// The epoch that the shards know.
    announced: Option<Arc<str>>,
    /// Whether the snapshot of this number line is complete.
    complete: bool,
    /// The stream's last seq before the consumer was opened.
    read_to: u64,
    /// The snapshot reaches up to this seq.
    snapshot_to: u64,
    /// Up to this seq everything was taken, announced as discarded, or none of ours.
    have: u64,
    /// The messages that were taken last.
    recent: Recent,
    /// Which proof of continuity the consumer has yet to give.
    proof: Proof,
    /// The last message that was taken is gone: an older one is to prove continuity.
    wants_older: bool,
    /// Nothing was left to prove it, and the stream's count of deletions did not say why.
    doubted: bool,
    /// What was found out about gaps that other subjects may have made.
    checked: Checked,
    /// What was found at the last heartbeat.
    quiet: Quiet,
    /// The consumer's last place.
    consumer_seq: u64,
    /// What the consumer had to deliver when it was opened.
    opened: u64,
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
            short_since: None,
            epoch: "".into(),
            began: ResetReason::SourceReady,
            published: false,
            announced: None,
            complete: false,
            read_to: 0,
            snapshot_to: 0,
            have: 0,
            recent: Recent::default(),
            proof: Proof::Given,
            wants_older: false,
            doubted: false,
            checked: Checked::default(),
            quiet: Quiet::default(),
            consumer_seq: 0,
            opened: 0,
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
        self.short_since = None;
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

    pub(super) fn heartbeat(&mut self, now: Instant, steps: &mut Vec<Step>) {
        // While the snapshot is incomplete a consumer that has nothing to deliver is of no use: what
        // it was to deliver was deleted under it. The silence then ends the run.
        if self.phase == Phase::Following && self.complete {
            self.failures = 0;
            self.deadline = Some(now + self.silence);
            if !mutant::is(Mutant::TailNotRead) {
                steps.push(Step::Command(Command::ReadTail));
            }
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
            Phase::Reading
            | Phase::Writing
            | Phase::Opening
            | Phase::Confirming { .. }
            | Phase::Checking { .. } => self.failed(now),
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
        let this = Identity {
            seq: d.stream_seq,
            time: d.time,
        };
        match self.judge(this) {
            Verdict::New => {}
            Verdict::Known => {
                self.consumer_seq = d.consumer_seq;
                self.failures = 0;
                return;
            }
            Verdict::Unproven => return self.read_info(now, steps),
            Verdict::TooEarly => return self.failed(now),
        }
        if !self.complete && this.seq > self.snapshot_to {
            // The end of the snapshot was discarded before it was delivered.
            self.finish_snapshot(steps);
        }
        if self.complete && self.is_held_by_gap(now, this.seq, steps) {
            return;
        }
        self.consumer_seq = d.consumer_seq;
        self.failures = 0;
        // What was announced as lost does not come any more.
        if !self.complete || this.seq > self.have {
            self.take(this, d.pending, steps);
        }
    }

    fn take(&mut self, this: Identity, pending: u64, steps: &mut Vec<Step>) {
        self.recent.push(this, this.seq > self.snapshot_to);
        self.have = self.have.max(this.seq);
        self.published = true;
        steps.push(Step::Publish {
            historic: (this.seq <= self.snapshot_to).then_some(self.read_to),
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
}

coded!(Follower {
    naming,
    silence,
    phase,
    deadline,
    failures,
    created,
    recheck,
    went_back,
    short_since,
    epoch,
    began,
    published,
    announced,
    complete,
    read_to,
    snapshot_to,
    have,
    recent,
    proof,
    wants_older,
    doubted,
    checked,
    quiet,
    consumer_seq,
    opened,
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
            Self::Checking { .. } => 7,
        });
        match self {
            Self::Confirming { pending } => pending.put(out),
            Self::Checking { tail_to } => tail_to.put(out),
            _ => {}
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
            7 => Self::Checking {
                tail_to: Code::get(from)?,
            },
            _ => return Err(Broken("a phase is unknown")),
        })
    }
}
