//! One shard's loop, and what it shares with the tasks of its connections.
//!
//! The loop takes what waits (events, sockets, questions), lets the core handle all of it, and then
//! writes to the connections that the core calls ready, a slice of them at a time, so that reads and
//! accepts are never starved. What is written, to whom and when is the core's decision; here are
//! the sockets, the wakers and the order of calls.

use std::cell::RefCell;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use odin_core::event::Event;
use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::shard::{Input, Output, Shard};
use odin_core::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};

use crate::http;
use crate::listener::Stream;
use crate::metrics::ShardSnapshot;
use crate::server::shared::{Handshake, Seat, Shared};

/// Commands that are handled before the next sweep of writes.
const COMMANDS_PER_TURN: usize = 256;

/// Connections that are written to before the loop lets the tasks of its thread run.
const FLUSH_SLICE: usize = 64;

/// Bytes read from a socket at once, into a buffer that all connections of a shard share.
const SCRATCH_BYTES: usize = 16 * 1024;

/// The close frame with code 1001 (RFC 6455 5.5.1) that a stopped server leaves behind.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Command<D> {
    /// The Feed says.
    Event(Event),
    /// A new socket, before its handshake.
    Socket(Handoff<D>),
    /// Is the loop alive?
    Ping(oneshot::Sender<()>),
    /// A copy of the counters, please.
    Report(oneshot::Sender<ShardSnapshot>),
    /// Tell every connection to go before this moment.
    Drain(Instant),
    /// Drop every connection and end.
    Stop,
}

/// A socket on its way to its shard, with its places in the counts of the server.
#[derive(Debug)]
pub(crate) struct Handoff<D> {
    pub(crate) socket: D,
    pub(crate) peer: std::net::SocketAddr,
    pub(crate) seat: Seat,
    pub(crate) handshake: Handshake,
}

/// A connection's socket, and what its task waits for.
struct Entry<S> {
    id: ConnId,
    socket: S,
    /// Of the connection's own task, from its first poll on.
    waker: Option<Waker>,
    /// The socket was full: the task waits for it to become writable.
    full: bool,
    /// The core did not want to read: the task waits to be woken.
    paused: bool,
}

/// The core's shard, and the sockets of its connections.
pub(crate) struct State<S> {
    pub(crate) shard: Shard,
    entries: Vec<Option<Entry<S>>>,
    pub(crate) scratch: Box<[u8]>,
    paused: Vec<ConnId>,
}

/// What the loop of a shard and the tasks of its connections share, all on one thread.
pub(crate) struct Local<S> {
    pub(crate) state: RefCell<State<S>>,
    /// Raised by a connection's task after it gave the core an input.
    pub(crate) kick: Notify,
    pub(crate) shared: Arc<Shared>,
    /// Which of the server's shards this is.
    pub(crate) index: usize,
}

impl<S: Stream> State<S> {
    fn new(shard: Shard) -> Self {
        Self {
            shard,
            entries: Vec::new(),
            scratch: scratch(),
            paused: Vec::new(),
        }
    }

    /// Takes in a socket whose upgrade is done.
    pub(crate) fn open(&mut self, now: Instant, socket: S) -> ConnId {
        let id = self.shard.open(now);
        if self.entries.len() <= id.index() {
            self.entries.resize_with(id.index() + 1, || None);
        }
        self.entries[id.index()] = Some(Entry {
            id,
            socket,
            waker: None,
            full: false,
            paused: false,
        });
        id
    }

    /// Gives the core an input and does what it then asks for, beside writing.
    pub(crate) fn input(&mut self, now: Instant, input: Input<'_>) {
        self.shard.handle(now, input);
        self.outputs(now);
    }

