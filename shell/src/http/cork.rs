//! A stream that keeps back the response which upgrades it, so that it and the connection's first frame
//! are one write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Exchange;
use crate::listener::Stream;
use crate::server::shared::Talk;

/// A stream under HTTP. From the moment at which its exchange has a permit, what is written is kept.
pub(super) struct Corked<S> {
    stream: S,
    exchange: Rc<Exchange>,
}

impl<S> Corked<S> {
    pub(super) fn new(stream: S, exchange: Rc<Exchange>) -> Self {
        Self { stream, exchange }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Keeps these bytes, if it is time to; their number.
    fn keep<'a>(&self, slices: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
        self.exchange.permit.borrow().as_ref()?;
        if self.exchange.shared.talk == Talk::Echo {
            // Nobody is welcomed, so that there is no first write.
            return None;
        }
        let mut kept = self.exchange.kept.borrow_mut();
        let before = kept.len();
        slices.for_each(|slice| kept.extend_from_slice(slice));
        Some(kept.len() - before)
    }
}

impl<S: Stream> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Stream> AsyncWrite for Corked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.keep([bytes].into_iter()) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.keep(slices.iter().map(|slice| &**slice)) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
