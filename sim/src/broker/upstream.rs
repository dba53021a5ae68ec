//! A server's connection to the simulated broker, behind the same seam as NATS.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use odin_core::feed::Command;
use odin_shell::source::{Message, Upstream, UpstreamEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wire::{Ask, Say};
use super::{HOST, PORT};
use crate::dice::Dice;
use crate::net::{Network, SimStream};

/// How long an attempt to connect may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the broker is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long it may say nothing before it counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Reports that wait for the server.
const REPORTS_MAX: usize = 256;

/// A command with its number, and a report with the number of the command that it belongs to
/// (`None`: none).
type Numbered = (u64, Command);
type Report = (Option<u64>, UpstreamEvent);

/// The upstream of a simulated server.
#[derive(Debug)]
pub struct SimUpstream {
    commands: mpsc::UnboundedSender<Numbered>,
    reports: mpsc::Receiver<Report>,
    /// The number of the last command.
    last: u64,
    /// The number of the `Fetch` whose consumer is still wanted; 0: of none.
    fetch: u64,
    /// Whether nothing is to be delivered until the next `Fetch`.
    paused: bool,
    /// What came meanwhile.
    ahead: VecDeque<UpstreamEvent>,
}

impl SimUpstream {
    /// Begins to connect, in a task of the host at hand, and goes on for ever.
    #[must_use]
    pub fn new(network: Network, dice: Dice) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (outbox, reports) = mpsc::channel(REPORTS_MAX);
        let link = Link {
            network,
            dice,
            commands: inbox,
            reports: outbox,
            waiting: None,
        };
        tokio::task::spawn_local(link.run());
        Self {
            commands,
            reports,
            last: 0,
            fetch: 0,
            paused: false,
            ahead: VecDeque::new(),
        }
    }
}

impl Upstream for SimUpstream {
    const CAN_WAIT: bool = true;

    async fn next(&mut self) -> Option<UpstreamEvent> {
        loop {
            if !self.paused
                && let Some(event) = self.ahead.pop_front()
            {
                return Some(event);
            }
            let (of, event) = self.reports.recv().await?;
            // Answers to what was superseded must not be given.
            match of {
                None => {
                    self.drop_consumer();
                    return Some(event);
                }
                Some(of) if of == self.fetch && self.paused => self.ahead.push_back(event),
                Some(of) if of == self.fetch || of == self.last => return Some(event),
                Some(_) => {}
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        self.last += 1;
        match command {
            Command::ReadTail => {}
            Command::ReadDeleted(_) => self.paused = true,
            Command::Fetch if self.paused => {
                // The consumer goes on as it did.
                self.paused = false;
                return;
            }
            Command::Fetch => self.fetch = self.last,
            Command::ReadInfo | Command::OpenConsumer(_) | Command::WriteNonce(_) => {
                self.drop_consumer();
            }
        }
        // The task ends with its host, and this with it.
        let _ = self.commands.send((self.last, command));
    }
}

impl SimUpstream {
    /// What the consumer sent is not wanted any more.
    fn drop_consumer(&mut self) {
        self.fetch = 0;
        self.paused = false;
        self.ahead.clear();
    }
}

/// The connection's task.
struct Link {
    network: Network,
    dice: Dice,
    commands: mpsc::UnboundedReceiver<Numbered>,
    reports: mpsc::Sender<Report>,
    /// The command that waits for its answer, and how long it may.
    waiting: Option<(u64, Instant)>,
}

impl Link {
    async fn run(mut self) {
        loop {
            let connecting = self.network.connect(HOST, PORT);
            if let Ok(Ok(socket)) = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
                while self.commands.try_recv().is_ok() {}
                self.waiting = None;
                if !self.report(None, UpstreamEvent::Connected).await {
                    return;
                }
                let ended = self.follow(socket).await;
                if ended.is_none() || !self.report(None, UpstreamEvent::Disconnected).await {
                    return;
                }
            }
            let pause = self.dice.millis(20, 500);
            tokio::time::sleep(pause).await;
        }
    }

    /// False: nobody wants to hear any more.
    async fn report(&self, of: Option<u64>, event: UpstreamEvent) -> bool {
        self.reports.send((of, event)).await.is_ok()
    }

    /// Serves one connection to its end. `None`: nobody wants to hear any more.
    async fn follow(&mut self, mut socket: SimStream) -> Option<()> {
        let mut inbound = BytesMut::new();
        let mut out = BytesMut::new();
        let mut heard = Instant::now();
        let mut pings = tokio::time::interval(PING_INTERVAL);
        loop {
            let waiting = self.waiting.map(|(_, until)| until);
            tokio::select! {
                biased;
                read = socket.read_buf(&mut inbound) => match read {
                    Ok(count) if count > 0 => heard = Instant::now(),
                    Ok(_) | Err(_) => return Some(()),
                },
                command = self.commands.recv() => {
                    let (id, command) = command?;
                    self.ask(id, command).encode(&mut out);
                }
                _ = pings.tick() => Ask::Ping.encode(&mut out),
                () = until(waiting) => {
                    if let Some((id, _)) = self.waiting.take()
                        && !self.report(Some(id), UpstreamEvent::Failed).await
                    {
                        return None;
                    }
                }
            }
            if heard.elapsed() > SILENCE_MAX {
                return Some(());
            }
            while let Some(say) = Say::decode(&mut inbound) {
                if let Some((of, event)) = self.hear(say)
                    && !self.report(Some(of), event).await
                {
                    return None;
                }
            }
            if !out.is_empty() {
                let sent = tokio::time::timeout(SILENCE_MAX, socket.write_all_buf(&mut out)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return Some(());
                }
            }
        }
    }

    fn ask(&mut self, id: u64, command: Command) -> Ask {
        let answered = Some((id, Instant::now() + ANSWER_TIME_MAX));
        let (ask, waiting) = match command {
            Command::ReadInfo => (Ask::Info { id }, answered),
            Command::OpenConsumer(policy) => (Ask::Open { id, policy }, answered),
            Command::WriteNonce(nonce) => (Ask::Write { id, nonce }, answered),
            // It need not be answered.
            Command::ReadTail => (Ask::Tail { id }, None),
            Command::ReadDeleted(range) => (Ask::Deleted { id, range }, answered),
            Command::Fetch => (Ask::Fetch { id }, None),
        };
        self.waiting = waiting;
        ask
    }

    fn hear(&mut self, say: Say) -> Option<(u64, UpstreamEvent)> {
        let (id, event) = match say {
            Say::Pong | Say::Past { .. } => return None,
            Say::Info { id, info } => (id, UpstreamEvent::Info(info)),
            Say::Opened { id, pending } => (id, UpstreamEvent::ConsumerOpened { pending }),
            Say::Tail { id, tail } => (id, UpstreamEvent::Tail(tail)),
            Say::Deleted { id, to, ranges } => (id, UpstreamEvent::Deleted { to, ranges }),
            Say::Written { id } => (id, UpstreamEvent::NonceWritten),
            Say::Heartbeat { id } => (id, UpstreamEvent::Heartbeat),
            Say::Failed { id } => (id, UpstreamEvent::Failed),
            Say::Message {
                id,
                numbers: [stream_seq, consumer_seq, pending, time],
                subject,
                payload,
            } => {
                let message = Message {
                    stream_seq,
                    consumer_seq,
                    pending,
                    time,
                    subject: (&*subject).into(),
                    payload,
                };
                (id, UpstreamEvent::Message(message))
            }
        };
        self.waiting.take_if(|(waiting, _)| *waiting == id);
        Some((id, event))
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
