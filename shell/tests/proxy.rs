//! Clients behind proxies: the limits per address see whom a trusted proxy speaks for, and nobody
//! else is believed.

mod common;

use std::net::SocketAddr;

use common::{
    answer, ended, get, message, metric, metric_becomes, request, settings, subscribe,
    upgrade_lines,
};
use odin_shell::server::{self, RunningServer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PROXY: &str = "ws_handshakes_failed_total{reason=\"proxy\"}";
const INVALID: &str = "ws_handshakes_failed_total{reason=\"invalid\"}";
const TIMEOUT: &str = "ws_handshakes_failed_total{reason=\"timeout\"}";
const REFUSED: &str = "ws_connections_rejected_total{reason=\"ip_capacity\"}";

/// A server that lets two connections of one address in, with its metrics on a listener apart.
async fn serve(flags: &[&str]) -> (RunningServer, SocketAddr, SocketAddr) {
    let own = [
        "--no-demo",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--ip-max-connections=2",
    ];
    let flags: Vec<&str> = own.iter().chain(flags).copied().collect();
    let server = server::from_settings(settings(&flags), 4096).await;
    let server = server.expect("a server");
    let (addr, admin) = (server.local_addr(), server.admin_addr().expect("admin"));
    while get(admin, "/ready").await.status != 200 {
        tokio::task::yield_now().await;
    }
    (server, addr, admin)
}

/// A header of the PROXY protocol for a client with this address.
fn header(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().expect("an address");
    let SocketAddr::V4(client) = client else {
        panic!("an IPv4 address")
    };
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C".to_vec();
    bytes.extend(client.ip().octets());
    bytes.extend([127, 0, 0, 1]);
    bytes.extend(client.port().to_be_bytes());
    bytes.extend([0, 80]);
    bytes
}

/// A header for a client of which it tells no more than that there is one.
const UNSPECIFIED: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00";

/// A header for a client on a Unix socket of the proxy's machine.
fn unix() -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xD8".to_vec();
    bytes.extend([0; 216]);
    bytes
}

/// What a proxy sends for its own.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Connects from another address of this machine.
async fn connect_from(source: &str, addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let source = format!("{source}:0").parse().expect("an address");
    socket.bind(source).expect("an address of this machine");
    socket.connect(addr).await.expect("connect")
}

/// Sends these bytes and then an upgrade request with these further lines; the socket and the status.
async fn upgrade(
    mut stream: TcpStream,
    addr: SocketAddr,
    first: &[u8],
    more: &[&str],
) -> (TcpStream, u16) {
    let mut lines = upgrade_lines(addr);
    lines.extend(more.iter().map(|&line| line.to_owned()));
    let bytes = [first, request(&lines).as_bytes()].concat();
    stream.write_all(&bytes).await.expect("send");
    let status = answer(&mut stream, false).await.status;
    (stream, status)
}

async fn from_proxy(addr: SocketAddr, first: &[u8], more: &[&str]) -> (TcpStream, u16) {
    let stream = TcpStream::connect(addr).await.expect("connect");
    upgrade(stream, addr, first, more).await
}

#[tokio::test]
async fn who_is_forwarded_counts_by_its_own_address() {
    let (_server, addr, admin) = serve(&["--trusted-proxies=127.0.0.1,10.0.0.0/8"]).await;
    let mut held = Vec::new();
    for (forwarded, status) in [
        (&["X-Forwarded-For: 203.0.113.7"][..], 101),
        (
            &["x-forwarded-for: 198.51.100.1, 203.0.113.7, 10.1.2.3"],
            101,
        ),
        (&["X-Forwarded-For: 203.0.113.7"], 429),
        // What the client itself wrote stands before what the proxy added.
        (
            &[
                "X-Forwarded-For: 192.0.2.99",
                "X-Forwarded-For: 203.0.113.7",
            ],
            429,
        ),
        (&["X-Forwarded-For: nonsense, 203.0.113.7:4711"], 429),
        (&["X-Forwarded-For: 203.0.113.8"], 101),
        (&["X-Forwarded-For: 2001:db8::7"], 101),
        // The proxy's own have no limit.
        (&[], 101),
        (&[], 101),
        (&[], 101),
    ] {
        let (stream, found) = from_proxy(addr, b"", forwarded).await;
        assert_eq!(found, status, "{forwarded:?}");
        held.push(stream);
    }
    assert_eq!(metric(admin, REFUSED).await, "3");
    assert_eq!(metric(admin, PROXY).await, "0");
    // Who has gone gives its place back.
    drop(held.swap_remove(0));
    metric_becomes(admin, "ws_connections_active", "6").await;
    let again = from_proxy(addr, b"", &["X-Forwarded-For: 203.0.113.7"]).await;
    assert_eq!(again.1, 101);
}

