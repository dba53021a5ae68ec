//! Who is let in, at a server that is full, short of memory or visited too often.
//!
//! The limits per address do not count loopback, which is all that these tests may come from: that they
//! bite is shown by the tests of the core's gate, that loopback is exempt is shown here.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::common::{self, Answer};
use crate::server::Server;

/// Asks for an upgrade that is refused, and checks what every refusal has. Gives its reason.
async fn refused(server: &Server) -> (u16, String) {
    let upgrade = common::request(&common::upgrade_lines(server.addr));
    let answer = common::ask(server.addr, upgrade).await;
    let body = answer.json();
    assert_eq!(body["error"], "capacity", "{body}");
    assert!(body["message"].is_string(), "{body}");
    let millis = body["retry_after_ms"].as_u64().expect("a time");
    assert_eq!(retry_after(&answer), millis.div_ceil(1000).max(1));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (
        answer.status,
        body["reason"].as_str().expect("a reason").to_owned(),
    )
}

/// Whole seconds, 1 to 30.
fn retry_after(answer: &Answer) -> u64 {
    let seconds = answer.header("retry-after").and_then(|s| s.parse().ok());
    seconds
        .filter(|s| (1..=30).contains(s))
        .unwrap_or_else(|| panic!("{answer:?}"))
}

/// `GET /admission`, which pages of every origin may read.
async fn admission(server: &Server) -> Answer {
    let answer = common::get(server.addr, "/admission").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let exposed = answer.header("access-control-expose-headers");
    assert_eq!(exposed, Some("Retry-After"));
    answer
}

fn rejected(server: &Server, reason: &str) -> f64 {
    server.metric(&format!(
        "ws_connections_rejected_total{{reason=\"{reason}\"}}"
    ))
}

#[tokio::test]
async fn a_full_server_refuses_answers_and_makes_room() {
    let server = Server::start(&["--no-demo", "--max-connections=100"]);
    let mut clients = Vec::new();
    assert_eq!(admission(&server).await.status, 200);
    for _ in 0..100 {
        clients.push(Client::connect(server.addr).await);
    }
    assert_eq!(refused(&server).await, (503, "capacity".to_owned()));
    for (path, status) in [
        ("/health", 200),
        ("/metrics", 200),
        ("/live", 200),
        ("/ready", 200),
    ] {
        assert_eq!(
            common::get(server.addr, path).await.status,
            status,
            "{path}"
        );
    }
    let closed = admission(&server).await;
    assert_eq!(closed.status, 503);
    retry_after(&closed);
    let metrics = server.get("/metrics").body;
    for line in [
        "ws_connections_active 100",
        "ws_connections_max 100",
        "ws_connections_failed_total 1",
        "ws_connections_rejected_total{reason=\"capacity\"} 1",
        "ws_admission_open 0",
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is not in {metrics}"
        );
    }
    let health = server.get("/health").json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["checks"]["capacity"]["current"], 100);
    drop(clients.pop());
    server.until_metric("ws_connections_active", 99.0);
    assert_eq!(admission(&server).await.status, 200);
    clients.push(Client::connect(server.addr).await);
    assert_eq!(refused(&server).await, (503, "capacity".to_owned()));
}

/// Puts a file below the root, whole at once: the server reads it at any time.
fn put(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let new = path.with_extension("new");
    std::fs::write(&new, content).expect("a file");
    std::fs::rename(&new, &path).expect("a file");
}

/// The control group (version 2) of a machine of 8 GiB and 4 cores: 512 MiB, 2 cores, idle.
fn machine(root: &Path) {
    let mounts = "23 1 0:20 / / rw - ext4 /dev/sda1 rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    for (file, content) in [
        ("proc/meminfo", "MemTotal:        8388608 kB\n"),
        ("proc/self/cgroup", "0::/odin\n"),
        ("proc/self/mountinfo", mounts),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/fs/cgroup/odin/memory.max", "536870912\n"),
        ("sys/fs/cgroup/odin/cpu.max", "200000 100000\n"),
        ("sys/fs/cgroup/odin/cpu.stat", "usage_usec 500000\n"),
        ("sys/fs/cgroup/odin/memory.stat", "inactive_file 52428800\n"),
    ] {
        put(root, file, content);
    }
    memory(root, 50);
}

