//! What one client knows of its connection: its subscriptions, where each chain stands, what was asked and
//! not answered yet. Mirrors the client of `docs/PROTOCOL.md`, and is stricter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::truth::{Entry, Line, LineId, Truth};
use super::wire::{Message, Request};
use super::{Frame, Laws, Seen, covers};

/// What was sent and received last, for the report of a violation.
const HISTORY: usize = 40;

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault(pub(super) String);

/// The end of a check that found something wrong.
pub(super) fn fault<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(what.into()))
}

/// From where a client resumes: the epoch, and the position of each subscription.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Positions {
    /// The number line; `None`: unknown.
    pub epoch: Option<String>,
    /// By name or pattern.
    pub positions: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sub {
    /// Where the chains begin; `None`: unknown.
    pub(super) base: Option<u64>,
    /// The highest seq that came, or was named as lost.
    pub(super) last: Option<u64>,
    pub(super) lost: Vec<(u64, u64)>,
    /// The highest seq that came as a message.
    pub(super) came: u64,
    pub(super) latest: bool,
    pub(super) continues: bool,
    /// The newest value of each channel is promised, whatever its seq.
    pub(super) wants_newest: bool,
    /// All after `base` is promised, also what went upstream before the ack.
    pub(super) recovered: bool,
    /// Acked without an epoch: a `reset` comes first.
    pub(super) gated: bool,
    /// A `lost` comes first: the position could not be recovered.
    pub(super) owed_lost: bool,
    /// When it was acked.
    pub(super) since: u64,
    /// Channels that had a message since the ack or the last notice.
    pub(super) seen: BTreeSet<String>,
}

impl Sub {
    pub(super) fn is_lost(&self, seq: u64) -> bool {
        self.lost
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) id: u64,
    pub(super) channel: String,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) last: u64,
    pub(super) count: u64,
    /// A reset came since it was asked for.
    pub(super) crossed: bool,
    /// The number line ended under it.
    pub(super) void: bool,
    /// Some of it may have come while nothing counted.
    pub(super) astray: bool,
    /// The messages that came, for completeness.
    pub(super) came: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) history: VecDeque<String>,
    pub(super) welcomed: bool,
    pub(super) over: bool,
    pub(super) epoch: Option<String>,
    /// An ack named another epoch than the other subscriptions have: a reset must be on its way.
    pub(super) awaits_reset: bool,
    /// Asked and not answered, by id.
    pub(super) asked: BTreeMap<u64, Request>,
    /// The id of the last answer that keeps the order of requests.
    pub(super) answered: u64,
    /// Requests that were dropped for their rate.
    pub(super) dropped: usize,
    /// Requests that were over it.
    pub(super) may_drop: usize,
    /// Messages sent that cannot have been answered by an id.
    pub(super) nameless: usize,
    pub(super) subs: BTreeMap<String, Sub>,
    pub(super) chains: BTreeMap<String, u64>,
    pub(super) replays: Vec<Replay>,
    pub(super) may_close: BTreeSet<u16>,
    /// The stream could not be asked at a time.
    pub(super) may_be_unavailable: bool,
    /// Which server it is connected to.
    pub(super) server: u64,
    /// The stream went back, its server asked for history before it heard of it, and so this client was given what is of
    /// the new number line under the old epoch. A `reset` must follow.
    pub(super) astray: bool,
}

