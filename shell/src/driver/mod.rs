//! One shard's loop, and what it shares with the tasks of its connections.
//!
//! The loop takes what waits (events, sockets, questions), lets the core handle all of it, and then
//! writes to the connections that the core calls ready, a slice of them at a time, so that reads and
//! accepts are never starved. What is written, to whom and when is the core's decision; here are
//! the sockets, the wakers and the order of calls.
//!
//! Events wait in their queue while there is much to write: the queue is what makes the source wait,
//! and a client whose socket has room must never be left behind by the log because its shard read on
//! instead of writing.

mod alarm;
mod pace;
mod state;

use std::cell::{RefCell, RefMut};
use std::ops::{ControlFlow, Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use odin_core::event::Event;
use odin_core::history::Fetch;
use odin_core::record::Recording;
use odin_core::shard::{Input, Shard};
use odin_core::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};

use crate::http;
use crate::listener::Stream;
use crate::metrics::ShardSnapshot;
use crate::server::shared::{Handshake, Seat, Shared};
use alarm::Alarm;
use pace::Pace;
pub(crate) use state::State;

/// Commands that are handled before the next sweep of writes.
const COMMANDS_PER_TURN: usize = 64;

/// What may be taken from the queue of events at once.
#[derive(Clone, Copy)]
struct Intake {
    events: usize,
    bytes: usize,
}

/// While connections are ready, one pass over all of them goes before the next intake, and what is
/// taken is no more than a pass can write to one connection: whose socket has room keeps up.
const INTAKE_BUSY: Intake = Intake {
    events: Shard::SLICES_MAX,
    bytes: Shard::TRANSMIT_BYTES_MAX,
};

impl Intake {
    /// Everything that waits.
    const ALL: Self = Self {
        events: usize::MAX,
        bytes: usize::MAX,
    };

    /// While no connection is ready: a part of the log, so that nothing of it can leave before it was
    /// offered to everybody.
    fn idle(shared: &Shared) -> Self {
        let messages = usize::try_from(shared.settings.log_messages).unwrap_or(usize::MAX);
        Self {
            events: (messages / 2).clamp(1, 256),
            bytes: shared.settings.log_bytes / 8,
        }
    }
}

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Command<D> {
    /// A new socket, before its handshake.
    Socket(Handoff<D>),
    /// Is the loop alive?
    Ping(oneshot::Sender<()>),
    /// A copy of the counters, please.
    Report(oneshot::Sender<ShardSnapshot>),
    /// What was recorded, please.
    Recording(oneshot::Sender<Option<Recording>>),
    /// Tokens may have been revoked.
    Reloaded,
    /// Memory is short.
    Relieve,
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

/// What the loop of a shard and the tasks of its connections share, all on one thread.
pub(crate) struct Local<S> {
    state: RefCell<State<S>>,
    /// Raised by a connection's task after it gave the core an input.
    pub(crate) kick: Notify,
    pub(crate) shared: Arc<Shared>,
    /// Which of the server's shards this is.
    pub(crate) index: usize,
}

/// The state of a shard while something is done with it. Where that panics, what was recorded until
/// then is written.
pub(crate) struct Held<'a, S: Stream> {
    state: RefMut<'a, State<S>>,
    local: &'a Local<S>,
}

impl<S: Stream> Deref for Held<'_, S> {
    type Target = State<S>;

    fn deref(&self) -> &State<S> {
        &self.state
    }
}

impl<S: Stream> DerefMut for Held<'_, S> {
    fn deref_mut(&mut self) -> &mut State<S> {
        &mut self.state
    }
}

impl<S: Stream> Drop for Held<'_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let recording = self.state.shard.recording(self.local.number(), false);
            self.local.shared.recorder.after_panic(recording);
        }
    }
}

/// The two queues of a shard.
pub(crate) struct Queues<D> {
    /// What the Feed says.
    pub(crate) events: UnboundedReceiver<Event>,
    /// Everything else: never behind events, so that the server answers under load.
    pub(crate) commands: UnboundedReceiver<Command<D>>,
}

