//! Certificates, a server that has one, and clients that know it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use odin_shell::server::{self, RunningServer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{self, PATIENCE};

/// Makes a certificate for this machine, writes it and its key as `cert.pem` and `key.pem`, and gives
/// what clients know it by.
pub(crate) fn issue(folder: &Path) -> CertificateDer<'static> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("cert.pem");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("key.pem");
    made.cert.der().clone()
}

/// A server with TLS, whose metrics are on a listener apart.
pub(crate) struct Secured {
    pub(crate) server: RunningServer,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) known: CertificateDer<'static>,
    pub(crate) folder: TempDir,
}

impl Secured {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let known = issue(folder.path());
        let certificate = folder.path().join("cert.pem").display().to_string();
        let key = folder.path().join("key.pem").display().to_string();
        let own = [
            "--no-demo",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ];
        let flags: Vec<&str> = own.iter().chain(flags).copied().collect();
        let server = server::from_settings(common::settings(&flags), 4096);
        let server = server.await.expect("a server");
        let admin = server.admin_addr().expect("an admin listener");
        while common::get(admin, "/ready").await.status != 200 {
            tokio::task::yield_now().await;
        }
        Self {
            addr: server.local_addr(),
            admin,
            server,
            known,
            folder,
        }
    }

    /// The value of a series.
    pub(crate) async fn metric(&self, series: &str) -> String {
        common::metric(self.admin, series).await
    }

    pub(crate) async fn metric_becomes(&self, series: &str, value: &str) {
        common::metric_becomes(self.admin, series, value).await;
    }

    /// Connects, as a client with this receive buffer; 0: as the kernel has it.
    pub(crate) async fn tls(&self, receive_buffer: u32) -> TlsStream<TcpStream> {
        let tls = connect(self.addr, &self.known, receive_buffer).await;
        tls.expect("the server is known")
    }

    pub(crate) async fn client(&self, receive_buffer: u32) -> Client {
        Client::on(self.tls(receive_buffer).await).await
    }

    /// Publishes over one connection, in order.
    pub(crate) async fn publish(&self, channel: &str, bodies: &[String]) {
        let mut tls = self.tls(0).await;
        for body in bodies {
            let length = body.len();
            let request = format!(
                "POST /publish/{channel} HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            tls.write_all(request.as_bytes()).await.expect("send");
            let answer = response(&mut tls).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
}

/// Connects and shakes hands with a server that is known by one certificate.
pub(crate) async fn connect(
    addr: SocketAddr,
    known: &CertificateDer<'static>,
    receive_buffer: u32,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    if receive_buffer > 0 {
        socket.set_recv_buffer_size(receive_buffer)?;
    }
    shake(socket.connect(addr).await?, known).await
}

/// Shakes hands on a connection that there is.
pub(crate) async fn shake(
    tcp: TcpStream,
    known: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(known.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// Reads one response with a body of known length.
pub(crate) async fn response(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(bytes).expect("ASCII");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8(body).expect("UTF-8")
}

/// A WebSocket client over TLS.
pub(crate) struct Client {
    ws: WebSocketStream<TlsStream<TcpStream>>,
}

impl Client {
    /// Upgrades and takes the welcome.
    pub(crate) async fn on(tls: TlsStream<TcpStream>) -> Self {
        let upgraded = tokio_tungstenite::client_async("wss://localhost/ws", tls).await;
        let (ws, _) = upgraded.expect("an upgrade");
        let mut client = Self { ws };
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    /// Subscribes with these fields and takes the ack.
    pub(crate) async fn subscribe(&mut self, data: Value) {
        let request = json!({"type": "subscribe", "data": data});
        let sent = self.ws.send(Message::text(request.to_string())).await;
        sent.expect("send");
        assert_eq!(self.next().await["type"], "subscription_ack");
    }

    /// The next message, which must be JSON.
    pub(crate) async fn next(&mut self) -> Value {
        match self.frame().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("no message but {other:?}"),
        }
    }

    /// The next frame; `None`: the connection has ended.
    pub(crate) async fn frame(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.ws.next()).await;
        next.expect("a frame in time").and_then(Result::ok)
    }
}
