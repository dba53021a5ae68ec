//! Signs of life: pings, heartbeats, silence, and sockets that take nothing.

mod support;

use std::time::Duration;

use odin_core::config::Config;
use odin_core::reason::CloseReason;
use odin_core::shard::Message;
use serde_json::json;
use support::{World, close, msg};

#[test]
fn a_ping_is_sent_every_interval_and_silence_ends_the_connection() {
    let mut world = World::new();
    let client = world.open();
    let ping = json!({"ping":""});
    world.advance_ms(24_999);
    world.expect_nothing(client);
    world.advance_ms(1);
    world.expect(client, std::slice::from_ref(&ping));
    world.advance_ms(25_000);
    world.expect(client, std::slice::from_ref(&ping));
    world.advance_ms(9_999);
    world.expect_nothing(client);
    world.advance_ms(1);
    world.expect(client, &[close(4009, "idle")]);
    world.advance_ms(4_999);
    world.expect_nothing(client);
    world.advance_ms(1);
    world.expect_drop(client, CloseReason::Idle);
    assert_eq!(world.stats().disconnects[CloseReason::Idle as usize], 1);
    assert_eq!(world.shard.poll_timeout(), None);
}

#[test]
fn any_message_is_a_sign_of_life() {
    for message in [Message::Pong, Message::Ping(b"x"), Message::Text("{")] {
        let mut world = World::new();
        let client = world.open();
        world.advance_ms(59_000);
        world.message(client, message);
        world.advance_ms(59_999);
        let got = world.take(client);
        assert!(
            got.iter().all(|m| m.get("close").is_none()),
            "{message:?}: {got:?}"
        );
        world.advance_ms(1);
        assert_eq!(world.take(client), [close(4009, "idle")]);
    }
}

#[test]
fn a_client_that_answers_pings_stays() {
    let mut world = World::new();
    let client = world.open();
    for _ in 0..100 {
        world.advance_ms(25_000);
        world.expect(client, &[json!({"ping":""})]);
        world.message(client, Message::Pong);
    }
}

#[test]
fn zero_turns_each_off() {
    let mut world = World::with(Config {
        ping_interval: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        write_stall: Duration::ZERO,
        ..Config::default()
    });
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    assert_eq!(world.shard.poll_timeout(), None);
    world.advance(Duration::from_secs(100_000));
    world.unstall(client);
    world.expect(client, &[msg("A", 1, 0)]);
}

#[test]
fn a_ping_of_the_client_is_answered_with_its_data() {
    let mut world = World::new();
    let client = world.open();
    world.message(client, Message::Ping(b"abc"));
    world.expect(client, &[json!({"pong":"abc"})]);
}

#[test]
fn ten_pings_in_a_row_are_answered_and_of_a_flood_the_last() {
    let mut world = World::new();
    let client = world.open();
    world.stall(client);
    world.say(client, json!({"type":"heartbeat"}));
    for number in 1..=50 {
        world.message(client, Message::Ping(number.to_string().as_bytes()));
        assert!(world.wants_read(client));
    }
    world.unstall(client);
    let mut expected = vec![json!({"type":"pong","ts":0})];
    let answered = (1..=9).chain([50]);
    expected.extend(answered.map(|number| json!({"pong":number.to_string()})));
    world.expect(client, &expected);
}

#[test]
fn what_a_full_lane_keeps_for_a_pong_is_one_place() {
    let mut world = World::new();
    let client = world.open();
    world.stall(client);
    while world.wants_read(client) {
        world.say(client, json!({"type":"heartbeat"}));
    }
    for text in ["a", "bb", "ccc"] {
        world.message(client, Message::Ping(text.as_bytes()));
    }
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got.len(), 17);
    assert_eq!(got.last(), Some(&json!({"pong":"ccc"})));
}

#[test]
fn a_heartbeat_tells_the_time() {
    let mut world = World::with(Config {
        started_unix_ms: 1_700_000_000_000,
        ..Config::default()
    });
    let client = world.open();
    world.advance_ms(1_234);
    world.say(client, json!({"type":"heartbeat","id":"h"}));
    world.expect(
        client,
        &[json!({"type":"pong","id":"h","ts":1_700_000_001_234_u64})],
    );
}

#[test]
fn a_socket_that_takes_nothing_for_ten_seconds_is_too_slow() {
    for mode in ["lossless", "latest"] {
        let mut world = World::new();
        let client = world.subscriber(json!({"channels":["A"],"mode":mode}));
        world.advance_ms(1_000);
        world.stall(client);
        world.publish("A");
        world.advance_ms(9_999);
        assert_eq!(world.stats().disconnects, [0; CloseReason::COUNT]);
        world.advance_ms(1);
        // The close frame cannot be written either, so the socket is dropped after a while.
        world.expect_no_output();
        world.advance_ms(4_999);
        world.expect_no_output();
        world.advance_ms(1);
        world.expect_drop(client, CloseReason::SlowConsumer);
    }
}

#[test]
fn a_byte_now_and_then_is_enough() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    for _ in 0..20 {
        world.message(client, Message::Pong);
        world.advance_ms(9_999);
        world.room(client, 1);
    }
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got[0], msg("A", 1, 0));
    assert!(got[1..].iter().all(|m| *m == json!({"ping":""})), "{got:?}");
    // A socket that took everything is not stalled, however long there is nothing to send.
    world.message(client, Message::Pong);
    world.advance_ms(20_000);
    assert!(world.take(client).iter().all(|m| *m == json!({"ping":""})));
    world.publish("A");
    world.expect(client, &[msg("A", 2, 1)]);
}

#[test]
fn writable_without_room_does_not_begin_the_time_anew() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    for _ in 0..9 {
        world.advance_ms(1_000);
        world.message(client, Message::Pong);
        world.wake_falsely(client);
    }
    world.advance_ms(999);
    world.expect_no_output();
    world.advance_ms(1 + 5_000);
    world.expect_drop(client, CloseReason::SlowConsumer);
}
