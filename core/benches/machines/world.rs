//! A Feed and a shard, and clients whose sockets take everything.

use odin_core::config::{Config, FeedConfig};
use odin_core::feed::{Delivered, Feed, Input as Upstream, Output, Source};
use odin_core::id::ConnId;
use odin_core::shard::{Input, Message, Shard};
use odin_core::time::Instant;

/// The time, which stands still: no deadline comes.
const NOW: Instant = Instant::ZERO;

/// JSON of 256 bytes.
const PAYLOAD: [u8; 256] = {
    let mut payload = [b'7'; 256];
    payload[0] = b'"';
    payload[255] = b'"';
    payload
};

/// A Feed and a shard.
pub(crate) struct World {
    feed: Feed,
    shard: Shard,
}

impl World {
    /// A source that is ready, and nobody there.
    pub(crate) fn new() -> Self {
        let source = Source::Embedded { epoch: "e".into() };
        // Clients here ask more in a moment than people do in a year.
        let config = Config {
            message_rate: 0,
            ..Config::default()
        };
        let mut world = Self {
            feed: Feed::new(FeedConfig::default(), source, "", 1),
            shard: Shard::new(config, 1),
        };
        world.upstream(Upstream::Connected);
        world
    }

    /// The same with so many subscribers of one channel.
    pub(crate) fn with_subscribers(count: u32, channel: &str) -> Self {
        let mut world = Self::new();
        for _ in 0..count {
            let conn = world.open();
            world.subscribe(conn, channel);
        }
        assert_eq!(world.shard.stats().subscriptions, u64::from(count));
        world
    }

    /// A message of this channel goes through the Feed into the shard.
    pub(crate) fn publish(&mut self, channel: &str) {
        self.upstream(Upstream::Delivered(Delivered {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: 0,
            subject: channel,
            payload: &PAYLOAD,
        }));
    }

    fn upstream(&mut self, input: Upstream<'_>) {
        self.feed.handle(NOW, input);
        while let Some(output) = self.feed.poll_output() {
            if let Output::Event(event) = output {
                self.shard.handle(NOW, Input::Event(event));
            }
        }
    }

    /// A new connection that was welcomed.
    pub(crate) fn open(&mut self) -> ConnId {
        let conn = self.shard.open(NOW);
        self.flush();
        conn
    }

    /// A client's request; what it leads to is written.
    pub(crate) fn ask(&mut self, conn: ConnId, request: &str) -> u64 {
        let message = Message::Text(request);
        self.shard.handle(NOW, Input::Message { conn, message });
        self.flush()
    }

    /// Subscribes one name or pattern.
    pub(crate) fn subscribe(&mut self, conn: ConnId, channel: &str) {
        let request = format!(r#"{{"type":"subscribe","data":{{"channels":["{channel}"]}}}}"#);
        self.ask(conn, &request);
    }

    /// Unsubscribes one name or pattern.
    pub(crate) fn unsubscribe(&mut self, conn: ConnId, channel: &str) {
        let request = format!(r#"{{"type":"unsubscribe","data":{{"channels":["{channel}"]}}}}"#);
        self.ask(conn, &request);
    }

    /// Writes all that is ready, and gives the messages that it was.
    pub(crate) fn flush(&mut self) -> u64 {
        let before = self.shard.stats().messages_sent;
        while let Some(conn) = self.shard.poll_ready() {
            let bytes = self.shard.transmit(NOW, conn).bytes;
            if bytes > 0 {
                self.shard.handle(NOW, Input::Written { conn, bytes });
            }
        }
        self.shard.stats().messages_sent - before
    }
}
