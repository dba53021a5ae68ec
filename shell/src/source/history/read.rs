//! Reading the messages of a filter from a seq on: by batched direct get (ADR-31 of the NATS architecture), which
//! nats-server has from 2.11 on, else by a consumer that lives as long as the reading takes.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{HeaderMap, Message, StatusCode, Subject, Subscriber};
use futures_util::StreamExt;
use odin_core::history::{Anchor, PAGE_BYTES_MAX, PAGE_MESSAGES_MAX};
use serde_json::json;
use tokio::time::timeout;

use super::api::{ANSWER_TIME_MAX, Api, Away, Found, parse_time};
use crate::source::pull::Place;
use crate::source::requests::RequestKind;

/// The first version with batches.
const BATCHES_SINCE: (u64, u64) = (2, 11);
/// How long a request to a consumer waits for what does not come, in nanoseconds.
const WAIT_NANOS: u64 = 100_000_000;
/// How long the server keeps a consumer that was not deleted.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(5);

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Reading {
    after: u64,
    /// The message at `after` itself.
    pub(super) anchor: Option<(Subject, Anchor)>,
    /// The messages after `after`, ascending.
    pub(super) messages: Vec<Found>,
    /// Bytes of their payloads.
    bytes: usize,
    /// There is no room for more.
    full: bool,
    /// Nothing was behind the last one, as far as whoever answered knew.
    pub(super) ended: bool,
    /// Somebody else than the stream answered: a mirror of it.
    pub(super) mirrored: bool,
}

impl Reading {
    pub(super) fn new(after: u64) -> Self {
        Self {
            after,
            ..Self::default()
        }
    }

