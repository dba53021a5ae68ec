//! What the upstreams of the servers say, and what goes wrong with them.

use std::time::Duration;

use odin_core::feed::{Command, Delivered, Input, Outcome};

use super::Failure;
use super::setup::Upstream;
use super::steps::Step;
use super::world::{Check, World};
use crate::jetstream::Consumer;
use crate::marks::Mark;

/// Looks at the end of the stream after which what was deleted there is known.
const TAILS: u32 = 3;
const HEARTBEAT: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn upstream_fault(&mut self, step: &Step) -> Check {
        match *step {
            Step::Cut { server, millis } => self.cut(server, millis)?,
            Step::Mute { server, millis } => {
                self.servers[server].link.mute_until = self.now + Duration::from_millis(millis);
                self.marks.hit_if(Mark::UpstreamSilent, millis > 3_000);
            }
            Step::Wedge { server } => self.servers[server].link.consumer = None,
            Step::Fail { server, times } => self.servers[server].link.failures = times,
            Step::Gap { server } => self.servers[server].link.gap = true,
            Step::Slow { server, on } => self.servers[server].link.slow = on,
            Step::Overload { server, count } => self.overload(server, count)?,
            Step::Purge { keep } => {
                let unread = self.unread();
                let before = self.stream.held.len();
                let keep = keep as u64;
                self.stream.purge(&mut self.oracle, keep);
                let purged = before - self.stream.held.len();
                self.forget_tails();
                self.marks
                    .hit_if(Mark::PurgedUnread, purged > 0 && unread > keep);
            }
            Step::Vanish { channel } => {
                self.publish(channel, 3)?;
                self.stream.delete(&mut self.oracle, 0);
                self.forget_tails();
            }
            Step::Delete { back } => {
                self.stream.delete(&mut self.oracle, back);
                self.forget_tails();
            }
            Step::Recreate if self.setup.upstream == Upstream::JetStream => {
                let created = self.stream.held.created() + 1_000 + self.now.as_nanos();
                self.stream.recreate(&mut self.oracle, created);
                self.marks.hit(Mark::StreamRecreated);
            }
            // One while the snapshot after the one before is read is not told from it.
            Step::Rollback { .. } if self.servers.iter().any(|server| server.begins) => {}
            Step::Rollback { back, regrow } => {
                self.stream.roll_back(&mut self.oracle, back);
                for form in 0..regrow {
                    let channel = form as usize % self.setup.channels.len();
                    self.publish(channel, form * 8 + 5)?;
                }
                // Its server was restarted for it.
                self.cut(0, 10)?;
                self.marks.hit(Mark::StreamRolledBack);
            }
            _ => {}
        }
        Ok(())
    }

    /// What a server knows of the end of the stream is out of date.
    fn forget_tails(&mut self) {
        let links = self.servers.iter_mut().map(|server| &mut server.link);
        links.for_each(|link| link.tails = 0);
    }

    /// Messages that some server has yet to read.
    fn unread(&self) -> u64 {
        let waits = self.servers.iter().map(|server| {
            let consumer = server.link.consumer.as_ref();
            consumer.map_or(u64::MAX, |consumer| consumer.left(&self.stream.held))
        });
        waits.max().unwrap_or(0)
    }

    fn cut(&mut self, at: usize, millis: u64) -> Check {
        if self.setup.upstream == Upstream::Embedded {
            return Ok(());
        }
        let back_at = self.now + Duration::from_millis(millis);
        let server = &mut self.servers[at];
        if server.link.connected {
            self.marks.hit(Mark::UpstreamCut);
            server.link.cut(back_at);
            server.feed.handle(self.now, Input::Disconnected);
            self.take_outputs(at)?;
        }
        Ok(())
    }

    fn overload(&mut self, at: usize, count: u64) -> Check {
        let server = &mut self.servers[at];
        if !server.link.connected || !server.feed.is_ready() {
            return Ok(());
        }
        server.feed.handle(self.now, Input::Overloaded { count });
        server.head += 1;
        self.oracle.missed(server.line, server.head);
        self.marks.hit(Mark::Overloaded);
        self.take_outputs(at)
    }

    /// Lets the upstream of a server say what it has to say now. `true`: it said something.
    pub(super) fn pump_link(&mut self, at: usize) -> Result<bool, Failure> {
        let mut said = false;
        let now = self.now;
        if self.servers[at]
            .link
            .back_at
            .is_some_and(|back_at| back_at <= now)
        {
            self.connect_link(at)?;
            said = true;
        }
        let slow = self.servers[at].link.slow;
        for _ in 0..if slow { 1 } else { 5_000 } {
            let link = &self.servers[at].link;
            if !link.connected || link.mute_until > now || !self.say(at)? {
                break;
            }
            said = !slow;
        }
        Ok(said)
    }

    fn connect_link(&mut self, at: usize) -> Check {
        let server = &mut self.servers[at];
        let link = &mut server.link;
        link.back_at = None;
        link.connected = true;
        let again = server.feed.is_ready();
        server.feed.handle(self.now, Input::Connected);
        if again && self.setup.upstream == Upstream::Nats {
            server.head += 1;
            if std::mem::take(&mut server.link.missed) {
                self.oracle.missed(server.line, server.head);
            }
        }
        self.take_outputs(at)
    }

    /// One thing that the upstream says; `false`: it has nothing to say.
    fn say(&mut self, at: usize) -> Result<bool, Failure> {
        let now = self.now;
        let server = &mut self.servers[at];
        let link = &mut server.link;
        if let Some(command) = link.command.take() {
            let mut ranges = Vec::new();
            let input = match command {
                // It need not be answered: what becomes of the consumer shows when it is read.
                Command::ReadTail if link.failures > 0 => {
                    link.failures -= 1;
                    return Ok(true);
                }
                _ if link.failures > 0 => {
                    link.failures -= 1;
                    link.fetching = false;
                    Input::Failed
                }
                Command::OpenConsumer(policy) => {
                    let consumer = Consumer::open(&self.stream.held, policy);
                    let pending = consumer.pending(&self.stream.held);
                    link.tails = 0;
                    link.consumer = Some(consumer);
                    Input::ConsumerOpened { pending }
                }
                Command::WriteNonce(nonce) => {
                    self.stream.held.set_nonce(nonce);
                    Input::NonceWritten
                }
                Command::ReadTail => {
                    let consumer = link.consumer.as_ref();
                    let tail = consumer.and_then(|consumer| consumer.tail(&self.stream.held));
                    let Some(tail) = tail else {
                        return Ok(true);
                    };
                    Input::Tail(tail)
                }
                Command::ReadDeleted(asked) => {
                    ranges = self.stream.held.missing(asked);
                    let to = asked.to;
                    Input::Deleted {
                        to,
                        ranges: &ranges,
                    }
                }
                Command::ReadInfo | Command::Fetch => Input::Info(self.stream.held.info()),
            };
            link.tails += u32::from(matches!(input, Input::Tail(_)));
            server.feed.handle(now, input);
            drop(ranges);
            self.take_outputs(at)?;
            return Ok(true);
        }
        let Some(consumer) = link.consumer.as_mut().filter(|_| link.fetching) else {
            return Ok(false);
        };
        if !consumer.is_of(&self.stream.held) {
            link.fetching = false;
            link.consumer = None;
            server.feed.handle(now, Input::Failed);
            self.take_outputs(at)?;
            return Ok(true);
        }
        if link.gap && consumer.left(&self.stream.held) > 1 {
            link.gap = false;
            let _ = consumer.next(&self.stream.held);
            self.marks.hit(Mark::ConsumerGap);
        }
        let again = link.again.take();
        let next = again.or_else(|| consumer.next(&self.stream.held).ok().flatten());
        let Some(delivery) = next else {
            if now < link.heartbeat_at {
                return Ok(false);
            }
            link.heartbeat_at = now + HEARTBEAT;
            server.feed.handle(now, Input::Heartbeat);
            self.take_outputs(at)?;
            return Ok(true);
        };
        link.heartbeat_at = now + HEARTBEAT;
        let input = Input::Delivered(Delivered {
            stream_seq: delivery.seq,
            consumer_seq: delivery.place,
            pending: consumer.pending(&self.stream.held),
            time: delivery.stored.time,
            subject: &delivery.stored.subject,
            payload: &delivery.stored.payload,
        });
        if server.feed.handle(now, input) == Outcome::Held {
            server.link.held = Some(delivery);
        }
        self.take_outputs(at)?;
        Ok(true)
    }

    /// Whether a server has read everything that its upstream has, and its shards have it too.
    pub(super) fn in_sync(&self, at: usize) -> bool {
        let server = &self.servers[at];
        let link = &server.link;
        let read = match self.setup.upstream {
            Upstream::Embedded | Upstream::Nats => link.connected,
            Upstream::JetStream => {
                let consumer = link.consumer.as_ref().filter(|_| link.fetching);
                // A message that waits for an answer of the stream was read, and not taken.
                let waits = link.held.is_some() || link.again.is_some();
                link.connected
                    && !waits
                    && link.command.is_none()
                    && consumer.is_some_and(|consumer| {
                        consumer.is_of(&self.stream.held) && consumer.left(&self.stream.held) == 0
                    })
                    && (self.stream.held.ends_with_followed() || link.tails >= TAILS)
            }
        };
        let told = server
            .units
            .iter()
            .all(|unit| !unit.held && unit.events.is_empty());
        read && told && server.feed.is_ready()
    }
}
