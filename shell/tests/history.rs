//! The history of a JetStream stream, read from real nats-servers of both kinds: those with batched direct get and
//! those without. What is read must be the same.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use odin_core::config::FeedConfig;
use odin_core::history::{Anchor, Entry, Fetch, PAGE_BYTES_MAX, Page};
use odin_core::name::matches;
use odin_core::reason::LostReason;
use odin_shell::source::history::{History, JetStreamHistory};
use odin_shell::source::jetstream::{JetStream, JetStreamOptions};
use odin_shell::source::{NatsOptions, RequestKind};
use support::nats::{NatsServer, Release};

const STREAM: &str = "TEST";
const FILTER: &str = "odin.token.>";

/// A server, a stream in it, and the history of that.
struct World {
    server: NatsServer,
    context: jetstream::Context,
    history: JetStreamHistory,
    // Its connection is the history's.
    _source: JetStream,
}

fn config() -> stream::Config {
    stream::Config {
        name: STREAM.into(),
        subjects: vec!["odin.>".into()],
        allow_direct: true,
        ..Default::default()
    }
}

impl World {
    async fn new(release: Release) -> Self {
        Self::with(release, config(), FILTER).await
    }

    async fn with(release: Release, config: stream::Config, filter: &str) -> Self {
        let server = NatsServer::release(release);
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

    async fn publish(&self, name: &str, payload: impl Into<Bytes>) -> u64 {
        let sent = self.context.publish(subject(name), payload.into()).await;
        sent.unwrap().await.unwrap().sequence
    }

    /// `count` messages, of each name in turn.
    async fn publish_many(&self, names: &[&str], count: usize) {
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

    async fn page(&self, topic: &str, after: u64) -> Page {
        let page = fetch(&self.history, topic, after).await;
        page.unwrap_or_else(|| panic!("{topic} after {after}: no answer"))
    }

    async fn stream(&self) -> stream::Stream {
        self.context.get_stream(STREAM).await.unwrap()
    }

    async fn time(&self, seq: u64) -> u64 {
        let message = self.stream().await.get_raw_message(seq).await.unwrap();
        u64::try_from(message.time.unix_timestamp_nanos()).unwrap()
    }

    fn requests(&self, kind: RequestKind) -> u64 {
        self.history.requests()[kind as usize]
    }

    async fn anchor(&self, seq: u64) -> Option<Anchor> {
        let time = self.time(seq).await;
        Some(Anchor { seq, time })
    }
}

async fn history(server: &NatsServer, filter: &str) -> (JetStream, JetStreamHistory) {
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

async fn fetch(history: &JetStreamHistory, topic: &str, after: u64) -> Option<Page> {
    let fetch = Fetch {
        request: 7,
        topic: topic.into(),
        after,
    };
    history.fetch(fetch).await
}

fn subject(name: &str) -> String {
    format!("odin.token.{name}")
}

/// What a page holds, shortly: channel, seq, prev.
fn held(page: &Page) -> Vec<(&str, u64, Option<u64>)> {
    let entries = page.entries.iter();
    let held = entries.map(|entry| (&*entry.name, entry.seq, entry.prev));
    held.collect()
}

fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

/// The text of a frame without its header.
fn text(entry: &Entry) -> String {
    let text = String::from_utf8_lossy(&entry.frame);
    text[text.find("{\"type\"").expect("a message")..].to_owned()
}

/// Runs a test with each kind of server, and with the way of the old kind on the current one.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($release:ident: Release) $body:block)+) => {
        $(mod $name {
            use super::*;

            async fn run($release: Release) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn old() {
                run(Release::Old).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn current() {
                run(Release::Current).await;
            }
        })+
    };
}

on_both! {
    async fn a_channel_is_read_from_a_position_on(release: Release) {
        let world = World::new(release).await;
        world.publish_many(&["A", "B"], 10).await;
        let page = world.page("A", 3).await;
        assert_eq!(held(&page), [("A", 5, Some(3)), ("A", 7, Some(5)), ("A", 9, Some(7))]);
        let extent = page.extent;
        let created = world.stream().await.cached_info().created.unix_timestamp_nanos();
        assert_eq!(i128::from(extent.created), created);
        assert_eq!((extent.last_seq, extent.to, extent.intact), (10, 10, true));
        assert_eq!(extent.anchor, world.anchor(3).await);
        let entry = &page.entries[0];
        assert_eq!((entry.ts, entry.lost), (world.time(5).await / 1_000_000, None));
        let expected = format!(
            "{{\"type\":\"message\",\"channel\":\"A\",\"seq\":5,\"prev\":3,\"ts\":{},\"data\":{{\"n\":4}}}}",
            entry.ts
        );
        assert_eq!(text(entry), expected);
        // The message at the position is of another channel: the one before it is the anchor.
        let page = world.page("A", 4).await;
        assert_eq!(held(&page)[0], ("A", 5, Some(3)));
        assert_eq!(page.extent.anchor, world.anchor(3).await);
        // Everything, from the beginning on.
        let page = world.page("A", 0).await;
        assert_eq!(held(&page)[..2], [("A", 1, Some(0)), ("A", 3, Some(1))]);
        assert_eq!((page.extent.anchor, page.extent.intact), (None, true));
    }

    async fn nothing_new_is_told_up_to_the_end(release: Release) {
        let world = World::new(release).await;
        world.publish_many(&["A", "B"], 10).await;
        for (topic, after, to, anchor) in [
            ("A", 9, 10, Some(9)),
            ("A", 10, 10, Some(9)),
            ("A", 12, 12, Some(9)),
            ("B.*", 3, 10, None),
            ("C", 3, 10, None),
            (">", 10, 10, Some(10)),
            (">", 12, 12, None),
        ] {
            let page = world.page(topic, after).await;
            assert_eq!(held(&page), [], "{topic} after {after}");
            let extent = page.extent;
            assert_eq!((extent.to, extent.last_seq, extent.intact), (to, 10, true));
            assert_eq!(extent.anchor.map(|anchor| anchor.seq), anchor, "{topic} after {after}");
        }
    }

    async fn a_pattern_is_read_with_what_precedes_each_channel(release: Release) {
        let world = World::new(release).await;
        for name in ["A.x", "B.x", "A.y", "A.x.y", "A.x", "B.x", "C.x", "A.y"] {
            world.publish(name, "1").await;
        }
        let page = world.page("*.x", 4).await;
        let expected = [("A.x", 5, Some(1)), ("B.x", 6, Some(2)), ("C.x", 7, Some(0))];
        assert_eq!(held(&page), expected);
        assert_eq!((page.extent.anchor, page.extent.to), (None, 8));
        let page = world.page("A.>", 3).await;
        let expected = [("A.x.y", 4, Some(0)), ("A.x", 5, Some(1)), ("A.y", 8, Some(3))];
        assert_eq!(held(&page), expected);
        assert_eq!(page.extent.anchor, world.anchor(3).await);
        assert!(page.extent.intact);
    }

    async fn everything_is_read_and_nothing_foreign(release: Release) {
        let world = World::new(release).await;
        world.publish("A", "1").await;
        for subject in ["odin.other.A", "odin.token.B", "odin.token.A"] {
            let sent = world.context.publish(subject, "2".into()).await;
            sent.unwrap().await.unwrap();
        }
        // A legal subject that is no channel: too many tokens.
        let long = format!("deep{}", ".x".repeat(20));
        world.publish(&long, "3").await;
        world.publish("A", "4").await;
        let page = world.page(">", 0).await;
        let expected = [("A", 1, Some(0)), ("B", 3, Some(0)), ("A", 4, Some(1)), ("A", 6, Some(4))];
        assert_eq!(held(&page), expected);
        let page = world.page(">", 1).await;
        assert_eq!(held(&page), [("B", 3, Some(0)), ("A", 4, Some(1)), ("A", 6, Some(4))]);
        assert_eq!((page.extent.to, page.extent.anchor), (6, world.anchor(1).await));
        // The message at the position is a foreign one.
        assert_eq!(world.page(">", 2).await.extent.anchor, None);
    }

    async fn a_filter_may_be_narrower_than_the_topic(release: Release) {
        let world = World::with(release, config(), "odin.token.*.trade").await;
        for name in ["A.trade", "A.quote", "B.trade", "A.trade"] {
            world.publish(name, "1").await;
        }
        let page = world.page(">", 0).await;
        let expected = [("A.trade", 1, Some(0)), ("B.trade", 3, Some(0)), ("A.trade", 4, Some(1))];
        assert_eq!(held(&page), expected);
        assert_eq!(held(&world.page("A.*", 1).await), [("A.trade", 4, Some(1))]);
        let page = world.page("A.quote", 1).await;
        assert_eq!(held(&page), []);
        assert_eq!((page.extent.to, page.extent.intact), (4, true));
    }

    async fn a_long_history_comes_in_pages(release: Release) {
        let world = World::new(release).await;
        let names: Vec<String> = (0..50).map(|n| format!("C{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.publish_many(&names, 2_500).await;
        let mut after = 0;
        for expected in [1..=1_000, 1_001..=2_000, 2_001..=2_500] {
            let page = world.page(">", after).await;
            assert_eq!(seqs(&page), expected.clone().collect::<Vec<_>>());
            assert_eq!((page.extent.to, page.extent.last_seq), (*expected.end(), 2_500));
            for entry in &page.entries {
                assert_eq!(entry.prev, Some(entry.seq.saturating_sub(50)));
            }
            after = page.extent.to;
        }
        assert_eq!(held(&world.page(">", after).await), []);
        let page = world.page("C7", 0).await;
        assert_eq!(seqs(&page), (0..50).map(|n| 8 + n * 50).collect::<Vec<_>>());
        assert_eq!(page.extent.to, 2_500);
    }

    async fn large_payloads_end_a_page(release: Release) {
        let world = World::new(release).await;
        let large = Bytes::from(vec![b'x'; 400 * 1024]);
        for _ in 0..7 {
            world.publish("A", large.clone()).await;
        }
        let too_large = world.publish("A", vec![b'x'; 600 * 1024]).await;
        world.publish("A", "1").await;
        let mut after = 0;
        for expected in [&[1, 2, 3][..], &[4, 5, 6], &[7, 8, 9]] {
            let page = world.page("A", after).await;
            assert_eq!(seqs(&page), expected);
            let lost: Vec<_> = page.entries.iter().filter(|entry| entry.lost.is_some()).collect();
            if expected.contains(&too_large) {
                assert_eq!(page.extent.to, 9);
                let [lost] = &lost[..] else { panic!("{lost:?}") };
                assert_eq!((lost.seq, lost.lost), (too_large, Some(LostReason::TooLarge)));
            } else {
                assert_eq!((page.extent.to, lost.len()), (*expected.last().unwrap(), 0));
                assert!(page.bytes() >= PAGE_BYTES_MAX);
            }
            after = page.extent.to;
        }
    }

    async fn of_a_stream_that_keeps_the_last_of_each_subject_nothing_is_proven(release: Release) {
        let last = stream::Config { max_messages_per_subject: 1, ..config() };
        let world = World::with(release, last, FILTER).await;
        world.publish_many(&["A", "B"], 10).await;
        let page = world.page("A", 3).await;
        assert_eq!(held(&page), [("A", 9, None)]);
        assert_eq!((page.extent.anchor, page.extent.intact), (None, false));
        let page = world.page(">", 3).await;
        assert_eq!(held(&page), [("A", 9, None), ("B", 10, None)]);
        assert_eq!((page.extent.anchor, page.extent.intact), (None, false));
        // Who has the last one has everything.
        let page = world.page("A", 9).await;
        assert_eq!((page.extent.anchor, page.extent.to), (world.anchor(9).await, 10));
    }

    async fn a_purged_channel_has_no_anchor_although_the_stream_begins_before(release: Release) {
        let world = World::new(release).await;
        world.publish_many(&["A", "B"], 10).await;
        world.stream().await.purge().filter(subject("A")).await.unwrap();
        assert_eq!(world.publish("A", "1").await, 11);
        let page = world.page("A", 5).await;
        assert_eq!(held(&page), [("A", 11, None)]);
        assert_eq!((page.extent.anchor, page.extent.intact), (None, false));
        let page = world.page("B", 4).await;
        assert_eq!(held(&page), [("B", 6, Some(4)), ("B", 8, Some(6)), ("B", 10, Some(8))]);
        assert_eq!(page.extent.anchor, world.anchor(4).await);
        // Behind the purge nothing is missing: that of A is at the deleted seqs.
        let page = world.page(">", 9).await;
        assert_eq!(held(&page), [("B", 10, Some(8)), ("A", 11, None)]);
        assert!(page.extent.intact);
        assert!(!world.page(">", 8).await.extent.intact);
    }

    async fn the_oldest_are_gone(release: Release) {
        let world = World::with(release, stream::Config { max_messages: 4, ..config() }, FILTER).await;
        world.publish_many(&["A", "B"], 10).await;
        let page = world.page("A", 3).await;
        assert_eq!(held(&page), [("A", 7, None), ("A", 9, Some(7))]);
        assert_eq!((page.extent.anchor, page.extent.intact), (None, false));
        // The first that there is follows the position at once.
        let page = world.page(">", 6).await;
        assert_eq!(held(&page)[0], ("A", 7, None));
        assert_eq!((page.extent.anchor, page.extent.intact), (None, true));
        world.stream().await.purge().await.unwrap();
        let page = world.page("A", 9).await;
        assert_eq!((page.extent.anchor, page.extent.intact, page.extent.to), (None, false, 10));
        let page = world.page("A", 10).await;
        assert_eq!((page.extent.anchor, page.extent.intact, page.extent.to), (None, true, 10));
    }

    async fn a_deletion_behind_the_position_shows(release: Release) {
        let world = World::new(release).await;
        world.publish_many(&["A", "B"], 10).await;
        let stream = world.stream().await;
        assert!(stream.delete_message(5).await.unwrap());
        assert!(!world.page(">", 4).await.extent.intact);
        assert!(world.page(">", 5).await.extent.intact);
        let page = world.page("A", 4).await;
        assert_eq!(held(&page), [("A", 7, Some(3)), ("A", 9, Some(7))]);
        assert!(stream.delete_message(10).await.unwrap());
        assert!(!world.page(">", 9).await.extent.intact);
        assert!(world.page(">", 10).await.extent.intact);
    }

    async fn a_stream_made_again_has_another_time(release: Release) {
        let world = World::new(release).await;
        world.publish("A", "1").await;
        let before = world.page("A", 0).await.extent;
        world.context.delete_stream(STREAM).await.unwrap();
        assert_eq!(fetch(&world.history, "A", 0).await, None);
        world.context.create_stream(config()).await.unwrap();
        let after = world.page("A", 1).await.extent;
        assert!(after.created > before.created);
        assert_eq!((after.last_seq, after.to, after.anchor), (0, 1, None));
    }

    async fn who_is_away_gives_no_answer(release: Release) {
        let mut world = World::new(release).await;
        world.publish("A", "1").await;
        assert_eq!(seqs(&world.page("A", 0).await), [1]);
        world.server.kill();
        assert_eq!(fetch(&world.history, "A", 0).await, None);
        world.server.restart();
        let back = async {
            while fetch(&world.history, "A", 0).await.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
        assert_eq!(seqs(&world.page("A", 0).await), [1]);
    }

    async fn where_direct_gets_are_off_consumers_do(release: Release) {
        let plain = stream::Config { allow_direct: false, ..config() };
        let world = World::with(release, plain, FILTER).await;
        world.publish_many(&["A", "B", "C.x"], 2_500).await;
        let page = world.page("A", 3).await;
        assert_eq!(held(&page)[0], ("A", 4, Some(1)));
        assert_eq!((page.entries.len(), page.extent.to), (833, 2_500));
        let page = world.page(">", 1_000).await;
        assert_eq!(seqs(&page), (1_001..=2_000).collect::<Vec<_>>());
        assert_eq!(held(&page)[0], ("B", 1_001, Some(998)));
        assert_eq!(world.requests(RequestKind::Last), 0);
        assert!(world.requests(RequestKind::Consumer) >= 2);
        assert!(world.requests(RequestKind::Batch) <= 1, "asked once, refused once");
        // No consumer is left behind.
        let gone = async {
            while world.stream().await.cached_info().state.consumer_count > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3), gone).await.unwrap();
    }

    async fn what_is_read_is_what_a_naive_model_holds(release: Release) {
        let off = usize::MAX;
        for (seed, limits) in (1..).zip([(off, off), (off, off), (3, off), (1, off), (off, 10), (2, 7)]) {
            compare(release, seed, limits).await;
        }
    }

    async fn stored_headers_deceive_nobody(release: Release) {
        let world = World::new(release).await;
        world.publish("A", "1").await;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Nats-Subject", "odin.token.FORGED"),
            ("Nats-Sequence", "77"),
            ("Nats-Num-Pending", "0"),
            ("Nats-Time-Stamp", "never"),
            ("Nats-Stream", "OTHER"),
            ("Status", "404"),
        ] {
            headers.insert(name, value);
        }
        let sent = world.context.publish_with_headers(subject("A"), headers, "2".into()).await;
        sent.unwrap().await.unwrap();
        world.publish("A", "3").await;
        let page = world.page("A", 0).await;
        assert_eq!(held(&page), [("A", 1, Some(0)), ("A", 2, Some(1)), ("A", 3, Some(2))]);
        assert!(text(&page.entries[1]).ends_with("\"data\":2}"));
    }
}

/// What a stream holds, and what it ever lost.
struct Model {
    last: u64,
    stored: BTreeMap<u64, &'static str>,
    deleted: BTreeSet<u64>,
    per_subject: usize,
    messages: usize,
}

const NAMES: [&str; 4] = ["A", "A.x", "B.x", "B.x.y"];

impl Model {
    fn publish(&mut self, name: &'static str) {
        self.last += 1;
        self.stored.insert(self.last, name);
        while self.of(name).count() > self.per_subject {
            let oldest = self.of(name).next().unwrap();
            self.delete(oldest);
        }
        while self.stored.len() > self.messages {
            let oldest = *self.stored.keys().next().unwrap();
            self.delete(oldest);
        }
    }

    fn delete(&mut self, seq: u64) {
        self.stored.remove(&seq);
        self.deleted.insert(seq);
    }

    fn of(&self, name: &str) -> impl DoubleEndedIterator<Item = u64> {
        let of_name = self.stored.iter().filter(move |(_, of)| **of == name);
        of_name.map(|(seq, _)| *seq)
    }

    /// Entries, end, last seq, whether it is intact, and the anchor.
    fn page(&self, topic: &str, after: u64) -> Shown {
        let entries = self.stored.range(after + 1..);
        let entries = entries.filter(|(_, name)| matches(topic, name));
        let entries = entries.map(|(seq, name)| {
            let prev = self.of(name).rfind(|prev| prev < seq);
            let none = self.deleted.is_empty().then_some(0);
            ((*name).to_owned(), *seq, prev.or(none))
        });
        let channel = !topic.contains(['*', '>']);
        let anchor = if channel {
            self.of(topic).rfind(|seq| *seq <= after)
        } else {
            let at = self.stored.get(&after);
            at.filter(|name| matches(topic, name)).map(|_| after)
        };
        let to = self.last.max(after);
        let first = self.stored.keys().next().copied().unwrap_or(self.last + 1);
        let within = self.deleted.range(first..).next().is_some();
        let behind = self.deleted.range(after + 1..).next().is_some();
        // It is not looked through where the anchor proves enough.
        let known = !within || !(channel && anchor.is_some());
        Shown {
            entries: entries.collect(),
            to,
            last_seq: self.last,
            intact: first <= after + 1 && !behind && known,
            anchor,
        }
    }
}

#[derive(PartialEq, Debug)]
struct Shown {
    entries: Vec<(String, u64, Option<u64>)>,
    to: u64,
    last_seq: u64,
    intact: bool,
    anchor: Option<u64>,
}

impl Shown {
    fn of(page: &Page) -> Self {
        let entries = held(page).into_iter();
        Self {
            entries: entries
                .map(|(name, seq, prev)| (name.to_owned(), seq, prev))
                .collect(),
            to: page.extent.to,
            last_seq: page.extent.last_seq,
            intact: page.extent.intact,
            anchor: page.extent.anchor.map(|anchor| anchor.seq),
        }
    }
}

/// Publishes, deletes and purges by chance, the same with every server, and compares what is read with what a naive
/// model of the stream holds.
async fn compare(release: Release, seed: u64, (per_subject, messages): (usize, usize)) {
    let limits = stream::Config {
        max_messages_per_subject: i64::try_from(per_subject).unwrap_or(-1),
        max_messages: i64::try_from(messages).unwrap_or(-1),
        ..config()
    };
    let world = World::with(release, limits, FILTER).await;
    let mut model = Model {
        last: 0,
        stored: BTreeMap::new(),
        deleted: BTreeSet::new(),
        per_subject,
        messages,
    };
    let mut state = seed;
    let mut dice = move |sides: u64| {
        // Knuth's MMIX generator; its upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let stream = world.stream().await;
    for round in 0..30 {
        for _ in 0..dice(6) {
            let name = NAMES[usize::try_from(dice(4)).unwrap()];
            assert_eq!(world.publish(name, "1").await, model.last + 1);
            model.publish(name);
        }
        // In the first rounds nothing is deleted.
        match if round < 8 { 9 } else { dice(6) } {
            // A deletion confuses the count by which nats-server 2.9 limits a subject.
            0 if per_subject == usize::MAX => {
                let at = usize::try_from(dice(20)).unwrap();
                if let Some(seq) = model.stored.keys().nth(at).copied() {
                    assert!(stream.delete_message(seq).await.unwrap());
                    model.delete(seq);
                }
            }
            1 => {
                let name = NAMES[usize::try_from(dice(4)).unwrap()];
                stream.purge().filter(subject(name)).await.unwrap();
                model
                    .of(name)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|seq| model.delete(seq));
            }
            2 if dice(4) == 0 => {
                let below = 1 + dice(model.last + 1);
                stream.purge().sequence(below).await.unwrap();
                let gone: Vec<u64> = model.stored.range(..below).map(|(seq, _)| *seq).collect();
                gone.into_iter().for_each(|seq| model.delete(seq));
            }
            _ => {}
        }
        for topic in ["A", "B.x", "NONE", "*.x", "B.>", ">"] {
            let after = match dice(4) {
                0 => 0,
                1 => model.last + dice(3),
                _ => dice(model.last + 1),
            };
            let page = world.page(topic, after).await;
            let context = format!("{release:?}, seed {seed}, round {round}: {topic} after {after}");
            assert_eq!(Shown::of(&page), model.page(topic, after), "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_costs_few_requests() {
    let world = World::new(Release::Current).await;
    let names: Vec<String> = (0..700).map(|n| format!("C{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.publish_many(&names, 1_400).await;
    let before = world.history.requests();
    let page = world.page(">", 700).await;
    assert_eq!(page.entries.len(), 700);
    assert!(
        page.entries
            .iter()
            .all(|entry| entry.prev == Some(entry.seq - 700))
    );
    let asked = |kind: RequestKind| world.requests(kind) - before[kind as usize];
    let counts = RequestKind::ALL.map(|kind| (kind.label(), asked(kind)));
    // One batch, the state, the end as the leader has it, and the 699 channels without a message at the
    // position in two requests.
    let expected = [
        ("info", 1),
        ("get", 1),
        ("batch", 1),
        ("last", 2),
        ("consumer", 0),
        ("next", 0),
        ("delete", 0),
        ("configure", 0),
    ];
    assert_eq!(counts, expected);
}
