//! Version 1, and both versions on one machine.

use super::*;

pub(super) const TREES: &[Tree] = &[
    tree("v1_comounted", V1, &[], GROUP),
    tree(
        "v1_split",
        V1,
        &[
            (
                CGROUP,
                Some("3:memory:/odin\n2:cpuacct:/odin\n1:cpu:/odin\n"),
            ),
            (MOUNTS, Some(V1_SPLIT_MOUNTS)),
            ("sys/fs/cgroup/cpu/odin/cpu.cfs_quota_us", Some("100000\n")),
            ("sys/fs/cgroup/cpu/odin/cpu.cfs_period_us", Some("100000\n")),
            (
                "sys/fs/cgroup/cpuacct/odin/cpuacct.usage",
                Some(V1_CPU_START),
            ),
        ],
        (Some(512), 1.0, Some(150), Some(1000)),
    ),
    // Accounting of another group would be the load of others.
    tree(
        "v1_accounting_elsewhere",
        V1,
        &[
            (CGROUP, Some("3:memory:/odin\n2:cpuacct:/\n1:cpu:/odin\n")),
            (MOUNTS, Some(V1_SPLIT_MOUNTS)),
            ("sys/fs/cgroup/cpu/odin/cpu.cfs_quota_us", Some("100000\n")),
            ("sys/fs/cgroup/cpu/odin/cpu.cfs_period_us", Some("100000\n")),
            ("sys/fs/cgroup/cpuacct/cpuacct.usage", Some(V1_CPU_START)),
        ],
        (Some(512), 1.0, Some(150), Some(800)),
    ),
    tree(
        "v1_accounting_of_another_group",
        V1,
        &[
            (
                CGROUP,
                Some("3:memory:/odin\n2:cpuacct:/neighbour\n1:cpu:/odin\n"),
            ),
            (MOUNTS, Some(V1_SPLIT_MOUNTS)),
            ("sys/fs/cgroup/cpu/odin/cpu.cfs_quota_us", Some("100000\n")),
            ("sys/fs/cgroup/cpu/odin/cpu.cfs_period_us", Some("100000\n")),
            (
                "sys/fs/cgroup/cpuacct/neighbour/cpuacct.usage",
                Some(V1_CPU_START),
            ),
        ],
        (Some(512), 1.0, Some(150), Some(800)),
    ),
    tree(
        "v1_unlimited",
        V1,
        &[
            (
                "sys/fs/cgroup/memory/odin/memory.limit_in_bytes",
                Some(V1_NONE),
            ),
            (
                "sys/fs/cgroup/cpu,cpuacct/odin/cpu.cfs_quota_us",
                Some("-1\n"),
            ),
        ],
        MACHINE,
    ),
    tree(
        "v1_limit_on_ancestor",
        V1,
        &[
            (
                CGROUP,
                Some("11:cpu,cpuacct:/odin/leaf\n10:memory:/odin/leaf\n"),
            ),
            (
                "sys/fs/cgroup/memory/odin/leaf/memory.limit_in_bytes",
                Some(V1_NONE),
            ),
            (
                "sys/fs/cgroup/memory/odin/leaf/memory.usage_in_bytes",
                Some(M128),
            ),
            ("sys/fs/cgroup/memory/odin/leaf/memory.stat", Some(V1_STAT)),
            (
                "sys/fs/cgroup/cpu,cpuacct/odin/leaf/cpu.cfs_quota_us",
                Some("-1\n"),
            ),
            (
                "sys/fs/cgroup/cpu,cpuacct/odin/leaf/cpu.cfs_period_us",
                Some("100000\n"),
            ),
            (
                "sys/fs/cgroup/cpu,cpuacct/odin/leaf/cpuacct.usage",
                Some("1\n"),
            ),
        ],
        GROUP,
    ),
    tree(
        "v1_limit_above_the_mount",
        V1,
        &[
            (
                CGROUP,
                Some("11:cpu,cpuacct:/pod/abc\n10:memory:/pod/abc\n"),
            ),
            (
                MOUNTS,
                Some("1 2 0:30 /pod/abc /sys/fs/cgroup/memory/odin ro - cgroup cgroup rw,memory\n"),
            ),
            (
                "sys/fs/cgroup/memory/odin/memory.limit_in_bytes",
                Some(V1_NONE),
            ),
            (
                "sys/fs/cgroup/memory/odin/memory.stat",
                Some("hierarchical_memory_limit 268435456\ntotal_inactive_file 52428800\n"),
            ),
        ],
        (Some(256), 0.0, Some(150), None),
    ),
    tree(
        "v1_container",
        V1,
        &[
            (
                CGROUP,
                Some("11:cpu,cpuacct:/docker/abc\n10:memory:/docker/abc\n"),
            ),
            (
                MOUNTS,
                Some(
                    "1 2 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct/odin ro - cgroup cgroup rw,cpu,cpuacct\n\
             1 2 0:30 /docker/abc /sys/fs/cgroup/memory/odin ro - cgroup cgroup rw,memory\n",
                ),
            ),
        ],
        GROUP,
    ),
    tree(
        "hybrid_memory_v1_cpu_v2",
        V1,
        &[
            (
                CGROUP,
                Some("10:memory:/odin\n1:name=systemd:/x\n0::/unit\n"),
            ),
            (
                MOUNTS,
                Some(
                    "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
                ),
            ),
            (
                "sys/fs/cgroup/unified/unit/cpu.max",
                Some("100000 100000\n"),
            ),
            ("sys/fs/cgroup/unified/unit/cpu.stat", Some(CPU_START)),
        ],
        (Some(512), 1.0, Some(150), Some(1000)),
    ),
    tree(
        "hybrid_all_controllers_v1",
        V1,
        &[
            (
                CGROUP,
                Some("11:cpu,cpuacct:/odin\n10:memory:/odin\n0::/unit\n"),
            ),
            ("sys/fs/cgroup/unified/unit/memory.max", Some(M128)),
        ],
        GROUP,
    ),
];
