//! A JetStream pull consumer, spoken to directly: which requests keep messages flowing, and what each
//! answer is (ADR-13 of the NATS architecture, "Pull Subscribe internals"). The client library's own
//! streams hide heartbeats and hold no bound in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::{Client, StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};

use super::requests::{RequestKind, Requests};
use super::{Message, UpstreamEvent};

/// Messages of one request.
const BATCH: u64 = 5000;
/// How long the server keeps a request, in nanoseconds.
const EXPIRES_NANOS: u64 = 5_000_000_000;
/// How often the server says that it has nothing, in nanoseconds.
const HEARTBEAT_NANOS: u64 = 1_000_000_000;
/// Bytes of one request; more only where one message may be half as large.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// An open consumer and the inbox that it delivers to.
pub(super) struct Pull {
    client: Client,
    request_subject: String,
    inbox: String,
    messages: Subscriber,
    requests: Arc<Requests>,
    fetching: bool,
    /// Messages that the server may still send for the requests that it holds.
    requested: u64,
    /// What was taken in and not handed over yet.
    ahead: VecDeque<UpstreamEvent>,
}

/// What came from the inbox.
enum Reply {
    /// For the Feed.
    Report(UpstreamEvent),
    /// A request ended with so many messages unsent; `None`: unknown.
    RequestEnded { unsent: Option<u64> },
}

impl Pull {
    /// An inbox for the consumer; nothing is requested yet. `None`: the client has ended.
    pub(super) async fn new(
        client: &Client,
        stream: &str,
        consumer: &str,
        requests: Arc<Requests>,
    ) -> Option<Self> {
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.ok()?;
        Some(Self {
            client: client.clone(),
            request_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            inbox,
            messages,
            requests,
            fetching: false,
            requested: 0,
            ahead: VecDeque::new(),
        })
    }

    /// The consumer's name.
    pub(super) fn consumer(&self) -> &str {
        let name = self.request_subject.rsplit('.').next();
        name.unwrap_or_default()
    }

    /// Stops handing over, and takes in what has arrived. The seq of the last message of that; 0: there is
    /// none.
    pub(super) fn take_in(&mut self) -> u64 {
        self.fetching = false;
        while (self.ahead.len() as u64) < BATCH
            && let Some(Some(message)) = self.messages.next().now_or_never()
        {
            if let Some(report) = self.classified(message) {
                let ends = report == UpstreamEvent::Failed;
                self.ahead.push_back(report);
                if ends {
                    break;
                }
            }
        }
        let mut newest = self.ahead.iter().rev();
        let seq = newest.find_map(|report| match report {
            UpstreamEvent::Message(message) => Some(message.stream_seq),
            _ => None,
        });
        seq.unwrap_or(0)
    }

    pub(super) fn fetch(&mut self) {
        self.fetching = true;
    }

