//! A server, a stream in it, and the history of that.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use odin_core::config::FeedConfig;
use odin_core::history::{Anchor, Entry, Fetch, Page};
use odin_shell::source::history::{History, JetStreamHistory};
use odin_shell::source::jetstream::{JetStream, JetStreamOptions};
use odin_shell::source::{NatsOptions, RequestKind};

use crate::support::nats::{NatsServer, Version};

pub(crate) const STREAM: &str = "TEST";
pub(crate) const FILTER: &str = "odin.token.>";

/// A server, a stream in it, and the history of that.
pub(crate) struct World {
    pub(crate) server: NatsServer,
    pub(crate) context: jetstream::Context,
    pub(crate) history: JetStreamHistory,
    // Its connection is the history's.
    _source: JetStream,
}

pub(crate) fn config() -> stream::Config {
    stream::Config {
        name: STREAM.into(),
        subjects: vec!["odin.>".into()],
        allow_direct: true,
        ..Default::default()
    }
}

impl World {
    pub(crate) async fn new(release: Version) -> Self {
        Self::with(release, config(), FILTER).await
    }

    pub(crate) async fn with(release: Version, config: stream::Config, filter: &str) -> Self {
        let server = NatsServer::start_version(release);
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = jetstream::new(client);
        context.create_stream(config).await.unwrap();
        let (source, history) = history(&server, filter).await;
        Self {
            server,
            context,
            history,
            _source: source,
        }
    }

    pub(crate) async fn publish(&self, name: &str, payload: impl Into<Bytes>) -> u64 {
        let sent = self.context.publish(subject(name), payload.into()).await;
        sent.unwrap().await.unwrap().sequence
    }

    /// `count` messages, of each name in turn.
    pub(crate) async fn publish_many(&self, names: &[&str], count: usize) {
        let mut acks = Vec::new();
        for n in 0..count {
            let name = subject(names[n % names.len()]);
            let payload = Bytes::from(format!("{{\"n\":{n}}}"));
            acks.push(self.context.publish(name, payload).await.unwrap());
            if acks.len() == 256 {
                for ack in acks.drain(..) {
                    ack.await.unwrap();
                }
            }
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }

    pub(crate) async fn page(&self, topic: &str, after: u64) -> Page {
        let page = fetch(&self.history, topic, after).await;
        page.unwrap_or_else(|| panic!("{topic} after {after}: no answer"))
    }

    pub(crate) async fn stream(&self) -> stream::Stream {
        self.context.get_stream(STREAM).await.unwrap()
    }

    pub(crate) async fn time(&self, seq: u64) -> u64 {
        let message = self.stream().await.get_raw_message(seq).await.unwrap();
        u64::try_from(message.time.unix_timestamp_nanos()).unwrap()
    }

    pub(crate) fn requests(&self, kind: RequestKind) -> u64 {
        self.history.requests()[kind as usize]
    }

    pub(crate) async fn anchor(&self, seq: u64) -> Option<Anchor> {
        let time = self.time(seq).await;
        Some(Anchor { seq, time })
    }
}

pub(crate) async fn history(server: &NatsServer, filter: &str) -> (JetStream, JetStreamHistory) {
    let options = NatsOptions {
        url: server.url(),
        ..NatsOptions::default()
    };
    let stream = JetStreamOptions {
        stream: STREAM.into(),
        subject: filter.into(),
    };
    let feed = FeedConfig {
        payload_bytes_max: 512 * 1024,
        ..FeedConfig::default()
    };
    let strip = "odin.token.";
    let made = JetStream::new(&options, stream, strip, &feed).await;
    let (source, _) = made.unwrap();
    let history = source.history(strip, &feed);
    let connected = async {
        while fetch(&history, "connected", 0).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let connected = tokio::time::timeout(Duration::from_secs(10), connected).await;
    connected.expect("the history can be asked");
    (source, history)
}

pub(crate) async fn fetch(history: &JetStreamHistory, topic: &str, after: u64) -> Option<Page> {
    let fetch = Fetch {
        request: 7,
        topic: topic.into(),
        after,
    };
    history.fetch(fetch).await
}

pub(crate) fn subject(name: &str) -> String {
    format!("odin.token.{name}")
}

/// What a page holds, shortly: channel, seq, prev.
pub(crate) fn held(page: &Page) -> Vec<(&str, u64, Option<u64>)> {
    let entries = page.entries.iter();
    let held = entries.map(|entry| (&*entry.name, entry.seq, entry.prev));
    held.collect()
}

pub(crate) fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

/// The text of a frame without its header.
pub(crate) fn text(entry: &Entry) -> String {
    let text = String::from_utf8_lossy(&entry.frame);
    text[text.find("{\"type\"").expect("a message")..].to_owned()
}
