//! Random sequences of everything that can happen to a shard, judged from outside.

#[path = "model/draw.rs"]
mod draw;
mod model;

use draw::{op, setup};
use model::world::World;
use proptest::prelude::*;
use proptest::test_runner::Config;

proptest! {
    #![proptest_config(Config {
        failure_persistence: None,
        max_shrink_iters: 1_500,
        // The same cases every time; PROPTEST_RNG_SEED and PROPTEST_CASES go further.
        rng_seed: draw::rng_seed(),
        ..Config::with_cases(384)
    })]

    /// Whatever happens, each client is sent what the protocol promises, and no input is fatal.
    #[test]
    fn every_client_is_told_the_truth(
        setup in setup(),
        ops in prop::collection::vec(op(), 50..300),
    ) {
        let mut world = World::new(&setup);
        for op in &ops {
            world.step(op);
        }
        world.finish();
    }
}
