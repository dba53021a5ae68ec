//! A client that believes nothing: it keeps what docs/PROTOCOL.md tells a client to keep, and checks
//! every message against that and against what was really published.

use std::collections::BTreeMap;

use odin_core::name;
use serde_json::{Value, json};

use crate::support::msg;

/// An entry of a channel, as it was published.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) prev: Option<u64>,
    pub(crate) is_lost: bool,
}

/// What was really published in the present epoch, by channel.
#[derive(Default, Debug)]
pub(crate) struct Truth {
    pub(crate) epoch: u64,
    pub(crate) channels: BTreeMap<String, Vec<Entry>>,
    /// Whether every last value is kept.
    pub(crate) keeps_values: bool,
}

impl Truth {
    pub(crate) fn epoch_name(&self) -> String {
        format!("e{}", self.epoch)
    }

    pub(crate) fn head(&self, channel: &str) -> Option<Entry> {
        self.channels.get(channel)?.last().copied()
    }
}

/// What a client remembers of a subscription.
#[derive(Clone, Default, Debug)]
pub(crate) struct Sub {
    pub(crate) is_latest: bool,
    snapshot: bool,
    closes: bool,
    base: Option<u64>,
    pub(crate) last: Option<u64>,
    lost: Vec<(u64, u64)>,
    /// Not acked yet, or without an epoch: nothing is to come before the ack or the reset.
    waits: bool,
}

