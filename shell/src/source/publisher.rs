//! Publishing by way of the configured source. Who may publish is decided by HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind as AckErrorKind;
use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use odin_core::feed::Outcome;
use odin_core::name::check_channel;
use odin_core::reason::LostReason;
use tokio::sync::{mpsc, oneshot};

use super::window::{Counts, KeyStats};

/// How long an upstream may take to accept a message.
const ACCEPT_TIME_MAX: Duration = Duration::from_secs(5);

/// Publishes messages by way of the configured source. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    /// 0: no limit but that of the upstream.
    payload_bytes_max: usize,
    route: Route,
}

#[derive(Clone)]
enum Route {
    Embedded(mpsc::Sender<Request>, Arc<Counts>),
    Nats {
        client: Client,
        prefix: String,
    },
    JetStream {
        context: jetstream::Context,
        prefix: String,
    },
}

/// One message on its way to the embedded source.
pub(super) struct Request {
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
    /// When it was accepted: nanoseconds since the Unix epoch.
    pub(super) time: u64,
    /// By which it is known again.
    pub(super) key: Option<String>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What became of a message for the embedded source.
#[derive(Debug)]
pub(super) enum Answer {
    /// The Feed said.
    Settled(Outcome),
    /// It had been there before, and got this seq then.
    Duplicate(u64),
}

/// A message that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its seq; `None` with core NATS, which gives none.
    pub seq: Option<u64>,
    /// It had been there before, by its key, and was not published again; the seq is that of then.
    pub duplicate: bool,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// The channel's name breaks the rules.
    InvalidChannel,
    /// The payload is over `payload_bytes_max`, or over what the upstream takes.
    TooLarge,
    /// The upstream is away, or did not answer within 5 s. It may have stored the message all the same.
    Unavailable,
    /// The channel would be one more than `channels_max`.
    ChannelLimit,
    /// A key was given, and core NATS does not know messages again.
    NoKeys,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidChannel => "the channel name is not legal",
            Self::TooLarge => "the payload is too large",
            Self::Unavailable => "the source is not available",
            Self::ChannelLimit => "the server keeps no more channels",
            Self::NoKeys => "the source does not know messages again",
        })
    }
}

impl std::error::Error for PublishError {}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = match &self.route {
            Route::Embedded(..) => "embedded",
            Route::Nats { .. } => "nats",
            Route::JetStream { .. } => "jetstream",
        };
        f.debug_struct("Publisher")
            .field("route", &route)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    pub(super) fn embedded(
        requests: mpsc::Sender<Request>,
        counts: Arc<Counts>,
        payload_bytes_max: usize,
    ) -> Self {
        Self {
            payload_bytes_max,
            route: Route::Embedded(requests, counts),
        }
    }

    pub(super) fn nats(client: Client, prefix: &str, payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max,
            route: Route::Nats {
                client,
                prefix: prefix.into(),
            },
        }
    }

    pub(super) fn jetstream(client: Client, prefix: &str, payload_bytes_max: usize) -> Self {
        let context = jetstream::ContextBuilder::new()
            .ack_timeout(ACCEPT_TIME_MAX)
            .build(client);
        Self {
            payload_bytes_max,
            route: Route::JetStream {
                context,
                prefix: prefix.into(),
            },
        }
    }

    /// What is known of the keys that the embedded source keeps.
    pub(crate) fn keys(&self) -> KeyStats {
        match &self.route {
            Route::Embedded(_, counts) => counts.get(),
            Route::Nats { .. } | Route::JetStream { .. } => KeyStats::default(),
        }
    }

    /// Whether the embedded source has ended. The others outlive every outage.
    pub(super) fn is_closed(&self) -> bool {
        match &self.route {
            Route::Embedded(requests, _) => requests.is_closed(),
            Route::Nats { .. } | Route::JetStream { .. } => false,
        }
    }

    /// Publishes one message. Embedded: returns when the message has its place. Core NATS: when it was
    /// written to the connection. JetStream: when the stream has stored it.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, channel: &str, payload: Bytes) -> Result<Published, PublishError> {
        self.publish_once(channel, payload, None).await
    }

    /// As [`Self::publish`], but not where a message of this channel was published with the same key
    /// lately: within the embedded source's [`Window`](super::Window), or the stream's `duplicate_window`.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_once(
        &self,
        channel: &str,
        payload: Bytes,
        key: Option<&str>,
    ) -> Result<Published, PublishError> {
        check_channel(channel).map_err(|_| PublishError::InvalidChannel)?;
        if self.payload_bytes_max != 0 && payload.len() > self.payload_bytes_max {
            return Err(PublishError::TooLarge);
        }
        // The same key on another channel is another message. No channel's name has a space, so whatever is
        // in the key, the first one is where the name ends.
        let id = key.map(|key| format!("{channel} {key}"));
        let accepted = async {
            match &self.route {
                Route::Embedded(requests, _) => {
                    publish_embedded(requests, channel, payload, id).await
                }
                Route::Nats { .. } if id.is_some() => Err(PublishError::NoKeys),
                Route::Nats { client, prefix } => {
                    publish_nats(client, format!("{prefix}{channel}"), payload).await
                }
                Route::JetStream { context, prefix } => {
                    publish_jetstream(context, format!("{prefix}{channel}"), payload, id).await
                }
            }
        };
        let answer = tokio::time::timeout(ACCEPT_TIME_MAX, accepted).await;
        answer.unwrap_or(Err(PublishError::Unavailable))
    }
}

