//! History: what a shard asks the upstream about the past, and what it gets.
//!
//! A [`Fetch`] asks for the messages of a topic after a seq; the shell asks the stream and hands what it
//! found to [`Page::new`], which names channels and encodes frames as the Feed does. Whether a page proves a
//! position is decided here ([`Page::proof_of_channel`], [`Page::proof_of_pattern`]); who waits for which page, and
//! how many are kept, is the business of the shard.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::mutant::{self, Mutant};
use crate::name::{self, check_channel};
use crate::reason::LostReason;
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::wire::event as wire;

/// The most messages that one [`Fetch`] asks for.
pub const PAGE_MESSAGES_MAX: usize = 1_000;

/// The bytes of payloads after which a page ends; its first message is in it whatever its size.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The topic that every channel is of.
pub const EVERYTHING: &str = ">";

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a shard wants to know of the past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Names this fetch in its answer.
    pub request: u64,
    /// A channel, or a pattern of channels.
    pub topic: Arc<str>,
    /// Messages with a seq above this one are asked for: the oldest
    /// [`PAGE_MESSAGES_MAX`], or fewer where they have more than [`PAGE_BYTES_MAX`].
    pub after: u64,
}

/// A message that still stands in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// Its seq.
    pub seq: u64,
    /// When the stream stored it: nanoseconds since the Unix epoch.
    pub time: u64,
}

/// What the stream said around the messages of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// When the stream was created, read after the messages: nanoseconds since the Unix epoch.
    pub created: u64,
    /// The last seq of the stream, as read by whoever leads it, after the messages.
    pub last_seq: u64,
    /// Every message of the topic that the stream holds from [`Fetch::after`], exclusive, to this seq is on the page.
    /// Never above what the stream's leader had stored when the messages were read; at least
    /// [`Fetch::after`].
    pub to: u64,
    /// The stream provably deleted nothing with a seq in (`after`, `to`]: its first seq is at most `after + 1` and no
    /// deletion lies between. `false` where that is not known. It need be found out only for patterns, and for channels
    /// without an anchor.
    pub intact: bool,
    /// Of a channel: its last message with a seq of at most `after` that still exists. Of a pattern:
    /// the message at `after` itself, where the pattern matches it and it still exists.
    pub anchor: Option<Anchor>,
}

/// A message as the stream holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored<'a> {
    /// Its seq.
    pub seq: u64,
    /// The seq of the preceding message of the same subject that the stream still holds; 0 where there
    /// never was one (nothing was ever deleted from the stream); `None`: it holds none any more.
    pub prev: Option<u64>,
    /// When the stream stored it: nanoseconds since the Unix epoch.
    pub time: u64,
    /// Its subject.
    pub subject: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
}

/// How messages become frames: the same as the Feed's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoding<'a> {
    /// The prefix that subjects have and channels do not.
    pub strip: &'a str,
    /// The largest payload that is passed on; 0: no limit.
    pub payload_bytes_max: usize,
}

/// One message of a page, or the notice in the place of one that is too large.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The channel.
    pub name: Arc<str>,
    /// The seq.
    pub seq: u64,
    /// As [`Stored::prev`].
    pub prev: Option<u64>,
    /// When the stream stored it: milliseconds since the Unix epoch.
    pub ts: u64,
    /// Whether the frame is a `lost` notice for this message.
    pub lost: Option<LostReason>,
    /// The complete WebSocket frame.
    pub frame: Bytes,
}

/// A part of the past of a topic. Shared by all who read it.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// As [`Fetch::topic`].
    pub topic: Arc<str>,
    /// As [`Fetch::after`].
    pub after: u64,
    /// What the stream said.
    pub extent: Extent,
    /// The messages, ascending by seq.
    pub entries: Vec<Entry>,
    /// The entries of each channel, ascending.
    channels: BTreeMap<Arc<str>, Vec<u32>>,
    bytes: usize,
}

/// What a page says about a position of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Everything after the position that ever was is on this page, up to its end.
    Whole,
    /// Messages after the position may be gone.
    Hole,
    /// The message at the position is another than the client has.
    Different,
    /// This page cannot tell; one of the topic itself, from the position on, can.
    Unknown,
}

