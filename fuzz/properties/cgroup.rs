//! Whatever the files of the kernel hold, a sample is taken, the same from the same files, and what cannot be
//! right is unknown.

use std::fs;
use std::path::Path;

use odin_core::load::Sample;
use odin_core::time::Instant;
use odin_shell::cgroup::{Limits, Meter, Options, Sampler};
use tempfile::TempDir;

/// The files that are read, of both versions, by the letter that they begin with in the bytes.
const FILES: [(u8, &str); 17] = [
    (b'g', "proc/self/cgroup"),
    (b'm', "proc/self/mountinfo"),
    (b'i', "proc/meminfo"),
    (b't', "proc/self/stat"),
    (b'u', "proc/self/status"),
    (b'o', "sys/devices/system/cpu/online"),
    (b'A', "sys/fs/cgroup/odin/memory.max"),
    (b'B', "sys/fs/cgroup/odin/memory.current"),
    (b'C', "sys/fs/cgroup/odin/memory.stat"),
    (b'D', "sys/fs/cgroup/odin/cpu.max"),
    (b'E', "sys/fs/cgroup/odin/cpu.stat"),
    (b'F', "sys/fs/cgroup/memory/odin/memory.limit_in_bytes"),
    (b'G', "sys/fs/cgroup/memory/odin/memory.usage_in_bytes"),
    (b'H', "sys/fs/cgroup/memory/odin/memory.stat"),
    (b'I', "sys/fs/cgroup/cpu/odin/cpu.cfs_quota_us"),
    (b'J', "sys/fs/cgroup/cpu/odin/cpu.cfs_period_us"),
    (b'K', "sys/fs/cgroup/cpu/odin/cpuacct.usage"),
];

thread_local! {
    /// The files are written over again and again.
    static ROOT: TempDir = tempfile::tempdir().expect("a directory");
}

/// The bytes are parts that each begin with a NUL and the letter of a file; of a file that comes twice the second
/// is what it holds a second later. Says what is known then.
pub(crate) fn cgroup(bytes: &[u8]) -> String {
    ROOT.with(|root| {
        let root = root.path();
        for (_, path) in FILES {
            // It may not be there.
            let _ = fs::remove_file(root.join(path));
        }
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for part in bytes.split(|byte| *byte == 0).skip(1) {
            let Some((letter, content)) = part.split_first() else {
                continue;
            };
            let Some((_, path)) = FILES.iter().find(|(known, _)| known == letter) else {
                continue;
            };
            let is_new = first.iter().all(|(known, _)| known != path);
            if is_new { &mut first } else { &mut later }.push((*path, content));
        }
        let (limits, sample) = sampled(root, &first, &later);
        let (_, again) = sampled(root, &first, &later);
        assert_eq!(sample, again, "the same files say something else");
        judge(&limits, &sample);
        let known = |is_known: bool, letter| if is_known { letter } else { "-" };
        [
            known(sample.memory_limit.is_some(), "l"),
            known(sample.memory_bytes.is_some(), "m"),
            known(sample.cpu_permille.is_some(), "c"),
        ]
        .concat()
    })
}

fn sampled(root: &Path, first: &[(&str, &[u8])], later: &[(&str, &[u8])]) -> (Limits, Sample) {
    let second = |seconds: u64| Instant::from_millis(seconds * 1000);
    let options = Options {
        root: root.to_owned(),
        ..Options::default()
    };
    for (path, _) in later {
        let _ = fs::remove_file(root.join(path));
    }
    write(root, first);
    let mut sampler = Sampler::new(options, second(10));
    write(root, later);
    let sample = sampler.sample(second(11));
    // Neither a look a moment later nor one after nothing was used is out of the ordinary.
    let _ = sampler
        .sample(Instant::from_millis(11_050))
        .memory_permille();
    let _ = sampler.sample(second(12)).memory_permille();
    (sampler.limits(), sample)
}

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (path, content) in files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a directory");
        }
        fs::write(path, content).expect("a file");
    }
}

fn judge(limits: &Limits, sample: &Sample) {
    assert_eq!(limits.memory_bytes, sample.memory_limit);
    assert!(
        limits.cpu_cores.is_finite() && limits.cpu_cores > 0.0,
        "{limits:?}"
    );
    let known = sample.memory_bytes.zip(sample.memory_limit);
    let share = known.filter(|(_, limit)| *limit > 0).map(|(used, limit)| {
        let permille = (u128::from(used) * 1000).div_ceil(u128::from(limit));
        u64::try_from(permille).unwrap_or(u64::MAX)
    });
    assert_eq!(sample.memory_permille(), share);
}
