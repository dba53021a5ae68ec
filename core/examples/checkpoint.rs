//! What the flight recorder costs: `cargo run --release -p odin-core --example checkpoint`.
//!
//! Prints how long a shard with 10,000 connections pauses for a checkpoint, and what recording adds to
//! a delivery.

#![allow(
    clippy::disallowed_methods,
    reason = "the clock measures the core from outside"
)]

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use odin_core::config::Config;
use odin_core::event::{Event, Kind, Publication, SourceReady};
use odin_core::id::{ChannelId, Order};
use odin_core::shard::{Input, Message, Shard};
use odin_core::time::Instant;

const CONNECTIONS: usize = 10_000;
const CHANNELS: u64 = 100;

struct Bench {
    shard: Shard,
    now: Instant,
    order: u64,
}

impl Bench {
    fn new(connections: usize) -> Self {
        let mut bench = Self {
            shard: Shard::new(Config::default(), 1),
            now: Instant::from_millis(1),
            order: 0,
        };
        let ready = SourceReady {
            epoch: "e".into(),
            created: 0,
            durable: true,
            head: 0,
            observed_from: 0,
            reset_frame: Bytes::new(),
        };
        bench.input(Input::Event(Event::SourceReady(Arc::new(ready))));
        for n in 0..connections as u64 {
            let conn = bench.shard.open(bench.now);
            let (one, other) = (n % CHANNELS, (n * 7 + 1) % CHANNELS);
            let second = if one == other {
                String::new()
            } else {
                format!(r#","c.{other}""#)
            };
            let text =
                format!(r#"{{"type":"subscribe","data":{{"channels":["c.{one}"{second}]}}}}"#);
            let message = Message::Text(&text);
            bench.input(Input::Message { conn, message });
        }
        bench.write();
        bench
    }

    fn input(&mut self, input: Input<'_>) {
        self.now = self.now + Duration::from_micros(3);
        self.shard.handle(self.now, input);
    }

    fn publish(&mut self) {
        self.order += 1;
        let number = self.order % CHANNELS;
        let publication = Publication {
            order: Order(self.order),
            channel: ChannelId(u32::try_from(number).unwrap_or(0)),
            name: format!("c.{number}").into(),
            seq: self.order,
            prev: Some(self.order.saturating_sub(CHANNELS)),
            ts: 1_700_000_000_000 + self.order,
            received: self.now,
            kind: Kind::Message,
            frame: Bytes::from(vec![b'x'; 200]),
        };
        self.input(Input::Event(Event::Published(Arc::new(publication))));
    }

    /// Writes all that there is, and gives how many writes that took.
    fn write(&mut self) -> u32 {
        let mut writes = 0;
        while let Some(conn) = self.shard.poll_ready() {
            self.now = self.now + Duration::from_micros(3);
            let bytes = self.shard.transmit(self.now, conn).bytes;
            if bytes > 0 {
                writes += 1;
                self.input(Input::Written { conn, bytes });
            }
        }
        writes
    }

    /// The time of one write, everything but the socket included.
    fn pace(&mut self) -> Duration {
        let (began, mut writes) = (Clock::now(), 0);
        for _ in 0..2_000 {
            self.publish();
            writes += self.write();
        }
        began.elapsed() / writes.max(1)
    }
}

fn main() {
    for entries in [0, 20_000, 100_000, 300_000] {
        let mut bench = Bench::new(CONNECTIONS);
        for n in 0..entries {
            bench.publish();
            if n % 100 == 0 {
                bench.write();
            }
        }
        bench.write();
        let mut times: Vec<Duration> = (0..11)
            .map(|_| {
                let began = Clock::now();
                let bytes = bench.shard.checkpoint();
                let took = began.elapsed();
                assert!(!bytes.is_empty());
                took
            })
            .collect();
        times.sort();
        println!(
            "{CONNECTIONS} connections, {entries} messages in the log: {} bytes, median {:?}, worst {:?}",
            bench.shard.checkpoint().len(),
            times[5],
            times[10]
        );
    }
    let mut bench = Bench::new(CONNECTIONS);
    let off = bench.pace();
    bench.shard.record(12 << 20);
    let on = bench.pace();
    println!("a write without recording: {off:?}, with it, checkpoints included: {on:?}");
}
