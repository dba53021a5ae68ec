//! How the server ends: in good order, at once when told twice, and with an exit code that says why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::{block_in_place, spawn_blocking};

use crate::client::{Client, Event};
use crate::common;
use crate::publisher::Publisher;
use crate::server::Server;

const CLIENTS: usize = 500;
const SHARDS: usize = 2;
const WINDOW: Duration = Duration::from_secs(4);

/// The part of the window over which closes are spread.
const SPREAD_MS: u64 = 3200;

/// How exactly times are compared: two processes share two cores with other tests.
const SLACK: Duration = Duration::from_millis(250);

/// What one client saw of the drain.
struct Seen {
    /// The delay of its `goaway`.
    delay_ms: u64,
    /// When its close frame came, and its code.
    closed: Instant,
    code: u16,
    /// The seq of its last message.
    last: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_is_told_its_own_time_and_misses_nothing_before_it() {
    let mut server = Server::start(&[
        "--no-demo",
        "--drain-timeout=4s",
        &format!("--shards={SHARDS}"),
    ]);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(server.addr).await;
        client.subscribe(&["tick"]).await;
        clients.push(client);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = spawn_blocking({
        let (addr, stop) = (server.addr, Arc::clone(&stop));
        move || publish_until(&mut Publisher::connect(addr), &stop)
    });
    // Everyone is in the middle of the stream when the signal comes.
    for client in &mut clients {
        client.next_message().await;
    }
    let signalled = Instant::now();
    server.terminate();
    let clients: Vec<_> = clients
        .into_iter()
        .map(|c| tokio::spawn(until_gone(c)))
        .collect();
    while_it_drains(server.addr).await;
    let mut seen = Vec::new();
    for client in join_all(clients).await {
        seen.push(client.expect("a client"));
    }
    stop.store(true, Ordering::Relaxed);
    let published = publisher.await.expect("the publisher");
    assert_eq!(block_in_place(|| server.wait()).code(), Some(0));
    assert!(signalled.elapsed() < WINDOW + Duration::from_secs(1));
    evenly_spread(&mut seen);
    let last_before = |at: Instant| published.partition_point(|acked| *acked <= at) as u64;
    for client in &seen {
        assert_eq!(client.code, 1012);
        let due = signalled + Duration::from_millis(client.delay_ms);
        assert!(
            client.closed + Duration::from_millis(1) >= due,
            "closed before its time"
        );
        assert!(
            client.closed <= due + 2 * SLACK,
            "{:?} late",
            client.closed - due
        );
        let before = last_before(due);
        assert!(client.last >= before, "{} of {before}", client.last);
    }
    let first = seen.iter().map(|client| client.last).min();
    let last = seen.iter().map(|client| client.last).max();
    assert!(first < last, "publishing went on during the drain");
}

/// Publishes until it is told to stop, or the server is gone. Gives when each message was
/// acknowledged.
fn publish_until(publisher: &mut Publisher, stop: &AtomicBool) -> Vec<Instant> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(seq) = publisher.try_publish("tick", "1") else {
            break;
        };
        acknowledged.push(Instant::now());
        assert_eq!(seq, acknowledged.len() as u64);
        // A steady rate, which leaves the processors to others.
        std::thread::sleep(Duration::from_millis(5));
    }
    acknowledged
}

async fn until_gone(mut client: Client) -> Seen {
    let mut delay_ms = None;
    loop {
        match client.next().await {
            Event::Json(event) if event["type"] == "goaway" => {
                assert_eq!(event["reason"], "draining");
                assert_eq!(delay_ms, None, "told once");
                delay_ms = event["reconnect_after_ms"].as_u64();
            }
            Event::Json(event) => assert_eq!(event["type"], "message"),
            Event::Closed(code) => {
                let closed = Instant::now();
                // The closing handshake is completed by reading on.
                assert_eq!(client.next().await, Event::Gone);
                return Seen {
                    delay_ms: delay_ms.expect("a goaway before the close"),
                    closed,
                    code,
                    last: client.chain.messages,
                };
            }
            Event::Gone => panic!("no close frame"),
        }
    }
}

/// What is answered while the server drains.
async fn while_it_drains(addr: SocketAddr) {
    let begun = Instant::now();
    while common::get(addr, "/ready").await.status != 503 {
        assert!(begun.elapsed() < SLACK, "/ready says nothing of the drain");
    }
    for (path, status) in [
        ("/health", 200),
        ("/live", 200),
        ("/metrics", 200),
        ("/admission", 503),
    ] {
        assert_eq!(common::get(addr, path).await.status, status, "{path}");
    }
    let upgrade = common::request(&common::upgrade_lines(addr));
    let refused = common::ask(addr, upgrade).await;
    let body = refused.json();
    assert_eq!((refused.status, &body["reason"]), (503, &"draining".into()));
    assert!(refused.header("retry-after").is_some());
    let rejected = "ws_connections_rejected_total{reason=\"draining\"}";
    assert_eq!(common::metric(addr, rejected).await, "1");
}

/// The delays of the clients of each shard are evenly spread, so at most as many clients share one as
/// there are shards.
fn evenly_spread(seen: &mut [Seen]) {
    seen.sort_by_key(|client| client.delay_ms);
    for (place, client) in seen.iter().enumerate() {
        let even = SPREAD_MS * (place as u64 + 1) / CLIENTS as u64;
        let off = client.delay_ms.abs_diff(even);
        assert!(
            off < 60,
            "{} ms at place {place}, not {even}",
            client.delay_ms
        );
    }
    let mut delays: Vec<_> = seen.iter().map(|client| client.delay_ms).collect();
    delays.dedup();
    assert!(delays.len() >= CLIENTS / SHARDS, "{} delays", delays.len());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--no-demo", "--drain-timeout=1h"]);
    let mut client = Client::connect(server.addr).await;
    server.terminate();
    assert_eq!(client.next().await.json()["type"], "goaway");
    let begun = Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(3));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn without_clients_it_ends_at_once() {
    let mut server = Server::start(&["--no-demo", "--drain-timeout=1h"]);
    let begun = Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    let (code, errors) = Server::refuse(&["--listen", &addr]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains(&format!("cannot serve on {addr}: ")),
        "{errors}"
    );
    for (args, key) in [
        (&["--max-connections=many"][..], "max_connections"),
        (&["--no-such-setting"], "no-such-setting"),
        (&["--ping-interval=2m"], "ping_interval"),
        (&["--listen=nowhere"], "listen"),
    ] {
        let (code, errors) = Server::refuse(args);
        assert_eq!(code, Some(2), "{args:?}: {errors}");
        assert!(errors.contains(key), "{args:?}: {errors}");
    }
}
