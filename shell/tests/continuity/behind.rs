//! A server that is behind what a client has from another one: the client waits there for what it does not
//! have, and gets nothing twice.
//!
//! The server is held back where its consumer delivers to it, and nowhere else: what it asks the stream is
//! answered.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;
use crate::stream::{create_stream, jetstream, publish};
use crate::support::nats::{NatsServer, Version};
use crate::support::wire::Wire;
use crate::with_both_servers;

with_both_servers!(
    a_position_that_this_server_has_not_reached,
    a_position_of_a_pattern_that_this_server_has_not_reached,
    a_position_that_the_stream_has_not_reached,
);

/// Two servers on one stream, of which the second can be held back, with a client each.
struct Replicas {
    ahead: Server,
    behind: Server,
    wire: Wire,
    jetstream: async_nats::jetstream::Context,
    _nats: NatsServer,
}

fn start(url: &str) -> Server {
    let server = Server::start(&["--source", "jetstream", "--nats-url", url]);
    server.until_health(200, Duration::from_secs(20));
    server
}

/// Channel, seq and prev, as in `a 7<5`.
fn place(message: &Value) -> String {
    let channel = message["channel"].as_str().expect("a channel");
    format!("{channel} {}<{}", message["seq"], message["prev"])
}

async fn expect(client: &mut Client, expected: &[&str]) {
    for expected in expected {
        assert_eq!(place(&client.next_message().await), *expected);
    }
}

impl Replicas {
    /// Messages 1 to 4, of `a`, `b`, `a` and `b`, are with both; then 5 to 9, of `a`, `b`, `a`, `b` and
    /// `c`, with the first one only.
    async fn start(version: Version) -> (Self, Client) {
        let nats = NatsServer::start_version(version);
        let jetstream = jetstream(&nats).await;
        create_stream(&jetstream).await;
        let wire = Wire::start(nats.port()).await;
        let this = Self {
            ahead: start(&nats.url()),
            behind: start(&wire.url()),
            wire,
            jetstream,
            _nats: nats,
        };
        let mut live = [
            Client::connect(this.ahead.addr).await,
            Client::connect(this.behind.addr).await,
        ];
        for client in &mut live {
            client.subscribe(&[">"]).await;
        }
        this.publish(&["a", "b", "a", "b"]).await;
        for client in &mut live {
            expect(client, &["a 1<0", "b 2<0", "a 3<1", "b 4<2"]).await;
        }
        this.wire.hold();
        this.publish(&["a", "b", "a", "b", "c"]).await;
        let [mut of_the_first, of_the_second] = live;
        let missing = ["a 5<3", "b 6<4", "a 7<5", "b 8<6", "c 9<0"];
        expect(&mut of_the_first, &missing).await;
        this.expect_behind().await;
        (this, of_the_second)
    }

    async fn publish(&self, channels: &[&str]) {
        for channel in channels {
            publish(&self.jetstream, channel, "1").await;
        }
    }

    /// The second server is where it was held back, as it says to a client that is new.
    async fn expect_behind(&self) {
        let mut client = Client::connect(self.behind.addr).await;
        let ack = client.subscribe(&["a", "b", "c"]).await;
        assert_eq!(ack["positions"], json!({"a": 3, "b": 4, "c": 0}));
        let mut client = Client::connect(self.behind.addr).await;
        assert_eq!(client.subscribe(&[">"]).await["positions"], json!({">": 4}));
    }

    /// What a client has that was with the first server from the beginning, and its number line.
    async fn position(&self, names: &[&str]) -> Value {
        let mut client = Client::connect(self.ahead.addr).await;
        client.subscribe(names).await;
        client.resume()
    }

    /// Goes on at the second server, with this position.
    async fn resume(&self, names: &[&str], resume: &Value) -> (Client, Value) {
        let mut client = Client::connect(self.behind.addr).await;
        assert_eq!(client.welcome["epoch"], resume["epoch"]);
        let data = json!({"channels": names, "resume": resume});
        let subscribe = json!({"type": "subscribe", "id": 1, "data": data});
        let ack = client.request(&subscribe).await;
        (client, ack)
    }
}

