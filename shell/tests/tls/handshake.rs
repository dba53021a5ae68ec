//! Who gets in, and what becomes of those who do not speak TLS or do not finish.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Secured, connect, response, shake};
use crate::common::{self, PATIENCE, ended};

const TLS: &str = "ws_handshakes_failed_total{reason=\"tls\"}";
const TIMEOUT: &str = "ws_handshakes_failed_total{reason=\"timeout\"}";
const IN_FLIGHT: &str = "ws_handshakes_failed_total{reason=\"in_flight\"}";

/// The first bytes of a ClientHello: a record that announces 512 bytes.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test]
async fn a_client_subscribes_and_receives() {
    let secured = Secured::start(&[]).await;
    let mut client = secured.client(0).await;
    client.subscribe(json!({"channels": ["A"]})).await;
    let bodies = ["1".to_owned(), "\"two\"".to_owned(), "{\"n\":3}".to_owned()];
    secured.publish("A", &bodies).await;
    for (place, data) in [json!(1), json!("two"), json!({"n": 3})].iter().enumerate() {
        let message = client.next().await;
        assert_eq!(message["type"], "message");
        assert_eq!(
            (&message["seq"], &message["data"]),
            (&json!(place + 1), data)
        );
    }
    assert_eq!(secured.metric("ws_connections_active").await, "1");
    assert_eq!(secured.metric("ws_connections_failed_total").await, "0");
}

#[tokio::test]
async fn the_other_endpoints_speak_tls_as_well() {
    let secured = Secured::start(&[]).await;
    let mut tls = secured.tls(0).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), None, "none was asked for");
    for path in ["/health", "/live", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        tls.write_all(request.as_bytes()).await.expect("send");
        let answer = response(&mut tls).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{path}: {answer}"
        );
    }
    let request = "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tls.write_all(request.as_bytes()).await.expect("send");
    let mut rest = Vec::new();
    // Without the farewell of TLS this would be an error: somebody might have cut the answer off.
    let read = tls.read_to_end(&mut rest).await;
    assert_eq!(read.expect("a farewell"), rest.len());
}

#[tokio::test]
async fn plain_http_is_closed_in_good_order_and_counted() {
    let secured = Secured::start(&[]).await;
    let mut stream = TcpStream::connect(secured.addr).await.expect("connect");
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", secured.addr);
    stream.write_all(request.as_bytes()).await.expect("send");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("an end in time").expect("no reset");
    // RFC 8446 6: an alert, fatal, and then the end.
    assert_eq!(answer[..2], [0x15, 0x03], "{answer:?}");
    assert_eq!((answer.len(), answer[5]), (7, 2), "{answer:?}");
    secured.metric_becomes(TLS, "1").await;
    assert_eq!(secured.metric("ws_connections_failed_total").await, "1");
}

#[tokio::test]
async fn a_handshake_that_is_not_done_in_time_ends_and_is_counted() {
    let secured = Secured::start(&["--handshake-timeout", "100ms"]).await;
    for (count, bytes) in [(1, &b""[..]), (2, HELLO)] {
        let mut slow = TcpStream::connect(secured.addr).await.expect("connect");
        slow.write_all(bytes).await.expect("send");
        assert!(ended(&mut slow).await, "{bytes:?}");
        secured.metric_becomes(TIMEOUT, &count.to_string()).await;
    }
    // After TLS the head of the request has what is left of the same time.
    let mut tls = secured.tls(0).await;
    tls.write_all(b"GET /live HTTP/1.1\r\n")
        .await
        .expect("send");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && rest.is_empty(), "{rest:?}");
    secured.metric_becomes(TIMEOUT, "3").await;
}

