//! What clients see of the life of NATS and of the stream: away at the start, recreated, published to by
//! way of the server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::nats::NatsServer;
use crate::server::Server;
use crate::stream::{create_stream, jetstream, publish};

/// How long the source may take to be found, or found again, on a busy machine.
const SOURCE_TIME_MAX: Duration = Duration::from_secs(20);

/// A server on the stream, not waited for.
fn start(nats: &NatsServer) -> Server {
    Server::start(&["--source", "jetstream", "--nats-url", &nats.url()])
}

/// Seq, prev and value of a message.
fn place(message: &Value) -> (Value, Value, Value) {
    let part = |name: &str| message[name].clone();
    (part("seq"), part("prev"), part("data"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_serves_while_nats_is_away_and_begins_when_it_comes() {
    let mut nats = NatsServer::start();
    {
        let jetstream = jetstream(&nats).await;
        create_stream(&jetstream).await;
        for (n, channel) in ["a", "b.c", "a"].into_iter().enumerate() {
            publish(&jetstream, channel, &format!("{}", n + 1)).await;
        }
    }
    nats.kill();

    let server = start(&nats);
    let health = server.until_health(503, Duration::ZERO);
    assert_eq!(health["status"], "unhealthy");
    assert_eq!(health["errors"], json!(["NATS connection lost"]));
    let check = json!({"status": "disconnected", "healthy": false});
    assert_eq!(health["checks"]["nats"], check);
    assert_eq!(server.get("/live").status, 200);
    let ready = server.get("/ready");
    assert_eq!(ready.status, 503);
    let not_ready = json!({"ready": false, "reason": "source_not_ready"});
    assert_eq!(ready.json(), not_ready);
    let refused = server.publish("a", "0");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.json()["error"], "source_unavailable");

    let mut client = Client::connect(server.addr).await;
    assert_eq!(client.welcome["epoch"], Value::Null);
    let begun = Instant::now();
    let resume = json!({"epoch": "0123", "positions": {"a": 1}});
    let data = json!({"channels": ["a", "b.*"], "resume": resume});
    let subscribe = json!({"type": "subscribe", "id": 7, "data": data});
    let mut ack = client.request(&subscribe).await;
    let held = begun.elapsed();
    assert!(held >= Duration::from_secs(5), "held for {held:?} only");
    // Whether numbers will last is not known before the source is.
    ack.as_object_mut().expect("an object").remove("durable");
    let expected = json!({
        "type": "subscription_ack", "id": 7, "subscribed": ["a", "b.*"], "count": 2, "epoch": null,
        "positions": {"a": null, "b.*": null}, "recovered": [],
        "unrecovered": [{"channel": "a", "reason": "upstream_unavailable"}],
    });
    assert_eq!(ack, expected);

    nats.restart();
    let reset = client.next().await.json();
    assert_eq!(reset["type"], "reset");
    assert_eq!(reset["reason"], "source_ready");
    let epoch = reset["epoch"].as_str().expect("an epoch").to_owned();
    let mut last = [client.next_message().await, client.next_message().await];
    last.sort_by_key(|message| message["seq"].as_u64());
    let [of_b, of_a] = last;
    assert_eq!(of_b["channel"], "b.c");
    assert_eq!(place(&of_b), (json!(2), Value::Null, json!(2)));
    assert_eq!(of_a["channel"], "a");
    assert_eq!(place(&of_a), (json!(3), Value::Null, json!(3)));

    let health = server.until_health(200, SOURCE_TIME_MAX);
    assert_eq!(health["errors"], json!([]));
    assert_eq!(server.get("/ready").status, 200);
    publish(&jetstream(&nats).await, "a", "4").await;
    let live = client.next_message().await;
    assert_eq!(place(&live), (json!(4), json!(3), json!(4)));
    let late = Client::connect(server.addr).await;
    assert_eq!(late.welcome["epoch"], *epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_is_announced_and_its_messages_follow() {
    let nats = NatsServer::start();
    let jetstream = jetstream(&nats).await;
    create_stream(&jetstream).await;
    for value in ["1", "2", "3"] {
        publish(&jetstream, "a", value).await;
    }
    let server = start(&nats);
    server.until_health(200, SOURCE_TIME_MAX);
    let mut by_name = Client::connect(server.addr).await;
    let ack = by_name.subscribe(&["a"]).await;
    let old = ack["epoch"].clone();
    assert_eq!(ack["positions"], json!({"a": 3}));
    let mut by_pattern = Client::connect(server.addr).await;
    by_pattern.subscribe(&[">"]).await;
    publish(&jetstream, "a", "4").await;
    for client in [&mut by_name, &mut by_pattern] {
        let message = client.next_message().await;
        assert_eq!(place(&message), (json!(4), json!(3), json!(4)));
    }
    let position = by_name.resume();

    let deleted = jetstream.delete_stream("ODIN_TOKENS").await;
    assert!(deleted.expect("the stream can be deleted").success);
    create_stream(&jetstream).await;
    for (value, seq) in [("11", 1), ("12", 2), ("13", 3)] {
        assert_eq!(publish(&jetstream, "a", value).await, seq);
    }
    let mut epochs = Vec::new();
    for client in [&mut by_name, &mut by_pattern] {
        let reset = client.next().await.json();
        assert_eq!(reset["type"], "reset", "{reset}");
        assert_eq!(reset["reason"], "stream_recreated");
        assert_ne!(reset["epoch"], old);
        epochs.push(reset["epoch"].clone());
        // The last value at the time when the server saw the new stream, then all that follows it.
        let first = client.next_message().await;
        let seq = first["seq"].as_u64().expect("a seq");
        let from_the_beginning = seq == 1 && first["prev"] == 0;
        assert!(first["prev"].is_null() || from_the_beginning, "{first}");
        assert_eq!(first["data"], seq + 10);
        for seq in seq + 1..=3 {
            let message = client.next_message().await;
            assert_eq!(
                place(&message),
                (json!(seq), json!(seq - 1), json!(seq + 10))
            );
        }
    }
    assert_eq!(epochs[0], epochs[1]);
    assert_eq!(server.metric("ws_resets_total"), 1.0);

    assert_eq!(publish(&jetstream, "a", "14").await, 4);
    for client in [&mut by_name, &mut by_pattern] {
        let message = client.next_message().await;
        assert_eq!(place(&message), (json!(4), json!(3), json!(14)));
    }
    // The position is 4 on both number lines, and means something else.
    let mut late = Client::connect(server.addr).await;
    let data = json!({"channels": ["a"], "resume": position});
    let ack = late
        .request(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(ack["epoch"], epochs[0]);
    assert_eq!(ack["recovered"], json!([]));
    assert_eq!(ack["unrecovered"][0]["reason"], "epoch_changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_over_http_is_stored_and_delivered_under_its_seq() {
    let nats = NatsServer::start();
    // The server creates the stream.
    let server = start(&nats);
    server.until_health(200, SOURCE_TIME_MAX);
    let mut client = Client::connect(server.addr).await;
    let ack = client.subscribe(&["a"]).await;
    assert_eq!(ack["durable"], true);
    assert_eq!(ack["positions"], json!({"a": 0}));
    for (seq, channel) in [(1, "a"), (2, "b"), (3, "a")] {
        let answer = server.publish(channel, &json!({"n": seq}).to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json(), json!({"channel": channel, "seq": seq}));
    }
    let message = client.next_message().await;
    assert_eq!(place(&message), (json!(1), json!(0), json!({"n": 1})));
    let message = client.next_message().await;
    assert_eq!(place(&message), (json!(3), json!(1), json!({"n": 3})));
    let mut stream = create_stream(&jetstream(&nats).await).await;
    let stored = crate::stream::content(&mut stream).await;
    let stored: Vec<_> = stored
        .iter()
        .map(|stored| (stored.seq, &*stored.channel, &*stored.payload))
        .collect();
    let expected: [(u64, &str, &[u8]); 3] = [
        (1, "a", br#"{"n":1}"#),
        (2, "b", br#"{"n":2}"#),
        (3, "a", br#"{"n":3}"#),
    ];
    assert_eq!(stored, expected);
}
