//! `coalesce`: live messages wait for the end of a window, and nothing else does.

mod support;

use std::time::Duration;

use odin_core::config::{Coalesce, Config};
use odin_core::reason::{CloseReason, LostReason};
use odin_core::shard::{Input, Message, Shard};
use serde_json::json;
use support::{C, EPOCH, World, msg};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A world whose shard holds everything back for 20 ms, but what these rules say otherwise.
fn world_with(config: Config, rules: &[(&str, u64)], bytes_max: usize) -> World {
    let mut world = World::cold(config);
    world.shard.coalesce(&Coalesce {
        all: MS(20),
        channels: rules
            .iter()
            .map(|(covers, ms)| ((*covers).to_owned(), MS(*ms)))
            .collect(),
        bytes_max,
    });
    world.source_ready(EPOCH, true, 0, 0);
    world
}

fn world(rules: &[(&str, u64)]) -> World {
    world_with(Config::default(), rules, 1 << 20)
}

fn of(world: &mut World, channels: &[&str]) -> C {
    world.subscriber(json!({"channels":channels}))
}

/// Time until a window closes, where nothing else is due before.
fn closes_in(world: &World) -> Option<Duration> {
    let due = world.shard.poll_timeout()?;
    let left = due.saturating_since(world.now);
    (left < MS(1_000)).then_some(left)
}

#[test]
fn what_is_published_within_a_window_goes_in_one_write_at_its_end() {
    let mut world = world(&[]);
    let clients = [of(&mut world, &["A"]), of(&mut world, &["A"])];
    assert_eq!(closes_in(&world), None);
    world.publish("A");
    assert_eq!(closes_in(&world), Some(MS(20)));
    world.advance_ms(5);
    world.publish("A");
    world.advance_ms(14);
    world.publish("A");
    assert_eq!(closes_in(&world), Some(MS(1)));
    for client in clients {
        world.expect_nothing(client);
    }
    assert!(!world.shard.has_ready());
    world.pumping = false;
    world.advance_ms(1);
    for _ in clients {
        let conn = world.shard.poll_ready().expect("the window is over");
        let transmit = world.shard.transmit(world.now, conn);
        assert_eq!(transmit.slices, 3);
        let bytes = 0;
        world.input(Input::Written { conn, bytes });
        world.input(Input::Writable { conn });
    }
    world.pumping = true;
    world.pump();
    let all = [msg("A", 1, 0), msg("A", 2, 1), msg("A", 3, 2)];
    for client in clients {
        world.expect(client, &all);
    }
    assert_eq!(closes_in(&world), None);
    // The next message opens the next window.
    world.advance_ms(3);
    world.publish("A");
    assert_eq!(closes_in(&world), Some(MS(20)));
    world.advance_ms(20);
    for client in clients {
        world.expect(client, &[msg("A", 4, 3)]);
    }
}

#[test]
fn answers_pongs_and_errors_are_not_held_back_and_take_along_what_waits() {
    let mut world = world(&[]);
    let client = of(&mut world, &["A"]);
    world.publish("A");
    world.message(client, Message::Ping(b"p"));
    world.expect(client, &[json!({"pong":"p"}), msg("A", 1, 0)]);
    world.publish("A");
    world.expect_nothing(client);
    world.say(
        client,
        json!({"type":"unsubscribe","data":{"channels":["B"]}}),
    );
    let got = world.take(client);
    assert_eq!(
        (got.len(), &got[0]["type"]),
        (2, &json!("error")),
        "{got:?}"
    );
    assert_eq!(got[1], msg("A", 2, 1));
    // An ack, with the last value that was asked for.
    world.publish("C");
    world.subscribe(client, json!({"channels":["C"],"snapshot":true}));
    world.expect(client, &[msg("C", 3, 0)]);
}

#[test]
fn closes_goaways_and_notices_are_not_held_back() {
    let mut world = world(&[]);
    let [client, other] = [of(&mut world, &["A"]), of(&mut world, &["A"])];
    world.publish("A");
    world.message(other, Message::Binary(1));
    let got = world.take(other);
    assert_eq!(got.last().unwrap()["close"], 1003, "{got:?}");
    world.hang_up(other, CloseReason::Client);
    world.expect_nothing(client);
    world.lose(Some(4), LostReason::Discarded);
    let lost = json!({"type":"lost","from":2,"to":4,"reason":"discarded"});
    world.expect(client, &[msg("A", 1, 0), lost]);
    world.publish("A");
    let deadline = world.now + Duration::from_secs(10);
    world.input(Input::Drain { deadline });
    let got = world.take(client);
    assert_eq!(
        (got.len(), &got[0]["type"]),
        (2, &json!("goaway")),
        "{got:?}"
    );
    world.publish("A");
    world.expect_nothing(client);
    // The drain's close comes after what was published before it, at once.
    world.advance(Duration::from_secs(8));
    let got = world.take(client);
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!(
        (got[0]["seq"].as_u64(), &got[1]["close"]),
        (Some(6), &json!(1012))
    );
}

