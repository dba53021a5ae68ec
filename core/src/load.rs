//! Samples of CPU and memory in, pressure out.
//!
//! It decides when the machine is too busy for new connections and when it is well again, with two
//! thresholds and a time for each, so that admission does not flap. Where the samples come from is the
//! shell's, and what follows from the pressure is the [`Gate`](crate::gate::Gate)'s.
//!
//! What is unknown is neither good nor bad: it never starts a refusal, and it never counts toward the
//! time that ends one.

use core::time::Duration;

use crate::config::GateConfig;
use crate::mutant::{self, Mutant};
use crate::reason::Refusal;
use crate::record::codec::coded;
use crate::time::Instant;

/// How long CPU must be above its threshold before upgrades are refused: a burst is no overload.
pub const CPU_REFUSE_AFTER: Duration = Duration::from_secs(5);

/// How long CPU or memory must be below its lower threshold before upgrades are let in again.
pub const ADMIT_AFTER: Duration = Duration::from_secs(5);

/// What was measured. `None` is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// CPU used since the sample before, in thousandths of the quota.
    pub cpu_permille: Option<u32>,
    /// The working set, in bytes.
    pub memory_bytes: Option<u64>,
    /// What the working set may grow to, in bytes.
    pub memory_limit: Option<u64>,
}

impl Sample {
    /// Memory in thousandths of its limit, rounded up. `None` if either is unknown or the limit is 0.
    #[must_use]
    pub fn memory_permille(&self) -> Option<u64> {
        let used = u128::from(self.memory_bytes?);
        let limit = u128::from(self.memory_limit.filter(|limit| *limit > 0)?);
        Some(u64::try_from((used * 1000).div_ceil(limit)).unwrap_or(u64::MAX))
    }
}

/// One value with its two thresholds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rule {
    /// Above this it starts to refuse; 0: never.
    refuse_permille: u64,
    /// Below this it starts to admit again.
    admit_permille: u64,
    /// How long it must be above.
    refuse_after: Duration,
    refusing: bool,
    /// Since when every sample has spoken for the change that is next.
    since: Option<Instant>,
}

impl Rule {
    fn new(refuse_percent: u32, admit_percent: u32, refuse_after: Duration) -> Self {
        // A lower threshold that is off, or above the upper one, would never let in again or flap at
        // once: the upper one then serves as both.
        let admit = match admit_percent {
            _ if mutant::is(Mutant::HysteresisWithoutGap) => refuse_percent,
            0 => refuse_percent,
            percent => percent.min(refuse_percent),
        };
        Self {
            refuse_permille: u64::from(refuse_percent) * 10,
            admit_permille: u64::from(admit) * 10,
            refuse_after,
            refusing: false,
            since: None,
        }
    }

    fn sample(&mut self, now: Instant, permille: Option<u64>) {
        if self.refuse_permille == 0 {
            return;
        }
        let speaks_for_change = permille.is_some_and(|value| match self.refusing {
            true => value < self.admit_permille,
            false => value > self.refuse_permille,
        });
        if !speaks_for_change {
            self.since = None;
            return;
        }
        let needed = match self.refusing {
            true => ADMIT_AFTER,
            false => self.refuse_after,
        };
        let since = *self.since.get_or_insert(now);
        if now.saturating_since(since) >= needed {
            self.refusing = !self.refusing;
            self.since = None;
        }
    }
}

/// The pressure that the samples so far amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    cpu: Rule,
    memory: Rule,
    last: Sample,
}

impl Load {
    /// No pressure, nothing known.
    #[must_use]
    pub fn new(config: &GateConfig) -> Self {
        Self {
            cpu: Rule::new(
                config.cpu_refuse_percent,
                config.cpu_admit_percent,
                CPU_REFUSE_AFTER,
            ),
            memory: Rule::new(
                config.memory_refuse_percent,
                config.memory_admit_percent,
                Duration::ZERO,
            ),
            last: Sample::default(),
        }
    }

    /// Takes the next sample. Times are those of the samples: between two of them nothing changes.
    pub fn sample(&mut self, now: Instant, sample: Sample) {
        self.cpu.sample(now, sample.cpu_permille.map(u64::from));
        self.memory.sample(now, sample.memory_permille());
        self.last = sample;
    }

    /// Why upgrades are to be refused; memory before CPU, as it is what kills.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        if self.memory.refusing {
            Some(Refusal::Memory)
        } else if self.cpu.refusing {
            Some(Refusal::Cpu)
        } else {
            None
        }
    }

    /// The latest sample; all unknown before the first.
    #[must_use]
    pub const fn last(&self) -> Sample {
        self.last
    }
}

coded!(Sample {
    cpu_permille,
    memory_bytes,
    memory_limit
});

coded!(Rule {
    refuse_permille,
    admit_permille,
    refuse_after,
    refusing,
    since
});

coded!(Load { cpu, memory, last });
