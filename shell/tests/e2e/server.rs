//! The real server, as a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running `odin-ws`; ended when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Where it is administered, if that is apart; it is asked there then.
    admin: Option<SocketAddr>,
    /// The line that it began with.
    pub(crate) line: String,
    /// How long it took from the start of the process to the line with the URL.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts the server on a free port of 127.0.0.1, with these further arguments.
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(Path::new("."), args)
    }

    /// The same in a folder.
    #[track_caller]
    pub(crate) fn start_in(folder: &Path, args: &[&str]) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(listen, folder, args)
    }

    /// The same at an address, which is where one before it was.
    #[track_caller]
    pub(crate) fn start_at(listen: SocketAddr, folder: &Path, args: &[&str]) -> Self {
        let mut command = Self::command();
        command.args(["--listen", &listen.to_string(), "--log", "warn"]);
        command.args(args).current_dir(folder);
        Self::spawn(command)
    }

    /// The program, without an environment.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odin-ws"));
        command.env_clear().stdin(Stdio::null());
        command
    }

    /// Runs this command, which is [`Self::command`] with more, and listens somewhere.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        let begun = Instant::now();
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let addr = line
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once("/ws"));
        let addr = addr.and_then(|(addr, _)| addr.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("no URL in {line:?}"));
        let admin = line.split_once("admin: http://");
        let admin = admin.and_then(|(_, rest)| rest.split_once(')'));
        let admin = admin.map(|(addr, _)| addr.parse().expect("an address"));
        Self {
            child,
            addr,
            admin,
            line,
            started_in: begun.elapsed(),
        }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs the server with these arguments, which it must refuse to start with: its exit code and
    /// what it wrote to standard error.
    pub(crate) fn refuse(args: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_odin-ws"))
            .args(args)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("the server starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("its status")
    }

    /// Bytes of memory that this process has written to and shares with nobody. Clean pages do not
    /// count: those of the program are private or shared as other tests run it or not.
    pub(crate) fn private_bytes(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        let text = std::fs::read_to_string(path).expect("its memory map");
        let private = text
            .lines()
            .filter(|line| line.starts_with("Private_Dirty:"));
        let kib = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.sum::<u64>() * 1024
    }

    /// `GET`s a path: status, headers (lower case) and body.
    pub(crate) fn get(&self, path: &str) -> Response {
        let addr = self.admin.unwrap_or(self.addr);
        let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        request(addr, &head)
    }

    /// Publishes to a channel over HTTP.
    pub(crate) fn publish(&self, channel: &str, body: &str) -> Response {
        let head = format!(
            "POST /publish/{channel} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.addr,
            body.len()
        );
        request(self.addr, &head)
    }

    /// The value of a metric, labels as they stand in the text; 0 where there is none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub(crate) fn until_metric(&self, name: &str, value: f64) {
        let begun = Instant::now();
        loop {
            let now = self.metric(name);
            // Counters and gauges of whole things are exact.
            if now.to_bits() == value.to_bits() {
                return;
            }
            let patient = begun.elapsed() < Duration::from_secs(30);
            assert!(patient, "{name} stays {now} and not {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `/health` has this status and gives its body.
    #[track_caller]
    pub(crate) fn until_health(&self, status: u16, within: Duration) -> Value {
        let begun = Instant::now();
        loop {
            let health = self.get("/health");
            if health.status == status {
                return health.json();
            }
            assert!(
                begun.elapsed() < within,
                "/health stays {}: {}",
                health.status,
                health.body
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// Headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: String,
}

impl Response {
    /// The body as JSON, which it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// Sends a raw request and reads the answer to its end.
#[track_caller]
pub(crate) fn request(addr: SocketAddr, head: &str) -> Response {
    let mut stream = TcpStream::connect(addr).expect("the server accepts");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream
        .write_all(head.as_bytes())
        .expect("the request goes out");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Response {
        status: status.expect("a status"),
        headers,
        body: body.to_owned(),
    }
}
