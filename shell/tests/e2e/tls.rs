//! TLS of the real binary: signals, the commands beside the server, and what connections cost.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::task::block_in_place;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::server::Server;
use crate::tls_client::{Client, connect, issue, response};

const RELOADED: &str = "ws_reloads_total{outcome=\"ok\"}";
const FAILED: &str = "ws_reloads_total{outcome=\"failed\"}";

/// A server with the certificate of a folder.
fn start(folder: &Path, more: &[&str]) -> Server {
    let certificate = folder.join("cert.pem").display().to_string();
    let key = folder.join("key.pem").display().to_string();
    let own = [
        "--no-demo",
        "--admin-listen=127.0.0.1:0",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
    ];
    let args: Vec<&str> = own.iter().chain(more).copied().collect();
    Server::start(&args)
}

async fn client(addr: SocketAddr, known: &CertificateDer<'static>, buffer: u32) -> Client {
    let tls = connect(addr, known, buffer).await;
    Client::on(tls.expect("a server that is known")).await
}

async fn publish(addr: SocketAddr, known: &CertificateDer<'static>, body: &str) {
    let mut tls = connect(addr, known, 0)
        .await
        .expect("a server that is known");
    let length = body.len();
    let request = format!(
        "POST /publish/A HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    tls.write_all(request.as_bytes()).await.expect("send");
    let answer = response(&mut tls).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// Runs a command of the program.
fn command(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odin-ws"));
    command.env_clear().args(args).output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_a_new_certificate_and_keeps_connections() {
    let folder = TempDir::new().expect("a folder");
    let old = issue(folder.path());
    let server = start(folder.path(), &[]);
    let addr = server.addr;
    let said =
        format!("listening on wss://{addr}/ws (health: https://{addr}/health; admin: http://");
    assert!(server.line.contains(&said), "{}", server.line);
    let mut first = client(addr, &old, 0).await;
    first.subscribe(json!({"channels": ["A"]})).await;
    let new = issue(folder.path());
    server.signal(Signal::HUP);
    block_in_place(|| server.until_metric(RELOADED, 1.0));
    connect(addr, &old, 0)
        .await
        .expect_err("the old one is gone");
    std::fs::write(folder.path().join("key.pem"), "no key").expect("key.pem");
    server.signal(Signal::HUP);
    block_in_place(|| server.until_metric(FAILED, 1.0));
    publish(addr, &new, "1").await;
    assert_eq!(first.next().await["data"], 1);
    let active = block_in_place(|| server.metric("ws_connections_active"));
    assert!(active.total_cmp(&1.0).is_eq(), "{active}");
}

#[test]
fn sighup_of_a_server_without_tls_is_nothing() {
    let server = Server::start(&["--no-demo"]);
    server.signal(Signal::HUP);
    server.signal(Signal::HUP);
    assert_eq!(server.get("/live").status, 200);
}

#[test]
fn the_health_check_speaks_tls_where_the_server_does() {
    let folder = TempDir::new().expect("a folder");
    issue(folder.path());
    let flags = ["--trusted-proxies=127.0.0.1", "--proxy-protocol"];
    for more in [&[][..], &flags] {
        let server = start(folder.path(), more);
        let listen = server.addr.to_string();
        let certificate = folder.path().join("cert.pem").display().to_string();
        // It does not read them; another user than the server's may ask.
        let args = [
            "healthcheck",
            "--listen",
            &listen,
            "--tls-cert",
            &certificate,
            "--tls-key=none",
        ];
        let asked = command(&[&args, more].concat());
        assert_eq!(asked.status.code(), Some(0), "{asked:?}");
        let plain = command(&["healthcheck", "--listen", &listen]);
        assert_eq!(plain.status.code(), Some(1), "{plain:?}");
    }
}

#[test]
fn top_knows_a_server_with_tls_by_its_certificate() {
    let folder = TempDir::new().expect("a folder");
    issue(folder.path());
    let server = start(folder.path(), &[]);
    let url = format!("https://localhost:{}", server.addr.port());
    let authority = folder.path().join("cert.pem").display().to_string();
    let args = ["top", &url, "--once", "--interval", "0.1", "--ca"];
    let shown = command(&[&args[..], &[&authority]].concat());
    let text = String::from_utf8_lossy(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    assert!(text.contains("Odin WS"), "{text}");
    let other = TempDir::new().expect("a folder");
    issue(other.path());
    let authority = other.path().join("cert.pem").display().to_string();
    let refused = command(&[&args[..], &[&authority]].concat());
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("certificate"), "{said}");
}

/// What a connection with TLS may cost the process while it is idle.
const IDLE_BYTES: u64 = 20 * 1024;

/// What it may cost more while its client does not read: one record, and what an allocator makes of it.
const STUCK_BYTES: u64 = 24 * 1024;

/// What the allocator does not give back of what is published, however many connections there are.
const ALLOWANCE: u64 = 6 * 1024 * 1024;

const CLIENTS: u64 = 300;

/// Each of 60 KB, so that they fill the log.
const MESSAGES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn what_connections_with_tls_cost_is_bounded() {
    let folder = TempDir::new().expect("a folder");
    let known = issue(folder.path());
    let server = start(
        folder.path(),
        &[
            "--shards=1",
            "--record-bytes=0",
            "--log-bytes=2MiB",
            "--write-stall=0",
            "--ping-interval=0",
            "--idle-timeout=0",
            "--send-buffer=4KiB",
        ],
    );
    // What the first connections and a full log bring with them is no cost of each.
    let body = format!("\"{}\"", "x".repeat(60_000));
    let mut first = client(server.addr, &known, 0).await;
    first.subscribe(json!({"channels": ["A"]})).await;
    for _ in 0..MESSAGES {
        publish(server.addr, &known, &body).await;
        first.next().await;
    }
    drop(first);
    let empty = server.private_bytes();
    let mut stuck = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = client(server.addr, &known, 2048).await;
        client
            .subscribe(json!({"channels": ["A"], "on_lost": "continue"}))
            .await;
        stuck.push(client);
    }
    let idle = server.private_bytes();
    let each = idle.saturating_sub(empty) / CLIENTS;
    println!("idle: {each} bytes a connection");
    assert!(each <= IDLE_BYTES, "{each}");
    for _ in 0..MESSAGES {
        publish(server.addr, &known, &body).await;
    }
    let blocked = block_in_place(|| server.metric("ws_writes_blocked_total"));
    assert!(blocked >= CLIENTS as f64, "they do not read: {blocked}");
    let full = server.private_bytes();
    let more = full.saturating_sub(idle);
    println!("stuck: {} bytes more", more / CLIENTS);
    assert!(more <= CLIENTS * STUCK_BYTES + ALLOWANCE, "{more}");
}
