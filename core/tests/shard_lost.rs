//! Holes upstream: told to everyone concerned, in the place where they are.

mod support;

use odin_core::reason::LostReason;
use serde_json::{Value, json};
use support::{World, close, lost, msg};

fn lost_all(from: u64, to: Option<u64>, reason: &str) -> Value {
    json!({"type":"lost","from":from,"to":to,"reason":reason})
}

#[test]
fn a_hole_for_all_is_told_once_to_each_connection_with_subscriptions() {
    let mut world = World::new();
    let two = world.subscriber(json!({"channels":["A","B"]}));
    let latest = world.subscriber(json!({"channels":[">"],"mode":"latest"}));
    let none = world.open();
    world.lose(Some(5), LostReason::Discarded);
    for client in [two, latest] {
        world.expect(client, &[lost_all(1, Some(5), "discarded")]);
    }
    world.expect_nothing(none);
    // Who subscribes afterwards begins after it.
    let ack = world.subscribe(none, json!({"channels":["A"]}));
    assert_eq!(ack["positions"], json!({"A":0}));
    world.publish("A");
    for client in [two, latest, none] {
        world.expect(client, &[msg("A", 6, 0)]);
    }
    // Counted once, by the Feed: every shard hears of it.
    assert_eq!(world.stats().lost, [0; LostReason::COUNT]);
}

#[test]
fn it_stands_between_what_came_before_and_after_in_every_subscription() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","B","P.*"]}));
    world.stall(client);
    world.publish_all(&["A", "B", "P.x", "A"]);
    world.lose(None, LostReason::Reconnected);
    world.publish_all(&["P.y", "B"]);
    world.lose(Some(9), LostReason::Overload);
    world.publish_all(&["A"]);
    world.unstall(client);
    let got = world.take(client);
    let sorted = |values: &[Value]| {
        let mut seqs: Vec<_> = values.iter().map(|m| m["seq"].as_u64().unwrap()).collect();
        seqs.sort_unstable();
        seqs
    };
    assert_eq!(got.len(), 9, "{got:?}");
    assert_eq!(sorted(&got[..4]), [1, 2, 3, 4]);
    assert_eq!(got[4], lost_all(5, None, "reconnected"));
    assert_eq!(sorted(&got[5..7]), [5, 6]);
    assert_eq!(got[7], lost_all(7, Some(9), "overload"));
    assert_eq!(got[8], msg("A", 10, 4));
}

#[test]
fn in_latest_mode_nothing_from_after_it_comes_before_it() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","P.*"],"mode":"latest"}));
    world.stall(client);
    world.publish_all(&["A", "P.x"]);
    world.lose(Some(4), LostReason::Discarded);
    world.publish_all(&["A", "P.y"]);
    world.unstall(client);
    let got = world.take(client);
    let at = got.iter().position(|m| m["type"] == "lost").unwrap();
    assert!(
        got[..at].iter().all(|m| m["seq"].as_u64() < Some(3)),
        "{got:?}"
    );
    assert!(got[..at].contains(&msg("P.x", 2, 0)), "{got:?}");
    assert!(got[at..].contains(&msg("A", 5, 1)) && got[at..].contains(&msg("P.y", 6, 0)));
}

#[test]
fn who_unsubscribed_from_everything_is_not_told() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.say(client, json!({"type":"heartbeat"}));
    world.lose(Some(4), LostReason::Discarded);
    world.say(
        client,
        json!({"type":"unsubscribe","data":{"channels":["A"]}}),
    );
    world.unstall(client);
    world.expect(
        client,
        &[
            json!({"type":"pong","ts":0}),
            json!({"type":"unsubscription_ack","unsubscribed":["A"],"count":0}),
        ],
    );
    world.subscribe(client, json!({"channels":["A"]}));
    world.publish("A");
    world.expect(client, &[msg("A", 5, 0)]);
}

#[test]
fn a_lost_message_of_a_channel_stands_in_its_place() {
    let mut world = World::new();
    let exact = world.subscriber(json!({"channels":["A"]}));
    let pattern = world.subscriber(json!({"channels":["*"]}));
    let other = world.subscriber(json!({"channels":["B"]}));
    world.publish_all(&["A", "B"]);
    world.lose_one("A", LostReason::TooLarge);
    world.publish("A");
    let expected = [msg("A", 1, 0), lost("A", 3, 3, "too_large"), msg("A", 4, 3)];
    world.expect(exact, &expected);
    let [first, lost, last] = expected;
    world.expect(pattern, &[first, msg("B", 2, 0), lost, last]);
    world.expect(other, &[msg("B", 2, 0)]);
    assert_eq!(world.stats().lost, [0; LostReason::COUNT]);
}

#[test]
fn a_resume_over_a_lost_message_is_told_of_it_too() {
    let mut world = World::new();
    world.publish("A");
    world.lose_one("A", LostReason::TooLarge);
    world.publish("A");
    let client = world.open();
    let ack = world.subscribe(
        client,
        json!({"channels":["A"],"resume":{"epoch":"e1","positions":{"A":1}}}),
    );
    assert_eq!(ack["recovered"], json!(["A"]));
    world.expect(client, &[lost("A", 2, 2, "too_large"), msg("A", 3, 2)]);
}

#[test]
fn a_connection_that_is_more_than_64_notices_behind_is_too_slow() {
    for (notices, is_slow) in [(65, false), (66, true)] {
        let mut world = World::new();
        let client = world.subscriber(json!({"channels":["A"]}));
        world.stall(client);
        for to in 1..=notices {
            world.lose(Some(to), LostReason::Discarded);
        }
        world.unstall(client);
        // The first was on its way to the full socket when the others came.
        let told = if is_slow { 1 } else { notices };
        let mut expected: Vec<_> = (1..=told)
            .map(|to| lost_all(to, Some(to), "discarded"))
            .collect();
        expected.extend(is_slow.then(|| close(4008, "slow_consumer")));
        world.expect(client, &expected);
    }
}

#[test]
fn who_resumes_behind_a_hole_is_told_a_prev_from_before_it() {
    let mut world = World::new();
    world.publish("A");
    world.lose(Some(5), LostReason::Discarded);
    let client = world.open();
    let resume = json!({"epoch":"e1","positions":{"A":5}});
    let ack = world.subscribe(client, json!({"channels":["A"],"resume":resume}));
    assert_eq!(ack["recovered"], json!(["A"]));
    assert_eq!(ack["positions"], json!({"A":5}));
    // So a client must not take the position that it resumed from for the seq of a message.
    world.publish("A");
    world.expect(client, &[msg("A", 6, 1)]);
}
