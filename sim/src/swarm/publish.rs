//! What is published: every message unlike any other, to the stream or to each server.

use odin_core::feed;
use odin_core::reason::LostReason;

use super::setup::Upstream;
use super::world::{BEGAN, Check, World};
use super::{Failure, STRIP};
use crate::jetstream::Stored;
use crate::marks::Mark;

impl World {
    /// Publishes a message to the upstream. One channel too many is one that no client may see.
    pub(super) fn publish(&mut self, channel: usize, form: u64) -> Check {
        if self.setup.upstream == Upstream::JetStream {
            self.store(channel, form);
            return Ok(());
        }
        let (subject, payload) = self.message(channel, form);
        for server in 0..self.servers.len() {
            self.publish_unstored(server, channel, &subject, &payload)?;
        }
        Ok(())
    }

    /// The subject and payload of the next message. Every payload is unlike any other.
    fn message(&mut self, channel: usize, form: u64) -> (String, Vec<u8>) {
        self.published += 1;
        let n = self.published;
        let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let name = self.setup.channels.get(channel);
        let subject = match name {
            Some(name) => format!("{STRIP}{name}"),
            None if self.setup.shared_stream && form.is_multiple_of(2) => "other.z".into(),
            None => format!("{STRIP}no channel"),
        };
        self.marks.hit_if(Mark::NoChannel, name.is_none());
        let payload = match form % 8 {
            0 => format!("text \"{n}\" {hash:x}").into_bytes(),
            1 => [&[0xff, 0xfe][..], &n.to_be_bytes(), &hash.to_be_bytes()].concat(),
            2 => format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(180)).into_bytes(),
            _ => format!("{{\"n\":{n},\"h\":{hash}}}").into_bytes(),
        };
        (subject, payload)
    }

    fn is_deliverable(&mut self, payload: &[u8]) -> bool {
        let max = self.setup.feed.payload_bytes_max;
        let fits = max == 0 || payload.len() <= max;
        self.marks.hit_if(Mark::TooLarge, !fits);
        fits
    }

    pub(super) fn store(&mut self, channel: usize, form: u64) {
        let (subject, payload) = self.message(channel, form);
        let deliverable = self.is_deliverable(&payload);
        self.stored_at = (BEGAN + self.now.as_nanos()).max(self.stored_at + 1);
        let stored = Stored {
            subject: subject.into(),
            time: self.stored_at,
            payload: payload.clone().into(),
        };
        // Told first, for the limit of the stream may take it away at once.
        if let Some(name) = self.setup.channels.get(channel) {
            let (line, seq) = (self.stream.line, self.stream.held.last_seq() + 1);
            self.oracle
                .published(line, name, seq, &payload, deliverable);
        }
        self.stream.store(&mut self.oracle, stored);
    }

    fn publish_unstored(
        &mut self,
        at: usize,
        channel: usize,
        subject: &str,
        payload: &[u8],
    ) -> Check {
        if !self.servers[at].link.connected {
            self.servers[at].link.missed = true;
            return Ok(());
        }
        let deliverable = self.is_deliverable(payload);
        let server = &mut self.servers[at];
        let seq = server.head + 1;
        let input = feed::Input::Delivered(feed::Delivered {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: BEGAN + self.now.as_nanos(),
            subject,
            payload,
        });
        let outcome = server.feed.handle(self.now, input);
        let embedded = self.setup.upstream == Upstream::Embedded;
        let name = self.setup.channels.get(channel);
        match outcome {
            feed::Outcome::Published(given) if given == seq && deliverable && name.is_some() => {}
            feed::Outcome::Refused(LostReason::TooLarge) if !deliverable => {}
            feed::Outcome::Refused(LostReason::ChannelLimit) if self.setup.values_bounded => {
                if embedded {
                    return Ok(());
                }
                server.head = seq;
                return self.take_outputs(at);
            }
            feed::Outcome::Refused(LostReason::InvalidSubject) if name.is_none() => {
                server.head = if embedded { server.head } else { seq };
                return self.take_outputs(at);
            }
            other => {
                return Err(Failure(format!(
                    "message {seq} of {name:?} became {other:?}"
                )));
            }
        }
        server.head = seq;
        let line = server.line;
        if let Some(name) = name {
            self.oracle.published(line, name, seq, payload, deliverable);
        }
        self.take_outputs(at)
    }
}
