//! Connections that say nothing, and messages that do not end.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::common::masked;
use crate::crowd::{End, Spent, crowd, end, upgraded};
use crate::figures::Scene;
use crate::wire;

const COUNT: usize = 400;

/// The silence after which a client is closed in these tests.
const IDLE: Duration = Duration::from_secs(3);

/// How late that may be: the closing handshake, which nobody answers here, takes 5 s.
const LATE: Duration = Duration::from_secs(14);

const FLAGS: [&str; 2] = ["--idle-timeout=3s", "--ping-interval=1s"];

const IDLES: &str = "ws_disconnects_total{reason=\"idle\"}";

/// What an idle connection costs, in a build without optimizations.
const IDLE_BYTES: u64 = 8 * 1024;

/// The rest of a message of 16 KiB, and the parser.
const MESSAGE_BYTES: u64 = 48 * 1024;

/// All are upgraded, send this and nothing more, and are closed for their silence.
async fn silent_after(mut scene: Scene, sent: Vec<u8>, each_max: u64) {
    let addr = scene.server.addr;
    let sent = std::sync::Arc::new(sent);
    let mut streams = crowd(scene.count, move |_| {
        let sent = std::sync::Arc::clone(&sent);
        async move {
            let mut stream = upgraded(addr, 0).await;
            let begun = Instant::now();
            stream.write_all(&sent).await.expect("send");
            (stream, begun)
        }
    })
    .await;
    tokio::time::sleep(IDLE / 3).await;
    block_in_place(|| scene.weigh());
    let ends = ends(&mut streams).await;
    for end in &ends {
        assert!(
            wire::is_closed(&end.bytes, 4009, "idle"),
            "{:?}",
            wire::close(&end.bytes)
        );
    }
    let spent = Spent::of(&ends).within(IDLE, LATE);
    scene.counted(IDLES, scene.count);
    scene.finish(each_max, Some(spent));
}

async fn ends(streams: &mut [(TcpStream, Instant)]) -> Vec<End> {
    let each = streams
        .iter_mut()
        .map(|(stream, begun)| end(stream, *begun));
    futures_util::future::join_all(each).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_after_the_upgrade() {
    let scene = Scene::new("silent after the upgrade", COUNT, &FLAGS);
    silent_after(scene, Vec::new(), IDLE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_is_declared_and_not_kept() {
    let scene = Scene::new("16 KiB declared, not sent", COUNT, &FLAGS);
    // A text of 16 KiB, the largest that is allowed, of which one byte comes.
    let begin = vec![0x81, 0x80 | 126, 0x40, 0x00, 1, 2, 3, 4, b'{'];
    silent_after(scene, begin, MESSAGE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_which_the_last_byte_is_missing() {
    let scene = Scene::new("16 KiB sent but for a byte", COUNT, &FLAGS);
    let mut message = masked(0x81, &vec![b' '; 16 * 1024]);
    message.pop();
    silent_after(scene, message, MESSAGE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_lengths_are_refused_at_once() {
    let mut scene = Scene::new("huge declared lengths", COUNT, &[]);
    let addr = scene.server.addr;
    let ends = crowd(scene.count, move |n| async move {
        let mut stream = upgraded(addr, 0).await;
        let begun = Instant::now();
        // 16 KiB and a byte, 4 GiB, and the most that there can be.
        let length: u64 =
            [16 * 1024 + 1, 1 << 32, u64::MAX >> 1][usize::try_from(n % 3).expect("few")];
        let mut frame = vec![0x81, 0xFF];
        frame.extend(length.to_be_bytes());
        frame.extend([1, 2, 3, 4]);
        stream.write_all(&frame).await.expect("send");
        end(&mut stream, begun).await
    })
    .await;
    block_in_place(|| scene.weigh());
    for end in &ends {
        assert!(wire::is_closed(&end.bytes, 1009, "message_too_big"));
    }
    // The socket stays a second for the farewell to be read.
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    scene.counted(
        "ws_disconnects_total{reason=\"message_too_big\"}",
        scene.count,
    );
    scene.finish(IDLE_BYTES, Some(spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_tiny_fragments_is_no_sign_of_life() {
    let mut scene = Scene::new("fragments within the rate", COUNT, &FLAGS);
    let addr = scene.server.addr;
    let crowd = crowd(scene.count, move |n| async move {
        let stream = upgraded(addr, 0).await;
        let begun = Instant::now();
        let (mut read, mut write) = stream.into_split();
        let writer = tokio::spawn(async move {
            // Empty ones, or of one byte: 5 a second of one message, which never ends.
            let payload: &[u8] = if n % 2 == 0 { b"" } else { b" " };
            let mut first = 0x01;
            while write.write_all(&masked(first, payload)).await.is_ok() {
                first = 0x00;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let end = end(&mut read, begun).await;
        writer.abort();
        end
    });
    let crowd = tokio::spawn(crowd);
    tokio::time::sleep(IDLE / 2).await;
    block_in_place(|| scene.weigh());
    let ends = crowd.await.expect("the crowd");
    let spent = Spent::of(&ends).within(IDLE, LATE);
    scene.counted(IDLES, scene.count);
    scene.counted("ws_rate_limited_messages_total", 0);
    scene.finish(IDLE_BYTES, Some(spent));
}
