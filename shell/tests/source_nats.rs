//! The core NATS source against a real nats-server.

mod support;

use bytes::Bytes;
use odin_core::event::Event;
use odin_core::reason::LostReason;
use odin_shell::source::{PublishError, Published};
use support::collect::{Running, check_chains, message_count, ready_count};
use support::nats::NatsServer;

const PAYLOAD: Bytes = Bytes::from_static(b"{}");

fn losses(events: &[Event]) -> Vec<(u64, Option<u64>, LostReason)> {
    let lost = events.iter().filter_map(|event| match event {
        Event::Lost(lost) => Some((lost.from, lost.to, lost.reason)),
        _ => None,
    });
    lost.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_is_announced_and_the_chains_go_on() {
    let mut server = NatsServer::start();
    let running = Running::nats(&server.url()).await;
    running.ready().await;
    for _ in 0..3 {
        let published = running.publisher.publish("BTC.trade", PAYLOAD).await;
        assert_eq!(
            published,
            Ok(Published {
                seq: None,
                duplicate: false
            })
        );
    }
    // Nothing here would know it again.
    let with_key = running
        .publisher
        .publish_once("BTC.trade", PAYLOAD, Some("k"));
    assert_eq!(with_key.await, Err(PublishError::NoKeys));
    running
        .events
        .wait(|events| message_count(events) == 3)
        .await;
    server.kill();
    running
        .status_is(|status| !status.connected && status.ready)
        .await;
    let refused = running.publisher.publish("BTC.trade", PAYLOAD).await;
    assert_eq!(refused, Err(PublishError::Unavailable));
    server.restart();
    let events = running
        .events
        .wait(|events| !losses(events).is_empty())
        .await;
    assert_eq!(losses(&events), [(4, None, LostReason::Reconnected)]);
    running
        .publisher
        .publish("BTC.trade", PAYLOAD)
        .await
        .unwrap();
    let events = running
        .events
        .wait(|events| message_count(events) == 4)
        .await;
    let (last, notices) = check_chains(&events);
    assert_eq!(
        (last["BTC.trade"], notices, ready_count(&events)),
        (5, 1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_while_nats_is_down() {
    let mut server = NatsServer::stopped();
    let running = Running::nats(&server.url()).await;
    assert!(!running.status().ready);
    server.restart();
    running.ready().await;
    running
        .publisher
        .publish("BTC.trade", PAYLOAD)
        .await
        .unwrap();
    let events = running
        .events
        .wait(|events| message_count(events) == 1)
        .await;
    assert_eq!(losses(&events), []);
}
