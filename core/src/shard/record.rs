//! The shard's part of the flight recorder: its state as bytes, the calls that it records, and how a
//! recorded call is made again.
//!
//! Every call from outside that changes the state is recorded, before it is carried out, so that a
//! recording ends with the call that failed. Times and places that repeat are left out: a transmit
//! names its connection only where it is not the one that was polled last.

mod call;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use self::call::*;
pub use self::call::{Call, Given};
use super::log::Store;
use super::{Config, Grant, Input, Message, Output, Rate, Shard, Slot, Source, Taken};
use crate::event::{Event, Publication};
use crate::id::ConnId;
use crate::record::codec::{Code, Writer, coded, hash};
use crate::record::{self, Broken, Machine, Reader, Recording, Tape};
use crate::time::Instant;
use crate::wire::request::{self, Body, RequestId};

coded!(Source {
    ready,
    epoch,
    durable,
    created,
    snapshot_head,
    head_seq,
    proven_from,
    lost_to,
    begin
});

coded!(Slot {
    generation,
    session
});

impl Code for Output {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Close { conn, reason } => {
                out.byte(0);
                (*conn, *reason).put(out);
            }
            Self::FetchHistory(fetch) => {
                out.byte(1);
                fetch.put(out);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        match from.byte()? {
            0 => {
                let (conn, reason) = Code::get(from)?;
                Ok(Self::Close { conn, reason })
            }
            1 => Ok(Self::FetchHistory(Code::get(from)?)),
            _ => Err(Broken("an output is of no known kind")),
        }
    }
}

/// What later calls of the same segment are written relative to.
#[derive(Debug, Default)]
pub struct Context {
    polled: Option<ConnId>,
    gathered: Option<(ConnId, usize)>,
}

/// The tape of a shard.
#[derive(Debug)]
pub(super) struct ShardTape {
    tape: Tape,
    context: Context,
}

impl Shard {
    /// From now on records what happens, in at most so many bytes; 0: no longer.
    pub fn record(&mut self, bytes_max: usize) {
        self.tape = (bytes_max > 0).then(|| {
            Box::new(ShardTape {
                tape: Tape::new(bytes_max),
                context: Context::default(),
            })
        });
    }

    /// What was recorded; `None`: nothing is. `index` is the number of this shard. Between a transmit
    /// and its [`Input::Written`], and where `whole` is false (after a panic), without the hash of the
    /// state.
    #[must_use]
    pub fn recording(&self, index: u32, whole: bool) -> Option<Recording> {
        let tape = &self.tape.as_ref()?.tape;
        let whole = whole && tape.is_running() && !self.taken.is_open();
        let hash = whole.then(|| self.state_hash());
        Some(tape.copy(Machine::Shard(index), hash))
    }

