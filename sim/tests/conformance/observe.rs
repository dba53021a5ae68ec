//! Carries a sequence out, and writes down what an upstream and a history tell of it: the same code for the model and
//! for a real server. What cannot be the same is left out: a creation time is told by its place among those that were
//! seen, the time of a message by whether it is the one that the stream has.

use std::collections::VecDeque;
use std::time::Duration;

use odin_core::feed::{Command, DeliverPolicy, EpochNonce, SeqRange, StreamInfo};
use odin_core::history::{Fetch, Page};
use odin_core::name::check_channel;
use odin_shell::source::history::History;
use odin_shell::source::{Upstream, UpstreamEvent};
use tokio::time::timeout;

use crate::ops::{Op, Sequence, TOPICS};

/// How long something that has to come may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long something that does not come is waited for.
const SILENCE: Duration = Duration::from_millis(2_500);

/// How often a consumer that has something to deliver may say that it has nothing: a request lasts for 5 s.
const RESTS_MAX: u32 = 8;

/// Whoever holds the stream, and can be told to do something to it.
pub(crate) trait Stage {
    /// Does it, and says what came of it.
    async fn apply(&mut self, op: &Op) -> String;
    /// The seq of the last message that is followed; 0: there is none.
    async fn last_followed(&mut self) -> u64;
    /// When a message was stored.
    async fn time(&mut self, seq: u64) -> Option<u64>;
}

/// What is known of the consumer that was opened.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Consumer {
    None,
    Open,
    /// Messages were asked for: what is published comes at once.
    Fetching,
}

struct Observer<'a, S, U, H> {
    stage: &'a mut S,
    upstream: U,
    history: H,
    consumer: Consumer,
    /// The seq of the last message that came, or the one before where it begins.
    seq: u64,
    /// Whether what it says of `pending` can be relied on: a server that purges counts anew, and of a consumer that began
    /// with the last message of each subject it then counts one of each.
    counts: bool,
    /// Whether something was published that it may not count yet: a server does so a moment later.
    uncounted: bool,
    /// Whether it began with the last message of each subject.
    snapshot: bool,
    /// Messages that came while something else was waited for.
    came: VecDeque<UpstreamEvent>,
    /// Creation times that were seen.
    created: Vec<u64>,
    requests: u64,
    seen: Vec<String>,
}

/// What was observed.
pub(crate) async fn observe<S: Stage, U: Upstream, H: History>(
    stage: &mut S,
    upstream: U,
    history: H,
    sequence: &Sequence,
) -> Vec<String> {
    let mut observer = Observer {
        stage,
        upstream,
        history,
        consumer: Consumer::None,
        seq: 0,
        counts: true,
        uncounted: false,
        snapshot: false,
        came: VecDeque::new(),
        created: Vec::new(),
        requests: 0,
        seen: Vec::new(),
    };
    observer.connected().await;
    for (at, op) in sequence.ops.iter().enumerate() {
        observer.seen.push(format!("{at}: {op:?}"));
        observer.step(op).await;
    }
    observer.seen
}

