//! What a connection may do before it is authenticated, with a grant, and after it.

mod support;

use std::time::Duration;

use odin_core::config::Config;
use odin_core::reason::{CloseReason, ErrorCode, TokenFault, UnrecoveredReason};
use odin_core::record::Player;
use odin_core::shard::{Grant, Input, Shard};
use odin_core::time::Instant;
use serde_json::{Value, json};
use support::{C, EPOCH, World, close, error_of, msg};

const ALICE: [u8; 32] = [1; 32];
const BOB: [u8; 32] = [2; 32];

fn config() -> Config {
    Config {
        auth: true,
        ..Config::default()
    }
}

/// A grant that ends so many seconds after the start; for clients the start is second 1000.
fn grant(subject: [u8; 32], channels: &[&str], seconds: u64) -> Grant {
    Grant {
        subject,
        channels: channels.iter().map(|&channel| channel.into()).collect(),
        expires_at: Instant::from_millis(seconds * 1000),
        expires_unix: 1000 + seconds,
    }
}

/// A connection that was authenticated with its upgrade.
fn open_as(world: &mut World, grant: Grant) -> C {
    let client = world.open_granted(grant);
    let got = world.take(client);
    assert_eq!((got.len(), &got[0]["type"]), (2, &json!("welcome")));
    assert_eq!(got[1]["type"], "auth_ack");
    client
}

/// Shows a token, which must be the next that the shell is to verify.
fn auth(world: &mut World, client: C, id: u64) {
    world.say(client, json!({"type":"auth","id":id,"data":{"token":"T"}}));
    let (conn, token) = world.shard.poll_token().expect("a token");
    assert_eq!((conn, token.expose()), (world.id(client), "T"));
    assert_eq!(world.shard.poll_token(), None);
    assert!(!world.wants_read(client), "its requests wait");
}

fn accept(world: &mut World, client: C, grant: Grant) {
    let conn = world.id(client);
    world.input(Input::Authenticated { conn, grant });
}

fn refuse(world: &mut World, client: C, fault: TokenFault) {
    let conn = world.id(client);
    world.input(Input::TokenRefused { conn, fault });
}

fn code(world: &mut World, client: C) -> String {
    let got = world.take(client);
    assert_eq!(got.len(), 1, "{got:?}");
    error_of(&got[0]).0.to_owned()
}

fn refused(message: &str, id: u64) -> Value {
    json!({"type":"error","code":"UNAUTHORIZED","message":message,"id":id})
}

#[test]
fn a_stranger_may_do_nothing_but_authenticate() {
    let mut world = World::with(config());
    world.publish("A");
    let client = world.open_raw();
    let welcome = world.take(client);
    assert_eq!(welcome.len(), 1);
    assert_eq!(welcome[0]["epoch"], Value::Null, "{}", welcome[0]);
    for request in [
        json!({"type":"subscribe","id":7,"data":{"channels":["A"],"snapshot":true}}),
        json!({"type":"unsubscribe","id":7,"data":{"channels":["A"]}}),
        json!({"type":"replay","id":7,"data":{"channel":"A","from":1}}),
        json!({"type":"heartbeat","id":7}),
    ] {
        world.say(client, request);
        let expected = refused("authenticate first, with an auth message", 7);
        world.expect(client, &[expected]);
    }
    world.publish("A");
    world.expect_nothing(client);
    assert_eq!(world.stats().errors[ErrorCode::Unauthorized as usize], 4);

    auth(&mut world, client, 8);
    accept(&mut world, client, grant(ALICE, &["A"], 60));
    world.expect(
        client,
        &[json!({"type":"auth_ack","id":8,"expires_at":1060})],
    );
    assert!(world.wants_read(client));
    let ack = world.subscribe(client, json!({"channels":["A"],"snapshot":true}));
    assert_eq!(
        (&ack["epoch"], &ack["positions"]["A"]),
        (&json!(EPOCH), &json!(1))
    );
    world.expect(client, &[msg("A", 2, 1)]);
}