impl Page {
    /// Makes a page of what the stream holds. Messages that are of no channel here are left out.
    #[must_use]
    pub fn new<'a>(
        fetch: &Fetch,
        extent: Extent,
        encoding: &Encoding<'_>,
        messages: impl IntoIterator<Item = Stored<'a>>,
    ) -> Self {
        let mut names: BTreeMap<&'a str, Option<Arc<str>>> = BTreeMap::new();
        let mut entries = Vec::new();
        for message in messages {
            let name = names.entry(message.subject).or_insert_with(|| {
                let name = message.subject.strip_prefix(encoding.strip)?;
                check_channel(name).is_ok().then(|| Arc::from(name))
            });
            if let Some(name) = name
                && name::matches(&fetch.topic, name)
                && message.seq > fetch.after
            {
                entries.push(encode(name, &message, encoding.payload_bytes_max));
            }
        }
        Self::of(fetch.topic.clone(), fetch.after, extent, entries)
    }

    fn of(topic: Arc<str>, after: u64, extent: Extent, entries: Vec<Entry>) -> Self {
        let mut channels: BTreeMap<Arc<str>, Vec<u32>> = BTreeMap::new();
        let mut bytes = size_of::<Self>();
        for (index, entry) in (0..).zip(&entries) {
            bytes += size_of::<Entry>() + size_of::<u32>() + entry.frame.len();
            match channels.get_mut(&entry.name) {
                Some(places) => places.push(index),
                None => {
                    bytes += entry.name.len() + size_of::<Vec<u32>>();
                    channels.insert(entry.name.clone(), alloc::vec![index]);
                }
            }
        }
        Self {
            topic,
            after,
            extent,
            entries,
            channels,
            bytes,
        }
    }

    /// The bytes that this page holds, nearly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last seq that this page tells of.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.extent.to
    }

    /// This page, telling of nothing above a seq; its own end is never moved before [`Fetch::after`].
    #[must_use]
    pub fn cut(self: Arc<Self>, to: u64) -> Arc<Self> {
        let to = to.max(self.after);
        if self.extent.to <= to {
            return self;
        }
        let entries = self.entries.iter().filter(|entry| entry.seq <= to);
        let entries = entries.cloned().collect();
        let extent = Extent { to, ..self.extent };
        Arc::new(Self::of(self.topic.clone(), self.after, extent, entries))
    }

    /// Whether a cursor that stands after `seq` finds what comes next here.
    #[must_use]
    pub fn reaches(&self, seq: u64) -> bool {
        self.after <= seq && seq < self.extent.to
    }

    /// The entries of a channel with a seq above `seq`, by their index.
    pub fn of_channel(&self, name: &str, seq: u64) -> impl Iterator<Item = (usize, &Entry)> {
        let places = self.places(name);
        let from = places.partition_point(|place| self.entries[*place as usize].seq <= seq);
        let places = places[from..].iter().map(|place| *place as usize);
        places.map(|place| (place, &self.entries[place]))
    }

    /// The entries that a pattern matches with a seq above `seq`, by their index.
    pub fn of_pattern<'a>(
        &'a self,
        pattern: &'a str,
        seq: u64,
    ) -> impl Iterator<Item = (usize, &'a Entry)> {
        let from = self.entries.partition_point(|entry| entry.seq <= seq);
        let all = *pattern == *self.topic;
        let entries = self.entries.iter().enumerate().skip(from);
        entries.filter(move |(_, entry)| all || name::matches(pattern, &entry.name))
    }

    fn places(&self, name: &str) -> &[u32] {
        self.channels.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether everything of a channel after a position is here. Limits and purges remove the oldest
    /// messages of a channel first, so that all behind one that exists exists as well. `ts`: when the message at the
    /// position was stored, in milliseconds, if the client says so.
    #[must_use]
    pub fn proof_of_channel(&self, name: &str, seq: u64, ts: Option<u64>) -> Proof {
        let places = self.places(name);
        let after = places.partition_point(|place| self.entries[*place as usize].seq <= seq);
        let before = after
            .checked_sub(1)
            .map(|at| &self.entries[places[at] as usize])
            .map(|entry| (entry.seq, entry.ts));
        let own = *self.topic == *name;
        let anchor = self.extent.anchor.filter(|_| own);
        let before = before.or(anchor.map(|a| (a.seq, a.time / NANOS_PER_MILLI)));
        if let (Some((at, stored)), Some(ts)) = (before, ts)
            && at == seq
            && stored != ts
        {
            return Proof::Different;
        }
        let next = places
            .get(after)
            .map(|place| &self.entries[*place as usize]);
        let follows = next.is_some_and(|entry| entry.prev.is_some() || entry.seq == seq + 1);
        if before.is_some() || follows || self.extent.intact {
            Proof::Whole
        } else if own && self.after == seq {
            Proof::Hole
        } else {
            Proof::Unknown
        }
    }

    /// Whether everything that a pattern matches after a position is here: other channels than that of the message at
    /// the position may have lost some by limits of their own, so that only an intact stream proves it.
    #[must_use]
    pub fn proof_of_pattern(&self, pattern: &str, seq: u64, ts: Option<u64>) -> Proof {
        let at = self.entries.partition_point(|entry| entry.seq < seq);
        let stored = self.entries.get(at).filter(|entry| entry.seq == seq);
        let stored = stored.map(|entry| entry.ts).or(self
            .extent
            .anchor
            .filter(|anchor| anchor.seq == seq && *self.topic == *pattern)
            .map(|anchor| anchor.time / NANOS_PER_MILLI));
        if let (Some(stored), Some(ts)) = (stored, ts)
            && stored != ts
        {
            Proof::Different
        } else if self.extent.intact || mutant::is(Mutant::PatternProofIgnoresDeletions) {
            Proof::Whole
        } else if self.after == seq {
            Proof::Hole
        } else {
            Proof::Unknown
        }
    }
}

