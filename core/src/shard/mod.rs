//! One shard: the logs, the connections and their cursors.
//!
//! This file holds what every room works on (the [`Shard`] itself) and the calls from outside, which it hands to
//! the room that decides:
//!
//! - `api`: what goes in and what comes out;
//! - `lifecycle`: opening, closing, deadlines, drain;
//! - `auth`: who a connection is for, and what that allows;
//! - `requests`, `subscribe`, `start`, `resume`, `replay`: what clients ask for;
//! - `feed_events`: what the Feed says;
//! - `proof`, `cold`, `archive`: what the log does not hold any more, from the upstream's history;
//! - `transmit`, `gather`, `settle`: what is written next, and what follows from what was;
//! - `ready`: who has something to write;
//! - `window`: whether what is ready is held back for a while;
//! - `bare`: connections that only the tests of WebSocket conformance have.

mod api;
mod archive;
mod auth;
mod bare;
mod catalog;
mod cold;
mod feed_events;
mod gather;
mod inspect;
mod lag;
mod lane;
mod lifecycle;
mod log;
mod proof;
mod ready;
mod record;
mod relief;
mod replay;
mod requests;
mod resume;
mod session;
mod settle;
#[cfg(test)]
mod sizes;
mod slab;
mod start;
mod subscribe;
mod subscription;
mod transmit;
#[cfg(feature = "verify")]
mod verify;
mod window;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

pub use self::api::{Input, Message, Output, Transmit};
use self::archive::Archive;
pub use self::auth::Grant;
use self::catalog::Catalog;
pub use self::inspect::{ChannelStanding, Inspection, Standing};
use self::log::Store;
pub use self::record::{Call, Given};
use self::record::{ShardTape, Timed};
use self::session::{Purpose, Session};
use self::slab::Slab;
use self::subscription::Subscription;
use self::transmit::Taken;
#[cfg(feature = "verify")]
pub use self::verify::Census;
use self::window::Windows;
use crate::config::Config;
use crate::event::Lost;
use crate::id::{ConnId, Order};
use crate::limiter::Rate;
use crate::reason::CloseReason;
use crate::stats::{Behind, Lag, Stats};
use crate::time::Instant;
use crate::wire::request::Token;

/// What a shard knows of the source.
#[derive(Debug)]
struct Source {
    ready: bool,
    /// Known from a `reset` on, also before the snapshot is complete.
    epoch: Option<Arc<str>>,
    durable: bool,
    /// When its stream was created; 0: it has none.
    created: u64,
    /// The newest seq of the snapshot with which this server began.
    snapshot_head: u64,
    /// The newest seq of the number line.
    head_seq: u64,
    /// Every position at or above this one is proven by what this server saw.
    proven_from: u64,
    /// The last seq that was announced as lost for all.
    lost_to: u64,
    /// The first place of the number line.
    begin: Order,
    /// The first place after the snapshot with which it began.
    live_from: Order,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    session: Option<Session>,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    config: Config,
    rate: Rate,
    random: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    subs: Slab<Subscription>,
    catalog: Catalog,
    store: Store,
    archive: Archive,
    source: Source,
    /// Notices for all subscriptions that some connection may not have passed, oldest first.
    notices: VecDeque<Arc<Lost>>,
    /// Up to this seq every subscription was told, or will be, that messages may be missing.
    told_until: u64,
    /// How many notices there ever were: the number of the newest.
    notices_total: u64,
    ready: VecDeque<ConnId>,
    windows: Windows,
    outputs: VecDeque<Output>,
    /// Tokens that the shell has yet to take.
    tokens: VecDeque<(ConnId, Token)>,
    deadlines: BTreeSet<(Instant, u32)>,
    taken: Taken,
    draining: Option<Instant>,
    stats: Stats,
    /// What happened, for the flight recorder; `None`: it is off.
    tape: Option<Box<ShardTape>>,
}