#[test]
fn who_does_not_authenticate_in_time_is_closed() {
    let mut world = World::with(config());
    let client = world.open();
    world.advance_ms(4_999);
    world.expect_nothing(client);
    world.advance_ms(1);
    world.expect(client, &[close(4001, "unauthorized")]);
    world.advance(Duration::from_secs(5));
    world.expect_drop(client, CloseReason::Unauthorized);
    assert_eq!(
        world.stats().disconnects[CloseReason::Unauthorized as usize],
        1
    );

    // Without a limit it may wait, and who did in time is not closed.
    let mut world = World::with(Config {
        auth_timeout: Duration::ZERO,
        ..config()
    });
    let patient = world.open();
    world.advance(Duration::from_secs(20));
    world.expect_nothing(patient);
}

#[test]
fn a_bad_first_token_ends_the_connection_and_a_bad_refresh_does_not() {
    let mut world = World::with(config());
    let client = world.open();
    auth(&mut world, client, 1);
    refuse(&mut world, client, TokenFault::Signature);
    let error = refused("the token is not accepted: signature", 1);
    world.expect(client, &[error.clone(), close(4001, "unauthorized")]);

    let client = open_as(&mut world, grant(ALICE, &["A"], 20));
    world.subscribe(client, json!({"channels":["A"]}));
    auth(&mut world, client, 1);
    refuse(&mut world, client, TokenFault::Signature);
    world.expect(client, &[error]);
    world.publish("A");
    world.expect(client, &[msg("A", 1, 0)]);
    assert_eq!(world.stats().errors[ErrorCode::Unauthorized as usize], 2);
}

#[test]
fn a_token_at_the_upgrade_is_acknowledged_after_a_welcome_with_the_epoch() {
    let mut world = World::with(config());
    let client = world.open_granted(grant(ALICE, &["A"], 20));
    let got = world.take(client);
    assert_eq!((got.len(), &got[0]["epoch"]), (2, &json!(EPOCH)));
    assert_eq!(got[1], json!({"type":"auth_ack","expires_at":1020}));
}

#[test]
fn a_name_is_allowed_where_the_grant_covers_all_of_it() {
    let mut world = World::with(config());
    let claims = ["BTC.trade", "ETH.*", "SOL.>", "*.news"];
    let client = open_as(&mut world, grant(ALICE, &claims, 20));
    for allowed in [
        "BTC.trade",
        "ETH.x",
        "ETH.*",
        "SOL.a",
        "SOL.*",
        "SOL.a.>",
        "SOL.>",
        "A.news",
    ] {
        let subscribe = json!({"channels":[allowed]});
        assert_eq!(
            world.subscribe(client, subscribe)["subscribed"],
            json!([allowed])
        );
        world.say(
            client,
            json!({"type":"unsubscribe","data":{"channels":[allowed]}}),
        );
        assert_eq!(world.take(client)[0]["type"], "unsubscription_ack");
    }
    for forbidden in [
        "BTC",
        "BTC.*",
        "BTC.trade.x",
        "ETH.>",
        "ETH",
        "SOL",
        "*.*",
        ">",
        "*.trade",
        "A.news.b",
    ] {
        world.say(
            client,
            json!({"type":"subscribe","data":{"channels":[forbidden]}}),
        );
        assert_eq!(code(&mut world, client), "FORBIDDEN", "{forbidden}");
    }
    let channels = json!(["ETH.x", "XRP"]);
    world.say(
        client,
        json!({"type":"subscribe","data":{"channels":channels}}),
    );
    assert_eq!(code(&mut world, client), "FORBIDDEN");
    assert_eq!(world.stats().subscriptions, 0, "a request is refused whole");
    assert_eq!(world.stats().errors[ErrorCode::Forbidden as usize], 11);
}