/// Makes a shard's part of the server and runs it until it is told to stop.
pub(crate) async fn run<S: Stream>(
    shared: Arc<Shared>,
    index: usize,
    mut queues: Queues<S::Detached>,
) {
    let mut shard = Shard::new(shared.core_config, shared.seed(index));
    shard.coalesce(&shared.settings.coalesce_config());
    shard.record(shared.shares.shard);
    let local = Rc::new(Local {
        state: RefCell::new(State::<S>::new(shard, shared.auth.clone())),
        kick: Notify::new(),
        shared,
        index,
    });
    let mut rest = Rest::new(&local.shared);
    let mut inbox = Vec::with_capacity(COMMANDS_PER_TURN);
    // Connections written to since the last intake of events.
    let mut passed = 0;
    // Whether events were taken in since the tasks of this thread could run.
    let mut took_in = false;
    loop {
        let turn = local.turn(&mut queues.events);
        passed += turn.written;
        let busy = S::busy(turn.written);
        if !busy.is_zero() {
            tokio::time::sleep(busy).await;
        }
        rest.pace.wrote(turn.written, turn.took + busy);
        if std::mem::take(&mut took_in) && !turn.more && !queues.events.is_empty() {
            // With nothing in the queue the loop is about to wait, which lets them run as well.
            tokio::task::yield_now().await;
        }
        if turn.more {
            tokio::task::yield_now().await;
            while inbox.len() < COMMANDS_PER_TURN
                && let Ok(command) = queues.commands.try_recv()
            {
                inbox.push(command);
            }
            if passed >= turn.living {
                passed = 0;
                rest.pause.set(&local.shared, None);
                local.take_in(None, &mut queues.events, INTAKE_BUSY);
            }
        } else {
            passed = 0;
            match rest.wait(&local, &turn, &mut queues, &mut inbox).await {
                Woken::Gone => return local.stop(),
                woken => took_in = woken == Woken::TookIn,
            }
        }
        for command in inbox.drain(..) {
            if local.command(command, &mut queues.events).is_break() {
                return local.stop();
            }
        }
    }
}

/// What the loop waits for while no connection is ready.
struct Rest {
    /// The next thing that is due.
    timer: Alarm,
    pace: Pace,
    /// Set while no events are taken in.
    pause: Alarm,
    intake: Intake,
}

/// What ended a rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Woken {
    /// Something is to be done.
    Up,
    /// Events were taken in.
    TookIn,
    /// The server is gone.
    Gone,
}

impl Rest {
    fn new(shared: &Shared) -> Self {
        Self {
            timer: Alarm::new(),
            pace: Pace::new(shared.settings.write_pause_max),
            pause: Alarm::new(),
            intake: Intake::idle(shared),
        }
    }

    async fn wait<S: Stream>(
        &mut self,
        local: &Rc<Local<S>>,
        turn: &Turn,
        queues: &mut Queues<S::Detached>,
        inbox: &mut Vec<Command<S::Detached>>,
    ) -> Woken {
        self.timer.set(&local.shared, turn.due);
        let pass = self.pace.over(turn.sent);
        if !self.pause.is_set()
            && let Some(span) = self
                .pace
                .pause(pass, queues.events.len(), self.intake.events)
        {
            self.pause
                .set(&local.shared, Some(local.shared.clock.now() + span));
            local.state().pauses += 1;
        }
        let pauses = self.pause.is_set();
        tokio::select! {
            biased;
            count = queues.commands.recv_many(inbox, COMMANDS_PER_TURN) => match count {
                0 => Woken::Gone,
                _ => Woken::Up,
            },
            () = local.kick.notified() => Woken::Up,
            () = self.timer.rings() => Woken::Up,
            () = self.pause.rings() => {
                local.take_in(None, &mut queues.events, self.intake);
                Woken::TookIn
            }
            Some(event) = queues.events.recv(), if !pauses => {
                local.take_in(Some(event), &mut queues.events, self.intake);
                Woken::TookIn
            }
        }
    }
}

/// What a turn of the loop did.
struct Turn {
    /// Connections written to.
    written: usize,
    /// How long it took to write to them.
    took: Duration,
    /// Messages sent since the shard began.
    sent: u64,
    /// Whether more are ready.
    more: bool,
    /// Connections that there are.
    living: usize,
    /// When the core wants to be called again.
    due: Option<Instant>,
}