#[test]
fn each_channel_has_the_window_of_the_first_rule_that_covers_it() {
    let mut world = world(&[("now.slow", 50), ("now.>", 0), ("odd.*", 5)]);
    let names = ["now.x", "now.slow", "odd.x", "x"];
    let clients = names.map(|name| of(&mut world, &[name]));
    world.publish_all(&names);
    let mut seen = Vec::new();
    for ms in 0..60 {
        for (client, name) in clients.into_iter().zip(names) {
            seen.extend(world.take(client).iter().map(|_| (ms, name)));
        }
        world.advance_ms(1);
    }
    assert_eq!(
        seen,
        [(0, "now.x"), (5, "odd.x"), (20, "x"), (50, "now.slow")]
    );
}

#[test]
fn a_connection_in_two_windows_is_written_to_when_the_first_closes() {
    let mut world = world(&[("fast", 5)]);
    let both = of(&mut world, &["fast", "slow"]);
    let slow = of(&mut world, &["slow"]);
    world.publish("slow");
    world.advance_ms(1);
    world.publish("fast");
    world.advance_ms(4);
    world.expect_nothing(both);
    world.advance_ms(1);
    world.expect(both, &[msg("slow", 1, 0), msg("fast", 2, 0)]);
    // Meanwhile in the slow window again, it is written to once, when that closes.
    world.publish("slow");
    world.expect_nothing(both);
    world.advance_ms(14);
    world.expect(both, &[msg("slow", 3, 1)]);
    world.expect(slow, &[msg("slow", 1, 0), msg("slow", 3, 1)]);
    assert_eq!(closes_in(&world), None);
}

#[test]
fn a_window_that_one_write_would_not_empty_closes_early() {
    let mut world = world(&[]);
    let client = of(&mut world, &["A"]);
    for _ in 1..Shard::SLICES_MAX {
        world.publish_all(&["A", "B"]);
    }
    world.expect_nothing(client);
    world.publish("A");
    assert_eq!(world.take(client).len(), Shard::SLICES_MAX);
    assert_eq!(closes_in(&world), None);
}

#[test]
fn a_window_with_enough_bytes_closes_early() {
    let mut world = world_with(Config::default(), &[("odd", 5)], 1_000);
    let client = of(&mut world, &["A"]);
    let large = json!("x".repeat(400));
    // Another window's bytes do not count.
    world.publish_data("odd", &large);
    world.publish_data("A", &large);
    world.publish_data("odd", &large);
    world.expect_nothing(client);
    world.publish_data("A", &large);
    world.expect_nothing(client);
    world.publish_data("A", &large);
    assert_eq!(world.take(client).len(), 3);
}

#[test]
fn nobody_falls_off_a_short_log_because_of_a_window() {
    let config = Config {
        log_messages: 4,
        ..Config::default()
    };
    let mut world = world_with(config, &[], 1 << 20);
    let client = of(&mut world, &["A"]);
    let mut expected = Vec::new();
    for seq in 1..=20 {
        world.publish("A");
        expected.push(msg("A", seq, seq - 1));
    }
    world.advance_ms(20);
    world.expect(client, &expected);
}

#[test]
fn who_waits_for_its_socket_waits_for_no_window() {
    let mut world = world(&[]);
    let client = of(&mut world, &["A"]);
    world.stall(client);
    world.publish("A");
    world.advance_ms(20);
    world.publish("A");
    assert_eq!(closes_in(&world), None);
    world.unstall(client);
    world.expect(client, &[msg("A", 1, 0), msg("A", 2, 1)]);
}

#[test]
fn a_window_forgets_who_has_gone() {
    let mut world = world(&[]);
    let gone = of(&mut world, &["A"]);
    let stays = of(&mut world, &["A"]);
    world.publish("A");
    world.hang_up(gone, CloseReason::Client);
    // It has the place of the one that went, and nothing to be written.
    let other = of(&mut world, &["B"]);
    assert_eq!(world.id(other).index(), world.id(gone).index());
    world.say(
        stays,
        json!({"type":"unsubscribe","data":{"channels":["A"]}}),
    );
    let got = world.take(stays);
    assert_eq!(got.last().unwrap()["type"], "unsubscription_ack", "{got:?}");
    world.advance_ms(20);
    world.expect_nothing(other);
    world.publish("B");
    world.expect_nothing(other);
    world.advance_ms(20);
    world.expect(other, &[msg("B", 2, 0)]);
}

#[test]
fn open_windows_and_their_rules_are_part_of_a_checkpoint() {
    let mut world = world(&[("odd.>", 5)]);
    let client = of(&mut world, &["A", "odd.x"]);
    world.publish_all(&["A", "odd.x"]);
    let mut copy = Shard::restore(&world.shard.checkpoint()).expect("a checkpoint");
    assert_eq!(copy.poll_timeout(), Some(world.now + MS(5)));
    copy.handle_timeout(world.now + MS(5));
    world.advance_ms(5);
    world.take(client);
    assert_eq!(copy.poll_ready(), Some(world.id(client)));
    assert_eq!(copy.transmit(world.now, world.id(client)).slices, 2);
    // What closes the window of `A` is known too, and which windows others have.
    let written = |conn, bytes| Input::Written { conn, bytes };
    let bytes = copy.slices().map(<[u8]>::len).sum();
    copy.handle(world.now, written(world.id(client), bytes));
    assert_eq!(copy.poll_timeout(), Some(world.now + MS(15)));
    assert_eq!(copy.state_hash(), world.shard.state_hash());
}
