//! The law of notices: a `lost` names what is missing and nothing that is still there; a `reset` begins anew.

use super::client::{Client, Fault, fault};
use super::truth::{Line, Truth};
use super::wire::Message;
use super::{Laws, Seen, covers};

impl Client {
    pub(super) fn lost(
        &mut self,
        laws: Laws,
        truth: &Truth,
        m: &Message<'_>,
    ) -> Result<Seen, Fault> {
        let (Some(from), Some(reason)) = (m.from, m.reason.as_deref()) else {
            return fault("a lost without all of its fields");
        };
        if self.astray {
            return Ok(Seen::Lost);
        }
        let to = m.to.unwrap_or(u64::MAX);
        if to < from
            || m.until
                .is_some_and(|until| until <= to || m.channel.is_some())
        {
            return fault(format!("a lost of {from}..={to}"));
        }
        let Some(channel) = &m.channel else {
            if self.subs.is_empty() {
                return fault("a lost for all subscriptions, and there is none");
            }
            self.is_really_gone(truth, from, m.to, reason)?;
            for (name, sub) in &mut self.subs {
                // What came since the ack was before the hole; only a resumed position may be after it.
                if !sub.recovered && sub.came > sub.base.unwrap_or(0) && sub.came >= from {
                    return fault(format!(
                        "{name}: a notice of {from} after what came behind it"
                    ));
                }
                sub.lost.push((from, m.until.unwrap_or(to)));
                sub.last = sub.last.max(m.to);
                sub.seen.clear();
            }
            return Ok(Seen::Lost);
        };
        let Some(name) = self.sub_of(channel).map(str::to_owned) else {
            return fault(format!("a lost of {channel}, which is not subscribed"));
        };
        let Some(sub) = self.subs.get_mut(&name) else {
            return fault("no such subscription");
        };
        if sub.gated {
            return fault("a lost before the reset that gives an epoch");
        }
        if reason == "slow_consumer" {
            if name != *channel {
                return fault("a slow consumer is told by the name that it subscribed");
            }
            if !sub.latest && !sub.continues {
                return fault("it wanted to be closed and not to be told");
            }
            if !sub.latest && !self.may_close.contains(&4008) {
                return fault("it was not slow");
            }
        }
        if name == *channel && sub.owed_lost && reason == "discarded" {
            sub.owed_lost = false;
        }
        if reason == "too_large" {
            let epoch = self.epoch.as_deref().unwrap_or_default();
            let is_refused =
                |line: &Line| line.entry(channel, from).is_some_and(|entry| entry.refused);
            let refused = truth.lines_of(epoch).any(|(_, line)| is_refused(line));
            if !refused && laws.rolls_back && truth.is_of_its_stream(epoch, is_refused) {
                self.goes_astray();
                return Ok(Seen::Lost);
            }
            if from != to || !refused {
                return fault(format!("{channel} {from}..={to} was not too large"));
            }
        }
        sub.lost.push((from, to));
        sub.last = sub.last.max(m.to);
        if covers(&name, channel) && name == *channel {
            sub.seen.clear();
        } else {
            sub.seen.remove(channel);
        }
        Ok(Seen::Lost)
    }

    /// A notice for all must not name what the stream still has.
    fn is_really_gone(
        &self,
        truth: &Truth,
        from: u64,
        to: Option<u64>,
        reason: &str,
    ) -> Result<(), Fault> {
        let (Some(to), "discarded") = (to, reason) else {
            return Ok(());
        };
        let epoch = self.epoch.as_deref().unwrap_or_default();
        let mut there = None;
        for (_, line) in truth.lines_of(epoch) {
            match line.still_there(from, to) {
                None => return Ok(()),
                Some((channel, seq)) => there = Some(format!("{channel} {seq}")),
            }
        }
        fault(format!(
            "{from}..={to} is announced as discarded, and the stream has {there:?}"
        ))
    }

    pub(super) fn reset(&mut self, tick: u64, m: &Message<'_>) -> Result<Seen, Fault> {
        let (Some(epoch), Some(_)) = (&m.epoch, m.reason.as_deref()) else {
            return fault("a reset without all of its fields");
        };
        if self.subs.is_empty() {
            return fault("a reset, and nothing is subscribed");
        }
        self.epoch = Some(epoch.clone());
        self.awaits_reset = false;
        self.astray = false;
        self.chains.clear();
        for replay in &mut self.replays {
            replay.crossed = true;
            // One of which nothing came may have begun after the reset, which was on its way.
            replay.void = replay.count > 0;
        }
        for sub in self.subs.values_mut() {
            (sub.base, sub.last) = (Some(0), Some(0));
            sub.lost.clear();
            sub.seen.clear();
            sub.gated = false;
            sub.owed_lost = false;
            sub.wants_newest = true;
            sub.recovered = false;
            sub.came = 0;
            sub.since = tick;
        }
        Ok(Seen::Reset)
    }
}
