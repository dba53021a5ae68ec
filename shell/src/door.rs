//! The server's own sockets: TCP, with what may come before HTTP on it.
//!
//! A [`Socket`] is bare from the accept to its shard, where [`Stream::establish`] reads the header of a
//! proxy and shakes hands for TLS, so that all work for a connection is done on its shard's thread.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::listener::{
    Accepted, Acceptor, Layer, Listener, Prelude, Stream, Tuning, Unestablished,
};
use crate::proxy::{self, Party};
use crate::tls::TlsSocket;

/// Accepts [`Socket`]s on TCP.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Acceptor);

impl Listener for Door {
    type Stream = Socket;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn tune(&mut self, tuning: &Tuning) -> io::Result<()> {
        self.0.tune(tuning)
    }

    async fn accept(&mut self) -> io::Result<Accepted<Socket>> {
        self.0.accept().await
    }
}

/// A TCP socket. A server has very many of them, most of them plain, so what others have beside the socket
/// is apart.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    /// Of a proxy that speaks for somebody.
    Proxied(Box<(TcpStream, Party)>),
    /// With TLS, maybe of such a proxy as well.
    Tls(Box<(TlsSocket, Party)>),
}

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Proxied(proxied) => &proxied.0,
            Self::Tls(tls) => tls.0.tcp(),
        }
    }

    /// For whom the other side speaks.
    fn party(&self) -> Party {
        match self {
            Self::Plain(_) => Party::Own,
            Self::Proxied(proxied) => proxied.1,
            Self::Tls(tls) => tls.1,
        }
    }

    fn with(self, party: Party) -> Self {
        match self {
            Self::Plain(tcp) if party == Party::Own => Self::Plain(tcp),
            Self::Plain(tcp) => Self::Proxied(Box::new((tcp, party))),
            Self::Proxied(mut proxied) => {
                proxied.1 = party;
                Self::Proxied(proxied)
            }
            Self::Tls(mut tls) => {
                tls.1 = party;
                Self::Tls(tls)
            }
        }
    }
}

/// The layer that reads and writes.
macro_rules! layer {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Plain(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Socket::Proxied(proxied) => {
                let $stream = Pin::new(&mut proxied.0);
                $call
            }
            Socket::Tls(tls) => {
                let $stream = Pin::new(&mut tls.0);
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

    fn attach(detached: Self::Detached) -> io::Result<Self> {
        TcpStream::from_std(detached).map(Self::Plain)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        let client = self.party().address();
        client.map_or_else(|| self.tcp().peer_addr(), Ok)
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => Stream::try_write_vectored(tcp, slices),
            Self::Proxied(proxied) => Stream::try_write_vectored(&mut proxied.0, slices),
            Self::Tls(tls) => tls.0.try_write_vectored(slices),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where TLS has something left to send, the next write begins with that.
        self.tcp().poll_write_ready(cx)
    }

    fn forget_after(&self, patience: Duration) {
        self.tcp().forget_after(patience);
    }

    async fn establish(mut self, prelude: Prelude<'_>) -> Result<Self, Unestablished<Self>> {
        if prelude.is_proxied {
            match proxy::read(&mut self).await {
                Ok(party) => self = self.with(party),
                Err(error) => return Err(Unestablished::new(Layer::Proxy, error, self)),
            }
        }
        let Some(certificates) = prelude.tls else {
            return Ok(self);
        };
        let party = self.party();
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Proxied(proxied) => proxied.0,
            Self::Tls(_) => return Ok(self),
        };
        match certificates.acceptor().accept(tcp).into_fallible().await {
            Ok(stream) => Ok(Self::Tls(Box::new((TlsSocket::new(stream), party)))),
            Err((error, tcp)) => {
                let stream = Self::Plain(tcp);
                Err(Unestablished::new(Layer::Tls, error, stream))
            }
        }
    }

    fn speaks_for(self, client: SocketAddr) -> Self {
        self.with(Party::Client(client))
    }

    fn speaks_for_itself(&self) -> bool {
        self.party() == Party::Own
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::Socket;

    /// Most sockets are plain, and the shard's loop goes through all of them.
    #[test]
    fn a_socket_takes_no_more_than_tcp() {
        assert_eq!(size_of::<Socket>(), size_of::<TcpStream>());
    }
}