impl Client {
    pub(super) fn note(&mut self, tick: u64, what: &str) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let end = what.floor_char_boundary(400);
        self.history
            .push_back(format!("{tick:>7} {}", &what[..end]));
    }

    pub(super) fn sent(&mut self, tick: u64, truth: &Truth, json: &str) {
        self.note(tick, &format!("> {json}"));
        match serde_json::from_str::<Request>(json) {
            Ok(Request { id: None, .. }) | Err(_) => self.nameless += 1,
            Ok(mut request) => {
                request.is_ahead = request.data.resume.as_ref().is_some_and(|resume| {
                    let mut lines = truth.lines_of(&resume.epoch);
                    let last = resume.positions.values().map(|at| at.seq()).max();
                    lines.any(|(_, line)| last.is_some_and(|last| line.head() < last))
                });
                let id = request.id.unwrap_or(0);
                if request.kind == "replay" {
                    self.begin_replay(id, &request);
                }
                self.asked.insert(id, request);
            }
        }
    }

    pub(super) fn received(
        &mut self,
        tick: u64,
        laws: Laws,
        truth: &mut Truth,
        frame: Frame<'_>,
    ) -> Result<Seen, Fault> {
        match frame {
            Frame::Text(text) => self.note(tick, &format!("< {text}")),
            other => self.note(tick, &format!("< {other:?}")),
        }
        if self.over {
            return fault("something came after the close frame");
        }
        match frame {
            Frame::Text(text) => {
                let message: Message<'_> = serde_json::from_str(text)
                    .map_err(|error| Fault(format!("a message that is none: {error}")))?;
                self.message(tick, laws, truth, &message)
            }
            Frame::Ping | Frame::Pong => Ok(Seen::Sign),
            Frame::Close(code) => {
                self.over = true;
                let code = code.unwrap_or(1005);
                if !self.may_close.contains(&code) {
                    return fault(format!("closed with {code}, for which there was no reason"));
                }
                Ok(Seen::Closed)
            }
        }
    }

    fn message(
        &mut self,
        tick: u64,
        laws: Laws,
        truth: &mut Truth,
        m: &Message<'_>,
    ) -> Result<Seen, Fault> {
        if self.welcomed == (m.kind == "welcome") {
            return fault("a welcome comes first, and once");
        }
        match m.kind {
            "welcome" => {
                self.welcomed = true;
                self.epoch.clone_from(&m.epoch);
                let whole = m.session.is_some_and(|session| session.len() == 16)
                    && m.version.is_some()
                    && m.ping_ms.is_some()
                    && m.max_channels.is_some();
                match whole {
                    true => Ok(Seen::Welcome),
                    false => fault("a welcome without all of its fields"),
                }
            }
            "message" => self.data(laws, truth, m),
            "lost" => self.lost(laws, truth, m),
            "reset" => self.reset(tick, m),
            "subscription_ack" => self.subscription_ack(tick, laws, truth, m),
            "unsubscription_ack" => self.unsubscription_ack(m),
            "replay_complete" => self.replay_complete(tick, laws, truth, m),
            "replay_incomplete" => self.replay_incomplete(laws, truth, m),
            "pong" => {
                self.take_request(m, "heartbeat")?;
                Ok(Seen::Answer)
            }
            "error" => self.error(m),
            "goaway" => match m.reconnect_after_ms {
                Some(_) if self.may_close.contains(&1012) => Ok(Seen::Goaway),
                _ => fault("a goaway without a drain"),
            },
            other => fault(format!("an unknown type {other:?}")),
        }
    }

    /// The one subscription that brings the messages of a channel.
    pub(super) fn sub_of(&self, channel: &str) -> Option<&str> {
        if let Some((name, _)) = self.subs.get_key_value(channel) {
            return Some(name);
        }
        let mut subs = self.subs.keys();
        subs.find(|name| covers(name, channel)).map(String::as_str)
    }

    pub(super) fn positions(&self) -> Positions {
        let positions = self.subs.iter().filter_map(|(name, sub)| {
            let position = sub.last.or(sub.base)?;
            Some((name.clone(), position))
        });
        Positions {
            epoch: self.epoch.clone(),
            positions: positions.collect(),
        }
    }

    /// Whether every subscription was given what it promises of `line`.
    pub(super) fn at_head(&self, laws: Laws, truth: &Truth, line: LineId) -> Result<(), Fault> {
        let Some(epoch) = &self.epoch else {
            return match self.subs.is_empty() {
                true => Ok(()),
                false => fault("subscribed, and never given an epoch"),
            };
        };
        if self.subs.is_empty() {
            return Ok(());
        }
        if truth.lines_of(epoch).all(|(at, _)| at != line.0) {
            return fault("it is on another number line than its server");
        }
        if self.astray {
            return fault("it was given messages of another number line, and no reset");
        }
        if self.awaits_reset {
            return fault("another epoch, and no reset");
        }
        let line = truth.line(line);
        for (name, sub) in &self.subs {
            if sub.gated || sub.owed_lost {
                return fault(format!("{name} still waits for a notice"));
            }
            for channel in line.channels().filter(|channel| covers(name, channel)) {
                self.has_newest(laws, truth, line, name, sub, channel)?;
            }
            let reached = sub
                .last
                .or(sub.base)
                .unwrap_or(0)
                .max(sub.base.unwrap_or(0));
            for (seq, tick) in line.missed(reached, u64::MAX) {
                if !sub.is_lost(seq) && (tick > sub.since || sub.recovered && !sub.latest) {
                    return fault(format!(
                        "{name}: nobody was told of what was missed at {seq}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn has_newest(
        &self,
        laws: Laws,
        truth: &Truth,
        line: &Line,
        name: &str,
        sub: &Sub,
        channel: &str,
    ) -> Result<(), Fault> {
        let have = self.chains.get(channel).copied();
        let Some((newest, entry)) = line.newest(channel) else {
            return Ok(());
        };
        if sub.wants_newest && have.is_none() {
            let excused = entry.refused || entry.gone.is_some() || laws.values_bounded;
            return match excused || sub.is_lost(newest) {
                true => Ok(()),
                false => fault(format!(
                    "{name}: it was never given the last value of {channel}, {newest}"
                )),
            };
        }
        let settled = sub.recovered && !sub.latest;
        if !sub.seen.contains(channel) && laws.values_bounded && !settled {
            // The server may not keep this channel, so that its ack knew nothing of it.
            return Ok(());
        }
        if sub.latest && entry.refused {
            // The newest is no value, and older ones need not come.
            return Ok(());
        }
        let have = have.or(sub.base).unwrap_or(u64::MAX).max(match sub.latest {
            true => newest.saturating_sub(1),
            false => 0,
        });
        self.no_hole(truth, line, sub, channel, have, u64::MAX)
            .map_err(|Fault(what)| Fault(format!("{name}, at the end: {what}")))
    }

    /// Whether every lossless subscription was given what it promises of `line` up to `head`.
    pub(super) fn has_until(&self, truth: &Truth, line: LineId, head: u64) -> Result<(), Fault> {
        let line = truth.line(line);
        for (name, sub) in self
            .subs
            .iter()
            .filter(|(_, sub)| !sub.latest && !sub.gated)
        {
            for channel in line.channels().filter(|channel| covers(name, channel)) {
                let begun = self.chains.get(channel).copied();
                let Some(have) = begun.or(sub.base.filter(|_| !sub.wants_newest)) else {
                    continue;
                };
                self.no_hole(truth, line, sub, channel, have, head.saturating_add(1))?;
            }
        }
        Ok(())
    }

    /// Whether every message of a channel between two that came is announced as lost, or was never promised.
    pub(super) fn no_hole(
        &self,
        truth: &Truth,
        line: &Line,
        sub: &Sub,
        channel: &str,
        after: u64,
        before: u64,
    ) -> Result<(), Fault> {
        for (seq, entry) in line.between(channel, after, before) {
            // A number line may have lost messages before its first value was read.
            let begins = sub.wants_newest && !sub.seen.contains(channel);
            let gone_before = entry.gone.is_some_and(|tick| tick <= sub.since || begins)
                && (!sub.recovered || sub.latest);
            if !sub.is_lost(seq)
                && !gone_before
                && !self.is_untraceable(truth, seq, entry, sub.since)
            {
                return fault(format!("{channel} {seq} is missing, and nobody was told"));
            }
        }
        Ok(())
    }

    /// Whether a message was deleted by itself before a moment, and the server of this client never saw it: what the stream
    /// still has does not show it.
    pub(super) fn is_untraceable(&self, truth: &Truth, seq: u64, entry: &Entry, by: u64) -> bool {
        let before = entry.gone.is_some_and(|tick| tick <= by);
        entry.alone && before && !truth.was_told(self.server, seq)
    }

    /// Whether all requests were answered, but for those dropped for their rate.
    pub(super) fn answered(&self) -> Result<(), Fault> {
        let open = self.asked.len() + self.nameless;
        let first = self.asked.first_key_value();
        if self.over {
            return Ok(());
        }
        match open == self.dropped && self.dropped == self.may_drop {
            true => Ok(()),
            false => fault(format!(
                "{open} requests without an answer, of which {} were dropped for their rate: {first:?}",
                self.dropped
            )),
        }
    }
}
