//! Resuming: what is recovered is exactly what followed; what is not is said, with the reason.

mod support;

use odin_core::config::Config;
use serde_json::{Value, json};
use support::{C, World, lost, msg, ts};

/// Resumes one name from a position, and gives the ack without what never differs.
fn resume_with(world: &mut World, name: &str, position: Value, options: Value) -> (C, Value) {
    let client = world.open();
    let mut data = json!({"channels":[name],"resume":{"epoch":"e1","positions":{name:position}}});
    for (key, value) in options.as_object().unwrap() {
        data[key] = value.clone();
    }
    let ack = world.subscribe(client, data);
    (
        client,
        json!([ack["positions"][name], ack["recovered"], ack["unrecovered"]]),
    )
}

fn resume(world: &mut World, name: &str, position: Value) -> (C, Value) {
    resume_with(world, name, position, json!({}))
}

fn limited(log_messages: u32) -> World {
    World::with(Config {
        log_messages,
        ..Config::default()
    })
}

#[test]
fn recovered_is_what_followed_then_live() {
    let mut world = World::new();
    world.publish_all(&["A", "B", "A", "A"]);
    for (position, rest) in [
        (0, vec![msg("A", 1, 0), msg("A", 3, 1), msg("A", 4, 3)]),
        (1, vec![msg("A", 3, 1), msg("A", 4, 3)]),
        (2, vec![msg("A", 3, 1), msg("A", 4, 3)]),
        (3, vec![msg("A", 4, 3)]),
        (4, vec![]),
    ] {
        let (client, ack) = resume(&mut world, "A", json!(position));
        assert_eq!(ack, json!([position, ["A"], []]));
        world.expect(client, &rest);
    }
    let (client, ack) = resume(&mut world, "A", json!(3));
    assert_eq!(ack, json!([3, ["A"], []]));
    world.publish_all(&["B", "A"]);
    world.expect(client, &[msg("A", 4, 3), msg("A", 6, 4)]);
    for index in 0..5 {
        world.expect(C(index), &[msg("A", 6, 4)]);
    }
    assert_eq!(world.stats().resumes.recovered, 6);
}

#[test]
fn a_resumed_name_and_a_new_one_go_together() {
    let mut world = World::new();
    world.publish_all(&["A", "B", "A"]);
    let client = world.open();
    let ack = world.subscribe(
        client,
        json!({"channels":["A","B"],"snapshot":true,"resume":{"epoch":"e1","positions":{"A":1}}}),
    );
    assert_eq!(ack["positions"], json!({"A":1,"B":0}));
    assert_eq!(
        (&ack["recovered"], &ack["unrecovered"]),
        (&json!(["A"]), &json!([]))
    );
    world.expect(client, &[msg("A", 3, 1), msg("B", 2, 0)]);
}

#[test]
fn a_pattern_is_resumed_across_its_channels() {
    let mut world = World::new();
    world.publish_all(&["P.a", "P.b", "Q", "P.a", "P.c"]);
    let (client, ack) = resume(&mut world, "P.*", json!(2));
    assert_eq!(ack, json!([2, ["P.*"], []]));
    world.publish("P.b");
    world.expect(
        client,
        &[msg("P.a", 4, 1), msg("P.c", 5, 0), msg("P.b", 6, 2)],
    );
}

#[test]
fn a_new_pattern_of_very_many_names_counts_what_any_channel_dropped() {
    let mut world = limited(2);
    for at in 0..1_100 {
        world.publish(&format!("n{at}.x"));
    }
    // 1101 and 1102 leave the log of a channel that neither pattern matches.
    world.publish_all(&["other"; 4]);
    let (few, ack) = resume(&mut world, "n7.*", json!(1));
    assert_eq!(ack, json!([1, ["n7.*"], []]));
    world.expect(few, &[msg("n7.x", 8, 0)]);
    let (many, ack) = resume(&mut world, "*.x", json!(1_101));
    let too_old = json!([{"channel":"*.x","reason":"too_old","oldest":1_103,"newest":1_104}]);
    assert_eq!(ack, json!([1_104, [], too_old]));
    world.expect_nothing(many);
    let (behind, ack) = resume(&mut world, "*.*", json!(1_102));
    assert_eq!(ack, json!([1_102, ["*.*"], []]));
    world.publish("n7.x");
    for client in [few, many, behind] {
        world.expect(client, &[msg("n7.x", 1_105, 8)]);
    }
}

