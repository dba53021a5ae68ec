//! Replicas, nats-server, a writer and clients, and how all of it is brought to rest and judged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use odin_core::name;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::ledger::Count;
use crate::nats::NatsServer;
use crate::server::Server;
use crate::stream::jetstream;
use crate::survivor::{Order, State, Survivor};
use crate::writer::{Book, channel, write};

/// Channels that are published on, in five groups.
pub(crate) const CHANNELS: u64 = 20;

/// How long everybody may take to reach the end once nothing goes wrong any more.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    pub(crate) names: Vec<String>,
    pub(crate) state: Arc<State>,
}

pub(crate) struct Fleet {
    pub(crate) nats: NatsServer,
    args: Vec<String>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) servers: Vec<Option<Server>>,
    pub(crate) clients: Vec<Client>,
    pub(crate) orders: watch::Sender<Order>,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) published: Arc<AtomicU64>,
    tasks: JoinSet<()>,
    writer: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts the replicas, with these further arguments.
    pub(crate) async fn start(replicas: usize, args: &[&str]) -> Self {
        let nats = NatsServer::start();
        let book = Book::new(jetstream(&nats).await).await;
        let url = nats.url();
        let own = ["--source", "jetstream", "--nats-url", &url];
        let args: Vec<String> = own
            .iter()
            .chain(args)
            .map(|arg| (*arg).to_owned())
            .collect();
        let mut fleet = Self {
            nats,
            args,
            addrs: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            orders: watch::channel(Order::Go).0,
            book: Arc::new(Mutex::new(book)),
            published: Arc::default(),
            tasks: JoinSet::new(),
            writer: None,
        };
        for _ in 0..replicas {
            let server = fleet.spawn(SocketAddr::from(([127, 0, 0, 1], 0)));
            fleet.addrs.push(server.addr);
            fleet.servers.push(Some(server));
        }
        for server in fleet.servers.iter().flatten() {
            server.until_health(200, Duration::from_secs(20));
        }
        fleet
    }

    fn spawn(&self, addr: SocketAddr) -> Server {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Server::start_at(addr, Path::new("."), &args)
    }

    /// Starts a replica again, where it was.
    pub(crate) fn restart(&mut self, replica: usize) {
        self.servers[replica] = None;
        self.servers[replica] = Some(self.spawn(self.addrs[replica]));
    }

    /// Adds clients, each with names of its own choice: every other one a pattern and two names.
    pub(crate) fn add_clients(&mut self, count: usize) {
        for number in 0..count {
            let group = number % 5;
            let other = |step: usize| format!("g{}.c{}", (group + step) % 5, step % 4);
            let names = if number.is_multiple_of(2) {
                vec![format!("g{group}.*"), other(1), other(2)]
            } else {
                vec![other(1), other(2), other(3)]
            };
            self.add_client(names, number, None);
        }
    }

    /// Adds a client; `from`: an epoch and positions that it has from elsewhere.
    pub(crate) fn add_client(
        &mut self,
        names: Vec<String>,
        first: usize,
        from: Option<(String, BTreeMap<String, u64>)>,
    ) {
        let state = Arc::<State>::default();
        let (epoch, positions) = from.unzip();
        let survivor = Survivor {
            names: names.clone(),
            replicas: self.addrs.clone(),
            orders: self.orders.subscribe(),
            state: Arc::clone(&state),
            next: first,
            epoch,
            positions: positions.unwrap_or_default(),
        };
        self.tasks.spawn(survivor.live());
        self.clients.push(Client { names, state });
    }

    /// Waits until every client has something.
    pub(crate) async fn until_all_began(&self) {
        for client in &self.clients {
            let state = &client.state;
            self.patiently("a client begins", || !state.is_empty())
                .await;
        }
    }

    /// Publishes so many messages every 20 ms from now on.
    pub(crate) fn write(&mut self, batch: u64) {
        let (book, published) = (Arc::clone(&self.book), Arc::clone(&self.published));
        self.writer = Some(tokio::spawn(write(book, published, CHANNELS, batch)));
    }

    pub(crate) async fn patiently(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < SETTLE_TIME_MAX, "not in a minute: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the writing with one more message on every channel, and waits until everybody has those of theirs.
    pub(crate) async fn settle(&mut self) {
        if let Some(writer) = self.writer.take() {
            // While nobody else has the book, nothing is half published.
            let book = self.book.lock().await;
            writer.abort();
            drop(book);
        }
        let mut book = self.book.lock().await;
        for n in 0..CHANNELS {
            let data = json!({"stream": book.stream, "end": n}).to_string();
            let subject = format!("odin.token.{}", channel(n, CHANNELS));
            loop {
                let sent = book.jetstream.publish(subject.clone(), data.clone().into());
                if let Ok(ack) = sent.await
                    && ack.await.is_ok()
                {
                    break;
                }
            }
        }
        book.read().await;
        drop(book);
        for client in &self.clients {
            let mine = (0..CHANNELS).filter(|n| {
                let channel = channel(*n, CHANNELS);
                client
                    .names
                    .iter()
                    .any(|name| name::matches(name, &channel))
            });
            let (mine, state) = (mine.count() as u64, &client.state);
            let begun = Instant::now();
            while state.ends.load(Ordering::Relaxed) < mine {
                assert!(
                    begun.elapsed() < SETTLE_TIME_MAX,
                    "a client of {:?} has {} of {mine} ends: {:#?}",
                    client.names,
                    state.ends.load(Ordering::Relaxed),
                    state.log().iter().rev().take(5).collect::<Vec<_>>()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Ends all clients and compares their logs with the ledger: their counts together.
    pub(crate) async fn judge(&mut self) -> Count {
        self.orders.send_replace(Order::End);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        let book = self.book.lock().await;
        let mut sum = Count::default();
        for (number, client) in self.clients.iter().enumerate() {
            let count = book.ledger.check(&client.names, &client.state.log());
            sum += count
                .unwrap_or_else(|error| panic!("client {number} of {:?}: {error}", client.names));
        }
        sum
    }
}