const LIMIT: u64 = 536_870_912;

/// A share of the limit, rounded up.
fn share(percent: u64) -> u64 {
    (LIMIT * percent).div_ceil(100)
}

/// The working set becomes this share of the limit: what is used less the inactive 50 MiB of files.
fn memory(root: &Path, percent: u64) {
    let bytes = share(percent) + 52_428_800;
    put(
        root,
        "sys/fs/cgroup/odin/memory.current",
        &format!("{bytes}\n"),
    );
}

#[tokio::test]
async fn short_of_memory_it_lets_nobody_in_and_drops_nobody() {
    let root = tempfile::tempdir().expect("a folder");
    machine(root.path());
    let server = Server::start(&[
        "--no-demo",
        "--cgroup-root",
        root.path().to_str().expect("a path"),
    ]);
    let mut client = Client::connect(server.addr).await;
    client.subscribe(&["news"]).await;
    memory(root.path(), 95);
    server.until_metric("ws_admission_open", 0.0);
    for refusals in 1..=3 {
        assert_eq!(refused(&server).await, (503, "memory".to_owned()));
        assert!(
            rejected(&server, "memory")
                .total_cmp(&f64::from(refusals))
                .is_eq()
        );
    }
    assert_eq!(admission(&server).await.status, 503);
    // The existing client lives on; so do health and metrics, and say so.
    assert_eq!(server.publish("news", "\"on\"").status, 200);
    assert_eq!(client.next_message().await["data"], "on");
    let health = server.get("/health");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &"unhealthy".into())
    );
    let limit = server.metric("ws_memory_limit_bytes");
    assert!(limit.total_cmp(&(LIMIT as f64)).is_eq(), "{limit}");
    // Between the two thresholds nothing changes; well below the lower one it does, after 5 s.
    memory(root.path(), 87);
    server.until_metric("ws_memory_bytes", share(87) as f64);
    assert_eq!(refused(&server).await, (503, "memory".to_owned()));
    let begun = Instant::now();
    memory(root.path(), 80);
    while admission(&server).await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "still closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    Client::connect(server.addr)
        .await
        .subscribe(&["news"])
        .await;
    assert_eq!(server.publish("news", "\"still\"").status, 200);
    assert_eq!(client.next_message().await["data"], "still");
    let lost = server.metric("ws_connections_total") - server.metric("ws_connections_active");
    assert!(lost <= 1.0, "at most the second client is gone by now");
}

#[tokio::test]
async fn who_comes_too_fast_is_let_in_when_told_to_come() {
    let server = Server::start(&["--no-demo", "--accept-rate=1", "--accept-burst=3"]);
    let mut clients = Vec::new();
    let upgrade = common::request(&common::upgrade_lines(server.addr));
    for _ in 0..3 {
        clients.push(common::upgraded(server.addr).await);
    }
    let answer = common::ask(server.addr, &upgrade).await;
    assert_eq!(
        (answer.status, &answer.json()["reason"]),
        (503, &"accept_rate".into())
    );
    assert!(rejected(&server, "accept_rate").total_cmp(&1.0).is_eq());
    // Being told to wait is the subject.
    let millis = answer.json()["retry_after_ms"].as_u64().expect("a time");
    assert!((1..=3000).contains(&millis), "{millis}");
    tokio::time::sleep(Duration::from_millis(millis)).await;
    clients.push(common::upgraded(server.addr).await);
    server.until_metric("ws_connections_active", 4.0);
}

#[tokio::test]
async fn loopback_is_exempt_from_the_limits_per_address() {
    let server = Server::start(&[
        "--no-demo",
        "--ip-max-connections=1",
        "--ip-accept-rate=1",
        "--ip-accept-burst=1",
    ]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(server.addr).await);
    }
    server.until_metric("ws_connections_active", 3.0);
    assert!(rejected(&server, "ip_capacity").total_cmp(&0.0).is_eq());
    assert!(rejected(&server, "ip_rate").total_cmp(&0.0).is_eq());
}