    /// The connection's socket is gone: drops it and tells the core. Nothing, if that was done before.
    pub(crate) fn gone(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        if let Some(entry) = self.take(conn) {
            retire(entry);
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
        if self.shard.wants_read(conn) {
            return true;
        }
        if let Some(entry) = find(&mut self.entries, conn)
            && !entry.paused
        {
            entry.paused = true;
            self.paused.push(conn);
        }
        false
    }

    fn take(&mut self, conn: ConnId) -> Option<Entry<S>> {
        let slot = self.entries.get_mut(conn.index())?;
        slot.take_if(|entry| entry.id == conn)
    }

    fn outputs(&mut self, now: Instant) {
        while let Some(Output::Close { conn, reason }) = self.shard.poll_output() {
            if let Some(entry) = self.take(conn) {
                retire(entry);
            }
            self.shard.handle(now, Input::Closed { conn, reason });
        }
    }

    /// Wakes the tasks of connections that the core wants to read from again.
    fn resume(&mut self) {
        let (shard, entries) = (&self.shard, &mut self.entries);
        self.paused.retain(|conn| {
            let Some(entry) = find(entries, *conn) else {
                return false;
            };
            if !entry.paused {
                return false;
            }
            if !shard.wants_read(*conn) {
                return true;
            }
            entry.paused = false;
            wake(entry);
            false
        });
    }

    /// Does what is due.
    fn timers(&mut self, now: Instant) {
        if self.shard.poll_timeout().is_some_and(|due| due <= now) {
            self.shard.handle_timeout(now);
            self.outputs(now);
            self.resume();
        }
    }

    /// Writes to a slice of the ready connections. True: there may be more.
    fn flush(&mut self, shared: &Shared) -> bool {
        for _ in 0..FLUSH_SLICE {
            let Some(conn) = self.shard.poll_ready() else {
                return false;
            };
            self.flush_one(shared, conn);
        }
        true
    }

    fn flush_one(&mut self, shared: &Shared, conn: ConnId) {
        let now = shared.clock.now();
        let bytes = self.shard.transmit(now, conn).bytes;
        if bytes == 0 {
            return;
        }
        let Some(entry) = find(&mut self.entries, conn) else {
            let reason = CloseReason::Transport;
            return self.input(now, Input::Closed { conn, reason });
        };
        let mut slices = [IoSlice::new(&[]); Shard::SLICES_MAX];
        let mut count = 0;
        for (slot, slice) in slices.iter_mut().zip(self.shard.slices()) {
            *slot = IoSlice::new(slice);
            count += 1;
        }
        let taken = match entry.socket.try_write_vectored(&slices[..count]) {
            Ok(taken) if taken > 0 => taken,
            Err(error) if would_block(&error) => 0,
            // A stream that takes nothing and does not say why is as broken as one that fails.
            Ok(_) | Err(_) => return self.gone(now, conn, CloseReason::Transport),
        };
        if taken < bytes {
            entry.full = true;
            shared.counters.socket_full();
            wake(entry);
        }
        let reads_again = entry.paused;
        let bytes = taken;
        self.input(now, Input::Written { conn, bytes });
        if reads_again && self.shard.wants_read(conn) {
            if let Some(entry) = find(&mut self.entries, conn) {
                entry.paused = false;
                wake(entry);
            }
            self.paused.retain(|other| *other != conn);
        }
    }

    /// Leaves a close frame where the socket stands between two frames, and drops everything.
    fn stop(&mut self, now: Instant) {
        for index in 0..self.entries.len() {
            let Some(mut entry) = self.entries[index].take() else {
                continue;
            };
            if !entry.full {
                // The connection ends either way; whether the client is told is a courtesy.
                let _ = entry
                    .socket
                    .try_write_vectored(&[IoSlice::new(&GOING_AWAY)]);
            }
            let conn = entry.id;
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

/// Makes a shard's part of the server and runs it until it is told to stop.
pub(crate) async fn run<S: Stream>(
    shared: Arc<Shared>,
    index: usize,
    mut commands: UnboundedReceiver<Command<S::Detached>>,
) {
    let shard = Shard::new(shared.core_config, shared.seed(index));
    let local = Rc::new(Local {
        state: RefCell::new(State::<S>::new(shard)),
        kick: Notify::new(),
        shared,
        index,
    });
    let mut inbox = Vec::with_capacity(COMMANDS_PER_TURN);
    let timer = tokio::time::sleep(std::time::Duration::ZERO);
    let mut timer = std::pin::pin!(timer);
    loop {
        let (more, due) = local.turn();
        if more {
            tokio::task::yield_now().await;
            while inbox.len() < COMMANDS_PER_TURN
                && let Ok(command) = commands.try_recv()
            {
                inbox.push(command);
            }
        } else {
            if let Some(due) = due {
                timer.as_mut().reset(local.shared.tokio_instant(due));
            }
            tokio::select! {
                biased;
                count = commands.recv_many(&mut inbox, COMMANDS_PER_TURN) => {
                    if count == 0 {
                        return local.stop();
                    }
                }
                () = local.kick.notified() => {}
                () = timer.as_mut(), if due.is_some() => {}
            }
        }
        for command in inbox.drain(..) {
            if local.command(command).is_break() {
                return local.stop();
            }
        }
    }
}

impl<S: Stream> Local<S> {
    /// Timers, then a slice of writes. Gives whether there is more to write, and when the core wants
    /// to be called again.
    fn turn(&self) -> (bool, Option<Instant>) {
        let mut state = self.state.borrow_mut();
        state.timers(self.shared.clock.now());
        let more = state.flush(&self.shared);
        (more, state.shard.poll_timeout())
    }

    fn command(self: &Rc<Self>, command: Command<S::Detached>) -> std::ops::ControlFlow<()> {
        match command {
            Command::Event(event) => self.event(event),
            Command::Socket(handoff) => http::serve(Rc::clone(self), handoff),
            // Who asked may have stopped waiting, here and below.
            Command::Ping(answer) => {
                let _ = answer.send(());
            }
            Command::Report(answer) => {
                let state = self.state.borrow();
                let report = ShardSnapshot {
                    stats: state.shard.stats(),
                    lag: state.shard.lag(self.shared.clock.now()),
                    stale: false,
                };
                let _ = answer.send(report);
            }
            Command::Drain(deadline) => {
                let now = self.shared.clock.now();
                let mut state = self.state.borrow_mut();
                state.input(now, Input::Drain { deadline });
                state.resume();
            }
            Command::Stop => return std::ops::ControlFlow::Break(()),
        }
        std::ops::ControlFlow::Continue(())
    }

    fn event(&self, event: Event) {
        let bytes = event.queued_bytes();
        // Publications and evictions give nobody the right to be read from again; the rest may.
        let rare = !matches!(event, Event::Published(_) | Event::Evict { .. });
        let mut state = self.state.borrow_mut();
        state.input(self.shared.clock.now(), Input::Event(event));
        if rare {
            state.resume();
        }
        drop(state);
        self.shared.queues.took(self.index, bytes);
    }

    fn stop(&self) {
        self.state.borrow_mut().stop(self.shared.clock.now());
    }
}

fn find<S>(entries: &mut [Option<Entry<S>>], conn: ConnId) -> Option<&mut Entry<S>> {
    let entry = entries.get_mut(conn.index())?.as_mut()?;
    (entry.id == conn).then_some(entry)
}

fn scratch() -> Box<[u8]> {
    vec![0; SCRATCH_BYTES].into_boxed_slice()
}

fn wake<S>(entry: &Entry<S>) {
    if let Some(waker) = &entry.waker {
        waker.wake_by_ref();
    }
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Ends the write side in good order, drops the socket, and wakes the task, which finds it gone.
fn retire<S: Stream>(mut entry: Entry<S>) {
    // For TCP this is one system call that never waits; what cannot be done at once is not waited for.
    let mut cx = Context::from_waker(Waker::noop());
    let _ = Pin::new(&mut entry.socket).poll_shutdown(&mut cx);
    wake(&entry);
}
