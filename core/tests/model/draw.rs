//! What may happen, drawn by proptest as values that shrink. Beside the model and not in it: the
//! fuzzer draws from bytes.

use odin_core::config::Config;
use proptest::prelude::*;
use proptest::test_runner::{self, RngSeed};

use super::model::ops::{Op, Resume, Setup};

/// The seed of random cases, if nobody asks for another: a run of all tests says the same everywhere,
/// and `PROPTEST_RNG_SEED` with `PROPTEST_CASES` goes further.
pub(crate) fn rng_seed() -> RngSeed {
    match test_runner::Config::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        asked => asked,
    }
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
