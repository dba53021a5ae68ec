//! A model of a shard's surroundings, seen from outside: what was published, what each client asked
//! for and was sent, and whether that is what `docs/PROTOCOL.md` promises. It shares no logic with
//! the shard: frames are made and read here, and every rule is stated over the full history.

use proptest::test_runner::{Config, RngSeed};

pub(crate) mod asks;
pub(crate) mod client;
pub(crate) mod feed;
pub(crate) mod frames;
pub(crate) mod history;
pub(crate) mod judge;
pub(crate) mod ops;
pub(crate) mod world;

/// The seed of random cases, if nobody asks for another: a run of all tests says the same everywhere,
/// and `PROPTEST_RNG_SEED` with `PROPTEST_CASES` goes further.
pub(crate) fn rng_seed() -> RngSeed {
    match Config::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        asked => asked,
    }
}
