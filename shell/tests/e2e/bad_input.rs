//! Input that is wrong has one documented answer, and no other client notices anything of it.
//!
//! Upgrades and publications that are wrong are in the tests of the HTTP side, frames in `bad_frames`;
//! here are requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::client::Client;
use crate::publisher::Publisher;
use crate::server::Server;

/// A client that gets every message of a counter while others misbehave.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<u64>,
    reader: JoinHandle<u64>,
}

impl Witness {
    /// Starts its counter.
    pub(crate) async fn start(server: &Server) -> Self {
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
    pub(crate) async fn finish(self) {
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
