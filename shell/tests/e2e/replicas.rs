//! Two servers on one stream: a client leaves the one and continues on the other.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::nats::NatsServer;
use crate::server::Server;
use crate::stream::{create_stream, jetstream, publish};

/// A server on the stream, ready.
fn start(nats: &NatsServer) -> Server {
    start_with(nats, &[])
}

fn start_with(nats: &NatsServer, args: &[&str]) -> Server {
    let url = nats.url();
    let source = ["--source", "jetstream", "--nats-url", &url];
    let server = Server::start(&[&source, args].concat());
    server.until_health(200, Duration::from_secs(20));
    server
}

/// Subscribes with a position of each name, or of some, and takes the ack.
async fn resume(server: &Server, names: &[&str], resume: &Value) -> (Client, Value) {
    let mut client = Client::connect(server.addr).await;
    let data = json!({"channels": names, "resume": resume});
    let ack = client
        .request(&json!({"type": "subscribe", "data": data}))
        .await;
    (client, ack)
}

/// Channel, seq, prev and value.
fn place(message: &Value) -> Value {
    json!([
        message["channel"],
        message["seq"],
        message["prev"],
        message["data"]
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_continues_on_another_server_with_exactly_what_it_missed() {
    let nats = NatsServer::start();
    let jetstream = jetstream(&nats).await;
    create_stream(&jetstream).await;
    let (one, other) = (start(&nats), start(&nats));
    let names = ["a", "b.*"];
    let mut client = Client::connect(one.addr).await;
    let ack = client.subscribe(&names).await;
    assert_eq!(ack["durable"], true);
    let epoch = ack["epoch"].clone();
    assert!(epoch.is_string());
    for (value, channel) in ["a", "b.c", "a", "b.d", "x"].into_iter().enumerate() {
        publish(&jetstream, channel, &value.to_string()).await;
    }
    for _ in 0..4 {
        client.next_message().await;
    }
    let position = client.resume();
    assert_eq!(
        position,
        json!({"epoch": epoch, "positions": {"a": 3, "b.*": 4}})
    );
    drop(client);
    for (value, channel) in ["b.c", "a", "x", "a", "b.d", "b.e"].into_iter().enumerate() {
        publish(&jetstream, channel, &(value + 5).to_string()).await;
    }

    let (mut client, ack) = resume(&other, &names, &position).await;
    assert_eq!(client.welcome["epoch"], epoch);
    assert_eq!(ack["epoch"], epoch);
    assert_eq!(ack["positions"], position["positions"]);
    assert_eq!(ack["recovered"], json!(names));
    assert_eq!(ack["unrecovered"], json!([]));
    publish(&jetstream, "a", "11").await;
    let mut of_a = Vec::new();
    let mut of_b = Vec::new();
    while of_a.len() + of_b.len() < 6 {
        let message = client.next_message().await;
        let of_this = if message["channel"] == "a" {
            &mut of_a
        } else {
            &mut of_b
        };
        of_this.push(place(&message));
    }
    // The first b.e is the first of its channel; the last of the others is in the hands of the client.
    let missed_a = json!([["a", 7, 3, 6], ["a", 9, 7, 8], ["a", 12, 9, 11]]);
    let missed_b = json!([["b.c", 6, 2, 5], ["b.d", 10, 4, 9], ["b.e", 11, 0, 10]]);
    assert_eq!(json!(of_a), missed_a);
    assert_eq!(json!(of_b), missed_b);
    let outcome = r#"ws_resumes_total{outcome="recovered"}"#;
    assert_eq!(other.metric(outcome), 2.0);
    assert_eq!(one.metric(outcome), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_started_later_takes_what_is_missing_from_the_stream() {
    let nats = NatsServer::start();
    let jetstream = jetstream(&nats).await;
    create_stream(&jetstream).await;
    for (value, channel) in ["a", "a", "q", "a", "b", "a"].into_iter().enumerate() {
        publish(&jetstream, channel, &(value + 1).to_string()).await;
    }
    let one = start(&nats);
    let mut client = Client::connect(one.addr).await;
    let epoch = client.subscribe(&["a"]).await["epoch"].clone();

    // What this server has of `a` is its last value, 6.
    let position = json!({"epoch": epoch, "positions": {"a": 1, "q": 3}});
    let (mut client, ack) = resume(&one, &["a", "q"], &position).await;
    assert_eq!(ack["unrecovered"], json!([]));
    assert_eq!(ack["recovered"], json!(["a", "q"]));
    assert_eq!(ack["positions"], json!({"a": 1, "q": 3}));
    assert_eq!(publish(&jetstream, "a", "7").await, 7);
    for (seq, prev) in [(2, 1), (4, 2), (6, 4), (7, 6)] {
        let message = client.next_message().await;
        assert_eq!(place(&message), json!(["a", seq, prev, seq]));
    }

    let everything = json!({"epoch": epoch, "positions": {">": 2}});
    let (mut client, ack) = resume(&one, &[">"], &everything).await;
    assert_eq!(ack["recovered"], json!([">"]));
    for (channel, seq, prev) in [
        ("q", 3, 0),
        ("a", 4, 2),
        ("b", 5, 0),
        ("a", 6, 4),
        ("a", 7, 6),
    ] {
        let message = client.next_message().await;
        assert_eq!(place(&message), json!([channel, seq, prev, seq]));
    }
    assert!(one.metric("ws_history_fetches_total") >= 2.0);
    assert_eq!(one.metric("ws_history_failed_total"), 0.0);
    assert!(one.metric("ws_history_pages") >= 1.0);
    assert!(one.metric("ws_history_bytes") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_history_a_server_that_started_later_says_what_it_cannot_recover() {
    let nats = NatsServer::start();
    let jetstream = jetstream(&nats).await;
    create_stream(&jetstream).await;
    for (value, channel) in ["a", "a", "q", "a", "b"].into_iter().enumerate() {
        publish(&jetstream, channel, &(value + 1).to_string()).await;
    }
    let one = start_with(&nats, &["--history-bytes", "0"]);
    let mut client = Client::connect(one.addr).await;
    let epoch = client.subscribe(&["a"]).await["epoch"].clone();

    // What this server has of `a` is its last value, 4; of `q` it is 3, since when nothing came.
    let positions = json!({"a": 2, "q": 3});
    let at = json!({"epoch": epoch, "positions": positions});
    let (mut client, ack) = resume(&one, &["a", "q"], &at).await;
    let unrecovered = json!([{"channel": "a", "reason": "too_old", "oldest": 4, "newest": 4}]);
    assert_eq!(ack["unrecovered"], unrecovered);
    assert_eq!(ack["recovered"], json!(["q"]));
    assert_eq!(ack["positions"], json!({"a": 4, "q": 3}));

    let at = json!({"epoch": epoch, "positions": {"a": 4}});
    let (mut whole, ack) = resume(&one, &["a"], &at).await;
    assert_eq!(ack["recovered"], json!(["a"]));
    assert_eq!(ack["unrecovered"], json!([]));
    assert_eq!(ack["positions"], json!({"a": 4}));

    assert_eq!(publish(&jetstream, "a", "6").await, 6);
    for client in [&mut client, &mut whole] {
        let message = client.next_message().await;
        assert_eq!(place(&message), json!(["a", 6, 4, 6]));
    }
    assert_eq!(publish(&jetstream, "q", "7").await, 7);
    let message = client.next_message().await;
    assert_eq!(place(&message), json!(["q", 7, 3, 7]));
}
