//! Where history meets what else a subscription is told: a notice for all, a number line that begins anew, a page that
//! had to make room for another one.

mod support;

use odin_core::config::Config;
use odin_core::reason::{CloseReason, LostReason, ResetReason};
use serde_json::{Value, json};
use support::{
    C, Past, World, ask, close, frame_len, lost, msg, recovered, replica, reset, small_log,
    unrecovered,
};

/// Publishes so much that a client that takes nothing falls off the log.
fn fall_off(world: &mut World, past: &mut Past, slow: C) {
    world.stall(slow);
    for _ in 0..9 {
        world.publish_stored(past, &["A"]);
    }
}

fn channel_limit(seq: u64) -> Value {
    json!({"type":"lost","from":seq,"to":seq,"reason":"channel_limit"})
}

#[test]
fn what_a_notice_named_as_lost_does_not_come_from_history_after_it() {
    for name in ["A", "*"] {
        for falls_before in [true, false] {
            let mut past = Past::new();
            let mut world = replica(&past, small_log());
            let slow = world.subscriber(json!({"channels":[name]}));
            world.publish_stored(&mut past, &["A"]);
            world.expect(slow, &[msg("A", 1, 0)]);
            // The stream has a message that this server refused.
            if falls_before {
                world.stall(slow);
            }
            past.store(&["A"]);
            world.lose(Some(2), LostReason::ChannelLimit);
            if !falls_before {
                world.expect(slow, &[channel_limit(2)]);
            }
            fall_off(&mut world, &mut past, slow);
            world.unstall(slow);
            world.answer_all(&past);
            let mut expected = match falls_before {
                true => vec![channel_limit(2)],
                false => vec![],
            };
            expected.extend((3..=11).map(|seq| msg("A", seq, seq - 1)));
            world.expect(slow, &expected);
        }
    }
}

#[test]
fn who_waits_for_a_page_behind_a_notice_asks_for_what_follows_it() {
    let mut past = Past::new();
    let mut world = replica(&past, small_log());
    let slow = world.subscriber(json!({"channels":["A","B"]}));
    fall_off(&mut world, &mut past, slow);
    world.unstall(slow);
    assert_eq!(world.fetches[0].after, 0);
    // The notice has to wait: what lies before it is yet to be read.
    past.store(&["A"]);
    world.lose(Some(10), LostReason::ChannelLimit);
    world.expect_nothing(slow);
    world.publish_stored(&mut past, &["B"]);
    world.answer_all(&past);
    let mut expected: Vec<Value> = (1..=9).map(|seq| msg("A", seq, seq - 1)).collect();
    expected.extend([channel_limit(10), msg("B", 11, 0)]);
    world.expect(slow, &expected);
}

#[test]
fn a_number_line_that_began_anew_is_not_read_from_its_beginning() {
    for name in ["A", "*"] {
        for on_lost in ["close", "continue"] {
            let mut past = Past::new();
            past.store(&["A"; 20]);
            let mut world = replica(&past, small_log());
            let slow = world.subscriber(json!({"channels":[name],"on_lost":on_lost}));
            world.stall(slow);
            world.reset("e2", ResetReason::StreamRolledBack);
            world.snapshot("A", 20);
            world.source_ready("e2", true, 20, 20);
            for _ in 0..9 {
                world.publish("A");
            }
            world.unstall(slow);
            assert!(world.fetches.is_empty(), "the value left the log unsent");
            let mut expected = vec![reset("e2", "stream_rolled_back")];
            if on_lost == "continue" {
                expected.push(lost(name, 1, 25, "slow_consumer"));
                expected.extend((26..=29).map(|seq| msg("A", seq, seq - 1)));
                world.expect(slow, &expected);
            } else {
                expected.push(close(4008, "slow_consumer"));
                world.expect(slow, &expected);
                world.hang_up(slow, CloseReason::Client);
            }
        }
    }
}

