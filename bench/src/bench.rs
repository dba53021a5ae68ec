//! One measurement: a program, its clients, and messages at a steady rate.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::Load;
use crate::process::{self, Program};
use crate::publisher::{Plan, Publisher};
use crate::source::{Broker, PREFIX, Source};
use crate::topology::Topology;

/// How long what was published may take to arrive after the last message.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(5);

/// The share of the messages that must be published in time for a rate to count as held. The last of
/// them may be due when the publisher has no CPU.
pub(crate) const PUBLISHED_MIN: f64 = 0.98;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The release server, with further flags.
    Server(&'static [&'static str]),
    /// The floor.
    Floor,
}

/// The work that a program is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Clients that read.
    pub(crate) clients: u32,
    /// Clients beside them that hardly read.
    pub(crate) slow: u32,
    /// Who subscribes to what.
    pub(crate) topology: Topology,
    /// Messages a second.
    pub(crate) rate: f64,
    /// Bytes of a payload.
    pub(crate) payload: usize,
    /// How long messages flow before anything is measured.
    pub(crate) warm: Duration,
    /// How long is measured.
    pub(crate) span: Duration,
}

impl Work {
    /// One channel, payloads of 256 bytes, measured for 3 s.
    pub(crate) const fn one(clients: u32, rate: f64) -> Self {
        Self {
            clients,
            slow: 0,
            topology: Topology::One,
            rate,
            payload: 256,
            warm: Duration::from_millis(800),
            span: Duration::from_secs(3),
        }
    }
}

/// What a measurement came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Microseconds of CPU of the program for each delivery to a client that reads.
    pub(crate) cpu_us: f64,
    /// Deliveries a second.
    pub(crate) rate: f64,
    /// Messages that a client received at once.
    pub(crate) together: f64,
    /// From publish to read, in milliseconds: half, 99 % and 99.9 % are not above.
    pub(crate) latency_ms: [f64; 3],
    /// The messages that were published, of those that were to be.
    pub(crate) published: f64,
    /// What went wrong; `None`: every message was delivered once, in order, and nothing else was.
    pub(crate) problem: Option<String>,
    /// The share of CPU time spent in the kernel, in percent.
    pub(crate) system_percent: f64,
}

impl Outcome {
    /// Whether the program kept up: everything came, at the rate that was asked for.
    pub(crate) fn held(&self) -> bool {
        self.problem.is_none() && self.published > PUBLISHED_MIN
    }
}

/// The programs, and what the present run has measured already.
#[derive(Debug)]
pub(crate) struct Bench {
    server: PathBuf,
    floor: PathBuf,
    measured: BTreeMap<String, Outcome>,
}

impl Bench {
    /// Measures this server, or the one beside this program, and the floor that is a command of it.
    pub(crate) fn new(server: Option<PathBuf>) -> Result<Self> {
        let floor = std::env::current_exe()?;
        let server = server.unwrap_or_else(|| floor.with_file_name("odin-ws"));
        if !server.is_file() {
            let path = server.display();
            let hint = "build it: cargo build --release --locked -p odin-shell";
            return Err(format!("there is no {path}; {hint}").into());
        }
        Ok(Self {
            server,
            floor,
            measured: BTreeMap::new(),
        })
    }

    /// Begins the next run: everything is measured again.
    pub(crate) fn next_run(&mut self) {
        self.measured.clear();
    }

    /// Whether the server has this flag.
    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        process::output(&self.server, &["--help"]).contains(flag)
    }

    /// Measures, once in a run: cases that speak of the same work share it.
    pub(crate) fn measure(&mut self, target: Target, work: &Work) -> Result<Outcome> {
        let key = format!("{target:?} {work:?}");
        if let Some(outcome) = self.measured.get(&key) {
            return Ok(outcome.clone());
        }
        let outcome = self.stage(target, work)?.perform(work)?;
        self.measured.insert(key, outcome.clone());
        Ok(outcome)
    }

    /// Starts a program and connects its clients.
    pub(crate) fn stage(&self, target: Target, work: &Work) -> Result<Stage> {
        let mut stage = self.start(target, work)?;
        stage.connect(work)?;
        Ok(stage)
    }

    /// Starts a program that has no clients yet.
    pub(crate) fn start(&self, target: Target, work: &Work) -> Result<Stage> {
        let load = Load::new(work.payload)?;
        let (program, source) = match target {
            Target::Server(flags) => {
                let broker = Broker::listen()?;
                let program = Program::start(&self.server, &server_args(&broker, flags))?;
                let source = broker.source()?;
                program.wait_until_ready()?;
                (program, source)
            }
            Target::Floor => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let args = ["floor".to_owned(), listener.local_addr()?.to_string()];
                let program = Program::start(&self.floor, &args)?;
                let channels = work.topology.channels(work.clients);
                (program, Source::floor(&listener, channels)?)
            }
        };
        Ok(Stage {
            program,
            load,
            source: Some(source),
        })
    }
}