#[test]
fn what_may_not_be_resumed_is_unrecovered_and_the_rest_is() {
    let mut world = World::with(config());
    for channel in ["A", "B", "A", "B"] {
        world.publish(channel);
    }
    let client = open_as(&mut world, grant(ALICE, &["A"], 20));
    let resume = json!({"epoch":EPOCH,"positions":{"A":1,"B":2}});
    let ack = world.subscribe(client, json!({"channels":["A","B"],"resume":resume}));
    let unrecovered = json!([{"channel":"B","reason":"forbidden"}]);
    assert_eq!(ack["subscribed"], json!(["A"]));
    assert_eq!(
        (&ack["count"], &ack["positions"]),
        (&json!(1), &json!({"A":1}))
    );
    assert_eq!(
        (&ack["recovered"], &ack["unrecovered"]),
        (&json!(["A"]), &unrecovered)
    );
    world.expect(client, &[msg("A", 3, 1)]);
    let resumes = world.stats().resumes.unrecovered;
    assert_eq!(resumes[UnrecoveredReason::Forbidden as usize], 1);

    let resume = json!({"epoch":EPOCH,"positions":{"B":2}});
    let ack = world.subscribe(client, json!({"channels":["B"],"resume":resume}));
    assert_eq!((&ack["subscribed"], &ack["count"]), (&json!([]), &json!(1)));
    assert_eq!(ack["unrecovered"], unrecovered);
    world.publish("B");
    world.expect_nothing(client);
}

#[test]
fn a_grant_ends_and_so_does_the_connection_unless_it_is_refreshed() {
    let mut world = World::with(config());
    let lazy = open_as(&mut world, grant(ALICE, &["A"], 10));
    let eager = open_as(&mut world, grant(BOB, &["A"], 10));
    world.subscribe(lazy, json!({"channels":["A"]}));
    world.subscribe(eager, json!({"channels":["A"]}));
    world.advance_ms(9_000);
    auth(&mut world, eager, 3);
    accept(&mut world, eager, grant(BOB, &["A"], 20));
    world.expect(
        eager,
        &[json!({"type":"auth_ack","id":3,"expires_at":1020})],
    );
    world.advance_ms(999);
    world.publish("A");
    world.expect(lazy, &[msg("A", 1, 0)]);
    world.advance_ms(1);
    world.expect(lazy, &[close(4001, "expired")]);
    world.publish("A");
    world.expect(eager, &[msg("A", 1, 0), msg("A", 2, 1)]);
    // A shorter grant counts as well.
    auth(&mut world, eager, 4);
    accept(&mut world, eager, grant(BOB, &["A"], 12));
    world.expect(
        eager,
        &[json!({"type":"auth_ack","id":4,"expires_at":1012})],
    );
    world.advance_ms(2_000);
    world.expect(eager, &[close(4001, "expired")]);
}

#[test]
fn a_refresh_for_another_subject_ends_the_connection() {
    let mut world = World::with(config());
    let client = open_as(&mut world, grant(ALICE, &["A"], 20));
    world.subscribe(client, json!({"channels":["A"]}));
    auth(&mut world, client, 1);
    accept(&mut world, client, grant(BOB, &["A", "B"], 20));
    let message = "a connection stays with the subject that it was authenticated for";
    let error = json!({"type":"error","code":"FORBIDDEN","message":message,"id":1});
    world.expect(client, &[error, close(4003, "forbidden")]);
    world.publish("A");
    world.expect_nothing(client);
}

#[test]
fn a_refresh_takes_away_what_it_does_not_allow() {
    let mut world = World::with(config());
    let client = open_as(&mut world, grant(ALICE, &[">"], 20));
    world.subscribe(client, json!({"channels":["A"]}));
    world.subscribe(client, json!({"channels":["B.*","C","D"]}));
    world.publish("C");
    world.publish("D");
    world.expect(client, &[msg("C", 1, 0), msg("D", 2, 0)]);
    // A replay that is under way and an ack that waits, all in one turn.
    world.pumping = false;
    world.say(
        client,
        json!({"type":"replay","id":4,"data":{"channel":"C","from":1}}),
    );
    auth(&mut world, client, 5);
    accept(&mut world, client, grant(ALICE, &["A", "D", "B.x"], 20));
    world.pumping = true;
    world.pump();
    let incomplete = json!({"type":"replay_incomplete","id":4,"channel":"C","sent":0,
        "reason":"unsubscribed","oldest":1,"newest":1});
    let ended = json!({"type":"unsubscription_ack","unsubscribed":["B.*","C"],"count":2,
        "reason":"forbidden"});
    world.expect(
        client,
        &[
            json!({"type":"auth_ack","id":5,"expires_at":1020}),
            incomplete,
            ended,
        ],
    );
    for channel in ["A", "B.x", "C", "D"] {
        world.publish(channel);
    }
    world.expect(client, &[msg("A", 3, 0), msg("D", 6, 2)]);
}

