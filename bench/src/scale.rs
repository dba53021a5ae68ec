//! Scale on paper: the machines alone, in memory, without sockets. One Feed and one shard with up to
//! 1,000,000 sessions and 10,000,000 subscriptions: bytes each, and what a delivery costs as they grow.
//!
//! Each size is measured in a process of its own, so that its memory is what the kernel says that this
//! process has, and nothing of another size is in it.

use std::fmt::Write as _;
use std::path::Path;

use odin_core::config::{Config, FeedConfig};
use odin_core::feed::{Delivered, Feed, Input as Upstream, Output, Source};
use odin_core::id::ConnId;
use odin_core::shard::{Input, Message, Shard};
use odin_core::time;

use crate::plot::{self, Series};
use crate::{Result, clock, message, process};

/// Sessions of the sizes that are measured.
const SIZES: [u32; 7] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000];

/// Subscriptions of each session.
const SUBSCRIPTIONS: u32 = 10;

/// Of these: to channels that a hundred sessions have; the last one is to the channel that all have.
const SPREAD: u32 = SUBSCRIPTIONS - 1;

/// Sessions that share a channel.
const SHARING: u32 = 100;

/// Deliveries after which a measurement is long enough.
const DELIVERIES_MIN: u64 = 1_000_000;

/// The channel that every session has.
const ALL: &str = "ch.all";

/// What a size came to.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    sessions: f64,
    session_bytes: f64,
    subscription_bytes: f64,
    /// Microseconds of a subscribe request with ten names, its answer included.
    subscribe_us: f64,
    /// Microseconds to take in a message of a channel with a hundred subscribers.
    publish_us: f64,
    /// Nanoseconds of each of its deliveries: gathered, and settled when written.
    transmit_ns: f64,
    /// Nanoseconds per subscriber to take in a message of the channel that all have.
    fan_publish_ns: f64,
    /// Nanoseconds of each of its deliveries.
    fan_transmit_ns: f64,
}

impl Row {
    const FIELDS: usize = 8;

    fn to_fields(self) -> [f64; Self::FIELDS] {
        [
            self.sessions,
            self.session_bytes,
            self.subscription_bytes,
            self.subscribe_us,
            self.publish_us,
            self.transmit_ns,
            self.fan_publish_ns,
            self.fan_transmit_ns,
        ]
    }

    fn from_fields(fields: [f64; Self::FIELDS]) -> Self {
        let [
            sessions,
            session_bytes,
            subscription_bytes,
            subscribe_us,
            publish_us,
            transmit_ns,
            fan_publish_ns,
            fan_transmit_ns,
        ] = fields;
        Self {
            sessions,
            session_bytes,
            subscription_bytes,
            subscribe_us,
            publish_us,
            transmit_ns,
            fan_publish_ns,
            fan_transmit_ns,
        }
    }
}

/// Measures every size, prints the table and, where asked for, writes the plots.
pub(crate) fn run(plots: Option<&Path>) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut rows = Vec::new();
    for sessions in SIZES {
        eprintln!(
            "{sessions} sessions, {} subscriptions",
            sessions * SUBSCRIPTIONS
        );
        let text = process::output(&program, &["scale-of", &sessions.to_string()]);
        let fields: Vec<f64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let fields = <[f64; Row::FIELDS]>::try_from(fields);
        let fields =
            fields.map_err(|_| format!("{sessions} sessions could not be measured: {text:?}"))?;
        rows.push(Row::from_fields(fields));
    }
    print!("{}", table(&rows));
    if let Some(folder) = plots {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("scale-cost.svg"), cost_plot(&rows))?;
        std::fs::write(folder.join("scale-memory.svg"), memory_plot(&rows))?;
    }
    Ok(())
}

/// Measures one size and prints its numbers, for [`run`].
pub(crate) fn run_one(sessions: u32) -> Result<()> {
    let row = measure(sessions)?;
    println!(
        "{}",
        row.to_fields().map(|field| field.to_string()).join(" ")
    );
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| sessions | subscriptions | bytes per session | bytes per subscription | subscribe (10 names) | \
         publish to 100 | transmit, each | publish to all, per subscriber | transmit, each |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            table,
            "| {} | {} | {:.0} | {:.0} | {:.1} us | {:.1} us | {:.0} ns | {:.0} ns | {:.0} ns |",
            row.sessions,
            row.sessions * f64::from(SUBSCRIPTIONS),
            row.session_bytes,
            row.subscription_bytes,
            row.subscribe_us,
            row.publish_us,
            row.transmit_ns,
            row.fan_publish_ns,
            row.fan_transmit_ns,
        );
    }
    table
}

fn series(name: &'static str, rows: &[Row], value: impl Fn(&Row) -> f64) -> Series {
    let points = rows.iter().map(|row| (row.sessions, value(row))).collect();
    Series { name, points }
}

fn cost_plot(rows: &[Row]) -> String {
    let title = "One shard in memory: what a delivery costs (10 subscriptions per session)";
    let series = [
        series("100 subscribers: publish, per subscriber", rows, |row| {
            row.publish_us * 1e3 / f64::from(SHARING)
        }),
        series("100 subscribers: transmit, per delivery", rows, |row| {
            row.transmit_ns
        }),
        series("all subscribed: publish, per subscriber", rows, |row| {
            row.fan_publish_ns
        }),
        series("all subscribed: transmit, per delivery", rows, |row| {
            row.fan_transmit_ns
        }),
    ];
    plot::chart(title, "sessions", "nanoseconds", &series)
}

fn memory_plot(rows: &[Row]) -> String {
    let title = "One shard in memory: what a session and a subscription hold";
    let series = [
        series("a session", rows, |row| row.session_bytes),
        series("a subscription", rows, |row| row.subscription_bytes),
    ];
    plot::chart(title, "sessions", "bytes", &series)
}

