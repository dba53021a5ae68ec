//! JetStream: a stream that is not the same any more. Every position becomes void.

use std::time::Duration;

use odin_core::feed::{Delivered, Input, StreamInfo};

use crate::driver::{CREATED, Driver, PAYLOAD, stream, time_of};

fn recreated(first_seq: u64, last_seq: u64) -> StreamInfo {
    StreamInfo {
        created: CREATED + 5,
        ..stream(first_seq, last_seq)
    }
}

#[test]
fn a_stream_that_was_made_again_begins_a_new_number_line() {
    let mut d = Driver::following();
    let old = d.feed.epoch().unwrap().to_string();
    d.expect(Input::Failed, &[]);
    d.expect_timeout(Duration::from_millis(50), &["read"]);
    let (_, lines) = d.outputs(Input::Info(recreated(1, 7)));
    let new = d.feed.epoch().unwrap().to_string();
    assert_ne!(old, new);
    assert_eq!(
        lines,
        [
            format!("#4 reset stream_recreated {new}"),
            "open last".into()
        ]
    );
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    d.expect(Input::Info(recreated(1, 7)), &["fetch"]);
    d.expect_message(2, "odin.B", 1, &["#5 B 2<null"]);
    let ready = format!("ready {new} head 7 from 0 durable");
    d.expect_message(7, "odin.A", 0, &["#6 A 7<null", &ready]);
    d.expect_message(8, "odin.A", 0, &["#7 A 8<7"]);
    d.expect_message(9, "odin.C", 0, &["#8 C 9<0"]);
    assert_eq!(d.feed.stats().resets, 1);
}

#[test]
fn a_stream_that_is_made_again_while_the_consumer_is_opened_is_noticed() {
    let mut d = Driver::following();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    d.expect(Input::Info(stream(1, 3)), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 5 }, &["read"]);
    let (_, lines) = d.outputs(Input::Info(recreated(1, 9)));
    let new = d.feed.epoch().unwrap();
    assert_eq!(
        lines,
        [
            format!("#4 reset stream_recreated {new}"),
            "open last".into()
        ]
    );
}

#[test]
fn a_stream_that_ends_before_what_was_taken_was_rolled_back() {
    let mut d = Driver::following();
    let old = d.feed.epoch().unwrap().to_string();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    let (_, lines) = d.outputs(Input::Info(stream(1, 2)));
    let new = d.feed.epoch().unwrap().to_string();
    assert_ne!(old, new, "created is the same, the number line is not");
    let nonce = d.written.unwrap();
    assert_eq!(
        lines,
        [
            format!("#4 reset stream_rolled_back {new}"),
            format!("write {nonce}")
        ]
    );
    d.expect(Input::NonceWritten, &["read"]);
    d.expect(Input::Info(stream(1, 2)), &["open last"]);
    // A second time, another one.
    d.outputs(Input::ConsumerOpened { pending: 1 });
    d.outputs(Input::Info(stream(1, 2)));
    d.deliver(2, "odin.B", 0);
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    d.outputs(Input::Info(stream(1, 1)));
    assert!(![old, new].contains(&d.feed.epoch().unwrap().to_string()));
}

/// The consumer's first message, stored at another time than the one that was taken.
fn other(seq: u64) -> Delivered<'static> {
    Delivered {
        stream_seq: seq,
        consumer_seq: 1,
        pending: 0,
        time: time_of(seq) + 1,
        subject: "odin.A",
        payload: PAYLOAD,
    }
}

#[test]
fn a_stream_that_grew_again_is_known_by_the_time_of_the_overlap() {
    let mut d = Driver::following();
    d.reopen(stream(1, 9), "open 3");
    let old = d.epoch();
    d.expect(Input::Delivered(other(3)), &["read"]);
    let (_, lines) = d.outputs(Input::Info(stream(1, 9)));
    let (new, nonce) = (d.epoch(), d.written.unwrap());
    assert_ne!(old, new);
    assert_eq!(
        lines,
        [
            format!("#4 reset stream_rolled_back {new}"),
            format!("write {nonce}")
        ]
    );
}

#[test]
fn an_overlap_that_is_missing_without_any_deletion_is_another_past() {
    let mut d = Driver::following();
    // The deletions may be younger than the reading: it is done once more.
    for _ in 0..2 {
        d.reopen(stream(3, 9), "open 3");
        d.expect(Input::Delivered(other(4)), &["read"]);
    }
    // What was seen is not forgotten when the connection is lost.
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    let (_, lines) = d.outputs(Input::Info(stream(1, 9)));
    assert_eq!(
        lines[0],
        format!("#4 reset stream_rolled_back {}", d.epoch())
    );
}

