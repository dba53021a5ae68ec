//! Before HTTP is done: who sends its request slowly, never, or only half of the handshake of TLS.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::common;
use crate::crowd::{Spent, connect, crowd, end};
use crate::figures::Scene;

const COUNT: usize = 400;

/// The time for a handshake in these tests.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How late a socket may be closed on a busy machine.
const LATE: Duration = Duration::from_secs(8);

const TIMEOUTS: &str = "ws_handshakes_failed_total{reason=\"timeout\"}";

/// hyper's buffer, the task, and what the allocator makes of it.
const HTTP_BYTES: u64 = 32 * 1024;

/// rustls' state and buffers on top of it.
const TLS_BYTES: u64 = 48 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers() {
    let flags = ["--handshake-timeout=2s"];
    let mut scene = Scene::new("slow headers", COUNT, &flags);
    let addr = scene.server.addr;
    // A byte every 50 ms would take many seconds; each byte is a sign of life, and does not help.
    let slow = crowd(scene.count, move |_| async move {
        let begun = Instant::now();
        let (mut read, mut write) = connect(addr, 0).await.into_split();
        let head = common::request(&common::upgrade_lines(addr));
        let writer = tokio::spawn(async move {
            for byte in head.bytes() {
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let end = end(&mut read, begun).await;
        writer.abort();
        end
    });
    let slow = tokio::spawn(slow);
    tokio::time::sleep(TIMEOUT / 2).await;
    tokio::task::block_in_place(|| scene.weigh());
    let ends = slow.await.expect("the crowd");
    assert!(ends.iter().all(|end| end.bytes.is_empty()), "no answer");
    let spent = Spent::of(&ends).within(TIMEOUT, LATE);
    scene.counted(TIMEOUTS, scene.count);
    scene.finish(HTTP_BYTES, Some(spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_at_all() {
    let flags = ["--handshake-timeout=2s"];
    let mut scene = Scene::new("silent from the start", COUNT, &flags);
    let addr = scene.server.addr;
    let silent = crowd(scene.count, move |_| async move {
        let begun = Instant::now();
        end(&mut connect(addr, 0).await, begun).await
    });
    let silent = tokio::spawn(silent);
    tokio::time::sleep(TIMEOUT / 2).await;
    tokio::task::block_in_place(|| scene.weigh());
    let ends = silent.await.expect("the crowd");
    assert!(ends.iter().all(|end| end.bytes.is_empty()), "no answer");
    let spent = Spent::of(&ends).within(TIMEOUT, LATE);
    scene.counted(TIMEOUTS, scene.count);
    scene.finish(HTTP_BYTES, Some(spent));
}

/// The record and the beginning of a ClientHello of 512 bytes (RFC 8446 4.1.2, 5.1).
pub(crate) const HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_tls() {
    let flags = ["--handshake-timeout=2s"];
    let mut scene = Scene::secured("slow TLS", COUNT, &flags);
    let addr = scene.server.addr;
    let slow = crowd(scene.count, move |_| async move {
        let begun = Instant::now();
        let (mut read, mut write) = connect(addr, 0).await.into_split();
        let writer = tokio::spawn(async move {
            for byte in HELLO.into_iter().chain(std::iter::repeat(0)) {
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let end = end(&mut read, begun).await;
        writer.abort();
        end
    });
    let slow = tokio::spawn(slow);
    tokio::time::sleep(TIMEOUT / 2).await;
    tokio::task::block_in_place(|| scene.weigh());
    let ends = slow.await.expect("the crowd");
    let spent = Spent::of(&ends).within(TIMEOUT, LATE);
    scene.counted(TIMEOUTS, scene.count);
    scene.finish(TLS_BYTES, Some(spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies() {
    let flags = ["--request-timeout=2s"];
    let mut scene = Scene::new("slow bodies", COUNT, &flags);
    let addr = scene.server.addr;
    let slow = crowd(scene.count, move |_| async move {
        let begun = Instant::now();
        let mut stream = connect(addr, 0).await;
        let head = format!(
            "POST /publish/neighbour HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000\r\n\r\n{}",
            "x".repeat(1000)
        );
        stream.write_all(head.as_bytes()).await.expect("send");
        end(&mut stream, begun).await
    });
    let slow = tokio::spawn(slow);
    tokio::time::sleep(TIMEOUT / 2).await;
    tokio::task::block_in_place(|| scene.weigh());
    let ends = slow.await.expect("the crowd");
    assert!(ends.iter().all(|end| end.bytes.is_empty()), "no answer");
    let spent = Spent::of(&ends).within(TIMEOUT, LATE);
    scene.counted(TIMEOUTS, scene.count);
    scene.finish(HTTP_BYTES, Some(spent));
}
