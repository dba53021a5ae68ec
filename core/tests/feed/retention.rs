//! Which part of the log stays.

use std::time::Duration;

use odin_core::config::FeedConfig;
use odin_core::feed::Input;

use crate::driver::{Driver, PAYLOAD, nats};

/// Bytes of each frame in these tests, whose seqs and prevs have one digit.
fn frame_bytes() -> usize {
    odin_core::wire::event::message("A", 1, Some(0), 1_700_000_000_000, PAYLOAD).len()
}

#[test]
fn the_oldest_leave_when_the_bytes_are_used_up() {
    let config = FeedConfig {
        log_bytes: frame_bytes() * 3,
        ..FeedConfig::default()
    };
    let mut d = Driver::new(nats(), config);
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#2 A 2<1"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#3 A 3<2"]);
    assert_eq!(d.feed.stats().log_bytes, frame_bytes() as u64 * 3);
    // A little more leaves than must, so that not every message moves the floor.
    d.expect_unstored("odin.A", PAYLOAD, &["#4 A 4<3", "evict #3"]);
    assert_eq!(d.feed.stats().log_bytes, frame_bytes() as u64 * 2);
    d.expect_unstored("odin.A", PAYLOAD, &["#5 A 5<4"]);
}

#[test]
fn a_frame_over_the_bound_stays_until_the_next() {
    let config = FeedConfig {
        log_bytes: 1,
        ..FeedConfig::default()
    };
    let mut d = Driver::new(nats(), config);
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#2 A 2<1", "evict #2"]);
}

#[test]
fn the_old_leave_together_after_their_time() {
    let config = FeedConfig {
        log_age: Duration::from_secs(64),
        ..FeedConfig::default()
    };
    let mut d = Driver::new(nats(), config);
    d.outputs(Input::Connected);
    assert_eq!(d.feed.poll_timeout(), None);
    let start = d.now;
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect_timeout(Duration::from_millis(500), &[]);
    d.expect_unstored("odin.A", PAYLOAD, &["#2 A 2<1"]);
    d.expect_timeout(Duration::from_secs(10), &[]);
    d.expect_unstored("odin.A", PAYLOAD, &["#3 A 3<2"]);
    assert_eq!(d.feed.poll_timeout(), Some(start + Duration::from_secs(65)));
    d.expect_timeout(Duration::from_millis(54_499), &[]);
    d.expect_timeout(Duration::from_millis(1), &["evict #3"]);
    d.expect_timeout(Duration::from_secs(60), &["evict #4"]);
    assert_eq!(d.feed.stats().log_bytes, 0);
    assert_eq!(d.feed.poll_timeout(), None);
}
