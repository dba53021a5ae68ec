//! The shard's part of the flight recorder: its state as bytes, the calls that it records, and how a
//! recorded call is made again.
//!
//! Every call from outside that changes the state is recorded, before it is carried out, so that a
//! recording ends with the call that failed. Times and places that repeat are left out: a transmit
//! names its connection only where it is not the one that was polled last.

mod call;
mod notes;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

pub use self::call::{Call, Given};
use super::log::Store;
use super::{Config, Grant, Output, Rate, Shard, Slot, Source, Taken};
use crate::id::ConnId;
use crate::record::codec::{Code, Writer, coded, hash};
use crate::record::{self, Broken, Machine, Reader, Recording, Tape};

coded!(Source {
    ready,
    epoch,
    durable,
    created,
    snapshot_head,
    head_seq,
    proven_from,
    lost_to,
    begin,
    live_from
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
    /// and its [`Input::Written`](super::Input::Written), and where `whole` is false (after a panic), without the hash of the
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
    /// Between a [`Self::transmit`] and its [`Input::Written`](super::Input::Written).
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
}

/// The calls that are no inputs and have a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timed<'a> {
    Open,
    OpenAs(&'a Grant),
    Timeout,
}
