//! Trees of `proc` and `sys` as machines show them, and what the sampler must make of each.

mod unknown;
mod unlimited;
mod v1;
mod v2;

/// A path below the root and its content; `None` removes the file.
pub(crate) type File = (&'static str, Option<&'static str>);

/// Limit of memory in MiB, cores, MiB in use, and CPU in thousandths.
pub(crate) type Expected = (Option<u64>, f64, Option<u64>, Option<u32>);

/// One machine: [`BASE`], what `base` adds, and what `over` changes in that. CPU is used between
/// the start and the sample a second later: one second by the group, 0.8 s by the process.
pub(crate) struct Tree {
    pub(crate) name: &'static str,
    pub(crate) base: &'static [File],
    pub(crate) over: &'static [File],
    pub(crate) expected: Expected,
}

const fn tree(
    name: &'static str,
    base: &'static [File],
    over: &'static [File],
    expected: Expected,
) -> Tree {
    Tree {
        name,
        base,
        over,
        expected,
    }
}

/// A machine of 8 GiB and 4 cores; the process holds 100 MiB. Its name is one that parsers trip over.
pub(crate) const BASE: &[File] = &[
    (
        "proc/meminfo",
        Some("MemTotal:        8388608 kB\nMemFree:         1024 kB\n"),
    ),
    ("proc/self/status", Some(STATUS)),
    (
        "proc/self/stat",
        Some("7 (a b) c) S 1 7 7 0 -1 0 9 0 0 0 100 50 0 0 20 0 3 0\n"),
    ),
    ("sys/devices/system/cpu/online", Some("0-3\n")),
];

const STATUS: &str =
    "Name:\todin-ws\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\nCpus_allowed_list:\t0-3\n";

/// What changes in the second before the sample, in each of these files that is there and was as
/// above.
pub(crate) const THEN: &[(&str, &str)] = &[
    (
        "7 (a b) c) S 1 7 7 0 -1 0 9 0 0 0 100 50 0 0 20 0 3 0\n",
        OWN_CPU,
    ),
    (CPU_START, CPU_BUSY),
    (V1_CPU_START, V1_CPU_BUSY),
];

const OWN_CPU: &str = "7 (a b) c) S 1 7 7 0 -1 0 9 0 0 0 150 80 0 0 20 0 3 0\n";

const ROOT_MOUNT: &str = "23 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
const V2_MOUNT: &str = "23 1 0:20 / / rw - ext4 /dev/sda1 rw\n\
    30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNTS: &str = "23 1 0:20 / / rw - ext4 /dev/sda1 rw\n\
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
    33 31 0:30 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n\
    34 31 0:31 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,name=systemd\n";
const V1_SPLIT_MOUNTS: &str = "23 1 0:20 / / rw - ext4 /dev/sda1 rw\n\
    32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
    33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
    34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

const CGROUP: &str = "proc/self/cgroup";
const MOUNTS: &str = "proc/self/mountinfo";

/// 512, 200, 50, 256 and 128 MiB as the kernel writes them.
pub(crate) const M512: &str = "536870912\n";
const M200: &str = "209715200\n";
const M256: &str = "268435456\n";
const M128: &str = "134217728\n";
const INACTIVE_50: &str =
    "anon 1\nfile 2\ninactive_anon 3\nactive_file 4\ninactive_file 52428800\n";
const V1_STAT: &str = "cache 1\ninactive_file 7\nhierarchical_memory_limit 9223372036854771712\n\
    total_cache 1\ntotal_inactive_file 52428800\n";

const CPU_START: &str = "usage_usec 500000\nuser_usec 1\nsystem_usec 1\n";
const CPU_BUSY: &str = "usage_usec 1500000\nuser_usec 1\nsystem_usec 1\n";
const V1_CPU_START: &str = "5000000000\n";
const V1_CPU_BUSY: &str = "6000000000\n";

/// Version 2, both limits on the process's own group.
const V2: &[File] = &[
    (CGROUP, Some("0::/odin\n")),
    (MOUNTS, Some(V2_MOUNT)),
    ("sys/fs/cgroup/odin/memory.max", Some(M512)),
    ("sys/fs/cgroup/odin/memory.current", Some(M200)),
    ("sys/fs/cgroup/odin/memory.stat", Some(INACTIVE_50)),
    ("sys/fs/cgroup/odin/cpu.max", Some("200000 100000\n")),
    ("sys/fs/cgroup/odin/cpu.stat", Some(CPU_START)),
    // The root group has accounting and no limits.
    ("sys/fs/cgroup/cpu.stat", Some("usage_usec 777\n")),
];

/// Version 1, both limits on the process's own groups.
const V1: &[File] = &[
    (
        CGROUP,
        Some("11:cpu,cpuacct:/odin\n10:memory:/odin\n1:name=systemd:/x\n"),
    ),
    (MOUNTS, Some(V1_MOUNTS)),
    (
        "sys/fs/cgroup/memory/odin/memory.limit_in_bytes",
        Some(M512),
    ),
    (
        "sys/fs/cgroup/memory/odin/memory.usage_in_bytes",
        Some(M200),
    ),
    ("sys/fs/cgroup/memory/odin/memory.stat", Some(V1_STAT)),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", Some(V1_NONE)),
    (
        "sys/fs/cgroup/cpu,cpuacct/odin/cpu.cfs_quota_us",
        Some("200000\n"),
    ),
    (
        "sys/fs/cgroup/cpu,cpuacct/odin/cpu.cfs_period_us",
        Some("100000\n"),
    ),
    (
        "sys/fs/cgroup/cpu,cpuacct/odin/cpuacct.usage",
        Some(V1_CPU_START),
    ),
];

const V1_NONE: &str = "9223372036854771712\n";

/// A version 2 leaf without limits.
const V2_MAX: &[File] = &[
    (CGROUP, Some("0::/odin\n")),
    (MOUNTS, Some(V2_MOUNT)),
    ("sys/fs/cgroup/odin/memory.max", Some("max\n")),
    ("sys/fs/cgroup/odin/memory.current", Some(M200)),
    ("sys/fs/cgroup/odin/memory.stat", Some(INACTIVE_50)),
    ("sys/fs/cgroup/odin/cpu.max", Some("max 100000\n")),
    ("sys/fs/cgroup/odin/cpu.stat", Some("usage_usec 1\n")),
];

/// No control groups at all.
const NONE: &[File] = &[(MOUNTS, Some(ROOT_MOUNT))];

/// What every tree without a limit must read.
const MACHINE: Expected = (Some(8192), 4.0, Some(100), Some(200));
/// Both limits, and the group's use of them.
const GROUP: Expected = (Some(512), 2.0, Some(150), Some(500));

/// Every tree.
pub(crate) fn all() -> impl Iterator<Item = &'static Tree> {
    [v2::TREES, v1::TREES, unlimited::TREES, unknown::TREES]
        .into_iter()
        .flatten()
}
