//! The bodies of `GET /stats` and `GET /debug/clients`: what the live page and `odin-ws top` show.
//!
//! Pure functions, as in [`health`](crate::health). `/stats` is for everyone who may see the page and
//! says nothing about who a client is; ids and addresses are in `/debug/clients`, which needs the admin
//! token. Totals only grow: who wants a rate takes the difference of two answers over that of their
//! `uptime_ms`.

use std::time::Duration;

use odin_core::reason::CloseReason;
use odin_core::stats::{Behind, Histogram, LATENCY_BOUNDS_NANOS, Stats};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::metrics::{Client, ShardSnapshot, Snapshot};

/// How many of the clients that are furthest behind are named.
pub const WORST_MAX: usize = 10;

#[derive(Serialize)]
struct Overview {
    version: &'static str,
    uptime_ms: u64,
    health: Option<Box<RawValue>>,
    admission_open: bool,
    stale_shards: usize,
    connections: u64,
    connections_max: u64,
    subscriptions: u64,
    channels: u64,
    log_bytes: u64,
    totals: Totals,
    delivery: Delivery,
    lag: Lag,
    worst: Vec<Worst>,
}

#[derive(Serialize)]
struct Totals {
    sent: u64,
    received: u64,
    bytes_sent: u64,
    source_received: u64,
    opened: u64,
    refused: u64,
    slow: u64,
    lost: u64,
    recovered: u64,
    unrecovered: u64,
    replays: u64,
}

/// Upper bounds of the buckets in milliseconds, and observations per bucket: one more than there are
/// bounds, not cumulative over the buckets.
#[derive(Serialize)]
struct Delivery {
    bounds_ms: Vec<f64>,
    buckets: Vec<u64>,
}

#[derive(Serialize)]
struct Lag {
    messages: u64,
    ms: f64,
}

#[derive(Serialize)]
struct Worst {
    messages: u64,
    ms: f64,
    subscriptions: u32,
    blocked: bool,
}

impl Worst {
    fn new(behind: &Behind) -> Self {
        Self {
            messages: behind.messages,
            ms: millis(behind.nanos),
            subscriptions: behind.subscriptions,
            blocked: behind.blocked,
        }
    }
}

/// The body of `GET /stats`. `health` is the body of `/health`.
#[must_use]
pub fn overview(snapshot: &Snapshot, health: String, uptime: Duration) -> String {
    let shards = &snapshot.shards;
    let sum = |of: fn(&Stats) -> u64| shards.iter().map(|shard| of(&shard.stats)).sum::<u64>();
    let mut delivery = Histogram::default();
    for shard in shards {
        delivery.add(&shard.stats.delivery);
    }
    let lags = || shards.iter().map(|shard| shard.lag);
    let overview = Overview {
        version: odin_core::VERSION,
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        health: RawValue::from_string(health).ok(),
        admission_open: snapshot.gate_open,
        stale_shards: shards.iter().filter(|shard| shard.stale).count(),
        connections: sum(|stats| stats.connections),
        connections_max: snapshot.connections_max,
        subscriptions: sum(|stats| stats.subscriptions),
        channels: snapshot.feed.channels,
        log_bytes: snapshot.feed.log_bytes,
        totals: Totals {
            sent: sum(|stats| stats.messages_sent),
            received: sum(|stats| stats.messages_received),
            bytes_sent: sum(|stats| stats.bytes_sent),
            source_received: snapshot.feed.received,
            opened: sum(|stats| stats.connections_opened),
            refused: snapshot.gate.refused.iter().sum::<u64>() + snapshot.handshakes.total(),
            slow: sum(|stats| stats.disconnects[CloseReason::SlowConsumer as usize]),
            lost: sum(|stats| stats.lost.iter().sum()),
            recovered: sum(|stats| stats.resumes.recovered),
            unrecovered: sum(|stats| stats.resumes.unrecovered.iter().sum()),
            replays: sum(|stats| stats.replay_requests),
        },
        delivery: Delivery {
            bounds_ms: LATENCY_BOUNDS_NANOS.map(millis).to_vec(),
            buckets: delivery.buckets.to_vec(),
        },
        lag: Lag {
            messages: lags().map(|lag| lag.messages_max).max().unwrap_or(0),
            ms: millis(lags().map(|lag| lag.nanos_max).max().unwrap_or(0)),
        },
        worst: worst(shards)
            .iter()
            .map(|(_, client)| Worst::new(&client.behind))
            .collect(),
    };
    text(&overview)
}

/// The body of `GET /debug/clients`: who is furthest behind, as in `/stats`, with each client's id
/// (shard, slot, generation) and address.
#[must_use]
pub fn clients(shards: &[ShardSnapshot]) -> String {
    #[derive(Serialize)]
    struct Named {
        id: String,
        peer: Option<String>,
        #[serde(flatten)]
        worst: Worst,
    }
    #[derive(Serialize)]
    struct Clients {
        worst: Vec<Named>,
    }
    let name = |(shard, client): &(usize, &Client)| Named {
        id: format!("{shard}.{}", client.behind.conn),
        peer: client.peer.map(|peer| peer.to_string()),
        worst: Worst::new(&client.behind),
    };
    let worst = worst(shards).iter().map(name).collect();
    text(&Clients { worst })
}

/// The worst of all shards, worst first, with the number of their shard.
fn worst(shards: &[ShardSnapshot]) -> Vec<(usize, &Client)> {
    let mut all: Vec<_> = shards
        .iter()
        .enumerate()
        .flat_map(|(index, shard)| shard.worst.iter().map(move |client| (index, client)))
        .collect();
    all.sort_by_key(|(_, client)| std::cmp::Reverse(client.behind.lag()));
    all.truncate(WORST_MAX);
    all
}

/// Milliseconds with three decimals, as shown.
fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1e3).round() / 1e3
}

fn text(body: &impl Serialize) -> String {
    // Structs of numbers and strings always have a JSON form.
    serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned())
}
