//! Input that is wrong has one documented answer, and no other client notices anything of it.
//!
//! Upgrades and publications that are wrong are in the tests of the HTTP side; here is what comes over an
//! open WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use crate::client::Client;
use crate::common::{self, masked};
use crate::publisher::Publisher;
use crate::server::Server;

/// A client that gets every message of a counter while others misbehave.
struct Witness {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<u64>,
    reader: JoinHandle<u64>,
}

impl Witness {
    async fn start(server: &Server) -> Self {
        let mut client = Client::connect(server.addr).await;
        client.subscribe(&["counter"]).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut publisher = Publisher::connect(server.addr);
        let publisher = spawn_blocking({
            let stop = Arc::clone(&stop);
            move || {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    publisher.publish("counter", &count.to_string());
                    count += 1;
                }
                publisher.publish("counter", "\"end\"");
                count
            }
        });
        let reader = tokio::spawn(async move {
            let mut count = 0;
            loop {
                let data = client.next_message().await["data"].take();
                if data == "end" {
                    return count;
                }
                assert_eq!(data, count);
                count += 1;
            }
        });
        Self {
            stop,
            publisher,
            reader,
        }
    }

    /// It had every message, and was there to the end.
    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let published = self.publisher.await.expect("the publisher");
        assert_eq!(self.reader.await.expect("the witness"), published);
        assert!(published > 0, "there was something to miss");
    }
}

