//! Names as bytes: see [`crate::record`].

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::matching::newer;
use super::{Catalog, Channel, ChannelIx, Pattern, PatternIx};
use crate::id::Order;
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::shard::log::Log;

coded!(ChannelIx(1));

coded!(PatternIx(1));

/// Which patterns match is found again.
impl Code for Channel {
    fn put(&self, out: &mut Writer) {
        let Self {
            name,
            log,
            held,
            last,
            last_seq,
            first_seen,
            patterns: _,
            matched_at: _,
            subscribers,
            published,
        } = self;
        name.put(out);
        log.put(out);
        held.put(out);
        last.put(out);
        last_seq.put(out);
        first_seen.put(out);
        subscribers.put(out);
        published.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Self {
            name: Code::get(from)?,
            log: Code::get(from)?,
            held: Code::get(from)?,
            last: Code::get(from)?,
            last_seq: Code::get(from)?,
            first_seen: Code::get(from)?,
            patterns: Vec::new(),
            matched_at: 0,
            subscribers: Code::get(from)?,
            published: Code::get(from)?,
        })
    }
}

impl Code for Pattern {
    fn put(&self, out: &mut Writer) {
        let Self {
            text,
            log,
            complete_from,
            subscribers,
            idle_until,
        } = self;
        text.put(out);
        log.put(out);
        log.places.len().put(out);
        let mut before = 0;
        for place in &log.places {
            out.near(place.0, before);
            before = place.0;
        }
        complete_from.put(out);
        subscribers.put(out);
        idle_until.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let text = Code::get(from)?;
        let mut log = Log::get(from)?;
        let mut before = 0;
        for _ in 0..from.count()? {
            before = from.near(before)?;
            log.places.push_back(Order(before));
        }
        let (complete_from, subscribers, idle_until) = Code::get(from)?;
        Ok(Self {
            text,
            log,
            complete_from,
            subscribers,
            idle_until,
        })
    }
}

/// What can be told from channels and patterns is not written but made again.
impl Code for Catalog {
    fn put(&self, out: &mut Writer) {
        let Self {
            channels,
            names: _,
            by_feed,
            unpublished,
            patterns,
            pattern_names: _,
            tree: _,
            patterns_changed: _,
            idle: _,
            dropped: _,
        } = self;
        channels.put(out);
        by_feed.put(out);
        unpublished.put(out);
        patterns.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let mut catalog = Self {
            channels: Code::get(from)?,
            by_feed: Code::get(from)?,
            unpublished: Code::get(from)?,
            patterns: Code::get(from)?,
            ..Self::default()
        };
        for (index, channel) in catalog.channels.iter() {
            let name = channel.name.clone();
            catalog.names.insert(name, ChannelIx(index));
            let log = &channel.log;
            catalog.dropped = newer(catalog.dropped, (log.dropped_to, log.dropped_seq));
        }
        for (index, pattern) in catalog.patterns.iter() {
            let ix = PatternIx(index);
            catalog.pattern_names.insert(pattern.text.clone(), ix);
            catalog.tree.set(&pattern.text, Some(ix));
            catalog.patterns_changed += 1;
            if let Some(until) = pattern.idle_until {
                catalog.idle.insert((until, ix));
            }
        }
        Ok(catalog)
    }
}

impl Catalog {
    /// The name of a channel, if it is one.
    pub(crate) fn name_of(&self, ix: ChannelIx) -> Option<&Arc<str>> {
        let known = self.channels.contains(ix.0);
        known.then(|| &self.channels[ix.0].name)
    }
}
