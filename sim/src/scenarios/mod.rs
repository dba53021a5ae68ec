//! The scenarios: what each is about, and the plan that a seed makes of it.

mod broker;
mod everything;
mod load;
mod pressure;
mod replicas;

use std::time::Duration;

use crate::broker::Load;
use crate::client::{Habit, Mix};
use crate::dice::Dice;
use crate::jetstream::Limits;
use crate::report::Report;
use crate::trace::Trace;
use crate::world::plan::{Demand, Fault, Plan};

/// How large a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// As large as the scenario says.
    Full,
    /// Few clients, and a first phase of 12 simulated seconds: for the tests and for sweeps.
    Short,
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    make: fn(&mut Draft<'_>),
}

/// Every scenario.
pub const ALL: &[Scenario] = &[
    load::LIGHT,
    load::MEDIUM,
    load::HEAVY,
    load::FLASH_CROWD,
    load::RECONNECT_STORM,
    load::SLOW_CONSUMERS,
    load::BUSY_SHARD,
    load::PUBLISH_BURST,
    broker::BROKER_PARTITION,
    broker::BROKER_RESTART,
    broker::STREAM_RECREATED,
    broker::STREAM_PURGED,
    replicas::ROLLING_RESTART,
    replicas::CRASH_AND_RESUME,
    pressure::CPU_PRESSURE,
    pressure::MEMORY_PRESSURE,
    pressure::FLOODING_CLIENTS,
    replicas::DRAIN,
    broker::CLOCK_JUMP,
    everything::KITCHEN_SINK,
];

/// The scenario with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Runs it at full size.
    #[must_use]
    pub fn run(&self, seed: u64) -> Report {
        self.run_scaled(seed, Scale::Full)
    }

    /// Runs it.
    #[must_use]
    pub fn run_scaled(&self, seed: u64, scale: Scale) -> Report {
        self.run_traced(seed, scale, &Trace::unwritten())
    }

    /// Runs it without asking that what it is about really happens: a drawn world may be too kind for
    /// that, and what must happen is asked of pinned seeds.
    #[must_use]
    pub fn run_drawn(&self, seed: u64, scale: Scale) -> Report {
        let mut plan = self.plan(seed, scale);
        plan.demands.retain(Demand::is_bound);
        crate::world::run(plan, &Trace::unwritten())
    }

    /// Runs it, and writes down what happens.
    #[must_use]
    pub fn run_traced(&self, seed: u64, scale: Scale, trace: &Trace) -> Report {
        crate::world::run(self.plan(seed, scale), trace)
    }

    /// What a seed makes of it.
    #[must_use]
    pub fn plan(&self, seed: u64, scale: Scale) -> Plan {
        let name = self.name.bytes().fold(0_u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        // The same seed makes different worlds of different scenarios.
        let mut dice = Dice::new(seed ^ name.rotate_left(32));
        let mut plan = usual(self.name, seed, &mut dice);
        plan.short = scale == Scale::Short;
        // With a tenth of the clients a pass over all of them takes as long.
        let scaled = if plan.short { 10 } else { 1 };
        plan.write_time = Duration::from_micros(dice.range(0, 50) * scaled);
        let mut draft = Draft {
            plan: &mut plan,
            dice: &mut dice,
            scale,
        };
        draft.size(60, 100);
        (self.make)(&mut draft);
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }
}

/// Polite clients of every speed.
const POLITE: Mix = &[
    (Habit::Fast, 6),
    (Habit::Slow, 1),
    (Habit::Flapping, 1),
    (Habit::Roaming, 1),
];

/// What a scenario starts from.
fn usual(name: &'static str, seed: u64, dice: &mut Dice) -> Plan {
    let foreign = dice.permille(300);
    Plan {
        name,
        seed,
        short: false,
        servers: usize::try_from(dice.range(1, 3)).unwrap_or(1),
        shards: usize::try_from(dice.range(1, 3)).unwrap_or(1),
        clients: 0,
        hosts: 4,
        duration: Duration::ZERO,
        bound: Duration::from_secs(25),
        ramp: Duration::from_secs(2),
        latency_ms: (0, dice.range(1, 20)),
        write_time: Duration::ZERO,
        load: Load {
            channels: dice.range(10, 60),
            rate: dice.range(20, 120),
            payload: (0, dice.range(20, 400)),
        },
        limits: Limits {
            messages: 1_000_000,
            foreign,
            ..Limits::default()
        },
        flags: vec![
            ("ping-interval", "5s".into()),
            ("idle-timeout", "15s".into()),
            ("write-stall", "4s".into()),
            ("drain-timeout", format!("{}s", dice.range(2, 6))),
            ("send-buffer", format!("{}KiB", dice.range(2, 32))),
            ("payload-bytes-max", "64KiB".into()),
            ("log-messages", dice.range(50, 5_000).to_string()),
            ("log-bytes", format!("{}MiB", dice.range(1, 8))),
        ],
        connections_max: 20_000,
        mix: POLITE,
        faults: Vec::new(),
        demands: Vec::new(),
    }
}

/// A plan in the making.
#[derive(Debug)]
struct Draft<'a> {
    plan: &'a mut Plan,
    dice: &'a mut Dice,
    scale: Scale,
}

impl Draft<'_> {
    /// Seconds of the first phase, and clients, at full size.
    fn size(&mut self, seconds: u64, clients: usize) {
        let (seconds, clients) = match self.scale {
            Scale::Full => (seconds, clients),
            Scale::Short => (12, (clients / 10).clamp(16, 40)),
        };
        self.plan.duration = Duration::from_secs(seconds);
        self.plan.clients = clients;
    }

    /// A fault at so many thousandths of the first phase, somewhat earlier or later.
    fn fault(&mut self, permille: u64, fault: Fault) {
        let about = self.plan.duration.as_secs_f64() * permille as f64 / 1000.0;
        let shifted = about + self.dice.range(0, 400) as f64 / 1000.0;
        let at = Duration::from_secs_f64(shifted).min(self.plan.duration);
        self.plan.faults.push((at, fault));
    }

    /// One of the servers.
    fn server(&mut self) -> usize {
        let last = (self.plan.servers as u64).saturating_sub(1);
        usize::try_from(self.dice.range(0, last)).unwrap_or(0)
    }

    /// Changes a setting of the servers.
    fn set(&mut self, flag: &'static str, value: impl ToString) {
        self.plan.flags.retain(|(name, _)| *name != flag);
        self.plan.flags.push((flag, value.to_string()));
    }
}
