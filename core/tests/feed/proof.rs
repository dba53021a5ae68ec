//! JetStream: which messages prove that a stream is still the same one, where the last one that was taken
//! is gone.

use odin_core::feed::{Delivered, Input, StreamInfo};

use crate::driver::{Driver, PAYLOAD, stream, time_of};

fn superseded(first_seq: u64, last_seq: u64, num_deleted: u64) -> StreamInfo {
    StreamInfo {
        num_deleted,
        ..stream(first_seq, last_seq)
    }
}

/// The consumer's first message shows that the last one that was taken is gone; the next consumer begins
/// with the oldest that may still be there.
fn further_back(d: &mut Driver, info: StreamInfo, first: u64, open: &str) {
    d.expect_message(first, "odin.A", 0, &["read"]);
    d.expect(Input::Info(info), &[open]);
    d.expect(Input::ConsumerOpened { pending: 3 }, &["read"]);
    d.expect(Input::Info(info), &["fetch"]);
}

#[test]
fn an_older_message_that_is_still_there_proves_as_much() {
    // One message is kept per subject: A's 1 and 3 are gone, B's 2 is there.
    let mut d = Driver::following();
    let info = superseded(2, 5, 2);
    d.reopen(info, "open 3");
    further_back(&mut d, info, 5, "open 2");
    d.expect_message(2, "odin.B", 1, &[]);
    d.expect_message(5, "odin.A", 0, &["#4 lost 4..4 discarded", "#5 A 5<3"]);
    d.expect_message(6, "odin.B", 0, &["#6 B 6<2"]);
}

/// A message at another time than the one that was taken under its seq.
fn other(seq: u64) -> Delivered<'static> {
    Delivered {
        stream_seq: seq,
        consumer_seq: 1,
        pending: 1,
        time: time_of(seq) + 1,
        subject: "odin.B",
        payload: PAYLOAD,
    }
}

#[test]
fn an_older_message_that_is_another_one_is_another_past() {
    let mut d = Driver::following();
    let info = superseded(2, 5, 2);
    d.reopen(info, "open 3");
    further_back(&mut d, info, 5, "open 2");
    d.expect(Input::Delivered(other(2)), &["read"]);
    let (_, lines) = d.outputs(Input::Info(info));
    let reset = format!("#4 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines[0], reset);
}

#[test]
fn a_message_that_was_never_taken_is_another_past_too() {
    let mut d = Driver::following();
    d.expect_message(6, "odin.A", 0, &["#4 lost 4..5 discarded", "#5 A 6<3"]);
    let info = superseded(4, 9, 2);
    d.reopen(info, "open 6");
    // None of the older ones can be there: the stream begins behind them.
    d.expect_message(8, "odin.A", 0, &["#6 lost 7..7 discarded", "#7 A 8<6"]);

    let info = superseded(1, 9, 4);
    d.reopen(info, "open 8");
    further_back(&mut d, info, 9, "open 1");
    d.expect_message(5, "odin.A", 1, &["read"]);
    let (_, lines) = d.outputs(Input::Info(info));
    assert!(
        lines[0].starts_with("#8 reset stream_rolled_back "),
        "{lines:?}"
    );
}

#[test]
fn where_none_is_left_the_count_of_deletions_must_explain_it() {
    // All three are gone, and three deletions are told.
    let mut d = Driver::following();
    let info = superseded(1, 6, 3);
    d.reopen(info, "open 3");
    further_back(&mut d, info, 5, "open 1");
    d.expect_message(5, "odin.A", 1, &["#4 lost 4..4 discarded", "#5 A 5<3"]);

    // Two deletions are not three. They may be younger than the reading, which is done again.
    let mut d = Driver::following();
    let info = superseded(1, 6, 2);
    d.reopen(info, "open 3");
    further_back(&mut d, info, 5, "open 1");
    d.expect_message(5, "odin.A", 1, &["read"]);
    let grown = superseded(1, 6, 3);
    d.expect(Input::Info(grown), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 3 }, &["read"]);
    d.expect(Input::Info(grown), &["fetch"]);
    further_back(&mut d, grown, 5, "open 1");
    d.expect_message(5, "odin.A", 1, &["#4 lost 4..4 discarded", "#5 A 5<3"]);
}

#[test]
fn a_thousand_and_some_messages_are_remembered() {
    let mut d = Driver::following();
    for seq in 4..=2_000 {
        d.deliver(seq, "odin.A", 0);
    }
    let info = superseded(1, 2_010, 1_999);
    d.reopen(info, "open 2000");
    further_back(&mut d, info, 2_005, "open 977");
    d.expect_message(1_500, "odin.A", 1, &[]);
    d.expect_message(1_501, "odin.A", 1, &[]);
    let lost = "#2001 lost 2001..2004 discarded";
    d.expect_message(2_005, "odin.A", 1, &[lost, "#2002 A 2005<2000"]);
}
