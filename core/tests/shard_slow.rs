//! Slow consumers: what happens when the log moves on past a cursor.

mod support;

use odin_core::config::Config;
use odin_core::reason::{CloseReason, LostReason};
use odin_core::shard::Input;
use serde_json::json;
use support::{World, close, lost, msg};

fn limited(log_messages: u32) -> World {
    World::with(Config {
        log_messages,
        ..Config::default()
    })
}

#[test]
fn a_cursor_at_the_oldest_message_is_not_too_slow() {
    let mut world = limited(3);
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish_all(&["A", "A", "A"]);
    world.unstall(client);
    world.expect(client, &[msg("A", 1, 0), msg("A", 2, 1), msg("A", 3, 2)]);
}

#[test]
fn one_message_further_it_is_closed() {
    for name in ["A", "*"] {
        let mut world = limited(3);
        let client = world.subscriber(json!({"channels":[name]}));
        world.stall(client);
        world.publish_all(&["A", "A", "A", "A"]);
        world.unstall(client);
        world.expect(client, &[close(4008, "slow_consumer")]);
        world.message(client, odin_core::shard::Message::Close(Some(4008)));
        world.expect_drop(client, CloseReason::SlowConsumer);
        let stats = world.stats();
        assert_eq!(stats.disconnects[CloseReason::SlowConsumer as usize], 1);
        assert_eq!((stats.connections, stats.subscriptions), (0, 0));
        // Nothing was announced as lost: the client knows where it stands and resumes.
        assert_eq!(stats.lost, [0; LostReason::COUNT]);
    }
}

#[test]
fn or_told_the_range_and_goes_on_with_the_oldest_that_is_kept() {
    let mut world = limited(3);
    let client = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
    world.publish("A");
    world.stall(client);
    world.publish_all(&["A", "B", "A", "A", "B", "A", "A"]);
    world.unstall(client);
    // A was 1, 2, 4, 5, 7, 8, of which 5, 7, 8 are kept.
    world.expect(
        client,
        &[
            msg("A", 1, 0),
            lost("A", 2, 4, "slow_consumer"),
            msg("A", 5, 4),
            msg("A", 7, 5),
            msg("A", 8, 7),
        ],
    );
    assert_eq!(world.stats().lost[LostReason::SlowConsumer as usize], 3);
}

#[test]
fn of_a_pattern_the_range_covers_all_its_channels() {
    let mut world = limited(2);
    let client = world.subscriber(json!({"channels":["P.*"],"on_lost":"continue"}));
    world.stall(client);
    world.publish_all(&["P.a", "P.b", "P.a", "P.a", "P.b"]);
    world.unstall(client);
    // a's 1 is gone, all after it is here.
    world.expect(
        client,
        &[
            lost("P.*", 1, 1, "slow_consumer"),
            msg("P.b", 2, 0),
            msg("P.a", 3, 1),
            msg("P.a", 4, 3),
            msg("P.b", 5, 2),
        ],
    );
}

#[test]
fn a_frame_that_is_half_written_is_finished_before_the_notice() {
    let mut world = limited(1);
    let client = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
    world.room(client, 20);
    world.publish_all(&["A", "A", "A"]);
    world.unstall(client);
    world.expect(
        client,
        &[
            msg("A", 1, 0),
            lost("A", 2, 2, "slow_consumer"),
            msg("A", 3, 2),
        ],
    );
}

#[test]
fn it_happens_again_and_again() {
    let mut world = limited(1);
    let client = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
    for round in 0..5 {
        world.stall(client);
        world.publish_all(&["A", "A"]);
        world.unstall(client);
        let first = 2 * round + 1;
        world.expect(
            client,
            &[
                lost("A", first, first, "slow_consumer"),
                msg("A", first + 1, first),
            ],
        );
    }
}

#[test]
fn eviction_makes_slow_as_well() {
    let mut world = World::new();
    let closed = world.subscriber(json!({"channels":["A"]}));
    let told = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
    let quiet = world.subscriber(json!({"channels":["B"]}));
    for client in [closed, told, quiet] {
        world.stall(client);
    }
    world.publish_all(&["A", "B", "A", "A"]);
    world.evict_all_but(1);
    for client in [closed, told, quiet] {
        world.unstall(client);
    }
    world.expect(closed, &[close(4008, "slow_consumer")]);
    world.expect(told, &[lost("A", 1, 3, "slow_consumer"), msg("A", 4, 3)]);
    // B's only message is its last value, which is kept.
    world.expect(quiet, &[msg("B", 2, 0)]);
}

#[test]
fn a_pattern_far_behind_its_own_log_reads_on_without_loss() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["P.*"]}));
    world.stall(client);
    for _ in 0..1_500 {
        world.publish_all(&["P.a", "Q"]);
    }
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got.len(), 1_500);
    for (at, message) in (0..).zip(&got) {
        let seq = 2 * at + 1;
        assert_eq!(message, &msg("P.a", seq, seq.saturating_sub(2)));
    }
}

#[test]
fn a_pattern_that_matches_little_of_much_reads_on_without_loss() {
    let mut world = World::new();
    let all = world.subscriber(json!({"channels":[">"]}));
    world.publish("P.a");
    for _ in 0..5_000 {
        world.publish("Q");
    }
    world.publish("P.a");
    assert_eq!(world.take(all).len(), 5_002);
    let client = world.open();
    world.subscribe(
        client,
        json!({"channels":["P.*"],"resume":{"epoch":"e1","positions":{"P.*":0}}}),
    );
    world.publish("P.b");
    world.expect(
        client,
        &[msg("P.a", 1, 0), msg("P.a", 5_002, 1), msg("P.b", 5_003, 0)],
    );
    world.expect(all, &[msg("P.b", 5_003, 0)]);
}

#[test]
fn others_are_not_touched() {
    let mut world = limited(2);
    let fast = world.subscriber(json!({"channels":["A"]}));
    let slow = world.subscriber(json!({"channels":["A"]}));
    world.stall(slow);
    for _ in 0..10 {
        world.publish("A");
    }
    world.unstall(slow);
    world.expect(slow, &[close(4008, "slow_consumer")]);
    assert_eq!(world.take(fast).len(), 10);
}

#[test]
fn when_memory_is_short_an_eighth_of_those_who_take_nothing_goes() {
    let mut world = limited(100);
    let clients: Vec<_> = (0..12)
        .map(|_| world.subscriber(json!({"channels":["A"]})))
        .collect();
    // The last two read; of the others each is stuck a little longer than the next.
    for client in &clients[..10] {
        world.stall(*client);
        world.publish("A");
        world.advance_ms(10);
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(world.take(*client).len(), number.min(10));
    }
    world.input(Input::Relieve);
    world.advance_ms(990);
    world.input(Input::Relieve);
    for client in &clients[..2] {
        world.expect_drop(*client, CloseReason::Overload);
    }
    world.advance_ms(20);
    world.input(Input::Relieve);
    world.expect_drop(clients[2], CloseReason::Overload);
    let stats = world.stats();
    assert_eq!(stats.disconnects[CloseReason::Overload as usize], 3);
    assert_eq!(stats.connections, 9);
    for client in &clients[3..10] {
        world.take(*client);
    }
}
