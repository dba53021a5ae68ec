//! What left the log comes from the stream's history: resumes read it page by page, and what it does not hold is said.

mod support;

use std::time::Duration;

use odin_core::config::Config;
use odin_core::reason::{CloseReason, LostReason, ResetReason};
use serde_json::json;
use support::{C, Past, ask, lost, msg, recovered, replica, reset, small_log, unrecovered};

#[test]
fn a_resume_from_before_the_log_gets_exactly_what_followed_then_live() {
    let mut past = Past::new();
    for _ in 0..2_500 {
        past.store(&["A", "B"]);
    }
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A", json!(11), json!({}));
    world.expect_nothing(client);
    assert!(!world.wants_read(client), "its subscribe is held");
    world.publish_stored(&mut past, &["B", "A"]);
    let asked = world.answer_all(&past);
    let pages = [("A", 11), ("A", 2_011), ("A", 4_011)];
    assert_eq!(asked, pages.map(|(name, after)| (name.to_owned(), after)));
    let mut expected = vec![recovered("A", 11)];
    expected.extend(past.messages_of("A", 12, 5_002));
    world.expect(client, &expected);
    world.publish_stored(&mut past, &["B", "A"]);
    world.expect(client, &[msg("A", 5_004, 5_002)]);
    assert_eq!(world.stats().resumes.recovered, 1);
    assert_eq!(world.stats().history_fetches, 3);
}

#[test]
fn those_who_want_the_same_share_a_page() {
    let mut past = Past::new();
    past.store(&["A"; 900]);
    let mut world = replica(&past, Config::default());
    let clients: Vec<(C, u64)> = (100..200)
        .map(|position| (ask(&mut world, "A", json!(position), json!({})), position))
        .collect();
    assert_eq!(world.answer_all(&past), [("A".to_owned(), 100)]);
    for (client, position) in clients {
        let mut expected = vec![recovered("A", position)];
        expected.extend(past.messages_of("A", position + 1, 900));
        world.expect(client, &expected);
    }
}

