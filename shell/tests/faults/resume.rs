//! Resumes from far back, and many at once, from the stream's history.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fleet::{CHANNELS, Fleet};
use crate::log::Told;
use crate::probe::Probe;
use crate::writer::channel;

/// Publishes so many messages as fast as the stream takes them.
async fn publish(fleet: &Fleet, count: u64) {
    let book = fleet.book.lock().await;
    for begin in (0..count).step_by(1_000) {
        let mut acks = Vec::new();
        for n in begin..count.min(begin + 1_000) {
            let subject = format!("odin.token.{}", channel(n, CHANNELS));
            let data = json!({"stream": book.stream, "early": n}).to_string();
            let ack = book.jetstream.publish(subject, data.into()).await;
            acks.push(ack.expect("the message goes out").into_future());
        }
        for ack in join_all(acks).await {
            ack.expect("the stream stores it");
        }
    }
}

/// The epoch, once the replica says it: a shard may hear of it a moment after the replica calls itself ready.
async fn epoch(fleet: &Fleet, replica: usize) -> String {
    let url = format!("ws://{}/ws", fleet.addrs[replica]);
    for _ in 0..100 {
        let (mut ws, _) = tokio_tungstenite::connect_async(&url)
            .await
            .expect("a client");
        let welcome = ws.next().await.expect("a welcome").expect("a message");
        let text = welcome.to_text().expect("text");
        let welcome: Value = serde_json::from_str(text).expect("JSON");
        if let Some(epoch) = welcome["epoch"].as_str() {
            return epoch.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no epoch in five seconds");
}

/// The recovered names of a client's first ack.
fn recovered(log: &[Told]) -> Vec<String> {
    match log.first() {
        Some(Told::Acked { recovered, .. }) => recovered.clone(),
        other => panic!("the first thing is {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_missed_100_000_messages_gets_exactly_those_on_another_replica() {
    const MISSED: u64 = 100_000;
    let mut fleet = Fleet::start(2, &["--log-messages", "1024"]).await;
    let positions = ["g1.*", "g2.c1"].map(|name| (name.to_owned(), 0));
    let epoch = epoch(&fleet, 0).await;
    publish(&fleet, MISSED).await;
    // A replica that was not there when any of it came.
    tokio::task::block_in_place(|| fleet.restart(1));
    let server = fleet.servers[1].as_ref().expect("it runs");
    tokio::task::block_in_place(|| server.until_health(200, Duration::from_secs(20)));
    fleet.write(20);
    let names = vec!["g1.*".to_owned(), "g2.c1".to_owned()];
    let begun = Instant::now();
    fleet.add_client(names.clone(), 1, Some((epoch, BTreeMap::from(positions))));
    fleet.until_all_began().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.settle().await;
    let elapsed = begun.elapsed();
    let log = fleet.clients[0].state.log();
    let count = fleet.judge().await;
    assert_eq!(recovered(&log), names);
    // A fifth of the channels by the pattern, one more by its name.
    assert!(count.messages > MISSED / 5 + MISSED / 20, "{count:?}");
    assert_eq!(
        (count.announced, count.unrecovered, count.resets),
        (0, 0, 0)
    );
    let server = fleet.servers[1].as_ref().expect("it runs");
    let fetched = server.metric("ws_history_fetches_total");
    assert!(fetched >= 26.0, "{fetched} pages");
    println!("{count:?} in {elapsed:?}, live messages beside it; {fetched} pages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_resumes_costs_few_requests_and_recovers_everybody() {
    let resumes = std::env::var("ODIN_RESUMES").map_or(300, |text| text.parse().expect("a number"));
    let missed = 5_000;
    // Everybody comes at once, and nobody is put off.
    let args = [
        "--log-messages",
        "1024",
        "--accept-rate",
        "0",
        "--cpu-refuse-percent",
        "0",
    ];
    let mut fleet = Fleet::start(1, &args).await;
    let epoch = epoch(&fleet, 0).await;
    publish(&fleet, missed).await;
    tokio::task::block_in_place(|| fleet.restart(0));
    let server = fleet.servers[0].as_ref().expect("it runs");
    tokio::task::block_in_place(|| server.until_health(200, Duration::from_secs(20)));
    let probe = Probe::start(&fleet.nats, fleet.addrs[0], &channel(0, CHANNELS));
    let begun = Instant::now();
    for number in 0..resumes {
        let name = channel(number, CHANNELS);
        // Somewhere in the last 2,000 of what was missed, at a message of this channel.
        let seq = missed - 2_000 + number % 90 * CHANNELS + number % CHANNELS + 1;
        let from = (epoch.clone(), BTreeMap::from([(name.clone(), seq)]));
        fleet.add_client(vec![name], 0, Some(from));
        if number % 500 == 499 {
            // As many as a listener's backlog takes without having them ask again seconds later.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    fleet.until_all_began().await;
    let took = begun.elapsed();
    let live = probe.stop();
    fleet.settle().await;
    let logs: Vec<Vec<Told>> = fleet
        .clients
        .iter()
        .map(|client| client.state.log())
        .collect();
    let count = fleet.judge().await;
    for (client, log) in fleet.clients.iter().zip(&logs) {
        assert_eq!(recovered(log), client.names);
    }
    assert_eq!(
        (count.announced, count.unrecovered, count.resets),
        (0, 0, 0)
    );
    let server = fleet.servers[0].as_ref().expect("it runs");
    let pages = server.metric("ws_history_fetches_total");
    let metrics = server.get("/metrics").body;
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("ws_nats_requests_total"));
    let requests: Vec<&str> = requests.collect();
    println!(
        "{resumes} resumes took {took:?}: {pages} pages; live meanwhile: {live}; {count:?}; {requests:#?}"
    );
    // Two shards, twenty channels, three pages of the last 2,000 messages, and what comes live meanwhile.
    assert!(pages <= 120.0, "{pages} pages");
}
