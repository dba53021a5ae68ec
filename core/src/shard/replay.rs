//! Replay: a second, bounded cursor through a channel's log, for what the client was already sent.

use alloc::format;

use super::Shard;
use super::archive::Waiter;
use super::catalog::ChannelIx;
use super::cold::{Look, hole_end};
use super::session::Purpose;
use super::subscription::{SubIx, Topic};
use super::transmit::{Piece, Taken};
use crate::id::Order;
use crate::mutant::{self, Mutant};
use crate::name;
use crate::reason::{ErrorCode, UnrecoveredReason};
use crate::record::codec::coded;
use crate::wire::event;
use crate::wire::request::{self, RequestId};

/// Replays that one connection may have under way.
pub(super) const REPLAYS_MAX: usize = 8;

/// How many slices of one transmit replays may take; the rest is for what is live.
const REPLAY_SLICES: usize = Shard::SLICES_MAX / 2;

#[derive(Debug)]
pub(super) struct Replay {
    id: Option<RequestId>,
    /// The subscription that covers the channel.
    sub: SubIx,
    channel: ChannelIx,
    next: Order,
    /// Every message of it up to this seq was sent.
    seq: u64,
    /// It reads pages of history.
    cold: bool,
    /// It waits for a page of history.
    parked: bool,
    from: u64,
    /// The last seq that is sent: where the subscription stood when the replay was accepted.
    to: u64,
    sent: u64,
    /// Part of the range is not kept any more.
    incomplete: bool,
    /// The number line ended under it.
    void: bool,
    /// History could not be asked for.
    unavailable: bool,
}

impl Replay {
    /// Whether it has something to send, or its end to say.
    pub(super) fn is_ready(&self) -> bool {
        !self.parked
    }
}

#[cfg(feature = "verify")]
impl Replay {
    pub(super) fn is_void(&self) -> bool {
        self.void
    }
}

impl Shard {
    pub(super) fn replay(&mut self, index: u32, id: Option<&RequestId>, asked: &request::Replay) {
        let (sub, ix) = match self.replay_target(index, asked.channel.as_deref()) {
            Ok(target) => target,
            Err((code, message)) => return self.refuse(index, code, message, id),
        };
        if self.at(index).gated() {
            // Nothing was sent yet of the number line to come, so there is nothing to send again.
            let name = &self.catalog.channel(ix).name;
            let reason = UnrecoveredReason::UpstreamUnavailable.label();
            let frame = event::replay_incomplete(id, name, 0, reason, None, None);
            self.stats.replay_requests += 1;
            return self.say(index, frame, Purpose::Message);
        }
        let replays = self
            .at(index)
            .extra
            .as_ref()
            .map_or(&[][..], |extra| &extra.replays);
        if replays.iter().any(|replay| replay.channel == ix) || replays.len() >= REPLAYS_MAX {
            let message =
                format!("one replay per channel at a time, and {REPLAYS_MAX} per connection");
            return self.refuse(index, ErrorCode::ReplayInProgress, &message, id);
        }
        let cursor = &self.subs[sub.0];
        let to = asked
            .to
            .unwrap_or(u64::MAX)
            .min(cursor.seq.min(self.catalog.channel(ix).last_seq));
        if !self.catalog.channel(ix).is_published() {
            // Such a channel goes with its last subscriber, so that no replay may stand in it; and
            // there is nothing in it.
            let name = &self.catalog.channel(ix).name;
            let frame = event::replay_complete(id, name, asked.from, to, 0);
            self.stats.replay_requests += 1;
            return self.say(index, frame, Purpose::Message);
        }
        let here = self.has_all_after(ix, asked.from - 1);
        let cold =
            self.has_history() && !(here && asked.from > self.catalog.channel(ix).first_seen);
        let replay = Replay {
            id: id.cloned(),
            sub,
            channel: ix,
            next: self
                .store
                .first_of_channel_after(&self.catalog, ix, asked.from - 1),
            seq: asked.from - 1,
            cold,
            parked: false,
            from: asked.from,
            to,
            sent: 0,
            incomplete: asked.from <= to && !here && !cold,
            void: false,
            unavailable: false,
        };
        self.stats.replay_requests += 1;
        self.at(index).extra_mut().replays.push(replay);
        self.rouse(index);
    }

