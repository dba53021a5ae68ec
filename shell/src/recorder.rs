//! The flight recorder's files: when a recording is written, where to, and how many are kept.
//!
//! What is recorded is the core's. Each machine keeps its own tape within its share of `record_bytes`;
//! a file holds a copy of all of them, or, after a panic, that of the shard in which it happened.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use odin_core::record::{File, Header, Recording};

use crate::server::shared::Shared;
use crate::settings::Settings;

/// Files that are kept in `record_dir`, whichever server wrote them; the oldest go.
pub const FILES_MAX: usize = 8;

/// The least time between two files that are asked for over HTTP or caused by a panic.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long each machine may take to give its recording. One that is stuck is left out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What every file's name begins and ends with.
const PREFIX: &str = "odin-ws-";
const SUFFIX: &str = ".odinrec";

/// Less than this is too little for a shard: recording it would be all checkpoints.
const SHARD_BYTES_MIN: usize = 256 * 1024;

/// The bytes that each machine may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    pub(crate) feed: usize,
    pub(crate) gate: usize,
    pub(crate) shard: usize,
}

impl Shares {
    /// The Feed has an entry for every message that is kept, the Gate has next to nothing.
    pub(crate) fn of(record_bytes: usize, shards: usize) -> Self {
        let (feed, gate) = (record_bytes / 4, record_bytes / 32);
        let shard = (record_bytes - feed - gate) / shards.max(1);
        if shard < SHARD_BYTES_MIN {
            if record_bytes > 0 {
                tracing::warn!(
                    record_bytes,
                    shards,
                    "record_bytes is too little for so many shards: nothing is recorded"
                );
            }
            return Self {
                feed: 0,
                gate: 0,
                shard: 0,
            };
        }
        Self { feed, gate, shard }
    }
}

/// Why no file was written.
#[derive(Debug)]
pub enum RecordError {
    /// Recording is off, or nothing answered.
    Nothing,
    /// One was written less than a minute ago.
    TooSoon {
        /// When the next may be.
        retry_after: Duration,
    },
    /// The file cannot be written.
    Io(io::Error),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is recorded: record_bytes is 0 or too little"),
            Self::TooSoon { retry_after } => {
                write!(f, "the next may be written in {} s", retry_after.as_secs())
            }
            Self::Io(error) => write!(f, "it cannot be written: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// A file that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// How large it is.
    pub bytes: usize,
    /// Which machines it covers.
    pub machines: Vec<String>,
}

/// Where files go, and when the last one went there.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: PathBuf,
    started_unix_ms: u64,
    last: Mutex<Option<Instant>>,
}

impl Recorder {
    pub(crate) fn new(settings: &Settings, started_unix_ms: u64) -> Self {
        let dir = settings.record_dir.clone();
        Self {
            dir: dir.unwrap_or_else(std::env::temp_dir),
            started_unix_ms,
            last: Mutex::new(None),
        }
    }

    /// Takes the turn of this minute.
    fn take_turn(&self) -> Result<(), RecordError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = last.map_or(INTERVAL, |last| last.elapsed());
        if passed < INTERVAL {
            let retry_after = INTERVAL - passed;
            return Err(RecordError::TooSoon { retry_after });
        }
        *last = Some(Instant::now());
        Ok(())
    }

    /// Writes what a shard recorded until it panicked. Called while the thread unwinds, so nothing
    /// here may fail but the writing.
    pub(crate) fn after_panic(&self, recording: Option<Recording>) {
        let Some(recording) = recording else { return };
        if self.take_turn().is_err() {
            return;
        }
        match self.write("panic", vec![recording]) {
            Ok(written) => tracing::error!(path = %written.path.display(), "recording written"),
            Err(error) => tracing::error!(%error, "no recording of the panic"),
        }
    }

    fn write(&self, cause: &str, recordings: Vec<Recording>) -> Result<Written, RecordError> {
        if recordings.iter().all(|one| one.segments.is_empty()) {
            return Err(RecordError::Nothing);
        }
        let written_unix_ms = unix_ms();
        let machines = recordings.iter().map(|one| one.machine.to_string());
        let machines = machines.collect();
        let file = File {
            header: Header {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_unix_ms: self.started_unix_ms,
                written_unix_ms,
                cause: cause.to_owned(),
            },
            recordings,
        };
        let bytes = file.to_bytes();
        let name = format!(
            "{PREFIX}{written_unix_ms:013}-{}{SUFFIX}",
            std::process::id()
        );
        let path = self.dir.join(name);
        create(&path, &bytes).map_err(RecordError::Io)?;
        if let Err(error) = prune(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "old recordings cannot be removed");
        }
        Ok(Written {
            path,
            bytes: bytes.len(),
            machines,
        })
    }
}

