//! Unsubscribing: nothing of it follows the ack.

mod support;

use serde_json::{Value, json};
use support::{World, error_of, msg};

fn unsubscribe(channels: Value) -> Value {
    json!({"type":"unsubscribe","id":"u","data":{"channels":channels}})
}

fn ack(channels: Value, count: u32) -> Value {
    json!({"type":"unsubscription_ack","id":"u","unsubscribed":channels,"count":count})
}

#[test]
fn nothing_follows_the_ack() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","B","P.*"]}));
    world.stall(client);
    world.publish_all(&["A", "B", "P.x"]);
    world.say(client, unsubscribe(json!(["A", "P.*"])));
    world.unstall(client);
    world.expect(client, &[ack(json!(["A", "P.*"]), 1), msg("B", 2, 0)]);
    world.publish_all(&["A", "P.x", "B"]);
    world.expect(client, &[msg("B", 6, 2)]);
    world.say(client, unsubscribe(json!(["B"])));
    world.expect(client, &[ack(json!(["B"]), 0)]);
    world.publish("B");
    world.expect_nothing(client);
}

#[test]
fn a_frame_that_is_half_written_is_finished_before_the_ack() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.room(client, 1);
    world.publish_all(&["A", "A"]);
    world.say(client, unsubscribe(json!(["A"])));
    world.unstall(client);
    world.expect(client, &[msg("A", 1, 0), ack(json!(["A"]), 0)]);
}

#[test]
fn it_is_done_whole_or_not_at_all() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","B"]}));
    for channels in [json!(["A", "C"]), json!(["A", "*"])] {
        world.say(client, unsubscribe(channels));
        let got = world.take(client);
        assert_eq!(error_of(&got[0]), ("NOT_SUBSCRIBED", &json!("u")));
    }
    world.publish_all(&["A", "B"]);
    world.expect(client, &[msg("A", 1, 0), msg("B", 2, 0)]);
}

#[test]
fn subscribing_again_begins_anew() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.say(client, unsubscribe(json!(["A"])));
    world.expect(client, &[ack(json!(["A"]), 0)]);
    world.publish("A");
    let again = world.subscribe(client, json!({"channels":["A"]}));
    assert_eq!(
        (&again["positions"], &again["count"]),
        (&json!({"A":1}), &json!(1))
    );
    world.publish("A");
    world.expect(client, &[msg("A", 2, 1)]);
}

#[test]
fn the_others_go_on_whichever_goes() {
    for gone in ["A", "B", "C", "D"] {
        for stalled in [false, true] {
            let mut world = World::new();
            let client = world.subscriber(json!({"channels":["A","B","C","D"]}));
            if stalled {
                world.stall(client);
                world.publish_all(&["A", "B", "C", "D"]);
            }
            world.say(client, unsubscribe(json!([gone])));
            world.unstall(client);
            let mut expected = vec![ack(json!([gone]), 3)];
            let names = ["A", "B", "C", "D"];
            let left = (1..).zip(names).filter(|(_, name)| *name != gone);
            if stalled {
                expected.extend(left.map(|(seq, name)| msg(name, seq, 0)));
            } else {
                world.publish_all(&names);
                expected.extend(left.map(|(seq, name)| msg(name, seq, 0)));
            }
            world.expect(client, &expected);
        }
    }
}
