//! JetStream: how a number line begins, and when the source is ready.

use std::time::Duration;

use odin_core::config::FeedConfig;
use odin_core::feed::{Input, Source, StreamInfo};

use crate::driver::{CREATED, Driver, stream};

fn ready(d: &Driver, head: u64, from: u64) -> String {
    format!(
        "ready {} head {head} from {from} durable",
        d.feed.epoch().unwrap()
    )
}

/// A consumer was opened as the stream was, and the stream is asked for once more.
fn opened(info: StreamInfo, pending: u64) -> Driver {
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(info));
    d.outputs(Input::ConsumerOpened { pending });
    d
}

fn epoch_of(stream: &str, created: u64, seed: u64) -> String {
    let source = Source::JetStream {
        stream: stream.into(),
    };
    let mut feed = odin_core::feed::Feed::new(FeedConfig::default(), source, "", seed);
    feed.handle(Driver::jetstream().now, Input::Connected);
    let info = StreamInfo {
        created,
        ..self::stream(1, 0)
    };
    feed.handle(Driver::jetstream().now, Input::Info(info));
    feed.epoch().unwrap().to_string()
}

#[test]
fn the_epoch_is_the_streams_and_not_the_servers() {
    let epoch = epoch_of("S", CREATED, 1);
    assert_eq!(epoch.len(), 16);
    assert_eq!(epoch, epoch_of("S", CREATED, 2));
    assert_ne!(epoch, epoch_of("S", CREATED + 1, 1));
    assert_ne!(epoch, epoch_of("T", CREATED, 1));
}

#[test]
fn an_empty_stream_is_ready_once_its_consumer_is_open() {
    // A new stream says first 0, last 0; one that was purged says first after last.
    for (info, head, from) in [(stream(0, 0), 0, 0), (stream(8, 7), 7, 7)] {
        let mut d = Driver::jetstream();
        d.expect(Input::Connected, &["read"]);
        d.expect(Input::Info(info), &["open last"]);
        d.expect(Input::ConsumerOpened { pending: 0 }, &["read"]);
        assert!(!d.feed.is_ready());
        let ready = ready(&d, head, from);
        d.expect(Input::Info(info), &[&ready, "fetch"]);
        assert!(d.feed.is_ready());
        let next = head + 1;
        d.expect_message(next, "odin.A", 0, &[&format!("#1 A {next}<0")]);
    }
}

#[test]
fn last_values_have_no_known_predecessor_and_what_follows_has() {
    let mut d = opened(stream(1, 10), 2);
    d.expect(Input::Info(stream(1, 10)), &["fetch"]);
    d.expect_message(4, "odin.A", 1, &["#1 A 4<null"]);
    let ready = ready(&d, 10, 0);
    d.expect_message(10, "odin.B", 0, &["#2 B 10<null", &ready]);
    d.expect_message(11, "odin.A", 0, &["#3 A 11<4"]);
    d.expect_message(12, "odin.C", 0, &["#4 C 12<0"]);
}

#[test]
fn the_snapshot_reaches_to_the_end_of_the_stream_after_the_opening() {
    let mut d = opened(stream(1, 10), 2);
    // 11 and 12 were stored before the consumer was opened: 11 is missing from what it delivers.
    d.expect(Input::Info(stream(3, 12)), &["fetch"]);
    d.expect_message(10, "odin.B", 1, &["#1 B 10<null"]);
    let ready = ready(&d, 12, 12);
    d.expect_message(12, "odin.A", 1, &["#2 A 12<null", &ready]);
    d.expect_message(13, "odin.A", 0, &["#3 A 13<12"]);
}

#[test]
fn what_the_consumer_does_not_count_yet_follows_the_snapshot() {
    let mut d = opened(stream(1, 10), 2);
    // 11 and 12 were stored after that, and the server has yet to count them for the consumer.
    d.expect(Input::Info(stream(1, 12)), &["fetch"]);
    d.expect_message(4, "odin.A", 1, &["#1 A 4<null"]);
    let ready = ready(&d, 10, 0);
    d.expect_message(10, "odin.B", 0, &["#2 B 10<null", &ready]);
    d.expect_message(11, "odin.A", 0, &["#3 A 11<4"]);
    d.expect_message(12, "odin.C", 0, &["#4 C 12<0"]);
}