#[test]
fn many_channels_come_back_from_pages_of_all() {
    let mut past = Past::new();
    let names: Vec<String> = (0..100).map(|n| format!("N.{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..5 {
        past.store(&names);
    }
    let mut world = replica(&past, Config::default());
    let clients: Vec<C> = (0..100)
        .map(|n| ask(&mut world, names[n], json!(101 + n), json!({})))
        .collect();
    let asked = world.answer_all(&past);
    // Four went out before it showed that everybody was coming.
    let first: Vec<(String, u64)> = (0..4)
        .map(|n| (names[n].to_owned(), 101 + n as u64))
        .collect();
    assert_eq!(asked[..4], first);
    assert_eq!(asked[4..], [(">".to_owned(), 105)]);
    for (n, client) in clients.into_iter().enumerate() {
        let position = 101 + n as u64;
        let mut expected = vec![recovered(names[n], position)];
        expected.extend(past.messages_of(names[n], position + 1, 500));
        world.expect(client, &expected);
    }
}

#[test]
fn a_pattern_resumes_where_nothing_was_deleted() {
    let mut past = Past::new();
    past.page_messages = 3;
    past.store(&["A.x", "B", "A.y", "A.x", "B", "A.y", "A.x", "A.z"]);
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A.*", json!(3), json!({}));
    world.answer_all(&past);
    world.publish_stored(&mut past, &["A.y"]);
    world.expect(
        client,
        &[
            recovered("A.*", 3),
            msg("A.x", 4, 1),
            msg("A.y", 6, 3),
            msg("A.x", 7, 4),
            msg("A.z", 8, 0),
            msg("A.y", 9, 6),
        ],
    );
    // The message at the position still exists, but of another channel one behind it may be gone.
    past.delete([6]);
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A.*", json!(3), json!({}));
    world.answer_all(&past);
    let why = json!({"reason":"too_old","oldest":4,"newest":9});
    world.expect(client, &[unrecovered("A.*", 9, why)]);
}

#[test]
fn what_the_stream_lost_is_named_before_what_is_left() {
    let mut past = Past::new();
    past.store(&["A", "B", "A", "A", "B", "A", "B", "A"]);
    past.delete([1, 3, 4]);
    for (options, rest) in [
        (json!({}), vec![]),
        (
            json!({"on_lost":"continue"}),
            vec![
                lost("A", 2, 5, "discarded"),
                msg("A", 6, None),
                msg("A", 8, 6),
            ],
        ),
    ] {
        let mut world = replica(&past, Config::default());
        let client = ask(&mut world, "A", json!(1), options);
        world.answer_all(&past);
        let position = if rest.is_empty() { 8 } else { 1 };
        let why = json!({"reason":"too_old","oldest":6,"newest":8});
        let mut expected = vec![unrecovered("A", position, why)];
        expected.extend(rest);
        world.expect(client, &expected);
    }
    // Whoever stands at a message that exists misses nothing.
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A", json!(6), json!({}));
    world.answer_all(&past);
    world.expect(client, &[recovered("A", 6), msg("A", 8, 6)]);
}

#[test]
fn an_upstream_that_is_away_is_said_to_be() {
    let mut past = Past::new();
    past.store(&["A"; 9]);
    let mut world = replica(&past, Config::default());
    let why = json!({"reason":"upstream_unavailable","oldest":9,"newest":9});
    let client = ask(&mut world, "A", json!(2), json!({}));
    world.answer(None);
    world.expect(client, &[unrecovered("A", 9, why.clone())]);
    assert_eq!(world.stats().history_failed, 1);
    // Nothing is asked at once after a failure.
    let client = ask(&mut world, "A", json!(3), json!({}));
    assert!(world.fetches.is_empty());
    world.advance_ms(499);
    assert!(world.fetches.is_empty());
    world.advance_ms(1);
    assert_eq!(world.fetches.len(), 1);
    // No answer at all.
    world.advance_ms(4_499);
    world.expect_nothing(client);
    world.advance_ms(1);
    world.expect(client, &[unrecovered("A", 9, why)]);
    let page = past.page(&world.fetches[0]);
    world.answer(Some(page));
    world.expect_nothing(client);
}

#[test]
fn a_position_ahead_of_this_server_is_compared_with_the_stream() {
    let mut past = Past::new();
    past.store(&["A"; 5]);
    let mut world = replica(&past, Config::default());
    past.store(&["A"; 3]);
    let client = ask(&mut world, "A", json!(7), json!({}));
    assert_eq!(world.answer_all(&past), [("A".to_owned(), 7)]);
    world.expect(client, &[recovered("A", 7)]);
    for seq in 6..9 {
        assert_eq!(world.publish("A"), seq);
    }
    world.expect(client, &[msg("A", 8, 7)]);
    let client = ask(&mut world, "A", json!(12), json!({}));
    world.answer_all(&past);
    let why = json!({"reason":"ahead_of_log","oldest":5,"newest":8});
    world.expect(client, &[unrecovered("A", 8, why)]);
}

#[test]
fn a_position_within_what_this_server_has_yet_to_read_is_recovered() {
    let mut past = Past::new();
    past.store(&["A"; 5]);
    let mut world = replica(&past, Config::default());
    past.store(&["A"; 4]);
    let at_the_end = ask(&mut world, ">", json!(9), json!({}));
    assert_eq!(world.answer_all(&past), [(">".to_owned(), 9)]);
    world.expect(at_the_end, &[recovered(">", 9)]);
    let within = ask(&mut world, ">", json!(7), json!({}));
    assert_eq!(world.answer_all(&past), [(">".to_owned(), 7)]);
    world.expect(within, &[recovered(">", 7)]);
    let further = ask(&mut world, ">", json!(8), json!({}));
    assert_eq!(world.answer_all(&past), [(">".to_owned(), 8)]);
    world.expect(further, &[recovered(">", 8)]);
    for seq in 6..11 {
        assert_eq!(world.publish("A"), seq);
    }
    world.expect(at_the_end, &[msg("A", 10, 9)]);
    world.expect(within, &[msg("A", 8, 7), msg("A", 9, 8), msg("A", 10, 9)]);
    world.expect(further, &[msg("A", 9, 8), msg("A", 10, 9)]);
}

#[test]
fn who_stands_at_the_end_of_the_stream_ends_the_waiting_of_nobody_else() {
    let mut past = Past::new();
    past.store(&["A", "B", "A"]);
    let mut world = replica(&past, Config::default());
    past.store(&["A", "B", "A", "A"]);
    let at_the_end = ask(&mut world, ">", json!(7), json!({}));
    // While that is asked for.
    let others = [(">", 6), (">", 8), ("A", 4), ("B.*", 5)];
    let others = others.map(|(name, at)| (ask(&mut world, name, json!(at), json!({})), name, at));
    let page = past.page(&world.fetches[0]);
    assert_eq!((page.after, page.to()), (7, 7));
    world.answer(Some(page));
    world.expect(at_the_end, &[recovered(">", 7)]);
    world.answer_all(&past);
    for (client, name, at) in others {
        let answer = match at {
            8 => {
                let why = json!({"reason":"ahead_of_log","oldest":3,"newest":3});
                unrecovered(">", 3, why)
            }
            _ => recovered(name, at),
        };
        world.expect(client, &[answer]);
    }
    assert_eq!(world.stats().history_failed, 0);
}

#[test]
fn a_page_of_another_stream_is_none() {
    let mut past = Past::new();
    past.store(&["A"; 5]);
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A", json!(2), json!({}));
    let mut page = (*past.page(&world.fetches[0])).clone();
    page.extent.created += 1;
    world.answer(Some(page.into()));
    let why = json!({"reason":"upstream_unavailable","oldest":5,"newest":5});
    world.expect(client, &[unrecovered("A", 5, why)]);
}

#[test]
fn a_message_of_another_time_is_another_number_line() {
    let mut past = Past::new();
    past.store(&["A"; 5]);
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A", json!({"seq":2,"ts":1}), json!({}));
    world.answer_all(&past);
    let why = json!({"reason":"epoch_changed","oldest":5,"newest":5});
    world.expect(client, &[unrecovered("A", 5, why)]);
    let client = ask(
        &mut world,
        "A",
        json!({"seq":2,"ts":support::ts(2)}),
        json!({}),
    );
    world.answer_all(&past);
    let mut expected = vec![recovered("A", 2)];
    expected.extend(past.messages_of("A", 3, 5));
    world.expect(client, &expected);
}

#[test]
fn a_reset_ends_what_was_asked() {
    let mut past = Past::new();
    past.store(&["A"; 5]);
    let mut world = replica(&past, small_log());
    let slow = world.subscriber(json!({"channels":["A"]}));
    world.stall(slow);
    for _ in 0..50 {
        world.publish_stored(&mut past, &["A"]);
    }
    world.unstall(slow);
    let held = ask(&mut world, "A", json!(2), json!({}));
    let page = past.page(&world.fetches[0]);
    world.reset("e2", ResetReason::StreamRecreated);
    world.expect(slow, &[reset("e2", "stream_recreated")]);
    world.answer(Some(page));
    world.expect_nothing(slow);
    world.expect_nothing(held);
    world.source_ready("e2", true, 0, 0);
    world.fetches.clear();
    world.take(held);
    world.publish("A");
    world.expect(slow, &[msg("A", 1, 0)]);
    world.take(held);
}

#[test]
fn few_bytes_of_pages_are_enough_for_everybody() {
    let mut past = Past::new();
    past.page_messages = 5;
    for _ in 0..200 {
        past.store(&["A", "B", "C"]);
    }
    let config = Config {
        history_bytes: 1,
        ..Config::default()
    };
    let mut world = replica(&past, config);
    let clients: Vec<(&str, C)> = ["A", "B", "C"]
        .into_iter()
        .map(|name| (name, ask(&mut world, name, json!(30), json!({}))))
        .collect();
    world.answer_all(&past);
    for (name, client) in clients {
        let mut expected = vec![recovered(name, 30)];
        expected.extend(past.messages_of(name, 31, 600));
        world.expect(client, &expected);
    }
    assert!(world.stats().history_pages <= 1);
}

#[test]
fn a_notice_for_all_comes_before_what_follows_the_hole() {
    let mut past = Past::new();
    past.page_messages = 4;
    past.store(&["A"; 6]);
    let mut world = replica(&past, Config::default());
    let client = ask(&mut world, "A", json!(1), json!({}));
    let page = past.page(&world.fetches[0]);
    world.answer(Some(page));
    past.store(&["A"; 3]);
    past.delete(7..=8);
    world.lose(Some(8), LostReason::Discarded);
    assert_eq!(world.publish("A"), 9);
    world.answer_all(&past);
    world.publish_stored(&mut past, &["A"]);
    let mut expected = vec![recovered("A", 1)];
    expected.extend(past.messages_of("A", 2, 6));
    expected.push(json!({"type":"lost","from":7,"to":8,"reason":"discarded"}));
    expected.extend([msg("A", 9, 6), msg("A", 10, 9)]);
    world.expect(client, &expected);
}

#[test]
fn whoever_goes_waits_for_nothing() {
    let mut past = Past::new();
    past.store(&["A", "B", "A", "B", "A", "B"]);
    let config = Config {
        history_fetches: 1,
        ..small_log()
    };
    let mut world = replica(&past, config);
    let first = ask(&mut world, "A", json!(1), json!({}));
    let other = ask(&mut world, "B", json!(2), json!({}));
    assert_eq!(world.fetches.len(), 1);
    world.hang_up(first, CloseReason::Client);
    world.hang_up(other, CloseReason::Client);
    let page = past.page(&world.fetches[0]);
    world.answer(Some(page));
    assert!(world.fetches.is_empty(), "nobody waits for the other");
    // The same for a subscription that is refilled.
    let slow = world.subscriber(json!({"channels":["A"]}));
    world.stall(slow);
    for _ in 0..9 {
        world.publish_stored(&mut past, &["A"]);
    }
    world.unstall(slow);
    assert_eq!(world.fetches.len(), 1);
    world.say(
        slow,
        json!({"type":"unsubscribe","data":{"channels":["A"]}}),
    );
    world.answer(None);
    world.advance(Duration::from_secs(1));
    assert!(world.fetches.is_empty());
    world.take(slow);
}
