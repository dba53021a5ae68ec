//! A real nats-server on a free port of 127.0.0.1 with a temporary store, which can be killed and
//! started again on the same store and port.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// What to do where nats-server is missing.
const INSTALL: &str = "install it with `make setup` (Debian: apt-get install nats-server), or name one by NATS_SERVER";

/// The first version that answers a direct get with many messages.
const BATCHES_SINCE: (u32, u32) = (2, 11);

/// Which nats-server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// The one that the tests run with.
    Default,
    /// One before 2.11.
    Old,
    /// One from 2.11 on.
    Current,
}

/// A running nats-server; it is killed when dropped.
pub struct NatsServer {
    program: PathBuf,
    port: u16,
    store: tempfile::TempDir,
    /// A configuration file in a directory of its own.
    config: Option<tempfile::TempDir>,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with JetStream.
    pub fn start() -> Self {
        let mut server = Self::stopped();
        server.restart();
        server
    }

    /// Starts a server of a release, with JetStream.
    pub fn release(release: Release) -> Self {
        let mut server = Self::stopped();
        server.program = release.program();
        server.restart();
        server
    }

    /// A server that is not started yet; its URL is known.
    pub fn stopped() -> Self {
        let port = free_port();
        let store = tempfile::tempdir().expect("a temporary directory");
        Self {
            program: Release::Default.program(),
            port,
            store,
            config: None,
            child: None,
        }
    }

    /// Starts a server with JetStream and this configuration beside its options.
    pub fn configured(config: &str) -> Self {
        let mut server = Self::stopped();
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("nats.conf"), config).expect("the file can be written");
        server.config = Some(dir);
        server.restart();
        server
    }

    /// A server that is not started yet, with a copy of this one's store. Kill this one first.
    pub fn fork(&self) -> Self {
        assert!(
            self.child.is_none(),
            "a store is copied while nobody writes"
        );
        let mut fork = Self::stopped();
        fork.program.clone_from(&self.program);
        copy(self.store.path(), fork.store.path()).expect("the store can be copied");
        fork
    }

    /// Takes over the store of another server, as a restore does. Kill both first.
    pub fn restore(&mut self, mut other: Self) {
        assert!(self.child.is_none() && other.child.is_none());
        std::mem::swap(&mut self.store, &mut other.store);
    }

    /// The URL that clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Sends a signal to the running server.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("the server runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server ends");
        }
    }

    /// Starts the server on its port and store, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        let program = &self.program;
        let child = Command::new(program)
            .args([
                "-a",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-js",
                "-sd",
            ])
            .arg(self.store.path())
            .args(
                self.config
                    .iter()
                    .flat_map(|dir| [OsString::from("-c"), dir.path().join("nats.conf").into()]),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {}: {error}; {INSTALL}", program.display())
            });
        self.child = Some(child);
        let start = Instant::now();
        while !self.answers() {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "nats-server ended: {ended:?}");
            assert!(
                start.elapsed() < START_TIME_MAX,
                "nats-server does not answer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether a connection is greeted.
    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut line = String::new();
        let read = stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .and_then(|()| BufReader::new(stream).read_line(&mut line));
        read.is_ok() && line.starts_with("INFO ")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Release {
    /// The program: of `NATS_SERVER`, of `PATH`, of where Debian puts it (which is not in everyone's `PATH`) and of where
    /// `make setup` puts it, the first that is of the release.
    fn program(self) -> PathBuf {
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), tools()]);
        let found = folders.map(|folder| folder.join("nats-server"));
        let mut programs = named.into_iter().chain(found.filter(|path| path.is_file()));
        let program = programs.find(|program| match self {
            Self::Default => true,
            Self::Old => version(program).is_some_and(|version| version < BATCHES_SINCE),
            Self::Current => version(program).is_some_and(|version| version >= BATCHES_SINCE),
        });
        program.unwrap_or_else(|| panic!("no nats-server ({self:?}); {INSTALL}"))
    }
}

/// Where `make setup` puts what is no package of Debian.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/venv/bin")
}

/// Major and minor version, of a line such as `nats-server: v2.9.10`.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut parts = text.trim().rsplit_once('v')?.1.split('.');
    let mut part = || parts.next()?.parse().ok();
    Some((part()?, part()?))
}

/// A port that nobody listens on, below those that Linux gives to outgoing connections: a server that
/// comes back must find it free still. Where the search begins depends on the process, so that tests that
/// run side by side do not meet.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = std::process::id().wrapping_mul(16);
    loop {
        let offset = base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(offset).expect("below 20,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(&path, &to)?;
        }
    }
    Ok(())
}
