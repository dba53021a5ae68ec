//! What comes before HTTP on a socket: the header of a proxy and the handshake of TLS, in the time that a
//! handshake has.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::Peer;
use super::linger;
use crate::listener::{Layer, Prelude, Stream, Unestablished};
use crate::server::counters::Broken;
use crate::server::shared::{Entrance, Shared};

/// A socket on which HTTP may begin.
pub(super) struct Begun<S> {
    pub(super) stream: S,
    pub(super) peer: Peer,
    /// What is left of the time for the first request's head; `None`: there is no limit.
    pub(super) time_left: Option<Duration>,
}

/// Does what comes before HTTP on a socket from `peer`. `None`: it failed, was counted, and the socket
/// is closed.
pub(super) async fn run<S: Stream>(
    shared: &Shared,
    entrance: Entrance,
    stream: S,
    peer: SocketAddr,
) -> Option<Begun<S>> {
    let settings = &shared.settings;
    let timeout = settings.handshake_timeout;
    let time = (!timeout.is_zero()).then_some(timeout);
    let is_proxy = settings.is_proxy(peer.ip());
    let is_proxied = settings.proxy_protocol && is_proxy;
    let tls = shared.certificates.as_deref();
    if entrance == Entrance::Admin || (!is_proxied && tls.is_none()) {
        let addr = peer;
        return Some(Begun {
            stream,
            peer: Peer { addr, is_proxy },
            time_left: time,
        });
    }
    let begun = Instant::now();
    let establish = stream.establish(Prelude { is_proxied, tls });
    let established = match time {
        Some(time) => tokio::time::timeout(time, establish).await,
        None => Ok(establish.await),
    };
    let stream = match established {
        Ok(Ok(stream)) => stream,
        Ok(Err(failed)) => {
            give_up(shared, peer, failed).await;
            return None;
        }
        Err(_) => {
            shared.counters.broke(Broken::Timeout);
            return None;
        }
    };
    let Ok(addr) = stream.peer_addr() else {
        shared.counters.broke(Broken::Transport);
        return None;
    };
    let left = |time: Duration| time.saturating_sub(begun.elapsed());
    let is_proxy = is_proxy && !(is_proxied && stream.speaks_for_itself());
    Some(Begun {
        stream,
        peer: Peer { addr, is_proxy },
        time_left: time.map(left),
    })
}

/// Counts the failure and closes the socket such that the client can read TLS's own farewell.
async fn give_up<S: Stream>(shared: &Shared, peer: SocketAddr, failed: Unestablished<S>) {
    let Unestablished {
        layer,
        error,
        stream,
    } = failed;
    tracing::debug!(%error, %peer, ?layer, "no HTTP");
    shared.counters.broke(match (error.kind(), layer) {
        (ErrorKind::InvalidData, Layer::Proxy) => Broken::Proxy,
        (ErrorKind::InvalidData, Layer::Tls) => Broken::Tls,
        _ => Broken::Transport,
    });
    linger(stream).await;
}
