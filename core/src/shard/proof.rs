//! Positions that only the stream can prove: a subscribe that brings some is held while the stream is asked, and
//! each position gets a verdict, from which the cursor then starts ([`super::start`]).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::Shard;
use super::archive::{Place, Waiter};
use super::cold::hole_end;
use crate::history::{Page, Proof};
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;
use crate::wire::request::{Mode, OnLost, Position, RequestId, Subscribe};

/// How long a subscribe waits for the proof of its positions.
pub(super) const PROOF_TIME_MAX: Duration = Duration::from_secs(5);

/// A subscribe that waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) until: Instant,
    pub(crate) id: Option<RequestId>,
    pub(crate) subscribe: Subscribe,
    /// What the stream said of its positions.
    pub(crate) verdicts: BTreeMap<String, Verdict>,
    /// What was asked for.
    pub(crate) asks: Vec<Place>,
}

/// What the stream said of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Everything after it can be had.
    Whole,
    /// Messages after it and up to a seq may be gone; the oldest that is left.
    Hole { to: u64, oldest: Option<u64> },
    /// The stream has another message there.
    Different,
    /// The stream ends before it.
    Ahead,
    /// The stream could not be asked.
    Unavailable,
}

/// What a page says of a position.
pub(super) fn proof(page: &Page, name: &str, position: Position) -> Proof {
    if crate::name::is_pattern(name) {
        page.proof_of_pattern(name, position.seq, position.ts)
    } else {
        page.proof_of_channel(name, position.seq, position.ts)
    }
}

impl Shard {
    /// What a page, or that there is none, says of the positions at a place.
    pub(super) fn judge(&mut self, index: u32, place: &Place, page: Option<&Page>) {
        let extra = self.at(index).extra.as_deref_mut();
        let Some(mut held) = extra.and_then(|extra| extra.held.take()) else {
            return;
        };
        held.asks.retain(|ask| ask != place);
        let resume = held.subscribe.resume.as_ref();
        let positions = resume.map_or(&[][..], |resume| &resume.positions);
        let here = positions
            .iter()
            .find(|(name, position)| **name == *place.0 && position.seq == place.1);
        if let Some((name, position)) = here
            && let Some(verdict) = self.verdict(name, *position, page)
        {
            held.verdicts.insert(name.clone(), verdict);
        }
        self.prove_and_subscribe(index, held);
        self.at(index).tidy();
    }

    fn verdict(&self, name: &str, position: Position, page: Option<&Page>) -> Option<Verdict> {
        let Some(page) = page else {
            return Some(Verdict::Unavailable);
        };
        if position.seq > self.source.head_seq {
            return match position.seq <= page.extent.last_seq {
                true => Some(Verdict::Whole),
                false => Some(Verdict::Ahead),
            };
        }
        // What this server saw to be lost may be what the stream does not show any more. A pattern meets it on the page
        // where it was; of a channel each page behind this one is believed for what is left before it.
        let is_pattern = crate::name::is_pattern(name);
        let lost_to = self.source.lost_to;
        let tells = page.extent.intact && (is_pattern || page.to() >= lost_to);
        let saw_loss = position.seq < lost_to && !tells;
        let gone_to = match proof(page, name, position) {
            Proof::Whole if !saw_loss => return Some(Verdict::Whole),
            Proof::Whole => lost_to,
            Proof::Different => return Some(Verdict::Different),
            Proof::Unknown => return None,
            // The Feed had not read up to the position when the stream was asked, and has now: it is judged anew.
            Proof::Hole if page.to() <= position.seq && position.seq < page.extent.last_seq => {
                return None;
            }
            Proof::Hole if is_pattern => page.to(),
            Proof::Hole => hole_end(page, name, position.seq),
        };
        let to = gone_to.max(lost_to).max(position.seq + 1);
        let mut left = page.entries.iter().filter(|entry| entry.seq > position.seq);
        let oldest = left.next().map(|entry| entry.seq);
        Some(Verdict::Hole { to, oldest })
    }

    /// Does a subscribe whose positions are proven, or asks for what proves them.
    pub(super) fn prove_and_subscribe(&mut self, index: u32, mut held: Held) {
        if self.has_history() && held.subscribe.mode == Mode::Lossless {
            self.ask_for_proofs(index, &mut held);
        }
        if held.asks.is_empty() {
            return self.subscribe(index, held.id.as_ref(), &held.subscribe, &held.verdicts);
        }
        self.at(index).extra_mut().held = Some(held);
        self.file(index);
    }

