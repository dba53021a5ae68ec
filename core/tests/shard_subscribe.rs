//! Subscribing to names and patterns: what is acked, and what follows.

mod support;

use serde_json::{Value, json};
use support::{C, World, error_of, msg};

fn ack(names: &Value, count: u32, positions: Value) -> Value {
    json!({"type":"subscription_ack","subscribed":names,"count":count,"epoch":"e1",
        "durable":true,"positions":positions})
}

fn refused(world: &mut World, client: C, channels: Value) -> String {
    world.say(
        client,
        json!({"type":"subscribe","id":"r","data":{"channels":channels}}),
    );
    let got = world.take(client);
    assert_eq!(got.len(), 1, "{got:?}");
    let (code, id) = error_of(&got[0]);
    assert_eq!(id, "r");
    code.to_owned()
}

#[test]
fn positions_are_the_last_seq_of_a_channel_and_of_the_line_for_a_pattern() {
    let mut world = World::new();
    world.publish_all(&["A", "P.x", "B", "C"]);
    let client = world.open();
    let data = json!({"channels":["A","N","P.*"]});
    world.say(client, json!({"type":"subscribe","id":7,"data":data}));
    let mut expected = ack(&json!(["A", "N", "P.*"]), 3, json!({"A":1,"N":0,"P.*":4}));
    expected["id"] = json!(7);
    world.expect(client, &[expected]);
    world.publish_all(&["A", "B", "P.x", "N", "P.new", "P.x.deep", "A"]);
    world.expect(
        client,
        &[
            msg("A", 5, 1),
            msg("P.x", 7, 2),
            msg("N", 8, 0),
            msg("P.new", 9, 0),
            msg("A", 11, 5),
        ],
    );
}

#[test]
fn nothing_comes_before_the_ack() {
    let mut world = World::new();
    let client = world.open();
    world.stall(client);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["A"]}}),
    );
    world.publish("A");
    world.unstall(client);
    world.expect(
        client,
        &[ack(&json!(["A"]), 1, json!({"A":0})), msg("A", 1, 0)],
    );
}

#[test]
fn subscriptions_add_up_and_do_not_disturb_each_other() {
    let mut world = World::new();
    let one = world.subscriber(json!({"channels":["A"]}));
    let two = world.subscriber(json!({"channels":["A"]}));
    let second = world.subscribe(one, json!({"channels":["B"]}));
    assert_eq!(second["count"], 2);
    world.publish_all(&["B", "A"]);
    world.expect(one, &[msg("B", 1, 0), msg("A", 2, 0)]);
    world.expect(two, &[msg("A", 2, 0)]);
}

#[test]
fn one_bad_name_refuses_the_whole_request() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","P.*"]}));
    for (channels, code) in [
        (json!(["B", "A"]), "ALREADY_SUBSCRIBED"),
        (json!(["P.*"]), "ALREADY_SUBSCRIBED"),
        (json!(["B", "B"]), "ALREADY_SUBSCRIBED"),
        (json!(["B", "P.x"]), "SUBSCRIPTION_OVERLAP"),
        (json!([">"]), "SUBSCRIPTION_OVERLAP"),
        (json!(["*"]), "SUBSCRIPTION_OVERLAP"),
        (json!(["*.x"]), "SUBSCRIPTION_OVERLAP"),
        (json!(["B", "P.>"]), "SUBSCRIPTION_OVERLAP"),
        (json!(["B", "Q.x", "Q.*"]), "SUBSCRIPTION_OVERLAP"),
        (json!(["B", "a..b"]), "INVALID_CHANNEL"),
        (json!(["B", "a*"]), "INVALID_PATTERN"),
        (json!([]), "INVALID_REQUEST"),
    ] {
        assert_eq!(
            refused(&mut world, client, channels.clone()),
            code,
            "{channels}"
        );
    }
    world.publish_all(&["B", "Q.x", "A"]);
    world.expect(client, &[msg("A", 3, 0)]);
    assert_eq!(world.stats().subscriptions, 2);
}

#[test]
fn an_overlap_names_both() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["P.*"]}));
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":["P.x"]}}),
    );
    let got = world.take(client);
    let message = got[0]["message"].as_str().unwrap();
    assert!(
        message.contains("P.x") && message.contains("P.*"),
        "{message}"
    );
}

#[test]
fn what_is_no_request_is_answered_and_changes_nothing() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    for (text, code) in [
        ("{", "INVALID_JSON"),
        ("[]", "INVALID_REQUEST"),
        (r#"{"type":"dance"}"#, "UNKNOWN_TYPE"),
        (r#"{"type":"subscribe"}"#, "INVALID_REQUEST"),
        (
            r#"{"type":"subscribe","data":{"channels":["B"],"resume":{"epoch":"e1","positions":{"C":1}}}}"#,
            "INVALID_RESUME",
        ),
        (
            r#"{"type":"unsubscribe","data":{"channels":["A","B"]}}"#,
            "NOT_SUBSCRIBED",
        ),
        (
            r#"{"type":"auth","data":{"token":"t"}}"#,
            "AUTH_UNAVAILABLE",
        ),
    ] {
        world.message(client, odin_core::shard::Message::Text(text));
        let got = world.take(client);
        assert_eq!(got.len(), 1, "{text}");
        assert_eq!(error_of(&got[0]).0, code, "{text}");
    }
    world.publish("A");
    world.expect(client, &[msg("A", 1, 0)]);
}
