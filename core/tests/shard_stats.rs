//! What is counted, to the unit. (Every pump of the driver holds `bytes_sent` and `messages_sent`
//! against what the sockets took.)

mod support;

use odin_core::config::Config;
use odin_core::reason::{CloseReason, ErrorCode, LostReason};
use odin_core::shard::Message;
use odin_core::stats::{Behind, Histogram, Lag, Stats};
use serde_json::json;
use support::{World, frame_len, msg};

#[test]
fn everything_of_a_short_life() {
    let mut world = World::with(Config {
        log_messages: 2,
        ..Config::default()
    });
    let client = world.open();
    let request = json!({"type":"subscribe","data":{"channels":["A"],"on_lost":"continue"}});
    world.say(client, request.clone());
    world.stall(client);
    world.publish_all(&["A", "A", "A"]);
    world.advance_ms(7);
    world.unstall(client);
    world.say(client, request.clone());
    world.message(client, Message::Binary(11));
    let got = world.take(client);
    assert_eq!(got.len(), 6, "{got:?}");
    world.hang_up(client, CloseReason::Transport);
    let mut delivery = Histogram::default();
    delivery.observe(7_000_000);
    delivery.observe(7_000_000);
    let before = world.stats();
    let mut expected = Stats {
        connections_opened: 1,
        connections: 0,
        // The welcome, the ack, the notice, two messages, the error.
        messages_sent: 6,
        messages_received: 3,
        bytes_sent: before.bytes_sent,
        // The one of the stall.
        writes_blocked: 1,
        bytes_received: 2 * request.to_string().len() as u64 + 11,
        delivery,
        log_bytes: 2 * frame_len(&msg("A", 2, 1)) as u64,
        channels: 1,
        ..Stats::default()
    };
    expected.disconnects[CloseReason::Unsupported as usize] = 1;
    expected.lost[LostReason::SlowConsumer as usize] = 1;
    expected.errors[ErrorCode::AlreadySubscribed as usize] = 1;
    assert_eq!(before, expected);
}

#[test]
fn lag_is_that_of_the_cursors_that_are_behind() {
    let mut world = World::new();
    let fast = world.subscriber(json!({"channels":["A"]}));
    let slow = world.subscriber(json!({"channels":["A","P.*"]}));
    assert_eq!(world.shard.lag(world.now), Lag::default());
    world.stall(slow);
    world.publish_all(&["A", "A", "P.x"]);
    world.advance_ms(3);
    world.publish("A");
    world.advance_ms(4);
    assert_eq!(world.take(fast).len(), 3);
    let mut histogram = Histogram::default();
    histogram.observe(7_000_000);
    histogram.observe(7_000_000);
    let lag = Lag {
        messages_max: 3,
        nanos_max: 7_000_000,
        histogram,
    };
    assert_eq!(world.shard.lag(world.now), lag);
    world.unstall(slow);
    assert_eq!(world.take(slow).len(), 4);
    assert_eq!(world.shard.lag(world.now), Lag::default());
}

#[test]
fn the_worst_are_named_worst_first_and_no_more_than_asked() {
    let mut world = World::new();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = world.subscriber(json!({"channels":["A","P.*"]}));
        clients.push(client);
        world.stall(client);
        world.publish_all(&["A", "P.x"]);
        world.advance_ms(1);
    }
    let fast = world.subscriber(json!({"channels":["A"]}));
    let ids: Vec<_> = clients.iter().map(|client| world.id(*client)).collect();
    let behind = |nth: usize| Behind {
        conn: ids[nth],
        messages: 4 - nth as u64,
        nanos: (4 - nth as u64) * 1_000_000,
        subscriptions: 2,
        blocked: true,
    };
    let all = [behind(0), behind(1), behind(2), behind(3)];
    for count in [0, 1, 3, 4, 10] {
        let (lag, worst) = world.shard.lag_and_worst(world.now, count);
        assert_eq!(lag, world.shard.lag(world.now));
        assert_eq!(worst, all[..count.min(4)], "{count}");
    }
    assert_eq!(world.take(fast).len(), 0);
    for (nth, client) in clients.into_iter().enumerate() {
        world.unstall(client);
        assert_eq!(world.take(client).len(), 2 * (4 - nth));
    }
    assert_eq!(world.shard.lag_and_worst(world.now, 10).1, []);
}

#[test]
fn delivery_counts_live_messages_only() {
    let mut world = World::new();
    world.publish("A");
    world.advance_ms(1_000);
    let client = world.open();
    world.subscribe(client, json!({"channels":["A"],"snapshot":true}));
    world.expect(client, &[msg("A", 1, 0)]);
    assert_eq!(world.stats().delivery.count(), 0);
    world.publish("A");
    world.expect(client, &[msg("A", 2, 1)]);
    assert_eq!(world.stats().delivery.count(), 1);
    world.say(client, json!({"type":"replay","data":{"from":1}}));
    assert_eq!(world.take(client).len(), 3);
    assert_eq!(world.stats().delivery.count(), 1);
}

#[test]
fn a_message_counts_once_however_many_writes_it_took() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.chunk(client, 1);
    let before = world.stats().messages_sent;
    world.publish_all(&["A", "A", "A"]);
    assert_eq!(world.take(client).len(), 3);
    let stats = world.stats();
    assert_eq!(stats.messages_sent, before + 3);
    assert_eq!(stats.delivery.count(), 3);
}
