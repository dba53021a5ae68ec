//! One planted bug must be found, so that a swarm that finds nothing is known to look. In a file of its own, for
//! a bug is planted in a whole process.

use odin_core::mutant::Mutant;
use odin_sim::mutants::hunt;

#[test]
fn a_half_written_frame_that_an_eviction_drops_is_found() {
    let outcome = hunt(Mutant::PartialLostOnEviction, 200);
    assert!(outcome.seeds.is_some(), "{outcome:?}");
}
