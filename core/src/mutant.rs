//! Planted bugs, each a small mistake that this server must not make. A simulation that does not find one
//! of them does not guard what it claims to guard.
//!
//! Without the feature `mutants`, which only tests turn on, nothing of this is left: `is` is a
//! constant. With it, no bug is planted until `plant` chooses one, for the whole process.

/// Declares the mutants, each with what it does wrong.
macro_rules! mutants {
    ($($(#[doc = $text:literal])* $name:ident,)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mutant { $($(#[doc = $text])* $name,)+ }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it does wrong.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($text),*),)+ }
            }
        }
    };
}

mutants! {
    /// The hole that a trimmed or evicted entry leaves ends one place too early.
    LogEdgeOffByOne,
    /// The last of those that wait for a log is not woken.
    WakeMissed,
    /// A resume starts one message too early.
    ResumeDuplicate,
    /// What is left of a half-written frame is dropped when the log evicts.
    PartialLostOnEviction,
    /// A resume is accepted whatever its epoch.
    EpochNotChecked,
    /// A client's bucket is never refilled.
    BucketNeverRefilled,
    /// A subscription that ends stays in the count of its channel.
    IndexLeak,
    /// Data that waits goes out before the answers.
    AckAfterMessage,
    /// The threshold to admit again is that to refuse.
    HysteresisWithoutGap,
    /// Data after a notice for all is sent before it.
    NoticeOutOfOrder,
    /// Data goes out before the reset that gives it an epoch.
    ResetNotGating,
    /// Latest mode passes over the newest where several wait.
    ConflationDropsNewest,
    /// A replay goes on into what is live.
    ReplayPastEnd,
    /// The last value of a channel goes with the log.
    HeldValueDropped,
    /// A new pattern says that its log has one entry that it has not.
    PatternLogOffByOne,
    /// A drain closes without flushing.
    CloseBeforeFlush,
    /// Refused clients are all told the same time.
    RetryNotSpread,
    /// A consumer that falls silent is not opened again.
    SilenceNotNoticed,
    /// The message that overlaps is not compared.
    OverlapNotChecked,
    /// One message that was not discarded is announced as discarded, and passed over.
    DiscardedOffByOne,
    /// The source is ready before its snapshot is.
    ReadyBeforeSnapshot,
    /// A consumer that says that nothing is pending is believed, whatever was stored meanwhile.
    PendingTrusted,
    /// A gap in the consumer's numbers is passed over.
    ConsumerGapNotNoticed,
    /// The gate lets one too many in.
    CapacityOffByOne,
    /// A new number line goes on with the predecessors of the old one.
    PrevAcrossEpochs,
    /// A socket that takes nothing is never given up.
    StallNotNoticed,
    /// A client of which nothing is heard is never given up.
    IdleNotNoticed,
    /// Drops over the rate are counted together that were not in a row.
    DropsNotForgotten,
    /// What the client has already is sent again where it is ahead of this server.
    AheadNotPassedOver,
    /// A resume from before a hole of all subscriptions counts as recovered.
    HoleNotRemembered,
    /// A resume from before a snapshot's value counts as recovered.
    SnapshotHidesPast,
    /// A flood is never ended.
    FloodNotEnded,
    /// A writable socket is not written to.
    WritableIgnored,
    /// Names that meet can be subscribed together.
    OverlapAllowed,
    /// A stream that was made anew counts as the one before.
    RecreationNotNoticed,
    /// An address may have one connection too many.
    AddressOffByOne,
    /// A half-written frame is sent again from its beginning.
    PartialSentAgain,
    /// A message that is too large is left out without a word.
    TooLargeSilent,
    /// The bytes of an evicted entry stay in the account.
    BytesLeak,
    /// A snapshot of a pattern ends one entry early.
    SnapshotEndsEarly,
    /// A subscription that moves up in its list of those that wait is not told its new place.
    WaitingPlaceStale,
    /// A client that was slow is told of one lost message less.
    LostRangeShort,
    /// What follows the last message and was deleted is never looked for.
    TailNotRead,
    /// A gap that another subject may have made counts as made by one.
    GapNotChecked,
    /// Who subscribed after a notice that reaches further is not told of the next hole.
    LatecomerNotTold,
    /// A position of a pattern counts as proven whatever was deleted behind it.
    PatternProofIgnoresDeletions,
    /// A cursor that reads history goes over to the log one message too early.
    HistoryLeftEarly,
}

#[cfg(feature = "mutants")]
static PLANTED: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(u32::MAX);

/// Plants a bug in this process, or takes it out again.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    let number = mutant.map_or(u32::MAX, |mutant| mutant as u32);
    PLANTED.store(number, core::sync::atomic::Ordering::Relaxed);
}

/// Whether this bug is planted.
#[cfg(feature = "mutants")]
#[inline]
pub(crate) fn is(mutant: Mutant) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == mutant as u32
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}
