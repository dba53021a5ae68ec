//! TCP for the simulated world: turmoil's streams with the byte windows of real sockets.
//!
//! turmoil counts segments and not bytes, so by itself it shows neither a partial write nor a full socket.
//! Here both ends of a connection share one window per direction: what was written and not yet read
//! may be no more than the sender's and the receiver's buffers hold together. A window never holds more
//! segments than bytes, and [`SEGMENTS_MAX`] is at least as many as the largest window has bytes; so
//! turmoil's own credits are never used up, at which it would lose the end of a stream.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use odin_shell::listener::{Listener, Spawn, Stream, Tuning};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Segments that turmoil lets be under way per direction; also the connections that wait to be accepted.
pub const SEGMENTS_MAX: usize = 1 << 17;

/// Bytes that a receiver's buffer holds unless told otherwise.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// Bytes that a sender's buffer holds unless told otherwise.
const SEND_BUFFER: usize = 32 * 1024;

/// One direction of a connection: bytes that were written and not read yet.
#[derive(Debug)]
struct Window {
    used: usize,
    send_buffer: usize,
    receive_buffer: usize,
    /// Of the writer, while it waits for room.
    waker: Option<Waker>,
}

impl Window {
    fn free(&self) -> usize {
        let room = (self.send_buffer + self.receive_buffer).min(SEGMENTS_MAX);
        room.saturating_sub(self.used)
    }
}

type SharedWindow = Arc<Mutex<Window>>;

fn window() -> SharedWindow {
    Arc::new(Mutex::new(Window {
        used: 0,
        send_buffer: SEND_BUFFER,
        receive_buffer: RECEIVE_BUFFER,
        waker: None,
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The two directions of a connection that was accepted and whose client does not know it yet.
struct Pair {
    to_server: SharedWindow,
    to_client: SharedWindow,
}

/// A connection's addresses: the client's, the server's.
type Ends = (SocketAddr, SocketAddr);

/// Where both ends of a connection find the windows that they share. Cheap to clone; one per world.
#[derive(Clone, Default)]
pub struct Network {
    accepted: Arc<Mutex<BTreeMap<Ends, Pair>>>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    /// Listens on every address of the host at hand.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn listen(&self, port: u16) -> io::Result<SimListener> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).await?;
        Ok(SimListener {
            listener,
            network: self.clone(),
            tuning: None,
        })
    }

    /// Connects to a host by its name. Never ends while that host is down: callers bring a timeout.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<SimStream> {
        let tcp = TcpStream::connect((host, port)).await?;
        let ends = (tcp.local_addr()?, tcp.peer_addr()?);
        // The server accepted before this was known here, and left the windows. They are missing only
        // where its end is gone already, and then what they hold does not matter.
        let pair = lock(&self.accepted).remove(&ends);
        let (inbound, outbound) = pair.map_or_else(
            || (window(), window()),
            |pair| (pair.to_client, pair.to_server),
        );
        Ok(SimStream {
            tcp,
            inbound,
            outbound,
        })
    }
}

/// A byte stream with partial writes and full buffers.
#[derive(Debug)]
pub struct SimStream {
    tcp: TcpStream,
    inbound: SharedWindow,
    outbound: SharedWindow,
}

impl SimStream {
    /// Sets how many unread bytes this end holds, beside what the sender's buffer holds.
    pub fn set_receive_buffer(&self, bytes: usize) {
        lock(&self.inbound).receive_buffer = bytes;
    }

    fn write_some(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut window = lock(&self.outbound);
        let room = window.free();
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return Ok(0);
        }
        if room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut segment = Vec::with_capacity(room.min(wanted));
        for slice in slices {
            let left = room - segment.len();
            segment.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        let written = self.tcp.try_write(&segment)?;
        window.used += written;
        Ok(written)
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut window = lock(&self.outbound);
        if window.free() > 0 {
            return Poll::Ready(());
        }
        window.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        let taken = buffer.filled().len() - before;
        if taken > 0 {
            let mut window = lock(&self.inbound);
            window.used = window.used.saturating_sub(taken);
            if let Some(waker) = window.waker.take() {
                waker.wake();
            }
        }
        read
    }
}

thread_local! {
    /// The simulation of this thread is being taken apart. Its servers still shut their sockets down
    /// then, but turmoil panics when it is asked for a network that it does not run any more.
    static IS_OVER: Cell<bool> = const { Cell::new(false) };

    /// How long a write takes a shard's thread in the simulation of this thread.
    static WRITE_TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Says how long each write of a shard keeps its thread busy in the simulation of this thread.
pub fn set_write_time(time: Duration) {
    WRITE_TIME.set(time);
}

/// Says whether the simulation of this thread is over.
pub fn set_over(over: bool) {
    IS_OVER.set(over);
}

impl AsyncWrite for SimStream {
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
        match self.write_some(slices) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match self.poll_room(cx) {
                    // The room is turmoil's own, which is not used up: see the module.
                    Poll::Ready(()) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if IS_OVER.get() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Stream for SimStream {
    type Detached = Self;

    fn attach(detached: Self) -> io::Result<Self> {
        Ok(detached)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_some(slices)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(cx).map(Ok)
    }

    fn busy(writes: usize) -> Duration {
        WRITE_TIME
            .get()
            .saturating_mul(u32::try_from(writes).unwrap_or(u32::MAX))
    }
}

/// What accepts [`SimStream`]s.
pub struct SimListener {
    listener: TcpListener,
    network: Network,
    tuning: Option<Tuning>,
}

impl std::fmt::Debug for SimListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimListener").finish_non_exhaustive()
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn tune(&mut self, tuning: &Tuning) -> io::Result<()> {
        self.tuning = Some(*tuning);
        Ok(())
    }

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (tcp, peer) = self.listener.accept().await?;
        let (to_server, to_client) = (window(), window());
        let ends = (peer, tcp.local_addr()?);
        // What an earlier client with this port did not fetch is of no use to anybody.
        lock(&self.network.accepted).insert(
            ends,
            Pair {
                to_server: Arc::clone(&to_server),
                to_client: Arc::clone(&to_client),
            },
        );
        if let Some(tuning) = self.tuning
            && tuning.send_buffer > 0
        {
            lock(&to_client).send_buffer = tuning.send_buffer;
        }
        let stream = SimStream {
            tcp,
            inbound: to_server,
            outbound: to_client,
        };
        Ok((stream, peer))
    }
}

/// Runs each shard as a task of the host at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalTasks;

impl Spawn for LocalTasks {
    fn shard<F, Fut>(&self, _name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(make());
        Ok(())
    }
}
