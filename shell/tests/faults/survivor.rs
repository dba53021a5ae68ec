//! A client that always comes back: it resumes where it was, on whichever replica takes it, and keeps a log of
//! everything that it was ever told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use odin_core::name;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::log::Told;

/// How long a replica may take to accept, upgrade and greet; one that is stopped is left for another, where there is one.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
const CONNECT_TIME_MAX_OF_ONE: Duration = Duration::from_secs(20);
/// How long nothing may come; where there are several replicas, something is published to everybody all the time.
const SILENCE_MAX: Duration = Duration::from_secs(8);
const SILENCE_MAX_OF_ONE: Duration = Duration::from_secs(60);

/// What a client is told by the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Go,
    /// Stay away.
    Away,
    /// It is over.
    End,
}

/// What a client and the test share.
#[derive(Default)]
pub(crate) struct State {
    log: Mutex<Vec<Told>>,
    /// Raised to make it drop its connection without a word.
    pub(crate) cut: Notify,
    /// How long each message took from its writer, where it says when it was written.
    delays: Mutex<Vec<Duration>>,
    /// Messages that were the last of their channel.
    pub(crate) ends: AtomicU64,
    /// How long it took to be acked again after each connection but the first ended.
    pub(crate) back: Mutex<Vec<Duration>>,
}

impl State {
    pub(crate) fn log(&self) -> Vec<Told> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    pub(crate) fn delays(&self) -> Vec<Duration> {
        self.delays
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, told: Told) {
        if let Told::Message { data, .. } = &told
            && let Some(at) = data["at"].as_u64()
        {
            let delay = unix_micros().saturating_sub(at);
            let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
            delays.push(Duration::from_micros(delay));
        }
        if let Told::Message { data, .. } = &told
            && data["end"].is_u64()
        {
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
    }
}

pub(crate) struct Survivor {
    pub(crate) names: Vec<String>,
    pub(crate) replicas: Vec<SocketAddr>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) state: Arc<State>,
    /// The first replica to try; another one after each failure.
    pub(crate) next: usize,
    pub(crate) epoch: Option<String>,
    pub(crate) positions: BTreeMap<String, u64>,
}

impl Survivor {
    /// Lives until the order to end.
    pub(crate) async fn live(mut self) {
        let mut left = None;
        let (patience, silence) = match self.replicas.len() {
            1 => (CONNECT_TIME_MAX_OF_ONE, SILENCE_MAX_OF_ONE),
            _ => (CONNECT_TIME_MAX, SILENCE_MAX),
        };
        let mut failures = 0;
        loop {
            let mut orders = self.orders.clone();
            let order = orders.wait_for(|order| *order != Order::Away).await;
            if order.map_or(Order::End, |order| *order) == Order::End {
                return;
            }
            let addr = self.replicas[self.next % self.replicas.len()];
            self.next += 1;
            if let Ok(Some(ws)) = timeout(patience, connect(addr)).await {
                failures = 0;
                self.stay(ws, left, silence).await;
                left = Some(Instant::now());
            } else {
                // Who is refused again and again asks less often.
                let pause = Duration::from_millis(20 + 13 * (self.next as u64 % 7));
                tokio::time::sleep(pause * (1 << failures.min(4))).await;
                failures += 1;
            }
        }
    }

    /// Subscribes and reads until the connection ends, one way or another.
    async fn stay(
        &mut self,
        mut ws: WebSocketStream<TcpStream>,
        left: Option<Instant>,
        silence: Duration,
    ) {
        let mut data = json!({"channels": self.names, "on_lost": "continue"});
        if let Some(epoch) = &self.epoch {
            data["resume"] = json!({"epoch": epoch, "positions": self.positions});
        }
        let subscribe = json!({"type": "subscribe", "data": data}).to_string();
        if ws.send(Message::text(subscribe)).await.is_err() {
            return;
        }
        let state = Arc::clone(&self.state);
        let mut orders = self.orders.clone();
        loop {
            let next = tokio::select! {
                next = timeout(silence, ws.next()) => next,
                () = state.cut.notified() => return,
                () = async { drop(orders.wait_for(|order| *order != Order::Go).await) } => return,
            };
            let Ok(Some(Ok(message))) = next else { return };
            let Message::Text(text) = message else {
                continue;
            };
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            if value["type"] == "goaway" {
                // It finishes with what comes until its close; who drains is not asked again first.
                continue;
            }
            if let Some(told) = Told::read(&mut value) {
                self.heed(&told);
                if let (Told::Acked { .. }, Some(left)) = (&told, left) {
                    let mut back = state.back.lock().unwrap_or_else(PoisonError::into_inner);
                    back.push(left.elapsed());
                }
                state.note(told);
            }
        }
    }

    /// Keeps its positions.
    fn heed(&mut self, told: &Told) {
        match told {
            Told::Acked {
                epoch, positions, ..
            } => {
                self.epoch.clone_from(epoch);
                for (name, position) in positions {
                    match position {
                        Some(position) => self.positions.insert(name.clone(), *position),
                        None => self.positions.remove(name),
                    };
                }
            }
            Told::Reset(epoch) => {
                self.epoch = Some(epoch.clone());
                self.positions.clear();
            }
            Told::Message { channel, seq, .. } => {
                let name = self.names.iter().find(|name| name::matches(name, channel));
                let name = name.unwrap_or_else(|| panic!("{channel} is not subscribed"));
                self.positions.insert(name.clone(), *seq);
            }
            Told::Lost { .. } => {}
        }
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    u64::try_from(since.as_micros()).expect("a few centuries at most")
}

async fn connect(addr: SocketAddr) -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await.ok()?;
    let url = format!("ws://{addr}/ws");
    let (mut ws, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
    let welcome = ws.next().await?.ok()?;
    welcome.is_text().then_some(ws)
}
