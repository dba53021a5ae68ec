//! A flood through a JetStream stream to many clients, once undisturbed and once with nats-server killed
//! in its middle: what every client is sent is what the stream has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use futures_util::future::join_all;
use odin_core::name;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::nats::NatsServer;
use crate::server::Server;
use crate::stream::{Stored, content, create_stream, jetstream};

const CLIENTS: usize = 50;
/// Channels are `g<group>.c<number>`.
const GROUPS: usize = 10;
const CHANNELS_PER_GROUP: usize = 10;
const MESSAGES: usize = 20_000;
/// Publications that wait for their acknowledgement together.
const IN_FLIGHT: usize = 500;

/// What the stream has in the end, of each channel; clients read until they have their part of it.
type Expected = Arc<BTreeMap<String, Vec<Place>>>;

/// Seq and value of a message.
type Place = (Value, Value);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_gets_each_message_of_its_channels_once_and_in_order() {
    let nats = NatsServer::start();
    let flood = Flood::start(&nats).await;
    let (acknowledged, _) = watch::channel(0);
    publish(&flood.jetstream, &acknowledged).await;
    let stored = flood.check().await;
    // Nothing went wrong, so that each message was stored once, in the order of its publication.
    let numbers = stored.iter().enumerate();
    for (n, stored) in numbers {
        assert_eq!(stored.channel, channel(n), "message {n}");
        assert_eq!(stored.payload, payload(n), "message {n}");
        assert_eq!(stored.seq, n as u64 + 1);
    }
    assert_eq!(stored.len(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_stays_whole_when_nats_server_is_killed_in_the_middle() {
    let mut nats = NatsServer::start();
    let flood = Flood::start(&nats).await;
    let (acknowledged, mut seen) = watch::channel(0);
    let jetstream = flood.jetstream.clone();
    let publisher = tokio::spawn(async move { publish(&jetstream, &acknowledged).await });

    let middle = seen.wait_for(|count| *count >= MESSAGES / 2).await;
    drop(middle.expect("the publisher gets as far"));
    nats.kill();
    assert!(!publisher.is_finished(), "the flood was over already");
    let health = flood.server.until_health(503, Duration::from_secs(10));
    assert_eq!(health["status"], "unhealthy");
    assert_eq!(health["errors"], json!(["NATS connection lost"]));
    let check = json!({"status": "disconnected", "healthy": false});
    assert_eq!(health["checks"]["nats"], check);
    assert_eq!(health["checks"]["capacity"]["current"], CLIENTS);
    assert_eq!(flood.server.get("/live").status, 200);
    assert_eq!(flood.server.get("/ready").status, 200);
    assert_eq!(flood.server.metric("ws_nats_connected"), 0.0);

    nats.restart();
    let health = flood.server.until_health(200, Duration::from_secs(20));
    assert_eq!(health["errors"], json!([]));
    assert_eq!(
        health["checks"]["nats"],
        json!({"status": "connected", "healthy": true})
    );
    publisher.await.expect("the publisher ends");
    // What was in flight when the server died may be stored twice, or was retried: what counts is
    // what the stream has.
    let stored = flood.check().await;
    assert!(stored.len() >= MESSAGES, "{}", stored.len());
}

/// The server, and 50 clients that read.
struct Flood {
    server: Server,
    jetstream: Context,
    expected: watch::Sender<Option<Expected>>,
    clients: JoinSet<()>,
}

impl Flood {
    /// Starts all but the publisher; every client is subscribed when this returns.
    async fn start(nats: &NatsServer) -> Self {
        let jetstream = jetstream(nats).await;
        create_stream(&jetstream).await;
        let url = nats.url();
        // A machine that is busy with other tests may let a client wait.
        let args = ["--source", "jetstream", "--nats-url", &url];
        let server = Server::start(&[&args[..], &["--write-stall", "1m"]].concat());
        server.until_health(200, Duration::from_secs(10));
        let (expected, _) = watch::channel(None);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let mut client = Client::connect(server.addr).await;
            let names = names(number);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let ack = client.subscribe(&names).await;
            assert_eq!(ack["subscribed"], json!(names));
            assert_eq!(ack["durable"], true);
            assert_eq!(ack["positions"], zeros(&names));
            clients.spawn(read(client, number, expected.subscribe()));
        }
        Self {
            server,
            jetstream,
            expected,
            clients,
        }
    }

    /// Tells the clients what the stream has, waits until each has exactly that, and gives it.
    async fn check(mut self) -> Vec<Stored> {
        let mut stream = create_stream(&self.jetstream).await;
        let content = content(&mut stream).await;
        let mut expected = BTreeMap::<String, Vec<Place>>::new();
        for stored in &content {
            let data = serde_json::from_slice(&stored.payload).expect("JSON");
            let of_channel = expected.entry(stored.channel.clone()).or_default();
            of_channel.push((json!(stored.seq), data));
        }
        assert_eq!(expected.len(), GROUPS * CHANNELS_PER_GROUP);
        self.expected.send_replace(Some(Arc::new(expected)));
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("{error}"),
            });
        }
        assert_eq!(self.server.metric("ws_connections_total"), CLIENTS as f64);
        assert_eq!(self.server.metric("ws_resets_total"), 0.0);
        content
    }
}

