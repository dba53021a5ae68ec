//! A way to a nats-server that knows the protocol spoken on it: it can hold back what a server's own consumer
//! delivers, while everything else goes through, and knows when the client has taken what it was sent.
//!
//! The consumer is known by its requests: no other asks for heartbeats. One that is opened while deliveries
//! are held is held as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long anything may take.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The way; it ends when dropped.
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    held: watch::Sender<bool>,
    /// Messages that went through to the client, of whatever subscription.
    messages: watch::Sender<u64>,
    link: Mutex<Link>,
}

/// What is known of the latest connection.
#[derive(Default)]
struct Link {
    /// The number of each subscription, by its subject.
    subscriptions: BTreeMap<String, String>,
    /// The numbers of those that the server's own consumer delivers to.
    live: BTreeSet<String>,
    /// Pings that the client has not answered yet: whose they are.
    pings: VecDeque<Option<oneshot::Sender<()>>>,
    /// Where to put pings of our own.
    inject: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// Leads to a port of 127.0.0.1.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            held: watch::Sender::new(false),
            messages: watch::Sender::new(0),
            link: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, to, Arc::clone(&shared)));
        Self { port, shared, task }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on nothing of the consumer goes through.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// What was held goes through, and everything after it.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// How many messages went through to the client.
    pub fn messages(&self) -> u64 {
        *self.shared.messages.borrow()
    }

    /// Waits until so many messages went through.
    pub async fn until_messages(&self, count: u64) {
        let mut messages = self.shared.messages.subscribe();
        let enough = messages.wait_for(|messages| *messages >= count);
        let enough = tokio::time::timeout(TIME_MAX, enough).await;
        enough
            .unwrap_or_else(|_| panic!("{} of {count} messages", self.messages()))
            .unwrap();
    }

    /// Waits until the client has taken everything that went through: it answers a ping that comes after it.
    pub async fn until_taken(&self) {
        let (answered, answer) = oneshot::channel();
        let inject = self.shared.link().inject.clone().expect("a connection");
        inject.send(answered).unwrap();
        let answer = tokio::time::timeout(TIME_MAX, answer).await;
        answer.expect("a pong").expect("the connection is there");
    }
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap()
    }
}

async fn serve(listener: TcpListener, to: u16, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else {
            continue;
        };
        let (inject, injected) = mpsc::unbounded_channel();
        *shared.link() = Link {
            inject: Some(inject),
            ..Link::default()
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // Whichever side ends it.
            tokio::select! {
                _ = pass_up(&shared, from_client, to_server) => {}
                _ = pass_down(&shared, from_server, to_client, injected) => {}
            }
        });
    }
}

/// One command of the protocol as it stands on the wire, with its payload.
struct Command {
    bytes: Bytes,
    /// Bytes of its line.
    line: usize,
}

impl Command {
    /// Takes the first one, once it is there as a whole.
    fn cut(buffer: &mut BytesMut) -> Option<Self> {
        let line = buffer.iter().position(|byte| *byte == b'\n')? + 1;
        let text = std::str::from_utf8(&buffer[..line]).expect("the protocol is text");
        let verbs = ["MSG ", "HMSG ", "PUB ", "HPUB "];
        let payload = verbs.iter().any(|verb| text.starts_with(verb)).then(|| {
            let bytes = text.split_whitespace().last();
            let bytes: Option<usize> = bytes.and_then(|bytes| bytes.parse().ok());
            bytes.expect("the length of a payload") + 2
        });
        let whole = line + payload.unwrap_or(0);
        (buffer.len() >= whole).then(|| Self {
            bytes: buffer.split_to(whole).freeze(),
            line,
        })
    }

    fn words(&self) -> Vec<&str> {
        let text = std::str::from_utf8(&self.bytes[..self.line]).expect("the protocol is text");
        text.split_whitespace().collect()
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.line..]
    }
}

async fn pass_up(
    shared: &Shared,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut out = BytesMut::new();
    while from.read_buf(&mut buffer).await? > 0 {
        while let Some(command) = Command::cut(&mut buffer) {
            if !shared.link().is_pong_of_ours(&command) {
                out.extend_from_slice(&command.bytes);
            }
        }
        to.write_all_buf(&mut out).await?;
    }
    Ok(())
}

impl Link {
    /// Learns what the client says. `true`: it is for us.
    fn is_pong_of_ours(&mut self, command: &Command) -> bool {
        match command.words()[..] {
            ["SUB", subject, number] => {
                self.subscriptions.insert(subject.into(), number.into());
            }
            ["PUB", subject, reply, _]
                if subject.starts_with("$JS.API.CONSUMER.MSG.NEXT.")
                    && command.payload().starts_with(b"{")
                    && String::from_utf8_lossy(command.payload()).contains("idle_heartbeat") =>
            {
                let number = self.subscriptions.get(reply).expect("it is subscribed to");
                self.live.insert(number.clone());
            }
            ["PONG"] => {
                // One that nobody asked for is the server's to judge.
                if let Some(Some(answered)) = self.pings.pop_front() {
                    let _ = answered.send(());
                    return true;
                }
            }
            _ => {}
        }
        false
    }
}

async fn pass_down(
    shared: &Shared,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut injected: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) -> io::Result<()> {
    let mut is_held = shared.held.subscribe();
    let mut buffer = BytesMut::new();
    let (mut out, mut kept) = (BytesMut::new(), BytesMut::new());
    let mut kept_messages = 0;
    loop {
        let mut messages = 0;
        tokio::select! {
            biased;
            _ = is_held.changed() => {}
            Some(answered) = injected.recv() => {
                shared.link().pings.push_back(Some(answered));
                out.extend_from_slice(b"PING\r\n");
            }
            read = from.read_buf(&mut buffer) => if read? == 0 {
                return Ok(());
            },
        }
        let held = *is_held.borrow_and_update();
        if !held {
            out.unsplit(kept.split());
            messages += std::mem::take(&mut kept_messages);
        }
        while let Some(command) = Command::cut(&mut buffer) {
            let words = command.words();
            let is_message = matches!(words[0], "MSG" | "HMSG");
            if words[0] == "PING" {
                shared.link().pings.push_back(None);
            }
            if held && is_message && shared.link().live.contains(words[2]) {
                kept.extend_from_slice(&command.bytes);
                kept_messages += 1;
            } else {
                out.extend_from_slice(&command.bytes);
                messages += u64::from(is_message);
            }
        }
        to.write_all_buf(&mut out).await?;
        shared.messages.send_modify(|count| *count += messages);
    }
}
