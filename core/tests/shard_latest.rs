//! Latest mode: who is behind gets the newest message of each channel, and is never closed for it.

mod support;

use odin_core::config::Config;
use odin_core::reason::LostReason;
use serde_json::json;
use support::{World, error_of, frame_len, lost, msg};

#[test]
fn of_a_channel_only_the_newest_is_sent() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","B"],"mode":"latest"}));
    world.publish_all(&["A"]);
    world.expect(client, &[msg("A", 1, 0)]);
    world.stall(client);
    world.publish_all(&["A", "A", "B", "A"]);
    world.unstall(client);
    world.expect(client, &[msg("A", 5, 3), msg("B", 4, 0)]);
    assert_eq!(world.stats().conflated, 2);
    world.publish("A");
    world.expect(client, &[msg("A", 6, 5)]);
}

#[test]
fn of_a_pattern_the_newest_of_each_channel_is_sent() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["P.*"],"mode":"latest"}));
    world.stall(client);
    world.publish_all(&["P.a", "P.b", "Q", "P.a", "P.c", "P.b"]);
    world.unstall(client);
    world.expect(
        client,
        &[msg("P.a", 4, 1), msg("P.c", 5, 0), msg("P.b", 6, 2)],
    );
    assert_eq!(world.stats().conflated, 2);
}

#[test]
fn a_frame_that_is_half_written_is_finished_though_superseded() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"],"mode":"latest"}));
    world.room(client, 10);
    world.publish_all(&["A", "A", "A"]);
    world.unstall(client);
    world.expect(client, &[msg("A", 1, 0), msg("A", 3, 2)]);
}

#[test]
fn falling_off_the_log_costs_nothing_but_what_is_superseded() {
    let mut world = World::with(Config {
        log_messages: 2,
        ..Config::default()
    });
    let exact = world.subscriber(json!({"channels":["A"],"mode":"latest"}));
    let pattern = world.subscriber(json!({"channels":["*"],"mode":"latest"}));
    world.stall(exact);
    world.stall(pattern);
    world.publish("B");
    for _ in 0..10 {
        world.publish("A");
    }
    world.evict_all_but(0);
    world.unstall(exact);
    world.unstall(pattern);
    world.expect(exact, &[msg("A", 11, 10)]);
    world.expect(pattern, &[msg("B", 1, 0), msg("A", 11, 10)]);
    world.publish("B");
    world.expect(pattern, &[msg("B", 12, 1)]);
}

#[test]
fn the_newest_of_many_channels_fits_in_pieces() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":[">"],"mode":"latest"}));
    world.stall(client);
    let names: Vec<String> = (0..300).map(|i| format!("P.{i}")).collect();
    for _ in 0..5 {
        for name in &names {
            world.publish(name);
        }
    }
    world.room(client, 40 * frame_len(&msg("P.100", 1_000, 700)) + 7);
    world.publish("P.299");
    world.unstall(client);
    let got = world.take(client);
    let mut last = 0;
    for message in &got {
        let seq = message["seq"].as_u64().unwrap();
        assert!(seq > last, "in the order of seq");
        last = seq;
    }
    for (i, name) in (0_u64..).zip(&names) {
        let newest = if i == 299 { 1_501 } else { 1_201 + i };
        let mut of_channel = got.iter().filter(|m| m["channel"] == name.as_str());
        assert_eq!(of_channel.next_back().unwrap()["seq"], newest, "{name}");
    }
    assert_eq!(got.len(), 300);
    // Each is counted once, however many writes it took.
    assert_eq!(world.stats().conflated, 1_501 - 300);
}

#[test]
fn an_unknown_mode_is_refused() {
    let mut world = World::new();
    let client = world.open();
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["A"],"mode":"newest"}}),
    );
    let got = world.take(client);
    assert_eq!(error_of(&got[0]).0, "INVALID_REQUEST");
}

#[test]
fn a_notice_that_left_the_log_unread_is_told_as_a_hole() {
    for name in ["A", ">"] {
        let mut world = World::new();
        let client = world.subscriber(json!({"channels":[name],"mode":"latest"}));
        world.stall(client);
        world.publish("A");
        world.lose_one("A", LostReason::TooLarge);
        world.evict_all_but(0);
        world.unstall(client);
        world.expect(client, &[lost(name, 1, 2, "slow_consumer")]);
        world.publish("A");
        world.expect(client, &[msg("A", 3, 2)]);
    }
}