#[tokio::test]
async fn a_trusted_proxy_that_names_no_address_is_answered_400_and_counted() {
    let (_server, addr, admin) = serve(&["--trusted-proxies=127.0.0.1"]).await;
    for (count, value) in ["unknown", "", "203.0.113.7, nonsense"].iter().enumerate() {
        let stream = TcpStream::connect(addr).await.expect("connect");
        let line = format!("X-Forwarded-For: {value}");
        let (_, status) = upgrade(stream, addr, b"", &[&line]).await;
        assert_eq!(status, 400, "{value}");
        assert_eq!(metric(admin, PROXY).await, (count + 1).to_string());
    }
}

#[tokio::test]
async fn nobody_else_is_believed_whom_it_speaks_for() {
    let (_server, addr, admin) = serve(&["--trusted-proxies=127.0.0.9"]).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let claim = ["X-Forwarded-For: 203.0.113.7"];
        let (stream, status) = from_proxy(addr, b"", &claim).await;
        assert_eq!(status, 101, "it is this machine, which has no limit");
        held.push(stream);
    }
    let (_, status) = from_proxy(addr, b"", &["X-Forwarded-For: nonsense"]).await;
    assert_eq!(status, 101);
    assert_eq!(metric(admin, REFUSED).await, "0");
    assert_eq!(metric(admin, PROXY).await, "0");
}

#[tokio::test]
async fn who_is_announced_by_the_proxy_protocol_counts_by_its_own_address() {
    let flags = [
        "--trusted-proxies=127.0.0.1",
        "--proxy-protocol",
        "--shards=1",
    ];
    let (_server, addr, admin) = serve(&flags).await;
    let mut held = Vec::new();
    for (client, status) in [
        ("203.0.113.7:1001", 101),
        ("203.0.113.7:1002", 101),
        ("203.0.113.7:1003", 429),
        ("203.0.113.8:1001", 101),
    ] {
        let (stream, found) = from_proxy(addr, &header(client), &[]).await;
        assert_eq!(found, status, "{client}");
        held.push(stream);
    }
    for _ in 0..3 {
        let (stream, status) = from_proxy(addr, LOCAL, &[]).await;
        assert_eq!(status, 101, "the proxy's own have no limit");
        held.push(stream);
    }
    // An announced client is no proxy: what it says of others means nothing.
    let claim = ["X-Forwarded-For: 192.0.2.99"];
    let (_, status) = from_proxy(addr, &header("203.0.113.7:1004"), &claim).await;
    assert_eq!(status, 429);
    assert_eq!(metric(admin, REFUSED).await, "2");
    assert_eq!(metric(admin, PROXY).await, "0");
    // Who looks after the server sees the clients and not the proxy.
    subscribe(&mut held[0], "A").await;
    let publish = "POST /publish/A HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Content-Length: 1\r\n\r\n1";
    let mut publisher = TcpStream::connect(addr).await.expect("connect");
    publisher.write_all(LOCAL).await.expect("send");
    publisher.write_all(publish.as_bytes()).await.expect("send");
    assert_eq!(answer(&mut publisher, true).await.status, 200);
    assert_eq!(message(&mut held[0]).await["data"], 1);
}

