//! The JetStream source against a real nats-server.

mod support;

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use odin_core::event::{Event, Kind};
use odin_core::feed::EpochNonce;
use odin_core::reason::ResetReason;
use odin_shell::source::{PublishError, Published};
use support::collect::{Running, check_chains, message_count, ready_count};
use support::nats::NatsServer;

const CHANNELS: u64 = 20;

async fn context(server: &NatsServer) -> jetstream::Context {
    let options = async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_| std::time::Duration::from_millis(20));
    let client = options.connect(server.url()).await.unwrap();
    let context = jetstream::ContextBuilder::new();
    context
        .timeout(std::time::Duration::from_secs(1))
        .build(client)
}

fn config() -> stream::Config {
    stream::Config {
        name: "TEST".into(),
        subjects: vec!["odin.token.>".into()],
        allow_direct: true,
        ..Default::default()
    }
}

fn subject(n: u64) -> String {
    format!("odin.token.C{}.trade", n % CHANNELS)
}

/// Publishes `range`, each acknowledged, several at a time, again and again until it is stored.
async fn publish(context: &jetstream::Context, range: std::ops::Range<u64>) {
    use futures_util::{StreamExt, stream};
    let stored = stream::iter(range).map(|n| async move {
        let payload = Bytes::from(format!("{{\"n\":{n}}}"));
        loop {
            let sent = context.publish(subject(n), payload.clone()).await;
            if let Ok(ack) = sent
                && ack.await.is_ok()
            {
                return;
            }
        }
    });
    stored.buffered(256).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_then_all_that_follows() {
    let server = NatsServer::start();
    let context = context(&server).await;
    context.create_stream(config()).await.unwrap();
    publish(&context, 0..100).await;
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    let events = running.events.events();
    // The last value of each channel, by seq, then the source is ready.
    let (snapshot, _) = check_chains(&events);
    assert_eq!(snapshot.len() as u64, CHANNELS);
    let seqs: Vec<u64> = events.iter().filter_map(published_seq).collect();
    assert!(
        seqs.is_sorted() && seqs.len() as u64 == CHANNELS,
        "{seqs:?}"
    );
    assert_eq!(seqs.last(), Some(&100));
    assert!(events.iter().all(|event| match event {
        Event::Published(p) => p.kind == Kind::Snapshot && p.prev.is_none(),
        _ => true,
    }));
    let Some(Event::SourceReady(ready)) = events.get(CHANNELS as usize) else {
        panic!("not ready after the snapshot: {events:?}");
    };
    assert_eq!(
        (ready.durable, ready.head, ready.observed_from),
        (true, 100, 0)
    );
    publish(&context, 100..300).await;
    let events = running
        .events
        .wait(|events| message_count(events) == 220)
        .await;
    let (last, notices) = check_chains(&events);
    assert_eq!((last.len() as u64, notices), (CHANNELS, 0));
    let live: Vec<u64> = events.iter().filter_map(published_seq).skip(20).collect();
    assert_eq!(live, (101..=300).collect::<Vec<_>>());
}

fn published_seq(event: &Event) -> Option<u64> {
    match event {
        Event::Published(p) => Some(p.seq),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_on_its_store_nothing_is_missing() {
    let mut server = NatsServer::start();
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    let context = context(&server).await;
    let publisher = tokio::spawn(async move { publish(&context, 0..20_000).await });
    running
        .events
        .wait(|events| message_count(events) >= 5_000)
        .await;
    server.kill();
    running
        .status_is(|status| !status.connected && status.ready)
        .await;
    server.restart();
    publisher.await.unwrap();
    running.status_is(|status| status.connected).await;
    // Some may be stored twice: an acknowledgement that was lost is no proof of a loss.
    let stored = self::context(&server)
        .await
        .get_stream("TEST")
        .await
        .unwrap();
    let stored = stored.cached_info().state.last_sequence;
    assert!(stored >= 20_000);
    let events = running
        .events
        .wait(|events| message_count(events) as u64 >= stored)
        .await;
    let (last, notices) = check_chains(&events);
    assert_eq!((last.len() as u64, notices), (CHANNELS, 0));
    let seqs: Vec<u64> = events.iter().filter_map(published_seq).collect();
    assert_eq!(seqs, (1..=stored).collect::<Vec<_>>());
    assert_eq!(ready_count(&events), 1, "the number line is the same one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_made_again_resets() {
    let server = NatsServer::start();
    let context = context(&server).await;
    context.create_stream(config()).await.unwrap();
    publish(&context, 0..50).await;
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    let first = running
        .events
        .wait(|events| message_count(events) == 20)
        .await;
    context.delete_stream("TEST").await.unwrap();
    context.create_stream(config()).await.unwrap();
    publish(&context, 0..70).await;
    let events = running.events.wait(|events| ready_count(events) == 2).await;
    let reset = events
        .iter()
        .position(|event| matches!(event, Event::Reset(_)))
        .unwrap();
    assert_eq!(
        reset,
        first.len(),
        "nothing between the old stream and the reset"
    );
    let Event::Reset(reset) = &events[reset] else {
        unreachable!()
    };
    assert_eq!(reset.reason, ResetReason::StreamRecreated);
    let epochs = epochs(&events);
    assert_ne!(epochs[0], epochs[1]);
    assert_eq!(epochs[1], *reset.epoch);
    let (_, notices) = check_chains(&events);
    assert_eq!(notices, 1);
    publish(&context, 70..75).await;
    running
        .events
        .wait(|events| events.last().and_then(published_seq) == Some(75))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_restored_from_an_older_store_resets_although_it_grew_past_what_was_taken() {
    let mut server = NatsServer::start();
    let made = stream::Config {
        description: Some("orders".into()),
        max_age: std::time::Duration::from_secs(3600),
        metadata: [("owner".to_owned(), "desk".to_owned())].into(),
        ..config()
    };
    let made = context(&server).await.create_stream(made).await.unwrap();
    let before = made.cached_info().config.clone();
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    publish(&context(&server).await, 0..50).await;
    running
        .events
        .wait(|events| message_count(events) == 50)
        .await;
    server.kill();
    let mut older = server.fork();
    server.restart();
    publish(&context(&server).await, 50..100).await;
    running
        .events
        .wait(|events| message_count(events) == 100)
        .await;
    server.kill();
    older.restart();
    publish(&context(&older).await, 0..120).await;
    older.kill();
    server.restore(older);
    server.restart();
    let events = running.events.wait(|events| ready_count(events) == 2).await;
    let resets: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Reset(reset) => Some((reset.order.0, reset.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(resets, [(101, ResetReason::StreamRolledBack)]);
    let (last, notices) = check_chains(&events);
    assert_eq!(
        (last.len() as u64, last.values().max(), notices),
        (CHANNELS, Some(&170), 1)
    );
    // A server that starts now is on the new number line, if the stream can hold its name.
    let stored = context(&server).await.get_stream("TEST").await.unwrap();
    let mut after = stored.cached_info().config.clone();
    let nonce = after.metadata.remove(EpochNonce::METADATA_KEY);
    assert_eq!(after, before, "nothing else of the stream changed");
    let fresh = Running::jetstream(&server.url(), 2).await;
    fresh.ready().await;
    let fresh = epochs(&fresh.events.events());
    let [old, new] = &epochs(&events)[..] else {
        panic!("two number lines: {events:?}")
    };
    assert_ne!(old, new);
    if keeps_metadata(&server).await {
        assert!(nonce.is_some_and(|text| EpochNonce::parse(&text).is_some()));
        assert_eq!(&fresh[..], std::slice::from_ref(new));
    } else {
        assert_eq!((nonce, &fresh[..]), (None, std::slice::from_ref(old)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_told_although_the_metadata_must_not_be_written() {
    let mut server = NatsServer::configured(
        r#"authorization { users = [ { user: odin, password: odin,
             permissions: { publish: { deny: ["$JS.API.STREAM.UPDATE.>"] } } } ] }
           no_auth_user: odin"#,
    );
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    publish(&context(&server).await, 0..50).await;
    server.kill();
    let older = server.fork();
    server.restart();
    publish(&context(&server).await, 50..100).await;
    running
        .events
        .wait(|events| message_count(events) == 100)
        .await;
    server.kill();
    server.restore(older);
    server.restart();
    let events = running.events.wait(|events| ready_count(events) == 2).await;
    let [old, new] = &epochs(&events)[..] else {
        panic!("two number lines: {events:?}")
    };
    assert_ne!(old, new);
    let stored = context(&server).await.get_stream("TEST").await.unwrap();
    let metadata = &stored.cached_info().config.metadata;
    assert!(!metadata.contains_key(EpochNonce::METADATA_KEY));
    publish(&context(&server).await, 100..105).await;
    let events = running
        .events
        .wait(|events| events.last().and_then(published_seq) == Some(55))
        .await;
    assert_eq!(check_chains(&events).1, 1);
}

/// Whether the server is at least 2.10.
async fn keeps_metadata(server: &NatsServer) -> bool {
    let client = async_nats::connect(server.url()).await.unwrap();
    client.is_server_compatible(2, 10, 0)
}

fn epochs(events: &[Event]) -> Vec<String> {
    let epochs = events.iter().filter_map(|event| match event {
        Event::SourceReady(ready) => Some(ready.epoch.to_string()),
        _ => None,
    });
    epochs.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_agree_on_the_number_line() {
    let server = NatsServer::start();
    let context = context(&server).await;
    let a = Running::jetstream(&server.url(), 1).await;
    a.ready().await;
    let b = Running::jetstream(&server.url(), 2).await;
    b.ready().await;
    publish(&context, 0..1_000).await;
    let line = |events: Vec<Event>| {
        let entries = events.into_iter().filter_map(|event| match event {
            Event::Published(p) => Some((p.seq, p.prev, p.kind == Kind::Message, p.frame.clone())),
            _ => None,
        });
        entries.collect::<Vec<_>>()
    };
    let of_a = line(a.events.wait(|events| message_count(events) == 1_000).await);
    let of_b = line(b.events.wait(|events| message_count(events) == 1_000).await);
    assert_eq!(of_a, of_b);
    assert_eq!(epochs(&a.events.events()), epochs(&b.events.events()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_while_nats_is_down_and_makes_the_stream_when_it_comes() {
    let mut server = NatsServer::stopped();
    let running = Running::jetstream(&server.url(), 1).await;
    let refused = running
        .publisher
        .publish("BTC.trade", Bytes::from_static(b"1"))
        .await;
    assert_eq!(refused, Err(PublishError::Unavailable));
    assert!(!running.status().connected && !running.status().ready);
    server.restart();
    running.ready().await;
    let published = running
        .publisher
        .publish("BTC.trade", Bytes::from_static(b"1"))
        .await;
    assert_eq!(
        published,
        Ok(Published {
            seq: Some(1),
            duplicate: false
        })
    );
    let events = running
        .events
        .wait(|events| message_count(events) == 1)
        .await;
    assert_eq!(check_chains(&events).0["BTC.trade"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_the_stream_wait_and_loses_nothing() {
    let mut server = NatsServer::start();
    let context = context(&server).await;
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    running.events.set_full(true);
    publish(&context, 0..12_000).await;
    // One report may have been under way when the queue became full.
    assert!(message_count(&running.events.events()) <= 1);
    // Whether it is connected is known nevertheless.
    server.kill();
    running.status_is(|status| !status.connected).await;
    server.restart();
    running.status_is(|status| status.connected).await;
    assert!(message_count(&running.events.events()) <= 1);
    running.events.set_full(false);
    let events = running
        .events
        .wait(|events| message_count(events) == 12_000)
        .await;
    let (_, notices) = check_chains(&events);
    assert_eq!(notices, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_a_key_is_stored_once_per_channel() {
    let server = NatsServer::start();
    let running = Running::jetstream(&server.url(), 1).await;
    running.ready().await;
    let publish = async |channel: &str, key| {
        let payload = Bytes::from_static(b"1");
        let published = running.publisher.publish_once(channel, payload, key).await;
        published.map(|published| (published.seq, published.duplicate))
    };
    for (channel, key, expected) in [
        ("BTC.trade", Some("k"), (Some(1), false)),
        ("BTC.trade", Some("k"), (Some(1), true)),
        ("ETH.trade", Some("k"), (Some(2), false)),
        ("BTC.trade", Some("l"), (Some(3), false)),
        ("BTC.trade", None, (Some(4), false)),
        // The colon is legal in both: where one ends and the other begins must not be a guess.
        ("a", Some("b:order-7"), (Some(5), false)),
        ("a:b", Some("order-7"), (Some(6), false)),
        ("a", Some("b:order-7"), (Some(5), true)),
        ("a:b", Some("order-7"), (Some(6), true)),
    ] {
        assert_eq!(
            publish(channel, key).await,
            Ok(expected),
            "{channel} {key:?}"
        );
    }
}
