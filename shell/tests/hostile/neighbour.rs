//! The client beside the hostile ones: it gets a message every few milliseconds, must miss none, and says how long
//! they took. It has threads of its own, so that it does not wait for the crowd of the same test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common;
use crate::server::Server;

/// The channel that it listens to.
pub(crate) const CHANNEL: &str = "neighbour";

/// The time between two messages.
const BEAT: Duration = Duration::from_millis(5);

/// How long it waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bare connection or one with TLS.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}
type Line = BufReader<Box<dyn Wire>>;

/// A client and the publisher that it listens to.
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<u64>,
    client: JoinHandle<Seen>,
}

/// What it saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From just before each message was published to its arrival, in order of length.
    pub(crate) delays: Vec<Duration>,
}

impl Neighbour {
    /// Begins to listen.
    pub(crate) fn start(server: &Server) -> Self {
        Self::start_with(server.addr, None)
    }

    /// The same over TLS.
    pub(crate) fn secured(addr: SocketAddr, known: &CertificateDer<'static>) -> Self {
        Self::start_with(addr, Some(known))
    }

    fn start_with(addr: SocketAddr, known: Option<&CertificateDer<'static>>) -> Self {
        let clock = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let (mut publishing, mut listening) = (connect(addr, known), connect(addr, known));
        let position = subscribe(&mut listening, addr);
        let client = std::thread::spawn(move || listen(&mut listening, clock, position));
        let publisher = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut count = 0;
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let at = clock.elapsed().as_micros();
                    publish(&mut publishing, addr, &at.to_string());
                    count += 1;
                    next = Instant::now().max(next + BEAT);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                publish(&mut publishing, addr, "\"end\"");
                count
            }
        });
        Self {
            stop,
            publisher,
            client,
        }
    }

    /// Ends, and gives what it saw: every message, and nothing else.
    #[track_caller]
    pub(crate) fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let published = self.publisher.join().expect("all was published");
        let mut seen = self.client.join().expect("nothing was missing");
        assert_eq!(seen.delays.len() as u64, published);
        seen.delays.sort_unstable();
        seen
    }
}

impl Seen {
    /// The delay that so many percent of the messages did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.delays.len().saturating_sub(1);
        let at = (self.delays.len() * percent / 100).min(last);
        self.delays.get(at).copied().unwrap_or_default()
    }
}

fn connect(addr: SocketAddr, known: Option<&CertificateDer<'static>>) -> Line {
    let tcp = TcpStream::connect(addr).expect("the server accepts");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_nodelay(true).expect("no delay");
    let Some(known) = known else {
        return BufReader::new(Box::new(tcp));
    };
    let mut roots = RootCertStore::empty();
    roots.add(known.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
    BufReader::new(Box::new(StreamOwned::new(tls, tcp)))
}

fn head(line: &mut Line) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let count = line.read_line(&mut head).expect("a head");
        assert!(count > 0, "the server ended after {head:?}");
    }
    head
}

fn publish(line: &mut Line, addr: SocketAddr, body: &str) {
    let request = format!(
        "POST /publish/{CHANNEL} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    line.get_mut().write_all(request.as_bytes()).expect("send");
    let head = head(line);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    line.read_exact(&mut body).expect("a body");
}

/// Upgrades and subscribes; gives the position.
fn subscribe(line: &mut Line, addr: SocketAddr) -> u64 {
    let upgrade = common::request(&common::upgrade_lines(addr));
    line.get_mut().write_all(upgrade.as_bytes()).expect("send");
    let head = head(line);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(message(line)["type"], "welcome");
    let request = format!(r#"{{"type":"subscribe","data":{{"channels":["{CHANNEL}"]}}}}"#);
    let request = common::masked(0x81, request.as_bytes());
    line.get_mut().write_all(&request).expect("send");
    let ack = message(line);
    assert_eq!(ack["type"], "subscription_ack", "{ack}");
    ack["positions"][CHANNEL].as_u64().expect("a position")
}

/// Reads up to the last message. Each must name the one before it.
fn listen(line: &mut Line, clock: Instant, position: u64) -> Seen {
    let mut last = position;
    let mut delays = Vec::new();
    loop {
        let message = message(line);
        let now = clock.elapsed();
        assert_eq!(message["type"], "message", "{message}");
        assert_eq!(message["prev"], last, "a hole before {message}");
        last = message["seq"].as_u64().expect("a seq");
        if message["data"] == "end" {
            return Seen { delays };
        }
        let at = Duration::from_micros(message["data"].as_u64().expect("a time"));
        delays.push(now.saturating_sub(at));
    }
}

/// The next text message; pings are answered.
fn message(line: &mut Line) -> Value {
    loop {
        let mut first = [0; 2];
        line.read_exact(&mut first).expect("a frame");
        let length = match first[1] {
            126 => {
                let mut long = [0; 2];
                line.read_exact(&mut long).expect("a length");
                usize::from(u16::from_be_bytes(long))
            }
            127 => panic!("a frame of more than 64 KiB"),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        line.read_exact(&mut payload).expect("a payload");
        match first[0] {
            0x81 => return serde_json::from_slice(&payload).expect("JSON"),
            0x89 => {
                let pong = common::masked(0x8A, &payload);
                line.get_mut().write_all(&pong).expect("send");
            }
            other => panic!(
                "the frame {other:#x}: {}",
                String::from_utf8_lossy(&payload)
            ),
        }
    }
}
