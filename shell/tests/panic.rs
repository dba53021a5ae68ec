//! A panic in the task of one connection ends that connection and nothing else.

mod common;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use common::{
    PATIENCE, ended, frame, get, masked, message, metric_becomes, publish, settings, start_on,
    subscribe, upgraded,
};
use odin_core::record::{File, Machine, Player};
use odin_core::shard::Shard;
use odin_shell::listener::{Accepted, Acceptor, Listener, Stream, Tuning, bind};
use odin_shell::server::RunningServer;
use odin_shell::source::embedded::Embedded;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// A socket whose reader panics when it reads this text, masked as a client sends it.
const POISON: &[u8] = b"poison";

struct Fragile(TcpStream);

impl AsyncRead for Fragile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ready = Pin::new(&mut self.0).poll_read(cx, buffer);
        assert!(
            !buffer.filled().ends_with(&masked(0x81, POISON)),
            "poisoned"
        );
        ready
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        b: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, b)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for Fragile {
    type Detached = std::net::TcpStream;

    fn attach(detached: Self::Detached) -> io::Result<Self> {
        TcpStream::from_std(detached).map(Self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        TcpStream::try_write_vectored(&self.0, slices)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TcpStream::poll_write_ready(&self.0, cx)
    }
}

struct FragileListener(Acceptor);

impl Listener for FragileListener {
    type Stream = Fragile;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn tune(&mut self, tuning: &Tuning) -> io::Result<()> {
        self.0.tune(tuning)
    }

    async fn accept(&mut self) -> io::Result<Accepted<Fragile>> {
        self.0.accept().await
    }
}

async fn serve_fragile() -> RunningServer {
    let settings = settings(&[]);
    let (upstream, publisher) = Embedded::new(&settings.feed_config());
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("bind");
    start_on(settings, FragileListener(listener), upstream, publisher)
}

#[tokio::test]
async fn a_panic_in_one_connection_ends_that_connection_and_nothing_else() {
    let server = serve_fragile().await;
    let addr = server.local_addr();
    let mut bystander = upgraded(addr).await;
    subscribe(&mut bystander, "BTC").await;
    let mut victim = upgraded(addr).await;
    assert_eq!(message(&mut victim).await["type"], "welcome");
    metric_becomes(addr, "ws_connections_active", "2").await;

    victim.write_all(&masked(0x81, POISON)).await.expect("send");
    assert!(ended(&mut victim).await);
    // Neither the core nor the Gate counts a zombie.
    metric_becomes(addr, "ws_connections_active", "1").await;
    let health = get(addr, "/health").await.json();
    assert_eq!(health["checks"]["capacity"]["current"], 1);

    bystander
        .write_all(&masked(0x89, b"alive"))
        .await
        .expect("send");
    let pong = tokio::time::timeout(PATIENCE, frame(&mut bystander))
        .await
        .expect("a pong");
    assert_eq!(pong, (0x8A, b"alive".to_vec()));
    assert_eq!(publish(addr, "BTC", "1").await.status, 200);
    assert_eq!(message(&mut bystander).await["data"], 1);
}

#[tokio::test]
async fn a_panic_leaves_a_recording_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    let settings = settings(&["--record-dir", &path]);
    let (upstream, publisher) = Embedded::new(&settings.feed_config());
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("bind");
    let server = start_on(settings, FragileListener(listener), upstream, publisher);
    let mut victim = upgraded(server.local_addr()).await;
    assert_eq!(message(&mut victim).await["type"], "welcome");
    victim.write_all(&masked(0x81, POISON)).await.expect("send");
    assert!(ended(&mut victim).await);

    let mut files = std::fs::read_dir(dir.path()).expect("a listing");
    let file = files.next().expect("a file").expect("an entry").path();
    assert!(files.next().is_none(), "one panic, one file");
    let file = File::parse(&std::fs::read(file).expect("bytes")).expect("a recording");
    assert_eq!(file.header.cause, "panic");
    let recording = &file.recordings[0];
    assert_eq!(
        (recording.machine, recording.hash),
        (Machine::Shard(0), None)
    );
    let mut player: Player<'_, Shard> = Player::new(recording).expect("a checkpoint");
    assert!(player.run().expect("whole calls") >= 3);
    assert_eq!(player.machine.stats().connections, 1);
}
