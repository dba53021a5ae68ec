//! Clients that read slowly or never, beside clients that read: a slow client costs nothing, misses
//! nothing silently, and is no trouble to others.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::{block_in_place, spawn_blocking};

use crate::client::Client;
use crate::flood::{End, Reader};
use crate::publisher::Publisher;
use crate::server::Server;

const MIB: u64 = 1024 * 1024;

/// A receive buffer that is soon full; the kernel has a minimum of its own.
const TINY: u32 = 2048;

const READERS: usize = 200;
const STUCK: usize = 200;
const MESSAGES: u64 = 20_000;

/// Messages that are published before the slowest reader must have read those of the batch before:
/// a ninth of the log, so that no reader falls off it.
const BATCH: u64 = 800;

/// What the server may use beside the log itself: the entries that refer to the frames (some 150
/// bytes each), the half-written frame of each stuck client (1 KiB), the answers to the pipelined
/// publications, and what the allocator does not give back.
const ALLOWANCE: u64 = 6 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_cost_the_log_and_no_more() {
    let server = Server::start(&[
        "--no-demo",
        "--log-bytes=8MiB",
        "--write-stall=3s",
        "--ping-interval=0",
        // The flight recorder has a bound of its own.
        "--record-bytes=0",
    ]);
    let connect = |buffer| Reader::connect(server.addr, "flood", buffer);
    let mut readers = Vec::new();
    let mut stuck = Vec::new();
    for _ in 0..READERS {
        readers.push(connect(0).await);
    }
    for _ in 0..STUCK {
        stuck.push(connect(TINY).await);
    }
    let before = server.private_bytes();
    let (progress, reached) = mpsc::channel();
    let readers = readers.into_iter().map(|mut reader| {
        let progress = progress.clone();
        tokio::spawn(async move {
            for batch in 1..=MESSAGES / BATCH {
                reader.read_to(batch * BATCH).await;
                // For the last batch nobody waits.
                let _ = progress.send(batch);
            }
            reader
        })
    });
    let readers: Vec<_> = readers.collect();
    let server = std::sync::Arc::new(server);
    let flood = spawn_blocking({
        let server = std::sync::Arc::clone(&server);
        move || publish_all(&server, &reached)
    });
    // Each stuck client is told to go, and has some seconds left to hear it.
    block_in_place(|| server.until_metric("ws_subscriptions", READERS as f64));
    for client in &mut stuck[..5] {
        assert_eq!(client.read_to_end().await, End::Closed(4008));
        assert!(client.last < MESSAGES);
    }
    let after = flood.await.expect("the publisher");
    assert!(
        after <= before + 8 * MIB + ALLOWANCE,
        "from {before} to {after}"
    );
    assert!(after > before + 7 * MIB, "the log was full: {after}");
    let mut readers: Vec<_> = join_all(readers).await;
    for reader in readers
        .iter_mut()
        .map(|reader| reader.as_mut().expect("a reader"))
    {
        assert_eq!(reader.last, MESSAGES);
    }
    block_in_place(|| {
        let closed = STUCK as f64;
        server.until_metric("ws_slow_clients_disconnected_total", closed);
        server.until_metric("ws_connections_active", READERS as f64);
        let by_reason = server.metric("ws_disconnects_total{reason=\"slow_consumer\"}");
        assert!(by_reason.total_cmp(&closed).is_eq(), "{by_reason}");
    });
}

/// Publishes all messages, in step with the readers; gives the most memory that was seen.
fn publish_all(server: &Server, reached: &mpsc::Receiver<u64>) -> u64 {
    let mut publisher = Publisher::connect(server.addr);
    let body = format!("\"{}\"", "x".repeat(1022));
    let batch: Vec<(&str, &str)> = (0..BATCH).map(|_| ("flood", body.as_str())).collect();
    let mut arrived = vec![0; usize::try_from(MESSAGES / BATCH).expect("few") + 1];
    let mut most = 0;
    for number in 1..=MESSAGES / BATCH {
        assert_eq!(publisher.publish_all(&batch), number * BATCH);
        let wanted = usize::try_from(number).expect("few") - 1;
        while wanted > 0 && arrived[wanted] < READERS {
            let batch = reached.recv_timeout(Duration::from_secs(30));
            let batch = batch.expect("the readers read on");
            arrived[usize::try_from(batch).expect("few")] += 1;
        }
        most = most.max(server.private_bytes());
    }
    most
}

#[tokio::test]
async fn no_socket_of_three_hundred_is_taken_for_full() {
    let server = Server::start(&["--no-demo", "--shards=1"]);
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut client = Client::connect(server.addr).await;
        client.subscribe(&["one"]).await;
        clients.push(client);
    }
    let on_the_shard = server.metric("ws_shard_connections{shard=\"0\"}");
    assert!(on_the_shard.total_cmp(&300.0).is_eq(), "{on_the_shard}");
    assert_eq!(server.publish("one", "1").status, 200);
    for client in &mut clients {
        assert_eq!(client.next_message().await["seq"], 1);
    }
    // A false "full" would be a write that took nothing, made good later by the connection's task.
    let text = server.get("/metrics").body;
    assert!(text.contains("\nws_writes_blocked_total 0\n"), "{text}");
    assert!(text.contains("\nws_delivery_seconds_count 300\n"), "{text}");
}

const CHANNELS: u64 = 10;
const ROUNDS: u64 = 200;

