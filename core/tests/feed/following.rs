//! JetStream: one consumer after another, and what is announced as discarded between them.

use std::time::Duration;

use odin_core::feed::Input;
use odin_core::reason::LostReason;

use crate::driver::{Driver, stream};

#[test]
fn a_new_consumer_begins_with_the_last_message_and_repeats_nothing() {
    let mut d = Driver::following();
    d.reopen(stream(1, 5), "open 3");
    d.expect_message(3, "odin.A", 2, &[]);
    d.expect_message(4, "odin.B", 1, &["#4 B 4<2"]);
    d.expect_message(5, "odin.A", 0, &["#5 A 5<3"]);
    assert_eq!(d.feed.stats().received, 5);
    assert_eq!(d.feed.stats().consumers_opened, 2);
}

#[test]
fn a_gap_in_the_consumer_leads_to_a_new_one() {
    let mut d = Driver::following();
    d.deliver(4, "odin.A", 0);
    let skipped = odin_core::feed::Delivered {
        stream_seq: 6,
        consumer_seq: 6,
        pending: 0,
        time: crate::driver::time_of(6),
        subject: "odin.A",
        payload: crate::driver::PAYLOAD,
    };
    d.expect(Input::Delivered(skipped), &["read"]);
    // What the old consumer still delivers is not taken.
    d.expect(Input::Delivered(skipped), &[]);
    d.expect(Input::Info(stream(1, 6)), &["open 4"]);
    d.expect(Input::ConsumerOpened { pending: 3 }, &["read"]);
    d.expect(Input::Info(stream(1, 6)), &["fetch"]);
    d.expect_message(4, "odin.A", 2, &[]);
    d.expect_message(5, "odin.B", 1, &["#5 B 5<2"]);
    d.expect_message(6, "odin.A", 0, &["#6 A 6<4"]);
}

#[test]
fn silence_leads_to_a_new_consumer_and_heartbeats_are_no_silence() {
    let mut d = Driver::following();
    for _ in 0..5 {
        d.now = d.now + Duration::from_secs(2);
        d.expect_tail(stream(1, 3), 0, 0, &[]);
    }
    d.expect_timeout(Duration::from_millis(2_999), &[]);
    d.expect_timeout(Duration::from_millis(1), &["read"]);
    d.expect(Input::Info(stream(1, 3)), &["open 3"]);
}

#[test]
fn failures_are_tried_again_at_growing_pauses() {
    let mut d = Driver::following();
    for pause in [50, 100, 200, 400, 800, 1600, 1600] {
        d.expect(Input::Failed, &[]);
        d.expect_timeout(Duration::from_millis(pause - 1), &[]);
        d.expect_timeout(Duration::from_millis(1), &["read"]);
    }
    // A shell that does not answer at all counts as a failure.
    d.expect_timeout(Duration::from_secs(10), &[]);
    d.expect_timeout(Duration::from_millis(1600), &["read"]);
    d.expect(Input::Info(stream(1, 3)), &["open 3"]);
    d.expect(Input::Failed, &[]);
    d.expect(Input::Disconnected, &[]);
    assert_eq!(
        d.feed
            .poll_timeout()
            .map(|due| due > d.now + Duration::from_secs(60)),
        Some(true)
    );
}

#[test]
fn what_was_discarded_meanwhile_is_announced_with_its_range() {
    let mut d = Driver::following();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    d.expect(
        Input::Info(stream(8, 9)),
        &["#4 lost 4..7 discarded", "open 8"],
    );
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    // More left between the reading and the opening.
    d.expect(
        Input::Info(stream(9, 10)),
        &["#5 lost 8..8 discarded", "fetch"],
    );
    d.expect_message(9, "odin.A", 1, &["#6 A 9<3"]);
    d.expect_message(10, "odin.C", 0, &["#7 C 10<0"]);
    assert_eq!(d.feed.stats().lost[LostReason::Discarded as usize], 5);
}

#[test]
fn a_purge_of_nothing_unseen_announces_nothing() {
    let mut d = Driver::following();
    d.reopen(stream(4, 3), "open 4");
    d.expect_message(4, "odin.A", 0, &["#4 A 4<3"]);
}

#[test]
fn a_missing_seq_is_a_hole_where_the_filter_covers_the_stream() {
    let mut d = Driver::following();
    d.expect_message(6, "odin.A", 0, &["#4 lost 4..5 discarded", "#5 A 6<3"]);
}

#[test]
fn an_empty_snapshot_goes_on_after_its_end() {
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(stream(8, 7)));
    d.outputs(Input::ConsumerOpened { pending: 0 });
    d.outputs(Input::Info(stream(8, 7)));
    d.reopen(stream(8, 9), "open 8");
    d.expect_message(8, "odin.A", 1, &["#1 A 8<0"]);
    d.expect_message(9, "odin.A", 0, &["#2 A 9<8"]);
}
