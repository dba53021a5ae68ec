//! The core's shard and the sockets of its connections, and what is done with them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use odin_core::history::Fetch;
use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::shard::{Input, Output, Shard};
use odin_core::time::Instant;

use crate::auth::{Accepted, Auth};
use crate::connection::Parser;
use crate::listener::{FAREWELL, Stream};
use crate::metrics::{Client, ShardSnapshot};
use crate::overview::WORST_MAX;
use crate::server::shared::{Shared, Talk};

/// Connections that are written to before the loop lets the tasks of its thread run.
const FLUSH_SLICE: usize = 64;

/// Bytes read from a socket at once, into a buffer that all connections of a shard share.
const SCRATCH_BYTES: usize = 16 * 1024;

/// The close frame with code 1001 (RFC 6455 5.5.1) that a stopped server leaves behind.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];

/// A connection's socket, and what its task waits for.
struct Entry<S> {
    socket: S,
    /// Of the connection's id; its index is the entry's own.
    generation: u32,
    /// Of the connection's own task, from its first poll on.
    waker: Option<Waker>,
    /// The socket was full: the task waits for it to become writable.
    full: bool,
    /// The last byte that the socket took may be in the middle of a frame.
    midway: bool,
    /// The core did not want to read: the task waits to be woken.
    paused: bool,
    /// It is in the list of those that may be paused.
    listed: bool,
}

/// The core's shard, and the sockets of its connections.
pub(crate) struct State<S> {
    pub(crate) shard: Shard,
    /// Verifies the tokens that the core wants verified.
    auth: Option<Arc<Auth>>,
    /// The `jti` of the token that each connection was authenticated by, where it has one.
    tokens: BTreeMap<ConnId, Box<str>>,
    entries: Vec<Option<Entry<S>>>,
    /// The responses to upgrades that go out before the first frame of their connection.
    responses: Vec<(ConnId, Vec<u8>)>,
    /// How many of the entries there are.
    living: usize,
    pub(crate) scratch: Box<[u8]>,
    /// The parser for whoever begins a message.
    pub(crate) parser: Option<Box<Parser>>,
    /// Who may be paused, each once; looked through only when many may go on at once.
    paused: Vec<ConnId>,
    /// What the core wants to know of the past, until the loop asks.
    fetches: Vec<Fetch>,
    /// How often the loop has paused.
    pub(super) pauses: u64,
}

impl<S: Stream> State<S> {
    pub(super) fn new(shard: Shard, auth: Option<Arc<Auth>>) -> Self {
        Self {
            shard,
            auth,
            tokens: BTreeMap::new(),
            entries: Vec::new(),
            responses: Vec::new(),
            living: 0,
            scratch: scratch(),
            parser: None,
            paused: Vec::new(),
            fetches: Vec::new(),
            pauses: 0,
        }
    }

