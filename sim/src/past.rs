//! What a stream answers to a question about its past: the exact answer, worked out from all that it holds.

use std::collections::BTreeMap;

use odin_core::history::{Anchor, Encoding, Extent, Fetch, PAGE_BYTES_MAX, Page, Stored};
use odin_core::name::{check_channel, matches};

/// A stream, as far as it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    /// When it was created: nanoseconds since the Unix epoch.
    pub(crate) created: u64,
    /// The last seq that it ever gave.
    pub(crate) last_seq: u64,
    /// What subjects have and channels have not.
    pub(crate) strip: &'a str,
    /// The largest payload that is passed on; 0: no limit.
    pub(crate) payload_bytes_max: usize,
    /// The most messages of a page.
    pub(crate) messages_max: usize,
}

/// A message as the stream holds it: seq, subject, time, payload.
pub(crate) type Held<'a> = (u64, &'a str, u64, &'a [u8]);

impl<'a> Past<'a> {
    /// The page that a question asks for. `held`: all that the stream holds, ascending.
    pub(crate) fn page(&self, fetch: &Fetch, held: impl Iterator<Item = Held<'a>>) -> Page {
        let (extent, stored) = self.read(&fetch.topic, fetch.after, held);
        self.encode(fetch, extent, stored)
    }

    /// What the stream says and has.
    pub(crate) fn read(
        &self,
        topic: &str,
        after: u64,
        held: impl Iterator<Item = Held<'a>>,
    ) -> (Extent, Vec<Stored<'a>>) {
        let channel = check_channel(topic).is_ok();
        let mut anchor = None;
        let (mut first_seq, mut count, mut within) = (None, 0_u64, Vec::new());
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut stored = Vec::new();
        let (mut bytes, mut full, mut more) = (0, false, false);
        for (seq, subject, time, payload) in held {
            first_seq = first_seq.or(Some(seq));
            count += 1;
            if seq > after {
                within.push(seq);
            }
            let name = subject.strip_prefix(self.strip);
            if !name.is_some_and(|name| check_channel(name).is_ok() && matches(topic, name)) {
                continue;
            }
            let prev = last.insert(subject, seq);
            if seq <= after {
                if channel || seq == after {
                    anchor = Some(Anchor { seq, time });
                }
            } else if full {
                more = true;
            } else {
                bytes += payload.len();
                stored.push(Stored {
                    seq,
                    prev,
                    time,
                    subject,
                    payload,
                });
                full = stored.len() >= self.messages_max || bytes >= PAGE_BYTES_MAX;
            }
        }
        let end = self.last_seq.max(after);
        let to = stored.last().filter(|_| more).map_or(end, |last| last.seq);
        let first_seq = first_seq.unwrap_or(self.last_seq + 1);
        let there = within.iter().filter(|seq| **seq <= to).count() as u64;
        let all = to.min(self.last_seq).saturating_sub(after);
        if count == self.last_seq {
            // Nothing was ever deleted: what is not there never was.
            stored.iter_mut().for_each(|stored| {
                stored.prev.get_or_insert(0);
            });
        }
        let extent = Extent {
            created: self.created,
            last_seq: self.last_seq,
            to,
            intact: first_seq <= after + 1 && there == all,
            anchor,
        };
        (extent, stored)
    }

    /// The page of what was read.
    pub(crate) fn encode<'b>(
        &self,
        fetch: &Fetch,
        extent: Extent,
        stored: impl IntoIterator<Item = Stored<'b>>,
    ) -> Page {
        let encoding = Encoding {
            strip: self.strip,
            payload_bytes_max: self.payload_bytes_max,
        };
        Page::new(fetch, extent, &encoding, stored)
    }
}
