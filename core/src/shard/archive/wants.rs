//! Who waits for which page, what is asked for next, and whom an answer concerns.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{
    Archive, Everything, PATIENCE, PAUSE, Place, RECENT_MESSAGES, Served, TOPICS_FOR_EVERYTHING,
    UnderWay, Waiter, Want,
};
use crate::history::{EVERYTHING, Fetch, Page};
use crate::id::ConnId;
use crate::time::Instant;

impl Archive {
    /// Somebody waits at a place. `own`: no page of all channels will do.
    pub(in crate::shard) fn want(&mut self, place: Place, waiter: Waiter, own: bool) {
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
    pub(in crate::shard) fn subscribers(&self) -> Vec<ConnId> {
        let waiters = self.wants.values().flat_map(|want| &want.waiters);
        let subscribers = waiters.filter_map(|waiter| match waiter {
            Waiter::Subscribe(conn) => Some(*conn),
            Waiter::Subscription(_) | Waiter::Replay(_) => None,
        });
        subscribers.collect()
    }

    /// Who waits at a place.
    #[cfg(feature = "verify")]
    pub(in crate::shard) fn waiters(&self, place: &Place) -> &[Waiter] {
        self.wants.get(place).map_or(&[], |want| &want.waiters)
    }

    /// Somebody waits no more.
    pub(in crate::shard) fn leave(&mut self, place: &Place, waiter: Waiter) {
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
    pub(in crate::shard) fn next_fetch(&mut self, now: Instant, head: u64) -> Option<Fetch> {
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
            head,
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
    pub(in crate::shard) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// When something is to be asked for again.
    pub(in crate::shard) fn due(&self) -> Option<Instant> {
        self.pause.filter(|_| !self.turns.is_empty())
    }

    /// What of an answer is of the past that the Feed knows: what it had read when the stream was asked. That the stream went
    /// back behind this is noticed; that it did between the answer and the reading of what comes after is not.
    pub(in crate::shard) fn known(&self, request: u64, page: Arc<Page>) -> Arc<Page> {
        match self.under_way.get(&request) {
            Some(asked) => page.cut(asked.head),
            None => page,
        }
    }

    /// The answer to a fetch; `None`: it is of a number line that is no more.
    pub(in crate::shard) fn answered(
        &mut self,
        now: Instant,
        request: u64,
        page: Option<&Arc<Page>>,
    ) -> Option<Served> {
        let UnderWay { topic, after, .. } = self.under_way.remove(&request)?;
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

    /// Takes those who wait for a topic at the places that `covers`; for all channels, those of every topic.
    fn take_wants(
        &mut self,
        topic: &Arc<str>,
        covers: impl Fn(u64) -> bool,
    ) -> Vec<(Place, Waiter)> {
        let all = **topic == *EVERYTHING;
        let from = if all { "".into() } else { topic.clone() };
        let wants = self.wants.range((from, 0)..);
        let places: Vec<Place> = wants
            .take_while(|((other, _), _)| all || other == topic)
            .filter(|((other, after), want)| {
                let is_own = other == topic;
                covers(*after) && (is_own || !want.own)
            })
            .map(|(place, _)| place.clone())
            .collect();
        self.take(&places)
    }

    /// Takes those whose subscribe waits at a place.
    fn take_subscribes(&mut self, topic: &Arc<str>, after: u64) -> Vec<(Place, Waiter)> {
        let place = (topic.clone(), after);
        let Some(want) = self.wants.get_mut(&place) else {
            return Vec::new();
        };
        let is_subscribe = |waiter: &Waiter| matches!(waiter, Waiter::Subscribe(_));
        let (taken, left) = want.waiters.iter().copied().partition(is_subscribe);
        want.waiters = left;
        if want.waiters.is_empty() {
            self.wants.remove(&place);
        }
        let taken: Vec<Waiter> = taken;
        taken
            .into_iter()
            .map(|waiter| (place.clone(), waiter))
            .collect()
    }

    /// Takes those whom a failure `concerns`: subscribes are answered at once, others after a while.
    fn take_impatient(
        &mut self,
        now: Instant,
        concerns: impl Fn(&Place) -> bool,
    ) -> Vec<(Place, Waiter)> {
        let mut taken = Vec::new();
        for (place, want) in &mut self.wants {
            if !concerns(place) {
                continue;
            }
            let since = *want.failing_since.get_or_insert(now);
            let over = since + PATIENCE <= now;
            let mut at = 0;
            while let Some(waiter) = want.waiters.get(at).copied() {
                if over || matches!(waiter, Waiter::Subscribe(_)) {
                    taken.push((place.clone(), waiter));
                    want.waiters.remove(at);
                } else {
                    at += 1;
                }
            }
        }
        self.wants.retain(|_, want| !want.waiters.is_empty());
        taken
    }

    fn take(&mut self, places: &[Place]) -> Vec<(Place, Waiter)> {
        let mut taken = Vec::new();
        for place in places {
            let waiters = self.wants.remove(place).map(|want| want.waiters);
            let waiters = waiters.into_iter().flatten();
            taken.extend(waiters.map(|waiter| (place.clone(), waiter)));
        }
        taken
    }
}
