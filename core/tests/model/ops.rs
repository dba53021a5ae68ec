//! What may happen, as values that shrink.

use odin_core::config::Config;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Open,
    Subscribe {
        who: u8,
        names: u8,
        more: u8,
        latest: bool,
        snapshot: bool,
        keep_on: bool,
        resume: Resume,
    },
    Unsubscribe {
        who: u8,
        which: u8,
    },
    Replay {
        who: u8,
        channel: u8,
        from: u8,
        len: Option<u8>,
    },
    Heartbeat {
        who: u8,
    },
    Publish {
        channel: u8,
        gap: u8,
        padding: u8,
    },
    ChannelLost {
        channel: u8,
    },
    Lost {
        len: Option<u8>,
    },
    Evict {
        percent: u8,
    },
    Reset,
    Snapshot {
        channel: u8,
        gap: u8,
    },
    Ready {
        beyond: u8,
        observed: bool,
    },
    /// The socket takes so many more bytes; `None`: everything.
    Room {
        who: u8,
        bytes: Option<u16>,
    },
    /// Transmits at most so often.
    Sweep {
        count: u8,
    },
    Leave {
        who: u8,
    },
    Vanish {
        who: u8,
    },
    Wait {
        ms: u16,
    },
    /// Something from a client that is gone, or that does not wait until it is read from.
    Rude {
        who: u8,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Resume {
    No,
    /// From a position that a client really had.
    Real(u8),
    Stale(u8),
    Invented(u8),
}

/// How a run begins.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) durable: bool,
    pub(crate) ready: bool,
}

fn resume() -> impl Strategy<Value = Resume> {
    prop_oneof![
        4 => Just(Resume::No),
        4 => any::<u8>().prop_map(Resume::Real),
        1 => any::<u8>().prop_map(Resume::Stale),
        2 => any::<u8>().prop_map(Resume::Invented),
    ]
}

fn subscribe() -> impl Strategy<Value = Op> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (0..8u8, any::<u8>(), any::<u8>(), flags, resume()).prop_map(
        |(who, names, more, (latest, snapshot, keep_on), resume)| Op::Subscribe {
            who,
            names,
            more,
            latest,
            snapshot,
            keep_on,
            resume,
        },
    )
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let who = || 0..8u8;
    let few = || prop_oneof![3 => Just(0u8), 1 => 0..5u8];
    prop_oneof![
        4 => Just(Op::Open),
        14 => subscribe(),
        3 => (who(), any::<u8>()).prop_map(|(who, which)| Op::Unsubscribe { who, which }),
        6 => (who(), 0..6u8, 0..40u8, prop::option::of(0..40u8))
            .prop_map(|(who, channel, from, len)| Op::Replay { who, channel, from, len }),
        2 => who().prop_map(|who| Op::Heartbeat { who }),
        40 => (0..5u8, few(), few())
            .prop_map(|(channel, gap, padding)| Op::Publish { channel, gap, padding }),
        2 => (0..5u8).prop_map(|channel| Op::ChannelLost { channel }),
        1 => prop::option::of(0..4u8).prop_map(|len| Op::Lost { len }),
        4 => (0..=100u8).prop_map(|percent| Op::Evict { percent }),
        1 => Just(Op::Reset),
        3 => (0..5u8, few()).prop_map(|(channel, gap)| Op::Snapshot { channel, gap }),
        3 => (few(), any::<bool>()).prop_map(|(beyond, observed)| Op::Ready { beyond, observed }),
        12 => (who(), prop::option::weighted(0.3, 0..400u16))
            .prop_map(|(who, bytes)| Op::Room { who, bytes }),
        4 => (who(), Just(None)).prop_map(|(who, bytes)| Op::Room { who, bytes }),
        16 => (1..12u8).prop_map(|count| Op::Sweep { count }),
        8 => Just(Op::Sweep { count: 255 }),
        1 => who().prop_map(|who| Op::Leave { who }),
        2 => who().prop_map(|who| Op::Vanish { who }),
        2 => (0..3_000u16).prop_map(|ms| Op::Wait { ms }),
        1 => (2_000..30_000u16).prop_map(|ms| Op::Wait { ms }),
        1 => who().prop_map(|who| Op::Rude { who }),
    ]
}

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let bytes = prop_oneof![3 => Just(1 << 20), 1 => 0..600usize];
    (3..20u32, bytes, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(log_messages, last_value_bytes, durable, ready, hold)| {
            let mut config = Config {
                history_bytes: 0,
                log_messages,
                last_value_bytes,
                message_rate: 0,
                ..Config::default()
            };
            if !hold {
                config.subscribe_hold = std::time::Duration::ZERO;
            }
            Setup {
                config,
                durable,
                ready,
            }
        },
    )
}
