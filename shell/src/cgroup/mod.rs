//! How much CPU and memory there is for this server, and how much of it is in use.
//!
//! Read from the control groups (version 1 or 2, per controller) where they set a limit; else this
//! process's own use over the machine's. What cannot be read is unknown; nothing is guessed. What
//! follows from a sample is decided by the core's [`odin_core::load`].

mod group;
mod hierarchy;
mod process;
mod read;

use std::path::PathBuf;
use std::time::Duration;

use odin_core::load;
use odin_core::time::Instant;

use group::Groups;
use read::Content;

/// Something that measures the load of this server: the [`Sampler`], or what stands in for it.
pub trait Meter {
    /// Measures. `now` is monotonic; CPU is what was used since the call before.
    fn sample(&mut self, now: Instant) -> load::Sample;
}

/// What a [`Sampler`] is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The folder below which `proc` and `sys` are: `/`, or that of a fixture.
    pub root: PathBuf,
    /// Bytes that count as the memory limit instead of the one that is found.
    pub memory_limit: Option<u64>,
    /// Cores that count as the CPU quota instead of the one that is found. Above 0.
    pub cpu_limit: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            memory_limit: None,
            cpu_limit: None,
        }
    }
}

/// What there is for this server.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Bytes of memory: the setting, else the control group's limit, else the machine's; `None`:
    /// unknown.
    pub memory_bytes: Option<u64>,
    /// Cores: the setting, else the control group's quota, else those that this process may run on.
    /// May be a fraction. Where nothing is known, what the standard library finds.
    pub cpu_cores: f64,
}

/// Where a reading of CPU time comes from; readings of different kinds do not compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CpuSource {
    Group,
    Process,
}

/// The shortest time over which CPU is measured: the kernel counts in steps of some milliseconds, and
/// a server that has just started is busy with that.
const CPU_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A reading of CPU time.
#[derive(Clone, Copy, Debug)]
struct CpuReading {
    source: CpuSource,
    at: Instant,
    used_nanos: u64,
}

/// Measures the load of this server.
pub struct Sampler {
    options: Options,
    groups: Groups,
    last: Option<CpuReading>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler")
            .field("options", &self.options)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// The memory that counts: whose use, against what.
struct Memory {
    limit: Option<u64>,
    used: Option<u64>,
}

impl Sampler {
    /// Finds the control groups of this process and takes the first reading of CPU time, so that the
    /// first sample has something to compare with. Groups are looked up once; their limits are read
    /// again for every sample, as they can be changed under a running process.
    #[must_use]
    pub fn new(options: Options, now: Instant) -> Self {
        let groups = Groups::find(&options.root);
        let mut sampler = Self {
            options,
            groups,
            last: None,
        };
        sampler.last = sampler.read_cpu(now).map(|(reading, _)| reading);
        sampler
    }

    /// What there is for this server, as of now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let millicores = self.cpu_quota().map(|(millicores, _)| millicores);
        let found = || std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        Limits {
            memory_bytes: self.memory().limit,
            cpu_cores: millicores.map_or_else(found, |millicores| millicores as f64 / 1000.0),
        }
    }

    fn memory(&self) -> Memory {
        let root = &self.options.root;
        let machine = process::memory_total(root);
        let (limit, used) = match self.groups.memory_limit() {
            // A limit above what the machine has is none.
            Content::Is(limited) if machine.is_none_or(|total| limited.limit < total) => {
                (Some(limited.limit), self.groups.working_set(&limited))
            }
            Content::Is(_) | Content::Missing => (machine, process::memory_used(root)),
            Content::Garbled => (None, process::memory_used(root)),
        };
        Memory {
            limit: self.options.memory_limit.or(limit),
            used,
        }
    }

    /// The quota in thousandths of a core, and the group that it is set on if there is one.
    fn cpu_quota(&self) -> Option<(u64, Option<group::Limited<u64>>)> {
        let cores = process::cores(&self.options.root).known();
        let machine = cores.map(|cores| cores.saturating_mul(1000));
        let (quota, group) = match self.groups.cpu_quota() {
            // A quota above what the machine has is none.
            Content::Is(limited) if machine.is_none_or(|all| limited.limit < all) => {
                (Some(limited.limit), Some(limited))
            }
            Content::Is(_) | Content::Missing => (machine, None),
            Content::Garbled => (None, None),
        };
        let told = self.options.cpu_limit.map(|cores| (cores * 1000.0) as u64);
        let quota = told.filter(|millicores| *millicores > 0).or(quota)?;
        Some((quota, group))
    }

    /// The CPU time so far, and the quota in thousandths of a core that it counts against.
    fn read_cpu(&self, now: Instant) -> Option<(CpuReading, u64)> {
        let (millicores, group) = self.cpu_quota()?;
        let own = || process::cpu_used(&self.options.root);
        let (source, used_nanos) = match group.map(|limited| self.groups.cpu_used(&limited)) {
            Some(Content::Is(nanos)) => (CpuSource::Group, nanos),
            Some(Content::Garbled) => return None,
            Some(Content::Missing) | None => (CpuSource::Process, own()?),
        };
        let reading = CpuReading {
            source,
            at: now,
            used_nanos,
        };
        Some((reading, millicores))
    }

    fn cpu_permille(&mut self, now: Instant) -> Option<u32> {
        let Some((reading, millicores)) = self.read_cpu(now) else {
            self.last = None;
            return None;
        };
        let last = self.last;
        if last.is_some_and(|last| last.at <= now && now < last.at + CPU_INTERVAL_MIN) {
            return None;
        }
        self.last = Some(reading);
        let last = last?;
        if last.source != reading.source {
            return None;
        }
        // Time that stands still, and use that shrinks (the group was made anew), compare with nothing.
        let elapsed = now.as_nanos().checked_sub(last.at.as_nanos())?;
        let used = reading.used_nanos.checked_sub(last.used_nanos)?;
        // used / (elapsed * cores), in thousandths: the two factors of a thousand make a million.
        let permille = (u128::from(used) * 1_000_000)
            .checked_div(u128::from(elapsed) * u128::from(millicores))?;
        Some(u32::try_from(permille).unwrap_or(u32::MAX))
    }
}

impl Meter for Sampler {
    fn sample(&mut self, now: Instant) -> load::Sample {
        let Memory { limit, used } = self.memory();
        load::Sample {
            cpu_permille: self.cpu_permille(now),
            memory_bytes: used,
            memory_limit: limit,
        }
    }
}