/// Writes a file that was not there, for nobody else to read: it holds what clients asked for.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of a recording is none.
        let _ = fs::remove_file(path);
    }
    written
}

/// Removes the oldest recordings beyond [`FILES_MAX`].
fn prune(dir: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(text) = name.to_str() else { continue };
        if text.starts_with(PREFIX) && text.ends_with(SUFFIX) {
            names.push(text.to_owned());
        }
    }
    // The time is written with the same number of digits in every name.
    names.sort_unstable();
    let spare = names.len().saturating_sub(FILES_MAX);
    for name in &names[..spare] {
        fs::remove_file(dir.join(name))?;
    }
    Ok(())
}

/// Milliseconds since the Unix epoch; 0 where the machine's clock is before it.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Shared {
    /// Writes what all machines recorded, at most once a minute.
    pub(crate) async fn record_in_turn(&self, cause: &str) -> Result<Written, RecordError> {
        self.recorder.take_turn()?;
        self.record(cause).await
    }

    /// Writes what all machines recorded. One that does not answer in time is left out.
    pub(crate) async fn record(&self, cause: &str) -> Result<Written, RecordError> {
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        let shards = (0..self.shards()).map(|shard| self.ports.recording(shard));
        let asked: Vec<_> = std::iter::once(self.source.ask_recording())
            .chain(shards)
            .collect();
        let mut recordings: Vec<Recording> = self.gate().recording().into_iter().collect();
        for answer in asked {
            if let Ok(Ok(Some(recording))) = tokio::time::timeout_at(deadline, answer).await {
                recordings.push(recording);
            }
        }
        recordings.sort_by_key(|recording| recording.machine);
        // Disks are slow, and this may be a shard's thread.
        let (recorder, cause) = (Arc::clone(&self.recorder), cause.to_owned());
        let written = tokio::task::spawn_blocking(move || recorder.write(&cause, recordings));
        written
            .await
            .unwrap_or_else(|error| Err(RecordError::Io(io::Error::other(error))))
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES_MAX, PREFIX, SUFFIX, Shares, create, prune};

    #[test]
    fn the_oldest_files_go_and_those_of_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        for time in 0..12 {
            let name = format!("{PREFIX}{time:013}-1{SUFFIX}");
            create(&dir.path().join(name), b"x").expect("written");
        }
        create(&dir.path().join("odin-ws-other"), b"x").expect("written");
        prune(dir.path()).expect("pruned");
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .expect("a listing")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        names.sort();
        let newest = (12 - FILES_MAX..12).map(|time| format!("{PREFIX}{time:013}-1{SUFFIX}"));
        let expected: Vec<String> = newest.chain(["odin-ws-other".to_owned()]).collect();
        assert_eq!(names, expected);
        let first = dir.path().join(&names[0]);
        assert!(create(&first, b"y").is_err(), "nothing is written over");
    }

    #[test]
    fn shares_stay_within_the_bound_or_are_nothing() {
        for shards in [1, 2, 7, 64] {
            let shares = Shares::of(32 << 20, shards);
            assert!(shares.shard >= 256 << 10, "{shards}");
            assert!(shares.feed + shares.gate + shares.shard * shards <= 32 << 20);
        }
        let nothing = Shares {
            feed: 0,
            gate: 0,
            shard: 0,
        };
        assert_eq!(Shares::of(0, 2), nothing);
        assert_eq!(Shares::of(1 << 20, 64), nothing);
    }
}
