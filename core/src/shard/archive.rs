//! The pages of history that a shard keeps, and who waits for which.
//!
//! Nobody owns a page: who reads one looks it up by where it stands, and one that had to go is asked for again.
//! One fetch is under way per topic; those who wait are served from the page that covers them, whoever asked for it. While many
//! topics wait for what is recent (everybody comes back after a restart), pages of all channels are asked for, which
//! serve them together.

mod saved;
mod served;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::subscription::SubIx;
use crate::history::{EVERYTHING, Fetch, Page};
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

    /// Somebody waits at a place. `own`: no page of all channels will do.
    pub(super) fn want(&mut self, place: Place, waiter: Waiter, own: bool) {
        let topic = place.0.clone();
        let want = self.wants.entry(place).or_insert_with(|| Want {
            waiters: Vec::new(),
            failing_since: None,
            own: false,
        });
        want.own |= own;
        want.waiters.push(waiter);
        self.enqueue(topic);
    }

    fn enqueue(&mut self, topic: Arc<str>) {
        let asked = self.under_way.values().any(|fetch| fetch.topic == topic);
        if !asked && self.queued.insert(topic.clone()) {
            self.turns.push_back(topic);
        }
    }

    /// The connections whose subscribe waits.
    pub(super) fn subscribers(&self) -> Vec<ConnId> {
        let waiters = self.wants.values().flat_map(|want| &want.waiters);
        let subscribers = waiters.filter_map(|waiter| match waiter {
            Waiter::Subscribe(conn) => Some(*conn),
            Waiter::Subscription(_) | Waiter::Replay(_) => None,
        });
        subscribers.collect()
    }

    /// Who waits at a place.
    #[cfg(feature = "verify")]
    pub(super) fn waiters(&self, place: &Place) -> &[Waiter] {
        self.wants.get(place).map_or(&[], |want| &want.waiters)
    }

    /// Somebody waits no more.
    pub(super) fn leave(&mut self, place: &Place, waiter: Waiter) {
        let Some(want) = self.wants.get_mut(place) else {
            return;
        };
        if let Some(at) = want.waiters.iter().position(|other| *other == waiter) {
            want.waiters.swap_remove(at);
        }
        if want.waiters.is_empty() {
            self.wants.remove(place);
        }
    }

    /// The next thing to ask for, if one may be asked for now. `head`: the newest seq.
    pub(super) fn next_fetch(&mut self, now: Instant, head: u64) -> Option<Fetch> {
        if self.under_way.len() >= self.fetches_max || self.pause.is_some_and(|until| now < until) {
            return None;
        }
        self.pause = None;
        let (topic, after) = match self.everything(head) {
            Everything::Under => return None,
            Everything::Next(place) => place,
            Everything::Not => self.next_turn()?,
        };
        self.was_everything = *topic == *EVERYTHING;
        self.requests += 1;
        let fetch = UnderWay {
            topic: topic.clone(),
            after,
        };
        self.under_way.insert(self.requests, fetch);
        Some(Fetch {
            request: self.requests,
            topic,
            after,
        })
    }

    /// Whether a page of all channels would serve many, and from where on.
    fn everything(&self, head: u64) -> Everything {
        if self.turns.len() < TOPICS_FOR_EVERYTHING {
            return Everything::Not;
        }
        let topic: Arc<str> = EVERYTHING.into();
        if self.under_way.values().any(|fetch| fetch.topic == topic) {
            return Everything::Under;
        }
        if self.was_everything {
            // Whoever it does not serve gets a turn in between.
            return Everything::Not;
        }
        let recent = self.wants.iter().filter(|((topic, after), want)| {
            !want.own
                && after.saturating_add(RECENT_MESSAGES) >= head
                && *after < head
                && self.queued.contains(topic)
        });
        let places = recent.map(|((_, after), _)| *after);
        let (mut first, mut count) = (u64::MAX, 0);
        for after in places {
            first = first.min(after);
            count += 1;
        }
        match count >= TOPICS_FOR_EVERYTHING {
            true => Everything::Next((topic, first)),
            false => Everything::Not,
        }
    }

    /// The topic whose turn it is, at the first place where somebody waits.
    fn next_turn(&mut self) -> Option<Place> {
        while let Some(topic) = self.turns.pop_front() {
            self.queued.remove(&topic);
            let from = (topic.clone(), 0);
            let first = self.wants.range(from..).next();
            if let Some(((found, after), _)) = first
                && *found == topic
            {
                return Some((topic, *after));
            }
        }
        None
    }

    /// Whether something is to be asked for.
    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// When something is to be asked for again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pause.filter(|_| !self.turns.is_empty())
    }

    /// The answer to a fetch; `None`: it is of a number line that is no more.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        request: u64,
        page: Option<&Arc<Page>>,
    ) -> Option<Served> {
        let UnderWay { topic, after } = self.under_way.remove(&request)?;
        let served = match page {
            // A stream that ends here proves a position, or shows that it is ahead; whoever wants more waits.
            Some(page) if page.to() <= after => {
                let waiters = self.take_subscribes(&topic, after);
                // Of those who stand elsewhere it says nothing.
                let here = (topic.clone(), after);
                let given_up = self.take_impatient(now, |place| *place == here);
                if self.wants.contains_key(&here) {
                    self.pause = Some(now + PAUSE);
                }
                Served { waiters, given_up }
            }
            Some(page) => {
                self.keep(page);
                Served {
                    waiters: self.take_wants(&topic, |place| {
                        place == after || place > after && place < page.to()
                    }),
                    given_up: Vec::new(),
                }
            }
            None => {
                self.pause = Some(now + PAUSE);
                let all = *topic == *EVERYTHING;
                let given_up = self.take_impatient(now, |(other, _)| all || *other == topic);
                Served {
                    waiters: Vec::new(),
                    given_up,
                }
            }
        };
        let mut wants = self.wants.range((topic.clone(), 0)..);
        if wants.next().is_some_and(|((other, _), _)| *other == topic) {
            self.enqueue(topic);
        }
        Some(served)
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
