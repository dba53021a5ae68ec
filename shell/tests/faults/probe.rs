//! What a client sees of live messages while others keep the server busy: a publisher and a subscriber on a thread of their
//! own, so that what they measure is the server and not the test's other tasks.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{oneshot, watch};

use crate::nats::NatsServer;
use crate::survivor::{Order, State, Survivor, unix_micros};

/// A message each.
const PERIOD: Duration = Duration::from_millis(5);

pub(crate) struct Probe {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Probe {
    /// Subscribes to a channel, publishes to it, and returns once the first message came.
    pub(crate) fn start(nats: &NatsServer, addr: SocketAddr, channel: &str) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (begun, begins) = mpsc::channel();
        let (url, channel) = (nats.url(), channel.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(measure(url, addr, channel, begun, stopped))
        });
        begins
            .recv_timeout(Duration::from_secs(20))
            .expect("the probe begins");
        Self { stop, thread }
    }

    /// Ends it: the delays since it began, from just before the publish to just after the client's read.
    pub(crate) fn stop(self) -> Delays {
        self.stop.send(()).expect("the probe runs");
        let mut delays = self.thread.join().expect("the probe ends");
        delays.sort_unstable();
        Delays(delays)
    }
}

async fn measure(
    url: String,
    addr: SocketAddr,
    channel: String,
    begun: mpsc::Sender<()>,
    mut stopped: oneshot::Receiver<()>,
) -> Vec<Duration> {
    let client = async_nats::connect(url).await.expect("a NATS client");
    let state = Arc::<State>::default();
    let (orders, order) = watch::channel(Order::Go);
    let survivor = Survivor {
        names: vec![channel.clone()],
        replicas: vec![addr],
        orders: order,
        state: Arc::clone(&state),
        next: 0,
        epoch: None,
        positions: std::collections::BTreeMap::new(),
    };
    let life = tokio::spawn(survivor.live());
    let mut ticks = tokio::time::interval(PERIOD);
    let mut before = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut stopped => break,
        }
        let data = json!({"stream": 0, "at": unix_micros()}).to_string();
        let subject = format!("odin.token.{channel}");
        let sent = client.publish(subject, data.into()).await;
        sent.expect("the message goes out");
        client.flush().await.expect("the message goes out");
        if before.is_none() && !state.delays().is_empty() {
            before = Some(state.delays().len());
            begun.send(()).expect("the test waits");
        }
    }
    orders.send_replace(Order::End);
    life.await.expect("the client ends");
    state.delays().split_off(before.unwrap_or_default())
}

/// Sorted.
pub(crate) struct Delays(Vec<Duration>);

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.0.len().checked_sub(1) else {
            return f.write_str("no messages");
        };
        let of = |share: usize| self.0[last * share / 1_000];
        write!(f, "{} messages, ", self.0.len())?;
        write!(
            f,
            "p50 {:?}, p99 {:?}, worst {:?}",
            of(500),
            of(990),
            of(1_000)
        )
    }
}
