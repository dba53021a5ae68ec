//! The limits and the use of the control groups of this process.
//!
//! A limit holds for a whole subtree, so the one that counts is the smallest of all levels, and what
//! counts against it is the use of *that* level. A level without a limit file has no say (the
//! controller is not enabled there, or it is the root group); a limit file that cannot be
//! understood makes the limit unknown, as it could be the smallest.

use std::path::{Path, PathBuf};

use super::hierarchy::{Controller, Hierarchies, Version};
use super::read::{self, Content};

/// Version 1 says "no limit" with the largest number of pages that fits: whatever is near it is none.
const V1_UNLIMITED: u64 = 1 << 62;

/// A limit, and the level that it is set on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Limited<T> {
    pub(super) limit: T,
    level: usize,
}

/// The control groups of this process.
pub(super) struct Groups {
    memory: Content<Controller>,
    cpu: Content<Controller>,
    cpuacct: Content<Controller>,
}

impl Groups {
    pub(super) fn find(root: &Path) -> Self {
        let hierarchies = Hierarchies::read(root);
        Self {
            memory: hierarchies.controller("memory"),
            cpu: hierarchies.controller("cpu"),
            cpuacct: hierarchies.controller("cpuacct"),
        }
    }

    /// The memory limit in bytes. `Missing`: there is none.
    pub(super) fn memory_limit(&self) -> Content<Limited<u64>> {
        smallest(&self.memory, memory_limit)
    }

    /// The CPU quota in thousandths of a core. `Missing`: there is none.
    pub(super) fn cpu_quota(&self) -> Content<Limited<u64>> {
        smallest(&self.cpu, |version, folder| match version {
            Version::V2 => read::words::<2>(&folder.join("cpu.max")).parse(|[quota, period]| {
                let period: u64 = period.parse().ok()?;
                match quota.as_str() {
                    "max" => Some(None),
                    quota => millicores(quota.parse().ok()?, period).map(Some),
                }
            }),
            Version::V1 => cpu_quota_v1(folder),
        })
    }

    /// The working set, in bytes, of the level that the limit is set on: what it uses without the file
    /// pages that the kernel can drop at once.
    pub(super) fn working_set(&self, limited: &Limited<u64>) -> Option<u64> {
        let Content::Is(Controller {
            version, levels, ..
        }) = &self.memory
        else {
            return None;
        };
        let folder = levels.get(limited.level)?;
        let (usage, droppable) = match version {
            Version::V2 => ("memory.current", "inactive_file"),
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
        };
        let usage = u64::try_from(read::number(&folder.join(usage)).known()?).ok()?;
        let droppable = read::keyed(&folder.join("memory.stat"), droppable).known()?;
        // Version 1 counts the buffers of sockets apart, and only where they are limited as well.
        let sockets = match version {
            Version::V2 => None,
            Version::V1 => read::number(&folder.join("memory.kmem.tcp.usage_in_bytes")).known(),
        };
        let sockets = sockets.and_then(|bytes| u64::try_from(bytes).ok());
        let sockets = sockets.unwrap_or(0);
        Some(usage.saturating_sub(droppable).saturating_add(sockets))
    }

    /// Nanoseconds of CPU that the level with the quota has used. `Missing`: another hierarchy counts
    /// them, in which this process is elsewhere.
    pub(super) fn cpu_used(&self, limited: &Limited<u64>) -> Content<u64> {
        let Content::Is(cpu) = &self.cpu else {
            return Content::Garbled;
        };
        let Some(folder) = cpu.levels.get(limited.level) else {
            return Content::Garbled;
        };
        match cpu.version {
            Version::V2 => match read::keyed(&folder.join("cpu.stat"), "usage_usec") {
                Content::Is(micros) => Content::Is(micros.saturating_mul(1_000)),
                Content::Missing | Content::Garbled => Content::Garbled,
            },
            Version::V1 => {
                let Some(folder) = self.accounting_folder(cpu, limited.level) else {
                    return Content::Missing;
                };
                let used = read::number(&folder.join("cpuacct.usage")).known();
                let used = used.and_then(|used| u64::try_from(used).ok());
                used.map_or(Content::Garbled, Content::Is)
            }
        }
    }

    /// The folder of cpuacct that is the same group as that level of cpu.
    fn accounting_folder(&self, cpu: &Controller, level: usize) -> Option<&PathBuf> {
        let Content::Is(accounting) = &self.cpuacct else {
            return None;
        };
        let alike = accounting.version == Version::V1
            && accounting.path == cpu.path
            && accounting.levels.len() == cpu.levels.len();
        alike.then(|| accounting.levels.get(level)).flatten()
    }
}

/// The smallest limit of all levels; of equal ones the outermost, which includes the use of the others.
fn smallest(
    controller: &Content<Controller>,
    limit_of: impl Fn(Version, &Path) -> Content<Option<u64>>,
) -> Content<Limited<u64>> {
    let controller = match controller {
        Content::Is(controller) => controller,
        Content::Missing => return Content::Missing,
        Content::Garbled => return Content::Garbled,
    };
    let mut smallest: Option<Limited<u64>> = None;
    for (level, folder) in controller.levels.iter().enumerate() {
        match limit_of(controller.version, folder) {
            Content::Garbled => return Content::Garbled,
            Content::Is(Some(limit)) if smallest.as_ref().is_none_or(|s| limit < s.limit) => {
                smallest = Some(Limited { limit, level });
            }
            Content::Is(_) | Content::Missing => {}
        }
    }
    smallest.map_or(Content::Missing, Content::Is)
}

fn memory_limit(version: Version, folder: &Path) -> Content<Option<u64>> {
    match version {
        Version::V2 => {
            read::words::<1>(&folder.join("memory.max")).parse(|[word]| match word.as_str() {
                "max" => Some(None),
                bytes => bytes.parse().ok().map(Some),
            })
        }
        Version::V1 => {
            let own = read::number(&folder.join("memory.limit_in_bytes")).parse(|bytes| {
                // -1 is how "no limit" is written to the file; it is not how it is read.
                match u64::try_from(bytes) {
                    Ok(bytes) if bytes < V1_UNLIMITED => Some(Some(bytes)),
                    Ok(_) => Some(None),
                    Err(_) => (bytes == -1).then_some(None),
                }
            });
            // The smallest of all ancestors, also of those that this mount does not show.
            let above = read::keyed(&folder.join("memory.stat"), "hierarchical_memory_limit");
            match (own, above.known().filter(|bytes| *bytes < V1_UNLIMITED)) {
                (Content::Is(own), Some(above)) => {
                    Content::Is(Some(own.map_or(above, |own| own.min(above))))
                }
                (own, _) => own,
            }
        }
    }
}

fn cpu_quota_v1(folder: &Path) -> Content<Option<u64>> {
    let period = folder.join("cpu.cfs_period_us");
    read::number(&folder.join("cpu.cfs_quota_us")).parse(|quota| {
        // The kernel's own writing of "no quota" is -1; it takes any negative number for it.
        if quota < 0 {
            return Some(None);
        }
        let period = u64::try_from(read::number(&period).known()?).ok()?;
        millicores(u64::try_from(quota).ok()?, period).map(Some)
    })
}

/// A quota of 0, and a period of 0, are none that the kernel gives.
fn millicores(quota: u64, period: u64) -> Option<u64> {
    let cores = quota.checked_mul(1_000)?.checked_div(period)?;
    (cores > 0).then_some(cores)
}