#[tokio::test]
async fn the_address_of_a_client_behind_a_proxy_is_shown_to_administrators() {
    let flags = [
        "--trusted-proxies=127.0.0.9",
        "--send-buffer=4KiB",
        "--write-stall=0",
    ];
    let (_server, addr, admin) = serve(&flags).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a buffer");
    let proxy = "127.0.0.9:0".parse().expect("an address");
    socket.bind(proxy).expect("an address of this machine");
    let stream = socket.connect(addr).await.expect("connect");
    let (mut stream, _) = upgrade(stream, addr, b"", &["X-Forwarded-For: 203.0.113.7"]).await;
    subscribe(&mut stream, "A").await;
    // It reads no more, so that it falls behind.
    let body = format!("\"{}\"", "x".repeat(900_000));
    assert_eq!(common::publish(addr, "A", &body).await.status, 200);
    assert_eq!(common::publish(addr, "A", &body).await.status, 200);
    let clients = async {
        loop {
            let body = get(admin, "/debug/clients").await.json();
            if let Some(client) = body["worst"].as_array().and_then(|all| all.first()) {
                return client.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let client = tokio::time::timeout(common::PATIENCE, clients).await;
    assert_eq!(
        client.expect("it is behind")["peer"],
        json!("203.0.113.7:0")
    );
}

#[tokio::test]
async fn a_trusted_proxy_without_a_header_is_closed_and_counted() {
    let flags = ["--trusted-proxies=127.0.0.1", "--proxy-protocol"];
    let (_server, addr, admin) = serve(&flags).await;
    let mut overlong = header("203.0.113.7:1");
    overlong[14..16].copy_from_slice(&[0xFF, 0xFF]);
    let mut datagrams = header("203.0.113.7:1");
    datagrams[13] = 0x12;
    for (count, (name, bytes)) in [
        (
            "a request",
            b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "version 1",
            b"PROXY TCP4 203.0.113.7 127.0.0.1 1 80\r\n".to_vec(),
        ),
        ("too long", overlong),
        ("datagrams", datagrams),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        stream.write_all(&bytes).await.expect("send");
        let mut rest = Vec::new();
        let read = tokio::time::timeout(common::PATIENCE, stream.read_to_end(&mut rest)).await;
        let read = read.expect("an end in time").expect("no reset");
        assert_eq!(read, 0, "{name}: {rest:?}");
        assert_eq!(
            metric(admin, PROXY).await,
            (count + 1).to_string(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_header_from_somebody_else_is_no_request() {
    let flags = ["--trusted-proxies=127.0.0.1", "--proxy-protocol"];
    let (_server, addr, admin) = serve(&flags).await;
    let mut stranger = connect_from("127.0.0.2", addr).await;
    let request = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bytes = [&header("203.0.113.7:1")[..], request].concat();
    stranger.write_all(&bytes).await.expect("send");
    assert_eq!(answer(&mut stranger, false).await.status, 400);
    metric_becomes(admin, INVALID, "1").await;
    // Without one it is served.
    let stream = connect_from("127.0.0.2", addr).await;
    assert_eq!(upgrade(stream, addr, b"", &[]).await.1, 101);
    assert_eq!(metric(admin, PROXY).await, "0");
}

#[tokio::test]
async fn a_header_has_the_time_of_a_handshake() {
    let flags = [
        "--trusted-proxies=127.0.0.1",
        "--proxy-protocol",
        "--handshake-timeout=100ms",
    ];
    let (_server, addr, admin) = serve(&flags).await;
    for (count, bytes) in [(1, &b""[..]), (2, &header("203.0.113.7:1")[..20])] {
        let mut slow = TcpStream::connect(addr).await.expect("connect");
        slow.write_all(bytes).await.expect("send");
        assert!(ended(&mut slow).await, "{bytes:?}");
        metric_becomes(admin, TIMEOUT, &count.to_string()).await;
    }
}

/// What only a program on this machine may without a token, from this address and after these bytes.
async fn program_only(source: &str, addr: SocketAddr, first: &[u8]) -> [u16; 2] {
    let publish = "POST /publish/A HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Content-Length: 1\r\n\r\n1";
    let administer = "GET /debug/clients HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut statuses = [0; 2];
    for (status, request) in statuses.iter_mut().zip([publish, administer]) {
        let mut stream = connect_from(source, addr).await;
        let bytes = [first, request.as_bytes()].concat();
        stream.write_all(&bytes).await.expect("send");
        *status = answer(&mut stream, true).await.status;
    }
    statuses
}

#[tokio::test]
async fn a_client_behind_a_proxy_on_this_machine_is_no_program_on_it() {
    let server = common::serve(&["--trusted-proxies=127.0.0.9", "--proxy-protocol"]).await;
    let addr = server.local_addr();
    for (name, first, statuses) in [
        ("somewhere else", header("203.0.113.7:1"), [403; 2]),
        ("on this machine", header("127.0.0.1:1"), [403; 2]),
        ("nobody knows where", UNSPECIFIED.to_vec(), [403; 2]),
        ("on a Unix socket", unix(), [403; 2]),
        ("the proxy itself", LOCAL.to_vec(), [200; 2]),
    ] {
        let found = program_only("127.0.0.9", addr, &first).await;
        assert_eq!(found, statuses, "{name}");
    }
    assert_eq!(program_only("127.0.0.1", addr, b"").await, [200; 2]);
}

/// Whatever it leaves out of its requests.
#[tokio::test]
async fn a_trusted_proxy_on_this_machine_is_no_program_on_it() {
    let server = common::serve(&["--trusted-proxies=127.0.0.9"]).await;
    let addr = server.local_addr();
    assert_eq!(program_only("127.0.0.9", addr, b"").await, [403; 2]);
    assert_eq!(program_only("127.0.0.1", addr, b"").await, [200; 2]);
    drop(server);
    let (_server, _, admin) = serve(&["--trusted-proxies=127.0.0.9", "--proxy-protocol"]).await;
    assert_eq!(program_only("127.0.0.9", admin, b"").await, [404, 403]);
    assert_eq!(program_only("127.0.0.1", admin, b"").await, [404, 200]);
}
