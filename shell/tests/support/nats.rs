//! A real nats-server on a free port of 127.0.0.1 with a temporary store, which can be killed and
//! started again on the same store and port.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// A running nats-server; it is killed when dropped.
pub struct NatsServer {
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

    /// A server that is not started yet; its URL is known.
    pub fn stopped() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("a bound address").port();
        let store = tempfile::tempdir().expect("a temporary directory");
        Self {
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
        let fork = Self::stopped();
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
        let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into());
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
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {program}: {error}; install it with: apt-get install nats-server"
                )
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
