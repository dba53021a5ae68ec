//! History for those who ask for no position: a slow client that fell off the log goes on in history, and a replay
//! reads it.

mod support;

use odin_core::reason::{CloseReason, LostReason};
use serde_json::json;
use support::{C, Past, World, close, lost, msg, replica, small_log};

/// A client that has the first message of a channel and whose socket took none of the next 50.
fn fallen_off(on_lost: &str) -> (Past, World, C) {
    let mut past = Past::new();
    let mut world = replica(&past, small_log());
    let slow = world.subscriber(json!({"channels":["A"],"on_lost":on_lost}));
    world.publish_stored(&mut past, &["A"]);
    world.expect(slow, &[msg("A", 1, 0)]);
    world.stall(slow);
    world.publish_stored(&mut past, &["A"; 50]);
    (past, world, slow)
}

#[test]
fn a_slow_client_that_fell_off_the_log_is_refilled() {
    let mut past = Past::new();
    let mut world = replica(&past, small_log());
    let slow = world.subscriber(json!({"channels":["A"]}));
    world.publish_stored(&mut past, &["A", "A"]);
    world.expect(slow, &[msg("A", 1, 0), msg("A", 2, 1)]);
    world.stall(slow);
    for _ in 0..50 {
        world.publish_stored(&mut past, &["A"]);
    }
    assert!(world.fetches.is_empty(), "its socket takes nothing yet");
    world.unstall(slow);
    world.answer_all(&past);
    world.publish_stored(&mut past, &["A"]);
    world.expect(slow, &past.messages_of("A", 3, 53));
    assert_eq!(world.stats().refills, 1);
    assert_eq!(world.stats().lost[LostReason::SlowConsumer as usize], 0);
}

#[test]
fn a_slow_client_waits_for_the_upstream_for_a_while() {
    for (on_lost, last) in [("close", None), ("continue", Some("slow"))] {
        let (past, mut world, slow) = fallen_off(on_lost);
        world.unstall(slow);
        for _ in 0..20 {
            world.expect_nothing(slow);
            world.answer(None);
            world.advance_ms(500);
        }
        world.expect_nothing(slow);
        world.answer(None);
        if last.is_some() {
            let mut expected = vec![lost("A", 2, 47, "discarded")];
            expected.extend(past.messages_of("A", 48, 51));
            world.expect(slow, &expected);
        } else {
            world.expect(slow, &[close(4008, "slow_consumer")]);
            world.hang_up(slow, CloseReason::Client);
        }
    }
}

#[test]
fn a_page_is_believed_as_far_as_had_been_read_when_it_was_asked_for() {
    let (mut past, mut world, slow) = fallen_off("close");
    world.unstall(slow);
    // What followed when the stream was asked was rolled back before this server had read it.
    let mut lost = Past::new();
    lost.store(&["A"; 51]);
    lost.store(&["B"; 9]);
    let page = lost.page(&world.fetches[0]);
    world.publish_stored(&mut past, &["A"; 9]);
    world.answer(Some(page));
    assert_eq!(world.answer_all(&past), [("A".to_owned(), 51)]);
    world.expect(slow, &past.messages_of("A", 2, 60));
}

#[test]
fn a_hole_in_history_ends_or_names() {
    for on_lost in ["close", "continue"] {
        let (mut past, mut world, slow) = fallen_off(on_lost);
        past.delete(1..=30);
        world.unstall(slow);
        world.answer_all(&past);
        if on_lost == "continue" {
            let mut expected = vec![lost("A", 2, 30, "discarded"), msg("A", 31, None)];
            expected.extend(past.messages_of("A", 32, 51));
            world.expect(slow, &expected);
        } else {
            world.expect(slow, &[close(4008, "slow_consumer")]);
            world.hang_up(slow, CloseReason::Client);
        }
    }
}

#[test]
fn a_replay_reads_history() {
    let mut past = Past::new();
    past.page_messages = 10;
    let mut world = replica(&past, small_log());
    let client = world.subscriber(json!({"channels":["A"]}));
    for _ in 0..40 {
        world.publish_stored(&mut past, &["A"]);
    }
    world.take(client);
    let replay = json!({"type":"replay","data":{"channel":"A","from":5,"to":38}});
    world.say(client, replay.clone());
    world.answer_all(&past);
    let mut expected = past.messages_of("A", 5, 38);
    expected.push(json!({"type":"replay_complete","channel":"A","from":5,"to":38,"count":34}));
    world.expect(client, &expected);
    // Part of it is gone.
    past.delete(1..=20);
    let mut world = replica(&past, small_log());
    let client = world.subscriber(json!({"channels":["A"]}));
    world.say(client, replay.clone());
    world.answer_all(&past);
    let mut expected = vec![msg("A", 21, None)];
    expected.extend(past.messages_of("A", 22, 38));
    expected.push(
        json!({"type":"replay_incomplete","channel":"A","sent":18,"reason":"too_old","oldest":40,"newest":40}),
    );
    world.expect(client, &expected);
    // It cannot be asked for.
    let mut world = replica(&past, small_log());
    let client = world.subscriber(json!({"channels":["A"]}));
    world.say(client, replay);
    for _ in 0..20 {
        world.answer(None);
        world.expect_nothing(client);
        world.advance_ms(500);
    }
    world.answer(None);
    world.expect(
        client,
        &[json!({"type":"replay_incomplete","channel":"A","sent":0,"reason":"upstream_unavailable","oldest":40,"newest":40})],
    );
}