/// Requests that are refused, each with its code and what the message must name.
fn refused() -> Vec<(String, &'static str, &'static str)> {
    let subscribe = |data: &str| format!(r#"{{"type":"subscribe","id":7,"data":{data}}}"#);
    let named = |name: &str| subscribe(&format!(r#"{{"channels":["{name}"]}}"#));
    let replay = |data: &str| format!(r#"{{"type":"replay","id":7,"data":{data}}}"#);
    let many = vec!["x"; 17].join(".");
    let text = str::to_owned;
    vec![
        (text(""), "INVALID_JSON", "not JSON"),
        (text("{"), "INVALID_JSON", "not JSON"),
        (text("hello"), "INVALID_JSON", "not JSON"),
        (
            text(r#"{"type":"heartbeat"}{}"#),
            "INVALID_JSON",
            "not JSON",
        ),
        ("[".repeat(16 * 1024), "INVALID_JSON", "not JSON"),
        (text("[]"), "INVALID_REQUEST", "object"),
        (text("{}"), "INVALID_REQUEST", "type"),
        (text(r#"{"type":5,"id":7}"#), "INVALID_REQUEST", "type"),
        (
            text(r#"{"type":"heartbeat","id":7,"x":1}"#),
            "INVALID_REQUEST",
            "x",
        ),
        (
            text(r#"{"type":"heartbeat","id":[]}"#),
            "INVALID_REQUEST",
            "id",
        ),
        (text(r#"{"type":"dance","id":7}"#), "UNKNOWN_TYPE", "dance"),
        (
            text(r#"{"type":"subscribe","id":7}"#),
            "INVALID_REQUEST",
            "data",
        ),
        (subscribe("{}"), "INVALID_REQUEST", "data.channels"),
        (
            subscribe(r#"{"channels":"a"}"#),
            "INVALID_REQUEST",
            "data.channels",
        ),
        (
            subscribe(r#"{"channels":[]}"#),
            "INVALID_REQUEST",
            "data.channels",
        ),
        (
            subscribe(r#"{"channels":["a",1]}"#),
            "INVALID_REQUEST",
            "data.channels",
        ),
        (
            subscribe(r#"{"channels":["a"],"mode":"fast"}"#),
            "INVALID_REQUEST",
            "data.mode",
        ),
        (
            subscribe(r#"{"channels":["a"],"snapshot":1}"#),
            "INVALID_REQUEST",
            "data.snapshot",
        ),
        (
            subscribe(r#"{"channels":["a"],"on_lost":"cry"}"#),
            "INVALID_REQUEST",
            "data.on_lost",
        ),
        (named(""), "INVALID_CHANNEL", "empty"),
        (named("a..b"), "INVALID_CHANNEL", "a..b"),
        (named("a b"), "INVALID_CHANNEL", "a b"),
        (named(&"n".repeat(129)), "INVALID_CHANNEL", "128 bytes"),
        (named(&many), "INVALID_CHANNEL", "16"),
        (named("a*"), "INVALID_PATTERN", "a*"),
        (named(">.a"), "INVALID_PATTERN", ">.a"),
        (
            subscribe(r#"{"channels":["a","a"]}"#),
            "ALREADY_SUBSCRIBED",
            "a",
        ),
        (named("mine"), "ALREADY_SUBSCRIBED", "mine"),
        (
            subscribe(r#"{"channels":["a.b","a.*"]}"#),
            "SUBSCRIPTION_OVERLAP",
            "a.*",
        ),
        (named("*"), "SUBSCRIPTION_OVERLAP", "mine"),
        (
            subscribe(r#"{"channels":["a"],"resume":{"epoch":"e","positions":{"b":1}}}"#),
            "INVALID_RESUME",
            "b",
        ),
        (
            subscribe(r#"{"channels":["a"],"resume":{"epoch":"e","positions":{"a":-1}}}"#),
            "INVALID_REQUEST",
            "data.resume.positions.a",
        ),
        (
            text(r#"{"type":"unsubscribe","id":7,"data":{"channels":["mine","other"]}}"#),
            "NOT_SUBSCRIBED",
            "other",
        ),
        (
            replay(r#"{"channel":"other","from":1}"#),
            "NOT_SUBSCRIBED",
            "no subscription",
        ),
        (
            replay(r#"{"channel":"mine","from":1,"since":0}"#),
            "INVALID_REQUEST",
            "since",
        ),
        (
            replay(r#"{"channel":"mine","from":"1"}"#),
            "INVALID_REQUEST",
            "data.from",
        ),
        (
            replay(r#"{"channel":"mine.*","from":1}"#),
            "INVALID_CHANNEL",
            "mine.*",
        ),
        (
            text(r#"{"type":"auth","id":7,"data":{"token":"t"}}"#),
            "AUTH_UNAVAILABLE",
            "authentication",
        ),
        (
            text(r#"{"type":"auth","id":7,"data":{}}"#),
            "INVALID_REQUEST",
            "data.token",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request_has_its_code_and_changes_nothing() {
    let server = Server::start(&["--no-demo", "--message-rate=0", "--message-burst=0"]);
    let witness = Witness::start(&server).await;
    let mut client = Client::connect(server.addr).await;
    client.subscribe(&["mine"]).await;
    let mut codes = std::collections::BTreeMap::new();
    for (request, code, named) in refused() {
        client.send_raw(request.as_str().into()).await;
        let shown: String = request.chars().take(100).collect();
        let answer = client.next().await.json();
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("error"), &json!(code)),
            "{shown}: {answer}"
        );
        let message = answer["message"].as_str().expect("a message");
        assert!(message.contains(named), "{shown}: {message}");
        let id = request.contains(r#""id":7"#).then_some(7);
        assert_eq!(
            answer.get("id").and_then(Value::as_u64),
            id,
            "{shown}: {answer}"
        );
        *codes.entry(code).or_insert(0) += 1;
    }
    for (code, count) in codes {
        let counted = server.metric(&format!("ws_errors_total{{code=\"{code}\"}}"));
        assert!(
            counted.total_cmp(&f64::from(count)).is_eq(),
            "{code}: {counted} of {count}"
        );
    }
    // The connection is as it was: one subscription, which is served.
    assert_eq!(server.publish("mine", "1").status, 200);
    assert_eq!(client.next_message().await["channel"], "mine");
    let ack = client.subscribe(&["a.b"]).await;
    assert_eq!(ack["count"], 2);
    witness.finish().await;
}

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
    let mut reasons = std::collections::BTreeMap::new();
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
