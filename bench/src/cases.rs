//! The cases: what each measures, and the bar that it has.

use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, Outcome, PUBLISHED_MIN, Target, Work};
use crate::figure::{Bar, Figure, Unit};
use crate::process;
use crate::topology::Topology;

/// A case. Each run of the bench measures it once.
pub(crate) struct Case {
    /// Its name, for `ONLY=`.
    pub(crate) name: &'static str,
    /// What work it is.
    pub(crate) about: &'static str,
    /// Measures it.
    pub(crate) run: fn(&mut Bench) -> Result<Vec<Figure>>,
}

/// The server as it is by default.
const SERVER: Target = Target::Server(&[]);

/// A thousand own and a hundred shared channels.
const OWN: Topology = Topology::Own {
    shared: 100,
    each: 10,
};

macro_rules! cases {
    ($($name:literal, $about:literal, $run:expr;)+) => {
        /// Every case, in the order in which a run measures them.
        pub(crate) const ALL: &[Case] = &[$(Case { name: $name, about: $about, run: $run },)+];
    };
}

cases! {
    "one-1k", "1 channel, 1,000 subscribers, 50 messages/s, 256 B", |bench| {
        beside_floor(bench, &Work::one(1_000, 50.0), 1.15)
    };
    "one-10k", "1 channel, 10,000 subscribers, 5 messages/s, 256 B", |bench| {
        beside_floor(bench, &Work::one(10_000, 5.0), 1.15)
    };
    "own-and-shared", "1,000 own + 100 shared channels, 1,000 clients, 1,000 messages/s, 256 B", |bench| {
        let work = Work { topology: OWN, ..Work::one(1_000, 1_000.0) };
        beside_floor(bench, &work, 1.3)
    };
    "saturation", "1 channel, 1,000 subscribers, 256 B: the highest rate that is held", saturation;
    "million", "1 channel, 1,000 subscribers, 256 B, 1,000,000 deliveries/s", million;
    "recorder", "1,000,000 deliveries/s with the flight recorder and without", recorder;
    "coalesce", "1 channel, 1,000 subscribers, 256 B, 400 messages/s, with --coalesce 20ms and without", coalesce;
    "pauses", "pauses of a shard that is behind, and none: 1 channel with 1,000 subscribers; 1,000 with 10 each", pauses;
    "rate-10k", "1 channel, 10,000 subscribers, 256 B, 40 messages/s", rate_10k;
    "slow-clients", "1,000 fast clients at 200,000 deliveries/s, alone and beside 300 slow ones", slow_clients;
    "idle", "10,000 idle connections, subscribed to 1 channel: memory, and what a scrape costs", idle;
    "upgrade", "15,000 upgrades, 64 at a time", upgrade;
    "payload-64", "1 channel, 1,000 subscribers, 50 messages/s, 64 B", |bench| {
        told(bench, &Work { payload: 64, ..Work::one(1_000, 50.0) })
    };
    "payload-4k", "1 channel, 1,000 subscribers, 50 messages/s, 4 KiB", |bench| {
        told(bench, &Work { payload: 4_096, ..Work::one(1_000, 50.0) })
    };
    "payload-64-10k", "1 channel, 10,000 subscribers, 5 messages/s, 64 B", |bench| {
        told(bench, &Work { payload: 64, ..Work::one(10_000, 5.0) })
    };
    "payload-4k-10k", "1 channel, 10,000 subscribers, 5 messages/s, 4 KiB", |bench| {
        told(bench, &Work { payload: 4_096, ..Work::one(10_000, 5.0) })
    };
    "channels-1k", "1,000 channels with 50 subscribers each, 1,000 clients, 1,000 messages/s, 256 B", |bench| {
        let topology = Topology::Spread { channels: 1_000, each: 50 };
        told(bench, &Work { topology, ..Work::one(1_000, 1_000.0) })
    };
    "channels-10k", "1,000 channels with 50 subscribers each, 10,000 clients, 1,000 messages/s, 256 B", |bench| {
        let topology = Topology::Spread { channels: 1_000, each: 5 };
        told(bench, &Work { topology, ..Work::one(10_000, 1_000.0) })
    };
}

fn cpu(what: &str, outcome: &Outcome) -> Figure {
    Figure::new(
        format!("{what}: CPU per delivery"),
        outcome.cpu_us,
        Unit::Micros,
    )
}

fn together(what: &str, outcome: &Outcome) -> Figure {
    let name = format!("{what}: messages that a client reads at once");
    Figure::new(name, outcome.together, Unit::Count)
}

