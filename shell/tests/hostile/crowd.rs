//! Many sockets that do the same at once, and when the server got rid of them.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common;

/// How long a socket waits for its end.
const PATIENCE: Duration = Duration::from_secs(40);

/// How a socket ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct End {
    /// All that came before.
    pub(crate) bytes: Vec<u8>,
    /// How long it took.
    pub(crate) after: Duration,
}

/// The times within which sockets ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spent {
    pub(crate) first: Duration,
    pub(crate) last: Duration,
}

impl Spent {
    pub(crate) fn of(ends: &[End]) -> Self {
        let times = ends.iter().map(|end| end.after);
        Self {
            first: times.clone().min().unwrap_or_default(),
            last: times.max().unwrap_or_default(),
        }
    }

    /// None ended before `earliest`, and none after `latest`.
    #[track_caller]
    pub(crate) fn within(self, earliest: Duration, latest: Duration) -> Self {
        assert!(self.first >= earliest, "{self}, which is too early");
        assert!(self.last <= latest, "{self}, which is too late");
        self
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.as_secs_f64(), self.last.as_secs_f64());
        write!(f, "closed after {first:.2} to {last:.2} s")
    }
}

/// Does the same so many times at once.
pub(crate) async fn crowd<F, Fut>(count: u64, act: F) -> Vec<Fut::Output>
where
    F: Fn(u64) -> Fut,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    let acts: Vec<_> = (0..count).map(|n| tokio::spawn(act(n))).collect();
    let done = join_all(acts).await;
    done.into_iter()
        .map(|done| done.expect("each of the crowd does its part"))
        .collect()
}

/// A connection whose receive buffer has so many bytes; 0: as the kernel has it.
pub(crate) async fn connect(addr: SocketAddr, buffer: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if buffer > 0 {
        socket.set_recv_buffer_size(buffer).expect("a buffer");
    }
    let stream = socket.connect(addr).await.expect("the server accepts");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A connection that is upgraded, after its welcome.
pub(crate) async fn upgraded(addr: SocketAddr, buffer: u32) -> TcpStream {
    let mut stream = connect(addr, buffer).await;
    let upgrade = common::request(&common::upgrade_lines(addr));
    stream.write_all(upgrade.as_bytes()).await.expect("send");
    let answer = common::answer(&mut stream, false).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(common::message(&mut stream).await["type"], "welcome");
    stream
}

/// Reads until the server ends the connection.
pub(crate) async fn end<S: AsyncRead + Unpin>(stream: &mut S, since: Instant) -> End {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset is an end as well.
    let _ = read.expect("the server ends the connection");
    End {
        bytes,
        after: since.elapsed(),
    }
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("a socket option");
    drop(stream);
}
