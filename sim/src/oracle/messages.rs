//! The law of messages: whose they are, that they are what was published, that they come in order and leave
//! no hole. Also replays, which are messages that came before.

use super::client::{Client, Fault, Replay, Sub, fault};
use super::truth::{Line, Truth};
use super::wire::Message;
use super::{Laws, Seen, digest};

impl Client {
    pub(super) fn data(
        &mut self,
        laws: Laws,
        truth: &mut Truth,
        m: &Message<'_>,
    ) -> Result<Seen, Fault> {
        let (Some(channel), Some(seq), Some(data), Some(_)) = (&m.channel, m.seq, m.data, m.ts)
        else {
            return fault("a message without all of its fields");
        };
        let Some(name) = self.sub_of(channel).map(str::to_owned) else {
            return fault(format!(
                "{channel} is not subscribed: before the ack, after the end, or foreign"
            ));
        };
        if self.subs[&name].gated || self.awaits_reset {
            return fault("a message before the reset that gives it an epoch");
        }
        let hash = digest(data.get(), m.encoding.is_some());
        let Some(epoch) = &self.epoch else {
            return fault("a message without an epoch");
        };
        let is_it = |line: &Line| {
            line.entry(channel, seq)
                .is_some_and(|entry| entry.hash == hash && !entry.refused)
        };
        if !truth.narrow(epoch, seq, is_it) {
            if laws.rolls_back && truth.is_of_its_stream(epoch, is_it) {
                self.goes_astray();
                return Ok(Seen::Message);
            }
            return fault(format!(
                "{channel} {seq} was not published like that on the line of {epoch}"
            ));
        }
        if self.astray {
            self.goes_astray();
            return Ok(Seen::Message);
        }
        let sub = &self.subs[&name];
        if sub.last.is_some_and(|last| seq <= last) {
            return self.replayed(channel, seq);
        }
        if sub.owed_lost {
            return fault("a message before the lost that is owed");
        }
        if !sub.latest {
            // Whole on one of the lines that it may be.
            let chains = truth
                .lines_of(epoch)
                .map(|(_, line)| self.in_chain(laws, truth, line, &name, channel, seq, m.prev));
            chains.reduce(Result::or).unwrap_or(Ok(()))?;
        }
        self.chains.insert(channel.clone(), seq);
        if let Some(sub) = self.subs.get_mut(&name) {
            sub.last = Some(seq);
            sub.came = seq;
            sub.seen.insert(channel.clone());
        }
        Ok(Seen::Message)
    }

    /// What it is given is of a number line that it has yet to hear of: nothing counts until the `reset`.
    pub(super) fn goes_astray(&mut self) {
        self.astray = true;
        for replay in &mut self.replays {
            replay.astray = true;
        }
    }

    /// Whether a live message follows what came before it.
    #[allow(clippy::too_many_arguments, reason = "one judgement of one message")]
    fn in_chain(
        &self,
        laws: Laws,
        truth: &Truth,
        line: &Line,
        name: &str,
        channel: &str,
        seq: u64,
        prev: Option<u64>,
    ) -> Result<(), Fault> {
        let sub = &self.subs[name];
        let have = self.chains.get(channel).copied();
        let whole = match (prev, have) {
            // From history, where the stream no longer holds the one before: then the truth must say that it is
            // the one that the client has.
            (None, have) => {
                let follows = |have| self.no_hole(truth, line, sub, channel, have, seq).is_ok();
                !sub.seen.contains(channel) || have.is_some_and(follows)
            }
            // A server that began after the one before was purged knows of none.
            (Some(0), Some(have)) => {
                let entry = line.entry(channel, have);
                let gone = entry.is_some_and(|entry| entry.gone.is_some())
                    && self.no_hole(truth, line, sub, channel, have, seq).is_ok();
                have == 0 || sub.is_lost(have) || gone
            }
            // What another server delivered and this one lost is within the range.
            (Some(prev), Some(have)) => {
                prev == have || sub.is_lost(prev) || prev < have && sub.is_lost(have)
            }
            // A channel that the server refuses is left out when a number line begins, and not of its history.
            (Some(_), None) if laws.values_bounded && sub.wants_newest => true,
            (Some(prev), None) => sub.base.is_none_or(|base| prev <= base) || sub.is_lost(prev),
        };
        if !whole {
            return fault(format!(
                "{channel} {seq} has prev {prev:?}, and the client has {have:?}"
            ));
        }
        if let Some(prev) = prev.filter(|prev| *prev > 0)
            && prev >= seq
        {
            return fault(format!("{channel} {seq} has prev {prev}"));
        }
        let after = match (prev, have, sub.base) {
            // Where the chain begins in the middle nothing before it was promised.
            (None, None, _) if sub.wants_newest => return Ok(()),
            (_, Some(have), _) => have,
            (Some(prev), None, _) if sub.wants_newest && sub.is_lost(prev) => prev,
            (Some(prev), None, _) if sub.wants_newest && laws.values_bounded => prev,
            (_, None, Some(base)) if sub.wants_newest && seq <= base => {
                // A value of a snapshot is the last one as of the ack.
                let newer = line.between(channel, seq, base.saturating_add(1));
                let newer = newer.filter(|(newer, entry)| {
                    !entry.refused && entry.gone.is_none() && !sub.is_lost(*newer)
                });
                return match newer.last() {
                    None => Ok(()),
                    Some((newer, _)) => fault(format!(
                        "{channel} {seq} came as last value, and {newer} is newer"
                    )),
                };
            }
            (_, None, Some(base)) => base,
            (_, None, None) => return Ok(()),
        };
        self.no_hole(truth, line, sub, channel, after, seq)
    }

