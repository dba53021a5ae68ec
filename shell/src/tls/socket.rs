//! A TCP socket with TLS on it, after the handshake.
//!
//! Reading and what HTTP writes is tokio-rustls. The shard's own writes are here, because what the
//! shard is told was written must be what the kernel has: a client that does not read must show, and
//! must cost no memory beside the kernel's.
//!
//! Encrypted is at most one record ahead of the socket. While a part of it waits, nothing more is taken,
//! and one byte of what went into it is not reported: so the frame that this byte ends is, for the
//! shard, a frame that is partly written, which it repeats from there and drops for nothing else. When
//! the record has gone, that byte is taken without being encrypted once more.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use odin_core::shard::Shard;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;

/// The most bytes that go into one record (RFC 8446 5.1), and so the most that wait encrypted.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// A TCP socket with TLS on it.
#[derive(Debug)]
pub(crate) struct TlsSocket {
    stream: TlsStream<TcpStream>,
    /// The last byte that was encrypted has not been reported as taken.
    owes: bool,
}

impl TlsSocket {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream,
            owes: false,
        }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    /// As [`crate::listener::Stream::try_write_vectored`]. After a short write the next call must begin
    /// with the bytes that were not taken, as far as they belong to a slice of which some were.
    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let (tcp, tls) = self.stream.get_mut();
        if !flush(tcp, tls)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut rest = [IoSlice::new(&[]); Shard::SLICES_MAX];
        let count = slices.len().min(rest.len());
        rest[..count].copy_from_slice(&slices[..count]);
        let mut rest = &mut rest[..count];
        let mut taken = 0;
        if self.owes && slices.iter().any(|slice| !slice.is_empty()) {
            IoSlice::advance_slices(&mut rest, 1);
            self.owes = false;
            taken = 1;
        }
        loop {
            let (record, bytes) = record(rest);
            if bytes == 0 {
                break;
            }
            let encrypted = tls.writer().write_vectored(&record[..])?;
            if encrypted != bytes {
                return Err(io::Error::other("a record was not taken whole"));
            }
            taken += bytes;
            IoSlice::advance_slices(&mut rest, bytes);
            if !flush(tcp, tls)? {
                self.owes = true;
                taken -= 1;
                break;
            }
        }
        match taken {
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }
}

/// The slices of the next record, and how many bytes they have. It ends where a slice ends or behind
/// the second byte of one, so that the byte before its last is of the same slice.
fn record<'a>(rest: &'a [IoSlice<'_>]) -> ([IoSlice<'a>; Shard::SLICES_MAX], usize) {
    let mut record = [IoSlice::new(&[]); Shard::SLICES_MAX];
    let mut bytes = 0;
    for (place, slice) in record.iter_mut().zip(rest) {
        let slice: &'a [u8] = slice;
        let room = RECORD_BYTES_MAX - bytes;
        if room < slice.len() {
            if room > 1 {
                *place = IoSlice::new(&slice[..room]);
                bytes += room;
            }
            break;
        }
        *place = IoSlice::new(slice);
        bytes += slice.len();
    }
    (record, bytes)
}

/// Gives the socket what is encrypted; whether it took all of it.
fn flush(tcp: &TcpStream, tls: &mut ServerConnection) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut Direct(tcp)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes what fits now, without touching the task's budget.
struct Direct<'a>(&'a TcpStream);

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says the end (RFC 8446 6.1) where the socket has room for it now, and ends the write side.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (tcp, tls) = self.stream.get_mut();
        tls.send_close_notify();
        // A client that does not read is not waited for.
        flush(tcp, tls)?;
        Pin::new(tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::{RECORD_BYTES_MAX, record};

    #[test]
    fn a_record_ends_behind_a_slice_or_behind_its_second_byte() {
        const MAX: usize = RECORD_BYTES_MAX;
        for (lengths, expected) in [
            (&[][..], 0),
            (&[0], 0),
            (&[1], 1),
            (&[10, 20], 30),
            (&[MAX], MAX),
            (&[MAX + 1], MAX),
            (&[MAX, 5], MAX),
            (&[MAX - 1, 5], MAX - 1),
            (&[MAX - 1, 1, 5], MAX),
            (&[MAX - 2, 5], MAX),
            (&[MAX - 1, 0, 5], MAX - 1),
        ] {
            let bytes = vec![0; 2 * MAX];
            let slices: Vec<_> = lengths.iter().map(|&n| IoSlice::new(&bytes[..n])).collect();
            let (record, count) = record(&slices);
            assert_eq!(count, expected, "{lengths:?}");
            let sum: usize = record.iter().map(|slice| slice.len()).sum();
            assert_eq!(sum, expected, "{lengths:?}");
        }
    }
}
