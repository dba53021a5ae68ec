//! What the stream ever stored, and whether a client's log agrees with it. Shares nothing with the server.

use std::collections::BTreeMap;

use odin_core::name;
use serde_json::{Value, json};

use crate::log::Told;

/// The messages of one stream, from its creation on, by channel.
pub(crate) type Line = BTreeMap<String, BTreeMap<u64, Value>>;

/// What every stream stored. Each message carries the number of the stream that it was published to as `stream`.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) lines: Vec<Line>,
}

/// What a client got, in numbers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Count {
    pub(crate) messages: u64,
    /// Messages that it did not get, each announced.
    pub(crate) announced: u64,
    pub(crate) resets: u64,
    pub(crate) acks: u64,
    /// Positions that were not recovered.
    pub(crate) unrecovered: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.announced += other.announced;
        self.resets += other.resets;
        self.acks += other.acks;
        self.unrecovered += other.unrecovered;
    }
}

/// Where a client stands while its log is read.
struct Reader<'a> {
    ledger: &'a Ledger,
    names: &'a [String],
    epoch: Option<String>,
    /// The stream of the epoch, once a message told.
    stream: Option<usize>,
    /// Of each channel the last seq up to which everything is accounted for; absent: unknown.
    last: BTreeMap<String, u64>,
    /// Of each name the seq from which on everything must come; absent: unknown.
    base: BTreeMap<String, u64>,
    /// Announced ranges of this number line, by the name they are about.
    lost: Vec<(Option<String>, u64, u64)>,
    count: Count,
}

impl Ledger {
    /// Compares a client's log with what was stored. At its end the client must have the last message of every channel that
    /// its names match.
    pub(crate) fn check(&self, names: &[String], log: &[Told]) -> Result<Count, String> {
        let mut reader = Reader {
            ledger: self,
            names,
            epoch: None,
            stream: None,
            last: BTreeMap::new(),
            base: BTreeMap::new(),
            lost: Vec::new(),
            count: Count::default(),
        };
        for (at, told) in log.iter().enumerate() {
            reader.read(told).map_err(|error| {
                // What was said since its last connection began, and before that.
                let acked = |told: &Told| matches!(told, Told::Acked { .. });
                let begun = log[..at].iter().rposition(acked).unwrap_or_default();
                let lines = log[begun.saturating_sub(8)..=at].iter();
                let lines: Vec<String> = lines.map(|told| format!("{told:?}")).collect();
                format!("{error}, at {at} of {}:\n{}", log.len(), lines.join("\n"))
            })?;
        }
        reader.finish()?;
        Ok(reader.count)
    }
}

