//! The law of answers: each request has one, in order, and it says what is true.

use super::client::{Client, Fault, Replay, Sub, fault};
use super::truth::Truth;
use super::wire::{Message, Position, Request, Resume, Unrecovered};
use super::{Laws, Seen, covers, is_pattern, meet};

impl Client {
    /// The request that a message answers, which must be of this kind.
    pub(super) fn take_request(&mut self, m: &Message<'_>, kind: &str) -> Result<Request, Fault> {
        let id = m.id.and_then(|id| id.get().parse::<u64>().ok());
        let Some(request) = id.and_then(|id| self.asked.remove(&id)) else {
            return fault("an answer to nothing that was asked");
        };
        let id = id.unwrap_or(0);
        if request.kind != kind {
            return fault(format!("a {} was answered as a {kind}", request.kind));
        }
        if id < self.answered {
            return fault("answers out of the order of their requests");
        }
        self.answered = id;
        Ok(request)
    }

    /// A replay says nothing when it begins, so one that was asked counts as begun.
    pub(super) fn begin_replay(&mut self, id: u64, request: &Request) {
        let only = self.subs.keys().next();
        let Some(channel) = request.data.channel.as_ref().or(only) else {
            return;
        };
        let since = request.data.since.map(|since| since.saturating_add(1));
        self.replays.push(Replay {
            id,
            channel: channel.clone(),
            from: request.data.from.or(since).unwrap_or(0),
            to: request.data.to.unwrap_or(u64::MAX),
            last: 0,
            count: 0,
            crossed: false,
            void: false,
            astray: self.astray,
            came: Default::default(),
        });
    }

    pub(super) fn subscription_ack(
        &mut self,
        tick: u64,
        laws: Laws,
        truth: &Truth,
        m: &Message<'_>,
    ) -> Result<Seen, Fault> {
        let request = self.take_request(m, "subscribe")?;
        let asked = &request.data;
        let (Some(subscribed), Some(count), Some(durable), Some(positions)) =
            (&m.subscribed, m.count, m.durable, &m.positions)
        else {
            return fault("an ack without all of its fields");
        };
        if *subscribed != asked.channels || count != (self.subs.len() + subscribed.len()) as u64 {
            return fault("the ack is not of what was asked");
        }
        for (at, name) in subscribed.iter().enumerate() {
            let others = self.subs.keys().chain(&subscribed[..at]);
            if let Some(other) = others.into_iter().find(|other| meet(name, other)) {
                return fault(format!("{name} meets {other}, and both are subscribed"));
            }
        }
        if !self.subs.is_empty() && m.epoch.is_some() && m.epoch != self.epoch {
            self.awaits_reset = true;
        }
        if self.epoch != m.epoch && m.epoch.is_some() {
            self.chains.clear();
            self.epoch.clone_from(&m.epoch);
        }
        if m.epoch.is_none() {
            // Nothing of any subscription comes before the reset.
            self.subs.values_mut().for_each(|sub| sub.gated = true);
        }
        for name in subscribed {
            let Some(position) = positions.get(name).copied() else {
                return fault(format!("the ack has no position of {name}"));
            };
            let wish = asked.resume.as_ref().and_then(|resume| {
                let at = resume.positions.get(name)?;
                Some((resume, *at))
            });
            let recovered = m.recovered.contains(name);
            let failed = m.unrecovered.iter().find(|item| item.channel == *name);
            if wish.is_some() != (recovered || failed.is_some()) || recovered && failed.is_some() {
                return fault(format!(
                    "{name}: either recovered or not, if it was to be resumed"
                ));
            }
            let latest = asked.mode == "latest";
            if let Some((resume, at)) = wish {
                let away = self.may_be_away(laws, truth);
                // A durable number line ends before a position where it went back, or where the client made the
                // position up.
                let ahead = !durable || laws.rolls_back || request.is_ahead;
                judge_resume(
                    laws, m, resume, at, position, latest, recovered, ahead, failed, away,
                )?;
            }
            let continues = asked.on_lost == "continue";
            let owed_lost =
                failed.is_some_and(|item| item.reason == "too_old") && continues && !latest;
            if owed_lost && position != wish.map(|(_, at)| at.seq()) {
                return fault(format!("{name}: it continues at its own position"));
            }
            let snapshot = asked.snapshot && !owed_lost && (latest || !recovered);
            if let (Some(epoch), Some(position), None) = (&m.epoch, position, wish)
                && !is_pattern(name)
                && position > 0
                && !truth.is_of_its_stream(epoch, |line| line.entry(name, position).is_some())
            {
                return fault(format!("{name} has no {position}"));
            }
            if !recovered {
                self.chains.retain(|channel, _| !covers(name, channel));
            }
            // A position that was resumed may be that of a `lost`: what comes next has a prev at or below it.
            let exact = !recovered && !owed_lost && !is_pattern(name);
            if let (Some(position), true) = (position, exact) {
                self.chains.insert(name.clone(), position);
            }
            let wants_newest = snapshot && !recovered;
            if wants_newest && !is_pattern(name) {
                // Its last value has yet to come, whatever the position says.
                self.chains.remove(name);
            }
            let sub = Sub {
                base: position,
                last: if wants_newest && is_pattern(name) {
                    Some(0)
                } else {
                    position
                },
                latest,
                continues,
                wants_newest,
                recovered,
                gated: m.epoch.is_none(),
                owed_lost,
                since: tick,
                ..Sub::default()
            };
            self.subs.insert(name.clone(), sub);
        }
        Ok(match asked.resume {
            Some(_) => Seen::Resumed {
                recovered: m.recovered.len(),
                unrecovered: m.unrecovered.len(),
            },
            None => Seen::Answer,
        })
    }

