//! What this process uses of the machine, for where no control group limits it: a neighbour's load must
//! not close the door.

use std::path::Path;

use super::read::{self, Content};

/// Nanoseconds in one of the ticks that `/proc/self/stat` counts in. Linux shows 100 a second to
/// programs on every architecture that this server is built for, whatever its own timer does.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Nanoseconds of CPU that this process has used, in user mode and in the kernel.
pub(super) fn cpu_used(root: &Path) -> Option<u64> {
    let stat = read::bytes(&root.join("proc/self/stat")).known()?;
    let stat = String::from_utf8_lossy(&stat);
    // The second field is the program's name in parentheses, which may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)?.checked_mul(NANOS_PER_TICK)
}

/// Bytes of this process that are in memory.
pub(super) fn memory_used(root: &Path) -> Option<u64> {
    let kib = read::keyed(&root.join("proc/self/status"), "VmRSS").known()?;
    kib.checked_mul(1024)
}

/// Bytes of memory of the machine.
pub(super) fn memory_total(root: &Path) -> Option<u64> {
    let kib = read::keyed(&root.join("proc/meminfo"), "MemTotal").known()?;
    kib.checked_mul(1024).filter(|bytes| *bytes > 0)
}

/// The CPUs that are on and that this process may run on. Either list alone serves where the other is not
/// known.
pub(super) fn cores(root: &Path) -> Content<u64> {
    let allowed = read::cpu_list(&root.join("proc/self/status"), "Cpus_allowed_list:");
    let online = read::cpu_list(&root.join("sys/devices/system/cpu/online"), "");
    let cores = match (allowed, online) {
        (Some(allowed), Some(online)) => allowed.iter().filter(|c| online.contains(c)).count(),
        (Some(cpus), None) | (None, Some(cpus)) => cpus.len(),
        (None, None) => 0,
    };
    match cores {
        0 => Content::Missing,
        cores => Content::Is(cores as u64),
    }
}
