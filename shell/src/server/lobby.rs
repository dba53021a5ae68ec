//! The sockets of a listener that are no WebSocket connection (yet): how many there may be, and who has
//! to go when there is one more.
//!
//! Who keeps the server waiting for a request stands in a line, in the order in which the waiting began. One more
//! than the limit sends the first of the line away. So sockets that stall cannot take the places of those that
//! come after them: whoever sends its request before so many others have come is served. Whose request is being
//! answered is not in the line.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All sockets of a lobby together, as a multiple of those that may wait: also those whose request is
/// being answered, and those that were sent away and are not gone yet.
const INSIDE_PER_WAITING: usize = 2;

/// Where sockets wait for their request.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// The most sockets in the line; 0: no limit.
    limit: usize,
    inside: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// The next place, never given twice.
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// What became of a socket that was to enter.
#[derive(Debug)]
pub(crate) enum Entered {
    /// It is inside.
    In(Ticket),
    /// So is this one, and another one was sent away for it.
    Instead(Ticket),
    /// There are too many, even of those that were sent away.
    Full,
}

impl Lobby {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            inside: AtomicUsize::new(0),
            line: Mutex::default(),
        }
    }

    /// Lets a socket in, at the end of the line.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            lobby: Arc::clone(self),
            bell: Arc::default(),
            place: Cell::new(None),
        };
        if self.limit > 0 && inside >= self.limit.saturating_mul(INSIDE_PER_WAITING) {
            return Entered::Full;
        }
        match ticket.wait() {
            true => Entered::Instead(ticket),
            false => Entered::In(ticket),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is whole after every call, also one that panicked.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket's place in a lobby, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    lobby: Arc<Lobby>,
    bell: Arc<Notify>,
    /// In the line; `None`: its request is being answered.
    place: Cell<Option<u64>>,
}

impl Ticket {
    /// From now on the socket keeps the server waiting: it goes to the end of the line. Whether the first of the
    /// line was sent away for it.
    pub(crate) fn wait(&self) -> bool {
        let mut line = self.lobby.line();
        if let Some(before) = self.place.take() {
            line.waiting.remove(&before);
        }
        let place = line.next;
        line.next += 1;
        line.waiting.insert(place, Arc::clone(&self.bell));
        self.place.set(Some(place));
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
        if let Some(place) = self.place.take() {
            self.lobby.line().waiting.remove(&place);
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

    use super::{Entered, Lobby, Ticket};

    fn enter(lobby: &Arc<Lobby>) -> (Ticket, bool) {
        match lobby.enter() {
            Entered::In(ticket) => (ticket, false),
            Entered::Instead(ticket) => (ticket, true),
            Entered::Full => panic!("there is room"),
        }
    }

    async fn is_sent_away(ticket: &Ticket) -> bool {
        tokio::select! {
            biased;
            () = ticket.sent_away() => true,
            () = std::future::ready(()) => false,
        }
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
        assert!(matches!(lobby.enter(), Entered::Full));
        drop(waits);
        assert!(matches!(lobby.enter(), Entered::Instead(_)));
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
}
