//! The archive in checkpoints: its pages whole, and who waits; what follows from them is made again.

use alloc::vec::Vec;

use super::{Archive, Kept, UnderWay, Waiter, Want};
use crate::record::codec::{Broken, Code, Reader, Writer, coded};

impl Code for Waiter {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Subscription(ix) => (0_u8, *ix).put(out),
            Self::Subscribe(conn) => (1_u8, *conn).put(out),
            Self::Replay(conn) => (2_u8, *conn).put(out),
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        match from.byte()? {
            0 => Ok(Self::Subscription(Code::get(from)?)),
            1 => Ok(Self::Subscribe(Code::get(from)?)),
            2 => Ok(Self::Replay(Code::get(from)?)),
            _ => Err(Broken("somebody of no known kind waits")),
        }
    }
}

coded!(Kept { page, used });

coded!(Want {
    waiters,
    failing_since,
    own
});

coded!(UnderWay { topic, after, head });

impl Code for Archive {
    fn put(&self, out: &mut Writer) {
        let Self {
            bytes_max,
            fetches_max,
            pages,
            uses: _,
            used,
            bytes: _,
            wants,
            turns,
            queued: _,
            under_way,
            requests,
            was_everything,
            pause,
            holes,
        } = self;
        bytes_max.put(out);
        fetches_max.put(out);
        let kept: Vec<&Kept> = pages.values().collect();
        kept.len().put(out);
        for kept in kept {
            kept.put(out);
        }
        used.put(out);
        wants.put(out);
        turns.put(out);
        under_way.put(out);
        requests.put(out);
        was_everything.put(out);
        pause.put(out);
        holes.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let (bytes_max, fetches_max) = Code::get(from)?;
        let mut archive = Self {
            bytes_max,
            fetches_max,
            ..Self::default()
        };
        let kept: Vec<Kept> = Code::get(from)?;
        for kept in kept {
            let place = (kept.page.topic.clone(), kept.page.after);
            archive.bytes += kept.page.bytes();
            archive.uses.insert(kept.used, place.clone());
            archive.pages.insert(place, kept);
        }
        archive.used = Code::get(from)?;
        archive.wants = Code::get(from)?;
        archive.turns = Code::get(from)?;
        archive.queued = archive.turns.iter().cloned().collect();
        archive.under_way = Code::get(from)?;
        archive.requests = Code::get(from)?;
        archive.was_everything = Code::get(from)?;
        archive.pause = Code::get(from)?;
        archive.holes = Code::get(from)?;
        Ok(archive)
    }
}
