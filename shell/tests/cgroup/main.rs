//! The sampler on trees that stand for machines.

mod trees;

use std::fs;
use std::path::Path;

use odin_core::load::Sample;
use odin_core::time::Instant;
use odin_shell::cgroup::{Meter, Options, Sampler};
use tempfile::TempDir;
use trees::{BASE, File, M512, THEN, Tree};

const MIB: u64 = 1024 * 1024;

fn second(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn apply(root: &Path, files: &[File]) {
    for (path, content) in files {
        match content {
            Some(content) => write(root, path, content),
            None => fs::remove_file(root.join(path)).unwrap(),
        }
    }
}

fn files(tree: &Tree) -> impl Iterator<Item = &'static str> {
    let all = BASE.iter().chain(tree.base).chain(tree.over);
    all.map(|(path, _)| *path)
}

fn build(tree: &Tree) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for files in [BASE, tree.base, tree.over] {
        apply(root.path(), files);
    }
    root
}

/// Lets the second of CPU be used.
fn pass(tree: &Tree, root: &Path) {
    for path in files(tree) {
        let Ok(now) = fs::read_to_string(root.join(path)) else {
            continue;
        };
        if let Some((_, then)) = THEN.iter().find(|(before, _)| *before == now) {
            write(root, path, then);
        }
    }
}

fn options(root: &Path) -> Options {
    Options {
        root: root.to_owned(),
        ..Options::default()
    }
}

/// The sample of a tree a second after the sampler was made with these options.
fn sample(tree: &Tree, root: &Path, options: Options) -> Sample {
    let mut sampler = Sampler::new(options, second(10));
    pass(tree, root);
    sampler.sample(second(11))
}

fn named(name: &str) -> &'static Tree {
    trees::all().find(|tree| tree.name == name).unwrap()
}

