//! The Feed's part: numbered publications, notices, resets and the floor.

use std::sync::Arc;

use bytes::Bytes;
use odin_core::event::{Event, Kind, Lost, Publication, Reset, SourceReady};
use odin_core::id::{ChannelId, Order};
use odin_core::reason::{LostReason, ResetReason};
use odin_core::shard::Input;
use odin_core::wire::event;
use serde_json::{Value, json};

use super::{World, ts};

impl World {
    /// Gives the shard an event, as it is.
    pub fn event(&mut self, event: Event) {
        self.shard.handle(self.now, Input::Event(event));
        self.pump();
    }

    pub fn source_ready(&mut self, epoch: &str, durable: bool, head: u64, observed_from: u64) {
        self.seq = self.seq.max(head);
        self.event(Event::SourceReady(Arc::new(SourceReady {
            epoch: epoch.into(),
            durable,
            created: 0,
            head,
            observed_from,
            reset_frame: event::reset(epoch, ResetReason::SourceReady),
        })));
    }

    /// The place that the next entry gets.
    pub fn next_order(&self) -> u64 {
        self.order + 1
    }

    fn take_order(&mut self) -> Order {
        self.order += 1;
        Order(self.order)
    }

    fn entry(&mut self, name: &str, seq: u64, kind: Kind, frame: impl Fn(Option<u64>) -> Bytes) {
        let order = self.take_order();
        let number = u32::try_from(self.channels.len()).unwrap();
        let (number, last) = self.channels.entry(name.to_owned()).or_insert((number, 0));
        let prev = (kind != Kind::Snapshot).then_some(*last);
        assert!(
            seq > *last && seq > self.seq,
            "the test's own numbers increase"
        );
        *last = seq;
        self.seq = seq;
        let publication = Publication {
            order,
            channel: ChannelId(*number),
            name: name.into(),
            seq,
            prev,
            ts: ts(seq),
            received: self.now,
            kind,
            frame: frame(prev),
        };
        self.event(Event::Published(Arc::new(publication)));
    }

    /// Publishes a message with the next seq, which is also its data, and gives the seq.
    pub fn publish(&mut self, name: &str) -> u64 {
        let seq = self.seq + 1;
        self.publish_data(name, &json!(seq));
        seq
    }

    /// Publishes a message of every name, in this order.
    pub fn publish_all(&mut self, names: &[&str]) {
        for name in names {
            self.publish(name);
        }
    }

    /// Publishes a message with the next seq and this data.
    pub fn publish_data(&mut self, name: &str, data: &Value) -> u64 {
        let seq = self.seq + 1;
        let payload = data.to_string();
        self.entry(name, seq, Kind::Message, |prev| {
            event::message(name, seq, prev, ts(seq), payload.as_bytes())
        });
        seq
    }

    /// Lets the number line go on at `seq`: what is between is on subjects of others.
    pub fn skip_to(&mut self, seq: u64) {
        self.seq = seq - 1;
    }

    /// A channel's last value as the Feed found it.
    pub fn snapshot(&mut self, name: &str, seq: u64) {
        self.seq = seq - 1;
        self.entry(name, seq, Kind::Snapshot, |prev| {
            event::message(name, seq, prev, ts(seq), seq.to_string().as_bytes())
        });
    }

    /// The next message of a channel is lost upstream.
    pub fn lose_one(&mut self, name: &str, reason: LostReason) -> u64 {
        let seq = self.seq + 1;
        self.entry(name, seq, Kind::Lost(reason), |_| {
            event::lost(Some(name), seq, Some(seq), reason)
        });
        seq
    }

    /// A hole that concerns everyone, after the last seq.
    pub fn lose(&mut self, to: Option<u64>, reason: LostReason) {
        let from = self.seq + 1;
        self.seq = to.unwrap_or(self.seq);
        let order = self.take_order();
        self.event(Event::Lost(Arc::new(Lost {
            order,
            from,
            to,
            until: to,
            reason,
            frame: event::lost(None, from, to, reason),
        })));
    }

    pub fn reset(&mut self, epoch: &str, reason: ResetReason) {
        let order = self.take_order();
        self.seq = 0;
        for (_, last) in self.channels.values_mut() {
            *last = 0;
        }
        self.event(Event::Reset(Arc::new(Reset {
            order,
            epoch: epoch.into(),
            reason,
            frame: event::reset(epoch, reason),
        })));
    }

    /// Evicts all but the newest `keep` places.
    pub fn evict_all_but(&mut self, keep: u64) {
        let floor = Order((self.order + 1).saturating_sub(keep));
        self.event(Event::Evict { floor });
    }
}
