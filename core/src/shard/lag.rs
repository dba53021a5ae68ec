//! How far the cursors are behind, measured when asked for: counting all the time would cost
//! something at every delivery.

use alloc::vec::Vec;

use super::Shard;
use super::session::State;
use super::subscription::Subscription;
use crate::id::Order;
use crate::stats::{Behind, Lag};
use crate::time::Instant;

impl Shard {
    /// The lag of all, and the `count` connections that are furthest behind, worst first.
    pub(super) fn measure_lag(&self, now: Instant, count: usize) -> (Lag, Vec<Behind>) {
        let mut lag = Lag::default();
        let mut worst = Vec::new();
        for (index, slot) in (0..).zip(&self.slots) {
            let Some(session) = &slot.session else {
                continue;
            };
            let Some(head) = self.pending_head(session) else {
                continue;
            };
            let mut behind = Behind {
                conn: self.conn_id(index),
                messages: 0,
                nanos: 0,
                subscriptions: 0,
                blocked: session.state == State::Blocked,
            };
            let mut ix = head;
            loop {
                let sub = &self.subs[ix.0];
                self.add_lag(now, sub, &mut lag, &mut behind);
                ix = sub.pending_next;
                if ix == head {
                    break;
                }
            }
            rank(&mut worst, count, behind);
        }
        (lag, worst)
    }

    fn add_lag(&self, now: Instant, sub: &Subscription, lag: &mut Lag, behind: &mut Behind) {
        let log = self.log(sub.topic);
        // Of a cold one it is not known how many; what the log has is the least.
        let next = if sub.cold { Order(0) } else { sub.next };
        let index = log.index_from(next);
        let messages = (log.places.len() - index) as u64;
        lag.messages_max = lag.messages_max.max(messages);
        behind.messages = behind.messages.max(messages);
        behind.subscriptions += 1;
        let oldest = log
            .places
            .get(index)
            .and_then(|place| self.store.get(*place));
        if let Some(publication) = oldest {
            let nanos = now.saturating_since(publication.received).as_nanos();
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            lag.nanos_max = lag.nanos_max.max(nanos);
            lag.histogram.observe(nanos);
            behind.nanos = behind.nanos.max(nanos);
        }
    }
}

/// Takes a connection into the list of the `count` worst, where it belongs there.
fn rank(worst: &mut Vec<Behind>, count: usize, behind: Behind) {
    let at = worst.partition_point(|other| other.lag() >= behind.lag());
    if at < count {
        worst.truncate(count - 1);
        worst.insert(at, behind);
    }
}
