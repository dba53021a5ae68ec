//! A reset (RST) in the middle of everything.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::block_in_place;

use crate::common::{self, masked};
use crate::crowd::{connect, crowd, reset, upgraded};
use crate::figures::Scene;
use crate::handshake::HELLO;
use crate::wire;

const COUNT: usize = 300;

/// Nothing of them stays: what the allocator keeps is all there is.
const GONE_BYTES: u64 = 32 * 1024;

const TRANSPORT: &str = "ws_handshakes_failed_total{reason=\"transport\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_handshake() {
    let mut scene = Scene::new("RST in the handshake", COUNT, &["--handshake-timeout=1m"]);
    let addr = scene.server.addr;
    crowd(scene.count, move |n| async move {
        let mut stream = connect(addr, 0).await;
        let head = common::request(&common::upgrade_lines(addr));
        // Before the first byte, after it, in the middle and before the last one.
        let lengths = [0, 1, head.len() / 2, head.len() - 1];
        let length = lengths[usize::try_from(n % 4).expect("few")];
        stream
            .write_all(&head.as_bytes()[..length])
            .await
            .expect("send");
        reset(stream);
    })
    .await;
    block_in_place(|| {
        scene.weigh();
        // Who connects and leaves without a byte, as checks of a port do, has broken nothing.
        scene.counted(TRANSPORT, scene.count / 4 * 3);
        scene.finish(GONE_BYTES, None);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_handshake_of_tls() {
    let flags = ["--handshake-timeout=1m"];
    let mut scene = Scene::secured("RST in the handshake of TLS", COUNT, &flags);
    let addr = scene.server.addr;
    crowd(scene.count, move |n| async move {
        let mut stream = connect(addr, 0).await;
        let length = usize::try_from(n).expect("few") % HELLO.len();
        stream.write_all(&HELLO[..length]).await.expect("send");
        reset(stream);
    })
    .await;
    block_in_place(|| {
        scene.weigh();
        scene.counted(TRANSPORT, scene.count);
        scene.finish(GONE_BYTES, None);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_frame_and_between_two() {
    let flags = ["--idle-timeout=0", "--ping-interval=0"];
    let mut scene = Scene::new("RST in a frame", COUNT, &flags);
    let addr = scene.server.addr;
    crowd(scene.count, move |n| async move {
        let mut stream = upgraded(addr, 0).await;
        let frame = wire::request(r#"{"type":"heartbeat"}"#);
        let length = usize::try_from(n).expect("few") % frame.len();
        stream.write_all(&frame[..length]).await.expect("send");
        reset(stream);
    })
    .await;
    block_in_place(|| {
        scene.weigh();
        scene.counted("ws_disconnects_total{reason=\"transport\"}", scene.count);
        scene.finish(GONE_BYTES, None);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_being_written_to() {
    let flags = ["--write-stall=1m", "--log-bytes=2MiB"];
    let mut scene = Scene::new("RST while being written to", COUNT, &flags);
    scene.channels = 2.0;
    let addr = scene.server.addr;
    let body = format!("\"{}\"", "x".repeat(4 * 1024));
    let mut streams = crowd(scene.count, move |_| async move {
        let mut stream = upgraded(addr, 2048).await;
        common::subscribe(&mut stream, "flood").await;
        stream
    })
    .await;
    // Some have room yet, some have none: their half-written frames go as well.
    for _ in 0..COUNT / 5 {
        let answer = common::publish(addr, "flood", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        streams.drain(..5).for_each(reset);
    }
    block_in_place(|| {
        scene.weigh();
        scene.counted("ws_disconnects_total{reason=\"transport\"}", scene.count);
        scene.finish(GONE_BYTES, None);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_closing_handshake() {
    let mut scene = Scene::new("RST while closing", COUNT, &[]);
    let addr = scene.server.addr;
    crowd(scene.count, move |n| async move {
        let mut stream = upgraded(addr, 0).await;
        let sent = match n % 2 {
            // The client begins, and does not wait for the answer.
            0 => masked(0x88, &1000_u16.to_be_bytes()),
            // The server begins, and gets no answer.
            _ => masked(0x82, b"{}"),
        };
        stream.write_all(&sent).await.expect("send");
        if n % 2 == 1 {
            let (first, payload) = common::frame(&mut stream).await;
            assert_eq!((first, &payload[..2]), (0x88, &1003_u16.to_be_bytes()[..]));
        }
        reset(stream);
    })
    .await;
    block_in_place(|| {
        scene.weigh();
        // What the client said is read, unless the reset was there before the server looked.
        let begun = Instant::now();
        let count = |reason: &str| {
            let series = format!("ws_disconnects_total{{reason=\"{reason}\"}}");
            scene.server.metric(&series)
        };
        scene.counted(
            "ws_disconnects_total{reason=\"unsupported_data\"}",
            scene.count / 2,
        );
        while count("client") + count("transport") < (scene.count / 2) as f64 {
            assert!(begun.elapsed() < Duration::from_secs(30), "they stay");
            std::thread::sleep(Duration::from_millis(20));
        }
        scene.finish(GONE_BYTES, None);
    });
}
