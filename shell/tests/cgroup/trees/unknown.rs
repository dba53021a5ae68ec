//! Files that are missing or garbled: what they would say is unknown, and only that.

use super::*;

pub(super) const TREES: &[Tree] = &[
    tree(
        "nothing_mounted_nested",
        NONE,
        &[(CGROUP, Some("0::/odin\n"))],
        (None, 0.0, Some(100), None),
    ),
    tree(
        "garbled_memory_max",
        V2,
        &[("sys/fs/cgroup/odin/memory.max", Some("lots\n"))],
        (None, 2.0, Some(100), Some(500)),
    ),
    tree(
        "garbled_memory_max_of_ancestor",
        V2,
        &[("sys/fs/cgroup/memory.max", Some(""))],
        (None, 2.0, Some(100), Some(500)),
    ),
    tree(
        "garbled_memory_current",
        V2,
        &[("sys/fs/cgroup/odin/memory.current", Some("-5\n"))],
        (Some(512), 2.0, None, Some(500)),
    ),
    tree(
        "missing_memory_current",
        V2,
        &[("sys/fs/cgroup/odin/memory.current", None)],
        (Some(512), 2.0, None, Some(500)),
    ),
    tree(
        "missing_memory_stat",
        V2,
        &[("sys/fs/cgroup/odin/memory.stat", None)],
        (Some(512), 2.0, None, Some(500)),
    ),
    tree(
        "memory_stat_without_inactive_file",
        V2,
        &[(
            "sys/fs/cgroup/odin/memory.stat",
            Some("anon 1\ninactive_file\n"),
        )],
        (Some(512), 2.0, None, Some(500)),
    ),
    tree(
        "more_inactive_than_used",
        V2,
        &[("sys/fs/cgroup/odin/memory.current", Some("1000\n"))],
        (Some(512), 2.0, Some(0), Some(500)),
    ),
    tree(
        "garbled_cpu_max",
        V2,
        &[("sys/fs/cgroup/odin/cpu.max", Some("200000\n"))],
        (Some(512), 0.0, Some(150), None),
    ),
    tree(
        "cpu_max_without_period",
        V2,
        &[("sys/fs/cgroup/odin/cpu.max", Some("200000 0\n"))],
        (Some(512), 0.0, Some(150), None),
    ),
    tree(
        "missing_cpu_stat",
        V2,
        &[("sys/fs/cgroup/odin/cpu.stat", None)],
        (Some(512), 2.0, Some(150), None),
    ),
    tree(
        "garbled_cpu_stat",
        V2,
        &[("sys/fs/cgroup/odin/cpu.stat", Some("usage_usec ?\n"))],
        (Some(512), 2.0, Some(150), None),
    ),
    tree(
        "garbled_v1_limit",
        V1,
        &[(
            "sys/fs/cgroup/memory/odin/memory.limit_in_bytes",
            Some("0x20\n"),
        )],
        (None, 2.0, Some(100), Some(500)),
    ),
    tree(
        "missing_v1_period",
        V1,
        &[("sys/fs/cgroup/cpu,cpuacct/odin/cpu.cfs_period_us", None)],
        (Some(512), 0.0, Some(150), None),
    ),
    tree(
        "missing_v1_accounting",
        V1,
        &[("sys/fs/cgroup/cpu,cpuacct/odin/cpuacct.usage", None)],
        (Some(512), 2.0, Some(150), None),
    ),
    tree(
        "garbled_cgroup",
        V2,
        &[(CGROUP, Some("what is this\n"))],
        (None, 0.0, Some(100), None),
    ),
    tree(
        "garbled_mountinfo",
        V2,
        &[(MOUNTS, Some("30 23 0:26 / - cgroup2\n-\n"))],
        (None, 0.0, Some(100), None),
    ),
    tree(
        "missing_mountinfo",
        V2,
        &[(MOUNTS, None)],
        (None, 0.0, Some(100), None),
    ),
    tree(
        "group_limit_without_meminfo",
        V2,
        &[("proc/meminfo", None)],
        GROUP,
    ),
    tree(
        "garbled_meminfo",
        NONE,
        &[("proc/meminfo", Some("MemTotal: many kB\n"))],
        (None, 4.0, Some(100), Some(200)),
    ),
    tree(
        "garbled_stat",
        NONE,
        &[("proc/self/stat", Some("7 odin S 1 2 3\n"))],
        (Some(8192), 4.0, Some(100), None),
    ),
    tree(
        "garbled_status",
        NONE,
        &[(
            "proc/self/status",
            Some("VmRSS:\nCpus_allowed_list:\t3-1\n"),
        )],
        (Some(8192), 4.0, None, Some(200)),
    ),
    tree(
        "nothing_known",
        &[],
        &[
            ("proc/meminfo", None),
            ("proc/self/status", None),
            ("proc/self/stat", None),
            ("sys/devices/system/cpu/online", None),
        ],
        (None, 0.0, None, None),
    ),
];
