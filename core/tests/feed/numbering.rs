//! Channels, seq, prev and arrival order.

use odin_core::config::FeedConfig;
use odin_core::event::Event;
use odin_core::feed::{Input, Outcome, Output};
use odin_core::id::ChannelId;

use crate::driver::{Driver, PAYLOAD, embedded};

#[test]
fn each_message_names_the_one_before_it_on_its_channel() {
    let mut d = Driver::new(embedded(), FeedConfig::default());
    d.expect(Input::Connected, &["ready e1 head 0 from 0"]);
    let outcome = d.expect_unstored("odin.A", PAYLOAD, &["#1 A 1<0"]);
    assert_eq!(outcome, Outcome::Published(1));
    d.expect_unstored("odin.B", PAYLOAD, &["#2 B 2<0"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#3 A 3<1"]);
    d.expect_unstored("odin.A", PAYLOAD, &["#4 A 4<3"]);
    d.expect_unstored("odin.B", PAYLOAD, &["#5 B 5<2"]);
    assert_eq!((d.feed.stats().received, d.feed.stats().channels), (5, 2));
}

#[test]
fn channel_numbers_are_dense_and_stay() {
    let mut d = Driver::new(embedded(), FeedConfig::default());
    d.outputs(Input::Connected);
    let mut ids = Vec::new();
    for subject in ["odin.A", "odin.B", "odin.A", "odin.C"] {
        let message = odin_core::feed::Delivered {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: 5_999_999,
            subject,
            payload: PAYLOAD,
        };
        d.feed.handle(d.now, Input::Delivered(message));
        let Some(Output::Event(Event::Published(p))) = d.feed.poll_output() else {
            panic!("{subject} was not published");
        };
        assert_eq!(p.ts, 5, "milliseconds, rounded down");
        ids.push(p.channel);
    }
    assert_eq!(ids, [0, 1, 0, 2].map(ChannelId));
}
