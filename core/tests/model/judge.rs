//! Whether what a client was sent is what the protocol promises.

use serde_json::Value;

use super::client::{Accepted, Client, Request, Sub};
use super::entries::{live, replayed, whole_before};
use super::frames::{self, Frame};
use super::history::{CHANNELS, Entry, History, Kept, What, covers, epoch_name};

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {value}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect()
}

impl Client {
    /// Reads what came; gives how many text messages were whole.
    pub(crate) fn read(&mut self, history: &History, bytes: &[u8]) -> u64 {
        self.stream.extend(bytes);
        let mut count = 0;
        while let Some(frame) = frames::take(&mut self.stream) {
            assert_eq!(
                self.closed, None,
                "nothing follows the close frame: {frame:?}"
            );
            match frame {
                Frame::Ping => self.pings += 1,
                Frame::Pong => {}
                Frame::Close(code) => self.closed = Some(code),
                Frame::Text(text) => {
                    count += 1;
                    let value: Value = serde_json::from_str(&text).expect("JSON");
                    if !self.rogue {
                        self.message(history, &text, &value);
                    }
                }
            }
        }
        count
    }

    fn message(&mut self, history: &History, text: &str, value: &Value) {
        let kind = value["type"].as_str().unwrap();
        assert_eq!(self.welcomed, kind != "welcome", "welcome is first: {text}");
        match kind {
            "welcome" => self.welcomed = true,
            "message" => self.entry(history, text, value),
            "lost" if value["channel"].is_null() => self.lost_for_all(history, text, value),
            "lost" if value["reason"] == "too_large" => self.entry(history, text, value),
            "lost" => self.lost(history, value),
            "reset" => self.reset(value),
            "replay_complete" | "replay_incomplete" => self.replay_ended(history, value),
            _ => self.answer(kind, value),
        }
    }

    /// The next answer that is due, with the replays before it accepted.
    fn answer(&mut self, kind: &str, value: &Value) {
        let id = number(value, "id");
        let request = loop {
            let (asked, request) = self.requests.pop_front().expect("something was asked");
            if asked == id {
                break request;
            }
            assert!(
                matches!(request, Request::Replay(_)),
                "{asked} is answered before {value}"
            );
        };
        match (kind, request) {
            ("pong", Request::Pong) => {}
            ("error", Request::Error(codes)) => {
                let code = value["code"].as_str().unwrap();
                assert!(codes.contains(&code), "{value} and not {codes:?}");
            }
            ("error", Request::Replay(replay)) => {
                self.replays.retain(|other| other.id != replay.id);
                let in_progress = self.replays.iter().any(|o| o.channel == replay.channel);
                let code = value["code"].as_str().unwrap();
                let unknown = code == "NOT_SUBSCRIBED";
                assert!(
                    unknown || in_progress && code == "REPLAY_IN_PROGRESS",
                    "{value}"
                );
            }
            ("unsubscription_ack", Request::Unsubscribe(names, count)) => {
                assert_eq!(texts(&value["unsubscribed"]), names);
                assert_eq!(number(value, "count"), count as u64);
                self.subs.retain(|sub| !names.contains(&sub.name));
            }
            ("subscription_ack", Request::Subscribe(accepted, count)) => {
                assert_eq!(number(value, "count"), count as u64, "{value}");
                self.acked(accepted, value);
            }
            (_, request) => panic!("{value} is no answer to {request:?}"),
        }
    }

    fn acked(&mut self, accepted: Vec<Accepted>, value: &Value) {
        let names: Vec<&str> = accepted.iter().map(|a| a.name).collect();
        assert_eq!(texts(&value["subscribed"]), names);
        let epoch = accepted[0].epoch;
        assert_eq!(
            value["epoch"].as_str(),
            epoch.map(epoch_name).as_deref(),
            "{value}"
        );
        // What is subscribed already gets a number line by a reset and not by an ack.
        let by_reset = epoch.is_none() || self.epoch == epoch;
        assert!(self.subs.is_empty() || by_reset, "{value}");
        self.epoch = epoch;
        let empty = Vec::new();
        for a in accepted {
            let position = &value["positions"][a.name];
            assert_eq!(
                position.as_u64(),
                a.position,
                "{} in {value}, {a:?}",
                a.name
            );
            let recovered = value["recovered"].as_array().unwrap_or(&empty);
            let unrecovered = value["unrecovered"].as_array().unwrap_or(&empty);
            let why = unrecovered.iter().find(|u| u["channel"] == a.name);
            let why = why.map(|u| u["reason"].as_str().unwrap());
            let said = recovered.iter().any(|r| r == a.name).then_some(Ok(()));
            assert_eq!(
                said.or(why.map(Err)),
                a.resumed,
                "{} in {value}, {a:?}",
                a.name
            );
            self.subs.push(begin(a));
        }
    }

