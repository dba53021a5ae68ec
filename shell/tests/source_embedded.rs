//! The embedded source and its demo.

mod support;

use bytes::Bytes;
use odin_core::config::FeedConfig;
use odin_core::feed::{Feed, Source};
use odin_shell::source::embedded::Embedded;
use odin_shell::source::{PublishError, Published, demo};
use support::collect::{Running, check_chains, message_count, ready_count};

fn start(config: FeedConfig) -> Running {
    let (upstream, publisher) = Embedded::new(&config);
    let feed = Feed::new(
        config,
        Source::Embedded {
            epoch: "boot".into(),
        },
        "",
        1,
    );
    Running::start(feed, upstream, publisher)
}

#[tokio::test]
async fn a_publisher_learns_the_seq_or_why_not() {
    let config = FeedConfig {
        channels_max: 2,
        payload_bytes_max: 4,
        ..FeedConfig::default()
    };
    let running = start(config);
    let cases: [(&str, &'static [u8], _); 7] = [
        (
            "A",
            b"1",
            Ok(Published {
                seq: Some(1),
                duplicate: false,
            }),
        ),
        (
            "B",
            b"2",
            Ok(Published {
                seq: Some(2),
                duplicate: false,
            }),
        ),
        ("C", b"3", Err(PublishError::ChannelLimit)),
        ("A.*", b"3", Err(PublishError::InvalidChannel)),
        ("", b"3", Err(PublishError::InvalidChannel)),
        ("A", b"12345", Err(PublishError::TooLarge)),
        (
            "A",
            b"1234",
            Ok(Published {
                seq: Some(3),
                duplicate: false,
            }),
        ),
    ];
    for (channel, payload, expected) in cases {
        let answer = running
            .publisher
            .publish(channel, Bytes::from_static(payload))
            .await;
        assert_eq!(answer, expected, "{channel}");
    }
    let events = running.events.events();
    assert_eq!((ready_count(&events), message_count(&events)), (1, 3));
    assert_eq!(check_chains(&events).1, 0);
    assert!(running.status().connected && running.status().ready);
}

#[tokio::test]
async fn a_full_queue_makes_publishers_wait() {
    let running = start(FeedConfig::default());
    running.ready().await;
    running.events.set_full(true);
    let publisher = running.publisher.clone();
    let waiting =
        tokio::spawn(async move { publisher.publish("A", Bytes::from_static(b"1")).await });
    tokio::task::yield_now().await;
    running.events.set_full(false);
    assert_eq!(
        waiting.await.unwrap(),
        Ok(Published {
            seq: Some(1),
            duplicate: false
        })
    );
}

#[tokio::test]
async fn the_demo_publishes_whole_chains() {
    let running = start(FeedConfig::default());
    let prices = tokio::spawn(demo::run(running.publisher.clone(), 7));
    let events = running
        .events
        .wait(|events| message_count(events) >= 8)
        .await;
    prices.abort();
    let (last, notices) = check_chains(&events);
    assert_eq!(notices, 0);
    assert!(
        last.keys().all(|channel| channel.ends_with(".trade")),
        "{last:?}"
    );
}
