//! Lossless delivery: every message once and in order, however little a socket takes at a time.

mod support;

use odin_core::shard::Shard;
use serde_json::{Value, json};
use support::{World, frame_len, msg};

#[test]
fn a_full_socket_gets_everything_later_in_order() {
    let mut world = World::new();
    let slow = world.subscriber(json!({"channels":["A","B"]}));
    let fast = world.subscriber(json!({"channels":["A"]}));
    world.stall(slow);
    for _ in 0..100 {
        world.publish_all(&["A", "B"]);
    }
    let of = |name, from: u64| -> Vec<Value> {
        (0..100)
            .map(|i| msg(name, from + 2 * i, (from + 2 * i).saturating_sub(2)))
            .collect()
    };
    let mut a = of("A", 1);
    a[0] = msg("A", 1, 0);
    world.expect(fast, &a);
    world.expect_nothing(slow);
    world.unstall(slow);
    let got = world.take(slow);
    let channel = |name| -> Vec<Value> {
        got.iter()
            .filter(|m| m["channel"] == name)
            .cloned()
            .collect()
    };
    assert_eq!((channel("A"), channel("B")), (a, of("B", 2)));
    assert_eq!(got.len(), 200);
}

#[test]
fn each_subscription_has_its_turn() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","B"]}));
    world.stall(client);
    for _ in 0..1_000 {
        world.publish("A");
    }
    let b = world.publish("B");
    let len = frame_len(&msg("A", 100, 99));
    // B stands in the first transmit, for A takes no more than its share of it.
    world.room(client, Shard::SLICES_MAX * len);
    let got = world.take(client);
    assert!(got.contains(&msg("B", b, 0)), "{got:?}");
    world.unstall(client);
    assert_eq!(world.take(client).len() + got.len(), 1_001);
}

#[test]
fn a_message_above_the_bound_goes_alone() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    let large = json!("x".repeat(Shard::TRANSMIT_BYTES_MAX + 1));
    world.publish_data("A", &large);
    world.publish("A");
    world.unstall(client);
    let mut middle = msg("A", 2, 1);
    middle["data"] = large;
    world.expect(client, &[msg("A", 1, 0), middle, msg("A", 3, 2)]);
}

/// One of everything: answers, live data of two subscriptions, a replay, notices.
fn scenario(chunk: usize, room: usize) -> (Vec<Value>, u64) {
    let mut world = World::new();
    world.publish_all(&["A", "P.x", "A"]);
    let client = world.open();
    let before = world.stats().bytes_sent;
    world.chunk(client, chunk);
    world.room(client, room);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["A"],"resume":{"epoch":"e1","positions":{"A":0}}}}),
    );
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["P.*"],"resume":{"epoch":"e1","positions":{"P.*":0}}}}),
    );
    world.publish_all(&["A", "P.y"]);
    world.lose(Some(7), odin_core::reason::LostReason::Discarded);
    world.publish_all(&["P.x", "A"]);
    world.unstall(client);
    world.say(client, json!({"type":"heartbeat","id":1}));
    world.say(
        client,
        json!({"type":"replay","data":{"channel":"A","from":1}}),
    );
    world.say(
        client,
        json!({"type":"unsubscribe","data":{"channels":["A"]}}),
    );
    world.publish_all(&["P.x", "A"]);
    (world.take(client), world.stats().bytes_sent - before)
}

fn of_channel<'a>(got: &'a [Value], prefix: &str) -> Vec<&'a Value> {
    got.iter()
        .filter(|m| m["channel"].as_str().is_some_and(|c| c.starts_with(prefix)))
        .collect()
}

#[test]
fn a_write_may_end_at_every_byte() {
    let (whole, bytes) = scenario(usize::MAX, usize::MAX);
    assert_eq!(whole.len(), 18, "{whole:?}");
    for chunk in 1..200 {
        assert_eq!(
            scenario(chunk, usize::MAX),
            (whole.clone(), bytes),
            "{chunk} at a time"
        );
    }
    // A socket that is full for a while may be sent the same in other turns, but each subscription
    // in its own order, around the notice in the same places.
    for room in 0..usize::try_from(bytes).unwrap() {
        let (got, _) = scenario(usize::MAX, room);
        for channel in ["A", "P"] {
            assert_eq!(
                of_channel(&got, channel),
                of_channel(&whole, channel),
                "{room} bytes"
            );
        }
        let at = |values: &[Value]| values.iter().position(|m| m["type"] == "lost").unwrap();
        let (before, expected) = (&got[..at(&got)], &whole[..at(&whole)]);
        for channel in ["A", "P"] {
            assert_eq!(
                of_channel(before, channel),
                of_channel(expected, channel),
                "{room} bytes"
            );
        }
        assert_eq!(got.len(), whole.len(), "{room} bytes");
    }
}