/// What client `number` subscribes: every other one the channels of a group by name, the others a group by
/// pattern and a channel of two other groups by name. Each channel has five clients or more.
fn names(number: usize) -> Vec<String> {
    let group = number / 2 % GROUPS;
    if number.is_multiple_of(2) {
        let of_group = (0..CHANNELS_PER_GROUP).map(|c| format!("g{group}.c{c}"));
        of_group.collect()
    } else {
        let next = |step: usize| format!("g{}.c{step}", (group + step) % GROUPS);
        vec![format!("g{group}.*"), next(3), next(7)]
    }
}

/// The channel of the message with this number: each in turn, and neighbours of different groups.
fn channel(n: usize) -> String {
    let n = n % (GROUPS * CHANNELS_PER_GROUP);
    format!("g{}.c{}", n % GROUPS, n / GROUPS)
}

fn payload(n: usize) -> Vec<u8> {
    format!(r#"{{"n":{n},"price":{}.25}}"#, n * 7).into_bytes()
}

fn zeros(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), json!(0)))
        .collect()
}

/// Publishes all messages as fast as the stream takes them, each until it is acknowledged.
async fn publish(jetstream: &Context, acknowledged: &watch::Sender<usize>) {
    for begin in (0..MESSAGES).step_by(IN_FLIGHT) {
        let mut open: Vec<usize> = (begin..begin + IN_FLIGHT).collect();
        while !open.is_empty() {
            let mut acks = Vec::with_capacity(open.len());
            for n in open.drain(..) {
                let subject = format!("odin.token.{}", channel(n));
                acks.push((n, jetstream.publish(subject, payload(n).into()).await));
            }
            // All at once, so that those that never come are given up together.
            let unstored = acks.into_iter().map(async |(n, ack)| match ack {
                Ok(ack) => ack.await.is_err().then_some(n),
                Err(_) => Some(n),
            });
            open.extend(join_all(unstored).await.into_iter().flatten());
        }
        acknowledged.send_replace(begin + IN_FLIGHT);
    }
}

/// Reads until it has its part of what the stream has, and compares.
async fn read(mut client: Client, number: usize, mut told: watch::Receiver<Option<Expected>>) {
    let names = names(number);
    let mut received = Vec::new();
    let expected = loop {
        tokio::select! {
            message = client.next_message() => received.push(message),
            changed = told.changed() => {
                changed.expect("the test goes on");
                break told.borrow().clone().expect("it was told");
            }
        }
    };
    // Of each channel that is subscribed: by which name.
    let mut mine = BTreeMap::new();
    for (name, channel) in names
        .iter()
        .flat_map(|n| expected.keys().map(move |c| (n, c)))
    {
        if name::matches(name, channel) {
            mine.insert(channel.as_str(), name);
        }
    }
    let count: usize = mine.keys().map(|channel| expected[*channel].len()).sum();
    while received.len() < count {
        received.push(client.next_message().await);
    }
    // Order is promised for each subscription.
    let mut by_channel = BTreeMap::<&str, Vec<Place>>::new();
    let mut last = BTreeMap::new();
    for message in &received {
        let channel = message["channel"].as_str().expect("a channel");
        let seq = message["seq"].as_u64().expect("a seq");
        let before = last.insert(mine[channel], seq);
        assert!(
            before < Some(seq),
            "client {number}: {message} after {before:?}"
        );
        let place = (message["seq"].clone(), message["data"].clone());
        by_channel.entry(channel).or_default().push(place);
    }
    for channel in mine.keys() {
        assert_eq!(
            by_channel[channel], expected[*channel],
            "client {number}, {channel}"
        );
    }
    assert_eq!(by_channel.len(), mine.len());
    // Nothing comes on top of it.
    let unsubscribe = json!({"type": "unsubscribe", "data": {"channels": names}});
    client.send(&unsubscribe).await;
    let ack = client.next().await.json();
    assert_eq!(ack["type"], "unsubscription_ack", "{ack}");
    assert_eq!(client.chain.messages, count as u64);
}
