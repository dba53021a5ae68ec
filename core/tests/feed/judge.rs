//! What the world of the chains demands: nothing is missing silently, nothing is of another past, and a
//! position never means two messages.

use odin_core::event::{Event, Kind};
use odin_core::feed::Input;

use super::model::NANOS_PER_MILLI;
use super::world::{World, server};

impl World {
    pub(crate) fn check(&mut self, event: &Event) {
        match event {
            Event::Published(p) => {
                assert!(matches!(p.kind, Kind::Message | Kind::Snapshot));
                assert!(
                    self.seen.last().is_none_or(|last| last.0 < p.seq),
                    "order of seq"
                );
                let channel = p.name.to_string();
                match (self.chains.get(&channel), p.prev) {
                    (Some(Some(last)), prev) => {
                        assert_eq!(prev, Some(*last), "chain of {channel}");
                        // A snapshot promises nothing about what lies between its messages.
                        if !self.unknown {
                            self.check_between(*last, p.seq, &channel);
                        }
                    }
                    (Some(None), _) => {}
                    (None, None) => assert!(self.unknown, "null after the snapshot"),
                    (None, Some(prev)) => assert_eq!(prev, 0, "first of {channel}"),
                }
                self.chains.insert(channel, Some(p.seq));
                self.seen.push((p.seq, p.ts));
                if !self.unknown {
                    self.name(p.seq, p.ts);
                }
            }
            Event::Lost(l) => {
                assert!(
                    self.seen.last().is_none_or(|last| last.0 < l.from),
                    "a loss of what was seen"
                );
                let to = l.to.expect("a stream knows its ranges");
                let kept = self.stream.kept.iter().map(|m| m.seq);
                // What a snapshot leaves out may be named with what was gone before it was whole.
                let first = l.from.max(if self.unknown {
                    u64::MAX
                } else {
                    self.ready_at + 1
                });
                let kept: Vec<u64> = kept.filter(|seq| first <= *seq && *seq <= to).collect();
                assert!(kept.is_empty(), "{kept:?} is not lost");
                self.lost.push((l.from, to));
            }
            Event::Reset(_) => {
                self.chains.clear();
                self.lost.clear();
                self.seen.clear();
                self.unknown = true;
                self.resets += 1;
            }
            Event::SourceReady(ready) => {
                self.ready_at = ready.head;
                self.unknown = false;
                let seen = self.seen.clone();
                seen.iter().for_each(|(seq, ts)| self.name(*seq, *ts));
            }
            Event::Evict { .. } => {}
        }
    }

    /// A position never means two messages, once a snapshot was whole. Before, it is void when the
    /// snapshot is made again.
    pub(crate) fn name(&mut self, seq: u64, ts: u64) {
        let epoch = self.feed.epoch().expect("an epoch").to_string();
        let other = self.named.insert((epoch, seq), ts);
        assert!(
            other.is_none_or(|other| other == ts),
            "{seq} means two messages"
        );
    }

    /// What the stream ever stored between two neighbours of a channel was announced.
    pub(crate) fn check_between(&self, last: u64, next: u64, channel: &str) {
        for m in self
            .stream
            .all
            .iter()
            // What was gone before the number line began was never promised.
            .filter(|m| last.max(self.ready_at) < m.seq && m.seq < next)
            .filter(|m| self.stream.is_ours(m))
        {
            let ours = char::from(b'A' + m.channel).to_string() == channel;
            let announced = self
                .lost
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&m.seq));
            assert!(
                !ours || announced,
                "{channel} {} is missing silently",
                m.seq
            );
        }
    }

    /// Nothing is held that is not the stream's.
    pub(crate) fn check_seen(&self) {
        for (seq, ts) in &self.seen {
            let theirs = self.stream.all.iter().find(|m| m.seq == *seq);
            let theirs = theirs.map(|m| m.time / NANOS_PER_MILLI);
            assert_eq!(theirs, Some(*ts), "message {seq} is of another past");
        }
    }

    /// A server that starts now is on the same number line.
    pub(crate) fn check_epoch(&self) {
        if self.stream.drops_metadata || self.nonce_refused {
            return;
        }
        let mut fresh = server(8);
        fresh.handle(self.now, Input::Connected);
        fresh.handle(self.now, Input::Info(self.stream.info()));
        assert_eq!(fresh.epoch(), self.feed.epoch());
    }
}
