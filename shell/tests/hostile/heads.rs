//! Heads of requests that are too large or not what HTTP is made of, and bytes that come with an upgrade.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::block_in_place;

use crate::common::{self, masked};
use crate::crowd::{Spent, connect, crowd, end, upgraded};
use crate::figures::Scene;
use crate::wire;

const COUNT: usize = 300;

/// How late a socket may be closed that has had its answer: what it sends is read for a second more.
const LATE: Duration = Duration::from_secs(8);

/// hyper's buffer of 16 KiB, and what the allocator makes of it.
const HEAD_BYTES: u64 = 48 * 1024;

fn status(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs() {
    let mut scene = Scene::new("header bombs", COUNT, &["--handshake-timeout=10s"]);
    let addr = scene.server.addr;
    let bombs = crowd(scene.count, move |n| async move {
        let begun = Instant::now();
        let (mut read, mut write) = connect(addr, 0).await.into_split();
        let start = format!("GET /ws HTTP/1.1\r\nHost: {addr}\r\n");
        let bomb = match n % 3 {
            // One header without end, many headers, and a path without end.
            0 => format!("{start}X: {}\r\n\r\n", "x".repeat(1024 * 1024)),
            1 => format!("{start}{}\r\n", "X: 1\r\n".repeat(200_000)),
            _ => format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1024 * 1024)),
        };
        let writer = tokio::spawn(async move {
            // The server stops to listen long before.
            let _ = write.write_all(bomb.as_bytes()).await;
            write
        });
        let end = end(&mut read, begun).await;
        drop(writer.await);
        (n, end)
    });
    let bombs = tokio::spawn(bombs);
    while !bombs.is_finished() {
        block_in_place(|| scene.weigh());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ends = bombs.await.expect("the crowd");
    for (n, end) in &ends {
        // Where the client goes on to send, the end is a reset that may overtake the answer.
        let status = status(&end.bytes);
        let known = ["431", "414", ""].contains(&status.as_str());
        assert!(known, "{n}: {status}");
    }
    let answered = ends.iter().filter(|(_, end)| !end.bytes.is_empty());
    assert!(answered.count() > 0, "some see the answer");
    let ends: Vec<_> = ends.into_iter().map(|(_, end)| end).collect();
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    let name = "ws_handshakes_failed_total{reason=\"too_large\"}";
    scene.counted(name, scene.count);
    scene.finish(HEAD_BYTES, Some(spent));
}

