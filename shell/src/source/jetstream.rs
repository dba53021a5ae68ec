//! The JetStream source: one ephemeral pull consumer per server, opened and given up as the Feed
//! decides. Here is only how each command is carried out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode, stream};
use futures_util::FutureExt;
use odin_core::config::FeedConfig;
use odin_core::feed::{Command, DeliverPolicy, EpochNonce, SeqRange, StreamInfo, Tail};
use odin_core::history::Encoding;
use serde_json::{Value, json};

use super::history::JetStreamHistory;
use super::link::Link;
use super::pull::Pull;
use super::requests::{RequestKind, Requests};
use super::state::{is_of_leader, stream_info};
use super::{NatsError, NatsOptions, Publisher, Upstream, UpstreamEvent, holes};

/// How long the stream's state may take.
const INFO_TIME_MAX: Duration = Duration::from_secs(1);
/// How long the list of what the stream has deleted may take.
const DELETED_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the writing of a nonce may take. A server that does not permit it does not answer.
const WRITE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the opening of a consumer, or the creation of the stream, may take: the server looks up
/// the last message of each subject meanwhile.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the server keeps a consumer that nobody asks.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

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

/// What a command led to.
enum Done {
    Info(StreamInfo),
    NonceWritten,
    Tail(Tail),
    Deleted {
        to: u64,
        ranges: Vec<SeqRange>,
    },
    Opened {
        pull: Box<Pull>,
        pending: u64,
    },
    /// What the Feed can do without.
    Unknown,
    Failed,
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

async fn read_info(context: jetstream::Context, options: JetStreamOptions) -> Done {
    let found = tokio::time::timeout(INFO_TIME_MAX, context.get_stream(&options.stream)).await;
    let stream = match found {
        Err(_) => return Done::Failed,
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_absent(&error.kind()) => match create(&context, &options).await {
            Some(stream) => stream,
            None => return Done::Failed,
        },
        Ok(Err(error)) => {
            tracing::warn!(stream = options.stream, %error, "cannot read the stream's state");
            return Done::Failed;
        }
    };
    if !is_of_leader(stream.cached_info()) {
        return Done::Failed;
    }
    let info = stream_info(stream.cached_info(), &options.subject);
    if !info.covers_all && stream.cached_info().config.max_messages_per_subject > 0 {
        tracing::warn!(
            stream = options.stream,
            subject = options.subject,
            "the stream has a limit of messages per subject, and subjects that are not followed: \
             clients are told of losses also where this limit removed a message of another subject"
        );
    }
    Done::Info(info)
}

/// The stream's state, and then its consumer's. A stream that is gone is not created here.
async fn read_tail(
    context: jetstream::Context,
    options: JetStreamOptions,
    consumer: Option<String>,
) -> Done {
    let stream = &options.stream;
    let read = async {
        let found = context.get_stream(stream).await;
        let found = found.map_err(|error| error.to_string())?;
        if !is_of_leader(found.cached_info()) {
            return Err("the stream has no leader".to_owned());
        }
        let info = stream_info(found.cached_info(), &options.subject);
        let consumer = consumer.ok_or("no consumer is open")?;
        holes::tail(&context, stream, &consumer, info).await
    };
    match tokio::time::timeout(INFO_TIME_MAX, read).await {
        Ok(Ok(tail)) => Done::Tail(tail),
        Ok(Err(error)) => {
            tracing::warn!(stream, error, "cannot read how far the consumer is");
            Done::Unknown
        }
        Err(_) => Done::Unknown,
    }
}

async fn read_deleted(
    context: jetstream::Context,
    stream: String,
    asked: SeqRange,
    received: u64,
) -> Done {
    let read = holes::deleted(&context, &stream, asked, received);
    match tokio::time::timeout(DELETED_TIME_MAX, read).await {
        Ok(Ok((to, ranges))) => Done::Deleted { to, ranges },
        Ok(Err(error)) => {
            tracing::warn!(stream, error, "cannot read what the stream has deleted");
            Done::Failed
        }
        Err(_) => Done::Failed,
    }
}

fn is_absent(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Another server may create it at the same time; the same configuration is then no error.
async fn create(
    context: &jetstream::Context,
    options: &JetStreamOptions,
) -> Option<stream::Stream> {
    let config = stream::Config {
        name: options.stream.clone(),
        subjects: vec![options.subject.clone()],
        allow_direct: true,
        ..Default::default()
    };
    match context.create_stream(config).await {
        Ok(stream) => {
            tracing::info!(
                stream = options.stream,
                subject = options.subject,
                "stream created"
            );
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(stream = options.stream, %error, "cannot create the stream");
            None
        }
    }
}

async fn write_nonce(context: jetstream::Context, stream: String, nonce: EpochNonce) -> Done {
    match tokio::time::timeout(WRITE_TIME_MAX, update_metadata(&context, &stream, nonce)).await {
        Ok(Ok(())) => Done::NonceWritten,
        Ok(Err(error)) => {
            tracing::warn!(stream, error, "cannot write the stream's metadata");
            Done::Failed
        }
        Err(_) => {
            tracing::warn!(stream, "no answer when the stream's metadata was written");
            Done::Failed
        }
    }
}

/// Sends back the configuration that the server gave, as it is but for the one key. It passes through
/// as JSON: the client library's type leaves out what is newer than the library.
async fn update_metadata(
    context: &jetstream::Context,
    stream: &str,
    nonce: EpochNonce,
) -> Result<(), String> {
    let info = request(context, format!("STREAM.INFO.{stream}"), &Value::Null).await?;
    let mut config = info.get("config").cloned().unwrap_or_default();
    let fields = config.as_object_mut().ok_or("no configuration")?;
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let keys = metadata.as_object_mut().ok_or("metadata is no object")?;
    keys.insert(EpochNonce::METADATA_KEY.into(), nonce.to_string().into());
    request(context, format!("STREAM.UPDATE.{stream}"), &config).await?;
    Ok(())
}

/// Asks the JetStream API.
pub(super) async fn request(
    context: &jetstream::Context,
    subject: String,
    body: &Value,
) -> Result<Value, String> {
    match context.request(subject, body).await {
        Ok(Response::Ok(answer)) => Ok(answer),
        Ok(Response::Err { error }) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn open_consumer(
    context: jetstream::Context,
    options: JetStreamOptions,
    policy: DeliverPolicy,
    requests: Arc<Requests>,
) -> Done {
    let config = pull::Config {
        deliver_policy: match policy {
            DeliverPolicy::LastPerSubject => consumer::DeliverPolicy::LastPerSubject,
            DeliverPolicy::ByStartSequence(start_sequence) => {
                consumer::DeliverPolicy::ByStartSequence { start_sequence }
            }
        },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE_THRESHOLD,
        filter_subject: options.subject,
        ..Default::default()
    };
    let opened = async {
        let consumer = context
            .create_consumer_on_stream(config, &options.stream)
            .await;
        let consumer = consumer.inspect_err(|error| {
            tracing::warn!(stream = options.stream, %error, "cannot open a consumer");
        });
        let consumer = consumer.ok()?;
        let info = consumer.cached_info();
        let pull = Pull::new(&context.client(), &options.stream, &info.name, requests).await?;
        Some(Done::Opened {
            pull: Box::new(pull),
            pending: info.num_pending,
        })
    };
    let opened = tokio::time::timeout(OPEN_TIME_MAX, opened).await;
    opened.ok().flatten().unwrap_or(Done::Failed)
}
