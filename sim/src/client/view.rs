//! What a client keeps, exactly as the protocol's document tells client authors to keep it: the epoch, the
//! last seq of each channel, and for each subscription its base, its last seq and the ranges that were lost.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A message of the server, flat.
#[derive(Deserialize)]
pub(crate) struct Heard<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    channel: Option<&'a str>,
    seq: Option<u64>,
    prev: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    epoch: Option<String>,
    positions: Option<BTreeMap<String, Option<u64>>>,
    #[serde(default)]
    recovered: Vec<String>,
    #[serde(default)]
    unrecovered: Vec<serde::de::IgnoredAny>,
    unsubscribed: Option<Vec<String>>,
    from: Option<u64>,
    to: Option<u64>,
    pub(crate) code: Option<&'a str>,
    pub(crate) reconnect_after_ms: Option<u64>,
}

/// A message that was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Delivered<'a> {
    pub(crate) channel: &'a str,
    pub(crate) seq: u64,
    pub(crate) prev: Option<u64>,
    pub(crate) data: &'a str,
}

/// A subscription.
#[derive(Clone, Debug, Default)]
struct Subscription {
    base: Option<u64>,
    last: Option<u64>,
    lost: Vec<(u64, u64)>,
}

impl Subscription {
    fn names_lost(&self, seq: u64) -> bool {
        let mut lost = self.lost.iter();
        lost.any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

/// The last message of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Last {
    /// Its seq.
    pub seq: u64,
    /// The hash of its payload.
    pub hash: u64,
}

/// What a client has.
#[derive(Clone, Debug, Default)]
pub struct View {
    epoch: Option<String>,
    subscriptions: BTreeMap<String, Subscription>,
    chain: BTreeMap<String, Last>,
    latest: bool,
}

/// Whether a subscription brings the messages of a channel.
#[must_use]
pub fn covers(name: &str, channel: &str) -> bool {
    let (mut wanted, mut given) = (name.split('.'), channel.split('.'));
    loop {
        match (wanted.next(), given.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(token), Some(other)) if token == other => {}
            _ => return false,
        }
    }
}

impl View {
    /// What a client has that has nothing yet. `latest`: it subscribes in latest mode, in which messages
    /// are passed over.
    #[must_use]
    pub fn new(latest: bool) -> Self {
        Self {
            latest,
            ..Self::default()
        }
    }

    /// The `resume` of its next subscribe, if it has anything to resume.
    #[must_use]
    pub fn resume(&self) -> Option<Value> {
        let epoch = self.epoch.as_ref()?;
        let held = self.subscriptions.iter();
        let positions: serde_json::Map<String, Value> = held
            .filter_map(|(name, s)| Some((name.clone(), json!(s.last.or(s.base)?))))
            .collect();
        (!positions.is_empty()).then(|| json!({"epoch": epoch, "positions": positions}))
    }

    /// The last message that it has of a channel.
    #[must_use]
    pub fn last(&self, channel: &str) -> Option<Last> {
        self.chain.get(channel).copied()
    }

    /// Where the subscription that covers the channel began; `None`: unknown, or there is none.
    #[must_use]
    pub fn base(&self, channel: &str) -> Option<u64> {
        let mut held = self.subscriptions.iter();
        held.find(|(name, _)| covers(name, channel))?.1.base
    }

    /// Whether the subscription that covers the channel was told that this message may be lost.
    #[must_use]
    pub fn is_lost(&self, channel: &str, seq: u64) -> bool {
        let mut held = self.subscriptions.iter();
        let held = held.find(|(name, _)| covers(name, channel));
        held.is_some_and(|(_, held)| held.names_lost(seq))
    }

    /// Takes what is not a message.
    pub(crate) fn control(&mut self, heard: &Heard<'_>, snapshot: bool) {
        match heard.kind {
            "subscription_ack" => self.acked(heard, snapshot),
            "lost" => self.lost(heard),
            "reset" => {
                self.epoch.clone_from(&heard.epoch);
                self.chain.clear();
                for held in self.subscriptions.values_mut() {
                    *held = Subscription {
                        base: Some(0),
                        last: Some(0),
                        lost: Vec::new(),
                    };
                }
            }
            "unsubscription_ack" => {
                for name in heard.unsubscribed.iter().flatten() {
                    self.subscriptions.remove(name);
                    self.chain.retain(|channel, _| !covers(name, channel));
                }
            }
            _ => {}
        }
    }