    /// The complete state.
    ///
    /// # Panics
    /// Between a [`Self::transmit`] and its [`Input::Written`].
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        assert!(!self.taken.is_open(), "a transmit is under way");
        record::saved(|out| self.save(out))
    }

    /// The shard that [`Self::checkpoint`] was taken of, with stand-ins for frames. It records nothing.
    ///
    /// # Errors
    /// The bytes are no checkpoint of this version.
    pub fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        record::restored(bytes, Self::load)
    }

    /// A hash of the complete state.
    ///
    /// # Panics
    /// As [`Self::checkpoint`].
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        hash(&self.checkpoint())
    }

    fn save(&self, out: &mut Writer) {
        let Self {
            config,
            rate: _,
            random,
            slots,
            free,
            subs,
            catalog,
            store,
            archive,
            source,
            notices,
            told_until,
            notices_total,
            ready,
            windows,
            outputs,
            // No token is ever on a tape.
            tokens: _,
            deadlines: _,
            taken: _,
            draining,
            stats,
            tape: _,
        } = self;
        config.put(out);
        random.put(out);
        slots.put(out);
        free.put(out);
        subs.put(out);
        catalog.put(out);
        store.save(out);
        archive.put(out);
        source.put(out);
        notices.put(out);
        told_until.put(out);
        notices_total.put(out);
        ready.put(out);
        windows.put(out);
        outputs.put(out);
        draining.put(out);
        stats.put(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let config = Config::get(from)?;
        let random = Code::get(from)?;
        let slots: Vec<Slot> = Code::get(from)?;
        let (free, subs) = Code::get(from)?;
        let mut catalog = Code::get(from)?;
        let mut store = Store::new(config.log_messages.max(1) as usize, config.last_value_bytes);
        store.load(&mut catalog, from)?;
        let mut deadlines = BTreeSet::new();
        for (index, slot) in slots.iter().enumerate() {
            let index = u32::try_from(index).map_err(|_| Broken("too many connections"))?;
            let filed = slot.session.as_ref().and_then(|session| session.filed);
            deadlines.extend(filed.map(|at| (at, index)));
        }
        Ok(Self {
            rate: Rate {
                per_second: config.message_rate,
                burst: config.message_burst,
            },
            config,
            random,
            slots,
            free,
            subs,
            catalog,
            store,
            archive: Code::get(from)?,
            source: Code::get(from)?,
            notices: Code::get(from)?,
            told_until: Code::get(from)?,
            notices_total: Code::get(from)?,
            ready: Code::get(from)?,
            windows: Code::get(from)?,
            outputs: Code::get(from)?,
            tokens: VecDeque::new(),
            deadlines,
            taken: Taken::default(),
            draining: Code::get(from)?,
            stats: Code::get(from)?,
            tape: None,
        })
    }

    /// The tape, with a new checkpoint where one is due before a call with so many bytes of text.
    fn roll(&mut self, now: Option<Instant>, text: usize) -> Option<&mut ShardTape> {
        let mut tape = self.tape.take()?;
        if !self.taken.is_open() && tape.tape.is_due(now, text) {
            tape.context = Context::default();
            tape.tape.begin(now, |out| self.save(out));
        }
        Some(self.tape.insert(tape))
    }

    /// Records a call that is no input.
    pub(super) fn note_timed(&mut self, now: Instant, call: Timed<'_>) {
        let text = match call {
            Timed::Open | Timed::Timeout => 0,
            Timed::OpenAs(grant) => grant.len(),
        };
        let Some(ShardTape { tape, .. }) = self.roll(Some(now), text) else {
            return;
        };
        match call {
            Timed::Open => tape.call(OPEN, Some(now), |_| {}),
            Timed::OpenAs(grant) => tape.call(OPEN_AS, Some(now), |out| grant.put(out)),
            Timed::Timeout => tape.call(TIMEOUT, Some(now), |_| {}),
        }
    }

    pub(super) fn note_output(&mut self) {
        if let Some(ShardTape { tape, .. }) = self.roll(None, 0) {
            tape.call(OUTPUT, None, |_| {});
        }
    }

    pub(super) fn note_ready(&mut self) {
        if let Some(ShardTape { tape, .. }) = self.roll(None, 0) {
            tape.call(READY, None, |_| {});
        }
    }

    /// Who was polled, and so is likely to be transmitted to.
    pub(super) fn note_polled(&mut self, conn: ConnId) {
        if let Some(ShardTape { context, .. }) = self.tape.as_deref_mut() {
            context.polled = Some(conn);
        }
    }

    pub(super) fn note_transmit(&mut self, now: Instant, conn: ConnId) {
        if let Some(ShardTape { tape, context }) = self.roll(Some(now), 0) {
            if context.polled.take() == Some(conn) {
                tape.call(TRANSMIT_POLLED, Some(now), |_| {});
            } else {
                tape.call(TRANSMIT, Some(now), |out| conn.put(out));
            }
        }
    }

    pub(super) fn note_gathered(&mut self, conn: ConnId, bytes: usize) {
        if let Some(ShardTape { context, .. }) = self.tape.as_deref_mut() {
            context.gathered = Some((conn, bytes));
        }
    }

    pub(super) fn note_input(&mut self, now: Instant, input: &Input<'_>) {
        if let Input::Message { conn, message } = input {
            return self.note_message(now, *conn, *message);
        }
        let text = match input {
            Input::Event(Event::Published(publication)) => publication.name.len(),
            Input::Event(_) => EVENT_BYTES,
            Input::Authenticated { grant, .. } => grant.len(),
            Input::History {
                page: Some(page), ..
            } => PAGE_BYTES + page.entries.len() * PAGE_ENTRY_BYTES,
            _ => 0,
        };
        let Some(ShardTape { tape, context }) = self.roll(Some(now), text) else {
            return;
        };
        match input {
            Input::Message { .. } => {}
            Input::Violation { conn, reason } => {
                tape.call(VIOLATION, Some(now), |out| (*conn, *reason).put(out));
            }
            Input::Written { conn, bytes } => {
                if context.gathered.take() == Some((*conn, *bytes)) {
                    tape.call(WRITTEN_ALL, Some(now), |_| {});
                } else {
                    tape.call(WRITTEN, Some(now), |out| (*conn, *bytes).put(out));
                }
            }
            Input::Writable { conn } => tape.call(WRITABLE, Some(now), |out| conn.put(out)),
            Input::Closed { conn, reason } => {
                tape.call(CLOSED, Some(now), |out| (*conn, *reason).put(out));
            }
            Input::Authenticated { conn, grant } => tape.call(AUTHENTICATED, Some(now), |out| {
                conn.put(out);
                grant.put(out);
            }),
            Input::TokenRefused { conn, fault } => {
                tape.call(TOKEN_REFUSED, Some(now), |out| (*conn, *fault).put(out));
            }
            Input::Revoked { conn } => tape.call(REVOKED, Some(now), |out| conn.put(out)),
            Input::Event(event) => note_event(tape, now, event),
            Input::History { request, page } => {
                tape.call(HISTORY, Some(now), |out| {
                    request.put(out);
                    page.put(out);
                });
            }
            Input::Relieve => tape.call(RELIEVE, Some(now), |_| {}),
            Input::Drain { deadline } => tape.call(DRAIN, Some(now), |out| deadline.put(out)),
        }
    }

    /// Records what a client sent, but no token: of what is not a request of this protocol only how
    /// it is answered, and of what is dropped only how long it is.
    fn note_message(&mut self, now: Instant, conn: ConnId, message: Message<'_>) {
        let rate = self.rate;
        let session = self.session(conn);
        let is_read = session.is_some_and(|session| session.bucket.wait(now, &rate).is_zero());
        let len = match message {
            Message::Text(text) if is_read => text.len(),
            _ => 0,
        };
        let Some(ShardTape { tape, .. }) = self.roll(Some(now), len) else {
            return;
        };
        let now = Some(now);
        match message {
            Message::Text(text) if is_read => match request::parse(text) {
                Ok(request) if matches!(request.body, Body::Auth(_)) => {
                    let text = without_token(request.id.as_ref(), text.len());
                    tape.call(TEXT, now, |out| (conn, text).put(out));
                }
                Ok(_) => tape.call(TEXT, now, |out| {
                    conn.put(out);
                    out.text(text);
                }),
                Err(rejected) => {
                    tape.call(REJECTED, now, |out| (conn, text.len(), rejected).put(out));
                }
            },
            Message::Text(text) => tape.call(DROPPED, now, |out| (conn, text.len()).put(out)),
            Message::Binary(bytes) => tape.call(BINARY, now, |out| (conn, bytes).put(out)),
            Message::Ping(data) => tape.call(PING, now, |out| (conn, data.len()).put(out)),
            Message::Pong => tape.call(PONG, now, |out| conn.put(out)),
            Message::Fragments(count) => {
                tape.call(FRAGMENTS, now, |out| (conn, count).put(out));
            }
            Message::Close(code) => tape.call(GOODBYE, now, |out| {
                (conn, code).put(out);
            }),
        }
    }
}