#[tokio::test]
async fn handshakes_in_flight_include_those_of_tls_and_leave_the_admin_listener_alone() {
    // One shard begins with its sockets in the order in which they came.
    let flags = "--shards=1 --handshakes-in-flight=2 --handshake-timeout=1h";
    let secured = Secured::start(&flags.split(' ').collect::<Vec<_>>()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(secured.addr).await.expect("connect");
        stream.write_all(HELLO).await.expect("send");
        held.push(stream);
    }
    // A third one finds a place: that of the first.
    let third = connect(secured.addr, &secured.known, 0).await;
    drop(Client::on(third.expect("a handshake")).await);
    assert!(ended(&mut held[0]).await);
    secured.metric_becomes(IN_FLIGHT, "1").await;
}

#[tokio::test]
async fn pages_of_this_host_are_those_that_came_by_tls() {
    let secured = Secured::start(&["--allowed-origins", "http://app.example"]).await;
    for (origin, status) in [
        ("https://localhost", "101"),
        ("http://localhost", "403"),
        ("http://app.example", "101"),
    ] {
        let mut lines = common::upgrade_lines(secured.addr);
        "Host: localhost".clone_into(&mut lines[1]);
        lines.push(format!("Origin: {origin}"));
        let mut tls = secured.tls(0).await;
        let request = common::request(&lines);
        tls.write_all(request.as_bytes()).await.expect("send");
        let answer = response(&mut tls).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{origin}: {answer}");
    }
}

#[tokio::test]
async fn the_header_of_a_proxy_comes_before_tls() {
    let flags = [
        "--trusted-proxies=127.0.0.1",
        "--proxy-protocol",
        "--ip-max-connections=1",
    ];
    let secured = Secured::start(&flags).await;
    let mut held = Vec::new();
    for (last, status) in [(7, "101"), (7, "429"), (8, "101")] {
        let mut tcp = TcpStream::connect(secured.addr).await.expect("connect");
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C";
        let addresses = [203, 0, 113, last, 127, 0, 0, 1, 0, 1, 0, 2];
        let bytes = [&header[..], &addresses].concat();
        tcp.write_all(&bytes).await.expect("send");
        let mut tls = shake(tcp, &secured.known).await.expect("a handshake");
        let mut lines = common::upgrade_lines(secured.addr);
        "Host: localhost".clone_into(&mut lines[1]);
        let request = common::request(&lines);
        tls.write_all(request.as_bytes()).await.expect("send");
        let answer = response(&mut tls).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{last}: {answer}");
        held.push(tls);
    }
    // A proxy that sends TLS at once is told nothing.
    let direct = connect(secured.addr, &secured.known, 0).await;
    direct.expect_err("no header");
    let proxy = "ws_handshakes_failed_total{reason=\"proxy\"}";
    secured.metric_becomes(proxy, "1").await;
}

/// The status of a publication without a token, after these bytes and with TLS.
async fn published(secured: &Secured, first: &[u8]) -> String {
    let mut tcp = TcpStream::connect(secured.addr).await.expect("connect");
    tcp.write_all(first).await.expect("send");
    let mut tls = shake(tcp, &secured.known).await.expect("a handshake");
    let publish = "POST /publish/A HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Content-Length: 1\r\n\r\n1";
    tls.write_all(publish.as_bytes()).await.expect("send");
    let answer = response(&mut tls).await;
    answer.split(' ').nth(1).expect("a status").to_owned()
}

#[tokio::test]
async fn who_comes_through_a_proxy_is_no_program_on_this_machine_with_tls_either() {
    let flags = ["--trusted-proxies=127.0.0.1", "--proxy-protocol"];
    let secured = Secured::start(&flags).await;
    // `PROXY` of a family that is not specified, and `LOCAL`.
    for (command, status) in [(0x21, "403"), (0x20, "200")] {
        let header = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0, 0, 0]].concat();
        assert_eq!(published(&secured, &header).await, status, "{command}");
    }
    // Nor where proxies send no header, which could say that they speak for themselves.
    let secured = Secured::start(&flags[..1]).await;
    assert_eq!(published(&secured, b"").await, "403");
    let secured = Secured::start(&["--trusted-proxies=127.0.0.9"]).await;
    assert_eq!(published(&secured, b"").await, "200");
}
