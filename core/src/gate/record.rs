//! The Gate's part of the flight recorder: its state as bytes, the calls that it records, and how a
//! recorded call is made again.
//!
//! Addresses are recorded only where a limit per address is on, because only then do they decide.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Gate, Peer, Refused};
use crate::load::Sample;
use crate::record::codec::{Code, Writer, coded, hash};
use crate::record::{self, Broken, Machine, Reader, Recording, Tape};
use crate::time::Instant;

/// A call of a [`Gate`], as it was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// [`Gate::admit`].
    Admit(Option<IpAddr>),
    /// [`Gate::closed`].
    Closed(Option<IpAddr>),
    /// [`Gate::sample`].
    Sample(Sample),
    /// [`Gate::drain`].
    Drain,
}

const ADMIT: u8 = 0;
const CLOSED: u8 = 1;
const SAMPLE: u8 = 2;
const DRAIN: u8 = 3;

coded!(Peer {
    connections,
    bucket
});

impl Gate {
    /// From now on records what happens, in at most so many bytes; 0: no longer.
    pub fn record(&mut self, bytes_max: usize) {
        self.tape = (bytes_max > 0).then(|| Box::new(Tape::new(bytes_max)));
    }

    /// What was recorded; `None`: nothing is.
    #[must_use]
    pub fn recording(&self) -> Option<Recording> {
        let tape = self.tape.as_ref()?;
        let hash = tape.is_running().then(|| self.state_hash());
        Some(tape.copy(Machine::Gate, hash))
    }

    /// The complete state.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        record::saved(|out| self.save(out))
    }

    /// The Gate that [`Self::checkpoint`] was taken of. It records nothing.
    ///
    /// # Errors
    /// The bytes are no checkpoint of this version.
    pub fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        record::restored(bytes, Self::load)
    }

    /// A hash of the complete state.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        hash(&self.checkpoint())
    }

    fn save(&self, out: &mut Writer) {
        let Self {
            config,
            load,
            stats,
            connections,
            draining,
            accepts,
            line_end,
            peers,
            sweep_at,
            random,
            tape: _,
        } = self;
        config.put(out);
        load.put(out);
        stats.put(out);
        connections.put(out);
        draining.put(out);
        accepts.put(out);
        line_end.put(out);
        peers.len().put(out);
        for (address, peer) in peers {
            address.put(out);
            peer.put(out);
        }
        sweep_at.put(out);
        random.put(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Self {
            config: Code::get(from)?,
            load: Code::get(from)?,
            stats: Code::get(from)?,
            connections: Code::get(from)?,
            draining: Code::get(from)?,
            accepts: Code::get(from)?,
            line_end: Code::get(from)?,
            peers: (0..from.count()?)
                .map(|_| <(IpAddr, Peer)>::get(from))
                .collect::<Result<BTreeMap<_, _>, _>>()?,
            sweep_at: Code::get(from)?,
            random: Code::get(from)?,
            tape: None,
        })
    }

    fn note(&mut self, tag: u8, now: Option<Instant>, write: impl FnOnce(&mut Writer)) {
        let Some(mut tape) = self.tape.take() else {
            return;
        };
        if tape.is_due(now, 0) {
            tape.begin(now, |out| self.save(out));
        }
        tape.call(tag, now, write);
        self.tape = Some(tape);
    }

    pub(super) fn note_admit(&mut self, now: Instant, peer: Option<IpAddr>) {
        self.note(ADMIT, Some(now), |out| peer.put(out));
    }

    pub(super) fn note_closed(&mut self, now: Instant, peer: Option<IpAddr>) {
        self.note(CLOSED, Some(now), |out| peer.put(out));
    }

    pub(super) fn note_sample(&mut self, now: Instant, sample: Sample) {
        self.note(SAMPLE, Some(now), |out| sample.put(out));
    }

    pub(super) fn note_drain(&mut self) {
        self.note(DRAIN, None, |_| {});
    }
}

impl record::Recorded for Gate {
    type Call = Call;
    /// What was answered to who asked to be let in.
    type Given = Option<Result<(), Refused>>;
    type Context = ();

    fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        Self::restore(bytes)
    }

    fn state_hash(&self) -> u64 {
        Self::state_hash(self)
    }

    fn read(from: &mut Reader<'_>, (): &(), last: &mut u64) -> Result<(Instant, Call), Broken> {
        let tag = from.byte()?;
        if tag == DRAIN {
            return Ok((Instant::from_nanos(*last), Call::Drain));
        }
        let now = record::time(from, last)?;
        let call = match tag {
            ADMIT => Call::Admit(Code::get(from)?),
            CLOSED => Call::Closed(Code::get(from)?),
            SAMPLE => Call::Sample(Code::get(from)?),
            _ => return Err(Broken("a call is of no known kind")),
        };
        Ok((now, call))
    }

    fn apply(&mut self, now: Instant, call: &Call, (): &mut ()) -> Self::Given {
        match call {
            Call::Admit(peer) => return Some(self.admit(now, *peer)),
            Call::Closed(peer) => self.closed(now, *peer),
            Call::Sample(sample) => self.sample(now, *sample),
            Call::Drain => self.drain(),
        }
        None
    }
}