/// The ack of who continues with everything that it asked for.
fn recovered(names: &[&str], resume: &Value) -> Value {
    json!({
        "type": "subscription_ack", "id": 1, "subscribed": names, "count": names.len(),
        "epoch": resume["epoch"], "durable": true, "positions": resume["positions"],
        "recovered": names, "unrecovered": [],
    })
}

async fn a_position_that_this_server_has_not_reached(version: Version) {
    let (replicas, mut witness) = Replicas::start(version).await;
    let names = ["a", "b", "c"];
    let position = replicas.position(&names).await;
    assert_eq!(position["positions"], json!({"a": 7, "b": 8, "c": 9}));
    let (mut client, ack) = replicas.resume(&names, &position).await;
    assert_eq!(ack, recovered(&names, &position));
    // It was behind before the question and is after the answer.
    replicas.expect_behind().await;
    replicas.publish(&["a", "c"]).await;
    replicas.wire.release();
    replicas.publish(&["b"]).await;
    // Each channel in its order; among channels nothing is promised to who has caught up.
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(place(&client.next_message().await));
    }
    places.sort();
    assert_eq!(places, ["a 10<7", "b 12<8", "c 11<9"]);
    let all = ["a 5<3", "b 6<4", "a 7<5", "b 8<6", "c 9<0"];
    expect(&mut witness, &all).await;
    expect(&mut witness, &["a 10<7", "c 11<9", "b 12<8"]).await;
    replicas.publish(&["a"]).await;
    expect(&mut client, &["a 13<10"]).await;
    expect(&mut witness, &["a 13<10"]).await;
}

async fn a_position_of_a_pattern_that_this_server_has_not_reached(version: Version) {
    let (replicas, mut witness) = Replicas::start(version).await;
    let position = replicas.position(&[">"]).await;
    assert_eq!(position["positions"], json!({">": 9}));
    let (mut client, ack) = replicas.resume(&[">"], &position).await;
    assert_eq!(ack, recovered(&[">"], &position));
    replicas.expect_behind().await;
    // In the midst of what it has yet to reach.
    let earlier = json!({"epoch": position["epoch"], "positions": {">": 6}});
    let (mut earlier_client, ack) = replicas.resume(&[">"], &earlier).await;
    assert_eq!(ack, recovered(&[">"], &earlier));
    replicas.expect_behind().await;
    replicas.wire.release();
    replicas.publish(&["a", "c", "b"]).await;
    let new = ["a 10<7", "c 11<9", "b 12<8"];
    expect(&mut client, &new).await;
    expect(&mut earlier_client, &["a 7<5", "b 8<6", "c 9<0"]).await;
    expect(&mut earlier_client, &new).await;
    expect(&mut witness, &["a 5<3", "b 6<4", "a 7<5", "b 8<6", "c 9<0"]).await;
    expect(&mut witness, &new).await;
}

async fn a_position_that_the_stream_has_not_reached(version: Version) {
    let (replicas, mut witness) = Replicas::start(version).await;
    let mut position = replicas.position(&["a"]).await;
    position["positions"]["a"] = json!(10);
    let (mut client, ack) = replicas.resume(&["a"], &position).await;
    let why = json!({"channel": "a", "reason": "ahead_of_log", "oldest": 1, "newest": 3});
    let expected = json!({
        "type": "subscription_ack", "id": 1, "subscribed": ["a"], "count": 1,
        "epoch": position["epoch"], "durable": true, "positions": {"a": 3},
        "recovered": [], "unrecovered": [why],
    });
    assert_eq!(ack, expected);
    replicas.expect_behind().await;
    replicas.wire.release();
    // Live from the position of the ack.
    expect(&mut client, &["a 5<3", "a 7<5"]).await;
    expect(&mut witness, &["a 5<3", "b 6<4", "a 7<5", "b 8<6", "c 9<0"]).await;
}
