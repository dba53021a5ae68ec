//! What the machines cost by themselves: publish, transmit, subscribe and unsubscribe, resume, patterns.
//!
//! `cargo bench -p odin-core` takes a few minutes; `cargo bench -p odin-core -- --quick` less than one. A
//! name after the `--` chooses: `cargo bench -p odin-core -- transmit`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod world;

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main, measurement::WallTime,
};
use odin_core::name;
use world::World;

/// Subscriptions that the sizes of most groups have.
const SIZES: [u32; 4] = [1, 1_000, 100_000, 1_000_000];

/// From here on a single iteration takes so long that ten samples must do.
const LARGE: u32 = 100_000;

fn sized<'a>(c: &'a mut Criterion, name: &str, size: u32) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    if size >= LARGE {
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
    } else {
        group.sample_size(50);
    }
    group
}

/// One message into a channel with so many subscribers, and then its way out to all of them. Both are per
/// delivery in the throughput that criterion prints.
fn publish_and_transmit(c: &mut Criterion) {
    for size in SIZES {
        let world = RefCell::new(World::with_subscribers(size, "BTC.trade"));
        let mut group = sized(c, "publish", size);
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                || world.borrow_mut().flush(),
                |_| world.borrow_mut().publish("BTC.trade"),
                BatchSize::PerIteration,
            );
        });
        group.finish();
        world.borrow_mut().flush();
        let mut group = sized(c, "transmit", size);
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                || world.borrow_mut().publish("BTC.trade"),
                |()| assert_eq!(world.borrow_mut().flush(), u64::from(size)),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// Many messages wait for each of 1,000 subscribers: the cost per message falls with their number.
fn transmit_together(c: &mut Criterion) {
    const SUBSCRIBERS: u32 = 1_000;
    let world = RefCell::new(World::with_subscribers(SUBSCRIBERS, "BTC.trade"));
    for together in [1, 8, 64] {
        let deliveries = u64::from(SUBSCRIBERS) * together;
        let mut group = sized(c, "transmit-together", SUBSCRIBERS);
        group.throughput(Throughput::Elements(deliveries));
        group.bench_function(BenchmarkId::from_parameter(together), |b| {
            b.iter_batched(
                || (0..together).for_each(|_| world.borrow_mut().publish("BTC.trade")),
                |()| assert_eq!(world.borrow_mut().flush(), deliveries),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// One client subscribes and unsubscribes a channel that so many others have. Its requests and their
/// answers are included.
fn churn(c: &mut Criterion) {
    for size in SIZES {
        let mut world = World::with_subscribers(size, "BTC.trade");
        let conn = world.open();
        let mut group = sized(c, "subscribe-unsubscribe", size);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                world.subscribe(conn, "BTC.trade");
                world.unsubscribe(conn, "BTC.trade");
            });
        });
        group.finish();
    }
}

/// A new connection resumes so many messages behind the head, and reads up to it.
fn resume(c: &mut Criterion) {
    const HEAD: u64 = 10_000;
    let mut world = World::new();
    for _ in 0..HEAD {
        world.publish("BTC.trade");
    }
    let conn = world.open();
    for behind in [1, 100, 10_000] {
        let from = HEAD - behind;
        let request = format!(
            r#"{{"type":"subscribe","data":{{"channels":["BTC.trade"],"resume":{{"epoch":"e","positions":{{"BTC.trade":{from}}}}}}}}}"#
        );
        let mut group = sized(c, "resume", 1);
        group.throughput(Throughput::Elements(behind));
        group.bench_function(BenchmarkId::from_parameter(behind), |b| {
            b.iter(|| {
                // The answers count as messages too.
                assert!(world.ask(conn, &request) > behind, "all of it came");
                world.unsubscribe(conn, "BTC.trade");
            });
        });
        group.finish();
    }
}

/// The first message of a new channel is matched against so many patterns, and one that is known is not.
fn patterns(c: &mut Criterion) {
    for size in [1, 100, 10_000] {
        let mut world = World::new();
        for number in 0..size {
            let conn = world.open();
            world.subscribe(conn, &format!("market{number}.*"));
        }
        let mut group = sized(c, "pattern-known-channel", size);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                world.publish("market0.BTC");
                world.flush()
            });
        });
        group.finish();
        let mut number = 0;
        let mut group = sized(c, "pattern-new-channel", size);
        // Channels are never forgotten, and there may be 100,000 of them.
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(1));
        group.measurement_time(Duration::from_millis(20));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                number += 1;
                world.publish(&format!("market0.{number}"));
                world.flush()
            });
        });
        group.finish();
    }
}

/// A pattern is subscribed that so many channels match, and given up again.
fn pattern_churn(c: &mut Criterion) {
    for size in [100, 10_000, 100_000] {
        let mut world = World::new();
        for number in 0..size {
            world.publish(&format!("market.{number}"));
        }
        let conn = world.open();
        let mut group = sized(c, "pattern-subscribe-unsubscribe", size);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                world.subscribe(conn, "market.*");
                world.unsubscribe(conn, "market.*");
            });
        });
        group.finish();
    }
}

/// The bare match of names.
fn matching(c: &mut Criterion) {
    let mut group = sized(c, "matches", 1);
    for (what, pattern) in [("name", "a.b.c.d"), ("any", "a.*.c.*"), ("rest", "a.b.>")] {
        group.bench_function(what, |b| {
            b.iter(|| name::matches(black_box(pattern), black_box("a.b.c.d")));
        });
    }
    group.finish();
}

criterion_group!(
    machines,
    publish_and_transmit,
    transmit_together,
    churn,
    resume,
    patterns,
    pattern_churn,
    matching
);
criterion_main!(machines);