    fn replay_target(
        &self,
        index: u32,
        name: Option<&str>,
    ) -> Result<(SubIx, ChannelIx), (ErrorCode, &'static str)> {
        const NONE: (ErrorCode, &str) = (
            ErrorCode::NotSubscribed,
            "no subscription covers this channel, or it has had no message",
        );
        let mut subs = self.subscriptions_of(index);
        let Some(name) = name else {
            let (Some(sub), None) = (subs.next(), subs.next()) else {
                let message = "name the channel, unless exactly one is subscribed";
                return Err((ErrorCode::InvalidRequest, message));
            };
            return match self.subs[sub.0].topic {
                Topic::Channel(ix) => Ok((sub, ix)),
                Topic::Pattern(_) => Err((
                    ErrorCode::InvalidRequest,
                    "name the channel: a pattern is subscribed",
                )),
            };
        };
        let sub = subs.find(|sub| name::matches(self.topic_name(self.subs[sub.0].topic), name));
        let sub = sub.ok_or(NONE)?;
        let ix = self.catalog.find_channel(name).ok_or(NONE)?;
        Ok((sub, ix))
    }

    /// Gathers replays. `Some`: nothing else may be gathered now; `Some(true)`: the end of one was
    /// made, gather again.
    pub(super) fn gather_replays(&mut self, index: u32, taken: &mut Taken) -> Option<bool> {
        let count = self
            .at(index)
            .extra
            .as_ref()
            .map_or(0, |extra| extra.replays.len());
        for at in 0..count {
            self.skip_dropped(index, at);
            self.read_history(index, at);
            if self.gather_replay(index, at, taken) {
                if !taken.pieces.is_empty() {
                    return Some(false);
                }
                let replay = self.at(index).extra_mut().replays.remove(at);
                let frame = self.replay_end(&replay, None);
                return Some(self.make_front(index, frame));
            }
        }
        None
    }

    /// A replay that fell off the log goes on at the oldest entry that is kept.
    fn skip_dropped(&mut self, index: u32, at: usize) {
        let replay = &self.at(index).extra_mut().replays[at];
        let (channel, next, to) = (replay.channel, replay.next, replay.to);
        if replay.cold {
            return;
        }
        let log = &self.catalog.channel(channel).log;
        if next <= log.dropped_to && self.has_history() {
            self.at(index).extra_mut().replays[at].cold = true;
        } else if next <= log.dropped_to {
            let after = log.dropped_to.next();
            let incomplete = log.dropped_seq > 0 && to > 0;
            let replay = &mut self.at(index).extra_mut().replays[at];
            replay.next = after;
            replay.incomplete |= incomplete;
        }
    }

    /// Gathers entries of a replay; `true`: nothing of it is left.
    fn gather_replay(&self, index: u32, at: usize, taken: &mut Taken) -> bool {
        let session = self.slots[index as usize].session.as_ref();
        let Some(replay) = session
            .and_then(|session| session.extra.as_ref())
            .map(|extra| &extra.replays[at])
        else {
            return false;
        };
        if replay.void || replay.unavailable {
            return true;
        }
        if replay.cold {
            return !replay.parked && self.gather_history_replay(replay, at, taken);
        }
        let channel = self.catalog.channel(replay.channel);
        let held = channel.held.as_ref().filter(|held| **held >= replay.next);
        let places = channel
            .log
            .places
            .range(channel.log.index_from(replay.next)..);
        let mut gathered = false;
        for place in held.into_iter().chain(places) {
            let Some(publication) = self.store.get(*place) else {
                continue;
            };
            if publication.seq <= replay.seq {
                continue;
            }
            if publication.seq > replay.to && !mutant::is(Mutant::ReplayPastEnd) {
                break;
            }
            let full = taken.pieces.len() >= REPLAY_SLICES;
            if full && !taken.pieces.is_empty() || !taken.fits(publication.frame.len()) {
                return false;
            }
            taken.push(Piece::Replay(at, *place), publication.frame.len());
            gathered = true;
        }
        !gathered
    }

    /// An entry of a replay was written.
    pub(super) fn replayed(
        &mut self,
        index: u32,
        at: usize,
        next: Option<Order>,
        seq: u64,
        is_message: bool,
    ) {
        if let Some(replay) = self.at(index).extra_mut().replays.get_mut(at) {
            replay.next = next.unwrap_or(replay.next);
            replay.seq = replay.seq.max(seq);
            replay.sent += u64::from(is_message);
        }
    }

