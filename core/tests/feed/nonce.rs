//! JetStream: after a rollback the number line is named by a nonce in the stream's metadata.

use std::time::Duration;

use odin_core::feed::{Delivered, EpochNonce, Input, StreamInfo};

use crate::driver::{CREATED, Driver, PAYLOAD, stream, time_of};

fn with(nonce: Option<EpochNonce>, first_seq: u64, last_seq: u64) -> StreamInfo {
    StreamInfo {
        nonce,
        ..stream(first_seq, last_seq)
    }
}

const THEIRS: EpochNonce = EpochNonce {
    rollbacks: 1,
    random: 0xabc,
};

/// The epoch of a server that starts now.
fn fresh_epoch(info: StreamInfo) -> String {
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(info));
    d.epoch()
}

/// A server that has seen the stream end before what it took, and wants its nonce written.
fn rolled_back(seed: u64) -> (Driver, EpochNonce) {
    let mut d = Driver::following_seeded(seed);
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    let (_, lines) = d.outputs(Input::Info(stream(1, 2)));
    let nonce = d.written.unwrap();
    let reset = format!("#4 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines, [reset, format!("write {nonce}")]);
    (d, nonce)
}

/// The new snapshot of messages 1 and 2, up to where messages flow; no reset is among it.
#[track_caller]
fn follow(d: &mut Driver, info: StreamInfo) {
    d.expect(Input::Info(info), &["open last"]);
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    d.expect(Input::Info(info), &["fetch"]);
    d.expect_message(1, "odin.A", 1, &["#5 A 1<null"]);
    let ready = format!("ready {} head 2 from 0 durable", d.epoch());
    d.expect_message(2, "odin.B", 0, &["#6 B 2<null", &ready]);
}

#[test]
fn what_was_written_and_read_back_is_the_epoch_of_every_server() {
    let (mut d, nonce) = rolled_back(42);
    let (old, new) = (fresh_epoch(stream(1, 2)), d.epoch());
    assert_ne!(old, new);
    d.expect(Input::NonceWritten, &["read"]);
    let info = with(Some(nonce), 1, 2);
    follow(&mut d, info);
    assert_eq!(d.epoch(), new);
    assert_eq!(fresh_epoch(info), new);
    assert_eq!(d.feed.stats().resets, 1);
}

#[test]
fn a_nonce_that_is_dropped_or_refused_stays_this_servers_own_and_is_not_written_again() {
    let answers: [fn(&mut Driver); 3] = [
        |d| {
            d.expect(Input::NonceWritten, &["read"]);
        },
        |d| {
            d.expect(Input::Failed, &[]);
            d.expect_timeout(Duration::from_millis(50), &["read"]);
        },
        |d| {
            d.expect_timeout(Duration::from_secs(10), &[]);
            d.expect_timeout(Duration::from_millis(50), &["read"]);
        },
    ];
    for answer in answers {
        let (mut d, nonce) = rolled_back(42);
        let own = d.epoch();
        answer(&mut d);
        follow(&mut d, stream(1, 2));
        for _ in 0..3 {
            d.reopen(stream(1, 2), "open 2");
            d.expect_message(2, "odin.B", 0, &[]);
        }
        assert_eq!(d.epoch(), own);
        // One that was stored although no answer came is no news.
        d.reopen(with(Some(nonce), 1, 2), "open 2");
        assert_eq!(d.epoch(), own);
        // Another rollback, another epoch.
        d.expect(Input::Disconnected, &[]);
        d.expect(Input::Connected, &["read"]);
        d.outputs(Input::Info(stream(1, 1)));
        assert_ne!(d.epoch(), own);
        assert_eq!(d.written.unwrap().rollbacks, 2);
    }
}

#[test]
fn a_lost_connection_is_no_refusal_but_the_writing_ends() {
    let (mut d, nonce) = rolled_back(42);
    let write = format!("write {nonce}");
    for _ in 0..2 {
        // Nor is it proof of anything when it is lost before what was written is read back.
        d.expect(Input::NonceWritten, &["read"]);
        d.expect(Input::Disconnected, &[]);
        d.expect(Input::Connected, &["read"]);
        d.expect(Input::Info(stream(1, 2)), &[&write]);
    }
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    follow(&mut d, stream(1, 2));
}

#[test]
fn two_servers_that_see_the_same_rollback_at_once_agree_in_the_end() {
    let (mut a, of_a) = rolled_back(1);
    let (mut b, of_b) = rolled_back(2);
    assert_ne!(of_a, of_b);
    a.expect(Input::NonceWritten, &["read"]);
    follow(&mut a, with(Some(of_a), 1, 2));
    // The other one read the stream before that, and writes after it.
    b.expect(Input::NonceWritten, &["read"]);
    let last = with(Some(of_b), 1, 2);
    follow(&mut b, last);
    assert_ne!(a.epoch(), b.epoch());
    // The first one looks again, although all is well.
    for _ in 0..19 {
        a.expect_timeout(Duration::from_secs(1), &[]);
        a.expect(Input::Heartbeat, &["tail"]);
    }
    a.expect_timeout(Duration::from_secs(1), &["read"]);
    let (_, lines) = a.outputs(Input::Info(last));
    let reset = format!("#7 reset stream_rolled_back {}", a.epoch());
    assert_eq!(lines, [reset, "open last".into()]);
    assert_eq!(a.epoch(), b.epoch());
    // Whoever wrote last sees nothing new, and neither looks again.
    b.expect_timeout(Duration::from_secs(20), &["read"]);
    b.expect(Input::Info(last), &["open 2"]);
    b.expect(Input::ConsumerOpened { pending: 1 }, &["read"]);
    b.expect(Input::Info(last), &["fetch"]);
    b.expect_message(2, "odin.B", 0, &[]);
    for _ in 0..30 {
        b.expect_timeout(Duration::from_secs(1), &[]);
        b.expect(Input::Heartbeat, &["tail"]);
    }
}

#[test]
fn a_nonce_of_another_server_begins_a_new_number_line() {
    let theirs = with(Some(THEIRS), 1, 9);
    let mut d = Driver::following();
    d.expect(Input::Disconnected, &[]);
    d.expect(Input::Connected, &["read"]);
    let (_, lines) = d.outputs(Input::Info(theirs));
    let reset = format!("#4 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines, [reset, "open last".into()]);
    assert_eq!(d.epoch(), fresh_epoch(theirs));
    // Also one that appears while the consumer is opened.
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    let newer = EpochNonce {
        rollbacks: 2,
        ..THEIRS
    };
    let (_, lines) = d.outputs(Input::Info(with(Some(newer), 1, 9)));
    let reset = format!("#5 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines, [reset, "open last".into()]);
    assert_eq!(d.written, None);
}

#[test]
fn a_rollback_that_another_server_saw_first_is_one_reset_and_no_writing() {
    let mut d = Driver::following();
    d.reopen(stream(1, 9), "open 3");
    let other = Delivered {
        stream_seq: 3,
        consumer_seq: 1,
        pending: 0,
        time: time_of(3) + 1,
        subject: "odin.A",
        payload: PAYLOAD,
    };
    d.expect(Input::Delivered(other), &["read"]);
    let (_, lines) = d.outputs(Input::Info(with(Some(THEIRS), 1, 9)));
    let reset = format!("#4 reset stream_rolled_back {}", d.epoch());
    assert_eq!(lines, [reset, "open last".into()]);
    assert_eq!(d.epoch(), fresh_epoch(with(Some(THEIRS), 1, 9)));
    assert_eq!((d.written, d.feed.stats().resets), (None, 1));
}

#[test]
fn metadata_that_is_what_it_was_before_shows_that_the_stream_went_back() {
    for earlier in [None, Some(THEIRS)] {
        let now = EpochNonce {
            rollbacks: 2,
            random: 5,
        };
        let info = with(Some(now), 1, 0);
        let mut d = Driver::jetstream();
        d.outputs(Input::Connected);
        d.outputs(Input::Info(info));
        d.outputs(Input::ConsumerOpened { pending: 0 });
        d.outputs(Input::Info(info));
        d.deliver(1, "odin.A", 0);
        let old = d.epoch();
        d.expect(Input::Disconnected, &[]);
        d.expect(Input::Connected, &["read"]);
        // What was taken is still there, but another past may follow on it.
        let (_, lines) = d.outputs(Input::Info(with(earlier, 1, 1)));
        let written = d.written.unwrap();
        let reset = format!("#2 reset stream_rolled_back {}", d.epoch());
        assert_eq!(lines, [reset, format!("write {written}")]);
        assert_eq!(written.rollbacks, 3);
        assert!(![old, fresh_epoch(with(earlier, 1, 1))].contains(&d.epoch()));
    }
}

#[test]
fn a_stream_that_is_made_again_is_named_by_what_it_says_itself() {
    for nonce in [None, Some(THEIRS)] {
        let (mut d, _) = rolled_back(42);
        d.expect(Input::NonceWritten, &["read"]);
        let made_again = StreamInfo {
            created: CREATED + 5,
            ..with(nonce, 1, 0)
        };
        let (_, lines) = d.outputs(Input::Info(made_again));
        let reset = format!("#5 reset stream_recreated {}", d.epoch());
        assert_eq!(lines, [reset, "open last".into()]);
        assert_eq!(d.epoch(), fresh_epoch(made_again));
    }
}

#[test]
fn a_nonce_is_read_as_it_is_written() {
    let nonce = EpochNonce {
        rollbacks: 12,
        random: 0x9f2c,
    };
    assert_eq!(nonce.to_string(), "12-0000000000009f2c");
    assert_eq!(EpochNonce::parse("12-0000000000009f2c"), Some(nonce));
    for other in ["", "1", "-", "0-1", "-1-1", "1-", "1-x", "x-1", "1-1-1"] {
        assert_eq!(EpochNonce::parse(other), None, "{other:?}");
    }
}
