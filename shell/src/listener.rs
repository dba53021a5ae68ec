//! The seams below which either tokio's TCP or the simulator stands: a byte stream, what accepts
//! streams, and what runs a shard.
//!
//! Only what the server needs beyond tokio's own traits is here. The optimistic write is
//! [`Stream::try_write_vectored`] and not `poll_write_vectored`: polling spends tokio's cooperative
//! budget, and a sweep over more than some 128 connections would then see full sockets where there
//! are none.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};

use crate::tls::Certificates;

/// How long the kernel may try to get rid of what was written to a stream that is dropped.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// How sockets are set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Bytes of the kernel's send buffer (`SO_SNDBUF`); 0: as the kernel has it.
    pub send_buffer: usize,
    /// Bytes in it that are not sent yet, from which on it is full (`TCP_NOTSENT_LOWAT`); 0: as the kernel
    /// has it.
    pub send_unsent: usize,
}

/// What comes before HTTP on a stream.
#[derive(Clone, Copy, Debug)]
pub struct Prelude<'a> {
    /// The other side is a proxy, which first says whom it speaks for (PROXY protocol, version 2).
    pub is_proxied: bool,
    /// What to shake hands for TLS with; `None`: there is none.
    pub tls: Option<&'a Certificates>,
}

/// The parts of a [`Prelude`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// The header of a proxy.
    Proxy,
    /// The handshake of TLS.
    Tls,
}

/// A stream on which what comes before HTTP failed, to be closed in good order.
#[derive(Debug)]
pub struct Unestablished<S> {
    /// What failed.
    pub layer: Layer,
    /// How: `InvalidData` is the other side's fault, anything else is the end of the stream.
    pub error: io::Error,
    /// The stream, without TLS.
    pub stream: S,
}

impl<S> Unestablished<S> {
    pub(crate) fn new(layer: Layer, error: io::Error, stream: S) -> Self {
        Self {
            layer,
            error,
            stream,
        }
    }
}

/// A byte stream with a client.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// The stream on its way from the acceptor to its shard, tied to no runtime.
    type Detached: Send + 'static;

    /// Brings a stream into this runtime.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn attach(detached: Self::Detached) -> io::Result<Self>;

    /// The address of the other side.
    ///
    /// # Errors
    /// When the other side has gone already.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Writes what fits now, without waiting and without touching the task's budget.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; anything else is the end of the stream.
    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ready when a stream that was full can take bytes again; else the task is woken then.
    ///
    /// # Errors
    /// When the stream has failed.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// How long its thread was busy with so many writes, beyond what the clock shows. Time stands still in a
    /// simulation while something runs, and writes would take none.
    #[must_use]
    fn busy(writes: usize) -> Duration {
        let _ = writes;
        Duration::ZERO
    }

    /// The stream is about to be dropped. What is written and not yet taken is given up after `patience`; zero:
    /// at once, with a reset. A kernel would keep it for minutes, for a client that does not read, and count it
    /// as this server's memory.
    fn forget_after(&self, patience: Duration) {
        let _ = patience;
    }

    /// Does what comes before HTTP. A stream that has no such thing, as in a simulation, is done.
    ///
    /// # Errors
    /// What the other side sent is not what was to come, or the stream ended.
    fn establish(
        self,
        prelude: Prelude<'_>,
    ) -> impl Future<Output = Result<Self, Unestablished<Self>>> {
        let _ = prelude;
        async { Ok(self) }
    }

    /// The other side is a proxy and speaks for this client, whose address [`Self::peer_addr`] gives
    /// from now on, where the stream keeps it.
    #[must_use]
    fn speaks_for(self, client: SocketAddr) -> Self {
        let _ = client;
        self
    }

    /// Whether the other side, a proxy that has just said for whom it is, is there for nobody but itself. A
    /// stream that does not keep that is believed to be for somebody else.
    fn speaks_for_itself(&self) -> bool {
        false
    }
}

/// What accepts streams.
pub trait Listener: Send + 'static {
    /// What it accepts.
    type Stream: Stream;

    /// The address that it listens on.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Sets up the streams that are accepted from now on.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn tune(&mut self, tuning: &Tuning) -> io::Result<()>;

    /// The next stream, with the address of its other side.
    ///
    /// # Errors
    /// Those of accept(2): some concern one stream only, others (no more file descriptors) all.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