/// The flags of a server under measurement. Everything else is as by default, with every limit and the
/// recorder; the rate of new connections is no part of any case.
fn server_args(broker: &Broker, flags: &[&str]) -> Vec<String> {
    let (url, subject) = (format!("nats://{}", broker.addr), format!("{PREFIX}>"));
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--source",
        "nats",
        "--nats-url",
        &url,
        "--subject",
        &subject,
        "--strip",
        PREFIX,
        "--accept-rate",
        "0",
        "--cpu-refuse-percent",
        "0",
        "--log",
        "error",
    ];
    args.iter()
        .chain(flags)
        .map(|arg| (*arg).to_owned())
        .collect()
}

/// A program with its clients.
pub(crate) struct Stage {
    // Ends before its clients, so that it has no work with their ends.
    pub(crate) program: Program,
    pub(crate) load: Load,
    source: Option<Source>,
}

impl Stage {
    /// Connects the clients of the work.
    pub(crate) fn connect(&mut self, work: &Work) -> Result<()> {
        let of = |client| work.topology.of(client, work.clients);
        self.load
            .connect(self.program.addr, (0..work.clients).map(of), false)?;
        let slow = (0..work.slow).map(|client| of(client % work.clients.max(1)));
        self.load.connect(self.program.addr, slow, true)
    }

    /// Publishes and measures.
    pub(crate) fn perform(&mut self, work: &Work) -> Result<Outcome> {
        let plan = Plan {
            rate: work.rate,
            span: work.warm + work.span,
            payload: work.payload,
            topology: work.topology,
            clients: work.clients,
        };
        let source = self.source.take().ok_or("the source is gone")?;
        let before = self.load.tally.deliveries;
        let publisher = Publisher::start(plan, source);
        self.load.run(work.warm)?;
        self.load.tally.latency.clear();
        let (cpu, deliveries) = (self.program.cpu()?, self.load.tally.deliveries);
        let reads = self.load.tally.reads;
        let began = Instant::now();
        self.load.run(work.span)?;
        let seconds = began.elapsed().as_secs_f64();
        let cpu = self.program.cpu()? - cpu;
        let deliveries = self.load.tally.deliveries - deliveries;
        let reads = self.load.tally.reads - reads;
        let latency = &self.load.tally.latency;
        let latency_ms = [500, 990, 999].map(|mille| latency.quantile(mille) as f64 / 1e6);
        let (expected, published) = self.arrive(publisher, before)?;
        let tally = &mut self.load.tally;
        let arrived = tally.deliveries - before;
        let problem = tally.problem.take().or_else(|| {
            (arrived != expected).then(|| format!("{arrived} of {expected} deliveries arrived"))
        });
        Ok(Outcome {
            cpu_us: cpu as f64 / 1e3 / deliveries.max(1) as f64,
            rate: deliveries as f64 / seconds,
            together: deliveries as f64 / reads.max(1) as f64,
            latency_ms,
            published: published as f64 / (plan.rate * plan.span.as_secs_f64()),
            problem,
            system_percent: self.program.system_percent()?,
        })
    }

    /// Waits until everything that was published has arrived, or cannot be expected to. Gives the
    /// deliveries that were to be, and the messages that were published.
    fn arrive(&mut self, publisher: Publisher, before: u64) -> Result<(u64, u64)> {
        while !publisher.is_finished() {
            self.load.turn(Duration::from_millis(5))?;
        }
        let (expected, published) = (publisher.expected(), publisher.published());
        self.source = Some(publisher.finish()?);
        let until = Instant::now() + ARRIVAL_TIME_MAX;
        while self.load.tally.deliveries - before < expected && Instant::now() < until {
            self.load.turn(Duration::from_millis(5))?;
        }
        Ok((expected, published))
    }
}