    fn replayed(&mut self, channel: &str, seq: u64) -> Result<Seen, Fault> {
        let mut replays = self.replays.iter_mut();
        let of_it = |replay: &&mut Replay| {
            replay.channel == channel
                && (replay.from..=replay.to).contains(&seq)
                && seq > replay.last
                && !replay.void
        };
        let Some(replay) = replays.find(of_it) else {
            return fault(format!("{channel} {seq} came again, or out of order"));
        };
        replay.last = seq;
        replay.count += 1;
        replay.came.insert(seq);
        Ok(Seen::Replayed)
    }

    fn take_replay(&mut self, m: &Message<'_>) -> Result<Replay, Fault> {
        let id = m.id.and_then(|id| id.get().parse::<u64>().ok());
        let at = self.replays.iter().position(|replay| Some(replay.id) == id);
        let Some(at) = at else {
            return fault("the end of a replay that was not asked for");
        };
        let mut replay = self.replays.remove(at);
        self.asked.remove(&replay.id);
        // There is one at a time of a channel, so an earlier one was dropped for its rate, and what came was of this one.
        let may_drop = self.may_drop > 0;
        let is_dropped =
            |other: &Replay| may_drop && other.id < replay.id && other.channel == replay.channel;
        let (dropped, others) = std::mem::take(&mut self.replays)
            .into_iter()
            .partition::<Vec<_>, _>(is_dropped);
        self.replays = others;
        for other in dropped {
            replay.last = replay.last.max(other.last);
            replay.count += other.count;
            replay.came.extend(other.came);
            replay.crossed |= other.crossed;
        }
        if m.channel.as_ref() != Some(&replay.channel) {
            return fault("the end of a replay of another channel");
        }
        Ok(replay)
    }

    pub(super) fn replay_complete(
        &mut self,
        tick: u64,
        laws: Laws,
        truth: &Truth,
        m: &Message<'_>,
    ) -> Result<Seen, Fault> {
        let replay = self.take_replay(m)?;
        if self.astray || replay.astray {
            return Ok(Seen::Answer);
        }
        if replay.void {
            return fault("a replay that is complete, of a number line that ended");
        }
        let (Some(from), Some(to), Some(count)) = (m.from, m.to, m.count) else {
            return fault("a replay_complete without all of its fields");
        };
        if from != replay.from || to > replay.to || count != replay.count || replay.last > to {
            return fault(format!(
                "the replay says {from}..={to}, {count} messages; it was {replay:?}"
            ));
        }
        let Some(name) = self.sub_of(&replay.channel) else {
            return fault("a replay of what is not subscribed");
        };
        let sub = &self.subs[name];
        let epoch = self.epoch.as_deref().unwrap_or_default();
        let judged = truth
            .lines_of(epoch)
            .map(|(_, line)| self.is_complete(tick, truth, line, sub, &replay, from, to));
        let judged = judged.reduce(Result::or).unwrap_or(Ok(()));
        if judged.is_err() && laws.rolls_back {
            self.goes_astray();
            return Ok(Seen::Answer);
        }
        judged.map(|()| Seen::Answer)
    }

    /// Whether a replay has everything of its channel on a line.
    #[allow(
        clippy::too_many_arguments,
        reason = "one judgement of one line of a replay_complete"
    )]
    fn is_complete(
        &self,
        tick: u64,
        truth: &Truth,
        line: &Line,
        sub: &Sub,
        replay: &Replay,
        from: u64,
        to: u64,
    ) -> Result<(), Fault> {
        // Where nothing of the channel is, live delivery may stand further than its last message.
        let stood = sub.last.max(sub.base).unwrap_or(0);
        let mut live = line.between(&replay.channel, stood, to.saturating_add(1));
        if let Some((seq, _)) = live.find(|(_, entry)| entry.gone.is_none()) {
            return fault(format!(
                "the replay goes to {to}, and {seq} was yet to come live after {:?}",
                sub.last
            ));
        }
        let between = line.between(
            &replay.channel,
            from.saturating_sub(1),
            to.saturating_add(1),
        );
        for (seq, entry) in between {
            let untraceable = self.is_untraceable(truth, seq, entry, tick);
            if !entry.refused && !untraceable && !replay.came.contains(&seq) {
                return fault(format!(
                    "the replay says that it is complete, without {seq}"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn replay_incomplete(
        &mut self,
        laws: Laws,
        truth: &Truth,
        m: &Message<'_>,
    ) -> Result<Seen, Fault> {
        let replay = self.take_replay(m)?;
        if self.astray || replay.astray {
            return Ok(Seen::Answer);
        }
        let (Some(sent), Some(reason)) = (m.sent, m.reason.as_deref()) else {
            return fault("a replay_incomplete without all of its fields");
        };
        if let (Some(oldest), Some(newest)) = (m.oldest, m.newest)
            && oldest > newest
        {
            return fault(format!("kept is {oldest}..={newest}"));
        }
        if sent != replay.count {
            return fault(format!(
                "the replay says {sent} messages, and {} came",
                replay.count
            ));
        }
        let legal = match reason {
            "too_old" => !laws.roomy,
            "unsubscribed" => self
                .asked
                .values()
                .any(|request| request.kind == "unsubscribe"),
            "epoch_changed" => replay.crossed,
            "upstream_unavailable" => self.may_be_away(laws, truth),
            _ => false,
        };
        match legal {
            true => Ok(Seen::Answer),
            false => fault(format!(
                "the replay ended as {reason}, for which there was no reason"
            )),
        }
    }
}