/// A stream that was accepted, and the address of its other side.
pub type Accepted<S> = (<S as Stream>::Detached, SocketAddr);

/// What runs a shard.
pub trait Spawn {
    /// Runs the future that `make` gives, to its end, beside the caller. The future may spawn local
    /// tasks (`tokio::task::spawn_local`).
    ///
    /// # Errors
    /// When no thread or runtime can be had.
    fn shard<F, Fut>(&self, name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static;
}

impl Stream for TcpStream {
    type Detached = std::net::TcpStream;

    fn attach(detached: Self::Detached) -> io::Result<Self> {
        Self::from_std(detached)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Self::peer_addr(self)
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            // send(2) does less than writev(2) on its way to the socket.
            [slice] => self.try_write(slice),
            slices => Self::try_write_vectored(self, slices),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_write_ready(self, cx)
    }

    fn forget_after(&self, patience: Duration) {
        let socket = SockRef::from(self);
        // Where it fails, the connection has ended already.
        let _ = match patience.is_zero() {
            true => socket.set_linger(Some(Duration::ZERO)),
            false => socket.set_tcp_user_timeout(Some(patience)),
        };
    }
}

/// Accepts TCP streams. They are tied to no runtime until their shard has them, so that the acceptor's
/// own does not take note of each and forget it again.
#[derive(Debug)]
pub struct Acceptor {
    listener: AsyncFd<std::net::TcpListener>,
}

impl Acceptor {
    /// Accepts what a listening socket has.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // Deprecated for types whose descriptor may change under it; that of a listener does not.
        #[allow(deprecated, reason = "its successor is unsafe to call")]
        let listener = AsyncFd::with_interest(listener, Interest::READABLE)?;
        Ok(Self { listener })
    }
}

impl Listener for Acceptor {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }

    /// On the listening socket: Linux gives what is set there to the sockets that it accepts (tcp(7),
    /// socket(7)), which saves three system calls for each.
    fn tune(&mut self, tuning: &Tuning) -> io::Result<()> {
        let socket = SockRef::from(self.listener.get_ref());
        socket.set_tcp_nodelay(true)?;
        if tuning.send_buffer > 0 {
            socket.set_send_buffer_size(tuning.send_buffer)?;
        }
        if tuning.send_unsent > 0 {
            let unsent = u32::try_from(tuning.send_unsent).unwrap_or(u32::MAX);
            socket.set_tcp_notsent_lowat(unsent)?;
        }
        Ok(())
    }

    async fn accept(&mut self) -> io::Result<Accepted<TcpStream>> {
        loop {
            let mut ready = self.listener.readable().await?;
            if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref())) {
                return accepted;
            }
        }
    }
}

/// Accepts without waiting.
fn accept(listener: &std::net::TcpListener) -> io::Result<Accepted<TcpStream>> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket.into(), peer))
}

/// Each shard on a thread of its own, with a runtime of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Spawn for Threads {
    fn shard<F, Fut>(&self, name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        // The runtime cannot leave its thread, so whether it could be had is heard from there.
        let (had, hears) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // A `LocalSet` would be woken through a file descriptor by each task that a socket wakes.
                // The shard's loop is no task, for tasks take turns: it comes after every 61 of them
                // (tokio's `event_interval`), so that answers do not pile up while all clients talk.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                // Who asked waits for the answer.
                match runtime {
                    Ok(runtime) => {
                        let _ = had.send(Ok(()));
                        runtime.block_on(make());
                    }
                    Err(error) => {
                        let _ = had.send(Err(error));
                    }
                }
            })?;
        hears.recv().map_err(io::Error::other)?
    }
}

/// Opens the server's TCP listener.
///
/// # Errors
/// When the address is taken or not of this machine.
pub fn bind(addr: SocketAddr) -> io::Result<Acceptor> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    Acceptor::new(socket.into())
}

/// Connections that the kernel holds for the acceptor. The kernel cuts it to `somaxconn`.
const ACCEPT_BACKLOG: i32 = 4096;

/// Raises the limit of open files to what this process may have, and gives the limit that holds then.
#[must_use]
pub fn raise_fd_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: found.maximum,
        maximum: found.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
    // `None` is "no limit"; what then holds is the machine's memory.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
