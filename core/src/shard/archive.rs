//! The pages of history that a shard keeps, and who waits for which.
//!
//! Nobody owns a page: who reads one looks it up by where it stands, and one that had to go is asked for again.
//! One fetch is under way per topic; those who wait are served from the page that covers them, whoever asked for it. While many
//! topics wait for what is recent (everybody comes back after a restart), pages of all channels are asked for, which
//! serve them together.

mod saved;
mod wants;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::subscription::SubIx;
use crate::history::{EVERYTHING, Page};
use crate::id::ConnId;
use crate::time::Instant;

/// The pause after the upstream could not be asked.
const PAUSE: Duration = Duration::from_millis(500);

/// How long whoever is being sent history waits for an upstream that cannot be asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many topics that wait make pages of all channels worth while.
const TOPICS_FOR_EVERYTHING: usize = 8;

/// How far behind the head such pages are asked for: further back few of those who wait are near each other.
const RECENT_MESSAGES: u64 = 16_384;

/// Topics of which a hole is remembered.
const HOLES_MAX: usize = 1_024;

/// A topic and the seq after which a page of it begins.
pub(super) type Place = (Arc<str>, u64);

/// Who waits for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiter {
    /// A cold subscription.
    Subscription(SubIx),
    /// A connection whose subscribe is held until its positions are proven.
    Subscribe(ConnId),
    /// A connection with a replay of this topic.
    Replay(ConnId),
}

#[derive(Debug)]
struct Kept {
    page: Arc<Page>,
    /// When it was used last, in uses.
    used: u64,
}

/// A place that somebody stands at and no page covers.
#[derive(Debug)]
struct Want {
    waiters: Vec<Waiter>,
    /// When the upstream could not be asked for the first time.
    failing_since: Option<Instant>,
    /// A page of all channels could not tell.
    own: bool,
}

/// Whether a page of all channels is what to ask for.
enum Everything {
    Not,
    /// It was asked for: it may serve those whose turn it is.
    Under,
    Next(Place),
}

/// A fetch under way.
#[derive(Clone, PartialEq, Debug)]
struct UnderWay {
    topic: Arc<str>,
    after: u64,
    /// The newest seq that the Feed had read.
    head: u64,
}

#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes_max: usize,
    fetches_max: usize,
    pages: BTreeMap<Place, Kept>,
    /// The place of each page by when it was used last.
    uses: BTreeMap<u64, Place>,
    used: u64,
    bytes: usize,
    wants: BTreeMap<Place, Want>,
    /// Topics with wants, in the order in which they are asked for; each once.
    turns: VecDeque<Arc<str>>,
    /// The same topics.
    queued: BTreeSet<Arc<str>>,
    under_way: BTreeMap<u64, UnderWay>,
    requests: u64,
    /// The last fetch was for all channels.
    was_everything: bool,
    /// Nothing is asked before this moment.
    pause: Option<Instant>,
    /// The last seq of each topic behind which somebody who would rather be closed met a hole.
    holes: BTreeMap<Arc<str>, u64>,
}

/// Whom an answer concerns.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// To be looked at again: the page may be what they wait for.
    pub(super) waiters: Vec<(Place, Waiter)>,
    /// They waited for too long.
    pub(super) given_up: Vec<(Place, Waiter)>,
}

impl Archive {
    pub(super) fn new(bytes_max: usize, fetches_max: u32) -> Self {
        Self {
            bytes_max,
            fetches_max: fetches_max.max(1) as usize,
            ..Self::default()
        }
    }

    /// Whether anything may be asked for at all.
    pub(super) fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Nothing that was asked for means anything any more: the number line begins anew.
    pub(super) fn clear(&mut self) {
        let (bytes_max, fetches_max, requests) = (self.bytes_max, self.fetches_max, self.requests);
        *self = Self {
            bytes_max,
            fetches_max,
            requests,
            ..Self::default()
        };
    }

    /// Somebody was closed for a hole of a topic after `seq`. What was deleted does not come back, so whoever resumes before
    /// it is told at once, instead of reading up to there again, and again.
    pub(super) fn note_hole(&mut self, topic: Arc<str>, seq: u64) {
        if self.holes.len() >= HOLES_MAX && !self.holes.contains_key(&topic) {
            let oldest = self.holes.iter().min_by_key(|(_, seq)| **seq);
            let oldest = oldest.map(|(topic, _)| Arc::clone(topic));
            oldest.and_then(|topic| self.holes.remove(&topic));
        }
        let known = self.holes.entry(topic).or_default();
        *known = seq.max(*known);
    }

    /// Whether a hole of a topic lies behind a seq, as far as somebody was closed for it.
    pub(super) fn has_hole_behind(&self, topic: &str, seq: u64) -> bool {
        self.holes.get(topic).is_some_and(|hole| seq <= *hole)
    }

    /// A page that tells what comes after `seq` on a topic: its own, else one of all channels.
    pub(super) fn find(&self, topic: &Arc<str>, seq: u64) -> [Option<&Arc<Page>>; 2] {
        let everything = (**topic != *EVERYTHING).then(|| self.page_at(&EVERYTHING.into(), seq));
        [self.page_at(topic, seq), everything.flatten()]
    }

    fn page_at(&self, topic: &Arc<str>, seq: u64) -> Option<&Arc<Page>> {
        if self.pages.is_empty() {
            return None;
        }
        let (place, kept) = self.pages.range(..=(topic.clone(), seq)).next_back()?;
        (place.0 == *topic && kept.page.reaches(seq)).then_some(&kept.page)
    }

    /// Takes note that a page was of use.
    pub(super) fn touch(&mut self, page: &Page) {
        let place = (page.topic.clone(), page.after);
        if let Some(kept) = self.pages.get_mut(&place) {
            self.used += 1;
            self.uses.remove(&kept.used);
            kept.used = self.used;
            self.uses.insert(self.used, place);
        }
    }

    /// Keeps a page that tells something, and lets those go that were not used for the longest time.
    fn keep(&mut self, page: &Arc<Page>) {
        let place = (page.topic.clone(), page.after);
        self.drop_page(&place);
        self.used += 1;
        self.bytes += page.bytes();
        self.uses.insert(self.used, place.clone());
        let kept = Kept {
            page: page.clone(),
            used: self.used,
        };
        self.pages.insert(place, kept);
        // The newest stays whatever its size: somebody waits for it.
        while self.bytes > self.bytes_max
            && self.pages.len() > 1
            && let Some((_, oldest)) = self.uses.first_key_value()
        {
            let oldest = oldest.clone();
            self.drop_page(&oldest);
        }
    }

    fn drop_page(&mut self, place: &Place) {
        if let Some(kept) = self.pages.remove(place) {
            self.uses.remove(&kept.used);
            self.bytes -= kept.page.bytes();
        }
    }
}
