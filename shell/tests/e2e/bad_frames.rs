//! Frames that break a rule end their connection with the documented close code, and no other client
//! notices anything of it.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::task::block_in_place;

use crate::bad_input::Witness;
use crate::common::{self, masked};
use crate::server::Server;

/// A frame of a client with so many bytes of a letter.
fn long(first: u8, bytes: usize) -> Vec<u8> {
    masked(first, &vec![b'x'; bytes])
}

/// Frames that break a rule, and the close code and reason that each is answered with.
fn broken() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let two = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    let close = |code: u16, why: &[u8]| masked(0x88, &[&code.to_be_bytes()[..], why].concat());
    let big = 16 * 1024;
    vec![
        (
            "an unmasked frame",
            vec![0x81, 2, b'{', b'}'],
            1002,
            "protocol_error",
        ),
        (
            "the first reserved bit",
            masked(0xC1, b"{}"),
            1002,
            "protocol_error",
        ),
        (
            "the second reserved bit",
            masked(0xA1, b"{}"),
            1002,
            "protocol_error",
        ),
        (
            "the third reserved bit",
            masked(0x91, b"{}"),
            1002,
            "protocol_error",
        ),
        (
            "a reserved opcode",
            masked(0x83, b"{}"),
            1002,
            "protocol_error",
        ),
        (
            "a reserved control opcode",
            masked(0x8B, b""),
            1002,
            "protocol_error",
        ),
        (
            "a fragmented ping",
            masked(0x09, b""),
            1002,
            "protocol_error",
        ),
        (
            "a ping of 126 bytes",
            long(0x89, 126),
            1002,
            "protocol_error",
        ),
        (
            "a continuation of nothing",
            masked(0x80, b"{}"),
            1002,
            "protocol_error",
        ),
        (
            "a message within another",
            two(masked(0x01, b"{"), masked(0x81, b"{}")),
            1002,
            "protocol_error",
        ),
        (
            "a close frame of one byte",
            masked(0x88, &[3]),
            1002,
            "protocol_error",
        ),
        (
            "a close code that never travels",
            close(1005, b""),
            1002,
            "protocol_error",
        ),
        (
            "a close code below all",
            close(999, b""),
            1002,
            "protocol_error",
        ),
        (
            "a close reason that is not UTF-8",
            close(1000, &[0xFF]),
            1007,
            "invalid_utf8",
        ),
        (
            "a text that is not UTF-8",
            masked(0x81, &[b'"', 0xC3, b'"']),
            1007,
            "invalid_utf8",
        ),
        (
            "a text that is not UTF-8, in two fragments",
            two(masked(0x01, &[b'"', 0xC3]), masked(0x80, b"\"")),
            1007,
            "invalid_utf8",
        ),
        (
            "a surrogate",
            masked(0x81, &[0xED, 0xA0, 0x80]),
            1007,
            "invalid_utf8",
        ),
        (
            "a binary message",
            masked(0x82, b"{}"),
            1003,
            "unsupported_data",
        ),
        (
            "an empty binary message",
            masked(0x82, b""),
            1003,
            "unsupported_data",
        ),
        (
            "a fragmented binary message",
            two(masked(0x02, b"{"), masked(0x80, b"}")),
            1003,
            "unsupported_data",
        ),
        (
            "a message of 16 KiB and a byte",
            long(0x81, big + 1),
            1009,
            "message_too_big",
        ),
        (
            "fragments of 16 KiB and a byte together",
            two(long(0x01, big), long(0x80, 1)),
            1009,
            "message_too_big",
        ),
        (
            "a frame that says it has a terabyte",
            vec![0x81, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4],
            1009,
            "message_too_big",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_frame_has_its_close_code() {
    let server = Server::start(&["--no-demo"]);
    let witness = Witness::start(&server).await;
    let mut reasons = BTreeMap::new();
    for (name, frames, code, reason) in broken() {
        let mut stream = common::upgraded(server.addr).await;
        assert_eq!(common::message(&mut stream).await["type"], "welcome");
        stream.write_all(&frames).await.expect("send");
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend(reason.as_bytes());
        let (first, got) = common::frame(&mut stream).await;
        let shown = String::from_utf8_lossy(&got);
        assert_eq!((first, &got), (0x88, &payload), "{name}: {shown}");
        *reasons.entry(reason).or_insert(0) += 1;
    }
    for (reason, count) in reasons {
        let series = format!("ws_disconnects_total{{reason=\"{reason}\"}}");
        block_in_place(|| server.until_metric(&series, f64::from(count)));
    }
    witness.finish().await;
}

#[tokio::test]
async fn what_is_unusual_but_right_is_answered() {
    let server = Server::start(&["--no-demo"]);
    let mut stream = common::upgraded(server.addr).await;
    assert_eq!(common::message(&mut stream).await["type"], "welcome");
    // A request in three fragments, one of them empty, with a ping in between.
    for frame in [
        masked(0x01, br#"{"type":"heart"#),
        masked(0x00, b""),
        masked(0x89, b"here?"),
        masked(0x80, br#"beat","id":1}"#),
    ] {
        stream.write_all(&frame).await.expect("send");
    }
    assert_eq!(common::frame(&mut stream).await, (0x8A, b"here?".to_vec()));
    let pong = common::message(&mut stream).await;
    assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(1)));
    // As long as it may be.
    let padded = format!("{:1$}", r#"{"type":"heartbeat","id":2}"#, 16 * 1024);
    let frame = masked(0x81, padded.as_bytes());
    stream.write_all(&frame).await.expect("send");
    assert_eq!(common::message(&mut stream).await["id"], 2);
    // A pong that nobody asked for has no answer; a close frame is the end, whatever its code.
    for frame in [
        masked(0x8A, b"here!"),
        masked(0x88, &4500_u16.to_be_bytes()),
    ] {
        stream.write_all(&frame).await.expect("send");
    }
    let mut close = 1000_u16.to_be_bytes().to_vec();
    close.extend(b"client");
    assert_eq!(common::frame(&mut stream).await, (0x88, close));
    assert!(common::ended(&mut stream).await);
    server.until_metric("ws_disconnects_total{reason=\"client\"}", 1.0);
}