/// Heads with bytes beyond ASCII, or that are no characters at all, and the status of the answer.
fn strange(addr: std::net::SocketAddr) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let upgrade = |line: &[u8]| {
        let lines = common::upgrade_lines(addr).join("\r\n");
        [lines.as_bytes(), b"\r\n", line, b"\r\n\r\n"].concat()
    };
    let path = |path: &[u8]| {
        let rest = format!(" HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        [b"GET ", path, rest.as_bytes()].concat()
    };
    vec![
        ("a value in UTF-8", upgrade("X: größer".as_bytes()), "101"),
        ("a value in Latin-1", upgrade(b"X: gr\xF6\xDFer"), "101"),
        (
            "an origin in UTF-8",
            upgrade("Origin: http://größe".as_bytes()),
            "403",
        ),
        (
            "a subprotocol in UTF-8",
            upgrade("Sec-WebSocket-Protocol: größe".as_bytes()),
            "400",
        ),
        (
            "a token that is no text",
            upgrade(b"Authorization: Bearer \xFF\xFE"),
            "101",
        ),
        ("a name in UTF-8", upgrade("größe: 1".as_bytes()), "400"),
        ("a NUL in a name", upgrade(b"X\0: 1"), "400"),
        ("a NUL in a value", upgrade(b"X: \0"), "400"),
        ("a DEL in a value", upgrade(b"X: \x7F"), "400"),
        ("a bare line feed in a value", upgrade(b"X: a\x0Bb"), "400"),
        (
            "a second host in UTF-8",
            upgrade("Host: größe".as_bytes()),
            "400",
        ),
        (
            "a path of bytes that are no text",
            path(b"/\xFF\xFE"),
            "400",
        ),
        (
            "a method of bytes that are no text",
            b"\xFF\xFE / HTTP/1.1\r\n\r\n".to_vec(),
            "400",
        ),
        (
            "a version beyond all",
            b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            "400",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_ascii() {
    let mut scene = Scene::new("non-ASCII headers", COUNT, &[]);
    let addr = scene.server.addr;
    let cases = strange(addr).len();
    let ends = crowd(scene.count, move |n| async move {
        let begun = Instant::now();
        let number = usize::try_from(n).expect("few") % cases;
        let (name, head, expected) = strange(addr).swap_remove(number);
        let mut stream = connect(addr, 0).await;
        stream.write_all(&head).await.expect("send");
        // Who is upgraded goes in good order.
        match expected {
            "101" => stream.write_all(&masked(0x88, b"")).await.expect("send"),
            _ => stream.shutdown().await.expect("end"),
        }
        let end = end(&mut stream, begun).await;
        (name, expected, end)
    })
    .await;
    block_in_place(|| scene.weigh());
    let mut counts = std::collections::BTreeMap::new();
    for (name, expected, end) in &ends {
        assert_eq!(status(&end.bytes), *expected, "{name}");
        *counts.entry(*expected).or_insert(0_u64) += 1;
    }
    let ends: Vec<_> = ends.into_iter().map(|(.., end)| end).collect();
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    scene.counted(
        "ws_handshakes_failed_total{reason=\"forbidden\"}",
        counts["403"],
    );
    scene.counted(
        "ws_handshakes_failed_total{reason=\"invalid\"}",
        counts["400"],
    );
    scene.finish(HEAD_BYTES, Some(spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_the_upgrade() {
    let flags = [
        "--message-rate=1",
        "--message-burst=50",
        "--message-drops-max=100",
    ];
    let mut scene = Scene::new("bytes behind the upgrade", COUNT, &flags);
    let addr = scene.server.addr;
    let ends = crowd(scene.count, move |_| async move {
        let begun = Instant::now();
        let mut stream = connect(addr, 0).await;
        let mut all = common::request(&common::upgrade_lines(addr)).into_bytes();
        // More than any buffer of a handshake holds, without waiting for an answer.
        all.extend(masked(0x81, br#"{"type":"heartbeat"}"#).repeat(5_000));
        // The server may have ended before all is sent.
        let _ = stream.write_all(&all).await;
        end(&mut stream, begun).await
    })
    .await;
    block_in_place(|| scene.weigh());
    let mut told = 0;
    for end in &ends {
        assert_eq!(status(&end.bytes), "101");
        let at = end.bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let frames = &end.bytes[at.expect("a head") + 4..];
        told += u64::from(wire::is_closed(frames, 4029, "flooding"));
    }
    assert!(told > 0, "some see why");
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    scene.counted("ws_disconnects_total{reason=\"flooding\"}", scene.count);
    scene.counted_about("ws_rate_limited_messages_total", scene.count * 100);
    scene.finish(HEAD_BYTES, Some(spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_its_side_is_gone() {
    let mut scene = Scene::new("half-closed TCP", COUNT, &[]);
    let addr = scene.server.addr;
    let ends = crowd(scene.count, move |n| async move {
        let begun = Instant::now();
        let mut stream = match n % 2 {
            0 => upgraded(addr, 0).await,
            _ => {
                let mut stream = connect(addr, 0).await;
                stream
                    .write_all(b"GET /ws HTTP/1.1\r\nHo")
                    .await
                    .expect("send");
                stream
            }
        };
        stream.shutdown().await.expect("end");
        end(&mut stream, begun).await
    })
    .await;
    block_in_place(|| scene.weigh());
    let spent = Spent::of(&ends).within(Duration::ZERO, LATE);
    scene.counted("ws_disconnects_total{reason=\"client\"}", scene.count / 2);
    scene.counted(
        "ws_handshakes_failed_total{reason=\"transport\"}",
        scene.count / 2,
    );
    scene.finish(HEAD_BYTES, Some(spent));
}
