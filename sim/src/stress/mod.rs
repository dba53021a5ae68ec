//! The stress tool: the load of a scenario against a real server, over real sockets, judged by the oracle.

mod client;
mod judge;
mod publish;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::dice::Dice;
use crate::oracle::{ClientId, Laws, Oracle};
use crate::report::percentile;
use judge::Judge;
use publish::Publisher;

/// The most clients: each is a socket, and the ports of one address are not endless.
pub const CLIENTS_MAX: usize = 20_000;
/// Channels that are published on.
const CHANNELS: u64 = 50;
/// How long the clients may take to reach the head once nothing is published any more.
const SETTLE: Duration = Duration::from_secs(15);
/// New connections a second.
const CONNECTS_PER_SECOND: f64 = 500.0;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's WebSocket, `ws://host:port/path`.
    pub url: String,
    /// `host:port` of the server that takes `POST /publish/{channel}`.
    pub publish: String,
    /// The bearer token for it.
    pub token: Option<String>,
    /// How many clients.
    pub clients: usize,
    /// How many of them never read.
    pub stalled: usize,
    /// For how long messages are published.
    pub duration: Duration,
    /// Messages a second.
    pub rate: u64,
    /// Bytes of padding in each message.
    pub payload: usize,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    connected: u64,
    failed: u64,
    refused: BTreeMap<u16, u64>,
    closes: BTreeMap<u16, u64>,
    /// Delays from just before publishing to the client, in microseconds.
    delays: Vec<u64>,
}

/// A run under way.
struct Run {
    options: Options,
    judge: RefCell<Judge>,
    tally: RefCell<Tally>,
    over: Bell,
    ended: Cell<bool>,
    began: Instant,
}

impl Run {
    fn is_over(&self) -> bool {
        self.ended.get()
    }

    fn measure(&self, data: &str) {
        let at = data.split_once("\"at\":").map(|(_, rest)| rest);
        let digits = at.and_then(|rest| rest.split_once(','));
        if let Some(at) = digits.and_then(|(digits, _)| digits.parse::<u64>().ok()) {
            let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.tally.borrow_mut().delays.push(now.saturating_sub(at));
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    tally: Tally,
    published: u64,
    deliveries: u64,
    connected_most: u64,
    lost: u64,
    resets: u64,
    resumed: (u64, u64),
    /// What is wrong; empty: all promises were kept.
    pub failures: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut delays = self.tally.delays.clone();
        let mut ms = |percent| percentile(&mut delays, percent) as f64 / 1000.0;
        writeln!(
            f,
            "clients: {} connected at once; {} attempts failed, refused {:?}",
            self.connected_most, self.tally.failed, self.tally.refused
        )?;
        writeln!(
            f,
            "messages: {} published, {} deliveries checked",
            self.published, self.deliveries
        )?;
        writeln!(
            f,
            "latency: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            ms(50),
            ms(90),
            ms(99),
            ms(100)
        )?;
        let (recovered, unrecovered) = self.resumed;
        writeln!(
            f,
            "losses: {} lost, {} reset; {recovered} positions recovered, {unrecovered} not",
            self.lost, self.resets
        )?;
        writeln!(f, "closes by code: {:?}", self.tally.closes)?;
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        f.write_str(if self.failures.is_empty() {
            "PASSED"
        } else {
            "FAILED"
        })
    }
}

/// Runs the load to its end.
///
/// # Errors
/// The server cannot be reached, or does not take what is published.
pub fn run(options: Options) -> std::io::Result<Summary> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, drive(options))
}

