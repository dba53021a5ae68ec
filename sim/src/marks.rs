//! Reach: named situations that a sweep of the swarm must come into. A test that never gets near a
//! danger proves nothing about it; a mark that is never hit fails the sweep.

/// Declares the marks, each with what it means.
macro_rules! marks {
    ($($(#[doc = $text:literal])* $name:ident,)+) => {
        /// A situation.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mark { $($(#[doc = $text])* $name,)+ }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it means.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($text),*),)+ }
            }
        }
    };
}

marks! {
    /// A socket took a part of a frame.
    PartialWrite,
    /// A socket took nothing.
    NothingTaken,
    /// A socket took all but one byte.
    AllButOneByte,
    /// A socket failed at a write.
    WriteFailed,
    /// Entries left the log while a frame was half written.
    PartialAcrossEviction,
    /// The number line began anew while a frame was half written.
    PartialAcrossReset,
    /// A notice for all came while a frame was half written.
    PartialAcrossLost,
    /// A client hung up while a frame was half written.
    HangupInFrame,
    /// A position was recovered.
    Recovered,
    /// A position was recovered on another server than it came from.
    RecoveredElsewhere,
    /// A position was recovered that this server had not read yet.
    RecoveredAhead,
    /// A position was recovered after entries had left the log.
    RecoveredAcrossEviction,
    /// A position was not recovered.
    Unrecovered,
    /// A resume got its missing range named instead.
    ResumeOwesLost,
    /// A subscribe waited for the source.
    SubscribeHeld,
    /// Subscriptions were acked without an epoch.
    Gated,
    /// A reset waited behind answers or a full socket.
    ResetWaits,
    /// A client was told of a reset.
    ResetSeen,
    /// A client was told of a loss.
    LostSeen,
    /// A notice for all waited for a slow client.
    NoticeWaits,
    /// A cursor fell off its log.
    FellOff,
    /// A pattern was read from before its own log.
    PatternScan,
    /// A pattern's snapshot was sent in more than one write.
    SnapshotInParts,
    /// A last value was held apart from the log.
    ValueHeld,
    /// A last value was given up for want of room.
    ValueDropped,
    /// A message was passed over because a newer one was sent.
    Conflated,
    /// A message was replayed.
    Replayed,
    /// A page of history came.
    HistoryAnswered,
    /// A page of history had a part of what was asked for.
    HistoryInPages,
    /// A page of history did not prove by itself that nothing was deleted.
    HistoryUnproven,
    /// The stream could not be asked for a page of history.
    HistoryFailed,
    /// Two pages of history were asked for at once.
    HistoryAtOnce,
    /// Two replays were under way in one shard.
    TwoReplays,
    /// An unsubscribe came while a replay was under way.
    UnsubscribeInReplay,
    /// A pattern lingered without subscribers.
    PatternLingers,
    /// A request was refused.
    Refused,
    /// A client was over its rate.
    RateLimited,
    /// A client was closed for flooding.
    ClosedFlooding,
    /// A client was closed because it was too slow.
    ClosedSlow,
    /// A client was closed because nothing was heard of it.
    ClosedIdle,
    /// A client was closed by a drain.
    ClosedDraining,
    /// A client was closed for what it sent.
    ClosedForFault,
    /// A client closed, and was answered.
    ClosedByClient,
    /// Data was flushed before the close of a drain.
    FlushedBeforeClose,
    /// A socket was dropped because the closing handshake took too long.
    CloseTimedOut,
    /// The shell was asked not to read for a while.
    ReadingPaused,
    /// The upstream was cut off.
    UpstreamCut,
    /// The upstream fell silent.
    UpstreamSilent,
    /// A consumer left out a message.
    ConsumerGap,
    /// The stream was made anew.
    StreamRecreated,
    /// The stream went back and was found out.
    StreamRolledBack,
    /// The stream was purged before it was read.
    PurgedUnread,
    /// A message was too large.
    TooLarge,
    /// A message of no channel was published.
    NoChannel,
    /// A core NATS subscription overflowed.
    Overloaded,
    /// A server died and another took its place.
    Restarted,
    /// A shard was behind the Feed.
    ShardBehind,
    /// The gate was at its capacity.
    GateCapacity,
    /// The gate refused for CPU or memory.
    GateLoad,
    /// The gate refused for a rate.
    GateRate,
    /// The gate refused for the share of an address.
    GateAddress,
    /// The gate refused because of a drain.
    GateDraining,
    /// More than a minute passed at once.
    LongPause,
}

/// How often each mark was hit.
#[derive(Clone, Debug)]
pub struct Marks {
    counts: Vec<u64>,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            counts: vec![0; Mark::ALL.len()],
        }
    }
}

impl Marks {
    /// The situation has come.
    pub fn hit(&mut self, mark: Mark) {
        self.counts[mark as usize] += 1;
    }

    /// The situation has come, if `so`.
    pub fn hit_if(&mut self, mark: Mark, so: bool) {
        self.counts[mark as usize] += u64::from(so);
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// How often.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts[mark as usize]
    }

    /// The marks that were never hit.
    #[must_use]
    pub fn missing(&self) -> Vec<Mark> {
        let all = Mark::ALL.iter().copied();
        all.filter(|mark| self.count(*mark) == 0).collect()
    }
}
