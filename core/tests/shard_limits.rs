//! How much a connection and a server may subscribe.

mod support;

use odin_core::config::Config;
use odin_core::reason::ErrorCode;
use serde_json::{Value, json};
use support::{C, World, error_of, msg};

/// The code of the answer; `None`: it was acked.
fn subscribe(world: &mut World, client: C, channels: Value) -> Option<String> {
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":channels}}),
    );
    let got = world.take(client);
    assert_eq!(got.len(), 1, "{got:?}");
    (got[0]["type"] != "subscription_ack").then(|| error_of(&got[0]).0.to_owned())
}

fn unsubscribe(world: &mut World, client: C, channels: Value) {
    world.say(
        client,
        json!({"type":"unsubscribe","data":{"channels":channels}}),
    );
    assert_eq!(world.take(client)[0]["type"], "unsubscription_ack");
}

#[test]
fn channels_of_a_connection() {
    let mut world = World::with(Config {
        channels_per_connection: 3,
        ..Config::default()
    });
    let client = world.open();
    let over = Some("TOO_MANY_CHANNELS".to_owned());
    assert_eq!(
        subscribe(&mut world, client, json!(["A", "B", "C", "D"])),
        over
    );
    assert_eq!(
        subscribe(&mut world, client, json!(["A", "B", "P.*"])),
        None
    );
    assert_eq!(subscribe(&mut world, client, json!(["C"])), over);
    unsubscribe(&mut world, client, json!(["A"]));
    assert_eq!(subscribe(&mut world, client, json!(["C"])), None);
    let other = world.open();
    assert_eq!(subscribe(&mut world, other, json!(["A", "B", "C"])), None);
    assert_eq!(world.stats().errors[ErrorCode::TooManyChannels as usize], 2);
}

#[test]
fn patterns_of_a_connection() {
    let mut world = World::with(Config {
        patterns_per_connection: 2,
        ..Config::default()
    });
    let client = world.open();
    let over = Some("TOO_MANY_PATTERNS".to_owned());
    assert_eq!(
        subscribe(&mut world, client, json!(["A.*", "B.*", "C.*"])),
        over
    );
    assert_eq!(
        subscribe(&mut world, client, json!(["A.*", "B.*", "X"])),
        None
    );
    assert_eq!(subscribe(&mut world, client, json!(["C.*"])), over);
    unsubscribe(&mut world, client, json!(["A.*"]));
    assert_eq!(subscribe(&mut world, client, json!(["C.*"])), None);
}

#[test]
fn patterns_of_a_server_where_idle_ones_make_room() {
    let mut world = World::with(Config {
        patterns_per_server: 2,
        ..Config::default()
    });
    let one = world.open();
    let two = world.open();
    let over = Some("SERVER_LIMIT".to_owned());
    assert_eq!(subscribe(&mut world, one, json!(["A.*", "B.*"])), None);
    assert_eq!(subscribe(&mut world, two, json!(["C.*"])), over);
    // A pattern that others have costs nothing more.
    assert_eq!(subscribe(&mut world, two, json!(["A.*"])), None);
    unsubscribe(&mut world, one, json!(["B.*"]));
    assert_eq!(world.stats().patterns, 2);
    assert_eq!(subscribe(&mut world, two, json!(["C.*"])), None);
    assert_eq!(world.stats().patterns, 2);
    assert_eq!(subscribe(&mut world, one, json!(["B.*"])), over);
    world.publish_all(&["A.x", "B.x", "C.x"]);
    world.expect(one, &[msg("A.x", 1, 0)]);
    world.expect(two, &[msg("A.x", 1, 0), msg("C.x", 3, 0)]);
}

#[test]
fn a_request_takes_back_an_idle_pattern_and_another_that_is_new() {
    let mut world = World::with(Config {
        patterns_per_server: 2,
        ..Config::default()
    });
    let client = world.open();
    assert_eq!(subscribe(&mut world, client, json!(["A.*", "B.*"])), None);
    unsubscribe(&mut world, client, json!(["A.*", "B.*"]));
    // Making room for C must not take B from under this request.
    assert_eq!(subscribe(&mut world, client, json!(["C.*", "B.*"])), None);
    assert_eq!(world.stats().patterns, 2);
    world.publish_all(&["A.x", "B.x", "C.x"]);
    let got = support::by_seq(world.take(client));
    assert_eq!(got, [msg("B.x", 2, 0), msg("C.x", 3, 0)]);
}

#[test]
fn an_idle_pattern_lingers_for_a_minute() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A.*"]}));
    world.hang_up(client, odin_core::reason::CloseReason::Client);
    world.advance_ms(59_999);
    assert_eq!(world.stats().patterns, 1);
    world.advance_ms(1);
    assert_eq!(world.stats().patterns, 0);
    world.publish("A.x");
    // One that comes again in between stays.
    let client = world.subscriber(json!({"channels":["A.*"]}));
    unsubscribe(&mut world, client, json!(["A.*"]));
    world.advance_ms(20_000);
    world.subscribe(client, json!({"channels":["A.*"]}));
    world.advance_ms(4_999);
    assert_eq!(world.stats().patterns, 1);
    world.publish("A.x");
    world.expect(client, &[msg("A.x", 2, 1)]);
}

#[test]
fn names_that_only_subscribers_know() {
    let mut world = World::with(Config {
        channels_max: 2,
        ..Config::default()
    });
    world.publish("A");
    let client = world.open();
    let over = Some("SERVER_LIMIT".to_owned());
    // A has messages, so it does not count.
    assert_eq!(
        subscribe(&mut world, client, json!(["A", "N1", "N2"])),
        None
    );
    assert_eq!(subscribe(&mut world, client, json!(["N3"])), over);
    let other = world.open();
    assert_eq!(subscribe(&mut world, other, json!(["N1"])), None);
    assert_eq!(world.stats().channels, 3);
    unsubscribe(&mut world, client, json!(["N2"]));
    assert_eq!(world.stats().channels, 2);
    assert_eq!(subscribe(&mut world, client, json!(["N3"])), None);
    // A first message makes it a channel of the server's.
    world.publish("N3");
    world.expect(client, &[msg("N3", 2, 0)]);
    assert_eq!(subscribe(&mut world, client, json!(["N4"])), None);
    unsubscribe(&mut world, client, json!(["N3"]));
    assert_eq!(world.stats().channels, 4);
    unsubscribe(&mut world, client, json!(["N1"]));
    assert_eq!(world.stats().channels, 4);
    world.hang_up(other, odin_core::reason::CloseReason::Client);
    assert_eq!(world.stats().channels, 3);
}

#[test]
fn zero_is_no_limit() {
    let mut world = World::with(Config {
        channels_per_connection: 0,
        patterns_per_connection: 0,
        patterns_per_server: 0,
        channels_max: 0,
        ..Config::default()
    });
    let client = world.open();
    let names: Vec<String> = (0..300).map(|i| format!("A{i}")).collect();
    let patterns: Vec<String> = (0..40).map(|i| format!("P{i}.*")).collect();
    assert_eq!(subscribe(&mut world, client, json!(names)), None);
    assert_eq!(subscribe(&mut world, client, json!(patterns)), None);
    assert_eq!(world.stats().subscriptions, 340);
}
