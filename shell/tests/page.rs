//! The live page's files and headers, and the numbers that it and `odin-ws top` show.

mod common;

use std::time::Duration;

use common::{ask, get, publish, serve, serve_on, subscribe, upgraded};
use odin_core::config::Config;
use odin_core::id::ConnId;
use odin_core::shard::Shard;
use odin_core::stats::{Behind, Lag, Stats};
use odin_core::time::Instant;
use odin_shell::metrics::{Client, ShardSnapshot, Snapshot};
use odin_shell::overview::{WORST_MAX, clients, overview};
use serde_json::{Value, json};

#[tokio::test]
async fn the_page_allows_its_own_files_and_nothing_else() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/client.js", "text/javascript; charset=utf-8"),
        ("/console/page.js", "text/javascript; charset=utf-8"),
        ("/console/page.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let answer = get(addr, path).await;
        assert_eq!(answer.status, 200, "{path}");
        for (name, value) in [
            ("content-type", kind),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                 connect-src 'self'; base-uri 'none'; form-action 'none'; \
                 frame-ancestors 'none'; require-trusted-types-for 'script'",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name} of {path}");
        }
        // Only the module is for pages of other origins.
        let any = (path == "/client.js").then_some("*");
        assert_eq!(answer.header("access-control-allow-origin"), any, "{path}");
    }
    assert_eq!(get(addr, "/console/").await.status, 404);
}

#[tokio::test]
async fn the_page_refers_to_nothing_that_is_not_served() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let page = get(addr, "/").await.body;
    let mut seen = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in page.split(attribute).skip(1) {
            let target = rest.split('"').next().expect("an end");
            assert_eq!(get(addr, target).await.status, 200, "{target}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6, "an icon twice, a style, a script, two links");
    for inline in ["<style", "style=", "onclick", "javascript:", "<script>"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

fn behind(conn: ConnId, millis: u64, messages: u64) -> Client {
    Client {
        behind: Behind {
            conn,
            messages,
            nanos: millis * 1_000_000,
            subscriptions: 2,
            blocked: messages > 5,
        },
        peer: Some(([192, 0, 2, 7], 4711).into()),
    }
}

/// Two shards with clients that are behind.
fn snapshot() -> Snapshot {
    let conn = Shard::new(Config::default(), 1).open(Instant::ZERO);
    let shard = |worst: Vec<Client>| {
        let mut stats = Stats {
            connections: 3,
            connections_opened: 4,
            messages_sent: 50,
            messages_received: 6,
            bytes_sent: 700,
            subscriptions: 8,
            ..Stats::default()
        };
        stats.delivery.observe(60_000);
        stats.resumes.recovered = 2;
        stats.resumes.unrecovered[0] = 1;
        let lag = Lag {
            messages_max: worst[0].behind.messages,
            nanos_max: worst[0].behind.nanos,
            ..Lag::default()
        };
        ShardSnapshot {
            stats,
            pauses: 0,
            lag,
            worst,
            stale: false,
        }
    };
    Snapshot {
        shards: vec![
            shard(vec![behind(conn, 30, 9), behind(conn, 10, 4)]),
            shard(vec![behind(conn, 20, 7)]),
        ],
        gate_open: true,
        connections_max: 100,
        ..Snapshot::default()
    }
}

#[test]
fn the_overview_sums_the_shards_and_ranks_the_clients_of_all() {
    let health = json!({"status":"healthy"});
    let text = overview(
        &snapshot(),
        health.to_string(),
        Duration::from_micros(1_234_567),
    );
    let mut got: Value = serde_json::from_str(&text).expect("JSON");
    let delivery = got["delivery"].take();
    assert_eq!(delivery["bounds_ms"][0], 0.05);
    assert_eq!(delivery["bounds_ms"][17], 30_000.0);
    assert_eq!(delivery["buckets"].as_array().expect("buckets").len(), 19);
    assert_eq!(delivery["buckets"][1], 2);
    let expected = json!({
        "version": odin_core::VERSION,
        "uptime_ms": 1234,
        "health": health,
        "admission_open": true,
        "stale_shards": 0,
        "connections": 6,
        "connections_max": 100,
        "subscriptions": 16,
        "channels": 0,
        "log_bytes": 0,
        "totals": {
            "sent": 100, "received": 12, "bytes_sent": 1400, "source_received": 0, "opened": 8,
            "refused": 0, "slow": 0, "lost": 0, "recovered": 4, "unrecovered": 2, "replays": 0,
        },
        "delivery": null,
        "lag": {"messages": 9, "ms": 30.0},
        "worst": [
            {"messages": 9, "ms": 30.0, "subscriptions": 2, "blocked": true},
            {"messages": 7, "ms": 20.0, "subscriptions": 2, "blocked": true},
            {"messages": 4, "ms": 10.0, "subscriptions": 2, "blocked": false},
        ],
    });
    assert_eq!(got, expected);
}

#[test]
fn only_the_administrators_list_names_clients() {
    let mut snapshot = snapshot();
    let list: Value = serde_json::from_str(&clients(&snapshot.shards)).expect("JSON");
    let first = json!({
        "id": "0.0.0", "peer": "192.0.2.7:4711",
        "messages": 9, "ms": 30.0, "subscriptions": 2, "blocked": true,
    });
    assert_eq!(list["worst"][0], first);
    assert_eq!(list["worst"][1]["id"], "1.0.0");
    let public = overview(&snapshot, "{}".to_owned(), Duration::ZERO);
    assert!(!public.contains("4711") && !public.contains("192.0.2.7"));
    // However many each shard names, no more than these are shown.
    let one = snapshot.shards[0].worst[0];
    snapshot.shards[1].worst = vec![one; 3 * WORST_MAX];
    let list: Value = serde_json::from_str(&clients(&snapshot.shards)).expect("JSON");
    assert_eq!(list["worst"].as_array().expect("a list").len(), WORST_MAX);
}

#[tokio::test]
async fn the_stats_of_a_server_are_those_of_its_clients() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = upgraded(addr).await;
    subscribe(&mut stream, "A").await;
    publish(addr, "A", "1").await;
    common::message(&mut stream).await;
    let stats = get(addr, "/stats").await.json();
    assert_eq!(stats["connections"], 1);
    assert_eq!(stats["subscriptions"], 1);
    // The welcome, the ack and the message.
    assert_eq!(stats["totals"]["sent"], 3);
    assert_eq!(stats["totals"]["source_received"], 1);
    assert_eq!(stats["worst"], json!([]));
    let health = &stats["health"];
    assert_eq!(health["checks"]["nats"]["status"], "embedded");
    assert_eq!(health["checks"]["capacity"]["current"], 1);
}

#[tokio::test]
async fn who_is_behind_is_told_to_administrators_only() {
    let server = serve_on("0.0.0.0:0", &["--admin-token", "administrator-0123456789"]).await;
    let addr = (std::net::Ipv4Addr::LOCALHOST, server.local_addr().port()).into();
    for (header, status) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Bearer administrator-0123456789\r\n", 200),
    ] {
        let request = format!("GET /debug/clients HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        assert_eq!(ask(addr, request).await.status, status, "{header}");
    }
}