fn latency(what: &str, outcome: &Outcome) -> impl Iterator<Item = Figure> {
    let names = ["p50", "p99", "p99.9"].map(|name| format!("{what}: latency {name}"));
    let figures = names.into_iter().zip(outcome.latency_ms);
    figures.map(|(name, millis)| Figure::new(name, millis, Unit::Millis))
}

fn whole(what: &str, outcome: &Outcome) -> Figure {
    if let Some(problem) = &outcome.problem {
        eprintln!("  not whole: {problem}");
    }
    if outcome.published <= PUBLISHED_MIN {
        let percent = 100.0 * outcome.published;
        eprintln!("  only {percent:.1} % of the messages could be published in time");
    }
    let name = format!("{what}: every message delivered once, in order, in time");
    Figure::must(name, outcome.held())
}

/// Server and floor at the same work.
fn compare(bench: &mut Bench, work: &Work) -> Result<(Vec<Figure>, Figure)> {
    let floor = bench.measure(Target::Floor, work)?;
    let server = bench.measure(SERVER, work)?;
    let ratio = Figure::new(
        "CPU per delivery, of the floor's",
        server.cpu_us / floor.cpu_us,
        Unit::Times,
    );
    let mut figures = vec![cpu("floor", &floor), cpu("server", &server)];
    figures.push(Figure::new(
        "server: of that in the kernel",
        server.system_percent,
        Unit::Percent,
    ));
    figures.extend(latency("floor", &floor).chain(latency("server", &server)));
    // Nothing is asked of the floor, but where it does not keep up the ratio says little.
    let bar = Bar::None;
    figures.push(Figure {
        bar,
        ..whole("floor", &floor)
    });
    figures.push(whole("server", &server));
    Ok((figures, ratio))
}

fn beside_floor(bench: &mut Bench, work: &Work, most: f64) -> Result<Vec<Figure>> {
    let (mut figures, ratio) = compare(bench, work)?;
    figures.push(ratio.at_most(most));
    Ok(figures)
}

fn told(bench: &mut Bench, work: &Work) -> Result<Vec<Figure>> {
    let (mut figures, ratio) = compare(bench, work)?;
    figures.push(ratio);
    Ok(figures)
}

/// Goes up from 1,000,000 deliveries a second until a rate is not held: everything in order, published
/// in time, and 99 % read within 250 ms. The figures are those of the last rate that was, or else of the
/// first one.
fn saturation(bench: &mut Bench) -> Result<Vec<Figure>> {
    const P99_MAX: f64 = 250.0;
    const CLIENTS: u32 = 1_000;
    const RATES: [f64; 8] = [
        1_000.0, 1_500.0, 2_000.0, 2_500.0, 3_000.0, 3_500.0, 4_000.0, 5_000.0,
    ];
    let span = Duration::from_secs(2);
    let work = Work::one(CLIENTS, 0.0);
    let mut stage = bench.stage(SERVER, &work)?;
    let mut best: Option<Outcome> = None;
    let mut held = 0.0;
    for rate in RATES {
        let outcome = stage.perform(&Work { rate, span, ..work })?;
        if !outcome.held() || outcome.latency_ms[1] >= P99_MAX {
            let why = outcome.problem.clone().unwrap_or_else(|| {
                let percent = 100.0 * outcome.published;
                let p99 = outcome.latency_ms[1];
                format!("{percent:.1} % could be published in time, p99 {p99:.0} ms")
            });
            eprintln!("  {rate} messages/s are not held: {why}");
            best.get_or_insert(outcome);
            break;
        }
        held = rate * f64::from(CLIENTS);
        best = Some(outcome);
    }
    let rate = Figure::new("highest rate held, deliveries", held, Unit::PerSecond);
    let mut figures = vec![rate.at_least(1_500_000.0)];
    if let Some(best) = best {
        figures.push(cpu("at that rate", &best));
        figures.push(together("at that rate", &best));
        figures.extend(latency("at that rate", &best));
    }
    Ok(figures)
}

fn million(bench: &mut Bench) -> Result<Vec<Figure>> {
    let server = bench.measure(SERVER, &Work::one(1_000, 1_000.0))?;
    let floor = bench.measure(Target::Floor, &Work::one(1_000, 50.0))?;
    let ratio = server.cpu_us / floor.cpu_us;
    let ratio = Figure::new("of the floor's at 50 messages/s", ratio, Unit::Times);
    let mut figures = vec![cpu("server", &server).at_most(0.9), ratio.at_most(0.15)];
    figures.push(together("server", &server));
    figures.extend(latency("server", &server));
    figures.push(whole("server", &server));
    Ok(figures)
}

