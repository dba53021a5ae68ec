//! SIGUSR1 writes a recording, and the server goes on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use odin_core::record::{File, Machine};

use crate::server::Server;

/// The recordings in a directory that are whole.
fn recordings(dir: &std::path::Path) -> Vec<(PathBuf, File)> {
    let entries = std::fs::read_dir(dir).expect("a listing");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths
        .filter_map(|path| {
            let file = File::parse(&std::fs::read(&path).ok()?).ok()?;
            Some((path, file))
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

#[test]
fn a_signal_writes_a_recording_and_the_server_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(&[
        "--record-dir",
        &dir.path().display().to_string(),
        "--shards",
        "2",
        "--drain-timeout",
        "0s",
    ]);
    assert_eq!(server.publish("BTC", "1").status, 200);
    for count in 1..=2 {
        server.signal(rustix::process::Signal::USR1);
        let deadline = Instant::now() + Duration::from_secs(20);
        while recordings(dir.path()).len() < count {
            assert!(Instant::now() < deadline, "no recording {count}");
            std::thread::yield_now();
        }
        assert_eq!(server.publish("BTC", "1").status, 200);
    }
    let (path, file) = recordings(dir.path()).remove(0);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(
        name.ends_with(&format!("-{}.odinrec", server.pid())),
        "{name}"
    );
    assert_eq!(file.header.cause, "SIGUSR1");
    let machines: Vec<Machine> = file.recordings.iter().map(|one| one.machine).collect();
    let all = [
        Machine::Feed,
        Machine::Gate,
        Machine::Shard(0),
        Machine::Shard(1),
    ];
    assert_eq!(machines, all);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
}
