//! The last value on subscribing.

mod support;

use odin_core::reason::LostReason;
use serde_json::json;
use support::{World, msg};

#[test]
fn of_a_channel_the_ack_stands_before_the_last_value() {
    let mut world = World::new();
    world.publish_all(&["A", "A", "B"]);
    let client = world.open();
    let ack = world.subscribe(client, json!({"channels":["A","B","N"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"A":1,"B":0,"N":0}));
    world.publish_all(&["N", "A"]);
    world.expect(
        client,
        &[
            msg("A", 2, 1),
            msg("B", 3, 0),
            msg("N", 4, 0),
            msg("A", 5, 2),
        ],
    );
}

#[test]
fn before_a_value_that_the_server_began_with_the_position_is_unknown() {
    let mut world = World::cold(odin_core::config::Config::default());
    world.snapshot("A", 10);
    world.source_ready("e1", true, 12, 12);
    let client = world.open();
    let ack = world.subscribe(client, json!({"channels":["A"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"A":null}));
    world.publish("A");
    world.expect(client, &[msg("A", 10, None), msg("A", 13, 10)]);
}

#[test]
fn a_quiet_channel_keeps_its_value_when_the_log_moves_on() {
    let mut world = World::new();
    world.publish_all(&["A", "A", "B"]);
    world.evict_all_but(0);
    let client = world.open();
    let ack = world.subscribe(client, json!({"channels":["A"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"A":1}));
    world.expect(client, &[msg("A", 2, 1)]);
}

#[test]
fn where_the_newest_is_lost_there_is_no_value() {
    let mut world = World::new();
    world.publish("A");
    world.lose_one("A", LostReason::TooLarge);
    let client = world.open();
    let ack = world.subscribe(client, json!({"channels":["A"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"A":2}));
    world.expect_nothing(client);
    world.publish("A");
    world.expect(client, &[msg("A", 3, 2)]);
}

#[test]
fn of_a_pattern_it_is_each_channels_last_value_in_the_order_of_seq() {
    let mut world = World::cold(odin_core::config::Config::default());
    world.snapshot("P.quiet", 3);
    world.source_ready("e1", true, 3, 3);
    world.publish_all(&["P.a", "P.b", "P.a", "Q", "P.c", "P.b"]);
    world.evict_all_but(3);
    let client = world.open();
    let ack = world.subscribe(client, json!({"channels":["P.*"],"snapshot":true}));
    assert_eq!(ack["positions"], json!({"P.*":9}));
    world.publish("P.a");
    world.expect(
        client,
        &[
            msg("P.quiet", 3, None),
            msg("P.a", 6, 4),
            msg("P.c", 8, 0),
            msg("P.b", 9, 5),
            msg("P.a", 10, 6),
        ],
    );
}

#[test]
fn what_a_stalled_client_has_not_read_of_a_snapshot_goes_on_into_the_live_without_a_seam() {
    for room in 0..600 {
        let mut world = World::new();
        world.publish_all(&["P.a", "P.b", "P.a", "P.c"]);
        let client = world.open();
        world.room(client, room);
        world.say(
            client,
            json!({"type":"subscribe","data":{"channels":["P.*"],"snapshot":true}}),
        );
        world.publish_all(&["P.b", "P.d", "P.b"]);
        world.unstall(client);
        let got = world.take(client);
        assert_eq!(got[0]["positions"], json!({"P.*":4}));
        // The value of b that the subscribe found is sent or, where a newer one came first, passed over.
        let b = if got.contains(&msg("P.b", 2, 0)) {
            vec![msg("P.b", 2, 0)]
        } else {
            Vec::new()
        };
        let rest = [
            msg("P.a", 3, 1),
            msg("P.c", 4, 0),
            msg("P.b", 5, 2),
            msg("P.d", 6, 0),
            msg("P.b", 7, 5),
        ];
        let expected: Vec<_> = b.into_iter().chain(rest).collect();
        assert_eq!(got[1..], expected, "after {room} bytes");
    }
}

#[test]
fn an_exact_snapshot_survives_what_supersedes_it() {
    let mut world = World::new();
    world.publish_all(&["A", "A"]);
    let client = world.open();
    world.stall(client);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["A"],"snapshot":true}}),
    );
    world.publish_all(&["A", "A"]);
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got[0]["positions"], json!({"A":1}));
    assert_eq!(got[1..], [msg("A", 2, 1), msg("A", 3, 2), msg("A", 4, 3)]);
}

#[test]
fn in_latest_mode_too() {
    let mut world = World::new();
    world.publish_all(&["A", "P.a", "P.b", "P.a"]);
    let client = world.open();
    world.subscribe(
        client,
        json!({"channels":["A","P.*"],"snapshot":true,"mode":"latest"}),
    );
    world.publish("P.b");
    world.expect(
        client,
        &[
            msg("A", 1, 0),
            msg("P.b", 3, 0),
            msg("P.a", 4, 2),
            msg("P.b", 5, 3),
        ],
    );
}