    fn acked(&mut self, heard: &Heard<'_>, snapshot: bool) {
        if heard.epoch != self.epoch {
            self.chain.clear();
            self.epoch.clone_from(&heard.epoch);
        }
        for (name, position) in heard.positions.iter().flatten() {
            let recovered = heard.recovered.contains(name);
            if !recovered {
                self.chain.retain(|channel, _| !covers(name, channel));
            }
            let pattern = name.contains(['*', '>']);
            let held = Subscription {
                base: *position,
                last: if pattern && snapshot && !recovered {
                    Some(0)
                } else {
                    *position
                },
                lost: Vec::new(),
            };
            self.subscriptions.insert(name.clone(), held);
        }
    }

    fn lost(&mut self, heard: &Heard<'_>) {
        let from = heard.from.unwrap_or(0);
        for (name, held) in &mut self.subscriptions {
            let concerned = heard
                .channel
                .is_none_or(|channel| name == channel || covers(name, channel));
            if concerned {
                held.lost.push((from, heard.to.unwrap_or(u64::MAX)));
                if heard.to > held.last {
                    held.last = heard.to;
                }
            }
        }
    }

    /// Takes a message. `Ok(false)`: one that it had before (a replay).
    ///
    /// # Errors
    /// In words, when it does not follow what the client has: a hole that nobody announced.
    pub(crate) fn message(&mut self, m: Delivered<'_>, hash: u64) -> Result<bool, String> {
        let mut held = self.subscriptions.iter_mut();
        let Some((_, held)) = held.find(|(name, _)| covers(name, m.channel)) else {
            return Err(format!("{} is not subscribed", m.channel));
        };
        if held.last.is_some_and(|last| m.seq <= last) {
            return Ok(false);
        }
        let had = self.chain.get(m.channel).map(|last| last.seq);
        let whole = match (m.prev, had) {
            // A server that lost the one before, or began after it was purged, knows of an older one or of none. Whether
            // there is a hole is then for the oracle, which has the truth.
            (None, _) => true,
            (Some(prev), Some(had)) => prev <= had,
            (Some(prev), None) => held.base.is_none_or(|base| prev <= base),
        };
        let announced = m.prev.is_some_and(|prev| held.names_lost(prev));
        if !whole && !announced && !self.latest {
            return Err(format!(
                "a silent hole: {} {} follows {:?}, the client has {had:?}, base {:?}",
                m.channel, m.seq, m.prev, held.base
            ));
        }
        held.last = Some(m.seq);
        match self.chain.get_mut(m.channel) {
            Some(last) => *last = Last { seq: m.seq, hash },
            None => {
                self.chain
                    .insert(m.channel.into(), Last { seq: m.seq, hash });
            }
        }
        Ok(true)
    }
}

impl<'a> Heard<'a> {
    /// Of a resume: how many positions were recovered, and how many were not.
    pub(crate) fn outcome(&self) -> (u64, u64) {
        (self.recovered.len() as u64, self.unrecovered.len() as u64)
    }

    /// The message, if it is one.
    ///
    /// # Errors
    /// In words, when a field is missing.
    pub(crate) fn delivered(&self) -> Result<Delivered<'a>, String> {
        match (self.channel, self.seq, self.data) {
            (Some(channel), Some(seq), Some(data)) => Ok(Delivered {
                channel,
                seq,
                prev: self.prev,
                data: data.get(),
            }),
            _ => Err("a message without a channel, a seq or data".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(view: &mut View, text: &str) -> Result<bool, String> {
        let heard: Heard<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if heard.kind == "message" {
            return view.message(heard.delivered()?, 7);
        }
        view.control(&heard, false);
        Ok(true)
    }

    fn message(seq: u64, prev: u64) -> String {
        format!(
            r#"{{"type":"message","channel":"g0.c1","seq":{seq},"prev":{prev},"ts":1,"data":{{}}}}"#
        )
    }

    #[test]
    fn a_hole_is_seen_unless_it_was_announced() {
        let mut view = View::new(false);
        let ack = r#"{"type":"subscription_ack","epoch":"a","positions":{"g0.c1":5}}"#;
        assert_eq!(tell(&mut view, ack), Ok(true));
        assert_eq!(tell(&mut view, &message(6, 5)), Ok(true));
        assert_eq!(tell(&mut view, &message(6, 5)), Ok(false));
        assert!(tell(&mut view, &message(9, 7)).is_err_and(|e| e.contains("silent hole")));
        let lost = r#"{"type":"lost","channel":"g0.c1","from":7,"to":7,"reason":"discarded"}"#;
        assert_eq!(tell(&mut view, lost), Ok(true));
        assert_eq!(tell(&mut view, &message(9, 7)), Ok(true));
        let resume = json!({"epoch": "a", "positions": {"g0.c1": 9}});
        assert_eq!(view.resume(), Some(resume));
    }
}
