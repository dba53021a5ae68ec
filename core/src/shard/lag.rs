//! How far the cursors are behind, measured when asked for: counting all the time would cost
//! something at every delivery.

use super::Shard;
use super::subscription::Subscription;
use crate::stats::Lag;
use crate::time::Instant;

impl Shard {
    pub(super) fn measure_lag(&self, now: Instant) -> Lag {
        let mut lag = Lag::default();
        for slot in &self.slots {
            let Some(session) = &slot.session else {
                continue;
            };
            let Some(head) = self.pending_head(session) else {
                continue;
            };
            let mut ix = head;
            loop {
                let sub = &self.subs[ix.0];
                self.add_lag(now, sub, &mut lag);
                ix = sub.pending_next;
                if ix == head {
                    break;
                }
            }
        }
        lag
    }

    fn add_lag(&self, now: Instant, sub: &Subscription, lag: &mut Lag) {
        let log = self.log(sub.topic);
        let index = log.index_from(sub.next);
        let behind = (log.places.len() - index) as u64;
        lag.messages_max = lag.messages_max.max(behind);
        let oldest = log
            .places
            .get(index)
            .and_then(|place| self.store.get(*place));
        if let Some(publication) = oldest {
            let nanos = now.saturating_since(publication.received).as_nanos();
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            lag.nanos_max = lag.nanos_max.max(nanos);
            lag.histogram.observe(nanos);
        }
    }
}
