//! Asking for the largest window again and again: by replay, and by a resume from the first message.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::common;
use crate::crowd::{crowd, upgraded};
use crate::figures::Scene;
use crate::wire;

const COUNT: usize = 100;

/// The window: so many messages of a kilobyte.
const MESSAGES: u64 = 500;

/// For how long they ask.
const SPAN: Duration = Duration::from_secs(3);

/// A replay, the ack that waits, and what a connection costs that is being written to.
const REPLAY_BYTES: u64 = 24 * 1024;

/// Reads up to an answer of this kind or a refusal: whether it is the former, and how many messages of the window
/// came before.
async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, kind: &str) -> (bool, u64) {
    let wanted = format!("{{\"type\":\"{kind}\"");
    let mut messages = 0;
    loop {
        let mut used = 0;
        for (_, payload) in wire::frames(buffer) {
            used += payload.len() + if payload.len() < 126 { 2 } else { 4 };
            let is_wanted = payload.starts_with(wanted.as_bytes());
            if is_wanted || payload.starts_with(br#"{"type":"error""#) {
                buffer.drain(..used);
                return (is_wanted, messages);
            }
            messages += u64::from(payload.starts_with(br#"{"type":"message","channel":"window""#));
        }
        buffer.drain(..used);
        buffer.reserve(64 * 1024);
        let count = stream.read_buf(buffer).await.expect("frames");
        assert!(count > 0, "the server ended the connection");
    }
}

async fn fill(scene: &mut Scene) {
    scene.channels = 2.0;
    let body = format!("\"{}\"", "x".repeat(1024));
    for _ in 0..MESSAGES {
        let answer = common::publish(scene.server.addr, "window", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Weighs until they are done.
async fn watch<T>(scene: &mut Scene, crowd: tokio::task::JoinHandle<T>) -> T {
    while !crowd.is_finished() {
        block_in_place(|| scene.weigh());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    crowd.await.expect("the crowd")
}

/// What each of the crowd came to.
#[derive(Debug)]
struct Asked {
    stream: TcpStream,
    /// Requests that were answered in full.
    answered: u64,
    /// Requests over the rate.
    refused: u64,
}

impl Asked {
    async fn new(addr: std::net::SocketAddr) -> Self {
        Self {
            stream: upgraded(addr, 0).await,
            answered: 0,
            refused: 0,
        }
    }

    /// Asks, and reads the answer to its end; over the rate, waits until there may be one more.
    async fn ask(&mut self, buffer: &mut Vec<u8>, request: &[u8], kind: &str) -> Option<u64> {
        self.stream.write_all(request).await.expect("send");
        let (is_answered, messages) = until(&mut self.stream, buffer, kind).await;
        if is_answered {
            self.answered += 1;
            return Some(messages);
        }
        self.refused += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        None
    }
}

/// What the crowd came to is what was counted.
fn finish(scene: Scene, asked: Vec<Asked>, series: &str, answered: u64) {
    let refused = asked.iter().map(|asked| asked.refused).sum::<u64>();
    println!("{answered} windows of {MESSAGES} messages; {refused} requests were over the rate");
    scene.counted(series, answered);
    scene.counted("ws_rate_limited_messages_total", refused);
    drop(asked);
    scene.finish(REPLAY_BYTES, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_without_end() {
    let mut scene = Scene::new("replays without end", COUNT, &[]);
    fill(&mut scene).await;
    let addr = scene.server.addr;
    let asked = tokio::spawn(crowd(scene.count, move |_| async move {
        let mut asked = Asked::new(addr).await;
        common::subscribe(&mut asked.stream, "window").await;
        let (begun, mut buffer) = (Instant::now(), Vec::new());
        let request = json!({"type": "replay", "data": {"channel": "window", "from": 1}});
        let request = wire::request(&request.to_string());
        while begun.elapsed() < SPAN {
            let messages = asked.ask(&mut buffer, &request, "replay_complete").await;
            assert_eq!(messages.unwrap_or(MESSAGES), MESSAGES);
        }
        asked
    }));
    let asked: Vec<Asked> = watch(&mut scene, asked).await;
    let answered = asked.iter().map(|asked| asked.answered).sum();
    block_in_place(|| finish(scene, asked, "ws_replay_requests_total", answered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_without_end() {
    let mut scene = Scene::new("resumes without end", COUNT, &[]);
    fill(&mut scene).await;
    let addr = scene.server.addr;
    let asked = tokio::spawn(crowd(scene.count, move |_| async move {
        let mut asked = Asked::new(addr).await;
        let ack = common::subscribe(&mut asked.stream, "window").await;
        let (begun, mut buffer) = (Instant::now(), Vec::new());
        let resume = json!({"epoch": ack["epoch"], "positions": {"window": 0}});
        let data = json!({"channels": ["window"], "resume": resume});
        let subscribe = json!({"type": "subscribe", "data": data}).to_string();
        let unsubscribe = json!({"type": "unsubscribe", "data": {"channels": ["window"]}});
        let leave = wire::request(&unsubscribe.to_string());
        let subscribe = wire::request(&subscribe);
        let mut windows = 0;
        while begun.elapsed() < SPAN {
            // What is on its way when it leaves has come before the ack.
            while asked
                .ask(&mut buffer, &leave, "unsubscription_ack")
                .await
                .is_none()
            {}
            while asked
                .ask(&mut buffer, &subscribe, "subscription_ack")
                .await
                .is_none()
            {}
            let sign = wire::request(r#"{"type":"heartbeat"}"#);
            let _ = asked.ask(&mut buffer, &sign, "pong").await;
            windows += 1;
        }
        asked.answered = windows;
        asked
    }));
    let asked: Vec<Asked> = watch(&mut scene, asked).await;
    let answered = asked.iter().map(|asked| asked.answered).sum();
    let series = "ws_resumes_total{outcome=\"recovered\"}";
    block_in_place(|| finish(scene, asked, series, answered));
}
