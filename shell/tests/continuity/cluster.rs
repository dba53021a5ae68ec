//! A stream with three replicas whose leader changes while messages are published: a client gets every message
//! that the stream has, once and in order, and no notice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, consumer, stream};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::client::Client;
use crate::server::Server;
use crate::stream::Stored;
use crate::support::cluster::{Cluster, NODES};
use crate::support::nats::Version;
use crate::with_both_servers;

// One case, for a cluster takes its time to begin.
with_both_servers!(the_leader_steps_down_and_then_its_node_is_killed);

const STREAM: &str = "ODIN_TOKENS";
/// How long the cluster may take for anything: an election takes up to nine seconds.
const TIME_MAX: Duration = Duration::from_secs(45);
/// How long one answer of it may take, and that to a question that is asked again.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const LOOK_TIME_MAX: Duration = Duration::from_millis(500);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Those who publish at once.
const WRITERS: u64 = 8;
/// The pause of a writer between two messages.
const PACE: Duration = Duration::from_millis(4);

/// What clients subscribe to.
const NAMES: [&str; 2] = ["a", "b.*"];
/// Where messages are published.
const SUBJECTS: [&str; 3] = ["odin.token.a", "odin.token.b.c", "odin.token.b.d"];
/// What is published to each of them at the end.
const LAST: &str = "last";

/// A cluster, a server on it, a client of that server, and writers to the stream.
struct World {
    server: Server,
    writers: Writers,
    context: jetstream::Context,
    /// The same for questions that are asked again and again: while there is no leader nobody answers.
    looks: jetstream::Context,
    cluster: Cluster,
    /// Reads until the last message of every channel: everything that came.
    reader: JoinHandle<Vec<Value>>,
    /// The client's position before everything.
    begin: Value,
}

