//! A naive model of a stream, and the comparison with what is read.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::stream;
use odin_core::history::Page;
use odin_core::name::matches;

use crate::support::nats::Version;
use crate::world::{FILTER, World, config, held, subject};

/// What a stream holds, and what it ever lost.
struct Model {
    last: u64,
    stored: BTreeMap<u64, &'static str>,
    deleted: BTreeSet<u64>,
    per_subject: usize,
    messages: usize,
}

const NAMES: [&str; 4] = ["A", "A.x", "B.x", "B.x.y"];

impl Model {
    fn publish(&mut self, name: &'static str) {
        self.last += 1;
        self.stored.insert(self.last, name);
        while self.of(name).count() > self.per_subject {
            let oldest = self.of(name).next().unwrap();
            self.delete(oldest);
        }
        while self.stored.len() > self.messages {
            let oldest = *self.stored.keys().next().unwrap();
            self.delete(oldest);
        }
    }

    fn delete(&mut self, seq: u64) {
        self.stored.remove(&seq);
        self.deleted.insert(seq);
    }

    fn of(&self, name: &str) -> impl DoubleEndedIterator<Item = u64> {
        let of_name = self.stored.iter().filter(move |(_, of)| **of == name);
        of_name.map(|(seq, _)| *seq)
    }

    /// Entries, end, last seq, whether it is intact, and the anchor.
    fn page(&self, topic: &str, after: u64) -> Shown {
        let entries = self.stored.range(after + 1..);
        let entries = entries.filter(|(_, name)| matches(topic, name));
        let entries = entries.map(|(seq, name)| {
            let prev = self.of(name).rfind(|prev| prev < seq);
            let none = self.deleted.is_empty().then_some(0);
            ((*name).to_owned(), *seq, prev.or(none))
        });
        let channel = !topic.contains(['*', '>']);
        let anchor = if channel {
            self.of(topic).rfind(|seq| *seq <= after)
        } else {
            let at = self.stored.get(&after);
            at.filter(|name| matches(topic, name)).map(|_| after)
        };
        let to = self.last.max(after);
        let first = self.stored.keys().next().copied().unwrap_or(self.last + 1);
        let within = self.deleted.range(first..).next().is_some();
        let behind = self.deleted.range(after + 1..).next().is_some();
        // It is not looked through where the anchor proves enough.
        let known = !(within && channel && anchor.is_some());
        Shown {
            entries: entries.collect(),
            to,
            last_seq: self.last,
            intact: first <= after + 1 && !behind && known,
            anchor,
        }
    }
}

#[derive(PartialEq, Debug)]
struct Shown {
    entries: Vec<(String, u64, Option<u64>)>,
    to: u64,
    last_seq: u64,
    intact: bool,
    anchor: Option<u64>,
}

impl Shown {
    fn of(page: &Page) -> Self {
        let entries = held(page).into_iter();
        Self {
            entries: entries
                .map(|(name, seq, prev)| (name.to_owned(), seq, prev))
                .collect(),
            to: page.extent.to,
            last_seq: page.extent.last_seq,
            intact: page.extent.intact,
            anchor: page.extent.anchor.map(|anchor| anchor.seq),
        }
    }
}

/// Publishes, deletes and purges by chance, the same with every server, and compares what is read with what a naive
/// model of the stream holds.
pub(crate) async fn compare(release: Version, seed: u64, (per_subject, messages): (usize, usize)) {
    let limits = stream::Config {
        max_messages_per_subject: i64::try_from(per_subject).unwrap_or(-1),
        max_messages: i64::try_from(messages).unwrap_or(-1),
        ..config()
    };
    let world = World::with(release, limits, FILTER).await;
    let mut model = Model {
        last: 0,
        stored: BTreeMap::new(),
        deleted: BTreeSet::new(),
        per_subject,
        messages,
    };
    let mut state = seed;
    let mut dice = move |sides: u64| {
        // Knuth's MMIX generator; its upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let stream = world.stream().await;
    for round in 0..30 {
        for _ in 0..dice(6) {
            let name = NAMES[usize::try_from(dice(4)).unwrap()];
            assert_eq!(world.publish(name, "1").await, model.last + 1);
            model.publish(name);
        }
        // In the first rounds nothing is deleted.
        match if round < 8 { 9 } else { dice(6) } {
            // A deletion confuses the count by which nats-server 2.9 limits a subject.
            0 if per_subject == usize::MAX => {
                let at = usize::try_from(dice(20)).unwrap();
                if let Some(seq) = model.stored.keys().nth(at).copied() {
                    assert!(stream.delete_message(seq).await.unwrap());
                    model.delete(seq);
                }
            }
            1 => {
                let name = NAMES[usize::try_from(dice(4)).unwrap()];
                stream.purge().filter(subject(name)).await.unwrap();
                model
                    .of(name)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|seq| model.delete(seq));
            }
            2 if dice(4) == 0 => {
                let below = 1 + dice(model.last + 1);
                stream.purge().sequence(below).await.unwrap();
                let gone: Vec<u64> = model.stored.range(..below).map(|(seq, _)| *seq).collect();
                gone.into_iter().for_each(|seq| model.delete(seq));
            }
            _ => {}
        }
        for topic in ["A", "B.x", "NONE", "*.x", "B.>", ">"] {
            let after = match dice(4) {
                0 => 0,
                1 => model.last + dice(3),
                _ => dice(model.last + 1),
            };
            let page = world.page(topic, after).await;
            let context = format!("{release:?}, seed {seed}, round {round}: {topic} after {after}");
            assert_eq!(Shown::of(&page), model.page(topic, after), "{context}");
        }
    }
}