#[test]
fn too_old_is_live_from_the_ack_and_names_what_is_kept() {
    let mut world = limited(2);
    for _ in 0..5 {
        world.publish_all(&["A", "B"]);
    }
    let too_old = |name: &str, oldest, newest| json!([{"channel":name,"reason":"too_old","oldest":oldest,"newest":newest}]);
    let (client, ack) = resume(&mut world, "A", json!(4));
    assert_eq!(ack, json!([9, [], too_old("A", 7, 9)]));
    world.expect_nothing(client);
    // The message at the position is gone, but none behind it.
    let (other, ack) = resume(&mut world, "A", json!(5));
    assert_eq!(ack, json!([5, ["A"], []]));
    world.expect(other, &[msg("A", 7, 5), msg("A", 9, 7)]);
    world.publish("A");
    for client in [client, other] {
        world.expect(client, &[msg("A", 11, 9)]);
    }
    let (client, ack) = resume(&mut world, "*", json!(6));
    assert_eq!(ack, json!([11, [], too_old("*", 8, 11)]));
    world.expect_nothing(client);
    let (client, ack) = resume(&mut world, "*", json!(7));
    assert_eq!(ack, json!([7, ["*"], []]));
    world.expect(
        client,
        &[
            msg("B", 8, 6),
            msg("A", 9, 7),
            msg("B", 10, 8),
            msg("A", 11, 9),
        ],
    );
    assert_eq!(world.stats().resumes.unrecovered, [2, 0, 0, 0, 0]);
}

#[test]
fn too_old_with_a_snapshot_sends_the_last_value() {
    let mut world = limited(1);
    world.publish_all(&["A", "A", "A"]);
    let (client, ack) = resume_with(&mut world, "A", json!(1), json!({"snapshot":true}));
    let unrecovered = json!([{"channel":"A","reason":"too_old","oldest":3,"newest":3}]);
    assert_eq!(ack, json!([2, [], unrecovered]));
    world.expect(client, &[msg("A", 3, 2)]);
}

#[test]
fn too_old_and_continue_names_the_range_and_sends_what_remains() {
    let mut world = limited(2);
    for _ in 0..5 {
        world.publish_all(&["A", "B"]);
    }
    let on = json!({"on_lost":"continue"});
    let (client, ack) = resume_with(&mut world, "A", json!(1), on.clone());
    assert_eq!(ack[0], 1);
    assert_eq!(ack[2][0]["reason"], "too_old");
    world.expect(
        client,
        &[lost("A", 2, 5, "discarded"), msg("A", 7, 5), msg("A", 9, 7)],
    );
    let (client, ack) = resume_with(&mut world, "*", json!(1), on);
    assert_eq!(ack[0], 1);
    world.expect(
        client,
        &[
            lost("*", 2, 6, "discarded"),
            msg("A", 7, 5),
            msg("B", 8, 6),
            msg("A", 9, 7),
            msg("B", 10, 8),
        ],
    );
    world.publish("A");
    world.expect(client, &[msg("A", 11, 9)]);
    world.expect(C(0), &[msg("A", 11, 9)]);
}

#[test]
fn another_epoch_or_another_time_is_another_history() {
    let mut world = World::new();
    world.publish_all(&["A", "A"]);
    let client = world.open();
    let ack = world.subscribe(
        client,
        json!({"channels":["A"],"on_lost":"continue","resume":{"epoch":"e0","positions":{"A":1}}}),
    );
    assert_eq!(ack["positions"], json!({"A":2}));
    assert_eq!(
        ack["unrecovered"],
        json!([{"channel":"A","reason":"epoch_changed","oldest":1,"newest":2}])
    );
    world.expect_nothing(client);
    for name in ["A", "*"] {
        let (client, ack) = resume(&mut world, name, json!({"seq":1,"ts":ts(1)}));
        assert_eq!(ack, json!([1, [name], []]));
        world.expect(client, &[msg("A", 2, 1)]);
        let (client, ack) = resume(&mut world, name, json!({"seq":1,"ts":ts(1) + 1}));
        assert_eq!(ack[0], 2);
        assert_eq!(ack[2][0]["reason"], "epoch_changed");
        world.expect_nothing(client);
    }
}

#[test]
fn ahead_of_a_line_of_its_own_is_ahead_of_log() {
    let mut world = World::cold(Config::default());
    world.source_ready("e1", false, 0, 0);
    world.publish("A");
    for name in ["A", "*"] {
        let (client, ack) = resume(&mut world, name, json!(2));
        assert_eq!(ack[0], 1);
        assert_eq!(ack[2][0]["reason"], "ahead_of_log");
        world.expect_nothing(client);
    }
    world.publish("A");
    world.expect(C(0), &[msg("A", 2, 1)]);
    world.expect(C(1), &[msg("A", 2, 1)]);
}

#[test]
fn ahead_of_a_durable_line_waits_and_passes_over_what_the_client_has() {
    let mut world = World::new();
    world.publish("A");
    let (exact, ack) = resume(&mut world, "A", json!(3));
    assert_eq!(ack, json!([3, ["A"], []]));
    let (pattern, ack) = resume(&mut world, "*", json!(3));
    assert_eq!(ack, json!([3, ["*"], []]));
    world.publish_all(&["A", "A", "A", "A"]);
    for client in [exact, pattern] {
        world.expect(client, &[msg("A", 4, 3), msg("A", 5, 4)]);
    }
}

