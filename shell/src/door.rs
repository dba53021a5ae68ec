//! The server's own sockets: TCP, with what may come before HTTP on it.
//!
//! A [`Socket`] is bare from the accept to its shard, where [`Stream::establish`] reads the header of a
//! proxy and shakes hands for TLS, so that all work for a connection is done on its shard's thread.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::listener::{Layer, Listener, Prelude, Stream, Tuning, Unestablished};
use crate::proxy;
use crate::tls::TlsSocket;

/// Accepts [`Socket`]s on TCP.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) TcpListener);

impl Listener for Door {
    type Stream = Socket;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        let (tcp, peer) = self.0.accept().await?;
        Ok((Socket::plain(tcp), peer))
    }
}

/// A TCP socket, with TLS or without.
#[derive(Debug)]
pub(crate) struct Socket {
    layers: Layers,
    /// For whom a proxy speaks. Boxed, as few have one and a server has very many sockets.
    client: Option<Box<SocketAddr>>,
}

#[derive(Debug)]
enum Layers {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
}

impl Socket {
    fn plain(tcp: TcpStream) -> Self {
        Self {
            layers: Layers::Plain(tcp),
            client: None,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.layers {
            Layers::Plain(tcp) => tcp,
            Layers::Tls(tls) => tls.tcp(),
        }
    }
}

/// The layer that reads and writes.
macro_rules! layer {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().layers {
            Layers::Plain(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Layers::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        layer!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        layer!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        layer!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        layer!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        layer!(self, stream => stream.poll_shutdown(cx))
    }
}

impl Stream for Socket {
    type Detached = std::net::TcpStream;

    fn detach(self) -> io::Result<Self::Detached> {
        match self.layers {
            Layers::Plain(tcp) => tcp.into_std(),
            Layers::Tls(_) => Err(io::Error::other("TLS stays where it began")),
        }
    }

    fn attach(detached: Self::Detached) -> io::Result<Self> {
        TcpStream::from_std(detached).map(Self::plain)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.client {
            Some(client) => Ok(**client),
            None => self.tcp().peer_addr(),
        }
    }

    fn tune(&self, tuning: &Tuning) -> io::Result<()> {
        self.tcp().tune(tuning)
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.layers {
            Layers::Plain(tcp) => tcp.try_write_vectored(slices),
            Layers::Tls(tls) => tls.try_write_vectored(slices),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where TLS has something left to send, the next write begins with that.
        self.tcp().poll_write_ready(cx)
    }

    async fn establish(mut self, prelude: Prelude<'_>) -> Result<Self, Unestablished<Self>> {
        if prelude.is_proxied {
            match proxy::read(&mut self).await {
                Ok(Some(client)) => self.speaks_for(client),
                Ok(None) => {}
                Err(error) => return Err(Unestablished::new(Layer::Proxy, error, self)),
            }
        }
        let (client, layers) = (self.client, self.layers);
        let (tcp, certificates) = match (layers, prelude.tls) {
            (Layers::Plain(tcp), Some(certificates)) => (tcp, certificates),
            (layers, _) => return Ok(Self { layers, client }),
        };
        match certificates.acceptor().accept(tcp).into_fallible().await {
            Ok(stream) => Ok(Self {
                layers: Layers::Tls(Box::new(TlsSocket::new(stream))),
                client,
            }),
            Err((error, tcp)) => {
                let stream = Self::plain(tcp);
                Err(Unestablished::new(Layer::Tls, error, stream))
            }
        }
    }

    fn speaks_for(&mut self, client: SocketAddr) {
        self.client = Some(Box::new(client));
    }
}
