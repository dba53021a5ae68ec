//! The acceptor: hands each socket to the shard with the fewest of them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::counters::Broken;
use super::shared::{Entrance, Shared};
use crate::driver::{Command, Handoff};
use crate::listener::{Listener, Stream};

/// How long the acceptor waits after an error that concerns every accept, such as no more file
/// descriptors: sockets close meanwhile.
const BACKOFF: Duration = Duration::from_millis(50);

/// The ways of sockets to the shards.
pub(crate) type Doors<L> =
    Vec<UnboundedSender<Command<<<L as Listener>::Stream as Stream>::Detached>>>;

/// Accepts for ever.
pub(crate) async fn run<L: Listener>(
    mut listener: L,
    entrance: Entrance,
    shared: Arc<Shared>,
    doors: Doors<L>,
) {
    let mut failing = false;
    loop {
        shared.keeps_up(entrance).await;
        match listener.accept().await {
            Ok((socket, peer)) => {
                failing = false;
                let Some(handshake) = shared.handshake(entrance) else {
                    continue;
                };
                let (shard, seat) = shared.seat();
                let handoff = Handoff {
                    socket,
                    peer,
                    seat,
                    handshake,
                };
                // A shard that has ended takes nothing; the server is about to end as well.
                let _ = doors[shard].send(Command::Socket(handoff));
            }
            Err(error) => {
                shared.counters.broke(Broken::Transport);
                if !concerns_one_socket(&error) {
                    if !failing {
                        tracing::warn!(%error, "cannot accept, and will try again");
                    }
                    failing = true;
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
    }
}

/// Whether the error is about the one connection that was to be accepted (accept(2)).
fn concerns_one_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
