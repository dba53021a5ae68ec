//! Messages that come faster than they are taken. Core NATS: the client library drops what its queue has no
//! room for, or nats-server ends the connection; either is announced, and what was dropped is counted.
//! JetStream: nothing is sent that was not asked for, and what a broken connection swallowed is repaired.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer};
use futures_util::TryStreamExt;
use odin_core::event::Event;
use odin_core::reason::LostReason;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{self, Server};
use crate::stream::{client, create_stream, jetstream, publish};
use crate::support::collect::{Running, check_chains, message_count};
use crate::support::nats::{NatsServer, Version, free_port};
use crate::support::wire::Wire;
use crate::with_both_servers;
use crate::world::{config, context, line};

with_both_servers!(
    core_nats_dropped_by_the_library,
    jetstream_sends_no_more_than_was_asked_for,
    core_nats_cut_off_as_a_slow_consumer,
    jetstream_cut_off_as_a_slow_consumer,
);

/// What the source's subscription holds; see `subscription_capacity` in the source.
const CAPACITY: u64 = 262_144;
/// What comes beyond that.
const BEYOND: u64 = 1_000;
/// Two requests of a consumer of ours, the second of which goes out when the first is half done.
const REQUESTED_MAX: u64 = 7_500;

const SUBJECT: &str = "odin.token.A";

async fn core_nats_dropped_by_the_library(version: Version) {
    let nats = NatsServer::start_version(version);
    let wire = Wire::start(nats.port()).await;
    let running = Running::nats(&wire.url()).await;
    running.ready().await;
    let publisher = client(&nats).await;
    let send = async |count: u64| {
        for _ in 0..count {
            let sent = publisher.publish(SUBJECT, "1".into()).await;
            sent.expect("it goes out");
        }
    };
    send(1).await;
    running
        .events
        .wait(|events| message_count(events) == 1)
        .await;
    // The source is stopped with the second message in its hands.
    running.events.set_stopped(true);
    send(1 + CAPACITY + BEYOND).await;
    wire.until_messages(2 + CAPACITY + BEYOND).await;
    wire.until_taken().await;
    running.events.set_stopped(false);
    let lost = |count| {
        let mut lost = [0; LostReason::COUNT];
        lost[LostReason::Overload as usize] = count;
        lost
    };
    running
        .status_is(|status| status.stats.lost == lost(BEYOND))
        .await;
    assert_eq!(running.status().stats.received, 2 + CAPACITY);
    send(1).await;
    let received = 3 + CAPACITY;
    running
        .status_is(|status| status.stats.received == received)
        .await;
    let events = running.events.events();
    let lines: Vec<String> = events.iter().filter_map(line).collect();
    // The first notice comes when it shows that some are gone, the second when it shows how many. Each
    // has a number of its own.
    let (last, next) = (CAPACITY + 3, CAPACITY + 5);
    let mut expected = vec!["ready".to_owned(), "A 1<0".into(), "A 2<1".into()];
    expected.push("lost 3..null overload".into());
    expected.push("A 4<2".into());
    expected.extend((5..=last).map(|seq| format!("A {seq}<{}", seq - 1)));
    expected.push(format!("lost {}..null overload", last + 1));
    expected.push(format!("A {next}<{last}"));
    let differs = (0..)
        .zip(&lines)
        .find(|(at, line)| expected.get(*at) != Some(*line));
    assert_eq!((lines.len(), differs), (expected.len(), None));
    let notice = events.iter().find_map(|event| match event {
        Event::Lost(lost) => Some(String::from_utf8_lossy(&lost.frame).into_owned()),
        _ => None,
    });
    let told = r#"{"type":"lost","from":3,"to":null,"reason":"overload"}"#;
    assert!(notice.is_some_and(|notice| notice.ends_with(told)));
    assert_eq!(running.status().stats.lost, lost(BEYOND));
}

async fn jetstream_sends_no_more_than_was_asked_for(version: Version) {
    const STORED: u64 = 20_000;
    let nats = NatsServer::start_version(version);
    let context = context(&nats).await;
    context.create_stream(config()).await.expect("a stream");
    let wire = Wire::start(nats.port()).await;
    let running = Running::jetstream(&wire.url(), 1).await;
    running.ready().await;
    running.events.set_stopped(true);
    let publisher = context.client();
    for _ in 1..STORED {
        let sent = publisher.publish(SUBJECT, "1".into()).await;
        sent.expect("it goes out");
    }
    let last = publish(&context, "A", "1").await;
    assert_eq!(last, STORED);
    // The consumer has sent what it was asked for, and holds no request any more.
    let sent = until_idle(&context).await;
    wire.until_taken().await;
    assert!(
        (2..=REQUESTED_MAX).contains(&sent),
        "{sent} messages were sent"
    );
    assert_eq!(message_count(&running.events.events()), 0);
    running.events.set_stopped(false);
    running
        .status_is(|status| status.stats.received == STORED)
        .await;
    let events = running.events.events();
    let (last, notices) = check_chains(&events);
    assert_eq!((last["A"], notices), (STORED, 0));
    let status = running.status();
    assert_eq!(status.stats.lost, [0; LostReason::COUNT]);
}

