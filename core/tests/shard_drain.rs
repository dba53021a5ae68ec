//! Draining: each client is told its own time, loses nothing, and is closed with 1012.

mod support;

use std::time::Duration;

use odin_core::config::Config;
use odin_core::reason::CloseReason;
use odin_core::shard::{Grant, Input, Message};
use odin_core::time::Instant;
use serde_json::{Value, json};
use support::{C, World, close, msg};

fn goaway(ms: u64) -> Value {
    json!({"type":"goaway","reason":"draining","reconnect_after_ms":ms})
}

fn drain(world: &mut World, ms: u64) {
    let deadline = world.now + Duration::from_millis(ms);
    world.input(Input::Drain { deadline });
}

#[test]
fn closes_are_spread_and_each_is_told_its_own_time() {
    let mut world = World::new();
    let clients: Vec<C> = (0..4)
        .map(|_| world.subscriber(json!({"channels":["A"]})))
        .collect();
    drain(&mut world, 10_000);
    for (client, at) in clients.iter().zip([2_000, 4_000, 6_000, 8_000]) {
        world.expect(*client, &[goaway(at)]);
    }
    for (seq, client) in (1..).zip(&clients) {
        world.publish("A");
        world.advance_ms(1_999);
        world.expect(*client, &[msg("A", seq, seq - 1)]);
        world.advance_ms(1);
        world.expect(*client, &[close(1012, "draining")]);
        world.message(*client, Message::Close(Some(1012)));
        world.expect_drop(*client, CloseReason::Draining);
        for other in &clients[usize::try_from(seq).unwrap()..] {
            world.expect(*other, &[msg("A", seq, seq - 1)]);
        }
    }
    assert_eq!(world.stats().disconnects[CloseReason::Draining as usize], 4);
    assert_eq!(world.stats().connections, 0);
}

#[test]
fn what_was_published_before_the_close_comes_first_what_comes_later_does_not() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A","P.*"]}));
    drain(&mut world, 10_000);
    world.expect(client, &[goaway(8_000)]);
    world.advance_ms(7_000);
    world.stall(client);
    world.publish_all(&["A", "P.x", "A"]);
    world.lose(Some(5), odin_core::reason::LostReason::Discarded);
    world.publish("P.y");
    world.advance_ms(1_000);
    world.publish_all(&["A", "P.x"]);
    world.unstall(client);
    let got = world.take(client);
    let seqs: Vec<_> = got.iter().filter_map(|m| m["seq"].as_u64()).collect();
    let mut sorted = seqs.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 6], "{got:?}");
    assert_eq!(got[3]["type"], "lost");
    assert_eq!(got[5..], [close(1012, "draining")]);
}

#[test]
fn a_stuck_client_is_dropped_at_the_deadline() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    drain(&mut world, 5_000);
    world.expect(client, &[goaway(4_000)]);
    world.stall(client);
    world.publish("A");
    world.advance_ms(4_999);
    world.expect_no_output();
    world.advance_ms(1);
    world.expect_drop(client, CloseReason::Draining);
}

#[test]
fn who_comes_during_the_drain_is_told_at_once() {
    let mut world = World::new();
    drain(&mut world, 5_000);
    let client = world.open_raw();
    let got = world.take(client);
    assert_eq!(got.len(), 2);
    assert_eq!(got[1], goaway(0));
    world.advance_ms(0);
    world.expect(client, &[close(1012, "draining")]);
}

#[test]
fn a_drain_without_time_closes_everyone_now() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    drain(&mut world, 0);
    world.expect(client, &[goaway(0), close(1012, "draining")]);
    world.message(client, Message::Close(None));
    world.expect_drop(client, CloseReason::Draining);
}

#[test]
fn a_client_that_closes_first_is_not_held_up() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    drain(&mut world, 10_000);
    world.expect(client, &[goaway(8_000)]);
    world.message(client, Message::Close(None));
    assert_eq!(world.take(client), [close(1000, "client")]);
    world.expect_drop(client, CloseReason::Client);
}

#[test]
fn a_close_of_the_client_while_it_is_flushed_ends_it() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    drain(&mut world, 10_000);
    world.expect(client, &[goaway(8_000)]);
    world.stall(client);
    world.publish("A");
    world.advance_ms(8_000);
    world.message(client, Message::Close(None));
    world.unstall(client);
    assert_eq!(world.take(client), [close(1012, "draining")]);
    world.expect_drop(client, CloseReason::Draining);
}

#[test]
fn requests_are_still_answered_and_a_second_drain_changes_nothing() {
    let mut world = World::new();
    let client = world.open();
    drain(&mut world, 10_000);
    drain(&mut world, 1_000);
    world.expect(client, &[goaway(8_000)]);
    world.advance_ms(7_999);
    world.say(client, json!({"type":"heartbeat"}));
    world.expect(client, &[json!({"type":"pong","ts":7_999})]);
    world.advance_ms(1);
    world.expect(client, &[close(1012, "draining")]);
}

#[test]
fn what_a_grant_allowed_is_flushed_no_longer_than_the_grant_lasts() {
    let config = Config {
        auth: true,
        write_stall: Duration::ZERO,
        ..Config::default()
    };
    let mut world = World::with(config);
    let grant = Grant {
        subject: [1; 32],
        channels: vec!["A".into()],
        expires_at: Instant::from_millis(20_000),
        expires_unix: 20,
    };
    let client = world.open_granted(grant);
    world.take(client);
    world.subscribe(client, json!({"channels":["A"]}));
    world.stall(client);
    world.publish_all(&["A"; 3]);
    drain(&mut world, 24_000);
    // Its own close is before the end of its grant, and its socket takes nothing until after it.
    world.advance_ms(20_000);
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got.last(), Some(&close(4001, "expired")), "{got:?}");
    assert!(
        got.iter().all(|message| message["type"] != "message"),
        "{got:?}"
    );
    world.hang_up(client, CloseReason::Client);
}

#[test]
fn who_closes_while_it_is_flushed_is_not_waited_for_until_the_drain_ends() {
    let config = Config {
        write_stall: Duration::ZERO,
        ..Config::default()
    };
    let close_timeout = config.close_timeout;
    let mut world = World::with(config);
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish_all(&["A"; 3]);
    drain(&mut world, 30_000);
    world.advance_ms(25_000);
    world.message(client, Message::Close(Some(1000)));
    world.advance(close_timeout - Duration::from_millis(1));
    world.expect_no_output();
    world.advance_ms(1);
    world.expect_drop(client, CloseReason::Draining);
    world.take(client);
}

#[test]
fn who_closes_and_takes_no_close_frame_is_not_waited_for_either() {
    let config = Config {
        write_stall: Duration::ZERO,
        ..Config::default()
    };
    let close_timeout = config.close_timeout;
    let mut world = World::with(config);
    let client = world.open();
    world.stall(client);
    drain(&mut world, 30_000);
    world.advance_ms(25_000);
    // Nothing is left to be flushed, and the close frame is on its way.
    world.message(client, Message::Close(Some(1012)));
    world.advance(close_timeout - Duration::from_millis(1));
    world.expect_no_output();
    world.advance_ms(1);
    world.expect_drop(client, CloseReason::Draining);
    world.take(client);
}