/// A client with small buffers that subscribed a pattern and reads nothing from then on.
async fn slow(server: &Server, options: Value) -> Client {
    let mut client = Client::connect_with(server.addr, |socket| {
        socket.set_recv_buffer_size(TINY).expect("a buffer");
    })
    .await;
    assert_eq!(client.next().await.json()["type"], "welcome");
    let mut data = options;
    data["channels"] = json!(["p.*"]);
    client.chain.latest = data["mode"] == "latest";
    let ack = client
        .request(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(ack["type"], "subscription_ack", "{ack}");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_slow_is_told_or_closed_or_ends_with_the_newest() {
    let server = Server::start(&[
        "--no-demo",
        "--shards=1",
        "--log-bytes=1MiB",
        "--payload-bytes-max=64KiB",
        "--send-buffer=4KiB",
        "--write-stall=1m",
    ]);
    let mut told = slow(&server, json!({"on_lost": "continue"})).await;
    let mut closed = slow(&server, json!({"on_lost": "close"})).await;
    let mut newest = slow(&server, json!({"mode": "latest"})).await;
    let mut witness = Client::connect(server.addr).await;
    witness.subscribe(&["end"]).await;
    block_in_place(|| flood_pattern(&server));
    // When this client has the last message, the shard has handled all of them.
    witness.next_message().await;
    told_what_it_lost(&server, &mut told).await;
    let (code, messages) = closed.until_closed().await;
    assert_eq!(code, Some(4008));
    let seqs: Vec<_> = messages.iter().filter_map(|m| m["seq"].as_u64()).collect();
    let until = seqs.len() as u64;
    assert_eq!(seqs, (1..=until).collect::<Vec<_>>(), "all up to the hole");
    assert!((1..CHANNELS * ROUNDS).contains(&until), "{until}");
    // It comes back, and is told that what it misses is not there any more.
    let mut again = Client::connect(server.addr).await;
    let data = json!({"channels": ["p.*"], "resume": closed.resume()});
    let ack = again
        .request(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(ack["recovered"], json!([]));
    assert_eq!(ack["unrecovered"][0]["reason"], "too_old");
    assert_eq!(ack["unrecovered"][0]["newest"], CHANNELS * ROUNDS + 1);
    drop((again, closed));
    ends_with_the_newest(&server, &mut newest).await;
    block_in_place(|| server.until_metric("ws_slow_clients_disconnected_total", 1.0));
}

/// 2,000 messages of 4 KiB on the channels of the pattern, each of which says its round; then one
/// on another channel.
fn flood_pattern(server: &Server) {
    let filler = "x".repeat(4000);
    let channels: Vec<_> = (0..CHANNELS).map(|n| format!("p.{n}")).collect();
    let mut publisher = Publisher::connect(server.addr);
    for round in 1..=ROUNDS {
        let body = format!("{{\"round\":{round},\"filler\":\"{filler}\"}}");
        let messages: Vec<_> = channels
            .iter()
            .map(|c| (c.as_str(), body.as_str()))
            .collect();
        assert_eq!(publisher.publish_all(&messages), round * CHANNELS);
    }
    assert_eq!(publisher.publish("end", "1"), ROUNDS * CHANNELS + 1);
}

/// It gets all but the range that one `lost` names, and that exactly.
async fn told_what_it_lost(server: &Server, client: &mut Client) {
    let mut next = 1;
    let mut lost = 0;
    while next <= CHANNELS * ROUNDS {
        let event = client.next().await.json();
        if event["type"] == "lost" {
            assert_eq!(
                (&event["channel"], &event["reason"]),
                (&json!("p.*"), &json!("slow_consumer"))
            );
            assert_eq!(event["from"], next, "right after what it has");
            let to = event["to"].as_u64().expect("to");
            lost += to + 1 - next;
            next = to + 1;
        } else {
            assert_eq!(event["seq"], next, "right after what was lost: {event}");
            next += 1;
        }
    }
    assert_eq!(client.chain.messages + lost, CHANNELS * ROUNDS);
    // The log holds some 256 messages of 4 KiB.
    assert!(lost > CHANNELS * ROUNDS / 2, "{lost}");
    let counted = server.metric("ws_lost_messages_total{reason=\"slow_consumer\"}");
    assert!(
        counted.total_cmp(&(lost as f64)).is_eq(),
        "{counted} {lost}"
    );
}

/// It passes over most, in order, and has each channel's newest before anything that comes later.
async fn ends_with_the_newest(server: &Server, client: &mut Client) {
    block_in_place(|| assert_eq!(server.publish("p.end", "1").status, 200));
    let mut have = BTreeMap::new();
    let mut last = 0;
    loop {
        let message = client.next_message().await;
        let seq = message["seq"].as_u64().expect("a seq");
        assert!(seq > last, "{seq} after {last}");
        last = seq;
        let channel = message["channel"].as_str().expect("a channel").to_owned();
        if channel == "p.end" {
            break;
        }
        have.insert(channel, message["data"]["round"].as_u64());
    }
    let newest = (0..CHANNELS).map(|n| (format!("p.{n}"), Some(ROUNDS)));
    assert_eq!(have, newest.collect());
    let passed = CHANNELS * ROUNDS + 1 - client.chain.messages;
    assert!(passed > CHANNELS * ROUNDS / 2, "{passed}");
    // Those that had left the log are not counted; it holds some 256.
    let counted = server.metric("ws_conflated_messages_total");
    assert!((200.0..=passed as f64).contains(&counted), "{counted}");
}
