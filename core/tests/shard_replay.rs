//! Replay: what the client was already sent, again.

mod support;

use odin_core::config::Config;
use odin_core::reason::ResetReason;
use serde_json::{Value, json};
use support::{C, World, error_of, frame_len, msg, reset};

fn replay(data: Value) -> Value {
    json!({"type":"replay","id":3,"data":data})
}

fn complete(channel: &str, from: u64, to: u64, count: u64) -> Value {
    json!({"type":"replay_complete","id":3,"channel":channel,"from":from,"to":to,"count":count})
}

fn incomplete(channel: &str, sent: u64, reason: &str, oldest: u64, newest: u64) -> Value {
    json!({"type":"replay_incomplete","id":3,"channel":channel,"sent":sent,"reason":reason,
        "oldest":oldest,"newest":newest})
}

fn refused(world: &mut World, client: C, data: Value) -> String {
    world.say(client, replay(data));
    let got = world.take(client);
    assert_eq!(got.len(), 1, "{got:?}");
    let (code, id) = error_of(&got[0]);
    assert_eq!(id, &json!(3));
    code.to_owned()
}

/// A client that has A 1, 3, 5 and P.x 2, 4.
fn world() -> (World, C) {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","P.*"]}));
    world.publish_all(&["A", "P.x", "A", "P.x", "A"]);
    assert_eq!(world.take(client).len(), 5);
    (world, client)
}

#[test]
fn a_range_is_sent_again_and_its_end_said() {
    let (mut world, client) = world();
    for (data, channel, expected, (from, to)) in [
        (
            json!({"channel":"A","from":1,"to":3}),
            "A",
            vec![(1, 0), (3, 1)],
            (1, 3),
        ),
        (
            json!({"channel":"A","from":2,"to":4}),
            "A",
            vec![(3, 1)],
            (2, 4),
        ),
        (
            json!({"channel":"A","since":1}),
            "A",
            vec![(3, 1), (5, 3)],
            (2, 5),
        ),
        (
            json!({"channel":"A","from":1,"to":99}),
            "A",
            vec![(1, 0), (3, 1), (5, 3)],
            (1, 5),
        ),
        (
            json!({"channel":"P.x","from":3}),
            "P.x",
            vec![(4, 2)],
            (3, 4),
        ),
        (json!({"channel":"A","from":2,"to":2}), "A", vec![], (2, 2)),
    ] {
        world.say(client, replay(data.clone()));
        let mut messages: Vec<Value> = expected
            .iter()
            .map(|(seq, prev)| msg(channel, *seq, *prev))
            .collect();
        messages.push(complete(channel, from, to, expected.len() as u64));
        let got = world.take(client);
        assert_eq!(got, messages, "{data}");
    }
    assert_eq!(world.stats().replay_requests, 6);
    world.publish("A");
    world.expect(client, &[msg("A", 6, 5)]);
}

#[test]
fn it_ends_where_live_delivery_stood_so_nothing_is_sent_twice() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.publish_all(&["A", "A"]);
    assert_eq!(world.take(client).len(), 2);
    world.stall(client);
    world.publish_all(&["A", "A"]);
    world.say(client, replay(json!({"since":0})));
    world.publish("A");
    world.unstall(client);
    let got = world.take(client);
    let (replayed, live): (Vec<_>, Vec<_>) = got
        .iter()
        .filter(|m| m["type"] == "message")
        .partition(|m| m["seq"].as_u64() <= Some(2));
    assert_eq!(replayed, [&msg("A", 1, 0), &msg("A", 2, 1)]);
    assert_eq!(live, [&msg("A", 3, 2), &msg("A", 4, 3), &msg("A", 5, 4)]);
    assert!(got.contains(&complete("A", 1, 2, 2)), "{got:?}");
    assert_eq!(got.len(), 6);
}

#[test]
fn what_the_log_no_longer_has_is_incomplete() {
    let mut world = World::with(Config {
        log_messages: 2,
        ..Config::default()
    });
    let client = world.subscriber(json!({"channels":["A"]}));
    world.publish_all(&["A", "A", "A", "A"]);
    assert_eq!(world.take(client).len(), 4);
    world.say(client, replay(json!({"from":2})));
    world.expect(
        client,
        &[
            msg("A", 3, 2),
            msg("A", 4, 3),
            incomplete("A", 2, "too_old", 3, 4),
        ],
    );
    world.say(client, replay(json!({"from":1,"to":2})));
    world.expect(client, &[incomplete("A", 0, "too_old", 3, 4)]);
    world.say(client, replay(json!({"from":3})));
    world.expect(
        client,
        &[msg("A", 3, 2), msg("A", 4, 3), complete("A", 3, 4, 2)],
    );
}

