//! The plain endpoints, and what HTTP itself refuses.

mod common;

use common::{answer, ask, ended, get, metric, metric_becomes, serve, serve_on};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn every_endpoint_answers_and_every_other_path_and_method_is_refused() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    for path in [
        "/",
        "/health",
        "/live",
        "/ready",
        "/admission",
        "/metrics",
        "/stats",
        "/debug/clients",
        "/client.js",
        "/console/page.js",
        "/health?verbose=1",
    ] {
        let answer = get(addr, path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    for path in ["/nowhere", "/Health", "/publish", "/debug", "/ws/"] {
        let answer = get(addr, path).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
    for (method, path, allow) in [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/admission", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
        ("POST", "/stats", "GET, HEAD"),
        ("OPTIONS", "/client.js", "GET, HEAD"),
        ("POST", "/debug/clients", "GET, HEAD"),
        ("POST", "/ws", "GET"),
        ("HEAD", "/ws", "GET"),
        ("GET", "/publish/a", "POST"),
        ("OPTIONS", "/publish/a", "POST"),
    ] {
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("send");
        let answer = answer(&mut stream, method != "HEAD").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{method} {path}"
        );
        if method != "HEAD" {
            assert_eq!(answer.error(), "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn head_gives_the_head_of_get() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    // Two requests on one connection: a body after the first would be read as the second response.
    for _ in 0..2 {
        let request = format!("HEAD /live HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("send");
        let head = answer(&mut stream, false).await;
        assert_eq!(head.status, 200);
        let length = get(addr, "/live").await.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
    }
}

#[tokio::test]
async fn the_host_of_a_loopback_listener_is_loopback_or_allowed() {
    let server = serve(&["--allowed-hosts", "odin.example,other.example"]).await;
    let addr = server.local_addr();
    for (host, status) in [
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("[::1]:3004", 200),
        ("odin.example", 200),
        ("ODIN.example:8080", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.0.2.1:3004", 403),
        // A loopback address in front of something else is the name of something else.
        ("[::1]evil.example", 403),
        ("[::1].evil.example:80", 403),
        ("[::1]:80@evil.example", 403),
        ("127.0.0.1:80@evil.example", 403),
        ("localhost:evil.example", 403),
        ("odin.example:80@evil.example", 403),
    ] {
        let answer = ask(
            addr,
            format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, status, "{host}");
        if status == 403 {
            assert_eq!(answer.error(), "host_not_allowed");
        }
    }
    for (request, status) in [
        ("GET /live HTTP/1.1\r\n\r\n", 400),
        (
            "GET /live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        ("GET /live HTTP/1.0\r\n\r\n", 200),
        (
            "GET http://evil.example/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
            403,
        ),
        (
            "GET http://127.0.0.1:80@evil.example/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
            403,
        ),
    ] {
        let answer = ask(addr, request).await;
        assert_eq!(answer.status, status, "{request}");
        if status == 400 {
            assert_eq!(answer.error(), "bad_host");
        }
    }
}

#[tokio::test]
async fn a_listener_beyond_loopback_takes_every_host() {
    let server = serve_on("0.0.0.0:0", &[]).await;
    let addr = (std::net::Ipv4Addr::LOCALHOST, server.local_addr().port()).into();
    let answer = ask(addr, "GET /live HTTP/1.1\r\nHost: odin.example\r\n\r\n").await;
    assert_eq!(answer.status, 200);
}

/// Addresses are answered there as well; an address in front of something else is none.
#[tokio::test]
async fn a_listener_beyond_loopback_that_has_names_takes_these_and_addresses() {
    let server = serve_on("0.0.0.0:0", &["--allowed-hosts", "odin.example"]).await;
    let addr = (std::net::Ipv4Addr::LOCALHOST, server.local_addr().port()).into();
    for (host, status) in [
        ("odin.example:3004", 200),
        ("192.0.2.1:3004", 200),
        ("[2001:db8::1]:3004", 200),
        ("evil.example", 403),
        ("192.0.2.1:3004@evil.example", 403),
        ("[2001:db8::1]evil.example", 403),
        ("[2001:db8::1]:3004@evil.example", 403),
        ("[2001:db8::1", 403),
    ] {
        let request = format!("GET /live HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(addr, request).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn admission_can_be_read_by_pages_of_every_origin() {
    let server = serve(&[]).await;
    let answer = get(server.local_addr(), "/admission").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some("Retry-After")
    );
    assert_eq!(answer.json()["open"], true);
}

#[tokio::test]
async fn beyond_loopback_hosts_are_checked_where_names_are_configured() {
    for (flags, foreign) in [(&[][..], 200), (&["--allowed-hosts=odin.example"], 403)] {
        let server = serve_on("0.0.0.0:0", flags).await;
        let addr = (std::net::Ipv4Addr::LOCALHOST, server.local_addr().port()).into();
        for (host, status) in [
            ("odin.example", 200),
            ("ODIN.example:3004", 200),
            ("localhost", 200),
            ("10.0.0.5:3004", 200),
            ("[2001:db8::1]", 200),
            ("evil.example", foreign),
            ("odin.example.evil.example", foreign),
            ("10.0.0.5.evil.example", foreign),
        ] {
            let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(ask(addr, request).await.status, status, "{host} {flags:?}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_gets_431_and_is_counted() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let long = "x".repeat(9 * 1024);
    let answer = ask(
        addr,
        format!("GET /live HTTP/1.1\r\nHost: {addr}\r\nX: {long}\r\n\r\n"),
    )
    .await;
    assert_eq!(answer.status, 431);
    metric_becomes(addr, "ws_connections_failed_total", "1").await;
}

#[tokio::test]
async fn what_is_no_http_gets_400_and_is_counted() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    assert_eq!(ask(addr, "\x16\x03\x01\x02\r\n\r\n").await.status, 400);
    metric_becomes(addr, "ws_connections_failed_total", "1").await;
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_socket_and_is_counted() {
    let server = serve(&["--handshake-timeout", "100ms"]).await;
    let addr = server.local_addr();
    let mut slow = TcpStream::connect(addr).await.expect("connect");
    slow.write_all(b"GET /ws HTTP/1.1\r\nHost:")
        .await
        .expect("send");
    assert!(ended(&mut slow).await);
    metric_becomes(addr, "ws_connections_failed_total", "1").await;
}

#[tokio::test]
async fn a_socket_beyond_the_handshakes_in_flight_sends_the_oldest_away() {
    // One shard begins with its sockets in the order in which they came.
    let flags = "--shards=1 --handshakes-in-flight=3 --handshake-timeout=1h";
    let server = serve(&flags.split(' ').collect::<Vec<_>>()).await;
    let addr = server.local_addr();
    let begin = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\n");
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        stream.write_all(begin.as_bytes()).await.expect("send");
        held.push(stream);
    }
    // The first one began to wait before the others. It is answered, and begins to wait anew.
    held[0].write_all(b"\r\n").await.expect("send");
    assert_eq!(answer(&mut held[0], true).await.status, 200);
    assert_eq!(get(addr, "/live").await.status, 200);
    assert!(ended(&mut held[1]).await, "without an answer");
    held[2].write_all(b"\r\n").await.expect("send");
    assert_eq!(answer(&mut held[2], true).await.status, 200);
    let gone = metric(addr, "ws_handshakes_failed_total{reason=\"in_flight\"}").await;
    assert!(gone.parse::<u64>().is_ok_and(|gone| gone >= 1), "{gone}");
}

#[tokio::test]
async fn a_response_that_is_not_read_ends_the_socket() {
    let server = serve(&["--request-timeout", "300ms", "--send-buffer", "4KiB"]).await;
    let addr = server.local_addr();
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a buffer");
    let mut stream = socket.connect(addr).await.expect("connect");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    for _ in 0..10 {
        stream.write_all(request.as_bytes()).await.expect("send");
    }
    metric_becomes(addr, "ws_handshakes_failed_total{reason=\"timeout\"}", "1").await;
}

#[tokio::test]
async fn who_ends_its_side_after_the_request_still_gets_the_answer() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let request = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("send");
    stream.shutdown().await.expect("end");
    assert_eq!(answer(&mut stream, true).await.status, 200);
    assert!(ended(&mut stream).await);
}

#[tokio::test]
async fn debug_is_for_administrators() {
    let token = "administrator-0123456789";
    let server = serve_on(
        "0.0.0.0:0",
        &["--admin-token", token, "--record-bytes", "0"],
    )
    .await;
    let addr = (std::net::Ipv4Addr::LOCALHOST, server.local_addr().port()).into();
    for (header, status, code) in [
        ("", 401, "unauthorized"),
        ("Authorization: Bearer wrong\r\n", 401, "unauthorized"),
        (
            "Authorization: Bearer administrator-0123456789\r\n",
            409,
            "not_recording",
        ),
    ] {
        let request = format!("POST /debug/record HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        let answer = ask(addr, request).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, code));
    }
    let server = serve(&[]).await;
    let addr = server.local_addr();
    assert_eq!(get(addr, "/debug").await.status, 404);
    let wrong = get(addr, "/debug/record").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let proxied = "GET /debug HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
    assert_eq!(ask(addr, proxied).await.status, 403);
}