#[test]
fn after_the_beginning_of_a_new_number_line_history_serves_again() {
    let mut past = Past::new();
    let mut world = replica(&past, small_log());
    let slow = world.subscriber(json!({"channels":["*"]}));
    world.reset("e2", ResetReason::StreamRolledBack);
    world.source_ready("e2", true, 0, 0);
    world.publish_stored(&mut past, &["A"]);
    world.expect(slow, &[reset("e2", "stream_rolled_back"), msg("A", 1, 0)]);
    fall_off(&mut world, &mut past, slow);
    world.unstall(slow);
    assert_eq!(world.fetches[0].after, 1);
    world.fetches.clear();
    world.hang_up(slow, CloseReason::Client);
}

/// A server whose slow client was told of a hole in history, has taken the first message behind it, and no more.
fn behind_a_hole(past: &mut Past) -> (World, C) {
    past.page_messages = 5;
    let config = Config {
        history_bytes: 1,
        ..small_log()
    };
    let mut world = replica(past, config);
    let slow = world.subscriber(json!({"channels":["A"],"on_lost":"continue"}));
    world.publish_stored(past, &["A"]);
    world.expect(slow, &[msg("A", 1, 0)]);
    world.stall(slow);
    for _ in 0..50 {
        world.publish_stored(past, &["A"]);
    }
    past.delete(1..=30);
    let told = [lost("A", 2, 30, "discarded"), msg("A", 31, None)];
    world.room(slow, told.iter().map(frame_len).sum());
    let page = past.page(&world.fetches[0]);
    world.answer(Some(page));
    world.expect(slow, &told);
    (world, slow)
}

#[test]
fn a_hole_that_came_after_a_page_was_read_is_named_as_well() {
    let mut past = Past::new();
    let (mut world, slow) = behind_a_hole(&mut past);
    // The page makes room for another one, and what was on it is gone.
    let other = world.open();
    let resume = json!({"epoch":"e1","positions":{"A":40}});
    world.say(
        other,
        json!({"type":"subscribe","data":{"channels":["A"],"resume":resume}}),
    );
    world.answer_all(&past);
    world.take(other);
    past.delete(31..=40);
    world.unstall(slow);
    world.answer_all(&past);
    let mut expected = vec![lost("A", 32, 40, "discarded"), msg("A", 41, None)];
    expected.extend((42..=51).map(|seq| msg("A", seq, seq - 1)));
    world.expect(slow, &expected);
}

#[test]
fn who_is_closed_for_a_hole_is_told_when_it_comes_again() {
    let mut past = Past::new();
    past.page_messages = 2;
    past.store(&["B", "A", "A", "B", "B", "A"]);
    let mut world = replica(&past, Config::default());
    let resume = json!({"epoch":"e1","positions":{"B.*":1}});
    let subscribe = json!({"type":"subscribe","data":{"channels":["B.*"],"resume":resume}});
    // Of the pattern there is no message, so that its position stays where it is. A page of all channels that others
    // brought is whole as far as it reaches; what follows it is not.
    let others: Vec<C> = (0..40)
        .map(|at| {
            let client = world.open();
            let resume = json!({"epoch":"e1","positions":{format!("C{at}.*"):1}});
            let data = json!({"channels":[format!("C{at}.*")],"resume":resume});
            world.say(client, json!({"type":"subscribe","data":data}));
            client
        })
        .collect();
    let client = world.open();
    world.say(client, subscribe.clone());
    past.delete([4]);
    world.answer_all(&past);
    for other in others {
        world.take(other);
        world.hang_up(other, CloseReason::Client);
    }
    let recovered = json!({"type":"subscription_ack","subscribed":["B.*"],"count":1,"epoch":"e1","durable":true,
        "positions":{"B.*":1},"recovered":["B.*"],"unrecovered":[]});
    world.expect(client, &[recovered, close(4008, "slow_consumer")]);
    world.hang_up(client, CloseReason::Client);
    let client = world.open();
    world.say(client, subscribe);
    world.answer_all(&past);
    let ack = &world.take(client)[0];
    assert_eq!(ack["unrecovered"][0]["reason"], "too_old", "{ack}");
    assert_eq!(ack["positions"], json!({"B.*":6}));
    world.publish("B.x");
    world.expect(client, &[msg("B.x", 7, 0)]);
}

