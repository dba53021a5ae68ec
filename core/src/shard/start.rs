//! Where a cursor starts, and what became of the position that a client brought: made from the log, and from
//! what the stream said of the position, before anything changes.

use super::Shard;
use super::catalog::{ChannelIx, PatternIx};
use super::proof::Verdict;
use super::subscription::Topic;
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::name;
use crate::reason::UnrecoveredReason;
use crate::wire::request::{Mode, OnLost, Position, Resume, Subscribe};

/// Where a cursor starts.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) next: Order,
    pub(super) seq: u64,
    /// The position that the ack names; `None`: unknown.
    pub(super) position: Option<u64>,
    /// Send the newest of each channel that a pattern matches first.
    pub(super) snapshot: bool,
    /// It reads history first.
    pub(super) cold: bool,
    pub(super) owes_lost: bool,
    /// What became of the resume, if there was one.
    pub(super) resumed: Option<Result<(), Unresumed>>,
}

/// Why a resume failed, and what is kept.
#[derive(Debug)]
pub(super) struct Unresumed {
    pub(super) reason: UnrecoveredReason,
    pub(super) oldest: Option<u64>,
    pub(super) newest: Option<u64>,
}

/// A position that a client brings.
#[derive(Clone, Copy)]
struct Wish<'a> {
    resume: &'a Resume,
    position: Position,
    /// What the stream said of it, where this server cannot prove it itself.
    verdict: Option<Verdict>,
}

impl Wish<'_> {
    /// What follows from what the stream said.
    fn outcome(&self) -> Option<Result<(), UnrecoveredReason>> {
        Some(match self.verdict? {
            Verdict::Whole => Ok(()),
            Verdict::Hole { .. } => Err(UnrecoveredReason::TooOld),
            Verdict::Different => Err(UnrecoveredReason::EpochChanged),
            Verdict::Ahead => Err(UnrecoveredReason::AheadOfLog),
            Verdict::Unavailable => Err(UnrecoveredReason::UpstreamUnavailable),
        })
    }

    fn is_proven(&self) -> bool {
        self.verdict == Some(Verdict::Whole)
    }

    /// Up to where messages after the position may be gone.
    fn hole_to(&self) -> Option<u64> {
        match self.verdict {
            Some(Verdict::Hole { to, .. }) => Some(to),
            _ => None,
        }
    }

    fn oldest(&self) -> Option<u64> {
        match self.verdict {
            Some(Verdict::Hole { oldest, .. }) => oldest,
            _ => None,
        }
    }
}

impl Start {
    /// The same, but in history, at a position.
    fn in_history(self, position: Position) -> Self {
        Self {
            seq: position.seq,
            position: Some(position.seq),
            cold: true,
            next: Order(0),
            ..self
        }
    }

    /// The same behind a notice for what is gone up to a seq.
    fn behind_hole(self, to: u64) -> Self {
        Self {
            next: Order(to),
            owes_lost: true,
            ..self
        }
    }
}

impl Shard {
    /// Finds or makes what a name stands for, and where its cursor starts.
    pub(super) fn start(
        &mut self,
        name: &str,
        subscribe: &Subscribe,
        verdict: Option<Verdict>,
    ) -> (Topic, Start) {
        let resume = subscribe.resume.as_ref();
        let wish = resume.and_then(|resume| {
            let mut positions = resume.positions.iter();
            let (_, position) = positions.find(|(channel, _)| channel == name)?;
            Some(Wish {
                resume,
                position: *position,
                verdict,
            })
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
            cold: false,
            owes_lost: false,
            resumed: None,
        }
    }

    fn start_channel(&self, ix: ChannelIx, asked: &Subscribe, wish: Option<Wish<'_>>) -> Start {
        let channel = self.catalog.channel(ix);
        let mut start = self.live(channel.last_seq);
        if let Some(wish) = wish {
            let position = wish.position;
            let proven_here = || self.prove_channel(ix, wish.resume, position);
            let outcome = wish.outcome().unwrap_or_else(proven_here);
            if asked.mode == Mode::Latest && self.source.ready {
                return self.start_at_newest(ix, position, outcome);
            }
            match outcome {
                Ok(())
                    if position.seq < self.log_reaches_back_to(Topic::Channel(ix))
                        && wish.is_proven() =>
                {
                    start.resumed = Some(Ok(()));
                    return start.in_history(position);
                }
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
                        oldest: wish.oldest().or(oldest.map(|publication| publication.seq)),
                        newest: (channel.last_seq > 0).then_some(channel.last_seq),
                    }));
                    if let Some(to) = wish.hole_to()
                        && asked.on_lost == OnLost::Continue
                    {
                        return start.in_history(position).behind_hole(to);
                    }
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

    fn start_pattern(&self, ix: PatternIx, asked: &Subscribe, wish: Option<Wish<'_>>) -> Start {
        let mut start = self.live(self.source.head_seq);
        if let Some(wish) = wish {
            let position = wish.position;
            let proven_here = || self.prove_pattern(ix, wish.resume, position);
            let outcome = wish.outcome().unwrap_or_else(proven_here);
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
                Ok(())
                    if position.seq < self.log_reaches_back_to(Topic::Pattern(ix))
                        && wish.is_proven() =>
                {
                    start.resumed = Some(Ok(()));
                    return start.in_history(position);
                }
                Ok(()) => {
                    start.next = self.store.first_after(position.seq);
                    (start.seq, start.position) = (position.seq, Some(position.seq));
                    start.resumed = Some(Ok(()));
                    return start;
                }
                Err(reason) => {
                    let kept_from = self.kept_after(self.catalog.pattern(ix).log.dropped_seq);
                    let oldest = wish.oldest().or(self.source.ready.then_some(kept_from + 1));
                    let newest = self.source.ready.then_some(self.source.head_seq);
                    start.resumed = Some(Err(Unresumed {
                        reason,
                        oldest,
                        newest,
                    }));
                    if let Some(to) = wish.hole_to()
                        && asked.on_lost == OnLost::Continue
                    {
                        return start.in_history(position).behind_hole(to);
                    }
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
}

/// Whether a position means nothing on this number line: it is of another one, or after the end of one
/// that only this server extends, where waiting for it would hide what comes until then.
fn is_void(outcome: Result<(), UnrecoveredReason>) -> bool {
    matches!(
        outcome,
        Err(UnrecoveredReason::EpochChanged | UnrecoveredReason::AheadOfLog)
    )
}
