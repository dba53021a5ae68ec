//! What the log keeps when its floor rises: last values, apart from the arena and within a bound.

mod support;

use odin_core::config::Config;
use serde_json::json;
use support::{World, frame_len, lost, msg};

#[test]
fn bytes_are_those_of_the_frames_that_are_kept() {
    let mut world = World::new();
    world.publish_all(&["A", "A", "B"]);
    let len = frame_len(&msg("A", 1, 0)) as u64;
    assert_eq!(world.stats().log_bytes, 3 * len);
    world.evict_all_but(1);
    // A's last value is held apart, its first is gone.
    assert_eq!(world.stats().log_bytes, 2 * len);
    world.evict_all_but(0);
    assert_eq!(world.stats().log_bytes, 2 * len);
    world.publish_all(&["A", "B"]);
    assert_eq!(world.stats().log_bytes, 4 * len);
    world.evict_all_but(0);
    assert_eq!(world.stats().log_bytes, 2 * len);
    assert_eq!(world.stats().last_values_dropped, 0);
}

#[test]
fn a_superseded_value_can_be_read_until_its_successor_leaves() {
    let mut world = World::new();
    world.publish("A");
    world.evict_all_but(0);
    world.publish("A");
    let early = world.open();
    world.subscribe(
        early,
        json!({"channels":["A"],"resume":{"epoch":"e1","positions":{"A":0}}}),
    );
    world.expect(early, &[msg("A", 1, 0), msg("A", 2, 1)]);
    let pattern = world.open();
    world.subscribe(
        pattern,
        json!({"channels":["*"],"resume":{"epoch":"e1","positions":{"*":0}}}),
    );
    world.expect(pattern, &[msg("A", 1, 0), msg("A", 2, 1)]);
    world.evict_all_but(0);
    let late = world.open();
    let ack = world.subscribe(
        late,
        json!({"channels":["A"],"resume":{"epoch":"e1","positions":{"A":0}}}),
    );
    assert_eq!(
        ack["unrecovered"],
        json!([{"channel":"A","reason":"too_old","oldest":2,"newest":2}])
    );
    world.expect_nothing(late);
}

#[test]
fn a_cursor_on_a_held_value_goes_on_into_the_arena() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    world.evict_all_but(0);
    world.publish_all(&["A", "A"]);
    world.unstall(client);
    world.expect(client, &[msg("A", 1, 0), msg("A", 2, 1), msg("A", 3, 2)]);
}

#[test]
fn a_frame_that_is_half_written_outlives_its_eviction() {
    for room in 1..frame_len(&msg("A", 1, 0)) {
        let mut world = World::with(Config {
            last_value_bytes: 1,
            ..Config::default()
        });
        let client = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
        world.room(client, room);
        world.publish("A");
        world.evict_all_but(0);
        assert_eq!(world.stats().log_bytes, 0);
        world.publish("A");
        world.unstall(client);
        world.expect(client, &[msg("A", 1, 0), msg("A", 2, 1)]);
    }
}

/// Room for two last values: of A, B and C the oldest goes.
fn bounded() -> Config {
    Config {
        last_value_bytes: 2 * frame_len(&msg("A", 1, 0)),
        ..Config::default()
    }
}

#[test]
fn the_oldest_last_value_makes_room() {
    let mut world = World::with(bounded());
    world.publish_all(&["A", "B", "C"]);
    world.evict_all_but(0);
    assert_eq!(world.stats().last_values_dropped, 1);
    let client = world.open();
    let ack = world.subscribe(client, json!({"channels":["*"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"*":3}));
    world.expect(client, &[msg("B", 2, 0), msg("C", 3, 0)]);
    let exact = world.open();
    let ack = world.subscribe(exact, json!({"channels":["A"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"A":1}));
    world.expect_nothing(exact);
    world.publish("A");
    world.expect(exact, &[msg("A", 4, 1)]);
    world.expect(client, &[msg("A", 4, 1)]);
}

#[test]
fn who_had_not_read_a_value_that_made_room_is_told() {
    let mut world = World::with(bounded());
    let latest = json!({"mode":"latest"});
    let exact = world.subscriber(json!({"channels":["A"],"mode":latest["mode"]}));
    let pattern = world.subscriber(json!({"channels":["*"],"mode":latest["mode"]}));
    let lossless = world.subscriber(json!({"channels":["*"],"on_lost":"continue"}));
    for client in [exact, pattern, lossless] {
        world.stall(client);
    }
    world.publish_all(&["A", "B", "C"]);
    world.evict_all_but(0);
    for client in [exact, pattern, lossless] {
        world.unstall(client);
    }
    world.expect(exact, &[lost("A", 1, 1, "slow_consumer")]);
    for client in [pattern, lossless] {
        world.expect(
            client,
            &[
                lost("*", 1, 1, "slow_consumer"),
                msg("B", 2, 0),
                msg("C", 3, 0),
            ],
        );
    }
    world.publish("A");
    for client in [exact, pattern, lossless] {
        world.expect(client, &[msg("A", 4, 1)]);
    }
}

#[test]
fn a_floor_above_everything_and_a_floor_that_was_reached_do_nothing_more() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.evict_all_but(0);
    world.publish("A");
    world.evict_all_but(0);
    world.evict_all_but(0);
    world.evict_all_but(1);
    world.publish("A");
    world.expect(client, &[msg("A", 1, 0), msg("A", 2, 1)]);
}
