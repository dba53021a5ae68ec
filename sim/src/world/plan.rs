//! What a run consists of: everything in it was drawn from the seed.

use std::fmt;
use std::time::Duration;

use crate::broker::Load;
use crate::client::Mix;
use crate::jetstream::Limits;
use crate::oracle::Laws;

/// Something that goes wrong, or that ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing gets through between the broker and a server (`None`: all); nothing is lost.
    BrokerHold(Option<usize>),
    /// What was held gets through.
    BrokerRelease(Option<usize>),
    /// What the broker and a server say to each other is lost for good.
    BrokerCut(Option<usize>),
    /// New connections between them work again.
    BrokerRepair(Option<usize>),
    /// The broker's process is killed.
    BrokerCrash,
    /// It comes back: with its store, or (`true`) with an empty stream.
    BrokerBounce(bool),
    /// The stream is deleted and made anew.
    Recreate,
    /// The broker's store is restored from a copy that lacks so many messages.
    RollBack(u64),
    /// The stream is purged; so many messages are kept.
    Purge(u64),
    /// The stream keeps only so many messages from now on.
    Limit(usize),
    /// So many deliveries of a thousand get lost between the broker and the servers.
    Drop(u64),
    /// Messages a second.
    Rate(u64),
    /// The broker's wall clock jumps to so many milliseconds ahead of the simulation's (or behind).
    Clock(i64),
    /// A server is killed.
    Crash(usize),
    /// It comes back.
    Bounce(usize),
    /// A server is told to drain, ends, and is started anew.
    Drain(usize),
    /// The CPU of all servers is used so far, in thousandths.
    Cpu(u32),
    /// Their memory is used so far, in percent.
    Memory(u64),
    /// Clients with a number below this one want to be connected.
    Active(usize),
    /// All clients are cut off and come back at once.
    Storm,
    /// Nothing gets through between the clients of a host and the servers; nothing is lost.
    ClientsHold(usize),
    /// It gets through.
    ClientsRelease(usize),
    /// What they say to each other is lost for good.
    ClientsCut(usize),
    /// New connections work again.
    ClientsRepair(usize),
}

/// What a scenario may demand of its outcome beside the promises to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// At least one connection was closed with this code.
    Closed(u16),
    /// At least one upgrade was refused with this status.
    Refused(u16),
    /// No upgrade was refused.
    NoRefusal,
    /// At least one subscription was resumed without a hole.
    Recovered,
    /// At least one `reset` was told.
    Reset,
    /// At least one `lost` was told.
    Lost,
    /// Of the deliveries to fast clients 99 % took no longer, in milliseconds.
    DelayMs(u64),
    /// Shards that were behind paused, at least so often.
    Paused(u64),
    /// Every scrape of a server's metrics took no longer, in milliseconds.
    ScrapeMs(u64),
}

impl Demand {
    /// Whether it bounds what may happen, and does not ask for something to happen.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        matches!(self, Self::NoRefusal | Self::DelayMs(_) | Self::ScrapeMs(_))
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name.
    pub name: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Shortened, for tests and sweeps.
    pub short: bool,
    /// How many servers.
    pub servers: usize,
    /// How many shards each has.
    pub shards: usize,
    /// How many clients.
    pub clients: usize,
    /// On how many hosts.
    pub hosts: usize,
    /// How long the first phase takes.
    pub duration: Duration,
    /// How long after it every client must have reached the head.
    pub bound: Duration,
    /// Over how long the clients arrive.
    pub ramp: Duration,
    /// The delay of the network, at least and at most, in milliseconds.
    pub latency_ms: (u64, u64),
    /// How long a write keeps the thread of its shard busy.
    pub write_time: Duration,
    /// What is published.
    pub load: Load,
    /// What the stream keeps.
    pub limits: Limits,
    /// Settings of the servers.
    pub flags: Vec<(&'static str, String)>,
    /// The most connections of each server.
    pub connections_max: u32,
    /// The clients' habits.
    pub mix: Mix,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// What must have happened.
    pub demands: Vec<Demand>,
}

impl Plan {
    /// What its faults allow to servers.
    #[must_use]
    pub fn laws(&self) -> Laws {
        let has = |test: fn(&Fault) -> bool| self.faults.iter().any(|(_, fault)| test(fault));
        Laws {
            rolls_back: has(|fault| matches!(fault, Fault::RollBack(_))),
            outages: has(|fault| {
                matches!(
                    fault,
                    Fault::BrokerHold(_) | Fault::BrokerCut(_) | Fault::BrokerCrash
                )
            }),
            ..Laws::default()
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seed {}: {} servers of {} shards, {} clients on {} hosts, {:.1} s and {:.1} s to heal",
            self.name,
            self.seed,
            self.servers,
            self.shards,
            self.clients,
            self.hosts,
            self.duration.as_secs_f64(),
            self.bound.as_secs_f64(),
        )?;
        writeln!(
            f,
            "  {} messages/s of {}-{} B on {} channels; the stream keeps {}{}; network {}-{} ms; a write takes {} us",
            self.load.rate,
            self.load.payload.0,
            self.load.payload.1,
            self.load.channels,
            self.limits.messages,
            if self.limits.foreign {
                " and carries other subjects"
            } else {
                ""
            },
            self.latency_ms.0,
            self.latency_ms.1,
            self.write_time.as_micros(),
        )?;
        let flags = self
            .flags
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        writeln!(f, "  servers: {}", flags.collect::<Vec<_>>().join(" "))?;
        writeln!(f, "  clients: {:?}", self.mix)?;
        for (at, fault) in &self.faults {
            writeln!(f, "  {:7.2} s {fault:?}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