    /// Takes in a socket whose upgrade is done but for its response, and the token that came with it.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        talk: Talk,
        socket: S,
        response: Vec<u8>,
        accepted: Option<Accepted>,
    ) -> ConnId {
        let (id, token) = match (talk, accepted) {
            (Talk::Echo, _) => (self.shard.open_bare(now), None),
            (Talk::Protocol, None) => (self.shard.open(now), None),
            (Talk::Protocol, Some(Accepted { grant, id })) => (self.shard.open_as(now, grant), id),
        };
        if !response.is_empty() {
            self.responses.push((id, response));
        }
        if self.entries.len() <= id.index() {
            self.entries.resize_with(id.index() + 1, || None);
        }
        self.living += 1;
        self.entries[id.index()] = Some(Entry {
            socket,
            generation: id.generation(),
            waker: None,
            full: false,
            midway: false,
            paused: false,
            listed: false,
        });
        self.note_token(id, token);
        id
    }

    /// Gives the core an input and does what it then asks for, beside writing.
    pub(crate) fn input(&mut self, now: Instant, input: Input<'_>) {
        self.shard.handle(now, input);
        self.verify(now);
        self.outputs(now);
    }

    /// Verifies the tokens that came with what the core was told last.
    fn verify(&mut self, now: Instant) {
        while let Some((conn, token)) = self.shard.poll_token() {
            let Some(auth) = self.auth.clone() else {
                continue;
            };
            let input = match auth.verify(token.expose(), now) {
                Ok(Accepted { grant, id }) => {
                    if find(&mut self.entries, conn).is_some() {
                        self.note_token(conn, id);
                    }
                    Input::Authenticated { conn, grant }
                }
                Err(fault) => Input::TokenRefused { conn, fault },
            };
            self.shard.handle(now, input);
        }
    }

    fn note_token(&mut self, conn: ConnId, token: Option<Box<str>>) {
        match token {
            Some(token) => self.tokens.insert(conn, token),
            None => self.tokens.remove(&conn),
        };
    }

    /// Tells the core whose tokens have been revoked.
    pub(super) fn revoke(&mut self, now: Instant) {
        let Some(auth) = self.auth.clone() else {
            return;
        };
        let tokens = self.tokens.iter();
        let revoked = tokens.filter(|(_, token)| auth.is_revoked(token));
        let revoked: Vec<ConnId> = revoked.map(|(conn, _)| *conn).collect();
        for conn in revoked {
            self.input(now, Input::Revoked { conn });
        }
    }

    /// The connection's socket is gone: drops it and tells the core. Nothing, if that was done before.
    pub(crate) fn gone(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        if let Some(entry) = self.take(conn) {
            // The client has ended, or the stream has failed: there is no write side left to end. Where only
            // its sending side has ended, it may still take what was written.
            entry.socket.forget_after(FAREWELL);
            wake(&entry);
            drop(entry);
            self.input(now, Input::Closed { conn, reason });
        }
    }

    /// The socket of a connection, if it still has one, and the buffer to read into. Notes whom to
    /// wake for it.
    pub(crate) fn socket(&mut self, conn: ConnId, cx: &Context<'_>) -> Option<Socket<'_, S>> {
        let entry = find(&mut self.entries, conn)?;
        if !entry
            .waker
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            entry.waker = Some(cx.waker().clone());
        }
        if self.scratch.is_empty() {
            // A task panicked while it had the buffer.
            self.scratch = scratch();
        }
        Some(Socket {
            stream: &mut entry.socket,
            full: &mut entry.full,
            scratch: &mut self.scratch,
        })
    }

    /// Whether the core wants to read from this connection. If not, its task is woken when it does.
    pub(crate) fn wants_read(&mut self, conn: ConnId) -> bool {
        let wants = self.shard.wants_read(conn);
        if let Some(entry) = find(&mut self.entries, conn) {
            entry.paused = !wants;
            if entry.paused && !entry.listed {
                entry.listed = true;
                self.paused.push(conn);
            }
        }
        wants
    }

    fn take(&mut self, conn: ConnId) -> Option<Entry<S>> {
        let slot = self.entries.get_mut(conn.index())?;
        let entry = slot.take_if(|entry| entry.generation == conn.generation())?;
        self.living -= 1;
        self.tokens.remove(&conn);
        self.response(conn);
        Some(entry)
    }

    /// The response that a connection's first write begins with. Nearly always there is none to look for.
    fn response(&mut self, conn: ConnId) -> Option<Vec<u8>> {
        let at = self.responses.iter().position(|(id, _)| *id == conn)?;
        Some(self.responses.swap_remove(at).1)
    }

    fn outputs(&mut self, now: Instant) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Close { conn, reason } => {
                    if let Some(entry) = self.take(conn) {
                        retire(entry);
                    }
                    self.shard.handle(now, Input::Closed { conn, reason });
                }
                Output::FetchHistory(fetch) => self.fetches.push(fetch),
            }
        }
    }

    /// What the core wants to know of the past, each once.
    pub(super) fn take_fetches(&mut self) -> Vec<Fetch> {
        std::mem::take(&mut self.fetches)
    }

    /// Wakes the tasks of connections that the core wants to read from again.
    pub(super) fn resume(&mut self) {
        let (shard, entries) = (&self.shard, &mut self.entries);
        self.paused.retain(|conn| {
            let Some(entry) = find(entries, *conn) else {
                return false;
            };
            if entry.paused && !shard.wants_read(*conn) {
                return true;
            }
            if entry.paused {
                wake(entry);
            }
            (entry.paused, entry.listed) = (false, false);
            false
        });
    }

    /// Whether something is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.shard.poll_timeout().is_some_and(|due| due <= now)
    }

    /// Does what is due.
    pub(super) fn timers(&mut self, now: Instant) {
        if self.is_due(now) {
            self.shard.handle_timeout(now);
            self.outputs(now);
            self.resume();
        }
    }

    /// What a scrape is told.
    pub(super) fn report(&mut self, now: Instant) -> ShardSnapshot {
        let (lag, worst) = self.shard.lag_and_worst(now, WORST_MAX);
        let worst = worst.into_iter().map(|behind| {
            let entry = find(&mut self.entries, behind.conn);
            let peer = entry.and_then(|entry| entry.socket.peer_addr().ok());
            Client { behind, peer }
        });
        let worst = worst.collect();
        ShardSnapshot {
            stats: self.shard.stats(),
            pauses: self.pauses,
            lag,
            worst,
            stale: false,
        }
    }

    /// Connections that have a socket.
    pub(super) fn living(&self) -> usize {
        self.living
    }

    /// Writes to a slice of the ready connections, and gives how many it met.
    pub(super) fn flush(&mut self, shared: &Shared) -> usize {
        for count in 0..FLUSH_SLICE {
            let Some(conn) = self.shard.poll_ready() else {
                return count;
            };
            self.flush_one(shared, conn);
        }
        FLUSH_SLICE
    }

    fn flush_one(&mut self, shared: &Shared, conn: ConnId) {
        let now = shared.clock.now();
        let bytes = self.shard.transmit(now, conn).bytes;
        if bytes == 0 {
            return;
        }
        let response = self.response(conn);
        let Some(entry) = find(&mut self.entries, conn) else {
            let reason = CloseReason::Transport;
            return self.input(now, Input::Closed { conn, reason });
        };
        let first = response.as_ref().map_or(0, Vec::len);
        let taken = match write(&mut entry.socket, response.as_deref(), &self.shard) {
            Ok(taken) if taken > first => taken - first,
            Err(error) if first == 0 && would_block(&error) => 0,
            // A stream that takes nothing and does not say why is as broken as one that fails, and so is
            // a new one that has no room for the response to its upgrade.
            Ok(_) | Err(_) => return self.gone(now, conn, CloseReason::Transport),
        };
        if taken > 0 {
            entry.midway = taken < bytes;
        }
        if taken < bytes {
            entry.full = true;
            wake(entry);
        }
        let was_paused = entry.paused;
        let bytes = taken;
        self.input(now, Input::Written { conn, bytes });
        if was_paused
            && self.shard.wants_read(conn)
            && let Some(entry) = find(&mut self.entries, conn)
        {
            entry.paused = false;
            wake(entry);
        }
    }

    /// Leaves a close frame where the socket stands between two frames, and drops everything.
    pub(super) fn stop(&mut self, now: Instant) {
        let living: Vec<ConnId> = self.shard.connections().collect();
        for conn in living {
            let is_new = self.response(conn).is_some();
            let Some(mut entry) = self.take(conn) else {
                continue;
            };
            if !entry.midway && !is_new {
                // The connection ends either way; whether the client is told is a courtesy.
                let _ = entry
                    .socket
                    .try_write_vectored(&[IoSlice::new(&GOING_AWAY)]);
            }
            retire(entry);
            let reason = CloseReason::Stopped;
            self.input(now, Input::Closed { conn, reason });
        }
    }
}

