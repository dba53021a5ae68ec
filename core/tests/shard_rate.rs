//! The rate of a client's messages, and the lane that its answers wait in.

mod support;

use core::time::Duration;

use odin_core::config::Config;
use odin_core::reason::{CloseReason, ErrorCode};
use odin_core::shard::Message;
use serde_json::{Value, json};
use support::{World, close, error_of, msg};

fn limited(message_rate: u32, message_burst: u32, message_drops_max: u32) -> World {
    World::with(Config {
        message_rate,
        message_burst,
        message_drops_max,
        ..Config::default()
    })
}

fn heartbeat(id: u64) -> Value {
    json!({"type":"heartbeat","id":id})
}

#[test]
fn messages_over_the_rate_are_dropped_and_said_to_be() {
    let mut world = limited(10, 3, 0);
    let client = world.open();
    for id in 0..3 {
        world.say(client, heartbeat(id));
        world.expect(client, &[json!({"type":"pong","id":id,"ts":0})]);
    }
    for id in 3..6 {
        world.say(client, heartbeat(id));
        let got = world.take(client);
        assert_eq!(got.len(), 1);
        // The message was not read, so its id is not known.
        assert_eq!(error_of(&got[0]), ("RATE_LIMIT_EXCEEDED", &Value::Null));
    }
    world.advance_ms(100);
    world.say(client, heartbeat(6));
    world.expect(client, &[json!({"type":"pong","id":6,"ts":100})]);
    let stats = world.stats();
    assert_eq!((stats.messages_received, stats.rate_limited), (7, 3));
    assert_eq!(stats.errors[ErrorCode::RateLimitExceeded as usize], 3);
}

#[test]
fn a_dropped_request_changes_nothing() {
    let mut world = limited(1, 1, 0);
    let client = world.subscriber(json!({"channels":["A"]}));
    world.say(
        client,
        json!({"type":"unsubscribe","data":{"channels":["A"]}}),
    );
    assert_eq!(error_of(&world.take(client)[0]).0, "RATE_LIMIT_EXCEEDED");
    world.publish("A");
    world.expect(client, &[msg("A", 1, 0)]);
}

#[test]
fn so_many_in_a_row_end_the_connection() {
    let mut world = limited(1, 1, 3);
    let client = world.open();
    world.say(client, heartbeat(0));
    world.say(client, heartbeat(1));
    world.say(client, heartbeat(2));
    world.advance_ms(1_000);
    // One that is let through begins the row anew.
    world.say(client, heartbeat(3));
    assert_eq!(world.take(client).len(), 4);
    world.say(client, heartbeat(4));
    world.say(client, heartbeat(5));
    assert_eq!(world.take(client).len(), 2);
    world.say(client, heartbeat(6));
    world.expect(client, &[close(4029, "flooding")]);
    world.message(client, Message::Close(Some(4029)));
    world.expect_drop(client, CloseReason::Flooding);
    assert_eq!(world.stats().rate_limited, 5);
}

#[test]
fn pings_count_and_are_not_answered_above_the_rate() {
    let mut world = limited(1, 1, 0);
    let client = world.open();
    world.message(client, Message::Ping(b"1"));
    world.expect(client, &[json!({"pong":"1"})]);
    world.message(client, Message::Ping(b"2"));
    world.expect_nothing(client);
    assert_eq!(world.stats().rate_limited, 1);
}

#[test]
fn a_pong_that_was_asked_for_does_not_count() {
    let mut world = World::with(Config {
        message_rate: 1,
        message_burst: 1,
        message_drops_max: 1,
        ping_interval: Duration::from_millis(10),
        ..Config::default()
    });
    let client = world.open();
    for _ in 0..10 {
        world.advance_ms(10);
        world.expect(client, &[json!({"ping":""})]);
    }
    for _ in 0..10 {
        world.message(client, Message::Pong);
    }
    world.say(client, heartbeat(0));
    world.expect(client, &[json!({"type":"pong","id":0,"ts":100})]);
    // The next one would be over the rate, which is the end.
    world.message(client, Message::Pong);
    world.expect(client, &[close(4029, "flooding")]);
    assert_eq!(world.stats().rate_limited, 1);
}