    fn ask_for_proofs(&mut self, index: u32, held: &mut Held) {
        let conn = self.conn_id(index);
        let Some(resume) = &held.subscribe.resume else {
            return;
        };
        if self.source.epoch.as_deref() != Some(&*resume.epoch) {
            return;
        }
        for name in &held.subscribe.channels {
            let mut positions = resume.positions.iter();
            let Some((_, position)) = positions.find(|(channel, _)| channel == name) else {
                continue;
            };
            if held.verdicts.contains_key(name)
                || !self.allows(index, name)
                || held.asks.iter().any(|(topic, _)| **topic == **name)
                || self.is_proven_here(name, position.seq)
            {
                continue;
            }
            let closes = held.subscribe.on_lost == OnLost::Close;
            if closes && self.archive.has_hole_behind(name, position.seq) {
                let hole = Verdict::Hole {
                    to: position.seq + 1,
                    oldest: None,
                };
                held.verdicts.insert(name.clone(), hole);
                continue;
            }
            let topic: Arc<str> = name.as_str().into();
            let mut own = position.seq > self.source.head_seq;
            let pages = self.archive.find(&topic, position.seq);
            let mut verdict = None;
            for page in pages.into_iter().flatten().filter(|_| !own) {
                verdict = verdict.or(self.verdict(name, *position, Some(page)));
            }
            if let Some(verdict) = verdict {
                held.verdicts.insert(name.clone(), verdict);
                continue;
            }
            own |= pages[1].is_some();
            let place = (topic, position.seq);
            self.archive
                .want(place.clone(), Waiter::Subscribe(conn), own);
            held.asks.push(place);
        }
    }

    /// Whether what this server saw and holds proves a position, and has all that follows it.
    fn is_proven_here(&self, name: &str, seq: u64) -> bool {
        if seq > self.source.head_seq {
            return false;
        }
        if crate::name::is_pattern(name) {
            let dropped = match self.catalog.find_pattern(name) {
                Some(ix) => self.catalog.pattern(ix).log.dropped_seq,
                None => self.catalog.dropped_of(name).1,
            };
            return seq >= self.kept_after(dropped).max(self.source.snapshot_head);
        }
        match self.catalog.find_channel(name) {
            Some(ix) => self.has_all_after(ix, seq) && seq >= self.catalog.channel(ix).first_seen,
            None => seq >= self.kept_after(0),
        }
    }

    /// The time for proofs is over: what is not proven is not recovered.
    pub(super) fn subscribe_unproven(&mut self, index: u32, mut held: Held) {
        let conn = self.conn_id(index);
        for place in held.asks.drain(..) {
            self.archive.leave(&place, Waiter::Subscribe(conn));
            held.verdicts
                .insert((*place.0).into(), Verdict::Unavailable);
        }
        self.subscribe(index, held.id.as_ref(), &held.subscribe, &held.verdicts);
    }

    /// The number line began anew: a subscribe that waits for proofs waits for the source now.
    pub(super) fn forget_proofs(&mut self, index: u32) {
        let extra = self.at(index).extra.as_deref_mut();
        if let Some(held) = extra.and_then(|extra| extra.held.as_mut()) {
            held.asks.clear();
            held.verdicts.clear();
        }
    }

    /// A loss was announced that what the stream said does not show. Whoever still waits for a proof waits for a page.
    pub(super) fn doubt_proofs(&mut self) {
        for conn in self.archive.subscribers() {
            let session = self.session_mut(conn);
            let extra = session.and_then(|session| session.extra.as_deref_mut());
            if let Some(held) = extra.and_then(|extra| extra.held.as_mut()) {
                held.verdicts
                    .retain(|_, verdict| *verdict != Verdict::Whole);
            }
        }
    }
}

coded!(Held {
    until,
    id,
    subscribe,
    verdicts,
    asks
});

impl Code for Verdict {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Whole => out.byte(0),
            Self::Hole { to, oldest } => {
                out.byte(1);
                to.put(out);
                oldest.put(out);
            }
            Self::Different => out.byte(2),
            Self::Ahead => out.byte(3),
            Self::Unavailable => out.byte(4),
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        match from.byte()? {
            0 => Ok(Self::Whole),
            1 => Ok(Self::Hole {
                to: Code::get(from)?,
                oldest: Code::get(from)?,
            }),
            2 => Ok(Self::Different),
            3 => Ok(Self::Ahead),
            4 => Ok(Self::Unavailable),
            _ => Err(Broken("a verdict is of no known kind")),
        }
    }
}
