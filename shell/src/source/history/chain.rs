//! What precedes each message of a reading: the message of the same subject before it that the stream still holds.
//!
//! Limits and purges take the oldest messages of a subject first. So a message that was still there after the others
//! had been read vouches for all of its subject behind it, and one that was gone by then for none.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::Subject;
use futures_util::{StreamExt, TryStreamExt, stream};
use odin_core::history::{Anchor, Stored};

use super::api::{Away, StreamState};
use super::lookup::Lookup;
use super::memo::Known;
use super::read::Reading;

/// Subjects that are looked at again at once.
const AT_ONCE: usize = 32;

/// What precedes each message of a reading.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Of each subject, the last message up to the start of the reading, where there is one.
    before: BTreeMap<Subject, Anchor>,
    /// Of some subjects, the message up to which others may be missing between those that were read.
    broken_up_to: BTreeMap<Subject, u64>,
}

impl Chain {
    /// Finds out what precedes the messages. `wanted`: a subject that is asked about although it may have no message;
    /// `is_followed`: whose messages matter; `known`: what an earlier reading left here.
    pub(super) async fn of(
        reading: &Reading,
        lookup: &Lookup<'_>,
        wanted: Option<&Subject>,
        is_followed: impl Fn(&str) -> bool,
        known: &Known,
    ) -> Result<Self, Away> {
        let state = lookup.state;
        let mut chain = Self::default();
        if let Some((subject, anchor)) = &reading.anchor {
            chain.before.insert(subject.clone(), *anchor);
        }
        let subjects: BTreeSet<&Subject> = reading
            .messages
            .iter()
            .map(|message| &message.subject)
            .chain(wanted)
            .filter(|subject| is_followed(subject))
            .collect();
        let mut open = Vec::new();
        for subject in subjects {
            match known.get(subject).filter(|at| state.is_whole_from(at.seq)) {
                _ if chain.before.contains_key(subject) => {}
                Some(anchor) => {
                    chain.before.insert(subject.clone(), *anchor);
                }
                None => open.push(subject.clone()),
            }
        }
        let found = lookup.last_of_each(&open, reading.after(), known).await?;
        chain.settle(reading, lookup, &found).await?;
        chain.before.extend(found);
        Ok(chain)
    }

    /// Looks again at what was there when the messages were read, and may have gone since. `found`: what was looked
    /// for after that.
    async fn settle(
        &mut self,
        reading: &Reading,
        lookup: &Lookup<'_>,
        found: &BTreeMap<Subject, Anchor>,
    ) -> Result<(), Away> {
        let mut oldest: BTreeMap<Subject, u64> = BTreeMap::new();
        for (subject, anchor) in &self.before {
            oldest.insert(subject.clone(), anchor.seq);
        }
        let mut last = BTreeMap::new();
        for message in &reading.messages {
            // One that is alone has nothing behind it to vouch for.
            let first = last.insert(&message.subject, message.seq);
            if let Some(first) = first
                && !found.contains_key(&message.subject)
            {
                oldest.entry(message.subject.clone()).or_insert(first);
            }
        }
        oldest.retain(|_, seq| !lookup.state.is_whole_from(*seq));
        let looked_at = stream::iter(oldest).map(|(subject, seq)| async move {
            let there = lookup.api.first_from(&subject, seq).await?;
            Ok((subject, seq, there.map_or(u64::MAX, |there| there.seq)))
        });
        let looked_at = looked_at.buffer_unordered(AT_ONCE);
        let looked_at: Vec<(Subject, u64, u64)> = looked_at.try_collect().await?;
        for (subject, seq, there) in looked_at {
            if there > seq {
                self.before.remove(&subject);
                self.broken_up_to.insert(subject, there);
            }
        }
        Ok(())
    }

    /// The last message of a subject up to the start of the reading.
    pub(super) fn before(&self, subject: &Subject) -> Option<Anchor> {
        self.before.get(subject).copied()
    }

    /// The messages with what precedes them.
    pub(super) fn stored<'a>(
        &self,
        reading: &'a Reading,
        state: &StreamState,
    ) -> impl Iterator<Item = Stored<'a>> {
        // Of a stream that never deleted anything, what is not there never was.
        let none = state.is_whole_from(1).then_some(0);
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        reading.messages.iter().map(move |message| {
            let subject = &message.subject;
            let before = self.before.get(subject).map(|anchor| anchor.seq);
            let prev = last.insert(subject, message.seq).or(before);
            let prev = match self.broken_up_to.get(subject) {
                Some(up_to) if message.seq <= *up_to => None,
                Some(_) | None => prev.or(none),
            };
            Stored {
                seq: message.seq,
                prev,
                time: message.time,
                subject,
                payload: &message.payload,
            }
        })
    }

    /// What is known where the reading ended.
    pub(super) fn known(&self, reading: &Reading, mut known: Known) -> Known {
        known.extend(
            self.before
                .iter()
                .map(|(subject, at)| (subject.clone(), *at)),
        );
        known.extend(reading.messages.iter().map(|message| {
            let (seq, time) = (message.seq, message.time);
            (message.subject.clone(), Anchor { seq, time })
        }));
        known
    }
}