/// Waits until the stream's one consumer waits to be asked; how many messages it has sent.
async fn until_idle(context: &jetstream::Context) -> u64 {
    let begun = Instant::now();
    loop {
        let stream = context.get_stream("TEST").await.expect("the stream");
        let consumers: Vec<consumer::Info> = stream
            .consumers()
            .try_collect()
            .await
            .expect("its consumers");
        let [of_the_source] = &consumers[..] else {
            panic!("{consumers:?}")
        };
        if of_the_source.num_waiting == 0 {
            return of_the_source.delivered.consumer_sequence;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{of_the_source:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A nats-server that soon gives up who does not read, and its port for questions.
fn impatient(version: Version) -> (NatsServer, u16) {
    let monitor = free_port();
    let config = format!("http: \"127.0.0.1:{monitor}\"\nwrite_deadline: \"500ms\"");
    (NatsServer::configured_version(version, &config), monitor)
}

/// Waits until nats-server has taken so many messages, and cut somebody off because of slowness.
async fn until_slow_consumer(monitor: u16, taken: u64) {
    assert!(
        is_slow(monitor, taken, Duration::from_secs(30)).await,
        "nobody is slow"
    );
}

/// The same; `false`: not within this time.
async fn is_slow(monitor: u16, taken: u64, patience: Duration) -> bool {
    // An answer in one piece.
    let head = "GET /varz HTTP/1.0\r\n\r\n";
    let begun = Instant::now();
    loop {
        let varz = server::request(([127, 0, 0, 1], monitor).into(), head).json();
        if varz["slow_consumers"].as_u64() > Some(0) && varz["in_msgs"].as_u64() >= Some(taken) {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn start(source: &str, nats: &NatsServer) -> Server {
    let server = Server::start(&["--source", source, "--nats-url", &nats.url()]);
    server.until_health(200, Duration::from_secs(20));
    server
}

/// More than nats-server and the kernel hold of one connection, in messages of 64 KiB, each with its number.
const FLOOD: u64 = 400;

fn numbered(number: u64) -> String {
    json!({"n": number, "x": "x".repeat(64 * 1024)}).to_string()
}

async fn core_nats_cut_off_as_a_slow_consumer(version: Version) {
    let (nats, monitor) = impatient(version);
    let publisher = client(&nats).await;
    let server = start("nats", &nats);
    let mut client = Client::connect(server.addr).await;
    client.subscribe(&["A"]).await;
    server.signal(Signal::STOP);
    for number in 1..=FLOOD {
        let sent = publisher.publish(SUBJECT, numbered(number).into()).await;
        sent.expect("it goes out");
    }
    until_slow_consumer(monitor, FLOOD).await;
    server.signal(Signal::CONT);
    // What was on its way comes without a hole, and the notice before whatever came by the new connection. The
    // library's queue does not say where that begins, so some of the old one may come behind the notice.
    let (mut seq, mut prev, mut number) = (0, 0, 0);
    let mut notices = Vec::new();
    loop {
        let next = client.next().await.json();
        seq += 1;
        if next["type"] != "message" {
            assert_eq!(next["from"], seq);
            notices.push(next);
            // By the same connection: whoever else publishes may be earlier than the subscription, which is
            // made anew.
            assert_eq!(server.publish("A", &numbered(FLOOD + 1)).status, 202);
            continue;
        }
        let is_new = next["data"]["n"] == FLOOD + 1;
        let expected = if is_new { FLOOD + 1 } else { number + 1 };
        assert_eq!(place(&next), json!([seq, prev, expected]));
        if is_new {
            break;
        }
        (prev, number) = (seq, expected);
    }
    assert!(number < FLOOD, "all {number} came");
    let [notice] = &notices[..] else {
        panic!("{notices:?}")
    };
    let lost = json!({"type": "lost", "from": notice["from"], "to": null, "reason": "reconnected"});
    assert_eq!(*notice, lost);
    let metric = r#"ws_nats_messages_lost_total{reason="reconnected"}"#;
    assert_eq!(server.metric(metric), 1.0);
}

async fn jetstream_cut_off_as_a_slow_consumer(version: Version) {
    let (nats, monitor) = impatient(version);
    let context = jetstream(&nats).await;
    create_stream(&context).await;
    let server = start("jetstream", &nats);
    let mut client = Client::connect(server.addr).await;
    client.subscribe(&["A"]).await;
    let (mut last, mut slow) = (0, false);
    // A request of the consumer that was about to end gets too little to fill what holds it.
    for _ in 0..10 {
        server.signal(Signal::STOP);
        for number in last + 1..=last + FLOOD {
            assert_eq!(publish(&context, "A", &numbered(number)).await, number);
        }
        slow = is_slow(monitor, FLOOD, Duration::from_secs(2)).await;
        server.signal(Signal::CONT);
        for number in last + 1..=last + FLOOD {
            let next = client.next_message().await;
            assert_eq!(place(&next), json!([number, number - 1, number]));
        }
        last += FLOOD;
        if slow {
            break;
        }
    }
    assert!(slow, "nobody is slow");
    assert_eq!(publish(&context, "A", &numbered(last + 1)).await, last + 1);
    let next = client.next_message().await;
    assert_eq!(place(&next), json!([last + 1, last, last + 1]));
    assert_eq!(server.metric("ws_resets_total"), 0.0);
    assert_eq!(
        server.metric(r#"ws_nats_messages_lost_total{reason="discarded"}"#),
        0.0
    );
}

/// Seq, prev and number of a message.
fn place(message: &Value) -> Value {
    json!([message["seq"], message["prev"], message["data"]["n"]])
}
