//! A whole server on sockets in memory, and time that passes only while nobody has anything to do.
//!
//! Everything from the acceptor to the shard is the real thing; there are no threads and no kernel in
//! between, so that what happens depends on the bytes alone.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use odin_core::feed::{Feed, Source};
use odin_core::load::Sample;
use odin_shell::listener::{Layer, Listener, Prelude, Spawn, Stream, Tuning, Unestablished};
use odin_shell::proxy;
use odin_shell::server::{self, Parts, RunningServer};
use odin_shell::settings::{Loaded, Settings};
use odin_shell::source::Clock;
use odin_shell::source::embedded::Embedded;
use odin_shell::source::history::NoHistory;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

/// A stranger, and a proxy that is trusted and says whom it speaks for.
pub(crate) const STRANGER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);
pub(crate) const PROXY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5000);

/// One direction of a connection.
#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// How many bytes it holds.
    room: usize,
    closed: bool,
    /// Of who waits for bytes, or for room.
    wakers: Vec<Waker>,
}

type Shared = Arc<Mutex<Pipe>>;

fn pipe(room: usize) -> Shared {
    Arc::new(Mutex::new(Pipe {
        bytes: VecDeque::new(),
        room,
        closed: false,
        wakers: Vec::new(),
    }))
}

fn lock(pipe: &Shared) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut count = 0;
        for slice in slices {
            let here = slice.len().min(self.room - self.bytes.len());
            self.bytes.extend(&slice[..here]);
            count += here;
        }
        if count == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.wake();
        Ok(count)
    }

    fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.closed || self.bytes.len() < self.room {
            return Poll::Ready(());
        }
        self.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    inbound: Shared,
    outbound: Shared,
    peer: SocketAddr,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.inbound);
        if pipe.bytes.is_empty() && !pipe.closed {
            pipe.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.remaining().min(pipe.bytes.len());
        for byte in pipe.bytes.drain(..count) {
            buffer.put_slice(&[byte]);
        }
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outbound);
        match pipe.write(slices) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                pipe.poll_room(cx).map(|()| Ok(0))
            }
            written => Poll::Ready(written),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.outbound);
        pipe.closed = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        for pipe in [&self.inbound, &self.outbound] {
            let mut pipe = lock(pipe);
            pipe.closed = true;
            pipe.wake();
        }
    }
}

impl Stream for Socket {
    type Detached = Self;

    fn attach(detached: Self) -> io::Result<Self> {
        Ok(detached)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        lock(&self.outbound).write(slices)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.outbound).poll_room(cx).map(Ok)
    }

    async fn establish(mut self, prelude: Prelude<'_>) -> Result<Self, Unestablished<Self>> {
        if prelude.is_proxied {
            match proxy::read(&mut self).await {
                Ok(party) => self.peer = party.address().unwrap_or(self.peer),
                Err(error) => {
                    let (layer, stream) = (Layer::Proxy, self);
                    return Err(Unestablished {
                        layer,
                        error,
                        stream,
                    });
                }
            }
        }
        Ok(self)
    }

    fn speaks_for(mut self, client: SocketAddr) -> Self {
        self.peer = client;
        self
    }
}

/// Accepts what [`Server::connect`] makes.
struct Door(mpsc::UnboundedReceiver<(Socket, SocketAddr)>);

impl Listener for Door {
    type Stream = Socket;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 3004)))
    }

    fn tune(&mut self, _tuning: &Tuning) -> io::Result<()> {
        Ok(())
    }

    async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        match self.0.recv().await {
            Some(accepted) => Ok(accepted),
            None => std::future::pending().await,
        }
    }
}

/// Runs the shard beside everything else.
struct Beside;

impl Spawn for Beside {
    fn shard<F, Fut>(&self, _name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(make());
        Ok(())
    }
}

/// A client's end of a connection: it sends exactly the bytes that it is told to.
pub(crate) struct Client {
    to_server: Shared,
    from_server: Shared,
}

impl Client {
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut pipe = lock(&self.to_server);
        // What is sent to a socket that was closed goes nowhere.
        let _ = pipe.write(&[IoSlice::new(bytes)]);
    }

    /// What came since it was asked last.
    pub(crate) fn received(&self) -> Vec<u8> {
        let mut pipe = lock(&self.from_server);
        let bytes = pipe.bytes.drain(..).collect();
        pipe.wake();
        bytes
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for pipe in [&self.to_server, &self.from_server] {
            let mut pipe = lock(pipe);
            pipe.closed = true;
            pipe.wake();
        }
    }
}

pub(crate) struct Server {
    runtime: LocalRuntime,
    running: RunningServer,
    door: mpsc::UnboundedSender<(Socket, SocketAddr)>,
}

impl Server {
    /// A server with an embedded source and these flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let args = ["odin-ws", "--no-demo", "--record-bytes", "0"];
        let args = args.iter().chain(flags).map(Into::into);
        let Ok(Loaded::Run(settings)) = Settings::load(args, std::iter::empty()) else {
            panic!("settings: {flags:?}");
        };
        let (door, doors) = mpsc::unbounded_channel();
        let running = runtime.block_on(async {
            let (upstream, publisher) = Embedded::new(&settings.feed_config());
            let epoch = "fuzz".to_owned();
            let parts = Parts {
                listener: Door(doors),
                spawn: Beside,
                sample: |_| Sample::default(),
                clock: Clock::start(),
                feed: Feed::new(settings.feed_config(), Source::Embedded { epoch }, "", 1),
                upstream,
                publisher,
                history: Arc::new(NoHistory),
                connections_max: 100,
                shards: 1,
                seed: 1,
                started_unix_ms: 0,
            };
            server::start(*settings, parts).expect("a server")
        });
        let server = Self {
            runtime,
            running,
            door,
        };
        server.rest();
        server
    }

    /// Connects from an address, with a socket that takes so many bytes until they are received.
    pub(crate) fn connect(&self, peer: SocketAddr, room: usize) -> Client {
        let (to_server, from_server) = (pipe(usize::MAX / 2), pipe(room));
        let socket = Socket {
            inbound: Arc::clone(&to_server),
            outbound: Arc::clone(&from_server),
            peer,
        };
        assert!(
            self.door.send((socket, peer)).is_ok(),
            "the acceptor is there"
        );
        Client {
            to_server,
            from_server,
        }
    }

    /// Lets everything happen that can, without time passing.
    pub(crate) fn turn(&self) {
        self.runtime.block_on(async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Lets everything happen that can: a millisecond passes when nothing is left to be done.
    pub(crate) fn rest(&self) {
        let millisecond = tokio::time::sleep;
        self.runtime
            .block_on(async { millisecond(Duration::from_millis(1)).await });
    }

    /// WebSocket connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.running.connections()
    }

    /// Sends the bytes in parts of so many (0: all at once), and gives all that comes back once nothing more does.
    pub(crate) fn exchange(&self, client: &Client, bytes: &[u8], part: usize) -> Vec<u8> {
        let mut received = Vec::new();
        for part in bytes.chunks(if part == 0 { usize::MAX } else { part }) {
            client.send(part);
            self.turn();
            received.extend(client.received());
        }
        loop {
            self.rest();
            let more = client.received();
            if more.is_empty() {
                return received;
            }
            received.extend(more);
        }
    }
}
