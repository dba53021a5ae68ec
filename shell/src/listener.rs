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

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::tls::Certificates;

/// How a socket is set up once its shard has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Bytes of the kernel's send buffer (`SO_SNDBUF`); 0: as the kernel has it.
    pub send_buffer: usize,
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

    /// Takes the stream out of this runtime.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn detach(self) -> io::Result<Self::Detached>;

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

    /// Sets the stream up.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn tune(&self, tuning: &Tuning) -> io::Result<()>;

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

    /// The next stream, with the address of its other side.
    ///
    /// # Errors
    /// Those of accept(2): some concern one stream only, others (no more file descriptors) all.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

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

    fn detach(self) -> io::Result<Self::Detached> {
        self.into_std()
    }

    fn attach(detached: Self::Detached) -> io::Result<Self> {
        Self::from_std(detached)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Self::peer_addr(self)
    }

    fn tune(&self, tuning: &Tuning) -> io::Result<()> {
        self.set_nodelay(true)?;
        if tuning.send_buffer > 0 {
            SockRef::from(self).set_send_buffer_size(tuning.send_buffer)?;
        }
        Ok(())
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::try_write_vectored(self, slices)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_write_ready(self, cx)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async move { make().await });
            })
            .map(drop)
    }
}

/// Opens the server's TCP listener.
///
/// # Errors
/// When the address is taken or not of this machine.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(ACCEPT_BACKLOG)
}

/// Connections that the kernel holds for the acceptor. The kernel cuts it to `somaxconn`.
const ACCEPT_BACKLOG: u32 = 4096;

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
