//! What each command of the Feed takes: requests to the JetStream API, each bounded in time.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, ErrorCode, stream};
use odin_core::feed::{DeliverPolicy, EpochNonce, SeqRange, StreamInfo, Tail};
use serde_json::{Value, json};

use super::api::request;
use super::{JetStreamOptions, holes};
use crate::source::pull::Pull;
use crate::source::requests::Requests;
use crate::source::state::{is_of_leader, stream_info};

/// How long the stream's state may take.
const INFO_TIME_MAX: Duration = Duration::from_secs(1);
/// How long the list of what the stream has deleted may take.
const DELETED_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the writing of a nonce may take. A server that does not permit it does not answer.
const WRITE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the opening of a consumer, or the creation of the stream, may take: the server looks up
/// the last message of each subject meanwhile.
pub(super) const OPEN_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the server keeps a consumer that nobody asks.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

/// What a command led to.
pub(super) enum Done {
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

pub(super) async fn read_info(context: jetstream::Context, options: JetStreamOptions) -> Done {
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
pub(super) async fn read_tail(
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

pub(super) async fn read_deleted(
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

pub(super) async fn write_nonce(
    context: jetstream::Context,
    stream: String,
    nonce: EpochNonce,
) -> Done {
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

pub(super) async fn open_consumer(
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
