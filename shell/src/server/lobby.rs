//! The sockets of a listener that are no WebSocket connection (yet): how many there may be, and who has
//! to go when there is one more.
//!
//! Who keeps the server waiting for a request stands in a line, in the order in which the waiting began. One more
//! than the limit sends the first of the line away. So sockets that stall cannot take the places of those that
//! come after them: whoever sends its request before so many others have come is served. Whose request is being
//! answered is not in the line, nor is a socket that its shard has not begun with: of these there are few, as the
//! acceptor waits, and the kernel's own queue is where the others stand.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All sockets of a lobby together, as a multiple of those that may wait: also those whose request is
/// being answered, and those that were sent away and are not gone yet.
const INSIDE_PER_WAITING: usize = 2;

/// Sockets that were accepted and that their shards have not begun with. Were there more than may stand in
/// the line, sockets would be sent away before anybody had looked at them.
const STARTING_MAX: usize = 256;

/// Where sockets wait for their request.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// The most sockets in the line; 0: no limit.
    limit: usize,
    inside: AtomicUsize,
    starting: AtomicUsize,
    /// Told when a shard begins with a socket.
    started: Notify,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// The next place, never given twice.
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Lobby {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            inside: AtomicUsize::new(0),
            starting: AtomicUsize::new(0),
            started: Notify::new(),
            line: Mutex::default(),
        }
    }

    /// Ready when the shards keep up.
    pub(crate) async fn keeps_up(&self) {
        while self.starting.load(Ordering::Relaxed) >= STARTING_MAX {
            let started = self.started.notified();
            if self.starting.load(Ordering::Relaxed) >= STARTING_MAX {
                started.await;
            }
        }
    }

    /// Lets a socket in; `None`: there are too many, even of those that do not wait.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Ticket> {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed);
        self.starting.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            lobby: Arc::clone(self),
            bell: Arc::default(),
            stage: Cell::new(Stage::Starting),
        };
        let is_full = self.limit > 0 && inside >= self.limit.saturating_mul(INSIDE_PER_WAITING);
        (!is_full).then_some(ticket)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is whole after every call, also one that panicked.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a socket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Its shard has not begun with it.
    Starting,
    /// At this place of the line.
    Waiting(u64),
    /// Its request is being answered.
    Served,
}

/// A socket's place in a lobby, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    lobby: Arc<Lobby>,
    bell: Arc<Notify>,
    stage: Cell<Stage>,
}

impl Ticket {
    /// From now on the socket keeps the server waiting: it goes to the end of the line. Whether the first of the
    /// line was sent away for it.
    pub(crate) fn wait(&self) -> bool {
        self.serve();
        let mut line = self.lobby.line();
        let place = line.next;
        line.next += 1;
        line.waiting.insert(place, Arc::clone(&self.bell));
        self.stage.set(Stage::Waiting(place));
        let limit = self.lobby.limit;
        if limit == 0 || line.waiting.len() <= limit {
            return false;
        }
        let first = line.waiting.pop_first();
        drop(line);
        if let Some((_, bell)) = first {
            bell.notify_one();
        }
        true
    }

    /// From now on the server keeps the socket waiting.
    pub(crate) fn serve(&self) {
        match self.stage.replace(Stage::Served) {
            Stage::Starting => {
                let before = self.lobby.starting.fetch_sub(1, Ordering::Relaxed);
                if before == STARTING_MAX {
                    self.lobby.started.notify_one();
                }
            }
            Stage::Waiting(place) => {
                self.lobby.line().waiting.remove(&place);
            }
            Stage::Served => {}
        }
    }

    /// Ready when the socket has to go.
    pub(crate) async fn sent_away(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.serve();
        self.lobby.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Lobby, STARTING_MAX, Ticket};

    /// A socket that has begun to wait, and whether another one was sent away for it.
    fn enter(lobby: &Arc<Lobby>) -> (Ticket, bool) {
        let ticket = lobby.enter().expect("there is room");
        let instead = ticket.wait();
        (ticket, instead)
    }

    async fn is_ready(future: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = future => true,
            () = std::future::ready(()) => false,
        }
    }

    async fn is_sent_away(ticket: &Ticket) -> bool {
        is_ready(ticket.sent_away()).await
    }

    #[tokio::test]
    async fn who_has_waited_for_the_longest_time_goes_first() {
        let lobby = Arc::new(Lobby::new(3));
        let (first, _) = enter(&lobby);
        let (second, _) = enter(&lobby);
        let (third, instead) = enter(&lobby);
        assert!(!instead);
        // It was answered, and begins to wait anew.
        first.serve();
        assert!(!first.wait());
        let (fourth, instead) = enter(&lobby);
        assert!(instead);
        assert!(is_sent_away(&second).await);
        // A place that is given back is there for the next one.
        drop(third);
        let (fifth, instead) = enter(&lobby);
        assert!(!instead);
        for ticket in [&first, &fourth, &fifth] {
            assert!(!is_sent_away(ticket).await);
        }
    }

    #[tokio::test]
    async fn who_is_being_answered_stays_and_has_its_place() {
        let lobby = Arc::new(Lobby::new(2));
        let (served, _) = enter(&lobby);
        served.serve();
        let (waits, _) = enter(&lobby);
        let (_third, instead) = enter(&lobby);
        assert!(!instead, "two wait");
        let (fourth, instead) = enter(&lobby);
        assert!(instead);
        assert!(is_sent_away(&waits).await && !is_sent_away(&served).await);
        // Four are inside: twice the limit.
        assert!(lobby.enter().is_none());
        drop(waits);
        assert!(lobby.enter().is_some());
        assert!(!is_sent_away(&fourth).await);
    }

    #[tokio::test]
    async fn without_a_limit_nobody_goes() {
        let lobby = Arc::new(Lobby::new(0));
        let tickets: Vec<Ticket> = (0..100).map(|_| enter(&lobby).0).collect();
        for ticket in &tickets {
            assert!(!is_sent_away(ticket).await);
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_faster_than_the_shards_begin() {
        let lobby = Arc::new(Lobby::new(0));
        let mut tickets: Vec<Ticket> = Vec::new();
        while is_ready(lobby.keeps_up()).await {
            tickets.extend(lobby.enter());
        }
        assert_eq!(tickets.len(), STARTING_MAX);
        tickets[0].wait();
        assert!(is_ready(lobby.keeps_up()).await);
        tickets.extend(lobby.enter());
        assert!(!is_ready(lobby.keeps_up()).await);
        // One that goes before anybody began with it makes room as well.
        tickets.pop();
        assert!(is_ready(lobby.keeps_up()).await);
    }
}
