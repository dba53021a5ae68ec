//! A real nats-server on a free port of 127.0.0.1 with a temporary store, which can be killed and
//! started again on the same store and port.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// What to do where nats-server is missing.
const INSTALL: &str = "install it with `make setup`, or name one by NATS_SERVER, NATS_SERVER_OLD (2.9) or \
    NATS_SERVER_CURRENT";

/// Which nats-server to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// `NATS_SERVER`, else that of `PATH`, else where Debian puts it, which is not in everyone's `PATH`.
    Any,
    /// The one of Debian 12 (2.9): `NATS_SERVER_OLD`, else where Debian puts it.
    Old,
    /// A current one: `NATS_SERVER_CURRENT`, else the one that `make setup` installs.
    Current,
}

/// A running nats-server; it is killed when dropped.
pub struct NatsServer {
    version: Version,
    port: u16,
    store: tempfile::TempDir,
    /// A configuration file in a directory of its own.
    config: Option<tempfile::TempDir>,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with JetStream.
    pub fn start() -> Self {
        Self::start_version(Version::Any)
    }

    /// Starts a server of this version with JetStream.
    pub fn start_version(version: Version) -> Self {
        let mut server = Self::stopped();
        server.version = version;
        server.restart();
        server
    }

    /// A server that is not started yet; its URL is known.
    pub fn stopped() -> Self {
        let port = free_port();
        let store = tempfile::tempdir().expect("a temporary directory");
        Self {
            version: Version::Any,
            port,
            store,
            config: None,
            child: None,
        }
    }

    /// Starts a server with JetStream and this configuration beside its options.
    pub fn configured(config: &str) -> Self {
        Self::configured_version(Version::Any, config)
    }

    /// The same with a server of this version.
    pub fn configured_version(version: Version, config: &str) -> Self {
        let mut server = Self::stopped();
        server.version = version;
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
        fork.version = self.version;
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

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The running server's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits until the server has ended by itself.
    pub fn ended(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("the server ends");
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
        let program = self.version.program();
        let child = Command::new(&program)
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
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}; {INSTALL}"));
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

impl Version {
    fn program(self) -> String {
        let variable = match self {
            Self::Any => "NATS_SERVER",
            Self::Old => "NATS_SERVER_OLD",
            Self::Current => "NATS_SERVER_CURRENT",
        };
        if let Ok(program) = std::env::var(variable) {
            return program;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).any(|dir| dir.join("nats-server").is_file());
        match self {
            Self::Any if in_path => "nats-server".into(),
            Self::Any | Self::Old => "/usr/sbin/nats-server".into(),
            Self::Current => {
                let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/venv/bin/");
                format!("{tools}nats-server")
            }
        }
    }
}

/// A port that nobody listens on, below those that Linux gives to outgoing connections: a server that
/// comes back must find it free still. Where the search begins depends on the process, so that tests that
/// run side by side do not meet.
pub fn free_port() -> u16 {
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
