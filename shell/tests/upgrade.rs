//! The WebSocket handshake (RFC 6455 4.2), and who is let in.

mod common;

use common::{
    ACCEPT, Answer, KEY, answer, ask, get, masked, message, metric, metric_becomes, request, serve,
    upgrade_lines, upgraded,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is made of the lines of a valid request.
type Change = Box<dyn Fn(&mut Vec<String>)>;

/// Sends an upgrade request with `change` made to its lines, and gives the answer.
async fn with(addr: std::net::SocketAddr, change: impl Fn(&mut Vec<String>)) -> Answer {
    let mut lines = upgrade_lines(addr);
    change(&mut lines);
    ask(addr, request(&lines)).await
}

#[tokio::test]
async fn a_valid_upgrade_is_accepted_with_the_key_of_the_standard() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    for (extra, protocol) in [
        (None, None),
        (
            Some("Sec-WebSocket-Protocol: odin.v1.json"),
            Some("odin.v1.json"),
        ),
        (
            Some("Sec-WebSocket-Protocol: other, odin.v1.json"),
            Some("odin.v1.json"),
        ),
        (Some("Sec-WebSocket-Extensions: permessage-deflate"), None),
    ] {
        let answer = with(addr, |lines| lines.extend(extra.map(str::to_owned))).await;
        assert_eq!(answer.status, 101, "{extra:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("connection"), Some("Upgrade"));
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            protocol,
            "{extra:?}"
        );
        assert_eq!(answer.header("sec-websocket-extensions"), None);
    }
    let spelled_otherwise = with(addr, |lines| {
        lines[2] = "connection: keep-alive, UPGRADE".to_owned();
        lines[3] = "upgrade: WebSocket".to_owned();
    });
    assert_eq!(spelled_otherwise.await.status, 101);
}

#[tokio::test]
async fn every_bad_upgrade_has_its_answer_and_is_counted() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let set = |at: usize, line: &str| {
        let line = line.to_owned();
        move |lines: &mut Vec<String>| line.clone_into(&mut lines[at])
    };
    let add = |line: &str| {
        let line = line.to_owned();
        move |lines: &mut Vec<String>| lines.push(line.clone())
    };
    let cases: Vec<(&str, Change, u16, &str)> = vec![
        (
            "HTTP/1.0",
            Box::new(set(0, "GET /ws HTTP/1.0")),
            400,
            "bad_upgrade",
        ),
        ("no Upgrade", Box::new(set(3, "X: y")), 400, "bad_upgrade"),
        (
            "another Upgrade",
            Box::new(set(3, "Upgrade: h2c")),
            400,
            "bad_upgrade",
        ),
        (
            "no Connection",
            Box::new(set(2, "X: y")),
            400,
            "bad_upgrade",
        ),
        (
            "another Connection",
            Box::new(set(2, "Connection: keep-alive")),
            400,
            "bad_upgrade",
        ),
        (
            "a body",
            Box::new(add("Content-Length: 1")),
            400,
            "bad_upgrade",
        ),
        (
            "no version",
            Box::new(set(4, "X: y")),
            426,
            "unsupported_version",
        ),
        (
            "version 8",
            Box::new(set(4, "Sec-WebSocket-Version: 8")),
            426,
            "unsupported_version",
        ),
        ("no key", Box::new(set(5, "X: y")), 400, "bad_upgrade"),
        (
            "a short key",
            Box::new(set(5, "Sec-WebSocket-Key: c2hvcnQ=")),
            400,
            "bad_upgrade",
        ),
        (
            "a key that is no base64",
            Box::new(set(5, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==")),
            400,
            "bad_upgrade",
        ),
        (
            "two keys",
            Box::new(add(&format!("Sec-WebSocket-Key: {KEY}"))),
            400,
            "bad_upgrade",
        ),
        (
            "unknown subprotocols",
            Box::new(add("Sec-WebSocket-Protocol: mqtt, stomp")),
            400,
            "unsupported_subprotocol",
        ),
        ("no Host", Box::new(set(1, "X: y")), 400, "bad_host"),
        (
            "a foreign Host",
            Box::new(set(1, "Host: evil.example")),
            403,
            "host_not_allowed",
        ),
        (
            "a foreign Origin",
            Box::new(add("Origin: https://evil.example")),
            403,
            "origin_not_allowed",
        ),
        (
            "no Origin in particular",
            Box::new(add("Origin: null")),
            403,
            "origin_not_allowed",
        ),
    ];
    for (name, change, status, code) in &cases {
        let answer = with(addr, change).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (*status, *code),
            "{name}"
        );
        let version = (*status == 426).then_some("13");
        assert_eq!(answer.header("sec-websocket-version"), version, "{name}");
    }
    let count = cases.len().to_string();
    assert_eq!(metric(addr, "ws_connections_failed_total").await, count);
    assert_eq!(metric(addr, "ws_connections_active").await, "0");
}