    /// Moves a replay that reads history to where it has messages, to the log, or to those that wait for a page.
    fn read_history(&mut self, index: u32, at: usize) {
        loop {
            let replay = &self.at(index).extra_mut().replays[at];
            if !replay.cold || replay.parked || replay.void || replay.unavailable {
                return;
            }
            let (ix, seq, to) = (replay.channel, replay.seq, replay.to);
            let topic = Topic::Channel(ix);
            if seq >= self.log_reaches_back_to(topic) || seq >= to {
                let next = self.store.first_of_channel_after(&self.catalog, ix, seq);
                let replay = &mut self.at(index).extra_mut().replays[at];
                (replay.cold, replay.next) = (false, next);
                return;
            }
            match self.look(topic, seq) {
                Look::Entries(_) => return,
                Look::Nothing(to) => self.at(index).extra_mut().replays[at].seq = to,
                Look::Hole(page) => {
                    let end = hole_end(&page, &self.catalog.channel(ix).name, seq);
                    let replay = &mut self.at(index).extra_mut().replays[at];
                    replay.incomplete |= end >= replay.from;
                    replay.seq = end;
                }
                Look::Unknown { own } => {
                    let conn = self.conn_id(index);
                    let place = (self.topic_key(topic), seq);
                    self.archive.want(place, Waiter::Replay(conn), own);
                    self.at(index).extra_mut().replays[at].parked = true;
                }
            }
        }
    }

    /// Gathers entries of a replay from history; `true`: nothing of it is left.
    fn gather_history_replay(&self, replay: &Replay, at: usize, taken: &mut Taken) -> bool {
        let topic = Topic::Channel(replay.channel);
        let Look::Entries(page) = self.look(topic, replay.seq) else {
            return false;
        };
        let held = taken.hold(page.clone());
        let mut gathered = false;
        for (number, entry) in page.of_channel(self.topic_name(topic), replay.seq) {
            if entry.seq > replay.to {
                return !gathered;
            }
            let full = taken.pieces.len() >= REPLAY_SLICES;
            if full && !taken.pieces.is_empty() || !taken.fits(entry.frame.len()) {
                return false;
            }
            taken.push(Piece::HistoryReplay(at, held, number), entry.frame.len());
            gathered = true;
        }
        false
    }

    /// The page that a replay waits for is there, or cannot be had.
    pub(super) fn unpark_replay(&mut self, index: u32, topic: &str, unavailable: bool) {
        let channel = self.catalog.find_channel(topic);
        let Some(extra) = self.at(index).extra.as_deref_mut() else {
            return;
        };
        for replay in &mut extra.replays {
            if replay.parked && Some(replay.channel) == channel {
                replay.parked = false;
                replay.unavailable = unavailable;
            }
        }
        self.rouse(index);
    }

    /// Takes a replay off the list of those that wait for a page.
    pub(super) fn leave_parked_replay(&mut self, index: u32, at: usize) {
        let conn = self.conn_id(index);
        let replay = &mut self.at(index).extra_mut().replays[at];
        if core::mem::take(&mut replay.parked) {
            let place = (replay.channel, replay.seq);
            let place = (self.topic_key(Topic::Channel(place.0)), place.1);
            self.archive.leave(&place, Waiter::Replay(conn));
        }
    }

    fn replay_end(&self, replay: &Replay, ended: Option<&str>) -> bytes::Bytes {
        let channel = self.catalog.channel(replay.channel);
        let id = replay.id.as_ref();
        let reason = ended.or(replay.void.then_some("epoch_changed"));
        let unavailable = UnrecoveredReason::UpstreamUnavailable.label();
        let reason = reason.or(replay.unavailable.then_some(unavailable));
        match reason.or(replay.incomplete.then_some("too_old")) {
            None => event::replay_complete(id, &channel.name, replay.from, replay.to, replay.sent),
            Some(reason) => {
                let oldest = channel.held.or_else(|| channel.log.places.front().copied());
                let oldest = oldest
                    .and_then(|place| self.store.get(place))
                    .map(|p| p.seq);
                let newest = (channel.last_seq > 0).then_some(channel.last_seq);
                event::replay_incomplete(id, &channel.name, replay.sent, reason, oldest, newest)
            }
        }
    }

    /// Ends the replays of a subscription that goes, before its ack.
    pub(super) fn end_replays(&mut self, index: u32, sub: SubIx) {
        while let Some(extra) = self.at(index).extra.as_deref_mut()
            && let Some(at) = extra.replays.iter().position(|replay| replay.sub == sub)
        {
            self.leave_parked_replay(index, at);
            let replay = self.at(index).extra_mut().replays.remove(at);
            let frame = self.replay_end(&replay, Some("unsubscribed"));
            self.say(index, frame, Purpose::Message);
        }
    }

    /// The number line began anew: what replays were asked for is no more.
    pub(super) fn end_all_replays(&mut self, index: u32) {
        let replays = self.at(index).extra.as_ref();
        for at in 0..replays.map_or(0, |extra| extra.replays.len()) {
            self.leave_parked_replay(index, at);
            self.at(index).extra_mut().replays[at].void = true;
        }
    }
}

coded!(Replay {
    id,
    sub,
    channel,
    next,
    seq,
    cold,
    parked,
    from,
    to,
    sent,
    incomplete,
    void,
    unavailable
});
