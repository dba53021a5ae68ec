//! What a million connections and ten million subscriptions cost: the size of each field that every one
//! of them has, and why it is there. A change to either structure is a change to this table.

use super::Slot;
use super::catalog::ChannelIx;
use super::session::Session;
use super::subscription::{SubIx, Subscription, Topic};
use crate::id::Order;
use crate::limiter::TokenBucket;
use crate::time::Instant;
use crate::wire::request::{Mode, OnLost};

/// A field: its name, its bytes, and why every connection (or subscription) has it.
type Field = (&'static str, usize, &'static str);

const SESSION: [Field; 21] = [
    (
        "pending_tail",
        4,
        "whose turn is next, without a container per connection",
    ),
    ("state", 1, "where it stands in the round of writing"),
    (
        "stalled",
        1,
        "whether its socket is full, for the lag and the stall's deadline",
    ),
    (
        "awaits_history",
        1,
        "a notice must not overtake what is yet to be read",
    ),
    ("held", 1, "which windows list it, so that each does once"),
    (
        "pings",
        1,
        "pongs that were asked for are free, others are not",
    ),
    (
        "subscriptions",
        4,
        "the head of its list; without it a close would search all subscriptions",
    ),
    (
        "subscription_count",
        2,
        "the limit of channels, and its share of a transmit",
    ),
    ("pattern_count", 2, "the limit of patterns"),
    (
        "drops",
        4,
        "messages over the rate in a row; must outlive the messages",
    ),
    ("bucket", 16, "the rate: level and time, exact to the token"),
    (
        "notices_passed",
        8,
        "which notices for all it was sent; counts for ever, so 8 bytes",
    ),
    (
        "heard",
        8,
        "for idle_timeout; a sign of life must cost no list operation",
    ),
    (
        "ping_at",
        8,
        "pings are spread by when each connection began",
    ),
    ("stalled_since", 8, "for write_stall"),
    (
        "filed",
        16,
        "its place in the order of deadlines, to take it out again",
    ),
    ("front", 8, "a box: a frame that is half written, rare"),
    ("lane", 8, "a box: answers that wait, rare"),
    (
        "extra",
        8,
        "a box: replays, a held subscribe, drain and close, rare",
    ),
    (
        "access",
        8,
        "a box: what a token allows; none without authentication",
    ),
    ("padding", 3, "to the next multiple of 8"),
];

const SUBSCRIPTION: [Field; 16] = [
    ("topic", 8, "what it reads: the kind and an index"),
    ("conn", 4, "whom a publication makes ready"),
    (
        "next",
        8,
        "the cursor: a place; places are never used again",
    ),
    (
        "seq",
        8,
        "the cursor on the number line, for holes, resumes and acks",
    ),
    (
        "since",
        8,
        "what is older is no live delivery, and a snapshot ends here",
    ),
    (
        "sibling",
        4,
        "the list of its connection, without a container",
    ),
    (
        "pending_next",
        4,
        "the round of its connection, without a container",
    ),
    (
        "waiting_at",
        4,
        "to leave the list of those that wait without a search",
    ),
    ("mode", 1, "lossless or latest"),
    ("on_lost", 1, "close or continue"),
    ("pending", 1, "in which of the two lists it is"),
    ("snapshot", 1, "a pattern's snapshot is under way"),
    ("cold", 1, "it reads history; `next` is no place then"),
    ("parked", 1, "it waits for a page, and is in no other list"),
    ("owes_lost", 1, "a notice comes first"),
    ("padding", 1, "to the next multiple of 8"),
];

fn bytes(fields: &[Field]) -> usize {
    fields.iter().map(|(_, bytes, _)| bytes).sum()
}

#[test]
fn a_session_is_as_large_as_its_reasons() {
    // Complete: a new field does not compile.
    let of = |session: Session| {
        let Session {
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
            notices_passed,
            heard,
            ping_at,
            stalled_since,
            filed,
            front,
            lane,
            extra,
            access,
        } = session;
        [
            size_of_val(&pending_tail),
            size_of_val(&state),
            size_of_val(&stalled),
            size_of_val(&awaits_history),
            size_of_val(&held),
            size_of_val(&pings),
            size_of_val(&subscriptions),
            size_of_val(&subscription_count),
            size_of_val(&pattern_count),
            size_of_val(&drops),
            size_of_val(&bucket),
            size_of_val(&notices_passed),
            size_of_val(&heard),
            size_of_val(&ping_at),
            size_of_val(&stalled_since),
            size_of_val(&filed),
            size_of_val(&front),
            size_of_val(&lane),
            size_of_val(&extra),
            size_of_val(&access),
        ]
    };
    let now = Instant::ZERO;
    let bucket = TokenBucket::full(now, &crate::limiter::Rate::default());
    let found = of(Session::new(now, None, bucket, 0, now));
    let named = SESSION.map(|(_, bytes, _)| bytes);
    assert_eq!(found[..], named[..found.len()]);
    assert_eq!(size_of::<Session>(), bytes(&SESSION));
    // With its generation, and no byte for being there or not: two cache lines hold it.
    assert_eq!(size_of::<Slot>(), 128);
}

#[test]
fn a_subscription_is_as_large_as_its_reasons() {
    let Subscription {
        topic,
        conn,
        next,
        seq,
        since,
        sibling,
        pending_next,
        waiting_at,
        mode,
        on_lost,
        pending,
        snapshot,
        cold,
        parked,
        owes_lost,
    } = Subscription {
        topic: Topic::Channel(ChannelIx::NONE),
        conn: 0,
        next: Order(0),
        seq: 0,
        since: Order(0),
        sibling: SubIx::NONE,
        pending_next: SubIx::NONE,
        waiting_at: 0,
        mode: Mode::Lossless,
        on_lost: OnLost::Close,
        pending: false,
        snapshot: false,
        cold: false,
        parked: false,
        owes_lost: false,
    };
    let found = [
        size_of_val(&topic),
        size_of_val(&conn),
        size_of_val(&next),
        size_of_val(&seq),
        size_of_val(&since),
        size_of_val(&sibling),
        size_of_val(&pending_next),
        size_of_val(&waiting_at),
        size_of_val(&mode),
        size_of_val(&on_lost),
        size_of_val(&pending),
        size_of_val(&snapshot),
        size_of_val(&cold),
        size_of_val(&parked),
        size_of_val(&owes_lost),
    ];
    let named = SUBSCRIPTION.map(|(_, bytes, _)| bytes);
    assert_eq!(found[..], named[..found.len()]);
    assert_eq!(size_of::<Subscription>(), bytes(&SUBSCRIPTION));
    // A free place of the slab costs no more than a taken one.
    assert_eq!(size_of::<Option<Subscription>>(), bytes(&SUBSCRIPTION));
}

#[test]
fn every_field_has_a_reason() {
    for (name, bytes, reason) in SESSION.iter().chain(&SUBSCRIPTION) {
        assert!(*bytes > 0 && reason.len() > 10, "{name}");
    }
}
