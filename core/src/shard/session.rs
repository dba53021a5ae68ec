//! One connection: where it stands in the round of writing, its subscriptions, its clocks.
//!
//! What nearly every connection needs lies in [`Session`] itself; answers, a half-written frame,
//! replays and the end of a connection are boxed and exist only while they are needed.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::auth::Access;
use super::lane::Lane;
use super::proof::Held;
use super::replay::Replay;
use super::subscription::SubIx;
use crate::id::Order;
use crate::limiter::TokenBucket;
use crate::mutant::{self, Mutant};
use crate::reason::CloseReason;
use crate::record::codec::{coded, coded_variants};
use crate::time::Instant;
use crate::wire::request::RequestId;

/// Where a connection stands in the round of writing. It is in exactly one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing to write.
    Idle,
    /// In the ready queue, once.
    Ready,
    /// It has data, and a window holds it back.
    Held,
    /// Given out by `poll_ready`; a transmit is under way.
    Taken,
    /// The socket is full.
    Blocked,
}

/// What a frame is for, where that matters once it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A message of the protocol.
    Message,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// The close frame, after which nothing is written.
    Close,
}

/// A frame that must be finished before anything else of its connection.
#[derive(Debug)]
pub(crate) struct Front {
    /// What is left of it.
    pub(crate) rest: Bytes,
    pub(crate) purpose: Purpose,
}

/// How a connection ends.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) reason: CloseReason,
    /// When the socket is dropped, however far things are.
    pub(crate) by: Instant,
    /// Data before this place is still sent; the close frame follows.
    pub(crate) flush_until: Option<Order>,
    /// The close frame is written.
    pub(crate) said: bool,
    /// The client's close frame has come.
    pub(crate) heard: bool,
    /// The shell was told to drop the socket.
    pub(crate) dropped: bool,
}

/// A token that the shell is verifying.
#[derive(Debug)]
pub(crate) struct Verifying {
    /// The id of the request that it came with.
    pub(crate) id: Option<RequestId>,
}

/// What few connections need.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) replays: Vec<Replay>,
    /// A subscribe that waits for the source, or for the proof of its positions.
    pub(crate) held: Option<Held>,
    /// The subscriptions were acked without an epoch: nothing is sent before the `reset`.
    pub(crate) without_epoch: bool,
    /// `reset` notices, the oldest first, each with how many answers of the lane come before it.
    pub(crate) resets: VecDeque<(usize, Bytes)>,
    /// When the drain closes this connection.
    pub(crate) drain_at: Option<Instant>,
    pub(crate) closing: Option<Closing>,
    pub(crate) verifying: Option<Verifying>,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.replays.is_empty()
            && self.held.is_none()
            && !self.without_epoch
            && self.resets.is_empty()
            && self.drain_at.is_none()
            && self.closing.is_none()
            && self.verifying.is_none()
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    /// The tail of the circular list of subscriptions that have data; its `pending_next` is the head.
    pub(crate) pending_tail: SubIx,
    pub(crate) state: State,
    /// The last write took nothing or not all; cleared by one that took all.
    pub(crate) stalled: bool,
    /// Whatever may be sent comes after a notice for all, and before that comes what a parked subscription has yet
    /// to read.
    pub(crate) awaits_history: bool,
    /// Which windows have it in their list, a bit for each.
    pub(crate) held: u8,
    /// Pings that were sent and not answered.
    pub(crate) pings: u8,
    /// The index of the last subscription made.
    pub(crate) subscriptions: SubIx,
    pub(crate) subscription_count: u16,
    pub(crate) pattern_count: u16,
    /// Client messages dropped in a row.
    pub(crate) drops: u32,
    pub(crate) bucket: TokenBucket,
    /// `None`: everything.
    pub(crate) access: Option<Box<Access>>,
    /// The newest notice for all subscriptions that this connection has passed.
    pub(crate) notices_passed: u64,
    /// When something was last heard.
    pub(crate) heard: Instant,
    /// When the next ping is due.
    pub(crate) ping_at: Instant,
    /// Since when the socket has taken no byte, while `stalled`.
    pub(crate) stalled_since: Instant,
    /// The deadline under which this connection is filed.
    pub(crate) filed: Option<Instant>,
    pub(crate) front: Option<Box<Front>>,
    pub(crate) lane: Option<Box<Lane>>,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Session {
    pub(crate) fn new(
        now: Instant,
        access: Option<Access>,
        bucket: TokenBucket,
        notices_passed: u64,
        ping_at: Instant,
    ) -> Self {
        Self {
            pending_tail: SubIx::NONE,
            state: State::Idle,
            stalled: false,
            awaits_history: false,
            held: 0,
            pings: 0,
            subscriptions: SubIx::NONE,
            subscription_count: 0,
            pattern_count: 0,
            drops: 0,
            bucket,
            access: access.map(Box::new),
            notices_passed,
            heard: now,
            ping_at,
            stalled_since: now,
            filed: None,
            front: None,
            lane: None,
            extra: None,
        }
    }

    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Gives the box back where nothing in it is needed any more.
    pub(crate) fn tidy(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_empty()) {
            self.extra = None;
        }
        if self.lane.as_ref().is_some_and(|lane| lane.is_empty()) {
            self.lane = None;
        }
    }

    pub(crate) fn closing(&self) -> Option<&Closing> {
        self.extra.as_ref()?.closing.as_ref()
    }

    pub(crate) fn closing_mut(&mut self) -> Option<&mut Closing> {
        self.extra.as_mut()?.closing.as_mut()
    }

    /// Whether data may be sent: not before the `reset` that gives the subscriptions their epoch.
    pub(crate) fn gated(&self) -> bool {
        if mutant::is(Mutant::ResetNotGating) {
            return false;
        }
        self.extra.as_ref().is_some_and(|extra| extra.without_epoch)
    }
}

coded!(Front { rest, purpose });

coded!(Verifying { id });

coded!(Closing {
    reason,
    by,
    flush_until,
    said,
    heard,
    dropped
});

coded!(Extra {
    replays,
    held,
    without_epoch,
    resets,
    drain_at,
    closing,
    verifying
});

coded!(Session {
    pending_tail,
    state,
    stalled,
    awaits_history,
    held,
    pings,
    subscriptions,
    subscription_count,
    pattern_count,
    drops,
    bucket,
    access,
    notices_passed,
    heard,
    ping_at,
    stalled_since,
    filed,
    front,
    lane,
    extra
});

coded_variants!(State {
    Idle,
    Ready,
    Held,
    Taken,
    Blocked
});

coded_variants!(Purpose {
    Message,
    Ping,
    Pong,
    Close
});