#[test]
fn pongs_that_nobody_asked_for_count() {
    let mut world = limited(1, 5, 10);
    let client = world.open();
    for _ in 0..14 {
        world.message(client, Message::Pong);
    }
    world.expect_nothing(client);
    world.message(client, Message::Pong);
    world.expect(client, &[close(4029, "flooding")]);
    assert_eq!(world.stats().rate_limited, 10);
}

#[test]
fn fragments_count_and_are_no_sign_of_life() {
    let mut world = World::with(Config {
        message_rate: 1,
        message_burst: 5,
        message_drops_max: 10,
        ping_interval: Duration::ZERO,
        idle_timeout: Duration::from_millis(100),
        ..Config::default()
    });
    let flooding = world.open();
    let idle = world.open();
    world.message(flooding, Message::Fragments(14));
    world.expect_nothing(flooding);
    assert_eq!(world.stats().rate_limited, 9);
    // However many come at once, they are counted to the end only.
    world.message(flooding, Message::Fragments(1_000_000));
    world.expect(flooding, &[close(4029, "flooding")]);
    assert_eq!(world.stats().rate_limited, 10);
    world.advance_ms(99);
    world.message(idle, Message::Fragments(1));
    world.advance_ms(1);
    world.expect(idle, &[close(4009, "idle")]);
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let mut world = limited(0, 1, 1);
    let client = world.open();
    for id in 0..1_000 {
        world.say(client, heartbeat(id));
    }
    assert_eq!(world.take(client).len(), 1_000);
}

#[test]
fn a_client_whose_answers_pile_up_is_not_read_from_until_they_went() {
    let mut world = limited(0, 0, 0);
    let client = world.open();
    world.stall(client);
    let mut said = 0;
    while world.wants_read(client) {
        world.say(client, heartbeat(said));
        said += 1;
    }
    assert_eq!(said, 16);
    world.unstall(client);
    assert!(world.wants_read(client));
    let expected: Vec<_> = (0..said)
        .map(|id| json!({"type":"pong","id":id,"ts":0}))
        .collect();
    world.expect(client, &expected);
}

#[test]
fn large_answers_pile_up_sooner() {
    let mut world = limited(0, 0, 0);
    let client = world.open();
    world.stall(client);
    let names: Vec<String> = (0..100).map(|i| format!("{i:0>120}")).collect();
    let mut said = 0;
    while world.wants_read(client) {
        world.say(
            client,
            json!({"type":"unsubscribe","id":"x","data":{"channels":[format!("{said:0>120}")]}}),
        );
        said += 1;
        if said == 2 {
            // Its ack names every channel twice: 25 KB.
            world.say(
                client,
                json!({"type":"subscribe","data":{"channels":names}}),
            );
            world.say(
                client,
                json!({"type":"unsubscribe","data":{"channels":names}}),
            );
        }
    }
    assert_eq!(said, 2);
    world.unstall(client);
    assert!(world.wants_read(client));
    assert_eq!(world.take(client).len(), 4);
}

#[test]
fn who_is_read_from_all_the_same_is_closed_and_not_a_fault() {
    let mut world = limited(0, 0, 0);
    let client = world.open();
    world.stall(client);
    for id in 0..1_000 {
        world.message(client, Message::Text(&heartbeat(id).to_string()));
        world.message(client, Message::Ping(b""));
    }
    world.unstall(client);
    let got = world.take(client);
    assert!(got.len() <= 32, "{}", got.len());
    assert_eq!(got.last(), Some(&close(1013, "overload")));
}

#[test]
fn the_servers_own_has_room_beside_a_full_lane() {
    let mut world = limited(0, 0, 0);
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    let mut id = 0;
    while world.wants_read(client) {
        world.say(client, heartbeat(id));
        id += 1;
    }
    world.message(client, Message::Ping(b"p"));
    world.advance_ms(0);
    let deadline = world.now + std::time::Duration::from_secs(5);
    world.input(odin_core::shard::Input::Drain { deadline });
    world.publish("A");
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got.len(), 16 + 3);
    assert_eq!(got[16], json!({"pong":"p"}));
    assert_eq!(
        got[17],
        json!({"type":"goaway","reason":"draining","reconnect_after_ms":4_000})
    );
    assert_eq!(got[18], msg("A", 1, 0));
}