#[test]
fn what_a_replica_that_is_behind_delivers_later_follows_the_snapshot() {
    let info = StreamInfo {
        replicated: true,
        ..stream(1, 10)
    };
    // Of ten messages the replica that holds the consumer had eight.
    let mut d = opened(info, 2);
    d.expect(Input::Info(info), &["fetch"]);
    d.expect_message(4, "odin.A", 1, &["#1 A 4<null"]);
    let ready = ready(&d, 8, 0);
    d.expect_message(8, "odin.B", 0, &["#2 B 8<null", &ready]);
    d.expect_message(9, "odin.A", 0, &["#3 A 9<4"]);
    d.expect_message(10, "odin.A", 0, &["#4 A 10<9"]);
}

#[test]
fn a_replica_without_any_value_is_not_believed_where_there_are_other_subjects() {
    let info = StreamInfo {
        replicated: true,
        covers_all: false,
        ..stream(1, 10)
    };
    let mut d = opened(info, 0);
    let ready = ready(&d, 0, 0);
    d.expect(Input::Info(info), &[&ready, "fetch"]);
    d.expect_message(9, "odin.A", 0, &["deleted 1..8"]);
}

#[test]
fn a_value_that_is_gone_before_it_is_delivered_proves_no_position() {
    // The first of two values is replaced under a limit per subject.
    let mut d = opened(stream(1, 2), 2);
    d.expect(Input::Info(stream(1, 2)), &["fetch"]);
    let ready = ready(&d, 2, 2);
    d.expect_message(2, "odin.B", 1, &["#1 B 2<null", &ready]);
    d.expect_message(3, "odin.A", 0, &["#2 A 3<0"]);
}

#[test]
fn what_is_deleted_between_the_opening_and_its_delivery_is_announced() {
    let mut d = opened(stream(1, 10), 1);
    d.expect(Input::Info(stream(1, 12)), &["fetch"]);
    let ready = ready(&d, 10, 0);
    d.expect_message(10, "odin.B", 0, &["#1 B 10<null", &ready]);
    d.expect_message(13, "odin.A", 0, &["#2 lost 11..12 discarded", "#3 A 13<0"]);
}

#[test]
fn a_filter_narrower_than_the_stream_is_complete_when_nothing_is_pending() {
    let info = StreamInfo {
        covers_all: false,
        ..stream(1, 50)
    };
    let mut d = opened(info, 1);
    d.expect(Input::Info(info), &["fetch"]);
    let complete = ready(&d, 50, 0);
    d.expect_message(4, "odin.A", 0, &["#1 A 4<null", &complete]);
    d.expect_message(51, "odin.A", 0, &["#2 A 51<4"]);

    let mut d = opened(info, 0);
    let complete = ready(&d, 50, 0);
    d.expect(Input::Info(info), &[&complete, "fetch"]);
}

#[test]
fn a_consumer_on_a_replica_that_is_behind_is_not_used() {
    let mut d = opened(stream(1, 10), 0);
    d.expect(Input::Info(stream(1, 10)), &[]);
    d.expect_timeout(Duration::from_millis(50), &["read"]);
    d.expect(Input::Info(stream(1, 10)), &["open last"]);
}

#[test]
fn an_interrupted_snapshot_is_made_again_from_nothing() {
    let mut d = opened(stream(1, 10), 2);
    d.expect(Input::Info(stream(1, 10)), &["fetch"]);
    // Lost before anything came: nobody has to know.
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    d.expect(Input::Info(stream(1, 10)), &["open last"]);
    d.outputs(Input::ConsumerOpened { pending: 2 });
    d.expect(Input::Info(stream(1, 10)), &["fetch"]);
    d.expect_message(4, "odin.A", 1, &["#1 A 4<null"]);
    // A consumer that is alive but says no more is of no use.
    d.now = d.now + Duration::from_secs(2);
    d.expect(Input::Heartbeat, &[]);
    d.expect_timeout(Duration::from_secs(1), &["read"]);
    let epoch = d.feed.epoch().unwrap().to_string();
    let reset = format!("#2 reset source_ready {epoch}");
    d.expect(Input::Info(stream(1, 10)), &[&reset, "open last"]);
    d.outputs(Input::ConsumerOpened { pending: 2 });
    d.expect(Input::Info(stream(1, 10)), &["fetch"]);
    d.expect_message(4, "odin.A", 1, &["#3 A 4<null"]);
    let ready = ready(&d, 10, 0);
    d.expect_message(10, "odin.B", 0, &["#4 B 10<null", &ready]);
}