#[test]
fn a_held_subscribe_is_judged_by_the_grant_that_holds_when_it_is_done() {
    let mut world = World::cold(config());
    let client = open_as(&mut world, grant(ALICE, &[">"], 20));
    world.say(
        client,
        json!({"type":"subscribe","id":1,"data":{"channels":["B"]}}),
    );
    // It is not read from, so only the upgrade's other way could change its grant.
    assert!(!world.wants_read(client));
    accept(&mut world, client, grant(ALICE, &["A"], 20));
    world.expect(client, &[json!({"type":"auth_ack","expires_at":1020})]);
    world.source_ready(EPOCH, true, 0, 0);
    assert_eq!(code(&mut world, client), "FORBIDDEN");
}

#[test]
fn a_revoked_token_ends_its_connection() {
    let mut world = World::with(config());
    let client = open_as(&mut world, grant(ALICE, &["A"], 20));
    let stranger = world.open();
    for other in [client, stranger] {
        let conn = world.id(other);
        world.input(Input::Revoked { conn });
    }
    world.expect(client, &[close(4001, "revoked")]);
    world.expect_nothing(stranger);
}

#[test]
fn without_authentication_a_token_is_not_wanted() {
    let mut world = World::new();
    let client = world.open();
    world.say(client, json!({"type":"auth","id":1,"data":{"token":"T"}}));
    assert_eq!(world.shard.poll_token(), None);
    assert_eq!(code(&mut world, client), "AUTH_UNAVAILABLE");
    world.subscribe(client, json!({"channels":["A"]}));
}

#[test]
fn a_verdict_for_who_is_gone_or_going_is_passed_over() {
    let mut world = World::with(config());
    let gone = world.open();
    auth(&mut world, gone, 1);
    world.hang_up(gone, CloseReason::Transport);
    accept(&mut world, gone, grant(ALICE, &["A"], 20));
    refuse(&mut world, gone, TokenFault::Expired);

    let going = world.open();
    auth(&mut world, going, 1);
    world.advance(Duration::from_secs(5));
    world.expect(going, &[close(4001, "unauthorized")]);
    accept(&mut world, going, grant(ALICE, &["A"], 20));
    refuse(&mut world, going, TokenFault::Expired);
    world.expect_nothing(going);
}

/// All ways of authentication on one tape: it runs again to the same state, and holds no token.
#[test]
fn a_recording_has_the_grants_and_no_token() {
    const MARK: &str = "eyJtYXJrZXI.token.never";
    let mut world = World::with(config());
    world.shard.record(1 << 20);
    let first = open_as(&mut world, grant(ALICE, &["ALLOWED.>"], 20));
    let second = world.open();
    let third = world.open();
    for (client, verdict) in [(first, true), (second, true), (third, false)] {
        world.say(
            client,
            json!({"type":"auth","id":"x","data":{"token":MARK}}),
        );
        // Between the question and the verdict nothing of the token is in the state either.
        let state = world.shard.checkpoint();
        assert!(!contains(&state, MARK.as_bytes()));
        let (_, token) = world.shard.poll_token().expect("a token");
        assert_eq!(token.expose(), MARK);
        if verdict {
            accept(&mut world, client, grant(ALICE, &["ALLOWED.>"], 20));
        } else {
            refuse(&mut world, client, TokenFault::Issuer);
        }
        world.take(client);
    }
    world.say(first, json!({"type":"auth","data":{"tokens":MARK}}));
    world.say(first, json!({"type":"auth","data":{"token":[MARK]}}));
    let conn = world.id(second);
    world.input(Input::Revoked { conn });
    world.take(first);
    world.take(second);
    let recording = world.shard.recording(0, true).expect("it is on");
    let calls = &recording.segments[0].calls;
    assert!(contains(calls, b"ALLOWED.>") && contains(calls, &ALICE));
    assert!(!contains(calls, MARK.as_bytes()));
    let mut player: Player<'_, Shard> = Player::new(&recording).expect("a checkpoint");
    player.run().expect("the recorded states");
    assert_eq!(player.machine.state_hash(), world.shard.state_hash());
    world.advance(Duration::from_secs(5));
    world.expect_drop(second, CloseReason::Revoked);
    world.expect_drop(third, CloseReason::Unauthorized);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
