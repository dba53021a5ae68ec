//! Every limit bites where the documents say, is counted, and leaves those alone who keep to it.
//!
//! Not here, because other tests hold them: `payload_bytes_max` over HTTP, `handshakes_in_flight` and
//! `message_max_bytes`, and those of admission.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::common::{self, masked};
use crate::publisher::Publisher;
use crate::server::Server;

/// A connection on a bare socket, with its welcome.
async fn raw(server: &Server) -> (TcpStream, Value) {
    let mut stream = common::upgraded(server.addr).await;
    let welcome = common::message(&mut stream).await;
    assert_eq!(welcome["type"], "welcome");
    (stream, welcome)
}

/// Exactly this close frame.
async fn closed(stream: &mut TcpStream, code: u16, reason: &str) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    assert_eq!(common::frame(stream).await, (0x88, payload));
}

#[track_caller]
fn counted(server: &Server, counts: &[(&str, f64)]) {
    for (name, count) in counts {
        let found = server.metric(name);
        assert!(
            found.total_cmp(count).is_eq(),
            "{name} is {found} and not {count}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_messages_is_dropped_answered_and_ended() {
    let server = Server::start(&[
        "--no-demo",
        "--message-rate=1",
        "--message-burst=5",
        "--message-drops-max=10",
    ]);
    let (mut stream, _) = raw(&server).await;
    // In one piece, so that no second passes between them.
    let flood = (1..=20).map(|id| format!(r#"{{"type":"heartbeat","id":{id}}}"#));
    let flood: Vec<u8> = flood
        .flat_map(|text| masked(0x81, text.as_bytes()))
        .collect();
    stream.write_all(&flood).await.expect("send");
    for id in 1..=5 {
        let pong = common::message(&mut stream).await;
        assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(id)));
    }
    for _ in 1..10 {
        let error = common::message(&mut stream).await;
        assert_eq!(error["code"], "RATE_LIMIT_EXCEEDED");
        assert_eq!(error.get("id"), None, "it was not read");
    }
    closed(&mut stream, 4029, "flooding").await;
    drop(stream);
    server.until_metric("ws_disconnects_total{reason=\"flooding\"}", 1.0);
    counted(
        &server,
        &[
            ("ws_rate_limited_messages_total", 10.0),
            ("ws_errors_total{code=\"RATE_LIMIT_EXCEEDED\"}", 9.0),
        ],
    );
}

#[tokio::test]
async fn subscriptions_are_bounded_per_connection_and_per_server() {
    let server = Server::start(&[
        "--no-demo",
        "--shards=1",
        "--channels-per-connection=4",
        "--patterns-per-connection=2",
        "--patterns-per-server=3",
        "--channels-max=6",
    ]);
    let mut first = Client::connect(server.addr).await;
    assert_eq!(first.welcome["max_channels"], 4);
    let mut second = Client::connect(server.addr).await;
    let code = |answer: Value| answer["code"].as_str().map(str::to_owned);
    let refused = |code: &str| Some(code.to_owned());
    let five = ["a", "b", "c", "d", "e"];
    assert_eq!(
        code(first.subscribe(&five).await),
        refused("TOO_MANY_CHANNELS")
    );
    let three = ["x.*", "y.*", "z.*"];
    assert_eq!(
        code(first.subscribe(&three).await),
        refused("TOO_MANY_PATTERNS")
    );
    assert_eq!(first.subscribe(&["x.*", "y.*"]).await["count"], 2);
    assert_eq!(
        code(first.subscribe(&["z.*"]).await),
        refused("TOO_MANY_PATTERNS")
    );
    assert_eq!(first.subscribe(&["a", "b"]).await["count"], 4);
    assert_eq!(
        code(first.subscribe(&["c"]).await),
        refused("TOO_MANY_CHANNELS")
    );
    // The third pattern of the server, then a fourth; one that it has already is no further one.
    assert_eq!(second.subscribe(&["z.*"]).await["count"], 1);
    assert_eq!(
        code(second.subscribe(&["w.*"]).await),
        refused("SERVER_LIMIT")
    );
    assert_eq!(second.subscribe(&["x.*"]).await["count"], 2);
    // Six names without a message, then a seventh.
    assert_eq!(second.subscribe(&["c", "d"]).await["count"], 4);
    let mut third = Client::connect(server.addr).await;
    assert_eq!(third.subscribe(&["e", "f"]).await["count"], 2);
    assert_eq!(code(third.subscribe(&["g"]).await), refused("SERVER_LIMIT"));
    assert_eq!(third.subscribe(&["a"]).await["count"], 3);
    counted(
        &server,
        &[
            ("ws_subscriptions", 11.0),
            ("ws_patterns", 3.0),
            ("ws_errors_total{code=\"TOO_MANY_CHANNELS\"}", 2.0),
            ("ws_errors_total{code=\"TOO_MANY_PATTERNS\"}", 2.0),
            ("ws_errors_total{code=\"SERVER_LIMIT\"}", 2.0),
        ],
    );
    // All of them are served.
    for channel in ["a", "f"] {
        assert_eq!(server.publish(channel, "1").status, 200);
        assert_eq!(third.next_message().await["channel"], channel);
    }
}

#[tokio::test]
async fn a_channel_too_many_is_refused_to_its_publisher() {
    let server = Server::start(&["--no-demo", "--channels-max=2"]);
    let mut client = Client::connect(server.addr).await;
    client.subscribe(&[">"]).await;
    for (channel, status) in [("a", 200), ("b", 200), ("c", 503), ("a", 200)] {
        let answer = server.publish(channel, "1");
        assert_eq!(answer.status, status, "{channel}: {answer:?}");
        if status == 503 {
            assert_eq!(answer.json()["error"], "channel_limit");
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(client.next_message().await["channel"], "a");
    assert_eq!(client.next_message().await["channel"], "b");
    // What was refused has no number, so that nobody has lost it.
    let next = client.next_message().await;
    assert_eq!((&next["channel"], &next["seq"]), (&json!("a"), &json!(3)));
    counted(
        &server,
        &[
            ("ws_channels", 2.0),
            ("ws_http_published_total", 3.0),
            ("ws_http_responses_total{class=\"5xx\"}", 1.0),
        ],
    );
}

#[tokio::test]
async fn a_log_keeps_what_it_is_told_to_keep() {
    let server = Server::start(&[
        "--no-demo",
        "--log-messages=8",
        "--log-bytes=1MiB",
        "--payload-bytes-max=64KiB",
    ]);
    let mut publisher = Publisher::connect(server.addr);
    for n in 1..=20 {
        assert_eq!(publisher.publish("c", &n.to_string()), n);
    }
    let (mut stream, _) = raw(&server).await;
    for request in [
        r#"{"type":"subscribe","data":{"channels":["c"]}}"#,
        r#"{"type":"replay","id":3,"data":{"channel":"c","from":1}}"#,
    ] {
        let frame = masked(0x81, request.as_bytes());
        stream.write_all(&frame).await.expect("send");
    }
    let ack = common::message(&mut stream).await;
    assert_eq!(ack["positions"]["c"], 20);
    for seq in 13..=20 {
        assert_eq!(common::message(&mut stream).await["seq"], seq);
    }
    let end = json!({"type": "replay_incomplete", "id": 3, "channel": "c", "sent": 8,
        "reason": "too_old", "oldest": 13, "newest": 20});
    assert_eq!(common::message(&mut stream).await, end);
    // 40 channels of 8 messages of 4 KiB are over a mebibyte; the log stays below, but not far.
    let body = format!("\"{}\"", "x".repeat(4096));
    for n in 0..320 {
        publisher.publish(&format!("d.{}", n % 40), &body);
    }
    let bytes = server.metric("ws_log_bytes");
    assert!((900_000.0..=1_048_576.0).contains(&bytes), "{bytes}");
    counted(&server, &[("ws_channels", 41.0)]);
}

#[tokio::test]
async fn a_log_forgets_what_is_too_old_but_for_the_last_value() {
    let server = Server::start(&["--no-demo", "--log-age=1s"]);
    let mut publisher = Publisher::connect(server.addr);
    publisher.publish("c", "1");
    publisher.publish("c", "2");
    server.until_metric("ws_log_bytes", 0.0);
    let mut client = Client::connect(server.addr).await;
    let epoch = client.welcome["epoch"].clone();
    let resume = json!({"epoch": epoch, "positions": {"c": 0}});
    let subscribe = json!({"type": "subscribe", "data": {"channels": ["c"], "resume": resume}});
    let ack = client.request(&subscribe).await;
    assert_eq!(ack["unrecovered"][0]["reason"], "too_old", "{ack}");
    let unsubscribe = json!({"type": "unsubscribe", "data": {"channels": ["c"]}});
    assert_eq!(client.request(&unsubscribe).await["count"], 0);
    let subscribe = json!({"type": "subscribe", "data": {"channels": ["c"], "snapshot": true}});
    assert_eq!(client.request(&subscribe).await["positions"]["c"], 1);
    let last = client.next_message().await;
    assert_eq!((&last["seq"], &last["data"]), (&json!(2), &json!(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_is_silent_is_closed_and_who_answers_pings_stays() {
    let server = Server::start(&["--no-demo", "--ping-interval=200ms", "--idle-timeout=1s"]);
    let mut alive = Client::connect(server.addr).await;
    assert_eq!(alive.welcome["ping_ms"], 200);
    alive.subscribe(&["end"]).await;
    // It answers pings while it waits.
    let alive = tokio::spawn(async move { alive.next_message().await });
    let begun = Instant::now();
    let (mut silent, _) = raw(&server).await;
    let mut pings = 0;
    let close = loop {
        match common::frame(&mut silent).await {
            (0x89, data) => assert_eq!(data, b"", "a ping"),
            (first, payload) => break (first, payload),
        }
        pings += 1;
    };
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        close,
        (0x88, [&4009_u16.to_be_bytes()[..], b"idle"].concat())
    );
    assert!((1..=5).contains(&pings), "{pings}");
    drop(silent);
    let idle = "ws_disconnects_total{reason=\"idle\"}";
    tokio::task::block_in_place(|| server.until_metric(idle, 1.0));
    assert_eq!(server.publish("end", "1").status, 200);
    assert_eq!(alive.await.expect("the other client")["channel"], "end");
}

#[tokio::test]
async fn a_socket_that_takes_nothing_is_closed_also_in_latest_mode() {
    let server = Server::start(&["--no-demo", "--write-stall=1s", "--send-buffer=4KiB"]);
    let mut client = Client::connect_with(server.addr, |socket| {
        socket.set_recv_buffer_size(2048).expect("a buffer");
    })
    .await;
    client.chain.latest = true;
    assert_eq!(client.next().await.json()["type"], "welcome");
    let data = json!({"channels": ["c"], "mode": "latest"});
    let ack = client
        .request(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(ack["count"], 1);
    let begun = Instant::now();
    let body = format!("\"{}\"", "x".repeat(60 * 1024));
    let mut publisher = Publisher::connect(server.addr);
    for _ in 0..4 {
        publisher.publish("c", &body);
    }
    // The subscription ends with the decision to close; the client can still read what it is.
    server.until_metric("ws_subscriptions", 0.0);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(client.until_closed().await.0, Some(4008));
    drop(client);
    server.until_metric("ws_slow_clients_disconnected_total", 1.0);
}

#[tokio::test]
async fn broken_handshakes_are_counted_by_their_reason() {
    let server = Server::start(&["--no-demo", "--handshake-timeout=300ms"]);
    let head = format!("GET /live HTTP/1.1\r\nHost: {}\r\n", server.addr);
    let large = format!("{head}X: {}\r\n\r\n", "x".repeat(9 * 1024));
    assert_eq!(common::ask(server.addr, large).await.status, 431);
    assert_eq!(
        common::ask(server.addr, "\x16\x03\x01\r\n\r\n")
            .await
            .status,
        400
    );
    let foreign = common::request(&common::upgrade_lines(server.addr));
    let foreign = foreign.replace(
        "Upgrade: websocket",
        "Upgrade: websocket\r\nOrigin: https://evil.example",
    );
    assert_eq!(common::ask(server.addr, foreign).await.status, 403);
    let mut slow = TcpStream::connect(server.addr).await.expect("connect");
    slow.write_all(head.as_bytes()).await.expect("send");
    assert!(common::ended(&mut slow).await, "closed without an answer");
    for reason in ["too_large", "invalid", "forbidden", "timeout"] {
        let name = format!("ws_handshakes_failed_total{{reason=\"{reason}\"}}");
        server.until_metric(&name, 1.0);
    }
    counted(&server, &[("ws_connections_failed_total", 4.0)]);
}
