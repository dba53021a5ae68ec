//! What was really published: number lines, each with every message that it ever had, told by whoever
//! plays the publisher and the stream.
//!
//! A line is what the server calls an epoch. The oracle is not told which epoch is which line; it finds
//! out: all that is delivered under one epoch must be of one line.

use std::collections::{BTreeMap, BTreeSet};

/// A number line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LineId(pub usize);

/// A message of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Of its payload in the form in which clients see it.
    pub(super) hash: u64,
    /// No server may deliver it (too large), so that a `lost` has to name it.
    pub(super) refused: bool,
    /// Since which tick the stream has it no more, or never had it for any server.
    pub(super) gone: Option<u64>,
    /// It went while an older message of its channel stayed, so that the stream's past does not show that it was.
    pub(super) alone: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    channels: BTreeMap<String, BTreeMap<u64, Entry>>,
    /// Places of which nobody can know what stood there.
    missed: BTreeMap<u64, u64>,
    head: u64,
    /// The line that it was before the stream went back.
    parent: Option<usize>,
}

impl Line {
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn entry(&self, channel: &str, seq: u64) -> Option<&Entry> {
        self.channels.get(channel)?.get(&seq)
    }

    /// The messages of a channel with `after` < seq < `before`.
    pub(super) fn between(
        &self,
        channel: &str,
        after: u64,
        before: u64,
    ) -> impl Iterator<Item = (u64, &Entry)> {
        let within = self.channels.get(channel).filter(|_| after < before);
        let range = within.into_iter().flat_map(move |entries| {
            entries.range((
                std::ops::Bound::Excluded(after),
                std::ops::Bound::Excluded(before),
            ))
        });
        range.map(|(seq, entry)| (*seq, entry))
    }

    /// The places after `after` and before `before` at which messages of any channel were missed.
    pub(super) fn missed(&self, after: u64, before: u64) -> impl Iterator<Item = (u64, u64)> {
        let within = (after < before).then_some(&self.missed);
        let range = within.into_iter().flat_map(move |missed| {
            missed.range((
                std::ops::Bound::Excluded(after),
                std::ops::Bound::Excluded(before),
            ))
        });
        range.map(|(seq, tick)| (*seq, *tick))
    }

    pub(super) fn newest(&self, channel: &str) -> Option<(u64, &Entry)> {
        let (seq, entry) = self.channels.get(channel)?.last_key_value()?;
        Some((*seq, entry))
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.keys().map(String::as_str)
    }

    /// A message in `from..=to` that the stream still has and servers may deliver.
    pub(super) fn still_there(&self, from: u64, to: u64) -> Option<(&str, u64)> {
        self.channels.iter().find_map(|(name, entries)| {
            let mut range = entries.range(from..=to.max(from));
            let (seq, _) = range.find(|(_, entry)| entry.gone.is_none() && !entry.refused)?;
            Some((name.as_str(), *seq))
        })
    }
}

