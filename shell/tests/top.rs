//! `odin-ws top`, as it is seen.

mod common;

use std::process::{Command, Output};

use common::{publish, serve, serve_on, subscribe, upgraded};
use odin_shell::top::view;
use serde_json::{Value, json};

fn stats() -> Value {
    json!({
        "version": "1.2.3\u{1b}[31m",
        "uptime_ms": 93_784_000,
        "health": {
            "status": "degraded",
            "errors": [],
            "warnings": ["CPU at 75 % of its quota"],
            "checks": {
                "memory": {"used_mb": 123.4, "limit_mb": 512.0},
                "cpu": {"percentage": 75.0},
            },
        },
        "admission_open": true,
        "connections": 1234,
        "connections_max": 16384,
        "subscriptions": 2500,
        "channels": 12,
        "log_bytes": 3_145_728,
        "totals": {
            "sent": 5_000_000, "received": 70, "bytes_sent": 900_000_000, "source_received": 400_000,
            "opened": 2000, "refused": 3, "slow": 4, "lost": 5, "recovered": 6, "unrecovered": 7,
        },
        "delivery": {"bounds_ms": [1.0, 2.0], "buckets": [100, 100, 0]},
        "lag": {"messages": 1500, "ms": 2500.0},
        "worst": [
            {"messages": 1500, "ms": 2500.0, "subscriptions": 1, "blocked": true},
            {"messages": 2, "ms": 12.4, "subscriptions": 2, "blocked": false},
        ],
    })
}

/// The same server two seconds earlier.
fn earlier() -> Value {
    let mut before = stats();
    before["uptime_ms"] = json!(93_782_000);
    before["totals"]["sent"] = json!(4_975_310);
    before["totals"]["received"] = json!(68);
    before["totals"]["bytes_sent"] = json!(897_000_000);
    before["delivery"]["buckets"] = json!([0, 100, 0]);
    before
}

#[test]
fn two_looks_make_rates() {
    let expected = "\
Odin WS 1.2.3[31m   degraded   up 1 d 2 h
warning: CPU at 75 % of its quota

Connections    1,234 of 16,384 (7.5 %), admission open
Messages/s     12,345 to clients, 1 from clients, 0 from the source
Bytes/s        1,500,000
Delivery       50 % within 0.50 ms, 99 % within 0.99 ms
Worst lag      2.5 s, 1,500 messages
Memory         123.4 MiB of 512.0 MiB, CPU 75.0 %
Holds          2,500 subscriptions, 12 channels, 3.0 MiB of log
Since start    2,000 connections, 3 refused, 4 too slow; 6 resumed, 7 not; 5 messages lost

  #     behind   messages  subscriptions  socket
  1      2.5 s      1,500              1  full
  2      12 ms          2              2  open
";
    assert_eq!(view(&stats(), &earlier(), None), expected);
}

#[test]
fn a_server_that_started_again_has_no_rates_yet() {
    let text = view(&earlier(), &stats(), None);
    assert!(
        text.contains("\nMessages/s     - to clients, - from clients, - from the source\n"),
        "{text}"
    );
    assert!(text.contains("\nDelivery       -\n"), "{text}");
}

#[test]
fn who_may_know_sees_who_it_is() {
    let clients = json!({"worst": [
        {"id": "0.7.1", "peer": "192.0.2.7:4711", "messages": 9, "ms": 3.0, "subscriptions": 1, "blocked": true},
    ]});
    let text = view(&stats(), &earlier(), Some(&clients));
    let row = "  1    3.00 ms          9              1  full    0.7.1      192.0.2.7:4711\n";
    assert!(text.ends_with(row), "{text}");
}

#[test]
fn an_answer_of_another_shape_is_no_panic() {
    for value in [
        json!({}),
        json!([]),
        json!({"worst": 1, "delivery": {"bounds_ms": [], "buckets": [1, 2, 3]}}),
    ] {
        let text = view(
            &value,
            &json!({"delivery": {"buckets": [0, 0, 0]}}),
            Some(&value),
        );
        assert!(text.ends_with("\nNobody is behind.\n"), "{text}");
    }
}

async fn top(args: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_odin-ws"))
            .arg("top")
            .args(args)
            .env_clear()
            .output()
            .expect("it runs")
    })
    .await
    .expect("it ends")
}

#[tokio::test]
async fn once_prints_one_snapshot_of_a_real_server() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = upgraded(addr).await;
    subscribe(&mut stream, "A").await;
    publish(addr, "A", "1").await;
    let args = ["--once", "--interval", "0.1"].map(str::to_owned);
    let output = top([format!("http://{addr}")].into_iter().chain(args).collect()).await;
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let version = odin_core::VERSION;
    let start = format!("{addr}\nOdin WS {version}   ");
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("\nConnections    1 of "), "{text}");
    assert!(
        text.contains("\nHolds          1 subscriptions, 1 channels, "),
        "{text}"
    );
    assert!(text.contains("\nNobody is behind.\n"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no codes where there is no terminal"
    );
}

#[tokio::test]
async fn a_server_beyond_loopback_is_shown_without_names() {
    let server = serve_on("0.0.0.0:0", &[]).await;
    let port = server.local_addr().port();
    let output = top(vec![format!("127.0.0.1:{port}"), "--once".to_owned()]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn what_cannot_be_shown_is_an_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = closed.local_addr().expect("its address");
    drop(closed);
    for (args, code, problem) in [
        (vec![addr.to_string()], 1, "refused"),
        (vec!["ftp://odin".to_owned()], 2, "http and https only"),
        (vec!["--nonsense".to_owned()], 2, "--nonsense is unknown"),
    ] {
        let output = top(args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.starts_with("odin-ws top: ") && said.contains(problem),
            "{said}"
        );
    }
    let output = top(vec!["--help".to_owned()]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: odin-ws top [URL]"));
}
