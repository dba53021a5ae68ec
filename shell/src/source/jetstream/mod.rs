//! The JetStream source: one ephemeral pull consumer per server, opened and given up as the Feed
//! decides. Here is what is under way, and what comes of it; `work` is how each command is carried out.

mod api;
mod holes;
mod work;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::jetstream;
use futures_util::FutureExt;
use odin_core::config::FeedConfig;
use odin_core::feed::Command;
use odin_core::history::Encoding;

use self::work::{
    Done, OPEN_TIME_MAX, open_consumer, read_deleted, read_info, read_tail, write_nonce,
};
use super::history::JetStreamHistory;
use super::link::Link;
use super::pull::Pull;
use super::requests::{RequestKind, Requests};
use super::{NatsError, NatsOptions, Publisher, Upstream, UpstreamEvent};

/// Which stream to follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JetStreamOptions {
    /// The stream's name; it is created where it is absent.
    pub stream: String,
    /// The subjects that are followed, and the stream's subject where it is created.
    pub subject: String,
}

/// The JetStream source.
pub struct JetStream {
    link: Link,
    context: jetstream::Context,
    requests: Arc<Requests>,
    options: JetStreamOptions,
    /// The command that is under way.
    work: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    pull: Option<Pull>,
}

impl std::fmt::Debug for JetStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStream")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl JetStream {
    /// Begins to connect. Publishing puts `strip` before the channel's name.
    ///
    /// # Errors
    /// Options that cannot work; a NATS that is away is none.
    pub async fn new(
        options: &NatsOptions,
        stream: JetStreamOptions,
        strip: &str,
        config: &FeedConfig,
    ) -> Result<(Self, Publisher), NatsError> {
        let link = Link::new(options).await?;
        let client = link.client().clone();
        let publisher = Publisher::jetstream(client.clone(), strip, config.payload_bytes_max);
        let context = jetstream::ContextBuilder::new()
            .timeout(OPEN_TIME_MAX)
            .build(client);
        Ok((
            Self {
                link,
                context,
                requests: Arc::default(),
                options: stream,
                work: None,
                pull: None,
            },
            publisher,
        ))
    }

    /// What the stream holds, over the same connection. `strip` and `config` as given to [`Self::new`].
    #[must_use]
    pub fn history(&self, strip: &str, config: &FeedConfig) -> JetStreamHistory {
        let encoding = Encoding {
            strip,
            payload_bytes_max: config.payload_bytes_max,
        };
        JetStreamHistory::new(
            self.link.client().clone(),
            &self.options.stream,
            &self.options.subject,
            &encoding,
            Arc::clone(&self.requests),
        )
    }
}

impl Upstream for JetStream {
    const CAN_WAIT: bool = true;

    async fn next(&mut self) -> Option<UpstreamEvent> {
        // The way of nearly every message. While messages come, nothing else matters: a connection
        // that is lost brings none.
        if let Some(pull) = self.pull.as_mut().filter(|pull| pull.is_fetching())
            && let Some(report) = pull.next().now_or_never()
        {
            return Some(report);
        }
        loop {
            if let Some(event) = self.check_link() {
                return Some(event);
            }
            let work = self.work.as_mut();
            let pull = self.pull.as_mut().filter(|pull| pull.is_fetching());
            tokio::select! {
                biased;
                done = ready_or_never(work) => {
                    self.work = None;
                    if let Some(report) = self.finish(done) {
                        return Some(report);
                    }
                }
                report = next_or_never(pull) => return Some(report),
                () = self.link.changed() => {}
            }
        }
    }

    async fn next_change(&mut self) -> UpstreamEvent {
        loop {
            if let Some(event) = self.check_link() {
                return event;
            }
            self.link.changed().await;
        }
    }

    fn carry_out(&mut self, command: Command) {
        self.work = None;
        match command {
            Command::ReadInfo => {
                self.requests.count(RequestKind::Info);
                if let Some(pull) = &mut self.pull {
                    pull.pause();
                }
                self.work = Some(Box::pin(read_info(
                    self.context.clone(),
                    self.options.clone(),
                )));
            }
            Command::WriteNonce(nonce) => {
                self.pull = None;
                self.requests.count(RequestKind::Info);
                self.requests.count(RequestKind::Configure);
                let write = write_nonce(self.context.clone(), self.options.stream.clone(), nonce);
                self.work = Some(Box::pin(write));
            }
            Command::OpenConsumer(policy) => {
                self.pull = None;
                self.requests.count(RequestKind::Consumer);
                let open = open_consumer(
                    self.context.clone(),
                    self.options.clone(),
                    policy,
                    Arc::clone(&self.requests),
                );
                self.work = Some(Box::pin(open));
            }
            Command::ReadTail => {
                let consumer = self.pull.as_ref().map(|pull| pull.consumer().to_owned());
                let (context, options) = (self.context.clone(), self.options.clone());
                self.work = Some(Box::pin(read_tail(context, options, consumer)));
            }
            Command::ReadDeleted(asked) => {
                let received = self.pull.as_mut().map_or(0, Pull::take_in);
                let stream = self.options.stream.clone();
                let read = read_deleted(self.context.clone(), stream, asked, received);
                self.work = Some(Box::pin(read));
            }
            Command::Fetch => match &mut self.pull {
                Some(pull) => pull.fetch(),
                None => self.work = Some(Box::pin(std::future::ready(Done::Failed))),
            },
        }
    }
}

impl JetStream {
    /// What changed about the connection. Nothing that was begun on the old one goes on.
    fn check_link(&mut self) -> Option<UpstreamEvent> {
        let event = self.link.check()?;
        self.work = None;
        self.pull = None;
        Some(event)
    }

    fn finish(&mut self, done: Done) -> Option<UpstreamEvent> {
        Some(match done {
            Done::Info(info) => UpstreamEvent::Info(info),
            Done::NonceWritten => UpstreamEvent::NonceWritten,
            Done::Tail(tail) => UpstreamEvent::Tail(tail),
            Done::Deleted { to, ranges } => UpstreamEvent::Deleted { to, ranges },
            Done::Opened { pull, pending } => {
                self.pull = Some(*pull);
                UpstreamEvent::ConsumerOpened { pending }
            }
            Done::Unknown => return None,
            Done::Failed => UpstreamEvent::Failed,
        })
    }
}

async fn ready_or_never(work: Option<&mut Pin<Box<dyn Future<Output = Done> + Send>>>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn next_or_never(pull: Option<&mut Pull>) -> UpstreamEvent {
    match pull {
        Some(pull) => pull.next().await,
        None => std::future::pending().await,
    }
}