/// All lines, and which epoch may be which.
#[derive(Debug, Default)]
pub(super) struct Truth {
    lines: Vec<Line>,
    epochs: BTreeMap<String, BTreeSet<usize>>,
    /// The highest seq that was delivered under each epoch.
    reached: BTreeMap<String, u64>,
    /// What each server announced as lost for all: the first seq and the last.
    told: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Truth {
    pub(super) fn begin(&mut self) -> LineId {
        self.lines.push(Line::default());
        LineId(self.lines.len() - 1)
    }

    /// A line that is like another up to `seq`.
    pub(super) fn branch(&mut self, from: LineId, seq: u64) -> LineId {
        let mut line = self.lines[from.0].clone();
        for entries in line.channels.values_mut() {
            entries.retain(|at, _| *at <= seq);
        }
        line.channels.retain(|_, entries| !entries.is_empty());
        line.head = line.head.min(seq);
        line.parent = Some(from.0);
        self.lines.push(line);
        let branch = self.lines.len() - 1;
        // Who has read no further than the fork may be on either.
        for (epoch, lines) in &mut self.epochs {
            if lines.contains(&from.0) && self.reached.get(epoch).is_none_or(|at| *at <= seq) {
                lines.insert(branch);
            }
        }
        LineId(branch)
    }

    pub(super) fn published(&mut self, line: LineId, channel: &str, seq: u64, entry: Entry) {
        let line = &mut self.lines[line.0];
        line.head = line.head.max(seq);
        match line.channels.get_mut(channel) {
            Some(entries) => {
                entries.insert(seq, entry);
            }
            None => {
                line.channels
                    .insert(channel.into(), BTreeMap::from([(seq, entry)]));
            }
        }
    }

    pub(super) fn missed(&mut self, line: LineId, seq: u64, tick: u64) {
        let line = &mut self.lines[line.0];
        line.head = line.head.max(seq);
        line.missed.insert(seq, tick);
    }

    pub(super) fn gone(&mut self, line: LineId, from: u64, to: u64, tick: u64) {
        for entries in self.lines[line.0].channels.values_mut() {
            let mut older = entries.range(..from);
            let alone = older.any(|(_, entry)| entry.gone.is_none());
            for (_, entry) in entries.range_mut(from..=to.max(from)) {
                entry.alone |= alone && entry.gone.is_none();
                entry.gone.get_or_insert(tick);
            }
        }
    }

    /// A server announces messages as lost for all.
    pub(super) fn told(&mut self, server: u64, from: u64, to: u64) {
        self.told.entry(server).or_default().push((from, to));
    }

    /// Whether a server announced a message as lost for all.
    pub(super) fn was_told(&self, server: u64, seq: u64) -> bool {
        let told = self.told.get(&server);
        told.is_some_and(|told| told.iter().any(|(from, to)| (*from..=*to).contains(&seq)))
    }

    /// Whether a line of the same stream, before it went back or after, passes a test.
    pub(super) fn is_of_its_stream(&self, epoch: &str, test: impl Fn(&Line) -> bool) -> bool {
        let streams: BTreeSet<usize> = self
            .lines_of(epoch)
            .map(|(at, _)| self.stream(at))
            .collect();
        let mut lines = self.lines.iter().enumerate();
        lines.any(|(at, line)| streams.contains(&self.stream(at)) && test(line))
    }

    /// Whether the stream of an epoch may be gone, with another one in its place.
    pub(super) fn may_be_replaced(&self, epoch: &str) -> bool {
        let newest = self.lines.len().checked_sub(1).map(|at| self.stream(at));
        self.lines_of(epoch)
            .any(|(at, _)| Some(self.stream(at)) != newest)
    }

    /// The line with which the stream of a line began.
    fn stream(&self, at: usize) -> usize {
        let parents = std::iter::successors(Some(at), |at| self.lines[*at].parent);
        parents.last().unwrap_or(at)
    }

    pub(super) fn line(&self, line: LineId) -> &Line {
        &self.lines[line.0]
    }

    /// The lines that an epoch may be.
    pub(super) fn lines_of(&self, epoch: &str) -> impl Iterator<Item = (usize, &Line)> {
        let known = self.epochs.get(epoch);
        let all = self.lines.iter().enumerate();
        all.filter(move |(at, _)| known.is_none_or(|known| known.contains(at)))
    }

    /// Narrows the lines that an epoch may be to those of `test`, which is about `seq`; `false`: none is
    /// left.
    pub(super) fn narrow(&mut self, epoch: &str, seq: u64, test: impl Fn(&Line) -> bool) -> bool {
        let left: BTreeSet<usize> = self
            .lines_of(epoch)
            .filter(|(_, line)| test(line))
            .map(|(at, _)| at)
            .collect();
        if left.is_empty() {
            return false;
        }
        match self.reached.get_mut(epoch) {
            Some(reached) => *reached = seq.max(*reached),
            None => {
                self.reached.insert(epoch.into(), seq);
            }
        }
        if self.epochs.get(epoch) != Some(&left) {
            self.epochs.insert(epoch.into(), left);
        }
        true
    }
}
