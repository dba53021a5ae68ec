//! Embedded and core NATS: when they are ready, and what is announced that cannot be had again.

use odin_core::config::FeedConfig;
use odin_core::feed::{Input, Outcome};
use odin_core::reason::LostReason;

use crate::driver::{Driver, PAYLOAD, embedded, nats};

#[test]
fn core_nats_is_ready_at_its_first_connection_only() {
    let mut d = Driver::new(nats(), FeedConfig::default());
    assert!(!d.feed.is_connected() && !d.feed.is_ready());
    d.expect(Input::Connected, &["ready n1 head 0 from 0"]);
    assert!(d.feed.is_connected() && d.feed.is_ready());
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect(Input::Disconnected, &[]);
    assert!(!d.feed.is_connected() && d.feed.is_ready());
}

#[test]
fn every_reconnect_of_core_nats_is_a_hole_with_a_seq_of_its_own() {
    let mut d = Driver::new(nats(), FeedConfig::default());
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["#2 lost 2.. reconnected"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#3 A 3<1"]);
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["#4 lost 4.. reconnected"]);
    assert_eq!(d.feed.stats().lost[LostReason::Reconnected as usize], 2);
}

#[test]
fn what_core_nats_dropped_is_announced_and_counted() {
    let mut d = Driver::new(nats(), FeedConfig::default());
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect(Input::Overloaded { count: 700 }, &["#2 lost 2.. overload"]);
    d.expect(Input::Overloaded { count: 0 }, &["#3 lost 3.. overload"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#4 A 4<1"]);
    assert_eq!(d.feed.stats().lost[LostReason::Overload as usize], 701);
}

#[test]
fn an_embedded_publisher_is_told_of_a_refusal_and_nobody_else() {
    let config = FeedConfig {
        channels_max: 1,
        ..FeedConfig::default()
    };
    let mut d = Driver::new(embedded(), config);
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    let outcome = d.expect_unstored("odin.B", PAYLOAD, &[]);
    assert_eq!(outcome, Outcome::Refused(LostReason::ChannelLimit));
    let outcome = d.expect_unstored("odin.*", PAYLOAD, &[]);
    assert_eq!(outcome, Outcome::Refused(LostReason::InvalidSubject));
    d.expect_unstored("odin.A", PAYLOAD, &["#2 A 2<1"]);
    assert_eq!(d.feed.stats().lost[LostReason::ChannelLimit as usize], 1);
}