fn measure(sessions: u32) -> Result<Row> {
    let mut world = World::new();
    let channels = (sessions * SPREAD / SHARING).max(SPREAD);
    let empty = process::private_bytes("self")?;
    let mut conns = Vec::with_capacity(sessions as usize);
    for _ in 0..sessions {
        conns.push(world.shard.open(world.now));
        world.flush();
    }
    let opened = process::private_bytes("self")?;
    // The list of ids is of this program.
    let own = u64::from(sessions) * size_of::<ConnId>() as u64;
    let (subscribing, ()) = timed(|| {
        for (conn, first) in conns.iter().zip((0..).step_by(SPREAD as usize)) {
            world.subscribe(*conn, (first..first + SPREAD).map(|n| n % channels));
        }
    });
    let subscribed = process::private_bytes("self")?;
    // A channel's first message makes its log; it is no part of what is measured.
    for channel in 0..channels {
        world.publish(&message::channel_name(channel));
        world.flush();
    }
    let (mut messages, mut publishing, mut deliveries, mut writing) = (0, 0.0, 0, 0.0);
    for channel in (0..channels).cycle() {
        if deliveries >= DELIVERIES_MIN {
            break;
        }
        // Steps far apart: what was touched last is not what is touched next.
        let channel = u64::from(channel) * 7919 % u64::from(channels);
        let name = message::channel_name(u32::try_from(channel)?);
        publishing += timed(|| world.publish(&name)).0;
        let (seconds, delivered) = timed(|| world.flush());
        (messages, deliveries, writing) = (messages + 1, deliveries + delivered, writing + seconds);
    }
    let (mut fan_publishing, mut fan_deliveries, mut fan_writing) = (0.0, 0, 0.0);
    while fan_deliveries < DELIVERIES_MIN {
        fan_publishing += timed(|| world.publish(ALL)).0;
        let (seconds, delivered) = timed(|| world.flush());
        (fan_deliveries, fan_writing) = (fan_deliveries + delivered, fan_writing + seconds);
    }
    let each = |bytes: u64, of: u32| bytes as f64 / f64::from(of);
    Ok(Row {
        sessions: f64::from(sessions),
        session_bytes: each(opened.saturating_sub(empty + own), sessions),
        subscription_bytes: each(subscribed.saturating_sub(opened), sessions * SUBSCRIPTIONS),
        subscribe_us: subscribing * 1e6 / f64::from(sessions),
        publish_us: publishing * 1e6 / f64::from(messages),
        transmit_ns: writing * 1e9 / deliveries as f64,
        fan_publish_ns: fan_publishing * 1e9 / fan_deliveries as f64,
        fan_transmit_ns: fan_writing * 1e9 / fan_deliveries as f64,
    })
}

/// How many seconds of CPU it took, and what came of it. CPU: what else runs on the machine meanwhile is
/// not in it.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = clock::cpu();
    let result = work();
    ((clock::cpu() - began) as f64 / 1e9, result)
}

/// A Feed and a shard, and sockets that take everything.
struct World {
    feed: Feed,
    shard: Shard,
    now: time::Instant,
    payload: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let source = Source::Embedded {
            epoch: "bench".into(),
        };
        let mut payload = Vec::new();
        message::put_payload(&mut payload, 256, 0);
        let mut world = Self {
            feed: Feed::new(FeedConfig::default(), source, "", 1),
            shard: Shard::new(Config::default(), 1),
            now: time::Instant::ZERO,
            payload,
        };
        world.upstream(None);
        world
    }

    /// A message of this channel, or else that the source is connected.
    fn upstream(&mut self, channel: Option<&str>) {
        let input = channel.map_or(Upstream::Connected, |subject| {
            Upstream::Delivered(Delivered {
                stream_seq: 0,
                consumer_seq: 0,
                pending: 0,
                time: 0,
                subject,
                payload: &self.payload,
            })
        });
        self.feed.handle(self.now, input);
        while let Some(output) = self.feed.poll_output() {
            if let Output::Event(event) = output {
                self.shard.handle(self.now, Input::Event(event));
            }
        }
    }

    fn publish(&mut self, channel: &str) {
        self.upstream(Some(channel));
    }

    fn subscribe(&mut self, conn: ConnId, channels: impl Iterator<Item = u32>) {
        let names = channels
            .map(message::channel_name)
            .collect::<Vec<_>>()
            .join("\",\"");
        let request =
            format!(r#"{{"type":"subscribe","data":{{"channels":["{ALL}","{names}"]}}}}"#);
        let message = Message::Text(&request);
        self.shard
            .handle(self.now, Input::Message { conn, message });
        self.flush();
    }

    /// Writes all that is ready, and gives the number of connections that it was.
    fn flush(&mut self) -> u64 {
        let mut count = 0;
        while let Some(conn) = self.shard.poll_ready() {
            let bytes = self.shard.transmit(self.now, conn).bytes;
            if bytes > 0 {
                count += 1;
                self.shard.handle(self.now, Input::Written { conn, bytes });
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_its_subscriptions_and_every_message_comes_to_them() {
        let mut world = World::new();
        let conns: Vec<ConnId> = (0..20).map(|_| world.shard.open(world.now)).collect();
        world.flush();
        for conn in conns {
            world.subscribe(conn, 0..SPREAD);
        }
        assert_eq!(world.shard.stats().subscriptions, 200);
        world.publish(ALL);
        assert_eq!(world.flush(), 20);
        world.publish("ch.3");
        assert_eq!(world.flush(), 20);
        world.publish("ch.99");
        assert_eq!(world.flush(), 0);
    }
}
