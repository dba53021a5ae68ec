//! A server in this process, and a client that sends exactly the bytes that it is told to.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod tokens;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use odin_core::feed::{Feed, Source};
use odin_core::load::Sample;
use odin_shell::listener::{Listener, Threads};
use odin_shell::server::{self, Parts, RunningServer};
use odin_shell::settings::{Loaded, Settings};
use odin_shell::source::history::NoHistory;
use odin_shell::source::{Clock, Publisher, Upstream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The key of RFC 6455 1.3, and what answers it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A server with an embedded source and these flags, on a free port of loopback.
pub async fn serve(flags: &[&str]) -> RunningServer {
    serve_on("127.0.0.1:0", flags).await
}

pub async fn serve_on(listen: &str, flags: &[&str]) -> RunningServer {
    let flags: Vec<&str> = ["--no-demo"].iter().chain(flags).copied().collect();
    let server = start(listen, &flags).await;
    // The wildcard address is no destination.
    let addr = (std::net::Ipv4Addr::LOCALHOST, server.local_addr().port()).into();
    let mut patience = tokio::time::interval(Duration::from_millis(2));
    while get(addr, "/ready").await.status != 200 {
        patience.tick().await;
    }
    server
}

/// A server whose source may never become ready.
pub async fn serve_unready(flags: &[&str]) -> RunningServer {
    start("127.0.0.1:0", flags).await
}

async fn start(listen: &str, flags: &[&str]) -> RunningServer {
    let flags: Vec<&str> = ["--listen", listen].iter().chain(flags).copied().collect();
    server::from_settings(settings(&flags), 4096)
        .await
        .expect("a server")
}

pub fn settings(flags: &[&str]) -> Settings {
    let args = std::iter::once(&"odin-ws").chain(flags).map(OsString::from);
    let loaded = Settings::load(args, std::iter::empty()).expect("settings");
    let Loaded::Run(settings) = loaded else {
        panic!("nothing to print")
    };
    *settings
}

/// A server of one shard with a listener and an upstream of the test's own.
pub fn start_on<L: Listener, U: Upstream + 'static>(
    settings: Settings,
    listener: L,
    upstream: U,
    publisher: Publisher,
) -> RunningServer {
    let epoch = "test".to_owned();
    let feed = Feed::new(settings.feed_config(), Source::Embedded { epoch }, "", 1);
    let parts = Parts {
        listener,
        spawn: Threads,
        sample: |_| Sample::default(),
        clock: Clock::start(),
        feed,
        upstream,
        publisher,
        history: Arc::new(NoHistory),
        connections_max: 1000,
        shards: 1,
        seed: 1,
        started_unix_ms: 0,
    };
    server::start(settings, parts).expect("a server")
}

/// A response as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code of an error body, which must have exactly the two fields.
    pub fn error(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        let body = self.json();
        let fields = body.as_object().expect("an object");
        assert_eq!(fields.len(), 2, "{body}");
        assert!(
            fields["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{body}"
        );
        fields["error"].as_str().expect("a code").to_owned()
    }
}

/// Sends bytes on a new connection and reads one response.
pub async fn ask(addr: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    stream.write_all(request.as_ref()).await.expect("send");
    answer(&mut stream, true).await
}

pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    ask(addr, format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n")).await
}

/// Reads one response. Bytes after its head are its body, if it has one.
pub async fn answer(stream: &mut TcpStream, has_body: bool) -> Answer {
    tokio::time::timeout(PATIENCE, read_answer(stream, has_body))
        .await
        .expect("a response")
}

async fn read_answer(stream: &mut TcpStream, has_body: bool) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await;
        head.push(
            byte.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&head))),
        );
    }
    let head = String::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .expect("a status line");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut answer = Answer {
        status: status.parse().expect("a status"),
        headers,
        body: String::new(),
    };
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if has_body && let Some(length) = length {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        answer.body = String::from_utf8(body).expect("a body in UTF-8");
    }
    answer
}

/// The lines of a valid upgrade request, without the empty one.
pub fn upgrade_lines(addr: SocketAddr) -> Vec<String> {
    vec![
        "GET /ws HTTP/1.1".to_owned(),
        format!("Host: {addr}"),
        "Connection: Upgrade".to_owned(),
        "Upgrade: websocket".to_owned(),
        "Sec-WebSocket-Version: 13".to_owned(),
        format!("Sec-WebSocket-Key: {KEY}"),
    ]
}

pub fn request(lines: &[String]) -> String {
    lines.join("\r\n") + "\r\n\r\n"
}

/// A WebSocket connection on a bare socket.
pub async fn upgraded(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let request = request(&upgrade_lines(addr));
    stream.write_all(request.as_bytes()).await.expect("send");
    let answer = answer(&mut stream, false).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    stream
}

/// The next frame from the server: its first byte and its payload.
pub async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let read = async {
        let first = stream.read_u8().await.expect("a frame");
        let length = match stream.read_u8().await.expect("a length") {
            126 => usize::from(stream.read_u16().await.expect("a length")),
            127 => usize::try_from(stream.read_u64().await.expect("a length")).expect("a length"),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.expect("a payload");
        (first, payload)
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("a frame in time")
}

/// The next frame, which must be a text frame with JSON.
pub async fn message(stream: &mut TcpStream) -> Value {
    let (first, payload) = frame(stream).await;
    assert_eq!(first, 0x81, "a whole text frame, not {payload:?}");
    serde_json::from_slice(&payload).expect("JSON")
}

/// A client's frame, masked with a fixed key.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("short")),
        length => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("medium").to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// Subscribes, and reads up to the ack.
pub async fn subscribe(stream: &mut TcpStream, channel: &str) -> Value {
    let request = serde_json::json!({ "type": "subscribe", "data": { "channels": [channel] } });
    stream
        .write_all(&masked(0x81, request.to_string().as_bytes()))
        .await
        .expect("send");
    loop {
        let message = message(stream).await;
        match message["type"].as_str() {
            Some("welcome") => {}
            Some("subscription_ack") => return message,
            _ => panic!("no ack but {message}"),
        }
    }
}

pub async fn publish(addr: SocketAddr, channel: &str, payload: &str) -> Answer {
    let length = payload.len();
    let request = format!(
        "POST /publish/{channel} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{payload}"
    );
    ask(addr, request).await
}

/// The value of one series of `/metrics`, exactly as it is written there.
pub async fn metric(addr: SocketAddr, series: &str) -> String {
    let text = get(addr, "/metrics").await.body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}"))
        .to_owned()
}

/// Waits until a series has this value.
pub async fn metric_becomes(addr: SocketAddr, series: &str, value: &str) {
    let reached = async {
        while metric(addr, series).await != value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(
        reached.is_ok(),
        "{series} is {} and not {value}",
        metric(addr, series).await
    );
}

/// Whether the server ended the connection, without sending anything more.
pub async fn ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset is an end as well.
    read.is_ok() && rest.is_empty()
}