#[test]
fn below_what_this_server_saw_only_the_value_it_began_with_is_proof() {
    let mut world = World::cold(Config::default());
    world.snapshot("A", 10);
    world.snapshot("B", 20);
    world.source_ready("e1", true, 20, 20);
    world.publish_all(&["A", "B"]);
    for (position, recovered) in [(9, false), (10, true), (11, false), (19, false), (20, true)] {
        let (client, ack) = resume(&mut world, "A", json!(position));
        assert_eq!(
            ack[1].as_array().is_some_and(|r| !r.is_empty()),
            recovered,
            "{position}"
        );
        if recovered {
            world.expect(client, &[msg("A", 21, 10)]);
        } else {
            assert_eq!(ack[0], 21);
            assert_eq!(ack[2][0]["reason"], "too_old");
            world.expect_nothing(client);
        }
    }
    // A channel of which nothing is known could have had messages that are deleted.
    let (client, ack) = resume(&mut world, "N", json!(19));
    assert_eq!(ack[2][0]["reason"], "too_old");
    world.expect_nothing(client);
    let (client, ack) = resume(&mut world, "*", json!(19));
    assert_eq!(ack[2][0]["reason"], "too_old");
    world.expect_nothing(client);
    let (client, ack) = resume(&mut world, "*", json!(20));
    assert_eq!(ack, json!([20, ["*"], []]));
    world.expect(client, &[msg("A", 21, 10), msg("B", 22, 20)]);
}

#[test]
fn a_position_before_a_hole_for_all_is_too_old() {
    let mut world = World::new();
    world.publish("A");
    world.lose(Some(4), odin_core::reason::LostReason::Discarded);
    world.publish("A");
    for name in ["A", "*"] {
        let (client, ack) = resume(&mut world, name, json!(1));
        assert_eq!(ack[2][0]["reason"], "too_old");
        world.expect_nothing(client);
        let (client, ack) = resume(&mut world, name, json!(4));
        assert_eq!(ack, json!([4, [name], []]));
        world.expect(client, &[msg("A", 5, 1)]);
    }
}

#[test]
fn in_latest_mode_it_means_the_newest_if_newer() {
    let mut world = limited(1);
    world.publish_all(&["A", "P.a", "P.b", "A", "P.a"]);
    let latest = json!({"mode":"latest"});
    for (name, position, rest) in [
        ("A", 1, vec![msg("A", 4, 1)]),
        ("A", 4, vec![]),
        ("P.*", 1, vec![msg("P.b", 3, 0), msg("P.a", 5, 2)]),
        ("P.*", 3, vec![msg("P.a", 5, 2)]),
        ("P.*", 5, vec![]),
    ] {
        let (client, ack) = resume_with(&mut world, name, json!(position), latest.clone());
        assert_eq!(ack, json!([position, [name], []]));
        world.expect(client, &rest);
    }
    // Positions of another number line do not compare: the client has nothing of this one.
    for (name, position, rest) in [
        ("A", 0, vec![msg("A", 4, 1)]),
        ("P.*", 0, vec![msg("P.b", 3, 0), msg("P.a", 5, 2)]),
    ] {
        let client = world.open();
        let ack = world.subscribe(
            client,
            json!({"channels":[name],"mode":"latest","resume":{"epoch":"e0","positions":{name:99}}}),
        );
        assert_eq!(ack["recovered"], json!([name]));
        assert_eq!(ack["positions"][name], position);
        world.expect(client, &rest);
    }
}

#[test]
fn in_latest_mode_a_position_ahead_passes_over_what_the_client_has() {
    let mut world = World::new();
    world.publish("A");
    let latest = json!({"mode":"latest"});
    for name in ["A", "*"] {
        let (_, ack) = resume_with(&mut world, name, json!(3), latest.clone());
        assert_eq!(ack, json!([3, [name], []]));
    }
    world.publish_all(&["A", "A"]);
    for client in [C(0), C(1)] {
        world.expect_nothing(client);
    }
    world.publish("A");
    for client in [C(0), C(1)] {
        world.expect(client, &[msg("A", 4, 3)]);
    }
}

#[test]
fn in_latest_mode_a_position_ahead_of_a_line_of_its_own_counts_as_none() {
    let mut world = World::cold(Config::default());
    world.source_ready("e1", false, 0, 0);
    world.publish("A");
    for name in ["A", "*"] {
        let (client, ack) = resume_with(&mut world, name, json!(9), json!({"mode":"latest"}));
        assert_eq!(ack, json!([0, [name], []]));
        world.expect(client, &[msg("A", 1, 0)]);
    }
    world.publish("A");
    for client in [C(0), C(1)] {
        world.expect(client, &[msg("A", 2, 1)]);
    }
}

#[test]
fn what_a_resume_has_not_read_yet_may_leave_the_log() {
    let mut world = limited(3);
    world.publish_all(&["A", "A", "A"]);
    let client = world.open();
    world.stall(client);
    let data = json!({"channels":["A"],"on_lost":"continue",
        "resume":{"epoch":"e1","positions":{"A":0}}});
    world.say(client, json!({"type":"subscribe","data":data}));
    world.publish_all(&["A", "A"]);
    world.unstall(client);
    let got = world.take(client);
    assert_eq!(got[0]["recovered"], json!(["A"]));
    assert_eq!(
        got[1..],
        [
            lost("A", 1, 2, "slow_consumer"),
            msg("A", 3, 2),
            msg("A", 4, 3),
            msg("A", 5, 4),
        ]
    );
}
