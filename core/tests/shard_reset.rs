//! The number line begins anew: what was not sent is dropped, the notice, then the new values.

mod support;

use odin_core::reason::{CloseReason, LostReason, ResetReason};
use odin_core::shard::Input;
use serde_json::{Value, json};
use support::{World, frame_len, msg, reset, ts};

const RECREATED: ResetReason = ResetReason::StreamRecreated;

#[test]
fn everyone_is_told_and_then_sent_the_new_values_and_what_follows() {
    let mut world = World::new();
    let exact = world.subscriber(json!({"channels":["A","B"]}));
    let pattern = world.subscriber(json!({"channels":["*"]}));
    let latest = world.subscriber(json!({"channels":["A"],"mode":"latest"}));
    let none = world.open();
    world.publish_all(&["A", "B", "A"]);
    for client in [exact, pattern, latest] {
        world.take(client);
    }
    world.reset("e2", RECREATED);
    world.snapshot("B", 4);
    world.snapshot("A", 7);
    world.source_ready("e2", true, 8, 8);
    world.publish("A");
    for client in [exact, pattern] {
        world.expect(
            client,
            &[
                reset("e2", "stream_recreated"),
                msg("B", 4, None),
                msg("A", 7, None),
                msg("A", 9, 7),
            ],
        );
    }
    world.expect(
        latest,
        &[
            reset("e2", "stream_recreated"),
            msg("A", 7, None),
            msg("A", 9, 7),
        ],
    );
    world.expect_nothing(none);
    assert_eq!(world.stats().resets, 1);
}

#[test]
fn what_was_not_sent_of_the_old_line_is_dropped() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","*.x"]}));
    world.stall(client);
    world.publish_all(&["A", "P.x", "A"]);
    world.lose(None, LostReason::Reconnected);
    world.publish("A");
    world.reset("e2", ResetReason::StreamRolledBack);
    world.snapshot("A", 2);
    world.source_ready("e2", true, 2, 2);
    world.publish("P.x");
    world.unstall(client);
    world.expect(
        client,
        &[
            reset("e2", "stream_rolled_back"),
            msg("A", 2, None),
            msg("P.x", 3, 0),
        ],
    );
}

#[test]
fn a_frame_that_is_half_written_is_finished_first() {
    for room in 1..frame_len(&msg("A", 1, 0)) {
        let mut world = World::new();
        let client = world.subscriber(json!({"channels":["A"]}));
        world.room(client, room);
        world.publish_all(&["A", "A"]);
        world.reset("e2", RECREATED);
        world.source_ready("e2", true, 0, 0);
        world.publish("A");
        world.unstall(client);
        world.expect(
            client,
            &[
                msg("A", 1, 0),
                reset("e2", "stream_recreated"),
                msg("A", 1, 0),
            ],
        );
    }
}

#[test]
fn it_stands_after_the_answers_given_before_and_before_those_given_after() {
    for room in [0, 1, 30, 60, 90] {
        let mut world = World::new();
        world.publish("A");
        let client = world.subscriber(json!({"channels":["A"]}));
        world.room(client, room);
        world.say(client, json!({"type":"heartbeat","id":1}));
        world.say(client, json!({"type":"heartbeat","id":2}));
        world.reset("e2", RECREATED);
        world.source_ready("e2", true, 0, 0);
        world.say(client, json!({"type":"heartbeat","id":3}));
        world.publish("A");
        world.unstall(client);
        let pong = |id| json!({"type":"pong","id":id,"ts":0});
        world.expect(
            client,
            &[
                pong(1),
                pong(2),
                reset("e2", "stream_recreated"),
                pong(3),
                msg("A", 1, 0),
            ],
        );
    }
}

#[test]
fn an_ack_of_the_old_line_comes_before_it() {
    let mut world = World::new();
    world.publish("A");
    let client = world.open();
    world.stall(client);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["A"],"snapshot":true}}),
    );
    world.reset("e2", RECREATED);
    world.snapshot("A", 3);
    world.source_ready("e2", true, 3, 3);
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(
        (&got[0]["epoch"], &got[0]["positions"]),
        (&json!("e1"), &json!({"A":0}))
    );
    assert_eq!(
        got[1..],
        [reset("e2", "stream_recreated"), msg("A", 3, None)]
    );
}

#[test]
fn of_two_only_the_newer_is_told_to_who_has_read_neither() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    world.reset("e2", RECREATED);
    world.snapshot("A", 1);
    world.source_ready("e2", true, 1, 1);
    world.reset("e3", RECREATED);
    world.snapshot("A", 5);
    world.source_ready("e3", true, 5, 5);
    world.unstall(client);
    world.expect(
        client,
        &[reset("e3", "stream_recreated"), msg("A", 5, None)],
    );
}