    /// What the messages come after.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// The last seq that was read, or that need not be.
    pub(super) fn last(&self) -> u64 {
        self.messages.last().map_or(self.after, |last| last.seq)
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Where the next one is looked for. The message at the start is wanted as well.
    fn next(&self) -> u64 {
        match self.messages.last() {
            Some(last) => last.seq.saturating_add(1),
            None if self.anchor.is_some() => self.after.saturating_add(1),
            None => self.after.max(1),
        }
    }

    /// How many more are wanted, the one at the start included.
    fn wanted(&self) -> usize {
        PAGE_MESSAGES_MAX + 1 - self.messages.len()
    }

    /// Takes the next message; `Break`: there is room for no more, or none behind it.
    fn take(&mut self, found: Found) -> Result<ControlFlow<()>, Away> {
        if found.seq < self.next() {
            return Err(Away);
        }
        self.ended = found.pending == Some(0);
        if found.seq == self.after {
            let (seq, time) = (found.seq, found.time);
            self.anchor = Some((found.subject, Anchor { seq, time }));
        } else {
            self.bytes += found.payload.len();
            self.messages.push(found);
            self.full = self.messages.len() >= PAGE_MESSAGES_MAX || self.bytes >= PAGE_BYTES_MAX;
        }
        Ok(if self.full || self.ended {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

/// How an answer came to its end.
enum End {
    /// All there is, or all there is room for.
    Done,
    /// The server stopped; there may be more.
    More,
    /// The server does not do this.
    Refused,
}

/// Reads messages.
pub(super) struct Reader {
    api: Api,
    /// The connection, by its number, on which no batch was to be had; 0: none.
    no_batches_on: AtomicU64,
}

impl Reader {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            no_batches_on: AtomicU64::new(0),
        }
    }

    /// Whether batches and `multi_last` are to be had.
    pub(super) fn has_batches(&self) -> bool {
        self.api.version().is_some_and(|is| is >= BATCHES_SINCE)
            && self.no_batches_on.load(Ordering::Relaxed) != self.connection()
    }

    fn connection(&self) -> u64 {
        let statistics = self.api.client().statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    /// From now on, on this connection, it is done in the way that every version knows.
    pub(super) fn refuse_batches(&self) {
        let connection = self.connection();
        if self.no_batches_on.swap(connection, Ordering::Relaxed) != connection {
            tracing::info!(
                stream = self.api.stream(),
                "no batched direct get: history is read by consumers"
            );
        }
    }

    /// Reads on until the reading has no room for more, or has everything. `again`: there is more than was found.
    pub(super) async fn read(
        &self,
        filter: &str,
        reading: &mut Reading,
        again: bool,
    ) -> Result<(), Away> {
        reading.ended = false;
        while !reading.full && !reading.ended {
            let before = reading.next();
            let end = if self.has_batches() {
                self.batch(filter, reading).await?
            } else {
                self.consume(filter, reading, again).await?
            };
            match end {
                End::Done => return Ok(()),
                End::More if reading.next() == before => return Err(Away),
                End::More => {}
                End::Refused => self.refuse_batches(),
            }
        }
        Ok(())
    }

    /// The bytes of one answer: room for the largest message on top of what a page takes.
    fn bytes_max(&self) -> usize {
        let message = self.api.client().max_payload();
        PAGE_BYTES_MAX.max(message).saturating_mul(2)
    }

    async fn batch(&self, filter: &str, reading: &mut Reading) -> Result<End, Away> {
        let body = json!({
            "batch": reading.wanted(),
            "seq": reading.next(),
            "next_by_subj": filter,
            "max_bytes": self.bytes_max(),
        });
        let subject = format!("$JS.API.DIRECT.GET.{}", self.api.stream());
        let asked = self.api.ask_many(RequestKind::Batch, subject, &body);
        let mut answers = asked.await?;
        let mut first = true;
        loop {
            let message = match next(&mut answers).await {
                Ok(message) => message,
                // Whoever may not ask gets no answer.
                Err(Away) if first => return Ok(End::Refused),
                Err(Away) => return Err(Away),
            };
            let Some(direct) = Direct::parse(&message) else {
                return end_of_batch(&message, reading);
            };
            let Some(found) = direct.found(&message) else {
                return Ok(End::Refused);
            };
            reading.mirrored |= direct.stream != self.api.stream();
            if reading.take(found)?.is_break() {
                return Ok(End::Done);
            }
            first = false;
        }
    }

    async fn consume(&self, filter: &str, reading: &mut Reading, again: bool) -> Result<End, Away> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: reading.next(),
            },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE_THRESHOLD,
            filter_subject: filter.to_owned(),
            ..Default::default()
        };
        self.api.count(RequestKind::Consumer);
        let context = self.api.context();
        let made = context.create_consumer_on_stream(config, self.api.stream());
        let made = timeout(ANSWER_TIME_MAX, made).await;
        let consumer = made.map_err(|_| Away)?.map_err(|_| Away)?;
        let name = &consumer.cached_info().name;
        let end = self.pull(name, reading, again).await;
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{name}", self.api.stream());
        self.api.tell(RequestKind::Delete, subject).await;
        end
    }

    /// One request to a consumer. Where limits removed messages, nats-server 2.9 counts what is pending wrongly, and
    /// ends a request that does not wait too early: `again`, it waits.
    async fn pull(&self, consumer: &str, reading: &mut Reading, again: bool) -> Result<End, Away> {
        let (key, value) = if again {
            ("expires", json!(WAIT_NANOS))
        } else {
            ("no_wait", json!(true))
        };
        let body = json!({
            "batch": reading.wanted(),
            "max_bytes": self.bytes_max(),
            key: value,
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.api.stream());
        let mut answers = self.api.ask_many(RequestKind::Next, subject, &body).await?;
        loop {
            let message = next(&mut answers).await?;
            let Some(place) = message.reply.as_deref().and_then(Place::parse) else {
                return match message.status {
                    Some(StatusCode::NOT_FOUND) => {
                        reading.ended = true;
                        Ok(End::Done)
                    }
                    Some(StatusCode::TIMEOUT) if again => {
                        reading.ended = true;
                        Ok(End::Done)
                    }
                    // The bytes or the time of the request are used up.
                    Some(StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED) => Ok(End::More),
                    Some(_) | None => Err(Away),
                };
            };
            let found = Found {
                seq: place.stream_seq,
                time: place.time,
                subject: message.subject,
                payload: message.payload,
                pending: None,
            };
            if reading.take(found)?.is_break() {
                return Ok(End::Done);
            }
        }
    }
}

/// The next message of an answer.
pub(super) async fn next(answers: &mut Subscriber) -> Result<Message, Away> {
    let next = timeout(ANSWER_TIME_MAX, answers.next()).await;
    next.ok().flatten().ok_or(Away)
}

/// What ends a batch: it has no message.
fn end_of_batch(message: &Message, reading: &mut Reading) -> Result<End, Away> {
    match message.status {
        Some(StatusCode::NOT_FOUND) => {
            reading.ended = true;
            Ok(End::Done)
        }
        Some(StatusCode::NO_RESPONDERS) => Ok(End::Refused),
        Some(status) if status.as_u16() == END_OF_BATCH => {
            let headers = message.headers.as_ref();
            if headers.and_then(|headers| number(headers, PENDING)) == Some(0) {
                reading.ended = true;
                return Ok(End::Done);
            }
            Ok(End::More)
        }
        Some(status) if status.as_u16() == BAD_REQUEST => Ok(End::Refused),
        Some(_) | None => Err(Away),
    }
}

const END_OF_BATCH: u16 = 204;
const BAD_REQUEST: u16 = 408;
const PENDING: &str = "Nats-Num-Pending";

/// A message of a direct get, by its headers. A stored message may have headers of these names as well: the
/// server's own come last.
pub(super) struct Direct<'a> {
    pub(super) stream: &'a str,
    pub(super) seq: u64,
    pub(super) time: u64,
    pub(super) subject: &'a str,
    /// `None`: the server does not know batches.
    pending: Option<u64>,
}

impl<'a> Direct<'a> {
    /// `None`: this is no stored message.
    pub(super) fn parse(message: &'a Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        Some(Self {
            stream: text(headers, "Nats-Stream")?,
            seq: number(headers, "Nats-Sequence")?,
            time: parse_time(text(headers, "Nats-Time-Stamp")?)?,
            subject: text(headers, "Nats-Subject")?,
            pending: number(headers, PENDING),
        })
    }

    fn found(&self, message: &Message) -> Option<Found> {
        Some(Found {
            seq: self.seq,
            time: self.time,
            subject: self.subject.into(),
            payload: message.payload.clone(),
            pending: Some(self.pending?),
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get_last(name).map(async_nats::HeaderValue::as_str)
}

/// A number in a header.
pub(super) fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}
