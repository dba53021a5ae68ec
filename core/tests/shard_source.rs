//! Before the source is ready: a subscribe waits, then is acked without an epoch.

mod support;

use std::time::Duration;

use odin_core::config::Config;
use odin_core::reason::{LostReason, ResetReason};
use serde_json::{Value, json};
use support::{C, World, by_seq, msg, reset};

fn request(snapshot: bool) -> Value {
    json!({"type":"subscribe","id":1,"data":{"channels":["A","P.*"],"snapshot":snapshot,
        "resume":{"epoch":"e1","positions":{"A":3}}}})
}

fn ack_without_epoch() -> Value {
    json!({"type":"subscription_ack","id":1,"subscribed":["A","P.*"],"count":2,"epoch":null,
        "durable":false,"positions":{"A":null,"P.*":null},"recovered":[],
        "unrecovered":[{"channel":"A","reason":"upstream_unavailable"}]})
}

fn cold() -> (World, C) {
    let mut world = World::cold(Config::default());
    let client = world.open();
    (world, client)
}

#[test]
fn a_subscribe_waits_until_the_source_is_ready() {
    let (mut world, client) = cold();
    world.say(client, request(false));
    assert!(
        !world.wants_read(client),
        "what the client says next would pass the subscribe"
    );
    world.advance_ms(4_999);
    world.snapshot("A", 3);
    world.snapshot("P.x", 4);
    world.expect_nothing(client);
    world.source_ready("e1", true, 4, 4);
    assert!(world.wants_read(client));
    let got = world.take(client);
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(
        json!([got[0]["epoch"], got[0]["positions"], got[0]["recovered"]]),
        json!(["e1", {"A":3,"P.*":4}, ["A"]])
    );
    world.publish_all(&["A", "P.x"]);
    world.expect(client, &[msg("A", 5, 3), msg("P.x", 6, 4)]);
    world.advance_ms(10);
    world.expect_nothing(client);
}

#[test]
fn after_five_seconds_it_is_acked_without_an_epoch_and_told_later() {
    for snapshot in [false, true] {
        let (mut world, client) = cold();
        world.say(client, request(snapshot));
        world.advance_ms(4_999);
        world.expect_nothing(client);
        world.advance_ms(1);
        world.expect(client, &[ack_without_epoch()]);
        assert!(world.wants_read(client));
        world.snapshot("A", 3);
        world.snapshot("P.x", 4);
        world.expect_nothing(client);
        world.source_ready("e1", true, 4, 4);
        world.publish("A");
        let got = world.take(client);
        assert_eq!(got[0], reset("e1", "source_ready"));
        assert_eq!(
            by_seq(got[1..].to_vec()),
            [msg("A", 3, None), msg("P.x", 4, None), msg("A", 5, 3),]
        );
    }
}

#[test]
fn without_a_hold_it_is_acked_at_once() {
    let mut world = World::cold(Config {
        subscribe_hold: Duration::ZERO,
        ..Config::default()
    });
    let client = world.open();
    world.say(client, request(false));
    world.expect(client, &[ack_without_epoch()]);
    world.say(client, json!({"type":"heartbeat"}));
    world.expect(client, &[json!({"type":"pong","ts":0})]);
    world.source_ready("e1", false, 0, 0);
    world.expect(client, &[reset("e1", "source_ready")]);
}

#[test]
fn a_stalled_client_is_told_in_the_same_order() {
    let (mut world, client) = cold();
    world.stall(client);
    world.say(client, request(false));
    world.advance_ms(5_000);
    world.snapshot("A", 3);
    world.source_ready("e1", true, 3, 3);
    world.publish("P.x");
    world.unstall(client);
    world.expect(
        client,
        &[
            ack_without_epoch(),
            reset("e1", "source_ready"),
            msg("A", 3, None),
            msg("P.x", 4, 0),
        ],
    );
}

#[test]
fn a_bad_subscribe_is_refused_without_waiting() {
    let mut world = World::cold(Config {
        channels_per_connection: 1,
        ..Config::default()
    });
    let client = world.open();
    world.say(client, request(false));
    let got = world.take(client);
    assert_eq!(support::error_of(&got[0]).0, "TOO_MANY_CHANNELS");
    assert!(world.wants_read(client));
}

