//! Messages that are not passed on: too large, one channel too many, no channel at all.

use odin_core::config::FeedConfig;
use odin_core::feed::{Input, Outcome};
use odin_core::reason::LostReason;

use crate::driver::{Driver, PAYLOAD, nats, stream};

#[test]
fn a_payload_over_the_bound_becomes_a_notice_in_its_place() {
    let config = FeedConfig {
        payload_bytes_max: PAYLOAD.len(),
        ..FeedConfig::default()
    };
    let mut d = Driver::new(nats(), config);
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    let outcome = d.expect_unstored("odin.A", &[b'x'; 100], &["#2 A 2<1 lost too_large"]);
    assert_eq!(outcome, Outcome::Refused(LostReason::TooLarge));
    d.expect_unstored("odin.A", PAYLOAD, &["#3 A 3<2"]);
    assert_eq!(d.feed.stats().lost[LostReason::TooLarge as usize], 1);
}

#[test]
fn a_channel_too_many_is_announced_to_all_and_the_others_go_on() {
    let config = FeedConfig {
        channels_max: 2,
        ..FeedConfig::default()
    };
    let mut d = Driver::new(nats(), config);
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect_unstored("odin.B", PAYLOAD, &["#2 B 2<0"]);
    d.expect_unstored("odin.C", PAYLOAD, &["#3 lost 3..3 channel_limit"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#4 A 4<1"]);
    assert_eq!(d.feed.stats().channels, 2);
}

#[test]
fn a_limit_of_zero_is_off() {
    let config = FeedConfig {
        channels_max: 0,
        payload_bytes_max: 0,
        log_bytes: 0,
        ..FeedConfig::default()
    };
    let mut d = Driver::new(nats(), config);
    d.outputs(Input::Connected);
    d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    d.expect_unstored("odin.B", PAYLOAD, &["#2 B 2<0"]);
}

#[test]
fn subjects_that_are_no_channel_are_announced() {
    let mut d = Driver::new(nats(), FeedConfig::default());
    d.outputs(Input::Connected);
    let too_long = format!("odin.{}", "x".repeat(129));
    for (seq, subject) in ["other.A", "odin.", "odin.A..B", "odin.A B", &too_long]
        .iter()
        .enumerate()
    {
        let seq = seq as u64 + 1;
        d.expect_unstored(
            subject,
            PAYLOAD,
            &[&format!("#{seq} lost {seq}..{seq} invalid_subject")],
        );
    }
}

#[test]
fn what_a_snapshot_leaves_out_is_counted_and_proves_no_position() {
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(stream(1, 2)));
    d.outputs(Input::ConsumerOpened { pending: 2 });
    d.expect(Input::Info(stream(1, 2)), &["fetch"]);
    d.expect_message(1, "other", 1, &[]);
    let epoch = d.feed.epoch().unwrap().to_string();
    // What was left out may be what a position is before, so nothing up to here is proven.
    let ready = format!("ready {epoch} head 2 from 2 durable");
    d.expect_message(2, "odin.A", 0, &["#1 A 2<null", &ready]);
    d.expect_message(3, "other", 0, &["#2 lost 3..3 invalid_subject"]);
    assert_eq!(d.feed.stats().lost[LostReason::InvalidSubject as usize], 2);
}
