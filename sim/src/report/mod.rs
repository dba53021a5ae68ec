//! What a run came to: in words, and as a page with pictures ([`html`]).

pub mod html;

use std::fmt;
use std::time::Duration;

use crate::client::Tally;
use crate::world::plan::{Fault, Plan};

/// What the world looked like over one interval.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its end, since the simulation began.
    pub at: Duration,
    /// Clients whose subscribe was answered.
    pub connected: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Upgrades that succeeded.
    pub admitted: u64,
    /// Upgrades that were refused.
    pub refused: u64,
    /// How far the client that is furthest behind is behind, in seqs of its first channel.
    pub lag: u64,
    /// Delays of deliveries to fast clients, in microseconds, sorted.
    pub delays: Vec<u64>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Whether it was shortened.
    pub short: bool,
    /// Its parameters, in words.
    pub plan: String,
    /// What went wrong on purpose, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// What was counted.
    pub tally: Tally,
    /// How it went.
    pub rows: Vec<Row>,
    /// Messages published.
    pub published: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Real time. Not part of the text: two runs of one seed print the same.
    pub wall: Duration,
    /// The hash of the trace, and its lines.
    pub hash: u64,
    /// See above.
    pub lines: u64,
    /// What is wrong. Empty: all promises were kept.
    pub failures: Vec<String>,
}

/// The value below which so many percent of the values are; 0 where there are none. Sorts them.
#[must_use]
pub fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0)
}

impl Report {
    /// The report of a plan with these counts.
    #[must_use]
    pub fn new(plan: &Plan, tally: &Tally, rows: Vec<Row>) -> Self {
        Self {
            name: plan.name.into(),
            seed: plan.seed,
            short: plan.short,
            plan: plan.to_string(),
            faults: plan.faults.clone(),
            tally: tally.clone(),
            rows,
            published: 0,
            simulated: Duration::ZERO,
            wall: Duration::ZERO,
            hash: 0,
            lines: 0,
            failures: Vec::new(),
        }
    }

    /// Whether all promises were kept.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// The command that runs this again.
    #[must_use]
    pub fn command(&self) -> String {
        let short = if self.short { " --short" } else { "" };
        format!("odin-sim run {} --seed {}{short}", self.name, self.seed)
    }

    /// All delays of deliveries to fast clients, in microseconds.
    #[must_use]
    pub fn delays(&self) -> Vec<u64> {
        let rows = self.rows.iter();
        rows.flat_map(|row| row.delays.iter().copied()).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        write!(f, "{}", self.plan)?;
        let simulated = self.simulated.as_secs_f64();
        writeln!(f, "  simulated {simulated:.3} s")?;
        writeln!(
            f,
            "  {} published, {} delivered; {} upgrades, {} attempts failed, refused {:?}",
            self.published, tally.delivered, tally.connects, tally.failed, tally.refused
        )?;
        writeln!(
            f,
            "  closes {:?}; {} positions recovered, {} not; {} lost, {} reset, {} error",
            tally.closes,
            tally.recovered,
            tally.unrecovered,
            tally.lost,
            tally.resets,
            tally.errors
        )?;
        let mut delays = self.delays();
        let ms = |percent, delays: &mut Vec<u64>| percentile(delays, percent) as f64 / 1000.0;
        writeln!(
            f,
            "  delay of fast clients: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            ms(50, &mut delays),
            ms(99, &mut delays),
            ms(100, &mut delays),
        )?;
        writeln!(
            f,
            "  {} scrapes, the longest {:.1} ms; at most {} pauses of a server",
            tally.scrapes,
            tally.scrape_max.as_secs_f64() * 1000.0,
            tally.pauses
        )?;
        writeln!(f, "  trace {:016x} of {} lines", self.hash, self.lines)?;
        if self.passed() {
            return writeln!(f, "PASSED {} seed {}", self.name, self.seed);
        }
        for failure in &self.failures {
            writeln!(f, "  {failure}")?;
        }
        writeln!(f, "FAILED {} seed {}", self.name, self.seed)?;
        writeln!(f, "{}", self.command())
    }
}