#[test]
fn a_client_that_goes_while_it_waits_is_forgotten() {
    let (mut world, client) = cold();
    world.say(client, request(false));
    world.hang_up(client, odin_core::reason::CloseReason::Client);
    world.source_ready("e1", true, 0, 0);
    world.advance_ms(6_000);
    assert_eq!(world.stats().subscriptions, 0);
    assert_eq!(world.stats().connections, 0);
}

#[test]
fn a_reset_while_it_waits_is_not_told() {
    let (mut world, client) = cold();
    world.say(client, request(false));
    world.reset("e2", ResetReason::StreamRecreated);
    world.source_ready("e2", true, 0, 0);
    let got = world.take(client);
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(
        json!([got[0]["epoch"], got[0]["unrecovered"][0]["reason"]]),
        json!(["e2", "epoch_changed"])
    );
}

#[test]
fn between_a_reset_and_its_source_ready_a_subscribe_waits_beside_those_who_stay() {
    let mut world = World::new();
    let old = world.subscriber(json!({"channels":["A"]}));
    let new = world.open();
    world.reset("e2", ResetReason::StreamRecreated);
    world.say(
        new,
        json!({"type":"subscribe","data":{"channels":["A"],"snapshot":true}}),
    );
    world.say(
        old,
        json!({"type":"subscribe","data":{"channels":["B"],"snapshot":true}}),
    );
    world.snapshot("A", 2);
    world.snapshot("B", 3);
    world.expect(old, &[reset("e2", "stream_recreated"), msg("A", 2, None)]);
    world.expect_nothing(new);
    world.source_ready("e2", true, 3, 3);
    let ack = |name: &str, count| {
        json!({"type":"subscription_ack","subscribed":[name],"count":count,"epoch":"e2",
            "durable":true,"positions":{name:null}})
    };
    world.expect(new, &[ack("A", 1), msg("A", 2, None)]);
    world.expect(old, &[ack("B", 2), msg("B", 3, None)]);
}

#[test]
fn after_the_hold_ran_out_between_reset_and_source_ready_all_is_told_once() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.reset("e2", ResetReason::StreamRecreated);
    world.expect(client, &[reset("e2", "stream_recreated")]);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["B"]}}),
    );
    world.advance_ms(5_000);
    let got = world.take(client);
    assert_eq!(json!([got[0]["epoch"], got[0]["count"]]), json!([null, 2]));
    world.snapshot("A", 2);
    world.snapshot("B", 3);
    world.source_ready("e2", true, 3, 3);
    let got = world.take(client);
    assert_eq!(got[0], reset("e2", "source_ready"));
    assert_eq!(
        by_seq(got[1..].to_vec()),
        [msg("A", 2, None), msg("B", 3, None)]
    );
}

#[test]
fn a_hole_before_the_source_is_ready_is_not_told_to_who_has_no_epoch() {
    let (mut world, client) = cold();
    world.say(client, request(false));
    world.advance_ms(5_000);
    world.expect(client, &[ack_without_epoch()]);
    world.lose(Some(3), LostReason::Discarded);
    world.source_ready("e1", true, 3, 0);
    world.expect(client, &[reset("e1", "source_ready")]);
}

#[test]
fn a_replay_that_a_reset_ended_waits_with_everything_else() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.publish("A");
    world.take(client);
    world.stall(client);
    world.publish("A");
    world.say(client, json!({"type":"replay","data":{"from":1}}));
    world.reset("e2", ResetReason::StreamRecreated);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["B"]}}),
    );
    world.advance_ms(5_000);
    world.unstall(client);
    let got = world.take(client);
    let types: Vec<_> = got.iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["reset", "subscription_ack"], "{got:?}");
    world.source_ready("e2", true, 0, 0);
    world.expect(
        client,
        &[
            reset("e2", "source_ready"),
            json!({"type":"replay_incomplete","channel":"A","sent":0,"reason":"epoch_changed"}),
        ],
    );
}