#[test]
fn a_loss_that_was_seen_behind_a_page_is_not_passed_over() {
    for kept_page in [false, true] {
        let mut past = Past::new();
        past.page_messages = 4;
        past.store(&["A"; 9]);
        let mut world = replica(&past, small_log());
        if kept_page {
            let client = ask(&mut world, "A", json!(1), json!({}));
            world.answer_all(&past);
            world.take(client);
            world.hang_up(client, CloseReason::Client);
        }
        // Two were deleted before this server had read them. The stream shows it on a page further on.
        past.store(&["A", "A"]);
        past.delete(10..=11);
        world.lose(Some(11), LostReason::Discarded);
        world.publish_stored(&mut past, &["A", "A"]);
        let client = ask(&mut world, "A", json!(2), json!({}));
        world.answer_all(&past);
        let why = json!({"reason":"too_old","oldest":3,"newest":13});
        world.expect(client, &[unrecovered("A", 13, why)]);
    }
}

#[test]
fn a_position_that_was_read_after_the_stream_was_asked_is_proven_here() {
    let mut past = Past::new();
    past.store(&["A"; 5]);
    let mut world = replica(&past, Config::default());
    past.store(&["A", "A", "A", "B", "B"]);
    past.delete((1..=7).chain([9]));
    let client = ask(&mut world, "A", json!(7), json!({}));
    for seq in 6..9 {
        assert_eq!(world.publish("A"), seq);
    }
    let asked = world.answer_all(&past);
    assert_eq!(asked, [("A".to_owned(), 7)]);
    world.expect(client, &[recovered("A", 7), msg("A", 8, 7)]);
}

#[test]
fn a_hole_of_a_pattern_is_remembered_beside_many_others() {
    const OTHERS: u64 = 1_024;
    let mut past = Past::new();
    let mut world = replica(&past, small_log());
    for other in 0..OTHERS {
        let name = format!("N{other}");
        let client = world.subscriber(json!({"channels":[name]}));
        world.stall(client);
        let first = past.last_seq() + 1;
        world.publish_stored(&mut past, &[name.as_str(); 6]);
        past.delete(first..=first + 2);
        world.unstall(client);
        world.answer_all(&past);
        world.expect(client, &[close(4008, "slow_consumer")]);
        world.hang_up(client, CloseReason::Client);
    }
    // A page that is kept proves the position of a pattern without messages. What follows that page is gone.
    world.publish_stored(&mut past, &["Q"; 10]);
    let position = past.last_seq() - 5;
    let end = past.store(&["Q"]);
    world.lose(Some(end), LostReason::Discarded);
    let client = ask(&mut world, "*.b", json!(position), json!({}));
    world.answer_all(&past);
    world.expect(client, &[recovered("*.b", position)]);
    world.hang_up(client, CloseReason::Client);
    let end = past.store(&["Q", "Q"]);
    past.delete([end]);
    world.lose(Some(end), LostReason::Discarded);
    let client = ask(&mut world, "*.b", json!(position), json!({}));
    world.answer_all(&past);
    world.expect(
        client,
        &[recovered("*.b", position), close(4008, "slow_consumer")],
    );
    world.hang_up(client, CloseReason::Client);
    let client = ask(&mut world, "*.b", json!(position), json!({}));
    world.answer_all(&past);
    let why = json!({"reason":"too_old","oldest":end + 1,"newest":end});
    world.expect(client, &[unrecovered("*.b", end, why)]);
}
