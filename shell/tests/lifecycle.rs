//! The program itself: its first line, its signals and its exit codes.

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{frame, get, message, subscribe, upgraded};
use tokio::net::TcpStream;

/// A running `odin-ws`, killed if the test fails before it ends.
struct Program {
    child: Child,
    addr: SocketAddr,
}

impl Program {
    fn start(flags: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = command(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "the line comes within a second"
        );
        let version = env!("CARGO_PKG_VERSION");
        let addr = line.strip_prefix(&format!("odin-ws {version} listening on ws://"));
        let addr = addr
            .and_then(|rest| rest.split('/').next())
            .expect("an address");
        let expected = format!(
            "odin-ws {version} listening on ws://{addr}/ws (health: http://{addr}/health)\n"
        );
        assert_eq!(line, expected);
        let addr = addr.parse().expect("an address");
        Self { child, addr }
    }

    fn signal(&self) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let sent = rustix::process::kill_process(id.expect("an id"), rustix::process::Signal::TERM);
        sent.expect("a signal");
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + common::PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the program did not end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odin-ws"));
    command.env_clear().args(flags).stderr(Stdio::null());
    command
}

fn local(flags: &[&'static str]) -> Vec<&'static str> {
    [&["--listen", "127.0.0.1:0"], flags].concat()
}

/// Reads a drained client's last words: the delay of its goaway, and the time and code of its close.
async fn drained(mut client: TcpStream) -> (u64, Instant, Vec<u8>) {
    let goaway = message(&mut client).await;
    assert_eq!(
        (&goaway["type"], &goaway["reason"]),
        (&"goaway".into(), &"draining".into())
    );
    let delay = goaway["reconnect_after_ms"].as_u64().expect("a delay");
    let (first, payload) = frame(&mut client).await;
    assert_eq!(first, 0x88);
    (delay, Instant::now(), payload)
}

#[tokio::test]
async fn a_signal_drains_and_the_program_ends_with_0() {
    let flags = local(&["--no-demo", "--shards", "1", "--drain-timeout", "2s"]);
    let mut program = Program::start(&flags);
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = upgraded(program.addr).await;
        subscribe(&mut client, "BTC").await;
        clients.push(client);
    }
    program.signal();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(drained(client)))
        .collect();
    // The server tells of itself, and refuses newcomers, while it drains.
    while get(program.addr, "/ready").await.status == 200 {}
    assert_eq!(get(program.addr, "/health").await.status, 200);
    let refused = common::ask(
        program.addr,
        common::request(&common::upgrade_lines(program.addr)),
    );
    let refused = refused.await;
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (503, &"draining".into())
    );
    let (mut delays, mut times) = (Vec::new(), Vec::new());
    for reader in readers {
        let (delay, time, payload) = reader.await.expect("a drained client");
        assert_eq!(payload.get(..2), Some(&1012_u16.to_be_bytes()[..]));
        delays.push(delay);
        times.push(time);
    }
    delays.sort_unstable();
    delays.dedup();
    assert_eq!(delays.len(), 40, "each is told its own delay: {delays:?}");
    times.sort_unstable();
    let spread = times[times.len() - 1] - times[0];
    assert!(
        spread > Duration::from_millis(800),
        "the closes are spread: {spread:?}"
    );
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_program_at_once_with_3() {
    let mut program = Program::start(&local(&["--drain-timeout", "1h"]));
    let client = upgraded(program.addr).await;
    program.signal();
    while get(program.addr, "/ready").await.status == 200 {}
    program.signal();
    assert_eq!(program.exit_code().await, Some(3));
    drop(client);
}

#[tokio::test]
async fn without_clients_a_signal_ends_the_program_at_once() {
    let mut program = Program::start(&local(&["--drain-timeout", "1h"]));
    program.signal();
    assert_eq!(program.exit_code().await, Some(0));
}

#[test]
fn what_cannot_start_says_so_in_its_exit_code() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = taken.local_addr().expect("an address").to_string();
    for (flags, code) in [
        (vec!["--no-such-flag"], 2),
        (vec!["--listen", "nowhere"], 2),
        (vec!["--listen", addr.as_str()], 1),
        (vec!["--version"], 0),
    ] {
        let status = command(&flags)
            .stdout(Stdio::null())
            .status()
            .expect("a status");
        assert_eq!(status.code(), Some(code), "{flags:?}");
    }
}

#[tokio::test]
async fn demo_prices_come_with_a_whole_chain() {
    let program = Program::start(&local(&[]));
    let mut client = upgraded(program.addr).await;
    let ack = subscribe(&mut client, "BTC.*").await;
    let position = ack["positions"]["BTC.*"].as_u64().expect("a position");
    let mut last = None;
    for _ in 0..5 {
        let trade = message(&mut client).await;
        assert_eq!(trade["channel"], "BTC.trade");
        let prev = trade["prev"].as_u64().expect("a predecessor");
        match last {
            None => assert!(prev <= position, "{trade} after {ack}"),
            Some(last) => assert_eq!(prev, last),
        }
        last = trade["seq"].as_u64();
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_without_a_drain_says_1001() {
    let server = common::serve(&[]).await;
    let mut client = upgraded(server.local_addr()).await;
    assert_eq!(message(&mut client).await["type"], "welcome");
    server.stop().await;
    assert_eq!(frame(&mut client).await, (0x88, vec![0x03, 0xE9]));
    assert!(common::ended(&mut client).await);
}
