//! Clients that do not take what is sent to them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::common::{self, masked};
use crate::crowd::{Spent, crowd, upgraded};
use crate::figures::Scene;
use crate::wire;

const COUNT: usize = 300;

/// A receive buffer that is soon full; the kernel has a minimum of its own.
const TINY: u32 = 2048;

/// The half-written frame, the answers that wait, and what an idle connection costs.
const STUCK_BYTES: u64 = 24 * 1024;

/// How long the closing handshake may take that nobody answers, and how late the machine may be.
const LATE: Duration = Duration::from_secs(16);

/// How long the kernel may know a socket that the server has dropped.
const KERNEL_LATE: Duration = Duration::from_secs(30);

/// Upgrades and subscribes a channel.
async fn subscriber(addr: SocketAddr, channel: &str) -> TcpStream {
    let mut stream = upgraded(addr, TINY).await;
    common::subscribe(&mut stream, channel).await;
    stream
}

/// Waits until nobody but the neighbour is connected.
fn until_alone(scene: &Scene, since: Instant) -> Spent {
    let active = |count: f64| scene.server.metric("ws_connections_active") <= count;
    let wait = |count: f64| {
        while !active(count) {
            assert!(since.elapsed() < Duration::from_secs(60), "they stay");
            std::thread::sleep(Duration::from_millis(20));
        }
        since.elapsed()
    };
    let first = wait(scene.count as f64);
    Spent {
        first,
        last: wait(1.0),
    }
}

/// Sockets of the server's port that the kernel still has something to send for: `FIN_WAIT1`, `LAST_ACK`
/// and `CLOSING` (the fourth column of proc_net_tcp.txt).
fn leftovers(addr: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's sockets");
    let port = format!(":{:04X}", addr.port());
    let lines = table.lines().skip(1).map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        (columns.next(), columns.nth(1))
    });
    let left = lines.filter(|(local, state)| {
        local.is_some_and(|local| local.ends_with(&port))
            && state.is_some_and(|state| ["04", "09", "0B"].contains(&state))
    });
    left.count()
}

/// Waits until the kernel has nothing left of the server's sockets.
#[track_caller]
fn until_forgotten(addr: SocketAddr) -> Duration {
    let begun = Instant::now();
    loop {
        let left = leftovers(addr);
        if left == 0 {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < KERNEL_LATE, "{left} sockets are left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Publishes so many messages of 4 KiB.
async fn publish(scene: &mut Scene, channel: &str, count: usize) {
    scene.channels = 2.0;
    let body = format!("\"{}\"", "x".repeat(4 * 1024));
    for _ in 0..count {
        let answer = common::publish(scene.server.addr, channel, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads() {
    let flags = ["--write-stall=2s", "--log-bytes=2MiB"];
    let mut scene = Scene::new("never reads", COUNT, &flags);
    let addr = scene.server.addr;
    let streams = crowd(scene.count, move |_| subscriber(addr, "flood")).await;
    let begun = Instant::now();
    publish(&mut scene, "flood", 60).await;
    block_in_place(|| {
        scene.weigh();
        let spent = until_alone(&scene, begun).within(Duration::from_secs(2), LATE);
        scene.counted("ws_slow_clients_disconnected_total", scene.count);
        let slow = "ws_disconnects_total{reason=\"slow_consumer\"}";
        scene.counted(slow, scene.count);
        println!("the kernel knew them for {:?} more", until_forgotten(addr));
        drop(streams);
        scene.finish(STUCK_BYTES, Some(spent));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_without_reading() {
    let flags = ["--write-stall=1m", "--log-bytes=2MiB"];
    let mut scene = Scene::new("closes without reading", COUNT, &flags);
    let addr = scene.server.addr;
    // Half of them have a full socket when they close, so that the answer to it cannot be written; of the others
    // the kernel has what they do not take.
    let mut streams = crowd(scene.count, move |n| {
        subscriber(addr, if n % 2 == 0 { "flood" } else { "drops" })
    })
    .await;
    publish(&mut scene, "flood", 60).await;
    publish(&mut scene, "drops", 3).await;
    scene.channels = 3.0;
    let begun = Instant::now();
    let close = masked(0x88, &1000_u16.to_be_bytes());
    for stream in &mut streams {
        stream.write_all(&close).await.expect("send");
    }
    block_in_place(|| {
        scene.weigh();
        let spent = until_alone(&scene, begun).within(Duration::ZERO, LATE);
        scene.counted("ws_disconnects_total{reason=\"client\"}", scene.count);
        println!("the kernel knew them for {:?} more", until_forgotten(addr));
        drop(streams);
        scene.finish(STUCK_BYTES, Some(spent));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_gone_without_a_word() {
    let flags = ["--idle-timeout=3s", "--ping-interval=1s"];
    let mut scene = Scene::new("half-open TCP", COUNT, &flags);
    let addr = scene.server.addr;
    let streams = crowd(scene.count, move |_| async move {
        let mut stream = upgraded(addr, TINY).await;
        // A sign of life at a known time, which is acknowledged before the line is cut.
        let heartbeat = wire::request(r#"{"type":"heartbeat"}"#);
        let begun = Instant::now();
        stream.write_all(&heartbeat).await.expect("send");
        assert_eq!(common::message(&mut stream).await["type"], "pong");
        // From now on the kernel drops every segment for this socket (socket(7), SO_ATTACH_FILTER): nothing
        // is acknowledged and nothing answered, as if the client's machine had lost its power.
        let nothing = SockFilter::new(0x06, 0, 0, 0);
        let cut = SockRef::from(&stream).attach_filter(&[nothing]);
        cut.expect("a filter");
        (stream, begun)
    })
    .await;
    let first = streams.iter().map(|(_, begun)| *begun).min();
    let first = first.expect("a client");
    block_in_place(|| {
        scene.weigh();
        let spent = until_alone(&scene, first).within(Duration::from_secs(3), LATE);
        scene.counted("ws_disconnects_total{reason=\"idle\"}", scene.count);
        println!("the kernel knew them for {:?} more", until_forgotten(addr));
        drop(streams);
        scene.finish(STUCK_BYTES, Some(spent));
    });
}
