//! Whether a position that a client brings is proven: a resume is recovered only where what this
//! server saw, or still holds, shows that nothing after the position is missing.

use super::Shard;
use super::catalog::{ChannelIx, PatternIx};
use crate::mutant::{self, Mutant};
use crate::reason::UnrecoveredReason;
use crate::wire::request::{Position, Resume};

impl Shard {
    /// The seq after which nothing is missing, where messages up to `dropped` may be.
    pub(super) fn kept_after(&self, dropped: u64) -> u64 {
        dropped.max(self.source.proven_from)
    }

    /// Whether everything of a channel after a position is here, and nothing was there that is not.
    pub(super) fn prove_channel(
        &self,
        ix: ChannelIx,
        resume: &Resume,
        at: Position,
    ) -> Result<(), UnrecoveredReason> {
        self.prove_epoch(resume, at)?;
        let stored = self.stored_of_channel(ix, at.seq);
        if let (Some(stored), Some(ts)) = (stored, at.ts)
            && stored != ts
        {
            return Err(UnrecoveredReason::EpochChanged);
        }
        if self.has_all_after(ix, at.seq) {
            Ok(())
        } else {
            Err(UnrecoveredReason::TooOld)
        }
    }

    /// Whether every message of a channel after a seq is here, and nothing was there that is not.
    pub(super) fn has_all_after(&self, ix: ChannelIx, seq: u64) -> bool {
        let channel = self.catalog.channel(ix);
        // The value with which this server began is its own proof: it was the channel's last. What
        // was lost for all since then may have been of this channel.
        let anchored = seq > 0 && seq == channel.first_seen && seq >= self.source.lost_to;
        seq >= channel.log.dropped_seq && (seq >= self.source.proven_from || anchored)
    }

    fn stored_of_channel(&self, ix: ChannelIx, seq: u64) -> Option<u64> {
        let before = seq.checked_sub(1)?;
        let place = self.store.first_of_channel_after(&self.catalog, ix, before);
        self.store.get(place).filter(|p| p.seq == seq).map(|p| p.ts)
    }

    pub(super) fn prove_pattern(
        &self,
        ix: PatternIx,
        resume: &Resume,
        at: Position,
    ) -> Result<(), UnrecoveredReason> {
        self.prove_epoch(resume, at)?;
        if let (Some(ts), Some(before)) = (at.ts, at.seq.checked_sub(1))
            && let Some(stored) = self.store.get(self.store.first_after(before))
            && stored.seq == at.seq
            && stored.ts != ts
        {
            return Err(UnrecoveredReason::EpochChanged);
        }
        if at.seq >= self.kept_after(self.catalog.pattern(ix).log.dropped_seq) {
            Ok(())
        } else {
            Err(UnrecoveredReason::TooOld)
        }
    }

    fn prove_epoch(&self, resume: &Resume, at: Position) -> Result<(), UnrecoveredReason> {
        if !self.source.ready {
            return Err(UnrecoveredReason::UpstreamUnavailable);
        }
        if self.source.epoch.as_deref() != Some(&*resume.epoch)
            && !mutant::is(Mutant::EpochNotChecked)
        {
            return Err(UnrecoveredReason::EpochChanged);
        }
        // A durable number line may be further than this server has read: the cursor waits, and
        // passes over what the client has. A number line of this server's own cannot be.
        if !self.source.durable && at.seq > self.source.head_seq {
            return Err(UnrecoveredReason::AheadOfLog);
        }
        Ok(())
    }
}