#[tokio::test]
async fn an_origin_is_this_host_or_allowed() {
    let server = serve(&["--allowed-origins", "https://app.example"]).await;
    let addr = server.local_addr();
    for (origin, status) in [
        (format!("http://{addr}"), 101),
        (format!("https://{addr}"), 101),
        ("https://app.example".to_owned(), 101),
        ("http://app.example".to_owned(), 403),
        ("https://app.example:8443".to_owned(), 403),
        ("https://app.example/".to_owned(), 403),
        ("https://app.example, https://evil.example".to_owned(), 403),
        ("https://www.app.example".to_owned(), 403),
        ("wss://app.example".to_owned(), 403),
        ("http://127.0.0.1".to_owned(), 403),
        (format!("http://{addr}0"), 403),
        (String::new(), 403),
        ("https://app.example.evil.example".to_owned(), 403),
        ("http://localhost".to_owned(), 403),
    ] {
        let answer = with(addr, |lines| lines.push(format!("Origin: {origin}"))).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn bytes_that_come_with_the_upgrade_are_not_lost() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let mut bytes = request(&upgrade_lines(addr)).into_bytes();
    bytes.extend(masked(0x89, b"early"));
    stream.write_all(&bytes).await.expect("send");
    assert_eq!(answer(&mut stream, false).await.status, 101);
    assert_eq!(common::message(&mut stream).await["type"], "welcome");
    assert_eq!(common::frame(&mut stream).await, (0x8A, b"early".to_vec()));
}

#[tokio::test]
async fn who_comes_when_the_server_is_full_is_told_when_to_come_again() {
    let server = serve(&["--max-connections", "2"]).await;
    let addr = server.local_addr();
    let first = upgraded(addr).await;
    let _second = upgraded(addr).await;
    let refused = with(addr, |_| {}).await;
    assert_eq!(refused.status, 503);
    let body = refused.json();
    assert_eq!(
        (&body["error"], &body["reason"]),
        (&"capacity".into(), &"capacity".into())
    );
    let millis = body["retry_after_ms"].as_u64().expect("a time");
    let seconds = refused.header("retry-after").and_then(|s| s.parse().ok());
    assert_eq!(
        seconds,
        Some(millis.div_ceil(1000)),
        "whole seconds, rounded up"
    );
    // What tells of the server itself is answered all the same.
    for (path, status) in [
        ("/admission", 503),
        ("/health", 200),
        ("/ready", 200),
        ("/live", 200),
    ] {
        assert_eq!(get(addr, path).await.status, status, "{path}");
    }
    assert!(
        get(addr, "/admission")
            .await
            .header("retry-after")
            .is_some()
    );
    assert_eq!(
        get(addr, "/health").await.json()["checks"]["capacity"]["current"],
        2
    );
    let rejected = "ws_connections_rejected_total{reason=\"capacity\"}";
    assert_eq!(metric(addr, rejected).await, "1");
    assert_eq!(metric(addr, "ws_connections_active").await, "2");
    drop(first);
    metric_becomes(addr, "ws_connections_active", "1").await;
    let _third = upgraded(addr).await;
}

#[tokio::test]
async fn an_upgrade_beyond_the_rate_is_told_to_come_later() {
    let server = serve(&["--accept-rate", "1", "--accept-burst", "1"]).await;
    let addr = server.local_addr();
    let _first = upgraded(addr).await;
    let refused = with(addr, |_| {}).await;
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (503, &"accept_rate".into())
    );
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn the_response_and_the_welcome_are_one_write_after_what_was_asked_before() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let before = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(before.as_bytes()).await.expect("send");
    assert_eq!(answer(&mut stream, true).await.status, 200);
    let upgrade = request(&upgrade_lines(addr));
    stream.write_all(upgrade.as_bytes()).await.expect("send");
    let mut buffer = [0; 4_096];
    let count = stream.read(&mut buffer).await.expect("the socket lives");
    let text = String::from_utf8_lossy(&buffer[..count]);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains(r#"{"type":"welcome","#), "{text}");
}

#[tokio::test]
async fn an_upgrade_sent_together_with_another_request_is_answered_second() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let before = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    let both = before + &request(&upgrade_lines(addr));
    stream.write_all(both.as_bytes()).await.expect("send");
    assert_eq!(answer(&mut stream, true).await.status, 200);
    assert_eq!(answer(&mut stream, false).await.status, 101);
    assert_eq!(message(&mut stream).await["type"], "welcome");
}
