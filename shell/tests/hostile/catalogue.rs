//! Names and patterns: as many as a connection may have, as many as the server may keep, and ever new ones.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::common;
use crate::crowd::{Spent, crowd, end, upgraded};
use crate::figures::Scene;
use crate::wire;

const COUNT: usize = 300;

/// How late a connection that ends by itself may be gone.
const LATE: Duration = Duration::from_secs(10);

/// Names with a message, of which ever new patterns might match any.
const PUBLISHED: usize = 20_000;

/// 256 subscriptions, with the names that only they hold.
const SUBSCRIBER_BYTES: u64 = 256 * 768;

async fn ask(stream: &mut TcpStream, kind: &str, names: &[String]) -> Value {
    let request = json!({"type": kind, "data": {"channels": names}});
    let request = wire::request(&request.to_string());
    stream.write_all(&request).await.expect("send");
    common::message(stream).await
}

/// Leaves in good order.
async fn leave(stream: &mut TcpStream, since: Instant) -> crate::crowd::End {
    let close = common::masked(0x88, &1000_u16.to_be_bytes());
    stream.write_all(&close).await.expect("send");
    end(stream, since).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_names_and_patterns() {
    // Each shard keeps 20,000 names that have no message, and 1,000 patterns: the crowd wants 72,000 names and
    // 4,800 patterns of both together.
    let flags = ["--channels-max=20000", "--patterns-per-server=1000"];
    let mut scene = Scene::new("thousands of names and patterns", COUNT, &flags);
    let addr = scene.server.addr;
    let subscribed = crowd(scene.count, move |n| async move {
        let mut stream = upgraded(addr, 0).await;
        let mut refused = 0;
        let mut have = 0;
        for part in 0..16 {
            // 15 requests for names, and one for patterns.
            let name = |at: u64| match part {
                15 => format!("*.pattern.{n}.{at}"),
                _ => format!("name.{n}.{part}.{at}"),
            };
            let names: Vec<String> = (0..16).map(name).collect();
            let answer = ask(&mut stream, "subscribe", &names).await;
            match answer["type"].as_str() {
                Some("subscription_ack") => have += 16,
                _ => {
                    assert_eq!(answer["code"], "SERVER_LIMIT", "{answer}");
                    refused += 1;
                }
            }
        }
        (stream, have, refused)
    })
    .await;
    block_in_place(|| {
        scene.weigh();
        let have: u64 = subscribed.iter().map(|(_, have, _)| have).sum();
        let refused: u64 = subscribed.iter().map(|(.., refused)| refused).sum();
        println!("{have} subscriptions, {refused} requests refused");
        assert!(refused > 0);
        scene.counted("ws_subscriptions", have + 1);
        scene.counted("ws_errors_total{code=\"SERVER_LIMIT\"}", refused);
        // Full to the last request of 16.
        let unpublished = scene.server.metric("ws_channels_unpublished");
        assert!(
            (39_968.0..=40_000.0).contains(&unpublished),
            "{unpublished}"
        );
        let patterns = scene.server.metric("ws_patterns");
        assert!((1_968.0..=2_000.0).contains(&patterns), "{patterns}");
    });
    // Names that are published are no matter of this limit.
    let mut late = upgraded(addr, 0).await;
    let ack = ask(&mut late, "subscribe", &["neighbour".to_owned()]).await;
    assert_eq!(ack["count"], 1, "{ack}");
    drop(late);
    let begun = Instant::now();
    let mut streams: Vec<_> = subscribed.into_iter().map(|(stream, ..)| stream).collect();
    let ends = streams.iter_mut().map(|stream| leave(stream, begun));
    let ends = futures_util::future::join_all(ends).await;
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    // Patterns that nobody has any more make room for others.
    let mut others = Vec::new();
    for n in 0..100 {
        let mut other = upgraded(addr, 0).await;
        let names: Vec<String> = (0..16).map(|at| format!("*.other.{n}.{at}")).collect();
        let ack = ask(&mut other, "subscribe", &names).await;
        assert_eq!(ack["count"], 16, "{ack}");
        others.push(other);
    }
    drop(others);
    block_in_place(|| scene.finish(SUBSCRIBER_BYTES, Some(spent)));
}

/// How many times each asks for 256 names that nobody had before.
const ROUNDS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ever_new_names() {
    let flags = ["--message-rate=0"];
    let count = 50;
    let mut scene = Scene::new("ever new names", count, &flags);
    let addr = scene.server.addr;
    let ends = crowd(scene.count, move |n| async move {
        let begun = Instant::now();
        let mut stream = upgraded(addr, 0).await;
        for round in 0..ROUNDS {
            let names: Vec<String> = (0..256).map(|at| format!("{n}.{round}.{at}")).collect();
            let ack = ask(&mut stream, "subscribe", &names).await;
            assert_eq!(ack["count"], 256, "{ack}");
            if round + 1 < ROUNDS {
                let ack = ask(&mut stream, "unsubscribe", &names).await;
                assert_eq!(ack["count"], 0, "{ack}");
            }
        }
        (stream, begun)
    })
    .await;
    block_in_place(|| {
        scene.weigh();
        // Of 256,000 names those are kept that are subscribed now.
        scene.counted("ws_channels_unpublished", scene.count * 256);
    });
    let mut streams = ends;
    let ends = streams
        .iter_mut()
        .map(|(stream, begun)| leave(stream, *begun));
    let ends = futures_util::future::join_all(ends).await;
    drop(ends);
    block_in_place(|| scene.finish(SUBSCRIBER_BYTES, None));
}

/// Gives each of many names a message, over one connection.
async fn publish_all(addr: SocketAddr, names: Range<usize>) {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    for at in names {
        let request = format!(
            "POST /publish/n{at}.x HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
             Content-Length: 1\r\n\r\n1"
        );
        stream.write_all(request.as_bytes()).await.expect("send");
        let answer = common::answer(&mut stream, true).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ever_new_patterns_beside_many_names() {
    const TOGETHER: u64 = 64;
    let flags = [
        "--message-rate=0",
        "--patterns-per-connection=64",
        "--patterns-per-server=2500",
    ];
    let mut scene = Scene::new("ever new patterns beside 20,000 names", 40, &flags);
    let addr = scene.server.addr;
    scene.channels = 1.0 + PUBLISHED as f64;
    let parts =
        (0..4).map(|part| publish_all(addr, PUBLISHED / 4 * part..PUBLISHED / 4 * (part + 1)));
    futures_util::future::join_all(parts).await;
    block_in_place(|| scene.prepared());
    let streams = crowd(scene.count, move |n| async move {
        let mut stream = upgraded(addr, 0).await;
        for round in 0..ROUNDS {
            let pattern = |at: u64| format!("*.{n}.{round}.{at}");
            let patterns: Vec<String> = (0..TOGETHER).map(pattern).collect();
            let ack = ask(&mut stream, "subscribe", &patterns).await;
            assert_eq!(ack["count"], TOGETHER, "{ack}");
            let ack = ask(&mut stream, "unsubscribe", &patterns).await;
            assert_eq!(ack["count"], 0, "{ack}");
        }
        stream
    })
    .await;
    block_in_place(|| scene.weigh());
    drop(streams);
    block_in_place(|| scene.finish(SUBSCRIBER_BYTES, None));
}