/// What a connection's task needs of its socket.
pub(crate) struct Socket<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) full: &'a mut bool,
    pub(crate) scratch: &'a mut [u8],
}

fn find<S>(entries: &mut [Option<Entry<S>>], conn: ConnId) -> Option<&mut Entry<S>> {
    let entry = entries.get_mut(conn.index())?.as_mut()?;
    (entry.generation == conn.generation()).then_some(entry)
}

fn scratch() -> Box<[u8]> {
    vec![0; SCRATCH_BYTES].into_boxed_slice()
}

fn wake<S>(entry: &Entry<S>) {
    if let Some(waker) = &entry.waker {
        waker.wake_by_ref();
    }
}

/// Writes the response, if there is one, and what the last transmit gathered.
fn write<S: Stream>(socket: &mut S, response: Option<&[u8]>, shard: &Shard) -> io::Result<usize> {
    // Not filled with anything first: most writes have one slice.
    let mut slices = heapless::Vec::<_, { Shard::SLICES_MAX + 1 }>::new();
    let all = response.into_iter().chain(shard.slices());
    slices.extend(all.map(IoSlice::new).take(slices.capacity()));
    socket.try_write_vectored(&slices)
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Ends the write side in good order, drops the socket, and wakes the task, which finds it gone.
fn retire<S: Stream>(mut entry: Entry<S>) {
    // Who has not made room by now is not waited for; whoever has takes the rest in its own time, within limits.
    let patience = if entry.full { Duration::ZERO } else { FAREWELL };
    entry.socket.forget_after(patience);
    // For TCP this is one system call that never waits; what cannot be done at once is not waited for.
    let mut cx = Context::from_waker(Waker::noop());
    let _ = Pin::new(&mut entry.socket).poll_shutdown(&mut cx);
    wake(&entry);
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::Entry;

    /// What the loop touches of a connection to write to it is one cache line.
    #[test]
    fn an_entry_is_one_cache_line() {
        assert_eq!(size_of::<Option<Entry<TcpStream>>>(), 64);
    }
}
