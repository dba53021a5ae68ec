//! Core NATS as the source: at most once, and said so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::nats::NatsServer;
use crate::server::Server;
use crate::stream::client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_and_a_lost_connection_is_announced_as_a_possible_loss() {
    let mut nats = NatsServer::start();
    let server = Server::start(&["--source", "nats", "--nats-url", &nats.url()]);
    server.until_health(200, Duration::from_secs(20));
    let publisher = client(&nats).await;
    let send = async |channel: &str, value: u32| {
        let subject = format!("odin.token.{channel}");
        let sent = publisher.publish(subject, value.to_string().into()).await;
        sent.expect("it goes out");
    };
    let mut client = Client::connect(server.addr).await;
    let ack = client.subscribe(&["a", "b.*"]).await;
    assert_eq!(ack["durable"], false);
    assert_eq!(ack["epoch"], client.welcome["epoch"]);
    assert_eq!(ack["positions"], json!({"a": 0, "b.*": 0}));
    for (value, channel) in (1..).zip(["a", "b.c", "other", "a"]) {
        send(channel, value).await;
    }
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(place(&client.next_message().await));
    }
    received.sort_by_key(|place| place[1].as_u64());
    let expected = json!([["a", 1, 0, 1], ["b.c", 2, 0, 2], ["a", 4, 1, 4]]);
    assert_eq!(json!(received), expected);
    assert_eq!(server.metric("ws_nats_messages_received_total"), 4.0);

    let answer = server.publish("a", "5");
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.json(), json!({"channel": "a"}));
    let message = client.next_message().await;
    assert_eq!(place(&message), json!(["a", 5, 4, 5]));

    nats.kill();
    let health = server.until_health(503, Duration::from_secs(10));
    assert_eq!(health["errors"], json!(["NATS connection lost"]));
    let refused = server.publish("a", "6");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.json()["error"], "source_unavailable");
    assert!(refused.headers.contains_key("retry-after"));
    nats.restart();
    server.until_health(200, Duration::from_secs(20));
    let lost = client.next().await.json();
    assert_eq!(
        lost,
        json!({"type": "lost", "from": 6, "to": null, "reason": "reconnected"})
    );
    // The connection is back, and the subscription with it: nothing more is lost.
    assert_eq!(server.publish("a", "7").status, 202);
    assert_eq!(server.publish("b.c", "8").status, 202);
    let mut received = [client.next_message().await, client.next_message().await];
    received.sort_by_key(|message| message["seq"].as_u64());
    let [of_a, of_b] = received;
    // The hole has a number of its own, so that positions before and after it differ.
    assert_eq!(place(&of_a), json!(["a", 7, 5, 7]));
    assert_eq!(place(&of_b), json!(["b.c", 8, 2, 8]));
    assert_eq!(server.get("/ready").status, 200);
    let metric = r#"ws_nats_messages_lost_total{reason="reconnected"}"#;
    assert_eq!(server.metric(metric), 1.0);
    assert_eq!(server.metric("ws_resets_total"), 0.0);
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
