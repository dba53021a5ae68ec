//! Whatever a stream goes through, each channel's chain is whole, or a notice says what is not.

use proptest::prelude::*;

use super::world::{Kinds, Step, World};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4).prop_map(Step::Publish),
        8 => (1u8..6).prop_map(Step::Deliver),
        1 => (1u8..6).prop_map(Step::Discard),
        1 => (0u8..6).prop_map(Step::Delete),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Fail),
        1 => Just(Step::SkipOne),
        1 => Just(Step::Recreate),
        1 => (0u8..20, 0u8..20).prop_map(|(keep, others)| Step::RollBack(keep, others)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_chain_is_whole_or_announced(
        (drops_metadata, last_only, shared) in any::<(bool, bool, bool)>(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(Kinds { drops_metadata, last_only, shared });
        for step in &steps {
            world.apply(step);
        }
        world.finish();
    }
}