impl Sub {
    fn has_lost(&self, seq: u64) -> bool {
        self.lost
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

#[derive(Clone, Debug)]
struct Replay {
    channel: String,
    got: Vec<u64>,
    epoch: Option<String>,
}

/// A client, across its connections.
#[derive(Default, Debug)]
pub(crate) struct Model {
    pub(crate) epoch: Option<String>,
    chains: BTreeMap<String, u64>,
    pub(crate) subs: BTreeMap<String, Sub>,
    requests: BTreeMap<u64, Value>,
    replays: BTreeMap<u64, Replay>,
    next_id: u64,
    pub(crate) closed: bool,
}

impl Model {
    /// Gives a request its id, and remembers it.
    pub(crate) fn ask(&mut self, mut request: Value) -> Value {
        self.next_id += 1;
        request["id"] = json!(self.next_id);
        self.requests.insert(self.next_id, request.clone());
        request
    }

    /// The connection is gone: gives what a client resumes with.
    pub(crate) fn disconnect(&mut self) -> Vec<(String, Sub)> {
        self.requests.clear();
        self.replays.clear();
        self.closed = false;
        let subs = self.subs.clone();
        // Nothing comes before the ack of the next connection.
        for sub in self.subs.values_mut() {
            sub.waits = true;
        }
        subs.into_iter().collect()
    }

    pub(crate) fn receive(&mut self, truth: &Truth, message: &Value) {
        assert!(!self.closed, "nothing follows a close");
        if message.get("close").is_some() {
            assert_eq!(message["close"], 4008);
            assert!(self.subs.values().any(|sub| sub.closes && !sub.is_latest));
            self.closed = true;
            return;
        }
        match message["type"].as_str().unwrap() {
            "message" => self.message(truth, message),
            "lost" => self.lost(message),
            "reset" => self.reset(message),
            "subscription_ack" => self.subscribed(message),
            "unsubscription_ack" => {
                for name in message["unsubscribed"].as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    assert!(self.subs.remove(name).is_some());
                    self.forget(name);
                    let id = message["id"].as_u64().unwrap();
                    let mut older = self.replays.range(..id);
                    let runs = |replay: &Replay| name::matches(name, &replay.channel);
                    assert!(!older.any(|(_, replay)| runs(replay)), "{name} is replayed");
                }
            }
            "replay_complete" | "replay_incomplete" => self.replayed(truth, message),
            "error" => {
                let id = message["id"].as_u64().unwrap();
                assert!(self.requests.remove(&id).is_some());
                self.replays.remove(&id);
                let code = message["code"].as_str().unwrap();
                let usual = [
                    "ALREADY_SUBSCRIBED",
                    "SUBSCRIPTION_OVERLAP",
                    "NOT_SUBSCRIBED",
                    "REPLAY_IN_PROGRESS",
                ];
                assert!(usual.contains(&code), "{message}");
            }
            other => panic!("{other}"),
        }
    }

    fn forget(&mut self, name: &str) {
        self.chains
            .retain(|channel, _| !name::matches(name, channel));
    }

    fn subscribed(&mut self, ack: &Value) {
        let request = self.requests.remove(&ack["id"].as_u64().unwrap()).unwrap();
        let epoch = ack["epoch"].as_str().map(str::to_owned);
        if epoch != self.epoch {
            self.chains.clear();
            self.epoch = epoch;
        }
        let data = &request["data"];
        for name in data["channels"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let position = ack["positions"][name].as_u64();
            let listed = ack["recovered"].as_array();
            let is_recovered = listed.is_some_and(|list| list.iter().any(|other| other == name));
            let resumed = data["resume"]["positions"].get(name).is_some();
            let old = self.subs.remove(name).filter(|_| is_recovered);
            if !is_recovered {
                self.forget(name);
            }
            let is_pattern = name::is_pattern(name);
            // Who goes on after what is lost begins at its own position, not with a last value.
            let is_too_old = ack["unrecovered"].as_array().is_some_and(|list| {
                list.iter()
                    .any(|item| item["channel"] == name && item["reason"] == "too_old")
            });
            let goes_on = is_too_old && data["on_lost"] == "continue";
            let snapshot = data["snapshot"] == true && !is_recovered && !goes_on;
            let sub = Sub {
                is_latest: data["mode"] == "latest",
                snapshot,
                closes: data["on_lost"] != "continue",
                base: position,
                last: if is_pattern && snapshot {
                    Some(0)
                } else {
                    position
                },
                lost: old.map_or_else(Vec::new, |old| old.lost),
                waits: self.epoch.is_none(),
            };
            self.subs.insert(name.to_owned(), sub);
            if let (false, false, Some(position)) = (is_pattern, resumed, position) {
                self.chains.insert(name.to_owned(), position);
            }
        }
    }

    fn message(&mut self, truth: &Truth, m: &Value) {
        let channel = m["channel"].as_str().unwrap();
        let (seq, prev) = (m["seq"].as_u64().unwrap(), m["prev"].as_u64());
        assert_eq!(m, &msg(channel, seq, prev));
        let mut covering = self
            .subs
            .iter_mut()
            .filter(|(name, _)| name::matches(name, channel));
        let (_, sub) = covering
            .next()
            .expect("a subscription covers every message");
        assert!(covering.next().is_none() && !sub.waits);
        if self.epoch == Some(truth.epoch_name()) {
            let entry = Entry {
                seq,
                prev,
                is_lost: false,
            };
            assert!(
                truth.channels[channel].contains(&entry),
                "{m} was never published"
            );
        }
        if sub.last.is_some_and(|last| seq <= last) {
            let mut replays = self
                .replays
                .values_mut()
                .filter(|replay| replay.channel == channel);
            let replay = replays.next().unwrap_or_else(|| panic!("{m} comes twice"));
            assert!(replay.got.last() < Some(&seq), "a replay is in order");
            replay.got.push(seq);
            return;
        }
        let chain = self.chains.get(channel).copied();
        let whole = match (prev, chain) {
            (None, _) => true,
            (Some(prev), Some(chain)) => prev == chain || sub.has_lost(prev),
            (Some(prev), None) => sub.base.is_none_or(|base| prev <= base) || sub.has_lost(prev),
        };
        assert!(
            whole || sub.is_latest,
            "{m} does not follow {chain:?} of {sub:?}"
        );
        assert!(chain.is_none_or(|chain| chain < seq));
        self.chains.insert(channel.to_owned(), seq);
        sub.last = Some(seq);
    }

    fn lost(&mut self, l: &Value) {
        let about = l["channel"].as_str();
        let (from, to) = (l["from"].as_u64().unwrap(), l["to"].as_u64());
        assert!(to.is_none_or(|to| from <= to), "{l}");
        let mut told = 0;
        for (name, sub) in &mut self.subs {
            if about.is_none_or(|about| about == name || name::matches(name, about)) {
                told += 1;
                let closes = sub.closes && !sub.is_latest;
                assert!(l["reason"] != "slow_consumer" || !closes, "{l} for {sub:?}");
                sub.lost.push((from, to.unwrap_or(u64::MAX)));
                sub.last = sub.last.max(to);
            }
        }
        assert!(told > 0, "{l} is about nothing");
    }

    fn reset(&mut self, r: &Value) {
        assert!(!self.subs.is_empty(), "a reset for who has no subscription");
        self.epoch = r["epoch"].as_str().map(str::to_owned);
        self.chains.clear();
        for sub in self.subs.values_mut() {
            *sub = Sub {
                is_latest: sub.is_latest,
                closes: sub.closes,
                // The last values of the new epoch come, like those of a snapshot.
                snapshot: true,
                base: Some(0),
                last: Some(0),
                ..Sub::default()
            };
        }
    }

    /// A replay was asked for (it may still be refused).
    pub(crate) fn begin_replay(&mut self, request: &Value) {
        let replay = Replay {
            channel: request["data"]["channel"].as_str().unwrap().to_owned(),
            got: Vec::new(),
            epoch: self.epoch.clone(),
        };
        self.replays.insert(request["id"].as_u64().unwrap(), replay);
    }

    fn replayed(&mut self, truth: &Truth, end: &Value) {
        let id = end["id"].as_u64().unwrap();
        self.requests.remove(&id).unwrap();
        let replay = self.replays.remove(&id).unwrap();
        if end["type"] == "replay_incomplete" {
            assert_eq!(end["sent"], replay.got.len(), "{end} after {replay:?}");
            return;
        }
        assert_eq!(end["count"], replay.got.len());
        if replay.epoch == Some(truth.epoch_name()) {
            let range = end["from"].as_u64().unwrap()..=end["to"].as_u64().unwrap();
            let entries = truth.channels.get(&replay.channel);
            let entries = entries.into_iter().flatten();
            let entries = entries.filter(|entry| range.contains(&entry.seq) && !entry.is_lost);
            let expected: Vec<u64> = entries.map(|entry| entry.seq).collect();
            assert_eq!(replay.got, expected, "{end}");
        }
    }

    /// A client that reads has everything.
    pub(crate) fn check_live(&self, truth: &Truth) {
        let waits = self.subs.values().any(|sub| sub.waits);
        assert!(waits || self.replays.is_empty(), "{:?}", self.replays);
        if self.epoch != Some(truth.epoch_name()) {
            return;
        }
        for (name, sub) in self.subs.iter().filter(|(_, sub)| !sub.waits) {
            let covered = truth
                .channels
                .keys()
                .filter(|channel| name::matches(name, channel));
            for channel in covered {
                let Some(head) = truth.head(channel) else {
                    continue;
                };
                let chain = self.chains.get(channel).copied();
                let has_value = sub.snapshot && truth.keeps_values && !head.is_lost;
                let is_before = sub.base.is_none_or(|base| head.seq <= base) && !has_value;
                assert!(
                    chain == Some(head.seq) || sub.has_lost(head.seq) || is_before,
                    "{channel} stands at {head:?}, the client at {chain:?} of {name} {sub:?}"
                );
            }
        }
    }
}
