//! Thousands of handshakes that stall, with the server as it is without settings, while clients come that mean
//! well: each of these is served at its first attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::task::block_in_place;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::common::{self, masked};
use crate::crowd::{End, Spent, connect, crowd, end};
use crate::figures::Scene;
use crate::handshake::HELLO;
use crate::neighbour;
use crate::tls_client;

const STALLED: usize = 5_000;

/// They are gone within this time of their own connecting; `handshake_timeout` is 5 s.
const GONE: Duration = Duration::from_secs(10);

const CLIENTS: u32 = 100;

/// 1,024 of them wait at most, the others have been sent away.
const EACH_BYTES: u64 = 12 * 1024;

/// Connects, upgrades, subscribes, and takes some messages of the neighbour's channel.
async fn client(addr: std::net::SocketAddr, known: Option<CertificateDer<'static>>) -> Duration {
    let begun = Instant::now();
    let tcp = connect(addr, 0).await;
    match known {
        None => served(tcp, addr).await,
        Some(known) => {
            let tls = tls_client::shake(tcp, &known).await;
            served(tls.expect("a handshake"), addr).await;
        }
    }
    begun.elapsed()
}

async fn served(mut stream: impl AsyncRead + AsyncWrite + Unpin, addr: std::net::SocketAddr) {
    let upgrade = common::request(&common::upgrade_lines(addr));
    stream.write_all(upgrade.as_bytes()).await.expect("send");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let request = format!(
        r#"{{"type":"subscribe","data":{{"channels":["{}"]}}}}"#,
        neighbour::CHANNEL
    );
    let request = masked(0x81, request.as_bytes());
    stream.write_all(&request).await.expect("send");
    // The welcome, the ack and three messages.
    for kind in [
        "welcome",
        "subscription_ack",
        "message",
        "message",
        "message",
    ] {
        let mut start = [0; 2];
        stream.read_exact(&mut start).await.expect("a frame");
        let length = match start[1] {
            126 => usize::from(stream.read_u16().await.expect("a length")),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.expect("a payload");
        let text = String::from_utf8(payload).expect("text");
        assert!(
            text.starts_with(&format!("{{\"type\":\"{kind}\"")),
            "{text}"
        );
    }
    let close = masked(0x88, &1000_u16.to_be_bytes());
    stream.write_all(&close).await.expect("send");
    let mut rest = Vec::new();
    // With TLS the server ends without a farewell of TLS's own, if it does not wait.
    let _ = stream.read_to_end(&mut rest).await;
}

/// All stall after these bytes; they come within this time.
async fn stall(mut scene: Scene, begin: Vec<u8>, within: Duration) {
    let addr = scene.server.addr;
    let begin = Arc::new(begin);
    let known = scene.known.clone();
    let count = scene.count as f64;
    let stalled = tokio::spawn(crowd(scene.count, move |n| {
        let begin = Arc::clone(&begin);
        async move {
            tokio::time::sleep(within.mul_f64(n as f64 / count)).await;
            let begun = Instant::now();
            let mut stream = connect(addr, 0).await;
            // It may have been sent away already.
            let _ = stream.write_all(&begin).await;
            end(&mut stream, begun).await
        }
    }));
    // On a thread of their own, so that they do not wait for the crowd.
    let clients = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let pace = (within + Duration::from_secs(1)) / CLIENTS;
        let all = (0..CLIENTS).map(|n| {
            let known = known.clone();
            async move {
                tokio::time::sleep(pace * n).await;
                client(addr, known).await
            }
        });
        runtime.expect("a runtime").block_on(join_all(all))
    });
    while !clients.is_finished() {
        block_in_place(|| scene.weigh());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut times = clients.await.expect("each is served at once");
    times.sort_unstable();
    let ends: Vec<End> = stalled.await.expect("the crowd");
    let spent = Spent::of(&ends).within(Duration::ZERO, GONE);
    block_in_place(|| {
        let failed = |reason: &str| {
            let series = format!("ws_handshakes_failed_total{{reason=\"{reason}\"}}");
            scene.server.metric(&series)
        };
        let begun = Instant::now();
        // Each of them, and nobody else.
        while failed("timeout") + failed("in_flight") < STALLED as f64 {
            assert!(begun.elapsed() < GONE, "some were not counted");
            std::thread::sleep(Duration::from_millis(20));
        }
        let (late, away) = (failed("timeout"), failed("in_flight"));
        println!(
            "{late} timed out, {away} were sent away; {CLIENTS} clients had their third message after \
             {:?} at the median, {:?} at most",
            times[times.len() / 2],
            times[times.len() - 1]
        );
        let failed = scene.server.metric("ws_connections_failed_total");
        assert!(failed.total_cmp(&(STALLED as f64)).is_eq(), "{failed}");
        assert!(late <= 1024.0 + 512.0, "at most so many may wait: {late}");
        scene.finish(EACH_BYTES, Some(spent));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_handshakes() {
    let scene = Scene::new("5,000 stalled handshakes", STALLED, &[]);
    stall(
        scene,
        b"GET /ws HTTP/1.1\r\nHost:".to_vec(),
        Duration::from_secs(2),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_handshakes_of_tls() {
    let scene = Scene::secured("5,000 stalled handshakes of TLS", STALLED, &[]);
    // The handshake of TLS takes longer, and there must not come as many others meanwhile as may wait.
    stall(scene, HELLO.to_vec(), Duration::from_secs(3)).await;
}