    fn reset(&mut self, value: &Value) {
        let is_it = |(epoch, reason): &(usize, &str)| {
            value["epoch"] == epoch_name(*epoch) && value["reason"] == *reason
        };
        let at = self.resets_owed.iter().position(is_it);
        let at = at.unwrap_or_else(|| panic!("{value}, not {:?}", self.resets_owed));
        let (epoch, _) = self.resets_owed.drain(..=at).next_back().unwrap();
        self.epoch = Some(epoch);
        self.subs.iter_mut().for_each(Sub::restart);
    }

    /// An entry of a log: a message, or a `lost` that stands in place of one.
    fn entry(&mut self, history: &History, text: &str, value: &Value) {
        let channel = value["channel"].as_str().unwrap();
        let seq = number(
            value,
            if value["seq"].is_null() {
                "from"
            } else {
                "seq"
            },
        );
        let epoch = self
            .epoch
            .unwrap_or_else(|| panic!("data before an epoch: {text}"));
        let entry = history.find(epoch, channel, seq);
        let entry = entry.unwrap_or_else(|| panic!("never published in {epoch}: {text}"));
        assert_eq!(entry.text, text, "as it was published");
        let sub = self.subs.iter_mut().find(|sub| covers(sub.name, channel));
        let sub = sub.unwrap_or_else(|| panic!("not subscribed: {text}"));
        if seq <= sub.last && replayed(history, &mut self.replays, entry) {
            return;
        }
        let passed = self
            .notices
            .front()
            .filter(|(order, _)| *order < entry.order);
        assert_eq!(passed, None, "{text} comes before a notice");
        live(history, sub, entry);
    }

    fn lost(&mut self, history: &History, value: &Value) {
        let (from, to) = (number(value, "from"), number(value, "to"));
        let sub = self
            .subs
            .iter_mut()
            .find(|sub| value["channel"] == sub.name);
        let sub = sub.unwrap_or_else(|| panic!("not subscribed: {value}"));
        let epoch = self
            .epoch
            .unwrap_or_else(|| panic!("a lost before an epoch: {value}"));
        assert!(from <= to, "{value}");
        assert!(
            from > sub.newest_live,
            "{value} names what was sent, {sub:?}"
        );
        if value["reason"] == "slow_consumer" {
            let gone = |e: &Entry| e.kept == Kept::Gone && (from..=to).contains(&e.seq);
            // Which pattern a last value that was given up belonged to is not kept.
            let wild = sub.name.contains(['*', '>']);
            let of = if wild && sub.options.latest {
                ">"
            } else {
                sub.name
            };
            let justified = epoch < history.epoch || history.of(epoch, of).any(gone);
            assert!(justified, "{value}, but all of it is kept");
            assert!(
                sub.options.latest || sub.options.keep_on,
                "{value}: close was asked for"
            );
        }
        whole_before(history, epoch, sub, from);
        sub.lost.push((from, to));
        sub.last = sub.last.max(to);
        sub.newest_live = sub.newest_live.max(to);
        sub.may_begin = true;
    }

    fn lost_for_all(&mut self, history: &History, text: &str, value: &Value) {
        assert!(
            !self.subs.is_empty(),
            "a notice about no subscription: {text}"
        );
        if self
            .notices
            .front()
            .is_some_and(|(_, notice)| notice == text)
        {
            self.notices.pop_front();
        } else {
            let at = self
                .notices_optional
                .iter()
                .position(|notice| notice == text);
            self.notices_optional
                .remove(at.unwrap_or_else(|| panic!("{text}, not {:?}", self.notices)));
        }
        let epoch = self
            .epoch
            .unwrap_or_else(|| panic!("a lost before an epoch: {text}"));
        let from = number(value, "from");
        for sub in &mut self.subs {
            whole_before(history, epoch, sub, from);
            if let Some(to) = value["to"].as_u64() {
                sub.last = sub.last.max(to);
            }
        }
    }

