//! What the tests of the Feed require of the flight recorder.

use odin_core::feed::Feed;
use odin_core::record::Player;

/// Room for what a test does, and little enough for a second segment in long ones.
pub(crate) const RECORD_BYTES: usize = 32_000;

/// What was recorded runs again to the state in which the Feed is.
pub(crate) fn check_recording(feed: &Feed) {
    let recording = feed.recording().expect("it is on");
    if !recording.segments.is_empty() {
        let mut player: Player<'_, Feed> = Player::new(&recording).expect("a checkpoint");
        player.run().expect("the recorded states");
        assert_eq!(player.machine.state_hash(), feed.state_hash());
    }
}