    /// Whether a server may say that it could not ask the stream: there is none, it cannot be reached, or it is not the
    /// stream of the number line any more, and the `reset` is still on its way.
    pub(super) fn may_be_away(&self, laws: Laws, truth: &Truth) -> bool {
        let replaced = |epoch: &String| truth.may_be_replaced(epoch);
        self.may_be_unavailable || laws.outages || self.epoch.as_ref().is_none_or(replaced)
    }

    pub(super) fn unsubscription_ack(&mut self, m: &Message<'_>) -> Result<Seen, Fault> {
        let request = self.take_request(m, "unsubscribe")?;
        if m.unsubscribed.as_ref() != Some(&request.data.channels) {
            return fault("the ack is not of what was asked");
        }
        for name in &request.data.channels {
            if self.subs.remove(name).is_none() {
                return fault(format!("{name} was not subscribed"));
            }
            self.chains.retain(|channel, _| !covers(name, channel));
            let running = self
                .replays
                .iter()
                .find(|replay| covers(name, &replay.channel));
            if let Some(replay) = running
                && replay.id < request.id.unwrap_or(0)
                && self.dropped == 0
            {
                return fault("a replay outlives its subscription");
            }
        }
        match m.count == Some(self.subs.len() as u64) {
            true => Ok(Seen::Answer),
            false => fault("the count is not that of the subscriptions"),
        }
    }

    pub(super) fn error(&mut self, m: &Message<'_>) -> Result<Seen, Fault> {
        let (Some(code), Some(_)) = (m.code.as_deref(), &m.message) else {
            return fault("an error without all of its fields");
        };
        let Some(id) = m.id else {
            if code == "RATE_LIMIT_EXCEEDED" {
                self.dropped += 1;
                return match self.dropped <= self.may_drop {
                    true => Ok(Seen::Refused),
                    false => fault("dropped for its rate, and it was within it"),
                };
            }
            self.nameless = match self.nameless.checked_sub(1) {
                Some(left) => left,
                None => return fault("an error for nothing that was sent"),
            };
            return Ok(Seen::Refused);
        };
        let id: u64 = match id.get().parse() {
            Ok(id) => id,
            Err(_) => return fault("an error with an id that was not sent"),
        };
        let Some(request) = self.asked.remove(&id) else {
            return fault("an error for nothing that was asked");
        };
        self.replays.retain(|replay| replay.id != id);
        self.answered = self.answered.max(id);
        let names = &request.data.channels;
        let twice = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
        let subscribed = |name: &String| self.subs.contains_key(name);
        let meets = |name: &String| {
            let mut others = self
                .subs
                .keys()
                .chain(names.iter().filter(|other| *other != name));
            others.any(|other| meet(name, other))
        };
        let legal = match code {
            "ALREADY_SUBSCRIBED" => names.iter().any(|name| subscribed(name) || twice(name)),
            "SUBSCRIPTION_OVERLAP" => names.iter().any(meets),
            "NOT_SUBSCRIBED" => match &request.data.channel {
                Some(channel) => {
                    self.sub_of(channel).is_none()
                        || is_pattern(channel)
                        || request.kind == "replay"
                }
                None => names.iter().any(|name| !subscribed(name) || twice(name)),
            },
            "REPLAY_IN_PROGRESS" => request.kind == "replay",
            "RATE_LIMIT_EXCEEDED" => false,
            _ => true,
        };
        match legal {
            true => Ok(Seen::Refused),
            false => fault(format!("{code}, for which there was no reason")),
        }
    }
}

/// Whether what became of a resume can be true.
#[allow(
    clippy::too_many_arguments,
    reason = "one judgement of one line of an ack"
)]
fn judge_resume(
    laws: Laws,
    m: &Message<'_>,
    resume: &Resume,
    at: Position,
    position: Option<u64>,
    latest: bool,
    recovered: bool,
    may_be_ahead: bool,
    failed: Option<&Unrecovered>,
    away: bool,
) -> Result<(), Fault> {
    let same = m.epoch.as_deref() == Some(resume.epoch.as_str());
    if recovered && !latest && (!same || position != Some(at.seq())) {
        return fault(format!(
            "{resume:?} is recovered at {position:?} of {:?}",
            m.epoch
        ));
    }
    let Some(item) = failed else {
        return Ok(());
    };
    if let (Some(oldest), Some(newest)) = (item.oldest, item.newest)
        && oldest > newest.saturating_add(1)
    {
        return fault(format!("kept is {oldest}..={newest}"));
    }
    let timed = matches!(at, Position::Timed { .. });
    let legal = match item.reason.as_str() {
        "epoch_changed" => !same || timed,
        "ahead_of_log" => same && may_be_ahead,
        "upstream_unavailable" => m.epoch.is_none() || away,
        "too_old" => same && !laws.roomy,
        _ => false,
    };
    match legal {
        true => Ok(()),
        false => fault(format!(
            "{} for {resume:?}, for which there was no reason",
            item.reason
        )),
    }
}
