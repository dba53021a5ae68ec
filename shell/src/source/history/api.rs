//! The requests that history is asked by: each with a time limit, each counted.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::datetime::DateTime;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use odin_core::history::Anchor;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::source::requests::{RequestKind, Requests};
use crate::source::state::is_of_leader;

/// How long one answer, or the next message of an answer, may take.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// The code of an answer that says that there is no such message.
const NOT_FOUND: usize = 404;

/// JetStream could not be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Away;

/// A message as it was read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
    /// How many more there are behind it, as far as whoever answered knew; `None`: it did not say.
    pub(super) pending: Option<u64>,
}

/// What the leader of the stream says of it.
#[derive(Clone, Debug)]
pub(super) struct StreamState {
    /// Nanoseconds since the Unix epoch.
    pub(super) created: u64,
    /// Of an empty stream: the one after the last.
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    /// Messages deleted between the first and the last.
    pub(super) num_deleted: u64,
    /// Which, if that was asked for.
    pub(super) deleted: Option<Vec<u64>>,
    /// Whether others than the leader answer as well.
    pub(super) replicated: bool,
}

impl StreamState {
    /// Whether everything from `seq` on that was ever stored is there still.
    pub(super) fn is_whole_from(&self, seq: u64) -> bool {
        self.first_seq <= seq && self.num_deleted == 0
    }
}

/// The connection, and the stream that is asked.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    context: jetstream::Context,
    stream: String,
    requests: Arc<Requests>,
}

impl Api {
    pub(super) fn new(client: Client, stream: &str, requests: Arc<Requests>) -> Self {
        let context = jetstream::ContextBuilder::new()
            .timeout(ANSWER_TIME_MAX)
            .build(client.clone());
        Self {
            client,
            context,
            stream: stream.to_owned(),
            requests,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn context(&self) -> &jetstream::Context {
        &self.context
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    pub(super) fn count(&self, kind: RequestKind) {
        self.requests.count(kind);
    }

    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The client would keep a request until it is connected again.
    pub(super) fn connected(&self) -> Result<(), Away> {
        let connected = self.client.connection_state() == State::Connected;
        connected.then_some(()).ok_or(Away)
    }

    /// The version of the server that this connection leads to.
    pub(super) fn version(&self) -> Option<(u64, u64)> {
        let info = self.client.try_server_info()?;
        let mut parts = info.version.split('.');
        let mut part = || parts.next()?.parse().ok();
        Some((part()?, part()?))
    }

    /// A request that is answered by many messages.
    pub(super) async fn ask_many(
        &self,
        kind: RequestKind,
        subject: String,
        body: &Value,
    ) -> Result<Subscriber, Away> {
        self.count(kind);
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone());
        let answers = answers.await.map_err(|_| Away)?;
        let sent = self
            .client
            .publish_with_reply(subject, inbox, body.to_string().into());
        sent.await.map_err(|_| Away)?;
        Ok(answers)
    }

    /// A request that nobody waits for.
    pub(super) async fn tell(&self, kind: RequestKind, subject: String) {
        self.count(kind);
        let inbox = self.client.new_inbox();
        // It fails only where the client has ended.
        let _ = self
            .client
            .publish_with_reply(subject, inbox, Bytes::new())
            .await;
    }

    /// What the leader says of the stream; with the deleted seqs if `details`.
    pub(super) async fn state(&self, details: bool) -> Result<StreamState, Away> {
        self.count(RequestKind::Info);
        let subject = format!("STREAM.INFO.{}", self.stream);
        let body = if details {
            json!({ "deleted_details": true })
        } else {
            Value::Null
        };
        let asked = self
            .context
            .request::<_, _, Response<stream::Info>>(subject, &body);
        let Ok(Ok(Response::Ok(info))) = timeout(ANSWER_TIME_MAX, asked).await else {
            return Err(Away);
        };
        if !is_of_leader(&info) {
            return Err(Away);
        }
        let state = info.state;
        let first_seq = match state.messages {
            0 => state.last_sequence.saturating_add(1),
            _ => state.first_sequence,
        };
        Ok(StreamState {
            created: nanos(info.created),
            first_seq,
            last_seq: state.last_sequence,
            num_deleted: state.deleted_count.unwrap_or(0),
            deleted: details.then(|| state.deleted.unwrap_or_default()),
            replicated: info.config.num_replicas > 1,
        })
    }

    /// The first message of a subject, or of a filter, from `seq` on, as the stream's leader has it.
    pub(super) async fn first_from(&self, subject: &str, seq: u64) -> Result<Option<Anchor>, Away> {
        #[derive(Deserialize)]
        struct Answer {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            seq: u64,
            time: String,
        }
        self.count(RequestKind::Get);
        let body = json!({ "seq": seq.max(1), "next_by_subj": subject });
        let asked = self
            .context
            .request::<_, _, Response<Answer>>(format!("STREAM.MSG.GET.{}", self.stream), &body);
        match timeout(ANSWER_TIME_MAX, asked).await {
            Ok(Ok(Response::Ok(Answer { message }))) => {
                let time = parse_time(&message.time).ok_or(Away)?;
                let seq = message.seq;
                Ok(Some(Anchor { seq, time }))
            }
            Ok(Ok(Response::Err { error })) if error.code() == NOT_FOUND => Ok(None),
            Ok(Ok(Response::Err { .. }) | Err(_)) | Err(_) => Err(Away),
        }
    }
}

/// A time as JetStream writes it; nanoseconds since the Unix epoch.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    async_nats::datetime::parse_rfc3339(text).ok().map(nanos)
}

fn nanos(time: DateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos()).unwrap_or(0)
}