impl Shard {
    /// The most slices that one transmit gathers.
    pub const SLICES_MAX: usize = 64;

    /// The bytes after which a transmit gathers no more; a larger frame goes alone.
    pub const TRANSMIT_BYTES_MAX: usize = 64 * 1024;

    /// A shard without connections. `seed` feeds session ids.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            rate: Rate {
                per_second: config.message_rate,
                burst: config.message_burst,
            },
            random: seed,
            slots: Vec::new(),
            free: Vec::new(),
            subs: Slab::default(),
            catalog: Catalog::default(),
            store: Store::new(config.log_messages.max(1) as usize, config.last_value_bytes),
            archive: Archive::new(config.history_bytes, config.history_fetches),
            source: Source {
                ready: false,
                epoch: None,
                durable: false,
                created: 0,
                snapshot_head: 0,
                head_seq: 0,
                proven_from: 0,
                lost_to: 0,
                begin: Order(1),
                live_from: Order(1),
            },
            notices: VecDeque::new(),
            told_until: 0,
            notices_total: 0,
            ready: VecDeque::new(),
            windows: Windows::default(),
            outputs: VecDeque::new(),
            tokens: VecDeque::new(),
            deadlines: BTreeSet::new(),
            taken: Taken::default(),
            draining: None,
            stats: Stats::default(),
            tape: None,
            config,
        }
    }

    /// A new WebSocket connection, after its upgrade. Its `welcome` is ready to be written. Poll
    /// everything afterwards.
    pub fn open(&mut self, now: Instant) -> ConnId {
        if self.tape.is_some() {
            self.note_timed(now, Timed::Open);
        }
        let conn = self.insert_session(now, self.first_access(now));
        self.check(conn);
        conn
    }

    /// Takes one input. Total: whatever is wrong with it becomes an answer to the client or a close,
    /// and one for a connection that is gone is passed over.
    /// Afterwards poll [`Self::poll_output`], [`Self::poll_ready`] and [`Self::poll_timeout`].
    ///
    /// # Panics
    /// If [`Input::Written`] does not follow a [`Self::transmit`] of the same connection, or another
    /// input comes between the two: that is a fault of the shell's.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let written = matches!(input, Input::Written { .. } | Input::Closed { .. });
        assert!(
            written || !self.taken.is_open(),
            "a transmit is settled before any other input"
        );
        if self.tape.is_some() {
            self.note_input(now, &input);
        }
        match input {
            Input::Message { conn, message } => self.message(now, conn, message),
            Input::Violation { conn, reason } => self.violation(now, conn, reason),
            Input::Written { conn, bytes } => self.written(now, conn, bytes),
            Input::Writable { conn } => self.writable(conn),
            Input::Closed { conn, reason } => self.closed(now, conn, reason),
            Input::Authenticated { conn, grant } => self.authenticated(now, conn, grant),
            Input::TokenRefused { conn, fault } => self.token_refused(now, conn, fault),
            Input::Revoked { conn } => self.revoked(now, conn),
            Input::Event(event) => self.event_in_window(now, event),
            Input::History { request, page } => self.history(now, request, page),
            Input::Drain { deadline } => self.drain(now, deadline),
            Input::Relieve => self.relieve(now),
        }
        self.ask(now);
    }

    /// Does what is due. Poll everything afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.tape.is_some() {
            self.note_timed(now, Timed::Timeout);
        }
        self.catalog.drop_idle(now);
        self.close_windows(now);
        while let Some((at, index)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.due(now, index);
        }
        self.ask(now);
    }

    /// When [`Self::handle_timeout`] is to be called. May change at every call that takes `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.deadlines.first().map(|(at, _)| *at);
        let history = self.archive.due();
        let idle = self.catalog.next_idle();
        let window = self.windows.next_close();
        [session, idle, history, window].into_iter().flatten().min()
    }

    /// What to do next, beside writing. Poll until `None` after every call that takes `now`.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.tape.is_some() && !self.outputs.is_empty() {
            self.note_output();
        }
        self.outputs.pop_front()
    }

    /// Gathers what is to be written to a connection that [`Self::poll_ready`] gave. The cursors move
    /// when [`Input::Written`] says how much of it went.
    pub fn transmit(&mut self, now: Instant, conn: ConnId) -> Transmit {
        if self.tape.is_some() {
            self.note_transmit(now, conn);
        }
        let transmit = self.gather(now, conn);
        self.ask(now);
        self.note_gathered(conn, transmit.bytes);
        transmit
    }

    /// The slices of the last transmit, in the order in which they are to be written.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.taken_slices()
    }

    /// Whether the shell should read from this connection: not while its answers pile up, a request of
    /// it is held or its token is being verified. It can become true again after any call that takes `now`.
    #[must_use]
    pub fn wants_read(&self, conn: ConnId) -> bool {
        self.session(conn).is_some_and(|session| {
            let busy = session.lane.as_ref().is_some_and(|lane| lane.is_busy());
            let held = session
                .extra
                .as_ref()
                .is_some_and(|extra| extra.held.is_some() || extra.verifying.is_some());
            !busy && !held
        })
    }

    /// Whether nothing that this client still sends has a meaning, not even a close frame: it was closed for
    /// flooding, and to read on would be what it wants.
    #[must_use]
    pub fn is_deaf(&self, conn: ConnId) -> bool {
        let closing = self.session(conn).and_then(Session::closing);
        closing.is_some_and(|closing| closing.reason == CloseReason::Flooding)
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            log_bytes: self.store.bytes() as u64,
            channels: self.catalog.channel_count() as u64,
            unpublished: self.catalog.unpublished_count().into(),
            patterns: self.catalog.pattern_count() as u64,
            subscriptions: self.subs.len() as u64,
            last_values_dropped: self.store.values_dropped,
            history_pages: self.archive.pages() as u64,
            history_bytes: self.archive.bytes() as u64,
            ..self.stats
        }
    }

    /// Messages sent, as in [`Self::stats`], which copies all of them.
    #[must_use]
    pub fn messages_sent(&self) -> u64 {
        self.stats.messages_sent
    }

    /// How far the cursors are behind. Walks the subscriptions that have data.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Lag {
        self.measure_lag(now, 0).0
    }

    /// The same, and the connections that are furthest behind: at most `count`, the worst first.
    #[must_use]
    pub fn lag_and_worst(&self, now: Instant, count: usize) -> (Lag, Vec<Behind>) {
        self.measure_lag(now, count)
    }

    fn session(&self, conn: ConnId) -> Option<&Session> {
        let slot = self.slots.get(conn.index())?;
        slot.session
            .as_ref()
            .filter(|_| slot.generation == conn.generation())
    }

    fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        let slot = self.slots.get_mut(conn.index())?;
        slot.session
            .as_mut()
            .filter(|_| slot.generation == conn.generation())
    }

    /// The session of an index that some list of this shard holds, which only living ones are in.
    fn at(&mut self, index: u32) -> &mut Session {
        match &mut self.slots[index as usize].session {
            Some(session) => session,
            None => unreachable!("lists hold living connections only"),
        }
    }

    fn conn_id(&self, index: u32) -> ConnId {
        ConnId::new(index, self.slots[index as usize].generation)
    }

    /// The indices of all living connections, ascending.
    fn living(&self) -> Vec<u32> {
        let living = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.session.is_some());
        living
            .filter_map(|(index, _)| u32::try_from(index).ok())
            .collect()
    }

    /// Appends a frame to a connection's lane.
    fn say(&mut self, index: u32, frame: Bytes, purpose: Purpose) {
        self.at(index)
            .lane
            .get_or_insert_default()
            .push(frame, purpose);
        self.rouse(index);
    }

    /// The next number of the shard's own sequence (splitmix64, Steele et al. 2014).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
