//! A nats-server, a stream, and a source that follows it by a way that can be cut. What the source tells is
//! written as lines: `A 7<5` is message 7 of channel A with prev 5 (`<null`: unknown), `lost 5..7 discarded`
//! a hole (`until 9`: up to there more may be missing; `5..null`: of unknown size), `reset stream_recreated`,
//! `ready`.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use odin_core::event::{Event, Kind};

use crate::support::collect::Running;
use crate::support::nats::{NatsServer, Version};
use crate::support::proxy::Proxy;

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) context: jetstream::Context,
    pub(crate) running: Running,
    proxy: Proxy,
    /// Events that were looked at.
    seen: usize,
}

/// A stream as the source creates it.
pub(crate) fn config() -> stream::Config {
    stream::Config {
        name: "TEST".into(),
        subjects: vec!["odin.token.>".into()],
        allow_direct: true,
        ..Default::default()
    }
}

/// JetStream, over a connection of its own that never gives up.
pub(crate) async fn context(nats: &NatsServer) -> jetstream::Context {
    let options = async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(nats.url());
    jetstream::ContextBuilder::new()
        .timeout(Duration::from_secs(2))
        .build(options.await.expect("nats-server takes a client"))
}

impl World {
    /// The source has taken messages 1 to 3 of channels A, B and A.
    pub(crate) async fn start(version: Version, config: stream::Config) -> Self {
        Self::on(NatsServer::start_version(version), config).await
    }

    pub(crate) async fn on(nats: NatsServer, config: stream::Config) -> Self {
        let context = context(&nats).await;
        context.create_stream(config).await.expect("a stream");
        let proxy = Proxy::start(nats.port()).await;
        let running = Running::jetstream(&proxy.url(), 1).await;
        running.ready().await;
        let mut world = Self {
            nats,
            context,
            running,
            proxy,
            seen: 0,
        };
        world.expect(&["ready"]).await;
        // One after the other, for a stream may keep the last of each only.
        for line in ["A 1<0", "B 2<0", "A 3<1"] {
            world.publish(&line[..1]).await;
            world.expect(&[line]).await;
        }
        world
    }

    /// Publishes to a channel.
    pub(crate) async fn publish(&self, channel: &str) -> u64 {
        self.publish_to(&format!("odin.token.{channel}")).await
    }

    /// Publishes to a subject, and waits until it is stored.
    pub(crate) async fn publish_to(&self, subject: &str) -> u64 {
        self.publish_bytes(subject, 8).await
    }

    /// The same with a payload of so many bytes.
    pub(crate) async fn publish_bytes(&self, subject: &str, bytes: usize) -> u64 {
        let payload = format!("\"{}\"", "x".repeat(bytes - 2));
        let sent = self.context.publish(subject.to_owned(), payload.into());
        let ack = sent.await.expect("the message goes out").await;
        ack.expect("the stream stores it").sequence
    }

    pub(crate) async fn stream(&self) -> stream::Stream {
        let stream = self.context.get_stream("TEST").await;
        stream.expect("the stream is there")
    }

    pub(crate) async fn delete(&self, seq: u64) {
        let deleted = self.stream().await.delete_message(seq).await;
        assert!(deleted.expect("the message can be deleted"));
    }

    /// The source is cut off, and knows it.
    pub(crate) async fn cut(&self) {
        self.proxy.cut();
        self.running.status_is(|status| !status.connected).await;
    }

    pub(crate) fn restore(&self) {
        self.proxy.restore();
    }

    /// Expects just these lines next.
    #[track_caller]
    pub(crate) fn expect<'a>(&'a mut self, expected: &'a [&str]) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let lines = self.next_lines(expected.len()).await;
            assert_eq!(lines, expected, "at {caller}");
        }
    }

    /// The next lines, so many.
    pub(crate) async fn next_lines(&mut self, count: usize) -> Vec<String> {
        let seen = self.seen;
        let enough = |events: &[Event]| lines(&events[seen..]).count() >= count;
        let events = self.running.events.wait(enough).await;
        let lines: Vec<String> = lines(&events[seen..])
            .map(|(_, line)| line)
            .take(count)
            .collect();
        let taken = self::lines(&events[seen..]).take(count).last();
        self.seen += taken.map_or(0, |(at, _)| at + 1);
        lines
    }

    /// All lines up to the first that `is_last` says is the last.
    pub(crate) async fn lines_until(&mut self, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.extend(self.next_lines(1).await);
            if is_last(&lines[lines.len() - 1]) {
                return lines;
            }
        }
    }

    /// Publishes once more: nothing comes but that message, after what its channel had.
    pub(crate) async fn expect_next_whole(&mut self, channel: &str, prev: u64) -> u64 {
        let seq = self.publish(channel).await;
        self.expect(&[&format!("{channel} {seq}<{prev}")]).await;
        seq
    }
}

fn lines(events: &[Event]) -> impl Iterator<Item = (usize, String)> + '_ {
    let lines = events.iter().enumerate();
    lines.filter_map(|(at, event)| Some((at, line(event)?)))
}

pub(crate) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Published(p) => {
            assert!(matches!(p.kind, Kind::Message | Kind::Snapshot), "{p:?}");
            let prev = p.prev.map_or("null".into(), |prev| prev.to_string());
            format!("{} {}<{prev}", p.name, p.seq)
        }
        Event::Lost(l) => {
            let until = l.until.filter(|until| Some(*until) > l.to);
            let until = until.map_or(String::new(), |until| format!(" until {until}"));
            let to = l.to.map_or("null".into(), |to| to.to_string());
            format!("lost {}..{to} {}{until}", l.from, l.reason.label())
        }
        Event::Reset(reset) => format!("reset {}", reset.reason.label()),
        Event::SourceReady(_) => "ready".into(),
        Event::Evict { .. } => return None,
    })
}