/// Those who publish, and what was acknowledged.
struct Writers {
    stopped: Arc<AtomicBool>,
    acked: Arc<Mutex<BTreeMap<u64, String>>>,
    /// Messages without an acknowledgement: the stream may have them.
    unknown: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Writers {
    fn start(context: &jetstream::Context) -> Self {
        let mut this = Self {
            stopped: Arc::default(),
            acked: Arc::default(),
            unknown: Arc::default(),
            tasks: JoinSet::new(),
        };
        for (writer, subject) in (0..WRITERS).zip(SUBJECTS.iter().cycle()) {
            let (context, stopped) = (context.clone(), Arc::clone(&this.stopped));
            let (acked, unknown) = (Arc::clone(&this.acked), Arc::clone(&this.unknown));
            this.tasks.spawn(async move {
                for n in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let payload = json!({"writer": writer, "n": n}).to_string();
                    let sent = context.publish(*subject, payload.clone().into()).await;
                    match sent.expect("the message goes out").await {
                        Ok(ack) => {
                            let before = acked.lock().unwrap().insert(ack.sequence, payload);
                            assert_eq!(before, None, "{} was given twice", ack.sequence);
                        }
                        Err(_) => {
                            unknown.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        this
    }

    fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    /// Waits until so many more are acknowledged.
    async fn until_acked(&self, more: usize) {
        let wanted = self.acked() + more;
        until("messages are acknowledged", async || {
            (self.acked() >= wanted).then_some(())
        })
        .await;
    }

    async fn stop(mut self) -> BTreeMap<u64, String> {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a writer");
        }
        std::mem::take(&mut *self.acked.lock().unwrap())
    }
}

/// Looks until there is something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < TIME_MAX, "in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// JetStream, over a connection to whichever node is there.
async fn context(cluster: &Cluster, patience: Duration) -> jetstream::Context {
    let client = async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_| LOOK)
        .connect(cluster.url().split(',').collect::<Vec<_>>())
        .await;
    jetstream::ContextBuilder::new()
        .timeout(patience)
        .ack_timeout(patience)
        .build(client.expect("a node takes a client"))
}

impl World {
    async fn start(version: Version) -> Self {
        let cluster = Cluster::start(version);
        let looks = context(&cluster, LOOK_TIME_MAX).await;
        let context = context(&cluster, ANSWER_TIME_MAX).await;
        let config = stream::Config {
            name: STREAM.into(),
            subjects: vec!["odin.token.>".into()],
            num_replicas: NODES,
            allow_direct: true,
            ..Default::default()
        };
        until("a stream is made", async || {
            looks.create_stream(config.clone()).await.ok()
        })
        .await;
        let server = serve(&cluster);
        let mut client = Client::connect(server.addr).await;
        let ack = client.subscribe(&NAMES).await;
        assert_eq!(ack["positions"], json!({"a": 0, "b.*": 0}));
        let world = Self {
            writers: Writers::start(&context),
            begin: client.resume(),
            reader: tokio::spawn(async move { read(&mut client).await }),
            server,
            context,
            looks,
            cluster,
        };
        world.until_whole().await;
        world.writers.until_acked(200).await;
        world
    }

    /// The stream as its leader has it, where there is one.
    async fn stream(&self) -> Option<stream::Info> {
        let stream = self.looks.get_stream(STREAM).await.ok()?;
        Some(stream.cached_info().clone())
    }

    /// The leader's node, once there is one.
    async fn leader(&self) -> String {
        until("the stream has a leader", async || {
            self.stream().await?.cluster?.leader
        })
        .await
    }

    /// Waits until a leader says that every replica has what it has.
    async fn until_whole(&self) {
        until("every replica is current", async || {
            let cluster = self.stream().await?.cluster?;
            let current = cluster.replicas.iter().filter(|replica| replica.current);
            let all = cluster.leader.is_some() && current.count() == NODES - 1;
            all.then_some(())
        })
        .await;
    }

    /// The node of the server's consumer.
    async fn node_of_consumer(&self) -> String {
        until("the server has a consumer", async || {
            let stream = self.looks.get_stream(STREAM).await.ok()?;
            let consumers = stream.consumers().try_collect().await;
            let mut consumers: Vec<consumer::Info> = consumers.ok()?;
            consumers.pop()?.cluster?.leader
        })
        .await
    }

    /// Makes another node the leader: its name.
    async fn step_down(&self) -> String {
        let before = self.leader().await;
        let subject = format!("STREAM.LEADER.STEPDOWN.{STREAM}");
        let answer: Value = self
            .context
            .request(subject, &json!({}))
            .await
            .expect("an answer");
        assert_eq!(answer["success"], true, "{answer}");
        until("another node is the leader", async || {
            let leader = self.stream().await?.cluster?.leader?;
            (leader != before).then_some(leader)
        })
        .await
    }

    /// The client has got what the stream has, and nothing else; so has one that comes now to another server,
    /// and wants everything.
    async fn ends_whole(self) {
        let acked = self.writers.stop().await;
        for subject in SUBJECTS {
            // However often it has to be sent, it is stored once.
            until("the last message is stored", async || {
                let message = PublishMessage::build()
                    .payload(json!(LAST).to_string().into())
                    .message_id(subject);
                let sent = self.context.send_publish(subject, message).await;
                sent.expect("the message goes out").await.ok()
            })
            .await;
        }
        let stored = stored(&self.context).await;
        let payloads: BTreeMap<u64, &[u8]> =
            stored.iter().map(|s| (s.seq, &s.payload[..])).collect();
        for (seq, payload) in &acked {
            let found = payloads.get(seq).copied();
            assert_eq!(found, Some(payload.as_bytes()), "{seq} was acknowledged");
        }
        expect_all(&self.reader.await.expect("the client goes on"), &stored);
        for metric in [
            "ws_resets_total",
            r#"ws_nats_messages_lost_total{reason="discarded"}"#,
        ] {
            assert_eq!(self.server.metric(metric), 0.0, "{metric}");
        }
        // All that this one has of the past it reads from the stream, from whichever replica answers.
        let other = serve(&self.cluster);
        let mut client = Client::connect(other.addr).await;
        let data = json!({"channels": NAMES, "resume": self.begin});
        let subscribe = json!({"type": "subscribe", "data": data});
        let ack = client.request(&subscribe).await;
        assert_eq!(ack["recovered"], json!(NAMES), "{ack}");
        expect_all(&read(&mut client).await, &stored);
    }
}

/// Everything that the stream has, as its leader says.
async fn stored(context: &jetstream::Context) -> Vec<Stored> {
    let stream = context.get_stream(STREAM).await.expect("the stream");
    let state = &stream.cached_info().state;
    assert_eq!(
        (state.first_sequence, state.deleted_count.unwrap_or(0)),
        (1, 0)
    );
    let all = futures_util::stream::iter(1..=state.last_sequence).map(|seq| {
        let stream = &stream;
        async move {
            let message = stream.get_raw_message(seq).await.expect("a message");
            let channel = message.subject.strip_prefix("odin.token.");
            Stored {
                seq,
                channel: channel.expect("a subject of the stream").to_owned(),
                payload: message.payload.to_vec(),
            }
        }
    });
    all.buffered(32).collect().await
}

/// A server on all nodes of the cluster, ready.
fn serve(cluster: &Cluster) -> Server {
    let server = Server::start(&["--source", "jetstream", "--nats-url", &cluster.url()]);
    server.until_health(200, TIME_MAX);
    server
}

/// Everything that comes until the last message of every channel was there. The chain is checked as it comes.
async fn read(client: &mut Client) -> Vec<Value> {
    let mut all = Vec::new();
    let mut open = SUBJECTS.len();
    while open > 0 {
        let next = client.next().await.json();
        open -= usize::from(next["data"] == LAST);
        all.push(next);
    }
    all
}

/// Everything came that is stored, each channel in its order, and nothing else: no notice, nothing twice.
fn expect_all(received: &[Value], stored: &[Stored]) {
    let mut came: BTreeMap<&str, Vec<(u64, Value)>> = BTreeMap::new();
    for message in received {
        assert_eq!(message["type"], "message", "{message}");
        let channel = message["channel"].as_str().expect("a channel");
        let seq = message["seq"].as_u64().expect("a seq");
        came.entry(channel)
            .or_default()
            .push((seq, message["data"].clone()));
    }
    let mut expected: BTreeMap<&str, Vec<(u64, Value)>> = BTreeMap::new();
    for stored in stored {
        let data = serde_json::from_slice(&stored.payload).expect("JSON");
        expected
            .entry(&stored.channel)
            .or_default()
            .push((stored.seq, data));
    }
    assert_eq!(
        came.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (channel, expected) in expected {
        let both = came[channel].iter().zip(&expected);
        let differs = both.clone().find(|(came, expected)| came != expected);
        assert_eq!(
            (differs, came[channel].len()),
            (None, expected.len()),
            "{channel}"
        );
    }
}

async fn the_leader_steps_down_and_then_its_node_is_killed(version: Version) {
    let mut world = World::start(version).await;
    world.step_down().await;
    world.writers.until_acked(200).await;
    // The worst node: its loss takes the server's consumer with it.
    let consumer = world.node_of_consumer().await;
    while world.leader().await != consumer {
        world.step_down().await;
    }
    world.until_whole().await;
    let at = Cluster::position(&consumer);
    world.cluster.nodes[at].kill();
    until("another node is the leader", async || {
        let leader = world.stream().await?.cluster?.leader?;
        (leader != consumer).then_some(())
    })
    .await;
    world.writers.until_acked(200).await;
    world.cluster.nodes[at].restart();
    world.until_whole().await;
    world.writers.until_acked(200).await;
    world.ends_whole().await;
}
