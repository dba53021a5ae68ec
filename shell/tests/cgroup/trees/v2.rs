//! Version 2, with limits and without.

use super::*;

pub(super) const TREES: &[Tree] = &[
    tree("v2_plain", V2, &[], GROUP),
    tree("v2_max", V2_MAX, &[], MACHINE),
    tree(
        "v2_nested",
        V2,
        &[
            (CGROUP, Some("0::/kube/pod.slice/odin\n")),
            ("sys/fs/cgroup/kube/pod.slice/odin/memory.max", Some(M256)),
            (
                "sys/fs/cgroup/kube/pod.slice/odin/memory.current",
                Some(M200),
            ),
            (
                "sys/fs/cgroup/kube/pod.slice/odin/memory.stat",
                Some(INACTIVE_50),
            ),
            (
                "sys/fs/cgroup/kube/pod.slice/odin/cpu.max",
                Some("50000 100000\n"),
            ),
            (
                "sys/fs/cgroup/kube/pod.slice/odin/cpu.stat",
                Some(CPU_START),
            ),
            ("sys/fs/cgroup/kube/memory.max", Some("max\n")),
        ],
        (Some(256), 0.5, Some(150), Some(2000)),
    ),
    tree(
        "v2_limit_on_ancestor",
        V2,
        &[
            (CGROUP, Some("0::/odin/leaf\n")),
            ("sys/fs/cgroup/odin/leaf/memory.max", Some("max\n")),
            ("sys/fs/cgroup/odin/leaf/memory.current", Some(M128)),
            ("sys/fs/cgroup/odin/leaf/memory.stat", Some(INACTIVE_50)),
            ("sys/fs/cgroup/odin/leaf/cpu.max", Some("max 100000\n")),
            ("sys/fs/cgroup/odin/leaf/cpu.stat", Some("usage_usec 1\n")),
        ],
        GROUP,
    ),
    tree(
        "v2_smallest_in_the_middle",
        V2,
        &[
            (CGROUP, Some("0::/top/odin/leaf\n")),
            ("sys/fs/cgroup/top/memory.max", Some(M512)),
            ("sys/fs/cgroup/top/cpu.max", Some("300000 100000\n")),
            ("sys/fs/cgroup/top/odin/memory.max", Some(M256)),
            ("sys/fs/cgroup/top/odin/memory.current", Some(M200)),
            ("sys/fs/cgroup/top/odin/memory.stat", Some(INACTIVE_50)),
            ("sys/fs/cgroup/top/odin/cpu.max", Some("100000 100000\n")),
            ("sys/fs/cgroup/top/odin/cpu.stat", Some(CPU_START)),
            ("sys/fs/cgroup/top/odin/leaf/memory.max", Some(M512)),
            (
                "sys/fs/cgroup/top/odin/leaf/cpu.max",
                Some("200000 100000\n"),
            ),
        ],
        (Some(256), 1.0, Some(150), Some(1000)),
    ),
    tree(
        "v2_equal_limits_outermost_use",
        V2,
        &[
            (CGROUP, Some("0::/odin/leaf\n")),
            ("sys/fs/cgroup/odin/leaf/memory.max", Some(M512)),
            ("sys/fs/cgroup/odin/leaf/memory.current", Some(M128)),
            ("sys/fs/cgroup/odin/leaf/memory.stat", Some(INACTIVE_50)),
            ("sys/fs/cgroup/odin/leaf/cpu.max", Some("200000 100000\n")),
            ("sys/fs/cgroup/odin/leaf/cpu.stat", Some("usage_usec 1\n")),
        ],
        GROUP,
    ),
    tree(
        "v2_namespaced",
        V2,
        &[
            (CGROUP, Some("0::/\n")),
            ("sys/fs/cgroup/memory.max", Some(M256)),
            ("sys/fs/cgroup/memory.current", Some(M200)),
            ("sys/fs/cgroup/memory.stat", Some(INACTIVE_50)),
            ("sys/fs/cgroup/cpu.max", Some("100000 100000\n")),
            ("sys/fs/cgroup/cpu.stat", Some(CPU_START)),
        ],
        (Some(256), 1.0, Some(150), Some(1000)),
    ),
    tree(
        "v2_mount_shows_the_own_group",
        V2,
        &[
            (CGROUP, Some("0::/docker/abc\n")),
            (
                MOUNTS,
                Some("30 23 0:26 /docker/abc /sys/fs/cgroup/odin ro - cgroup2 cgroup rw\n"),
            ),
        ],
        GROUP,
    ),
    tree(
        "v2_mount_shows_a_part",
        V2,
        &[
            (CGROUP, Some("0::/docker/odin\n")),
            (
                MOUNTS,
                Some("30 23 0:26 /docker /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
            ),
        ],
        GROUP,
    ),
    tree(
        "v2_outside_the_namespace",
        V2,
        &[
            (CGROUP, Some("0::/../../other\n")),
            ("sys/fs/cgroup/memory.max", Some(M256)),
            ("sys/fs/cgroup/memory.current", Some(M200)),
            ("sys/fs/cgroup/memory.stat", Some(INACTIVE_50)),
        ],
        (Some(256), 4.0, Some(150), Some(200)),
    ),
    tree(
        "v2_mount_above_the_namespace",
        V2,
        &[(
            MOUNTS,
            Some("30 23 0:26 /../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
        )],
        (None, 0.0, Some(100), None),
    ),
    tree(
        "v2_controllers_not_enabled_in_the_leaf",
        V2,
        &[
            (CGROUP, Some("0::/odin/leaf\n")),
            ("sys/fs/cgroup/odin/leaf/cpu.stat", Some("usage_usec 1\n")),
        ],
        GROUP,
    ),
    tree(
        "v2_group_gone_from_the_tree",
        V2,
        &[(CGROUP, Some("0::/odin/gone (deleted)\n"))],
        GROUP,
    ),
    tree(
        "v2_escaped_mount_point",
        V2,
        &[
            (
                MOUNTS,
                Some("30 23 0:26 / /sys/fs/c\\040g\\134 rw - cgroup2 cgroup2 rw\n"),
            ),
            ("sys/fs/c g\\/odin/memory.max", Some(M256)),
            ("sys/fs/c g\\/odin/memory.current", Some(M200)),
            ("sys/fs/c g\\/odin/memory.stat", Some(INACTIVE_50)),
        ],
        (Some(256), 4.0, Some(150), Some(200)),
    ),
    tree(
        "v2_memory_only",
        V2,
        &[("sys/fs/cgroup/odin/cpu.max", None)],
        (Some(512), 4.0, Some(150), Some(200)),
    ),
    tree(
        "v2_cpu_only",
        V2,
        &[("sys/fs/cgroup/odin/memory.max", Some("max\n"))],
        (Some(8192), 2.0, Some(100), Some(500)),
    ),
    tree(
        "v2_limits_above_the_machine",
        V2,
        &[
            ("sys/fs/cgroup/odin/memory.max", Some("17179869184\n")),
            ("sys/fs/cgroup/odin/cpu.max", Some("800000 100000\n")),
        ],
        MACHINE,
    ),
];
