//! Whom an answer serves, and whom it makes wait no longer.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Archive, EVERYTHING, PATIENCE, Place, Waiter};
use crate::time::Instant;

impl Archive {
    /// Takes those who wait for a topic at the places that `covers`; for all channels, those of every topic.
    pub(super) fn take_wants(
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
    pub(super) fn take_subscribes(&mut self, topic: &Arc<str>, after: u64) -> Vec<(Place, Waiter)> {
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
    pub(super) fn take_impatient(
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