/// The calls that are no inputs and have a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timed<'a> {
    Open,
    OpenAs(&'a Grant),
    Timeout,
}

/// More than any event but a publication takes: an epoch is the longest text in one.
const EVENT_BYTES: usize = 512;

/// More than a page takes beside its entries and the names of its channels.
const PAGE_BYTES: usize = 512;

/// More than an entry of a page takes, with the name of its channel.
const PAGE_ENTRY_BYTES: usize = 192;

/// An `auth` of so many bytes with another token.
fn without_token(id: Option<&RequestId>, len: usize) -> String {
    let id = id.map_or(String::new(), |id| {
        alloc::format!(r#""id":{},"#, id.as_json())
    });
    let mut text = alloc::format!(r#"{{"type":"auth",{id}"data":{{"token":""}}}}"#);
    let missing = len.saturating_sub(text.len());
    text.extend(core::iter::repeat_n(' ', missing));
    text
}

fn note_event(tape: &mut Tape, now: Instant, event: &Event) {
    let now = Some(now);
    match event {
        Event::Published(publication) => tape.call(PUBLISHED, now, |out| {
            put_publication(publication, out);
            out.raw(&hash(&publication.frame).to_le_bytes());
        }),
        Event::Lost(lost) => tape.call(LOST, now, |out| lost.put(out)),
        Event::Reset(reset) => tape.call(RESET, now, |out| reset.put(out)),
        Event::Evict { floor } => tape.call(EVICT, now, |out| floor.put(out)),
        Event::SourceReady(ready) => tape.call(SOURCE_READY, now, |out| ready.put(out)),
    }
}

fn put_publication(publication: &Publication, out: &mut Writer) {
    let Publication {
        order,
        channel,
        name,
        seq,
        prev,
        ts,
        received,
        kind,
        frame,
    } = publication;
    order.put(out);
    channel.put(out);
    name.put(out);
    seq.put(out);
    prev.put(out);
    ts.put(out);
    received.put(out);
    kind.put(out);
    frame.put(out);
}
