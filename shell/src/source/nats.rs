//! The core NATS source: one subscription, at most once. What is lost while the connection is down,
//! or because messages came faster than they were taken, cannot be had again; it is reported, so
//! that the Feed announces it.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::{FutureExt, StreamExt};
use odin_core::config::FeedConfig;
use odin_core::feed::Command;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::link::{Link, SUBSCRIPTION_CAPACITY};
use super::{Message, NatsError, NatsOptions, Publisher, Upstream, UpstreamEvent};

/// How long a message must be missing to count as dropped.
const MISSING_TIME_MIN: Duration = Duration::from_millis(100);
/// Where messages can be that the client has read and that were not taken: in the queue, in our hands, and
/// between the client's count and the queue.
const PLACES: u64 = SUBSCRIPTION_CAPACITY as u64 + 2;

/// The core NATS source.
pub struct Nats {
    link: Link,
    subscriber: Subscriber,
    /// Whether the subscription was written to the first connection.
    subscribed: bool,
    /// A message that came before what must be told first.
    held: Option<async_nats::Message>,
    intake: Intake,
}

/// What the client read against what was taken from it. The subscription is all that this client
/// hears, so that the difference is what waits in the subscription's queue, or was dropped from it.
#[derive(Debug, Default)]
struct Intake {
    taken: u64,
    /// Messages known to have been dropped.
    dropped: u64,
    /// What is missing although the queue was empty, and since when.
    suspect: Option<(Instant, u64)>,
    /// How many must be taken before overflow is looked for again.
    next_look: u64,
}

impl Intake {
    /// The queue is empty: how many were dropped, once that is certain. The client counts a message
    /// just before it queues it, so that a message may be missing for a moment; one that is dropped
    /// stays missing.
    fn seen_empty(&mut self, messages_in: u64, now: Instant) -> Option<u64> {
        let missing = messages_in.saturating_sub(self.taken + self.dropped);
        if missing == 0 {
            self.suspect = None;
            return None;
        }
        let (since, least) = self.suspect.unwrap_or((now, missing));
        let least = least.min(missing);
        self.suspect = Some((since, least));
        if now.duration_since(since) < MISSING_TIME_MIN {
            return None;
        }
        self.suspect = None;
        self.dropped += least;
        Some(least)
    }

    /// A message was taken out of the queue and is not counted yet: how many were dropped for certain,
    /// because there is no place where they could be. Said once per queueful: the rest shows when
    /// the queue is empty.
    fn overflow(&mut self, messages_in: u64) -> Option<u64> {
        let missing = messages_in.saturating_sub(self.taken + self.dropped);
        let certain = missing.saturating_sub(PLACES);
        if self.taken < self.next_look || certain == 0 {
            return None;
        }
        self.next_look = self.taken + SUBSCRIPTION_CAPACITY as u64;
        self.dropped += certain;
        Some(certain)
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats")
            .field("intake", &self.intake)
            .finish_non_exhaustive()
    }
}

impl Nats {
    /// Subscribes to `subject`, now or as soon as NATS can be reached. Publishing puts `strip`
    /// before the channel's name.
    ///
    /// # Errors
    /// Options that cannot work; a NATS that is away is none.
    pub async fn new(
        options: &NatsOptions,
        subject: &str,
        strip: &str,
        config: &FeedConfig,
    ) -> Result<(Self, Publisher), NatsError> {
        let link = Link::new(options).await?;
        let subscriber = link.client().subscribe(subject.to_owned()).await;
        let subscriber = subscriber.map_err(|_| NatsError::Subject(subject.to_owned()))?;
        let publisher = Publisher::nats(link.client().clone(), strip, config.payload_bytes_max);
        let source = Self {
            link,
            subscriber,
            subscribed: false,
            held: None,
            intake: Intake::default(),
        };
        Ok((source, publisher))
    }

    /// Takes a message. What must be told before it is told first, and the message held.
    fn take(&mut self, message: async_nats::Message) -> UpstreamEvent {
        if self.link.is_reconnected()
            && let Some(event) = self.link.check()
        {
            self.held = Some(message);
            return event;
        }
        if let Some(count) = self.intake.overflow(self.link.messages_in()) {
            self.held = Some(message);
            return UpstreamEvent::Overloaded { count };
        }
        self.intake.taken += 1;
        UpstreamEvent::Message(Message {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: super::unix_nanos(),
            subject: message.subject,
            payload: message.payload,
        })
    }
}

impl Upstream for Nats {
    const CAN_WAIT: bool = false;

    async fn next(&mut self) -> Option<UpstreamEvent> {
        if !self.subscribed {
            // Ready means that what is published from now on is heard: the subscription must have
            // left before the connection is told of.
            written(self.link.client()).await;
            self.subscribed = true;
        }
        if let Some(message) = self.held.take() {
            return Some(self.take(message));
        }
        loop {
            // Outside of tokio's budget, which would make a queue look empty that is not.
            match unconstrained(self.subscriber.next()).now_or_never() {
                Some(message) => return Some(self.take(message?)),
                None => {
                    let messages_in = self.link.messages_in();
                    if let Some(count) = self.intake.seen_empty(messages_in, Instant::now()) {
                        return Some(UpstreamEvent::Overloaded { count });
                    }
                }
            }
            if let Some(event) = self.link.check() {
                return Some(event);
            }
            tokio::select! {
                biased;
                message = self.subscriber.next() => return Some(self.take(message?)),
                () = self.link.changed() => {}
            }
        }
    }

    /// The Feed gives this source no commands.
    fn carry_out(&mut self, _command: Command) {}
}

/// Waits until what was asked of the client so far is written to a connection.
async fn written(client: &Client) {
    // It fails only where the client has ended, which shows as the end of the subscription.
    let _ = client.flush().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_missing_from_an_empty_queue_was_dropped() {
        let start = Instant::now();
        let mut intake = Intake {
            taken: 10,
            ..Intake::default()
        };
        assert_eq!(intake.seen_empty(10, start), None);
        // Counted, and queued a moment later: one of the three is on its way.
        assert_eq!(intake.seen_empty(13, start), None);
        intake.taken = 11;
        let soon = start + MISSING_TIME_MIN / 2;
        assert_eq!(intake.seen_empty(13, soon), None);
        assert_eq!(intake.seen_empty(13, start + MISSING_TIME_MIN), Some(2));
        assert_eq!(intake.seen_empty(13, start + MISSING_TIME_MIN * 2), None);
    }

    #[test]
    fn more_than_the_queue_holds_is_said_once_per_queueful() {
        let mut intake = Intake {
            taken: 5,
            ..Intake::default()
        };
        assert_eq!(intake.overflow(5 + PLACES), None);
        assert_eq!(intake.overflow(5 + PLACES + 7), Some(7));
        assert_eq!(intake.overflow(5 + PLACES * 2), None);
        intake.taken += SUBSCRIPTION_CAPACITY as u64;
        let messages_in = intake.taken + 7 + PLACES;
        assert_eq!(intake.overflow(messages_in), None);
        assert_eq!(intake.overflow(messages_in + 1), Some(1));
        // Each is counted once: of what is missing when the queue is empty these are no part.
        intake.taken += PLACES - 2;
        let start = Instant::now();
        assert_eq!(intake.seen_empty(messages_in + 1, start), None);
        let later = start + MISSING_TIME_MIN;
        assert_eq!(intake.seen_empty(messages_in + 1, later), Some(2));
    }
}
