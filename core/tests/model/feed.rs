//! What the Feed says.

use std::sync::Arc;

use bytes::Bytes;
use odin_core::event::{Event, Kind, Lost, Publication, Reset, SourceReady};
use odin_core::id::{ChannelId, Order};
use odin_core::reason::{LostReason, ResetReason};
use odin_core::shard::Input;

use super::frames;
use super::history::{CHANNELS, What, epoch_name};

use super::world::World;

impl World {
    pub(crate) fn event(&mut self, event: Event) {
        self.shard.handle(self.now, Input::Event(event));
    }

    pub(crate) fn publish(&mut self, channel: u8, gap: u8, what: What, padding: usize) {
        let at = usize::from(channel);
        let received = self.now;
        self.published.insert(CHANNELS[at]);
        let entry = self.history.add(CHANNELS[at], gap.into(), what, padding);
        let publication = Publication {
            order: Order(entry.order),
            channel: ChannelId(channel.into()),
            name: entry.channel.into(),
            seq: entry.seq,
            prev: entry.prev,
            ts: entry.ts,
            received,
            kind: match what {
                What::Message => Kind::Message,
                What::Snapshot => Kind::Snapshot,
                What::Lost => Kind::Lost(LostReason::TooLarge),
            },
            frame: frames::text(&entry.text).into(),
        };
        self.event(Event::Published(Arc::new(publication)));
    }

    pub(crate) fn lost(&mut self, len: Option<u8>) {
        let from = self.history.head + 1;
        let to = len.map(|len| from + u64::from(len));
        self.history.head = to.unwrap_or(from);
        self.history.lost_to = self.history.head;
        self.history.order += 1;
        let order = Order(self.history.order);
        let shown = to.map_or("null".into(), |to| to.to_string());
        let text = format!(r#"{{"type":"lost","from":{from},"to":{shown},"reason":"discarded"}}"#);
        for client in self
            .clients
            .iter_mut()
            .filter(|c| !c.gated && !c.names.is_empty())
        {
            client.notices.push_back((order.0, text.clone()));
        }
        let frame = frames::text(&text).into();
        let reason = LostReason::Discarded;
        self.event(Event::Lost(Arc::new(Lost {
            order,
            from,
            to,
            until: to,
            reason,
            frame,
        })));
    }

    pub(crate) fn reset(&mut self) {
        self.history.reset();
        let order = Order(self.history.order);
        let epoch = epoch_name(self.history.epoch);
        let frame = reset_frame(&epoch, "stream_recreated");
        for client in &mut self.clients {
            client
                .notices_optional
                .extend(client.notices.drain(..).map(|n| n.1));
            client
                .replays
                .iter_mut()
                .for_each(|replay| replay.ended = true);
            if !client.gated && !client.names.is_empty() {
                client
                    .resets_owed
                    .push((self.history.epoch, "stream_recreated"));
            }
        }
        let (epoch, reason) = (epoch.into(), ResetReason::StreamRecreated);
        self.event(Event::Reset(Arc::new(Reset {
            order,
            epoch,
            reason,
            frame,
        })));
    }

    pub(crate) fn ready(&mut self, beyond: u64, observed: bool) {
        self.history.head += beyond;
        self.history.ready = true;
        let head = self.history.head;
        self.history.unproven_to = if observed { head } else { 0 };
        let epoch = epoch_name(self.history.epoch);
        let reset_frame = reset_frame(&epoch, "source_ready");
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if core::mem::take(&mut client.gated) {
                client
                    .replays
                    .iter_mut()
                    .for_each(|replay| replay.ended = true);
                if !client.names.is_empty() {
                    client
                        .resets_owed
                        .push((self.history.epoch, "source_ready"));
                }
            }
            self.accept_held(at);
        }
        self.event(Event::SourceReady(Arc::new(SourceReady {
            epoch: epoch.into(),
            durable: self.history.durable,
            created: 0,
            head,
            observed_from: self.history.unproven_to,
            reset_frame,
        })));
    }
}

fn reset_frame(epoch: &str, reason: &str) -> Bytes {
    let text = format!(r#"{{"type":"reset","epoch":"{epoch}","reason":"{reason}"}}"#);
    frames::text(&text).into()
}
