//! As much as the network carries, of what costs the sender nothing.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::block_in_place;

use crate::common::{self, masked};
use crate::crowd::{Spent, crowd, end, upgraded};
use crate::figures::Scene;
use crate::wire;

const COUNT: usize = 300;

/// What is sent within the rate, in one piece with what is over it: a second later there may be one more.
const BURST: u64 = 50;
const DROPS: u64 = 200;
const FLAGS: [&str; 3] = [
    "--message-rate=1",
    "--message-burst=50",
    "--message-drops-max=200",
];

/// How late a flood may be ended, the closing handshake of 5 s included.
const LATE: Duration = Duration::from_secs(14);

/// A read of 16 KiB is parsed for all of a shard in one buffer; what each has is small.
const FLOOD_BYTES: u64 = 24 * 1024;

/// All send copies of this frame, after `begin`, for as long as the server takes them.
async fn flood(what: &'static str, begin: &'static [u8], frame: Vec<u8>) {
    let mut scene = Scene::new(what, COUNT, &FLAGS);
    let addr = scene.server.addr;
    let flood = std::sync::Arc::new(frame.repeat(16 * 1024 / frame.len()));
    let floods = crowd(scene.count, move |_| {
        let flood = std::sync::Arc::clone(&flood);
        async move {
            let (mut read, mut write) = upgraded(addr, 0).await.into_split();
            let begun = Instant::now();
            let writer = tokio::spawn(async move {
                let mut sent = write.write_all(begin).await;
                while sent.is_ok() {
                    sent = write.write_all(&flood).await;
                }
            });
            let end = end(&mut read, begun).await;
            writer.abort();
            end
        }
    });
    let floods = tokio::spawn(floods);
    while !floods.is_finished() {
        block_in_place(|| scene.weigh());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ends = floods.await.expect("the crowd");
    // Where the client goes on to send, the end is a reset that may overtake the close frame.
    let told = ends
        .iter()
        .filter(|end| wire::is_closed(&end.bytes, 4029, "flooding"));
    assert!(told.count() > 0, "some see why");
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    scene.counted("ws_disconnects_total{reason=\"flooding\"}", scene.count);
    // In a row: one that came when there was a token again begins it anew.
    scene.counted_about("ws_rate_limited_messages_total", scene.count * DROPS);
    scene.finish(FLOOD_BYTES, Some(spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_without_end() {
    flood("ping flood", b"", masked(0x89, b"answer me")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pongs_without_end() {
    flood("pong flood", b"", masked(0x8A, b"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_fragments_without_end() {
    // A text that has begun, and empty fragments of it.
    let begin = &[0x01, 0x80, 1, 2, 3, 4];
    flood("empty fragments", begin, masked(0x00, b"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_without_end() {
    let heartbeat = masked(0x81, br#"{"type":"heartbeat"}"#);
    flood("message flood", b"", heartbeat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pings_have_few_pongs() {
    let mut scene = Scene::new("pings of one write", COUNT, &FLAGS);
    let addr = scene.server.addr;
    let pongs = crowd(scene.count, move |_| async move {
        let begun = Instant::now();
        let mut stream = upgraded(addr, 0).await;
        let mut pings: Vec<u8> = (0..BURST - 1)
            .flat_map(|n| masked(0x89, n.to_string().as_bytes()))
            .collect();
        pings.extend(wire::request(r#"{"type":"heartbeat"}"#));
        stream.write_all(&pings).await.expect("send");
        let mut pongs = Vec::new();
        loop {
            let (first, payload) = common::frame(&mut stream).await;
            if first == 0x81 {
                break;
            }
            assert_eq!(first, 0x8A);
            pongs.push(String::from_utf8(payload).expect("a number"));
        }
        let close = masked(0x88, &1000_u16.to_be_bytes());
        stream.write_all(&close).await.expect("send");
        (pongs, end(&mut stream, begun).await)
    })
    .await;
    block_in_place(|| scene.weigh());
    let last = (BURST - 2).to_string();
    let mut most = 0;
    for (pongs, end) in &pongs {
        // Those that were read together have ten pongs at most, and the last one is for the last ping.
        assert_eq!(pongs.last(), Some(&last));
        assert!(wire::is_closed(&end.bytes, 1000, "client"));
        most = most.max(pongs.len());
    }
    println!("{most} pongs at most for {} pings", BURST - 1);
    assert!(most < usize::try_from(BURST - 1).expect("few"), "{most}");
    let ends: Vec<_> = pongs.into_iter().map(|(_, end)| end).collect();
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    scene.counted("ws_disconnects_total{reason=\"client\"}", scene.count);
    scene.finish(FLOOD_BYTES, Some(spent));
}