async fn drive(options: Options) -> std::io::Result<Summary> {
    // Whether it can be reached at all shows at once.
    drop(Publisher::connect(&options.publish, options.token.as_deref()).await?);
    // Names that no earlier run used.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let tag = since.map_or(0, |since| since.as_millis());
    let name = |number: u64| format!("stress-{tag}.g{}.c{number}", number / 10);
    let run = Rc::new(Run {
        judge: RefCell::new(Judge::new(Oracle::new(Laws::default()))),
        tally: RefCell::default(),
        over: Bell::default(),
        ended: Cell::new(false),
        began: Instant::now(),
        options,
    });
    let mut dice = Dice::new(7);
    for number in 0..run.options.clients {
        // A fifth of the channels each: by a pattern, or by their names.
        let first = dice.range(0, CHANNELS / 10 - 1);
        let names = match dice.permille(300) {
            true => vec![format!("stress-{tag}.g{first}.*")],
            false => (0..10).map(|n| name(first * 10 + n)).collect(),
        };
        let delay = Duration::from_secs_f64(number as f64 / CONNECTS_PER_SECOND);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        tokio::task::spawn_local(client::live(Rc::clone(&run), number, names, delay));
    }
    let ramp = Duration::from_secs_f64(run.options.clients as f64 / CONNECTS_PER_SECOND);
    tokio::time::sleep(ramp).await;
    // Not sooner: a server closes a connection that asks for nothing.
    let (publish, token) = (&run.options.publish, run.options.token.as_deref());
    let mut publisher = Publisher::connect(publish, token).await?;
    let mut progress = Progress::default();
    let began = Instant::now();
    let mut published = 0;
    while began.elapsed() < run.options.duration {
        let due = began.elapsed().as_secs_f64() * run.options.rate as f64;
        if published as f64 > due {
            tokio::time::sleep(Duration::from_millis(2)).await;
        } else {
            let channel = name(dice.range(0, CHANNELS - 1));
            one(&run, &mut publisher, &channel, published).await?;
            published += 1;
        }
        progress.show(&run, began.elapsed());
    }
    let failures = settle(&run).await;
    progress.show(&run, run.options.duration);
    eprintln!();
    Ok(finish(&run, published, progress.connected_most, failures).await)
}

async fn one(run: &Run, publisher: &mut Publisher, channel: &str, n: u64) -> std::io::Result<()> {
    let at = run.began.elapsed().as_micros();
    let padding = "x".repeat(run.options.payload);
    let payload = format!("{{\"n\":{n},\"at\":{at},\"pad\":\"{padding}\"}}");
    run.judge.borrow_mut().begin();
    let seq = publisher.publish(channel, &payload).await?;
    run.judge
        .borrow_mut()
        .published(channel, seq, payload.as_bytes());
    Ok(())
}

/// Waits until every client that reads is at the head; gives what is missing.
async fn settle(run: &Run) -> Vec<String> {
    let until = Instant::now() + SETTLE;
    loop {
        let behind: Vec<String> = (run.options.stalled..run.options.clients)
            .filter_map(|number| u32::try_from(number).ok())
            .filter_map(|number| run.judge.borrow().missing(ClientId(number)))
            .take(3)
            .collect();
        if behind.is_empty() || Instant::now() > until {
            return behind;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn finish(run: &Run, published: u64, most: u64, mut failures: Vec<String>) -> Summary {
    run.ended.set(true);
    run.over.ring();
    let ended = Instant::now() + Duration::from_secs(6);
    while run.tally.borrow().connected > 0 && Instant::now() < ended {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let judge = run.judge.borrow();
    failures.extend(judge.violations.iter().cloned());
    let wanted = run.options.clients as u64;
    if most < wanted {
        failures.push(format!(
            "only {most} of {wanted} clients were connected at once"
        ));
    }
    Summary {
        tally: run.tally.borrow().clone(),
        published,
        deliveries: judge.deliveries(),
        connected_most: most,
        lost: judge.lost,
        resets: judge.resets,
        resumed: (judge.recovered, judge.unrecovered),
        failures,
    }
}

/// The line that says how far the run is, written over itself once a second.
#[derive(Debug, Default)]
struct Progress {
    shown: Option<Instant>,
    connected_most: u64,
}

impl Progress {
    fn show(&mut self, run: &Run, elapsed: Duration) {
        let connected = run.tally.borrow().connected;
        self.connected_most = self.connected_most.max(connected);
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed() > Duration::from_secs(1));
        if !due && elapsed < run.options.duration {
            return;
        }
        self.shown = Some(Instant::now());
        let part = elapsed.as_secs_f64() / run.options.duration.as_secs_f64().max(0.001);
        let marks = (part.min(1.0) * 30.0) as usize;
        eprint!(
            "\r[{:<30}] {:3.0} %  {connected} connected, {} deliveries ",
            "#".repeat(marks),
            part.min(1.0) * 100.0,
            run.judge.borrow().deliveries()
        );
    }
}
