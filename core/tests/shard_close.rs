//! How a connection ends, and that what comes later for it is passed over.

mod support;

use odin_core::reason::CloseReason;
use odin_core::shard::{Input, Message};
use serde_json::json;
use support::{World, close, msg};

#[test]
fn a_close_of_the_client_is_answered_and_the_socket_dropped() {
    for code in [None, Some(1000), Some(4321)] {
        let mut world = World::new();
        let client = world.subscriber(json!({"channels":["A"]}));
        world.message(client, Message::Close(code));
        assert_eq!(world.take(client), [close(1000, "client")]);
        world.expect_drop(client, CloseReason::Client);
        world.publish("A");
        world.expect_nothing(client);
        let stats = world.stats();
        assert_eq!(stats.disconnects[CloseReason::Client as usize], 1);
        assert_eq!((stats.connections, stats.connections_opened), (0, 1));
        assert_eq!(stats.subscriptions, 0);
    }
}

#[test]
fn answers_given_before_it_are_still_sent_data_is_not() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.room(client, 10);
    world.publish_all(&["A", "A"]);
    world.say(client, json!({"type":"heartbeat"}));
    world.message(client, Message::Binary(3));
    world.say(client, json!({"type":"heartbeat"}));
    world.publish("A");
    world.unstall(client);
    world.expect(
        client,
        &[
            msg("A", 1, 0),
            json!({"type":"pong","ts":0}),
            close(1003, "unsupported_data"),
        ],
    );
    world.message(client, Message::Close(Some(1003)));
    world.expect_drop(client, CloseReason::Unsupported);
}

#[test]
fn each_fault_has_its_code() {
    for (reason, code, label) in [
        (CloseReason::Protocol, 1002, "protocol_error"),
        (CloseReason::InvalidUtf8, 1007, "invalid_utf8"),
        (CloseReason::TooBig, 1009, "message_too_big"),
    ] {
        let mut world = World::new();
        let client = world.open();
        let other = world.subscriber(json!({"channels":["A"]}));
        let conn = world.id(client);
        world.input(Input::Violation { conn, reason });
        world.expect(client, &[close(code, label)]);
        // Only the first holds.
        world.input(Input::Violation {
            conn,
            reason: CloseReason::Protocol,
        });
        world.message(client, Message::Binary(1));
        world.expect_nothing(client);
        world.publish("A");
        world.expect(other, &[msg("A", 1, 0)]);
        world.hang_up(client, CloseReason::Transport);
        assert_eq!(world.stats().disconnects[reason as usize], 1);
    }
}

#[test]
fn a_client_that_does_not_answer_is_dropped_after_a_while() {
    let mut world = World::new();
    let client = world.open();
    world.message(client, Message::Binary(1));
    world.expect(client, &[close(1003, "unsupported_data")]);
    world.advance_ms(4_999);
    world.expect_no_output();
    world.advance_ms(1);
    world.expect_drop(client, CloseReason::Unsupported);
    world.advance_ms(100_000);
    world.expect_nothing(client);
}

#[test]
fn so_is_one_whose_socket_is_full() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    world.stall(client);
    world.publish("A");
    world.message(client, Message::Close(None));
    world.advance_ms(4_999);
    world.expect_no_output();
    world.advance_ms(1);
    world.expect_drop(client, CloseReason::Client);
}

#[test]
fn a_drop_is_asked_for_once() {
    let mut world = World::new();
    let client = world.open();
    world.message(client, Message::Close(None));
    world.message(client, Message::Close(None));
    world.advance_ms(10_000);
    assert_eq!(world.take(client), [close(1000, "client")]);
    world.expect_drop(client, CloseReason::Client);
}

#[test]
fn a_socket_that_is_gone_says_why() {
    for reason in [CloseReason::Client, CloseReason::Transport] {
        let mut world = World::new();
        let client = world.subscriber(json!({"channels":["A","P.*"]}));
        let other = world.subscriber(json!({"channels":["A","P.*"]}));
        world.stall(client);
        world.publish_all(&["A", "P.x"]);
        world.hang_up(client, reason);
        world.publish_all(&["A", "P.x"]);
        world.advance_ms(1);
        world.expect_nothing(client);
        assert_eq!(world.take(other).len(), 4);
        let stats = world.stats();
        assert_eq!(stats.disconnects[reason as usize], 1);
        assert_eq!((stats.connections, stats.subscriptions), (1, 2));
    }
}

#[test]
fn a_socket_may_go_between_transmit_and_written() {
    let mut world = World::new();
    let client = world.subscriber(json!({"channels":["A"]}));
    let other = world.subscriber(json!({"channels":["A"]}));
    world.pumping = false;
    world.publish("A");
    let conn = world.shard.poll_ready().unwrap();
    assert_eq!(conn, world.id(client));
    assert!(world.shard.transmit(world.now, conn).bytes > 0);
    world.hang_up(client, CloseReason::Transport);
    world.pumping = true;
    world.pump();
    world.expect(other, &[msg("A", 1, 0)]);
}

#[test]
fn what_comes_late_for_a_connection_that_is_gone_is_passed_over() {
    let mut world = World::new();
    let old = world.subscriber(json!({"channels":["A"]}));
    let conn = world.id(old);
    world.stall(old);
    world.publish("A");
    world.hang_up(old, CloseReason::Client);
    let new = world.subscriber(json!({"channels":["A"]}));
    let reused = world.id(new);
    assert_eq!(reused.index(), conn.index());
    assert_eq!(reused.generation(), conn.generation() + 1);
    let late = [
        Input::Message {
            conn,
            message: Message::Text(r#"{"type":"heartbeat"}"#),
        },
        Input::Message {
            conn,
            message: Message::Close(None),
        },
        Input::Violation {
            conn,
            reason: CloseReason::Protocol,
        },
        Input::Writable { conn },
        Input::Closed {
            conn,
            reason: CloseReason::Transport,
        },
    ];
    for input in late {
        world.input(input);
    }
    assert!(!world.shard.wants_read(conn));
    world.expect_nothing(new);
    world.publish("A");
    world.expect(new, &[msg("A", 2, 1)]);
    let stats = world.stats();
    assert_eq!((stats.connections, stats.messages_received), (1, 2));
}

#[test]
fn a_ready_connection_that_goes_leaves_no_trace_in_the_queue() {
    let mut world = World::new();
    let old = world.subscriber(json!({"channels":["A"]}));
    let other = world.subscriber(json!({"channels":["A"]}));
    world.pumping = false;
    world.publish("A");
    world.hang_up(old, CloseReason::Client);
    let new = world.open_raw();
    world.pumping = true;
    world.pump();
    world.expect(other, &[msg("A", 1, 0)]);
    assert_eq!(world.take(new).len(), 1);
    assert!(!world.shard.has_ready());
}
