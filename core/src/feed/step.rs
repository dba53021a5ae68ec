//! What a follower of a stream says is to be done, and the Feed does.

use alloc::sync::Arc;

use super::{Command, SeqRange};
use crate::reason::ResetReason;

/// What is to be done, in order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    /// For the upstream.
    Command(Command),
    /// All of it was discarded before it was read.
    Discarded(SeqRange),
    /// The message at hand is to be given again, after the next [`Command::Fetch`].
    Hold,
    /// The number line begins anew. `announce`: what came before was published.
    Begin {
        epoch: Arc<str>,
        announce: Option<ResetReason>,
    },
    /// Publish the message at hand. `historic`: the stream may hold or have held predecessors of it
    /// that were not delivered, all of them up to this seq.
    Publish { historic: Option<u64> },
    /// The snapshot is complete: everything above `observed_from` was or will be seen.
    Ready { head: u64, observed_from: u64 },
}