#[test]
fn a_stream_replaced_before_anyone_heard_of_it_is_no_news() {
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(stream(1, 3)));
    d.expect(Input::Failed, &[]);
    d.expect_timeout(Duration::from_millis(50), &["read"]);
    d.expect(Input::Info(recreated(1, 3)), &["open last"]);
}

#[test]
fn a_new_number_line_whose_epoch_was_announced_is_not_replaced_silently() {
    let mut d = Driver::following();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    d.outputs(Input::Info(recreated(1, 7)));
    // Nothing was published of it when it was replaced again.
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    let again = StreamInfo {
        created: CREATED + 6,
        ..stream(1, 0)
    };
    let (_, lines) = d.outputs(Input::Info(again));
    let new = d.feed.epoch().unwrap();
    assert_eq!(
        lines,
        [
            format!("#5 reset stream_recreated {new}"),
            "open last".into()
        ]
    );
}

/// The driver's stream, held by several servers.
fn replicated(first_seq: u64, last_seq: u64) -> StreamInfo {
    StreamInfo {
        replicated: true,
        ..stream(first_seq, last_seq)
    }
}

/// The pauses, in milliseconds, until a stream that ends too early is believed: 12 s and what is left of the last.
const PAUSES: [u64; 12] = [
    50, 100, 200, 400, 800, 1600, 1600, 1600, 1600, 1600, 1600, 1600,
];

#[test]
fn a_replica_that_is_behind_is_no_rollback() {
    let mut d = Driver::following();
    let epoch = d.epoch();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    for pause in &PAUSES[..11] {
        d.expect(Input::Info(replicated(1, 2)), &[]);
        d.expect_timeout(Duration::from_millis(*pause), &["read"]);
    }
    d.expect(Input::Info(replicated(1, 4)), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    // Once more, by another that answers: the time begins anew.
    d.expect(Input::Info(replicated(1, 1)), &[]);
    d.expect_timeout(Duration::from_millis(1600), &["read"]);
    d.expect(Input::Info(replicated(1, 1)), &[]);
    d.expect_timeout(Duration::from_millis(1600), &["read"]);
    d.expect(Input::Info(replicated(1, 4)), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    d.expect(Input::Info(replicated(1, 4)), &["fetch"]);
    d.expect_message(3, "odin.A", 1, &[]);
    d.expect_message(4, "odin.A", 0, &["#4 A 4<3"]);
    assert_eq!((d.epoch(), d.feed.stats().resets), (epoch, 0));
}

#[test]
fn a_replicated_stream_that_stays_short_was_rolled_back() {
    let mut d = Driver::following();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    for pause in PAUSES {
        d.expect(Input::Info(replicated(1, 2)), &[]);
        d.expect_timeout(Duration::from_millis(pause), &["read"]);
    }
    let (_, lines) = d.outputs(Input::Info(replicated(1, 2)));
    let reset = format!("#4 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines[0], reset);
}

#[test]
fn a_consumer_on_a_replica_that_is_behind_begins_too_early() {
    // With what is remembered: it is compared, and proves as much as what was asked for.
    let mut d = Driver::following();
    d.reopen(replicated(1, 5), "open 3");
    d.expect_message(2, "odin.B", 3, &[]);
    d.expect_message(3, "odin.A", 2, &[]);
    d.expect_message(4, "odin.A", 1, &["#4 A 4<3"]);
    assert_eq!(d.feed.stats().resets, 0);

    // With what is not: nothing can be said of it, and another consumer is opened after a pause.
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(replicated(1, 3)));
    d.outputs(Input::ConsumerOpened { pending: 1 });
    d.outputs(Input::Info(replicated(1, 3)));
    d.deliver(3, "odin.A", 0);
    d.reopen(replicated(1, 5), "open 3");
    d.expect_message(2, "odin.B", 3, &[]);
    d.expect_timeout(Duration::from_millis(50), &["read"]);
    d.expect(Input::Info(replicated(1, 5)), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 3 }, &["read"]);
    d.expect(Input::Info(replicated(1, 5)), &["fetch"]);
    d.expect_message(3, "odin.A", 2, &[]);
    d.expect_message(4, "odin.A", 1, &["#2 A 4<3"]);
    assert_eq!(d.feed.stats().resets, 0);
}

#[test]
fn another_message_where_one_was_taken_is_another_past_wherever_the_consumer_begins() {
    let mut d = Driver::following();
    d.reopen(replicated(1, 5), "open 3");
    d.expect(Input::Delivered(other(2)), &["read"]);
    let (_, lines) = d.outputs(Input::Info(replicated(1, 5)));
    let reset = format!("#4 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines[0], reset);
}