impl<S: Stage, U: Upstream, H: History> Observer<'_, S, U, H> {
    fn note(&mut self, what: impl Into<String>) {
        self.seen.push(format!("    {}", what.into()));
    }

    async fn step(&mut self, op: &Op) {
        match *op {
            Op::Info => {
                self.forget_consumer();
                self.ask(Command::ReadInfo).await;
            }
            Op::Nonce(random) => {
                self.forget_consumer();
                let nonce = EpochNonce {
                    rollbacks: 1,
                    random,
                };
                self.ask(Command::WriteNonce(nonce)).await;
            }
            Op::Open(policy) => {
                self.forget_consumer();
                if self.ask(Command::OpenConsumer(policy)).await {
                    self.consumer = Consumer::Open;
                    match policy {
                        DeliverPolicy::ByStartSequence(seq) => {
                            self.seq = seq - 1;
                            // What comes before that counts on some releases; the source never asks for such.
                            self.counts = seq <= self.stage.last_followed().await + 1;
                        }
                        DeliverPolicy::LastPerSubject => self.snapshot = true,
                    }
                }
            }
            Op::Read => self.read().await,
            Op::Heartbeat => {
                let event = self.next(SILENCE).await;
                self.note(format!("{event:?}"));
            }
            Op::Tail if self.consumer != Consumer::None => {
                self.tail().await;
            }
            Op::Deleted(from, to) if self.consumer != Consumer::Open => {
                self.ask(Command::ReadDeleted(SeqRange { from, to })).await;
                if self.consumer == Consumer::Fetching {
                    self.upstream.carry_out(Command::Fetch);
                }
            }
            Op::Tail | Op::Deleted(..) => {}
            Op::Page(topic, after) => self.page(TOPICS[topic], after).await,
            // What is published at once may be seen before a limit removes it, or not.
            Op::Publish {
                subject,
                times,
                bytes,
            } if self.consumer == Consumer::Fetching => {
                let one = Op::Publish {
                    subject,
                    times: 1,
                    bytes,
                };
                for _ in 0..times {
                    self.apply(&one).await;
                }
            }
            _ => self.apply(op).await,
        }
    }

    fn forget_consumer(&mut self) {
        self.consumer = Consumer::None;
        self.came.clear();
        self.seq = 0;
        self.counts = true;
        self.uncounted = false;
        self.snapshot = false;
    }

    async fn connected(&mut self) {
        self.forget_consumer();
        loop {
            match self.next(PATIENCE).await {
                Some(UpstreamEvent::Connected) => return self.note("connected"),
                Some(_) => {}
                None => return self.note("never connected"),
            }
        }
    }

    async fn next(&mut self, patience: Duration) -> Option<UpstreamEvent> {
        timeout(patience, self.upstream.next()).await.ok().flatten()
    }

    /// Does something to the stream, and waits for what follows from it.
    async fn apply(&mut self, op: &Op) {
        let said = self.stage.apply(op).await;
        self.note(said);
        let may_remove = matches!(
            op,
            Op::Purge { .. } | Op::Delete(_) | Op::Limit(..) | Op::Publish { .. }
        );
        if may_remove && self.snapshot {
            self.counts = false;
        }
        self.uncounted |= matches!(op, Op::Publish { .. });
        match op {
            Op::Restart | Op::BackUp | Op::Restore => self.connected().await,
            Op::Recreate | Op::DropConsumers if self.consumer == Consumer::Fetching => {
                // 2.9 does not always say so when the stream goes, and is then noticed by its silence.
                match self.next(SILENCE).await {
                    Some(UpstreamEvent::Failed) | None => self.note("the consumer is gone"),
                    other => self.note(format!("{other:?}")),
                }
                self.forget_consumer();
            }
            Op::Publish { .. } if self.consumer == Consumer::Fetching => self.read().await,
            _ => {}
        }
    }

    /// Gives a command and waits for its answer. `false`: it failed.
    async fn ask(&mut self, command: Command) -> bool {
        let patience = match command {
            Command::ReadTail => SILENCE,
            _ => PATIENCE,
        };
        self.upstream.carry_out(command);
        loop {
            let said = match self.next(patience).await {
                Some(message @ UpstreamEvent::Message(_)) => {
                    self.came.push_back(message);
                    continue;
                }
                Some(UpstreamEvent::Heartbeat) => continue,
                Some(UpstreamEvent::Info(info)) => self.info(&info),
                // More may be told than was asked.
                Some(UpstreamEvent::Deleted { to, ranges }) => match command {
                    Command::ReadDeleted(asked) if to >= asked.to => clip(&ranges, asked),
                    _ => format!("too little is told of {command:?}: {to} {ranges:?}"),
                },
                // 2.9 counts some of a start as well that are before it; only that of a snapshot matters.
                Some(UpstreamEvent::ConsumerOpened { .. })
                    if !matches!(
                        command,
                        Command::OpenConsumer(DeliverPolicy::LastPerSubject)
                    ) =>
                {
                    "opened".into()
                }
                Some(event) => format!("{event:?}"),
                None => "no answer".into(),
            };
            let failed = said == "Failed" || said == "no answer";
            self.note(said);
            return !failed;
        }
    }

    fn info(&mut self, info: &StreamInfo) -> String {
        let life = self.life(info.created);
        let StreamInfo {
            created: _,
            first_seq,
            last_seq,
            num_deleted,
            nonce,
            covers_all,
            replicated,
        } = info;
        format!(
            "stream {life}: {first_seq}..={last_seq}, {num_deleted} deleted, {nonce:?}, covers all: {covers_all}, \
             replicated: {replicated}"
        )
    }

    /// Which of the streams that were seen was created then.
    fn life(&mut self, created: u64) -> usize {
        let known = self.created.iter().position(|other| *other == created);
        known.unwrap_or_else(|| {
            self.created.push(created);
            self.created.len() - 1
        })
    }

    /// Where the stream ends and the consumer is. While messages are asked for, they may be on their way: then only the
    /// sum is told.
    async fn tail(&mut self) -> bool {
        self.upstream.carry_out(Command::ReadTail);
        loop {
            match self.next(SILENCE).await {
                Some(message @ UpstreamEvent::Message(_)) => self.came.push_back(message),
                Some(UpstreamEvent::Heartbeat) => {}
                Some(UpstreamEvent::Tail(tail)) => {
                    let info = self.info(&tail.info);
                    let (delivered, pending) = (tail.delivered, tail.pending);
                    self.note(match self.consumer {
                        _ if !self.counts || self.uncounted => info,
                        Consumer::Fetching => format!("{info}, {} in all", delivered + pending),
                        _ => format!("{info}, {delivered} delivered, {pending} pending"),
                    });
                    return true;
                }
                other => {
                    self.note(format!("instead of the tail: {other:?}"));
                    self.forget_consumer();
                    return false;
                }
            }
        }
    }

    /// Reads until the consumer has delivered all that it has.
    async fn read(&mut self) {
        if self.consumer == Consumer::None {
            return;
        }
        let first = self.consumer == Consumer::Open;
        if !self.tail().await {
            return;
        }
        let last = self.stage.last_followed().await;
        if first {
            self.upstream.carry_out(Command::Fetch);
            self.consumer = Consumer::Fetching;
        }
        let mut rests = 0;
        while self.seq < last {
            let event = match self.came.pop_front() {
                Some(event) => Some(event),
                None => self.next(PATIENCE).await,
            };
            // A consumer that finds a message gone that it was to deliver may rest until the next request.
            if event == Some(UpstreamEvent::Heartbeat) && rests < RESTS_MAX {
                rests += 1;
                continue;
            }
            let Some(UpstreamEvent::Message(message)) = event else {
                self.note(format!("instead of a message: {event:?}"));
                if event == Some(UpstreamEvent::Failed) {
                    self.forget_consumer();
                }
                return;
            };
            self.seq = message.stream_seq;
            let true_time = self.stage.time(message.stream_seq).await == Some(message.time);
            // What is published meanwhile may count or not.
            let pending = (first && self.counts && !self.uncounted).then_some(message.pending);
            self.note(format!(
                "message {} at {}, then {pending:?}: {} {} time {true_time}",
                message.stream_seq,
                message.consumer_seq,
                message.subject,
                String::from_utf8_lossy(&message.payload),
            ));
        }
        self.uncounted = false;
    }

    async fn page(&mut self, topic: &str, after: u64) {
        self.requests += 1;
        let fetch = Fetch {
            request: self.requests,
            topic: topic.into(),
            after,
        };
        let Ok(page) = timeout(PATIENCE * 2, self.history.fetch(fetch)).await else {
            return self.note("no answer");
        };
        let Some(page) = page else {
            return self.note("cannot be asked");
        };
        self.show(&page).await;
    }

    async fn show(&mut self, page: &Page) {
        let extent = page.extent;
        let life = self.life(extent.created);
        let anchor = match extent.anchor {
            Some(anchor) => {
                let true_time = self.stage.time(anchor.seq).await == Some(anchor.time);
                format!("{} time {true_time}", anchor.seq)
            }
            None => "none".into(),
        };
        // It need not be found out where the anchor proves the channel.
        let needed = check_channel(&page.topic).is_err() || extent.anchor.is_none();
        let intact = needed.then_some(extent.intact);
        self.note(format!(
            "page of {} after {} of stream {life} with {}: to {}, intact {intact:?}, anchor {anchor}",
            page.topic, page.after, extent.last_seq, extent.to
        ));
        for entry in &page.entries {
            let time = self.stage.time(entry.seq).await;
            let true_time = time.map(|nanos| nanos / 1_000_000) == Some(entry.ts);
            self.note(format!(
                "  {} {} after {:?}, lost {:?}, {} bytes, time {true_time}",
                entry.name,
                entry.seq,
                entry.prev,
                entry.lost,
                entry.frame.len(),
            ));
        }
    }
}

fn clip(ranges: &[SeqRange], asked: SeqRange) -> String {
    let within = ranges.iter().filter_map(|range| {
        let (from, to) = (range.from.max(asked.from), range.to.min(asked.to));
        (from <= to).then(|| format!("{from}..={to}"))
    });
    format!("missing: {:?}", within.collect::<Vec<_>>())
}