    fn replay_ended(&mut self, history: &History, value: &Value) {
        let id = number(value, "id");
        let at = self.replays.iter().position(|replay| replay.id == id);
        let replay = self
            .replays
            .remove(at.expect("a replay that was asked for"));
        assert_eq!(value["channel"], replay.channel);
        let Some(sub) = self
            .subs
            .iter()
            .find(|sub| covers(sub.name, replay.channel))
        else {
            panic!("a replay ends before its subscription: {value}");
        };
        let reason = value["reason"].as_str();
        let count = number(value, if reason.is_some() { "sent" } else { "count" });
        assert_eq!(count, replay.count, "{value}, {replay:?}");
        if replay.ended {
            return;
        }
        if reason == Some("upstream_unavailable") {
            assert_eq!((count, self.epoch), (0, None), "{value}");
            return;
        }
        let epoch = self.epoch.unwrap();
        let owed = |to: u64| {
            let unsent = history
                .of(epoch, replay.channel)
                .filter(|e| e.what != What::Lost);
            let after = replay.at.max(replay.from.saturating_sub(1));
            unsent.filter(move |e| e.seq > after && e.seq <= to).count()
        };
        if reason.is_none() {
            let to = number(value, "to");
            assert!(to <= replay.to, "{value}, {replay:?}");
            assert_eq!(number(value, "from"), replay.from);
            assert_eq!(
                owed(to.max(replay.to.min(replay.had))),
                0,
                "{value}, {replay:?}"
            );
            let all = history
                .of(epoch, replay.channel)
                .filter(|e| e.what != What::Lost);
            let all = all.filter(|e| (replay.from..=to).contains(&e.seq)).count();
            assert_eq!(all as u64, count, "{value}, {replay:?}");
            let ahead = history
                .of(epoch, replay.channel)
                .any(|e| e.seq > sub.last && e.seq <= to);
            assert!(!ahead, "{value} is ahead of what was sent live, {sub:?}");
        } else {
            assert_eq!(reason, Some("too_old"));
            let whole = history.is_proven(replay.channel, replay.from - 1);
            assert!(
                epoch < history.epoch || !whole,
                "{value}, but all of it is kept"
            );
        }
    }

    /// Whether everything that is owed was sent. Only of a client whose socket takes all.
    pub(crate) fn assert_whole(&self, history: &History) {
        assert!(self.stream.is_empty(), "no frame is left half written");
        assert!(self.welcomed);
        let unanswered = |r: &&(u64, Request)| !matches!(r.1, Request::Replay(_));
        let open = self.requests.iter().find(unanswered);
        assert!(
            self.held.is_some() || open.is_none(),
            "unanswered: {open:?}"
        );
        if self.gated {
            return;
        }
        assert!(self.replays.is_empty(), "not ended: {:?}", self.replays);
        assert!(self.notices.is_empty(), "not sent: {:?}", self.notices);
        assert!(
            self.resets_owed.is_empty(),
            "not sent: {:?}",
            self.resets_owed
        );
        for sub in &self.subs {
            assert_eq!(self.epoch, Some(history.epoch), "{sub:?}");
            if !sub.options.latest {
                whole_before(history, history.epoch, sub, u64::MAX);
            }
            for newest in CHANNELS.iter().filter_map(|c| history.newest(c)) {
                let moved =
                    covers(sub.name, newest.channel) && newest.seq > sub.have(newest.channel);
                assert!(
                    !moved || sub.is_lost(newest.seq),
                    "{newest:?} was not sent, {sub:?}"
                );
            }
            self.assert_values(history, sub);
        }
    }

    /// Whether the values with which a subscription began were sent, or something newer.
    fn assert_values(&self, history: &History, sub: &Sub) {
        for channel in CHANNELS.iter().filter(|c| covers(sub.name, c)) {
            let before = history
                .of(history.epoch, channel)
                .filter(|e| e.order <= sub.order);
            let value = before
                .last()
                .filter(|e| e.what != What::Lost && e.seq <= sub.values_to);
            if let Some(value) = value.filter(|value| value.kept != Kept::Gone) {
                // One that was superseded before it was sent may be lost with what superseded it.
                let got = sub.got.get(channel).is_some_and(|got| *got >= value.seq);
                let mut later = history.of(history.epoch, channel);
                let lost = later.any(|e| e.seq >= value.seq && sub.is_lost(e.seq));
                assert!(got || lost, "no value {value:?}, {sub:?}");
            }
        }
    }
}

/// The subscription that an ack begins.
fn begin(a: Accepted) -> Sub {
    let options = &a.options;
    let wild = a.name.contains(['*', '>']);
    let wish = options.wishes.get(a.name);
    let recovered = a.resumed == Some(Ok(()));
    let continued = a.resumed == Some(Err("too_old")) && options.keep_on && !options.latest;
    // Values at or before the position: of a pattern's snapshot, and of a name's whose predecessor
    // is not known.
    let values = options.snapshot && !recovered && !continued && (wild || a.position.is_none());
    let values = values && a.epoch.is_some();
    let start = a.epoch.map(|_| a.position.unwrap_or(a.head));
    let snapshot_of_pattern = values && wild;
    Sub {
        name: a.name,
        order: a.order,
        start,
        values_to: if values { a.head } else { 0 },
        chained: !recovered || wish.is_some_and(|wish| wish.real),
        last: if snapshot_of_pattern {
            0
        } else {
            a.position.unwrap_or(0)
        },
        newest_live: 0,
        got: Default::default(),
        lost: Vec::new(),
        may_begin: options.snapshot,
        options: a.options,
    }
}
