//! The flight recorder of a real server: what it writes runs again to the recorded state, says why a
//! client was closed, and holds no secret.

mod common;

use std::fs::File as StdFile;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use common::{Answer, PATIENCE, ask, message, publish, serve, settings, subscribe, upgraded};
use odin_core::feed::Feed;
use odin_core::gate::Gate;
use odin_core::reason::CloseReason;
use odin_core::record::{File, Machine, Player, Recorded, Recording};
use odin_core::shard::{Call, Given, Output, Shard};
use tokio::io::AsyncWriteExt;

const ADMIN: &str = "admin-s3cr3t";
const TOKEN: &str = "client-s3cr3t";

async fn post(addr: SocketAddr, headers: &str) -> Answer {
    let request = format!("POST /debug/record HTTP/1.1\r\nHost: {addr}\r\n{headers}\r\n");
    ask(addr, request).await
}

fn read(path: &str) -> (Vec<u8>, File) {
    let mut bytes = Vec::new();
    let mut file = StdFile::open(path).expect("a file");
    file.read_to_end(&mut bytes).expect("readable");
    let parsed = File::parse(&bytes).expect("a recording");
    (bytes, parsed)
}

/// Runs a recording again, to the state that it ends with.
fn run<M: Recorded>(recording: &Recording) -> u64 {
    assert!(recording.hash.is_some(), "the state at the end is known");
    let mut player: Player<'_, M> = Player::new(recording).expect("a checkpoint");
    player.run().expect("the recorded states")
}

fn contains(bytes: &[u8], what: &str) -> bool {
    bytes
        .windows(what.len())
        .any(|window| window == what.as_bytes())
}

fn dir_flag(dir: &Path) -> String {
    dir.display().to_string()
}

#[tokio::test]
async fn a_recording_of_a_real_server_runs_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(&[
        "--record-dir",
        &dir_flag(dir.path()),
        "--admin-token",
        ADMIN,
        "--shards",
        "2",
    ])
    .await;
    let addr = server.local_addr();
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = upgraded(addr).await;
        subscribe(&mut client, "BTC").await;
        clients.push(client);
    }
    let auth = format!(r#"{{"type":"auth","data":{{"token":"{TOKEN}"}}}}"#);
    let sent = common::masked(0x81, auth.as_bytes());
    clients[0].write_all(&sent).await.expect("sent");
    assert_eq!(message(&mut clients[0]).await["type"], "error");
    for n in 0..300 {
        let payload = format!(r#"{{"marker":"payload-s3cr3t","n":{n}}}"#);
        assert_eq!(publish(addr, "BTC", &payload).await.status, 200);
    }
    for client in &mut clients {
        for n in 0..300 {
            assert_eq!(message(client).await["data"]["n"], n);
        }
    }
    let refused = post(addr, "Authorization: Bearer wrong\r\n").await;
    assert_eq!(refused.status, 401);
    let answer = post(addr, &format!("Authorization: Bearer {ADMIN}\r\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        body["machines"],
        serde_json::json!(["feed", "gate", "shard 0", "shard 1"])
    );
    let path = body["path"].as_str().expect("a path");
    assert!(path.starts_with(&dir_flag(dir.path())));
    let (bytes, file) = read(path);
    assert_eq!(body["bytes"], bytes.len());
    assert_eq!(file.header.cause, "POST /debug/record");
    for secret in [ADMIN, TOKEN, "payload-s3cr3t"] {
        assert!(!contains(&bytes, secret), "{secret} was recorded");
    }
    for recording in &file.recordings {
        let calls = match recording.machine {
            Machine::Feed => run::<Feed>(recording),
            Machine::Gate => run::<Gate>(recording),
            Machine::Shard(_) => run::<Shard>(recording),
        };
        let at_least = if recording.machine == Machine::Gate {
            6
        } else {
            300
        };
        assert!(calls >= at_least, "{calls} calls of {}", recording.machine);
    }
    let again = post(addr, "").await;
    assert_eq!((again.status, again.error().as_str()), (429, "too_soon"));
    let wait: u64 = again
        .header("retry-after")
        .expect("when")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_recording_tells_which_client_was_closed_and_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(&[
        "--record-dir",
        &dir_flag(dir.path()),
        "--shards",
        "1",
        "--log-messages",
        "8",
        "--send-buffer",
        "4KiB",
    ])
    .await;
    let addr = server.local_addr();
    let mut stalled = upgraded(addr).await;
    let welcome = message(&mut stalled).await;
    let session = welcome["session"].as_str().expect("a session").to_owned();
    subscribe(&mut stalled, "BTC").await;
    // It reads no more: its socket fills, and then its cursor falls off the log.
    let payload = format!("\"{}\"", "x".repeat(64 * 1024));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let closed = r#"ws_disconnects_total{reason="slow_consumer"}"#;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "it is never closed");
        publish(addr, "BTC", &payload).await;
        let metrics = common::get(addr, "/metrics").await.body;
        let line = metrics.lines().find(|line| line.starts_with(closed));
        if line.is_some_and(|line| !line.ends_with(" 0")) {
            break;
        }
        // The socket of a client that is closed has to take the close frame, or the time for it ends.
    }
    let written = server.record("test").await.expect("a file");
    let (_, file) = read(&written.path.display().to_string());
    let recording = file
        .recordings
        .iter()
        .find(|one| one.machine == Machine::Shard(0));
    let mut player: Player<'_, Shard> = Player::new(recording.expect("the shard")).expect("one");
    let (mut conn, mut reasons) = (None, Vec::new());
    while let Some((now, call)) = player.next().expect("the recorded states") {
        match player.apply(now, &call) {
            Given::Opened(opened, id) if id == session => conn = Some(opened),
            Given::Output(Some(Output::Close { conn, reason })) => reasons.push((conn, reason)),
            _ => {}
        }
        assert!(!matches!(call, Call::Violation(..)));
    }
    let conn = conn.expect("the session was opened");
    assert_eq!(reasons, [(conn, CloseReason::SlowConsumer)]);
}

#[tokio::test]
async fn a_server_that_does_not_record_says_so() {
    let server = serve(&["--record-bytes", "0"]).await;
    let answer = post(server.local_addr(), "").await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (409, "not_recording")
    );
    let error = server
        .record("test")
        .await
        .expect_err("nothing")
        .to_string();
    assert_eq!(
        error,
        "nothing is recorded: record_bytes is 0 or too little"
    );
    assert_eq!(settings(&["--record-bytes", "1MiB"]).record_bytes, 1 << 20);
}