impl Reader<'_> {
    fn read(&mut self, told: &Told) -> Result<(), String> {
        match told {
            Told::Acked {
                epoch,
                positions,
                recovered,
            } => self.acked(epoch, positions, recovered),
            Told::Reset(epoch) => {
                self.count.resets += 1;
                self.begin(Some(epoch.clone()));
            }
            Told::Lost { name, from, to } => {
                self.lost
                    .push((name.clone(), *from, to.unwrap_or(u64::MAX)));
            }
            Told::Message {
                channel, seq, data, ..
            } => self.message(channel, *seq, data)?,
        }
        Ok(())
    }

    fn begin(&mut self, epoch: Option<String>) {
        self.epoch = epoch;
        self.stream = None;
        self.last.clear();
        self.base.clear();
        self.lost.clear();
    }

    fn acked(
        &mut self,
        epoch: &Option<String>,
        positions: &BTreeMap<String, Option<u64>>,
        recovered: &[String],
    ) {
        self.count.acks += 1;
        let first = self.count.acks == 1;
        if *epoch != self.epoch {
            self.begin(epoch.clone());
        }
        for (name, position) in positions {
            if recovered.contains(name) {
                continue;
            }
            self.count.unrecovered += u64::from(!first);
            // It was said that this name begins anew, at this position.
            self.last.retain(|channel, _| !name::matches(name, channel));
            match position {
                Some(position) => self.base.insert(name.clone(), *position),
                None => self.base.remove(name),
            };
        }
    }

    fn message(&mut self, channel: &str, seq: u64, data: &Value) -> Result<(), String> {
        let name = self.names.iter().find(|name| name::matches(name, channel));
        let name = name.ok_or_else(|| format!("{channel} is not subscribed"))?;
        let of_message = data["stream"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        let of_message = of_message.ok_or_else(|| format!("{channel} {seq} was not published"))?;
        let stream = *self.stream.get_or_insert(of_message);
        if stream != of_message {
            return Err(format!(
                "one epoch has messages of streams {stream} and {of_message}"
            ));
        }
        let line = self.ledger.lines[stream].get(channel);
        if line.and_then(|line| line.get(&seq)) != Some(data) {
            return Err(format!("{channel} {seq} is not what the stream stored"));
        }
        let known = self.last.get(channel).or(self.base.get(name)).copied();
        if let Some(known) = known {
            if seq <= known {
                return Err(format!("{channel} {seq} came again after {known}"));
            }
            self.account(stream, channel, known, seq)?;
        }
        self.last.insert(channel.to_owned(), seq);
        self.count.messages += 1;
        Ok(())
    }

    /// Every message between two seqs must have been announced as lost.
    fn account(
        &mut self,
        stream: usize,
        channel: &str,
        after: u64,
        before: u64,
    ) -> Result<(), String> {
        let line = self.ledger.lines[stream].get(channel);
        let missed = line
            .into_iter()
            .flat_map(|line| line.range(after + 1..before));
        for (seq, _) in missed {
            let announced = self.lost.iter().any(|(name, from, to)| {
                let concerned = name
                    .as_ref()
                    .is_none_or(|name| name::matches(name, channel));
                concerned && (from..=to).contains(&seq)
            });
            if !announced {
                return Err(format!("{channel} {seq} never came and was not announced"));
            }
            self.count.announced += 1;
        }
        Ok(())
    }

    /// The client must have got as far as the stream, but for what was announced.
    fn finish(&mut self) -> Result<(), String> {
        let Some(stream) = self.ledger.lines.len().checked_sub(1) else {
            return Ok(());
        };
        if self.stream != Some(stream) {
            return Err(format!(
                "it ends on stream {:?} and not {stream}",
                self.stream
            ));
        }
        for (channel, line) in &self.ledger.lines[stream] {
            let Some((newest, data)) = line.last_key_value() else {
                continue;
            };
            if self.names.iter().any(|name| name::matches(name, channel))
                && self.last.get(channel) != Some(newest)
            {
                let has = json!(self.last.get(channel));
                return Err(format!(
                    "{channel} ends at {has} and not with {newest}: {data}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let line = (1..=4).map(|seq| (seq, json!({"stream": 0, "n": seq})));
        let lines = vec![BTreeMap::from([("a".to_owned(), line.collect())])];
        Ledger { lines }
    }

    fn message(seq: u64) -> Told {
        Told::Message {
            channel: "a".to_owned(),
            seq,
            prev: None,
            data: json!({"stream": 0, "n": seq}),
        }
    }

    fn acked(position: u64, recovered: bool) -> Told {
        Told::Acked {
            epoch: Some("e".to_owned()),
            positions: BTreeMap::from([("a".to_owned(), Some(position))]),
            recovered: if recovered {
                vec!["a".to_owned()]
            } else {
                Vec::new()
            },
        }
    }

    fn lost(from: u64, to: u64) -> Told {
        Told::Lost {
            name: None,
            from,
            to: Some(to),
        }
    }

    fn check(log: &[Told]) -> Result<Count, String> {
        ledger().check(&["a".to_owned()], log)
    }

    #[test]
    fn only_what_was_announced_may_be_missing() {
        let whole = [
            acked(0, false),
            message(1),
            message(2),
            message(3),
            message(4),
        ];
        assert_eq!(check(&whole).unwrap().messages, 4);
        let hole = [acked(0, false), message(1), message(3), message(4)];
        assert!(check(&hole).unwrap_err().starts_with("a 2 never came"));
        let told = [
            acked(0, false),
            message(1),
            lost(2, 2),
            message(3),
            message(4),
        ];
        assert_eq!(check(&told).unwrap().announced, 1);
        let late = [
            acked(0, false),
            message(1),
            message(3),
            lost(2, 2),
            message(4),
        ];
        assert!(check(&late).is_err(), "a notice after the hole is too late");
        let again = [acked(0, false), message(4), acked(4, true), message(4)];
        assert!(check(&again).is_err());
        let resumed = [acked(2, false), message(3), acked(3, true), message(4)];
        assert_eq!(check(&resumed).unwrap().messages, 2);
        let skipped = [acked(0, false), message(1), acked(1, true), message(4)];
        assert!(check(&skipped).is_err());
        let said = [acked(0, false), message(1), acked(3, false), message(4)];
        assert_eq!(check(&said).unwrap().unrecovered, 1);
        let short = [acked(0, false), message(1), message(2), message(3)];
        assert!(check(&short).unwrap_err().starts_with("a ends at 3"));
    }
}