fn coalesce(bench: &mut Bench) -> Result<Vec<Figure>> {
    let work = Work::one(1_000, 400.0);
    let without = bench.measure(SERVER, &work)?;
    let mut figures = vec![cpu("without", &without).at_most(2.5)];
    figures.push(together("without", &without));
    figures.extend(latency("without", &without));
    figures.push(whole("without", &without));
    if !bench.has_flag("--coalesce") {
        eprintln!("  this server has no --coalesce");
        figures.push(Figure::must("the server has --coalesce", false));
        return Ok(figures);
    }
    let with = bench.measure(Target::Server(&["--coalesce", "20ms"]), &work)?;
    figures.push(cpu("with --coalesce 20ms", &with).at_most(1.0));
    figures.push(together("with --coalesce 20ms", &with));
    figures.extend(latency("with --coalesce 20ms", &with));
    figures.push(whole("with --coalesce 20ms", &with));
    Ok(figures)
}

fn pauses(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let one = [200.0, 400.0, 1_000.0].map(|rate| ("1 channel", Work::one(1_000, rate)));
    let topology = Topology::Spread {
        channels: 1_000,
        each: 1,
    };
    let many = [4_000.0, 12_000.0].map(|rate| {
        let work = Work {
            topology,
            ..Work::one(10_000, rate)
        };
        ("1,000 channels", work)
    });
    for (channels, work) in one.into_iter().chain(many) {
        let never = Target::Server(&["--write-pause-max", "0"]);
        for (how, target) in [("without", never), ("with", SERVER)] {
            let what = format!("{channels}, {} messages/s, {how}", work.rate);
            let outcome = bench.measure(target, &work)?;
            figures.push(cpu(&what, &outcome));
            figures.push(together(&what, &outcome));
            figures.extend(latency(&what, &outcome));
            figures.push(whole(&what, &outcome));
        }
    }
    Ok(figures)
}

fn rate_10k(bench: &mut Bench) -> Result<Vec<Figure>> {
    let server = bench.measure(SERVER, &Work::one(10_000, 40.0))?;
    let mut figures = vec![
        whole("server", &server),
        cpu("server", &server),
        together("server", &server),
        Figure::new("deliveries", server.rate, Unit::PerSecond).at_least(0.97 * 400_000.0),
    ];
    let quantiles = latency("server", &server);
    figures.extend(quantiles.map(|figure| match figure.what.ends_with("p99") {
        true => figure.at_most(400.0),
        false => figure,
    }));
    Ok(figures)
}

/// The slow ones' share of the work is on the account of the fast ones: the CPU of the whole server is
/// divided by what the fast ones received.
fn slow_clients(bench: &mut Bench) -> Result<Vec<Figure>> {
    // Long enough for the slow ones' buffers to be full when it is measured.
    let warm = Duration::from_secs(4);
    let alone = Work {
        warm,
        ..Work::one(1_000, 200.0)
    };
    let beside = Work { slow: 300, ..alone };
    let alone = bench.measure(SERVER, &alone)?;
    let beside = bench.measure(SERVER, &beside)?;
    let times = |what: &str, a: f64, b: f64| {
        Figure::new(
            format!("beside 300 slow ones, of alone: {what}"),
            a / b,
            Unit::Times,
        )
        .at_most(1.1)
    };
    Ok(vec![
        cpu("alone", &alone),
        cpu("beside 300 slow ones", &beside),
        times("CPU per delivery", beside.cpu_us, alone.cpu_us),
        Figure::new("alone: latency p99", alone.latency_ms[1], Unit::Millis),
        Figure::new("beside: latency p99", beside.latency_ms[1], Unit::Millis),
        times("latency p99", beside.latency_ms[1], alone.latency_ms[1]),
        whole("beside", &beside),
    ])
}

/// Private memory of a server through the life of 10,000 connections.
struct Life {
    before: u64,
    idle: u64,
    /// After each has sent the largest request that is taken.
    asked: u64,
    /// After all are gone.
    after: u64,
    scrape_ms: f64,
}

impl Life {
    const CLIENTS: u32 = 10_000;