fn encode(name: &Arc<str>, message: &Stored<'_>, bytes_max: usize) -> Entry {
    let ts = message.time / NANOS_PER_MILLI;
    let too_large = bytes_max != 0 && message.payload.len() > bytes_max;
    let lost = too_large.then_some(LostReason::TooLarge);
    let frame = match lost {
        Some(reason) => wire::lost(Some(name), message.seq, Some(message.seq), reason),
        None => wire::message(name, message.seq, message.prev, ts, message.payload),
    };
    Entry {
        name: name.clone(),
        seq: message.seq,
        prev: message.prev,
        ts,
        lost,
        frame,
    }
}

coded!(Fetch {
    request,
    topic,
    after
});

coded!(Anchor { seq, time });

coded!(Extent {
    created,
    last_seq,
    to,
    intact,
    anchor
});

/// Names are written once, numbers by their distance from the entry before.
impl Code for Page {
    fn put(&self, out: &mut Writer) {
        let Self {
            topic,
            after,
            extent,
            entries,
            channels,
            bytes: _,
        } = self;
        topic.put(out);
        after.put(out);
        extent.put(out);
        let numbers: BTreeMap<&str, usize> = channels.keys().map(|name| &**name).zip(0..).collect();
        channels.len().put(out);
        for name in channels.keys() {
            name.put(out);
        }
        entries.len().put(out);
        let (mut seq, mut ts) = (0, 0);
        for entry in entries {
            numbers
                .get(&*entry.name)
                .copied()
                .unwrap_or_default()
                .put(out);
            out.near(entry.seq, seq);
            entry.prev.put(out);
            out.near(entry.ts, ts);
            entry.lost.put(out);
            entry.frame.put(out);
            (seq, ts) = (entry.seq, entry.ts);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let (topic, after) = Code::get(from)?;
        let extent = Code::get(from)?;
        let names: Vec<Arc<str>> = Code::get(from)?;
        let mut entries = Vec::new();
        let (mut seq, mut ts) = (0, 0);
        for _ in 0..from.count()? {
            let name = names.get(usize::get(from)?);
            let name = name.cloned().ok_or(Broken("a page names no channel"))?;
            seq = from.near(seq)?;
            let prev = Code::get(from)?;
            ts = from.near(ts)?;
            entries.push(Entry {
                name,
                seq,
                prev,
                ts,
                lost: Code::get(from)?,
                frame: Code::get(from)?,
            });
        }
        Ok(Self::of(topic, after, extent, entries))
    }
}