    pub(super) fn pause(&mut self) {
        self.fetching = false;
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// The next report. Cancel safe.
    pub(super) async fn next(&mut self) -> UpstreamEvent {
        if let Some(report) = self.ahead.pop_front() {
            self.fetching = report != UpstreamEvent::Failed;
            return report;
        }
        loop {
            // The next request goes out while the one before is half done, so that the server never
            // waits for one.
            if self.requested <= BATCH / 2 {
                if !self.request().await {
                    return self.failed();
                }
                self.requested += BATCH;
            }
            let Some(message) = self.messages.next().await else {
                return self.failed();
            };
            if let Some(report) = self.classified(message) {
                self.fetching = report != UpstreamEvent::Failed;
                return report;
            }
        }
    }

    /// What a message from the inbox means for the Feed, counted.
    fn classified(&mut self, message: async_nats::Message) -> Option<UpstreamEvent> {
        match classify(message) {
            Reply::Report(report) => {
                let is_message = matches!(report, UpstreamEvent::Message(_));
                self.requested = self.requested.saturating_sub(u64::from(is_message));
                Some(report)
            }
            Reply::RequestEnded { unsent } => {
                self.requested = self.requested.saturating_sub(unsent.unwrap_or(BATCH));
                None
            }
        }
    }

    async fn request(&self) -> bool {
        let bytes = BATCH_BYTES.max(self.client.max_payload().saturating_mul(2));
        let request = format!(
            r#"{{"batch":{BATCH},"max_bytes":{bytes},"expires":{EXPIRES_NANOS},"idle_heartbeat":{HEARTBEAT_NANOS}}}"#
        );
        self.requests.count(RequestKind::Next);
        let subject = self.request_subject.clone();
        let sent = self
            .client
            .publish_with_reply(subject, self.inbox.clone(), request.into());
        sent.await.is_ok()
    }

    fn failed(&mut self) -> UpstreamEvent {
        self.fetching = false;
        UpstreamEvent::Failed
    }
}

fn classify(message: async_nats::Message) -> Reply {
    let unsent = || {
        let headers = message.headers.as_ref()?;
        headers.get("Nats-Pending-Messages")?.as_str().parse().ok()
    };
    match message.status {
        None | Some(StatusCode::OK) => Reply::Report(stored(message)),
        Some(StatusCode::IDLE_HEARTBEAT) => Reply::Report(UpstreamEvent::Heartbeat),
        Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
            Reply::RequestEnded { unsent: unsent() }
        }
        Some(StatusCode::REQUEST_TERMINATED) => match message.description.as_deref() {
            // The request's bytes are used up: the consumer is well.
            Some("Batch Completed" | "Message Size Exceeds MaxBytes") => {
                Reply::RequestEnded { unsent: unsent() }
            }
            // The consumer was deleted, its leader changed, the server is stopping.
            _ => Reply::Report(UpstreamEvent::Failed),
        },
        Some(_) => Reply::Report(UpstreamEvent::Failed),
    }
}

/// A message of the stream; its reply subject says where it stands.
fn stored(message: async_nats::Message) -> UpstreamEvent {
    let Some(place) = message.reply.as_deref().and_then(Place::parse) else {
        return UpstreamEvent::Failed;
    };
    UpstreamEvent::Message(Message {
        stream_seq: place.stream_seq,
        consumer_seq: place.consumer_seq,
        pending: place.pending,
        time: place.time,
        subject: message.subject,
        payload: message.payload,
    })
}

/// Where a message stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) stream_seq: u64,
    consumer_seq: u64,
    pub(super) time: u64,
    pub(super) pending: u64,
}

impl Place {
    /// Reads the reply subject of a stored message (ADR-15):
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or with
    /// `<domain>.<account hash>` after `$JS.ACK`, and then perhaps a token at the end.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let before = match rest.split('.').count() {
            7 => 3,
            n if n >= 9 => 5,
            _ => return None,
        };
        let mut numbers = rest.split('.').skip(before).map(|token| token.parse().ok());
        let mut number = || numbers.next().flatten();
        // Both are counted from 1.
        let (stream_seq, consumer_seq) = (number()?, number()?);
        if stream_seq == 0 || consumer_seq == 0 {
            return None;
        }
        Some(Self {
            stream_seq,
            consumer_seq,
            time: number()?,
            pending: number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn the_place_is_read_from_both_forms_of_reply_subject() {
        let place = Place {
            stream_seq: 100,
            consumer_seq: 7,
            time: 1_790_230_470_084_404_000,
            pending: 42,
        };
        let v1 = "$JS.ACK.events.durable.3.100.7.1790230470084404000.42";
        let v2 = "$JS.ACK._.hash.events.durable.3.100.7.1790230470084404000.42";
        let v2_token = "$JS.ACK.hub.hash.events.durable.3.100.7.1790230470084404000.42.x9";
        for reply in [v1, v2, v2_token] {
            assert_eq!(Place::parse(reply), Some(place), "{reply}");
        }
        for reply in [
            "",
            "$JS.ACK.",
            "$JS.ACK.a.b.1.x.3.4.5",
            "_INBOX.a.b.c.d.e.f.g",
            "$JS.ACK.a.b.1.2.3.4",
            "$JS.ACK.a.b.1.0.3.4.5",
            "$JS.ACK.a.b.1.2.0.4.5",
        ] {
            assert_eq!(Place::parse(reply), None, "{reply}");
        }
    }
}
