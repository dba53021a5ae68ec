//! Publishing by way of the configured source. Who may publish is decided by HTTP.

use std::fmt;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind as AckErrorKind;
use async_nats::{Client, Subject};
use bytes::Bytes;
use odin_core::feed::Outcome;
use odin_core::name::check_channel;
use odin_core::reason::LostReason;
use tokio::sync::{mpsc, oneshot};

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
    Embedded(mpsc::Sender<Request>),
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
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// A message that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its seq; `None` with core NATS, which gives none.
    pub seq: Option<u64>,
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
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidChannel => "the channel name is not legal",
            Self::TooLarge => "the payload is too large",
            Self::Unavailable => "the source is not available",
            Self::ChannelLimit => "the server keeps no more channels",
        })
    }
}

impl std::error::Error for PublishError {}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = match &self.route {
            Route::Embedded(_) => "embedded",
            Route::Nats { .. } => "nats",
            Route::JetStream { .. } => "jetstream",
        };
        f.debug_struct("Publisher")
            .field("route", &route)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    pub(super) fn embedded(requests: mpsc::Sender<Request>, payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max,
            route: Route::Embedded(requests),
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

    /// Whether the embedded source has ended. The others outlive every outage.
    pub(super) fn is_closed(&self) -> bool {
        match &self.route {
            Route::Embedded(requests) => requests.is_closed(),
            Route::Nats { .. } | Route::JetStream { .. } => false,
        }
    }

    /// Publishes one message. Embedded: returns when the message has its place. Core NATS: when it was
    /// written to the connection. JetStream: when the stream has stored it.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, channel: &str, payload: Bytes) -> Result<Published, PublishError> {
        check_channel(channel).map_err(|_| PublishError::InvalidChannel)?;
        if self.payload_bytes_max != 0 && payload.len() > self.payload_bytes_max {
            return Err(PublishError::TooLarge);
        }
        let accepted = async {
            match &self.route {
                Route::Embedded(requests) => publish_embedded(requests, channel, payload).await,
                Route::Nats { client, prefix } => {
                    publish_nats(client, format!("{prefix}{channel}"), payload).await
                }
                Route::JetStream { context, prefix } => {
                    publish_jetstream(context, format!("{prefix}{channel}"), payload).await
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
) -> Result<Published, PublishError> {
    let (reply, outcome) = oneshot::channel();
    let time = super::unix_nanos();
    let request = Request {
        subject: channel.into(),
        payload,
        time,
        reply,
    };
    requests
        .send(request)
        .await
        .map_err(|_| PublishError::Unavailable)?;
    match outcome.await {
        Ok(Outcome::Published(seq)) => Ok(Published { seq: Some(seq) }),
        Ok(Outcome::Refused(LostReason::InvalidSubject)) => Err(PublishError::InvalidChannel),
        Ok(Outcome::Refused(LostReason::TooLarge)) => Err(PublishError::TooLarge),
        Ok(Outcome::Refused(LostReason::ChannelLimit)) => Err(PublishError::ChannelLimit),
        Ok(Outcome::Refused(_) | Outcome::Nothing | Outcome::Held) | Err(_) => {
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
    Ok(Published { seq: None })
}

async fn publish_jetstream(
    context: &jetstream::Context,
    subject: String,
    payload: Bytes,
) -> Result<Published, PublishError> {
    if context.client().connection_state() != State::Connected {
        return Err(PublishError::Unavailable);
    }
    let refused = |error: jetstream::context::PublishError| match error.kind() {
        AckErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
        _ => PublishError::Unavailable,
    };
    let ack = context.publish(subject, payload).await.map_err(refused)?;
    let ack = ack.await.map_err(refused)?;
    Ok(Published {
        seq: Some(ack.sequence),
    })
}
