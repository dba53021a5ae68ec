//! The arena and the logs as bytes: see [`crate::record`].

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::{Log, Slot, Store};
use crate::event::{Kind, Publication};
use crate::id::{ChannelId, Order};
use crate::record::codec::{Broken, Code, Reader, Writer};
use crate::shard::catalog::{Catalog, ChannelIx};
use crate::time::Instant;

/// Without its places: those of a channel are what the arena has of it, and a pattern writes its own.
impl Code for Log {
    fn put(&self, out: &mut Writer) {
        let Self {
            places: _,
            dropped_to,
            dropped_seq,
            waiting,
        } = self;
        dropped_to.put(out);
        dropped_seq.put(out);
        waiting.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let (dropped_to, dropped_seq, waiting) = Code::get(from)?;
        Ok(Self {
            places: VecDeque::new(),
            dropped_to,
            dropped_seq,
            waiting,
        })
    }
}

/// The numbers of the entry before, which those of the next are near to.
#[derive(Default)]
struct Near {
    seq: u64,
    ts: u64,
    received: u64,
}

impl Near {
    fn put(&mut self, ix: ChannelIx, entry: &Publication, out: &mut Writer) {
        ix.put(out);
        out.near(entry.seq, self.seq);
        entry.prev.is_some().put(out);
        if let Some(prev) = entry.prev {
            out.near(prev, entry.seq);
        }
        out.near(entry.ts, self.ts);
        out.near(entry.received.as_nanos(), self.received);
        entry.kind.put(out);
        entry.frame.put(out);
        self.seq = entry.seq;
        self.ts = entry.ts;
        self.received = entry.received.as_nanos();
    }

    fn get(
        &mut self,
        order: Order,
        catalog: &Catalog,
        from: &mut Reader<'_>,
    ) -> Result<(ChannelIx, Arc<Publication>), Broken> {
        let ix = ChannelIx::get(from)?;
        let name = catalog.name_of(ix).ok_or(NO_CHANNEL)?;
        self.seq = from.near(self.seq)?;
        let has_prev = bool::get(from)?;
        let prev = has_prev.then(|| from.near(self.seq)).transpose()?;
        self.ts = from.near(self.ts)?;
        self.received = from.near(self.received)?;
        let publication = Publication {
            order,
            // The Feed's number is known to the catalog and of no meaning here.
            channel: ChannelId(u32::MAX),
            name: name.clone(),
            seq: self.seq,
            prev,
            ts: self.ts,
            received: Instant::from_nanos(self.received),
            kind: Kind::get(from)?,
            frame: Code::get(from)?,
        };
        Ok((ix, Arc::new(publication)))
    }
}

const NO_CHANNEL: Broken = Broken("an entry is of no channel");

/// Entries that are fetched from memory together.
const TOUCHED: usize = 64;

/// Reads something of each entry, which the processor can do for many at once. Written one by one,
/// every entry would wait for memory by itself, and that is nearly all that a large log costs.
fn touch(slots: &[Slot]) {
    let publications = slots.iter().filter_map(|slot| slot.publication.as_ref());
    let sum = publications.fold(0, |sum: u64, publication| {
        let len = publication.frame.len() as u64;
        sum ^ publication.ts ^ publication.order.0 ^ publication.seq ^ len
    });
    core::hint::black_box(sum);
}

impl Store {
    pub(crate) fn save(&self, out: &mut Writer) {
        let mut near = Near::default();
        self.base.put(out);
        self.slots.len().put(out);
        let (front, back) = self.slots.as_slices();
        for chunk in front.chunks(TOUCHED).chain(back.chunks(TOUCHED)) {
            touch(chunk);
            for slot in chunk {
                slot.publication.is_some().put(out);
                match &slot.publication {
                    Some(publication) => near.put(slot.channel, publication, out),
                    None => out.near(slot.seq, near.seq),
                }
            }
        }
        self.held.len().put(out);
        for (order, (ix, publication)) in &self.held {
            order.put(out);
            near.put(*ix, publication, out);
        }
        self.values_dropped.put(out);
        self.value_dropped_to.put(out);
    }

    /// Reads the arena into a store that is new, and the places of its entries into the logs of their
    /// channels.
    pub(crate) fn load(
        &mut self,
        catalog: &mut Catalog,
        from: &mut Reader<'_>,
    ) -> Result<(), Broken> {
        let mut near = Near::default();
        self.base = Code::get(from)?;
        for at in 0..from.count()? as u64 {
            let order = Order(self.base.0.saturating_add(at));
            let slot = if bool::get(from)? {
                let (channel, publication) = near.get(order, catalog, from)?;
                catalog.channel_mut(channel).log.places.push_back(order);
                self.arena_bytes += publication.frame.len();
                Slot {
                    seq: publication.seq,
                    channel,
                    publication: Some(publication),
                }
            } else {
                Slot {
                    seq: from.near(near.seq)?,
                    channel: ChannelIx::NONE,
                    publication: None,
                }
            };
            self.slots.push_back(slot);
        }
        for _ in 0..from.count()? {
            let order = Order::get(from)?;
            let entry = near.get(order, catalog, from)?;
            self.held_bytes += entry.1.frame.len();
            self.held.insert(order, entry);
        }
        self.values_dropped = Code::get(from)?;
        self.value_dropped_to = Code::get(from)?;
        Ok(())
    }
}