async fn publish_embedded(
    requests: &mpsc::Sender<Request>,
    channel: &str,
    payload: Bytes,
    key: Option<String>,
) -> Result<Published, PublishError> {
    let (reply, outcome) = oneshot::channel();
    let time = super::unix_nanos();
    let request = Request {
        subject: channel.into(),
        payload,
        time,
        key,
        reply,
    };
    requests
        .send(request)
        .await
        .map_err(|_| PublishError::Unavailable)?;
    match outcome.await {
        Ok(Answer::Duplicate(seq)) => Ok(Published {
            seq: Some(seq),
            duplicate: true,
        }),
        Ok(Answer::Settled(Outcome::Published(seq))) => Ok(Published {
            seq: Some(seq),
            duplicate: false,
        }),
        Ok(Answer::Settled(Outcome::Refused(reason))) => Err(match reason {
            LostReason::InvalidSubject => PublishError::InvalidChannel,
            LostReason::TooLarge => PublishError::TooLarge,
            LostReason::ChannelLimit => PublishError::ChannelLimit,
            _ => PublishError::Unavailable,
        }),
        Ok(Answer::Settled(Outcome::Nothing | Outcome::Held)) | Err(_) => {
            Err(PublishError::Unavailable)
        }
    }
}

async fn publish_nats(
    client: &Client,
    subject: String,
    payload: Bytes,
) -> Result<Published, PublishError> {
    // The client would keep it until it is connected again, and the publisher would wait in vain.
    if client.connection_state() != State::Connected {
        return Err(PublishError::Unavailable);
    }
    client
        .publish(subject, payload)
        .await
        .map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
            PublishErrorKind::InvalidSubject => PublishError::InvalidChannel,
            PublishErrorKind::Send => PublishError::Unavailable,
        })?;
    client
        .flush()
        .await
        .map_err(|_| PublishError::Unavailable)?;
    Ok(Published {
        seq: None,
        duplicate: false,
    })
}

async fn publish_jetstream(
    context: &jetstream::Context,
    subject: String,
    payload: Bytes,
    id: Option<String>,
) -> Result<Published, PublishError> {
    if context.client().connection_state() != State::Connected {
        return Err(PublishError::Unavailable);
    }
    let refused = |error: jetstream::context::PublishError| match error.kind() {
        AckErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
        _ => PublishError::Unavailable,
    };
    let ack = match id {
        None => context.publish(subject, payload).await,
        Some(id) => {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, id.as_str());
            context
                .publish_with_headers(subject, headers, payload)
                .await
        }
    };
    let ack = ack.map_err(refused)?.await.map_err(refused)?;
    Ok(Published {
        seq: Some(ack.sequence),
        duplicate: ack.duplicate,
    })
}