#[test]
fn a_hole_in_the_new_line_is_told_after_it() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.lose(Some(3), LostReason::Discarded);
    world.reset("e2", RECREATED);
    world.source_ready("e2", true, 0, 0);
    world.publish("A");
    world.lose(Some(3), LostReason::Discarded);
    world.publish("A");
    world.unstall(client);
    let first = json!({"type":"lost","from":1,"to":3,"reason":"discarded"});
    let got = world.take(client);
    // The hole of the old line was on its way to the full socket.
    assert_eq!(
        got,
        [
            first,
            reset("e2", "stream_recreated"),
            msg("A", 1, 0),
            json!({"type":"lost","from":2,"to":3,"reason":"discarded"}),
            msg("A", 4, 1),
        ]
    );
}

#[test]
fn old_positions_are_of_another_epoch_and_welcome_names_the_new_one() {
    let mut world = World::new();
    world.publish_all(&["A", "A"]);
    world.reset("e2", RECREATED);
    let between = world.open_raw();
    assert_eq!(world.take(between)[0]["epoch"], json!(null));
    world.snapshot("A", 1);
    world.source_ready("e2", true, 1, 1);
    let client = world.open_raw();
    assert_eq!(world.take(client)[0]["epoch"], "e2");
    let ack = world.subscribe(
        client,
        json!({"channels":["A"],"resume":{"epoch":"e1","positions":{"A":1}}}),
    );
    assert_eq!(ack["positions"], json!({"A":1}));
    assert_eq!(ack["unrecovered"][0]["reason"], "epoch_changed");
    let data =
        json!({"channels":["A"],"resume":{"epoch":"e2","positions":{"A":{"seq":1,"ts":ts(1)}}}});
    let other = world.subscriber(data);
    world.publish("A");
    for client in [client, other] {
        world.expect(client, &[msg("A", 2, 1)]);
    }
}

#[test]
fn the_log_of_the_old_line_is_freed() {
    let mut world = World::new();
    world.publish_all(&["A", "B"]);
    world.evict_all_but(1);
    assert!(world.stats().log_bytes > 0);
    world.reset("e2", RECREATED);
    assert_eq!(world.stats().log_bytes, 0);
    // Channels stay: their numbers are never used for others.
    assert_eq!(world.stats().channels, 2);
}

/// A client that does not read, with a pong, the `reset` to e2 and, where it `asks`, an ack of e2 to come.
fn behind_a_reset(asks: bool) -> (World, support::C) {
    let mut world = World::new();
    world.publish("A");
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.say(client, json!({"type":"heartbeat","id":1}));
    world.reset("e2", RECREATED);
    world.source_ready("e2", true, 0, 0);
    if asks {
        world.say(
            client,
            json!({"type":"subscribe","id":2,"data":{"channels":["B"]}}),
        );
    }
    (world, client)
}

/// Takes the pong, the `reset` and the ack from the front of what came, and gives the rest.
fn after_the_ack(got: &[Value], asks: bool) -> &[Value] {
    assert_eq!(got[0]["type"], "pong");
    if !asks {
        // Where nothing follows that is of e2, nothing needs to be said of it.
        return &got[1..];
    }
    assert_eq!(got[1], reset("e2", "stream_recreated"));
    assert_eq!((&got[2]["id"], &got[2]["epoch"]), (&json!(2), &json!("e2")));
    &got[3..]
}

#[test]
fn of_a_connection_that_is_closed_it_still_stands_before_the_answers_of_the_new_line() {
    for asks in [true, false] {
        let (mut world, client) = behind_a_reset(asks);
        let conn = world.id(client);
        let reason = CloseReason::TooBig;
        world.input(Input::Violation { conn, reason });
        world.unstall(client);
        let got = world.take(client);
        let close = json!({"close":1009,"reason":"message_too_big"});
        assert_eq!(after_the_ack(&got, asks), [close]);
    }
}

#[test]
fn two_of_them_stand_apart_where_something_was_answered_between() {
    for asks in [true, false] {
        let (mut world, client) = behind_a_reset(asks);
        world.reset("e3", RECREATED);
        world.source_ready("e3", true, 0, 0);
        world.unstall(client);
        let got = world.take(client);
        assert_eq!(after_the_ack(&got, asks), [reset("e3", "stream_recreated")]);
    }
}