    fn of(bench: &mut Bench, target: Target) -> Result<Self> {
        const SCRAPES: u32 = 20;
        let work = Work::one(Self::CLIENTS, 1.0);
        let mut stage = bench.start(target, &work)?;
        let rest = Duration::from_secs(2);
        process::get(stage.program.addr, "/metrics")?;
        let before = stage.program.private_bytes()?;
        stage.connect(&work)?;
        stage.load.run(rest)?;
        let idle = stage.program.private_bytes()?;
        let cpu = stage.program.cpu()?;
        for _ in 0..SCRAPES {
            process::get(stage.program.addr, "/metrics")?;
        }
        let scrape_ms = (stage.program.cpu()? - cpu) as f64 / 1e6 / f64::from(SCRAPES);
        let request = format!("{:<1$}}}", r#"{"type":"heartbeat""#, 16 * 1024 - 1);
        stage.load.heartbeat(request.as_bytes())?;
        stage.load.run(rest)?;
        let asked = stage.program.private_bytes()?;
        stage.load.close();
        std::thread::sleep(rest);
        let after = stage.program.private_bytes()?;
        Ok(Self {
            before,
            idle,
            asked,
            after,
            scrape_ms,
        })
    }

    /// What a connection has made of the memory.
    fn each(&self, bytes: u64) -> f64 {
        (bytes as f64 - self.before as f64) / f64::from(Self::CLIENTS)
    }
}

/// The flight recorder keeps what was sent, up to `record_bytes`: what connections hold and give back
/// shows without it.
fn idle(bench: &mut Bench) -> Result<Vec<Figure>> {
    let on = Life::of(bench, SERVER)?;
    let off = Life::of(bench, Target::Server(&["--record-bytes", "0"]))?;
    let bytes = |what: &str, value: f64| Figure::new(what, value, Unit::Bytes);
    Ok(vec![
        bytes("private memory per idle connection", on.each(on.idle)).at_most(1_500.0),
        bytes("the same without the flight recorder", off.each(off.idle)),
        bytes(
            "without it, after each sent a request of 16 KiB",
            off.each(off.asked),
        ),
        bytes("without it: the server before", off.before as f64),
        bytes(
            "without it: the server after all are gone",
            off.after as f64,
        ),
        bytes("with it: the server before", on.before as f64),
        bytes("with it: the server after all are gone", on.after as f64),
        Figure::new("CPU of a metrics scrape", on.scrape_ms, Unit::Millis).at_most(5.0),
    ])
}

/// From the first SYN to the last answer, without a subscription.
fn upgrade(bench: &mut Bench) -> Result<Vec<Figure>> {
    // About a second: of 5,000, a third of one, single runs are between 1.5 and 2.6 times the floor's.
    const CLIENTS: u32 = 15_000;
    let topology = Topology::Nothing;
    let work = Work {
        topology,
        ..Work::one(CLIENTS, 1.0)
    };
    let per_upgrade = |target| -> Result<(f64, f64)> {
        let mut stage = bench.start(target, &work)?;
        let (cpu, began) = (stage.program.cpu()?, Instant::now());
        stage.connect(&work)?;
        let seconds = began.elapsed().as_secs_f64();
        // What is still done for the last ones belongs to them.
        stage.load.run(Duration::from_millis(100))?;
        let cpu = stage.program.cpu()? - cpu;
        Ok((
            cpu as f64 / 1e3 / f64::from(CLIENTS),
            f64::from(CLIENTS) / seconds,
        ))
    };
    let (floor, _) = per_upgrade(Target::Floor)?;
    let (server, rate) = per_upgrade(SERVER)?;
    Ok(vec![
        Figure::new("floor: CPU per upgrade", floor, Unit::Micros),
        Figure::new("server: CPU per upgrade", server, Unit::Micros),
        Figure::new("server: upgrades", rate, Unit::PerSecond),
        Figure::new(
            "CPU per upgrade, of the floor's",
            server / floor,
            Unit::Times,
        )
        .at_most(2.0),
    ])
}

fn recorder(bench: &mut Bench) -> Result<Vec<Figure>> {
    let work = Work::one(1_000, 1_000.0);
    let off = bench.measure(Target::Server(&["--record-bytes", "0"]), &work)?;
    let on = bench.measure(SERVER, &work)?;
    Ok(vec![
        cpu("off", &off),
        cpu("on", &on),
        together("off", &off),
        together("on", &on),
        Figure::new("on, of off", on.cpu_us / off.cpu_us, Unit::Times).at_most(1.05),
        whole("on", &on),
    ])
}