impl<S: Stream> Local<S> {
    /// The shard's state, unless it is in use.
    pub(crate) fn try_state(&self) -> Option<Held<'_, S>> {
        let state = self.state.try_borrow_mut().ok()?;
        Some(Held { state, local: self })
    }

    /// The shard's state, for as long as nothing is awaited.
    pub(crate) fn state(&self) -> Held<'_, S> {
        Held {
            state: self.state.borrow_mut(),
            local: self,
        }
    }

    /// Timers, then a slice of writes.
    fn turn(self: &Rc<Self>, events: &mut UnboundedReceiver<Event>) -> Turn {
        let now = self.shared.clock.now();
        if self.shared.is_draining() && self.state().is_due(now) {
            // What was published before a client's close comes before it, for each client.
            self.take_in(None, events, Intake::ALL);
        }
        let mut state = self.state();
        state.timers(now);
        let written = state.flush(&self.shared);
        for fetch in state.take_fetches() {
            tokio::task::spawn_local(Rc::clone(self).fetch(fetch));
        }
        let took = match written {
            0 => Duration::ZERO,
            _ => self.shared.clock.now().saturating_since(now),
        };
        Turn {
            written,
            took,
            sent: state.shard.messages_sent(),
            more: state.shard.has_ready(),
            living: state.living(),
            due: state.shard.poll_timeout(),
        }
    }

    /// Asks the source about the past and gives the core the answer, which it always gets: it asks for so many
    /// at once only.
    async fn fetch(self: Rc<Self>, fetch: Fetch) {
        let request = fetch.request;
        let page = self.shared.history.fetch(fetch).await.map(Arc::new);
        let mut state = self.state();
        let now = self.shared.clock.now();
        state.input(now, Input::History { request, page });
        state.resume();
        drop(state);
        self.kick.notify_one();
    }

    /// Hands events to the core: the `first`, and what waits, as far as `intake` allows.
    fn take_in(&self, first: Option<Event>, events: &mut UnboundedReceiver<Event>, intake: Intake) {
        let (mut count, mut bytes) = (0, 0);
        let mut next = first.or_else(|| events.try_recv().ok());
        while let Some(event) = next {
            count += 1;
            bytes += event.queued_bytes();
            self.event(event);
            let room = count < intake.events && bytes < intake.bytes;
            next = room.then(|| events.try_recv().ok()).flatten();
        }
    }

    fn command(
        self: &Rc<Self>,
        command: Command<S::Detached>,
        events: &mut UnboundedReceiver<Event>,
    ) -> ControlFlow<()> {
        match command {
            Command::Socket(handoff) => http::serve(Rc::clone(self), handoff),
            // Who asked may have stopped waiting, here and below.
            Command::Ping(answer) => {
                let _ = answer.send(());
            }
            Command::Report(answer) => {
                let report = self.state().report(self.shared.clock.now());
                let _ = answer.send(report);
            }
            Command::Recording(answer) => {
                let recording = self.state().shard.recording(self.number(), true);
                let _ = answer.send(recording);
            }
            Command::Reloaded => self.state().revoke(self.shared.clock.now()),
            Command::Relieve => self.state().input(self.shared.clock.now(), Input::Relieve),
            Command::Drain(deadline) => {
                // What was published before the drain comes before its closes.
                self.take_in(None, events, Intake::ALL);
                let mut state = self.state();
                state.input(self.shared.clock.now(), Input::Drain { deadline });
                state.resume();
            }
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// The number of this shard in recordings.
    fn number(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }

    fn event(&self, event: Event) {
        let bytes = event.queued_bytes();
        // Publications and evictions give nobody the right to be read from again; the rest may.
        let rare = !matches!(event, Event::Published(_) | Event::Evict { .. });
        let mut state = self.state();
        state.input(self.shared.clock.now(), Input::Event(event));
        if rare {
            state.resume();
        }
        drop(state);
        self.shared.backlog.took(self.index, bytes);
    }

    fn stop(&self) {
        self.state().stop(self.shared.clock.now());
    }
}
