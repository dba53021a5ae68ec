//! Machines without a control group that limits.

use super::*;

pub(super) const TREES: &[Tree] = &[
    tree("no_control_groups", NONE, &[], MACHINE),
    tree(
        "nothing_mounted_root",
        NONE,
        &[(CGROUP, Some("0::/\n"))],
        MACHINE,
    ),
    tree(
        "fewer_cpus_allowed_than_online",
        NONE,
        &[(
            "proc/self/status",
            Some("VmRSS:\t  102400 kB\nCpus_allowed_list:\t1,3\n"),
        )],
        (Some(8192), 2.0, Some(100), Some(400)),
    ),
    tree(
        "fewer_cpus_online_than_allowed",
        NONE,
        &[("sys/devices/system/cpu/online", Some("0\n"))],
        (Some(8192), 1.0, Some(100), Some(800)),
    ),
];
