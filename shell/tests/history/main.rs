//! The history of a JetStream stream, read from real nats-servers of both kinds: those with batched direct get and
//! those without. What is read must be the same.

mod model;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use bytes::Bytes;
use model::compare;
use odin_core::history::PAGE_BYTES_MAX;
use odin_core::reason::LostReason;
use odin_shell::source::RequestKind;
use odin_shell::source::history::History;
use support::nats::Version;
use world::{FILTER, STREAM, World, config, fetch, held, seqs, subject, text};

/// Runs a test with each kind of server, and with the way of the old kind on the current one.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($release:ident: Version) $body:block)+) => {
        $(mod $name {
            use super::*;

            async fn run($release: Version) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn old() {
                run(Version::Old).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn current() {
                run(Version::Current).await;
            }
        })+
    };
}

on_both! {
    async fn a_channel_is_read_from_a_position_on(release: Version) {
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

    async fn nothing_new_is_told_up_to_the_end(release: Version) {
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

    async fn a_pattern_is_read_with_what_precedes_each_channel(release: Version) {
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

    async fn everything_is_read_and_nothing_foreign(release: Version) {
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

    async fn a_filter_may_be_narrower_than_the_topic(release: Version) {
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

    async fn a_long_history_comes_in_pages(release: Version) {
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

    async fn large_payloads_end_a_page(release: Version) {
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

    async fn of_a_stream_that_keeps_the_last_of_each_subject_nothing_is_proven(release: Version) {
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

    async fn a_purged_channel_has_no_anchor_although_the_stream_begins_before(release: Version) {
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

    async fn the_oldest_are_gone(release: Version) {
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

    async fn a_deletion_behind_the_position_shows(release: Version) {
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

    async fn a_stream_made_again_has_another_time(release: Version) {
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

    async fn who_is_away_gives_no_answer(release: Version) {
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

    async fn where_direct_gets_are_off_consumers_do(release: Version) {
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

    async fn what_is_read_is_what_a_naive_model_holds(release: Version) {
        let off = usize::MAX;
        for (seed, limits) in (1..).zip([(off, off), (off, off), (3, off), (1, off), (off, 10), (2, 7)]) {
            compare(release, seed, limits).await;
        }
    }

    async fn stored_headers_deceive_nobody(release: Version) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_costs_few_requests() {
    let world = World::new(Version::Current).await;
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