#[test]
fn every_tree_reads_as_it_should() {
    assert!(trees::all().count() >= 25);
    let mut wrong = Vec::new();
    for tree in trees::all() {
        let root = build(tree);
        let (limit, cores, used, cpu) = tree.expected;
        let expected = Sample {
            cpu_permille: cpu,
            memory_bytes: used.map(|mib| mib * MIB),
            memory_limit: limit.map(|mib| mib * MIB),
        };
        let limits = Sampler::new(options(root.path()), second(0)).limits();
        let found = sample(tree, root.path(), options(root.path()));
        // Cores that are not known are those of this machine, whatever it is.
        let cores_right = match cores > 0.0 {
            true => limits.cpu_cores == cores,
            false => limits.cpu_cores >= 1.0,
        };
        if found != expected || limits.memory_bytes != expected.memory_limit || !cores_right {
            wrong.push(format!(
                "{}: {found:?} {limits:?}, not {:?}",
                tree.name, tree.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_distinct() {
    let names: std::collections::BTreeSet<_> = trees::all().map(|tree| tree.name).collect();
    assert_eq!(names.len(), trees::all().count());
}

#[test]
fn settings_replace_the_limit_and_not_the_use() {
    let told = |root: &Path| Options {
        root: root.to_owned(),
        memory_limit: Some(1024 * MIB),
        cpu_limit: Some(0.5),
    };
    // The tree, MiB in use by whom the limit found is for, and CPU in thousandths of half a core.
    for (name, used, cpu) in [
        ("v2_plain", 150, 2000),
        ("no_control_groups", 100, 1600),
        ("v2_max", 100, 1600),
    ] {
        let tree = named(name);
        let root = build(tree);
        let limits = Sampler::new(told(root.path()), second(0)).limits();
        assert_eq!(limits.memory_bytes, Some(1024 * MIB), "{name}");
        assert_eq!(limits.cpu_cores, 0.5, "{name}");
        let expected = Sample {
            cpu_permille: Some(cpu),
            memory_bytes: Some(used * MIB),
            memory_limit: Some(1024 * MIB),
        };
        assert_eq!(
            sample(tree, root.path(), told(root.path())),
            expected,
            "{name}"
        );
    }
}

#[test]
fn cpu_is_a_delta_over_the_time_that_passed() {
    let root = build(named("v2_plain"));
    let stat = "sys/fs/cgroup/odin/cpu.stat";
    let mut sampler = Sampler::new(options(root.path()), second(0));
    let mut cpu = |usec: &str, at: Instant| {
        write(root.path(), stat, format!("usage_usec {usec}\n"));
        sampler.sample(at).cpu_permille
    };
    assert_eq!(cpu("500000", second(1)), Some(0));
    // 1.5 s over 2 cores in 0.75 s: the quota is used up.
    assert_eq!(cpu("2000000", Instant::from_millis(1_750)), Some(1000));
    // Too soon to tell; what was used counts the next time.
    assert_eq!(cpu("2100000", Instant::from_millis(1_849)), None);
    assert_eq!(cpu("2300000", Instant::from_millis(2_250)), Some(300));
    // A group that was made anew, and time that stands still or goes back: nothing to compare with.
    assert_eq!(cpu("100", second(3)), None);
    assert_eq!(cpu("200", second(3)), None);
    assert_eq!(cpu("300", second(2)), None);
    assert_eq!(cpu("2000300", second(4)), Some(500));
    // After a reading that failed there is nothing to compare with either.
    assert_eq!(cpu("?", second(5)), None);
    assert_eq!(cpu("4000300", second(6)), None);
    assert_eq!(cpu("5000300", second(7)), Some(500));
}

#[test]
fn limits_that_change_are_seen() {
    let root = build(named("v2_plain"));
    let mut sampler = Sampler::new(options(root.path()), second(0));
    assert_eq!(sampler.sample(second(1)).memory_limit, Some(512 * MIB));
    write(root.path(), "sys/fs/cgroup/odin/memory.max", "1073741824\n");
    assert_eq!(sampler.sample(second(2)).memory_limit, Some(1024 * MIB));
    assert_eq!(sampler.limits().memory_bytes, Some(1024 * MIB));
    // The quota goes: from then on it is the process that counts, beginning with the next delta.
    write(root.path(), "sys/fs/cgroup/odin/cpu.max", "max 100000\n");
    assert_eq!(sampler.sample(second(3)).cpu_permille, None);
    assert_eq!(sampler.sample(second(4)).cpu_permille, Some(0));
    assert_eq!(sampler.limits().cpu_cores, 4.0);
}

#[test]
fn files_that_are_not_text_or_have_no_end_are_unknown() {
    let max = "sys/fs/cgroup/odin/memory.max";
    let long = [
        b"5".repeat(65_537),
        [M512.as_bytes(), &[b' '; 70_000]].concat(),
    ];
    for content in [&b"\xff\xfe512\n"[..], b"\0\0\0", &long[0], &long[1]] {
        let root = build(named("v2_plain"));
        write(root.path(), max, content);
        let limits = Sampler::new(options(root.path()), second(0)).limits();
        assert_eq!(limits.memory_bytes, None, "{:?}", &content[..3]);
    }
    // A folder where the file should be.
    let root = build(named("v2_plain"));
    fs::remove_file(root.path().join(max)).unwrap();
    fs::create_dir(root.path().join(max)).unwrap();
    assert_eq!(
        Sampler::new(options(root.path()), second(0))
            .limits()
            .memory_bytes,
        None
    );
}

/// Every file of the main trees replaced by every kind of garbage: nothing panics, there is always
/// a core, and the next sampler that finds the files whole reads them.
#[test]
fn garbage_anywhere_is_survived() {
    let garbage: [&[u8]; 9] = [
        b"",
        b"\n\n\n",
        b"-1\n",
        b"99999999999999999999999999999999999999999999\n",
        b"18446744073709551615 18446744073709551615\n",
        b"\xff\xff\xff",
        b"a b c d e f g h i j - k l m n\n",
        b"0::/\n5:memory:/..\n",
        b"0-99999999\n",
    ];
    for name in [
        "v2_plain",
        "v1_comounted",
        "v1_split",
        "hybrid_memory_v1_cpu_v2",
    ] {
        let tree = named(name);
        let root = build(tree);
        let paths: std::collections::BTreeSet<_> = files(tree).collect();
        for path in paths {
            let whole = fs::read(root.path().join(path)).unwrap();
            for content in garbage {
                write(root.path(), path, content);
                let mut sampler = Sampler::new(options(root.path()), second(10));
                assert!(sampler.limits().cpu_cores > 0.0, "{name} {path}");
                let sample = sampler.sample(second(11));
                let _ = sample.memory_permille();
            }
            write(root.path(), path, whole);
        }
        assert_eq!(
            Sampler::new(options(root.path()), second(0))
                .limits()
                .memory_bytes,
            tree.expected.0.map(|mib| mib * MIB)
        );
    }
}

#[test]
fn this_machine_can_be_read() {
    let mut sampler = Sampler::new(Options::default(), second(0));
    let limits = sampler.limits();
    assert!(limits.cpu_cores > 0.0);
    // Of the CPU the first reading was taken when the sampler was made.
    let sample = sampler.sample(second(1));
    assert_eq!(sample.memory_limit, limits.memory_bytes);
}