#[test]
fn a_replay_under_way_that_falls_off_the_log_is_incomplete() {
    let mut world = World::with(Config {
        log_messages: 4,
        ..Config::default()
    });
    let client = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
    world.publish_all(&["A", "A", "A", "A"]);
    assert_eq!(world.take(client).len(), 4);
    world.room(client, frame_len(&msg("A", 1, 0)) + 5);
    world.say(client, replay(json!({"from":1})));
    world.publish_all(&["A", "A", "A"]);
    world.unstall(client);
    let got = world.take(client);
    let replayed: Vec<_> = got
        .iter()
        .filter(|m| m["type"] == "message" && m["seq"].as_u64() <= Some(4))
        .collect();
    // The second was half written when it left the log.
    assert_eq!(
        replayed,
        [&msg("A", 1, 0), &msg("A", 2, 1), &msg("A", 4, 3)]
    );
    assert!(
        got.contains(&incomplete("A", 3, "too_old", 4, 7)),
        "{got:?}"
    );
    let live: Vec<_> = got.iter().filter(|m| m["seq"].as_u64() > Some(4)).collect();
    assert_eq!(live, [&msg("A", 5, 4), &msg("A", 6, 5), &msg("A", 7, 6)]);
}

#[test]
fn an_unsubscribe_ends_it_before_its_ack() {
    let (mut world, client) = world();
    world.stall(client);
    world.say(client, replay(json!({"channel":"A","from":1})));
    world.say(client, replay(json!({"channel":"P.x","from":1})));
    world.say(
        client,
        json!({"type":"unsubscribe","data":{"channels":["A"]}}),
    );
    world.unstall(client);
    world.expect(
        client,
        &[
            incomplete("A", 0, "unsubscribed", 1, 5),
            json!({"type":"unsubscription_ack","unsubscribed":["A"],"count":1}),
            msg("P.x", 2, 0),
            msg("P.x", 4, 2),
            complete("P.x", 1, 4, 2),
        ],
    );
}

#[test]
fn one_of_a_channel_and_eight_of_a_connection_run_at_a_time() {
    let mut world = World::new();
    let names: Vec<String> = (1..=9).map(|i| format!("A{i}")).collect();
    let client = world.subscriber(json!({"channels":names}));
    for name in &names {
        world.publish(name);
    }
    assert_eq!(world.take(client).len(), 9);
    world.stall(client);
    world.say(client, replay(json!({"channel":"A1","from":1})));
    world.say(client, replay(json!({"channel":"A1","from":1})));
    for name in &names[1..] {
        world.say(client, replay(json!({"channel":name,"from":1})));
    }
    world.unstall(client);
    let got = world.take(client);
    let codes: Vec<_> = got[..2].iter().map(|m| error_of(m).0).collect();
    assert_eq!(codes, ["REPLAY_IN_PROGRESS"; 2]);
    let completed = got
        .iter()
        .filter(|m| m["type"] == "replay_complete")
        .count();
    assert_eq!((completed, got.len()), (8, 18));
    world.say(client, replay(json!({"channel":"A9","from":9})));
    world.expect(client, &[msg("A9", 9, 0), complete("A9", 9, 9, 1)]);
}

#[test]
fn a_channel_must_be_covered_and_may_be_left_out_where_it_is_the_only_one() {
    let (mut world, client) = world();
    world.publish("B");
    for (data, code) in [
        (json!({"channel":"B","from":1}), "NOT_SUBSCRIBED"),
        (json!({"channel":"P.new","from":1}), "NOT_SUBSCRIBED"),
        (json!({"channel":"P.*","from":1}), "INVALID_CHANNEL"),
        (json!({"from":1}), "INVALID_REQUEST"),
        (json!({"channel":"A"}), "INVALID_REQUEST"),
        (json!({"channel":"A","from":0}), "INVALID_REQUEST"),
        (json!({"channel":"A","from":1,"since":1}), "INVALID_REQUEST"),
        (json!({"channel":"A","from":3,"to":2}), "INVALID_REQUEST"),
    ] {
        assert_eq!(refused(&mut world, client, data.clone()), code, "{data}");
    }
    let pattern = world.subscriber(json!({"channels":["P.*"]}));
    assert_eq!(
        refused(&mut world, pattern, json!({"from":1})),
        "INVALID_REQUEST"
    );
    let nothing = world.open();
    assert_eq!(
        refused(&mut world, nothing, json!({"from":1})),
        "INVALID_REQUEST"
    );
    assert_eq!(world.stats().replay_requests, 0);
}

#[test]
fn a_reset_ends_it() {
    let (mut world, client) = world();
    world.stall(client);
    world.say(client, replay(json!({"channel":"A","from":1})));
    world.reset("e2", ResetReason::StreamRecreated);
    world.unstall(client);
    world.expect(
        client,
        &[
            reset("e2", "stream_recreated"),
            json!({"type":"replay_incomplete","id":3,"channel":"A","sent":0,"reason":"epoch_changed"}),
        ],
    );
}

#[test]
fn live_messages_are_not_held_up_by_a_long_replay() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    for _ in 0..1_000 {
        world.publish("A");
    }
    assert_eq!(world.take(client).len(), 1_000);
    world.stall(client);
    world.say(client, replay(json!({"from":1})));
    world.publish("A");
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got.len(), 1_002);
    let live = got.iter().position(|m| m["seq"] == 1_001).unwrap();
    assert!(live < 64, "the live message was number {live}");
    let replayed: Vec<_> = got
        .iter()
        .filter_map(|m| m["seq"].as_u64())
        .filter(|seq| *seq <= 1_000)
        .collect();
    assert!(replayed.iter().copied().eq(1..=1_000));
    assert_eq!(got[1_001], complete("A", 1, 1_000, 1_000));
}
