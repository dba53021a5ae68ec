//! Who publishes, and who keeps the ledger: the same, so that nothing is published while the stream is purged or made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{Context, consumer, stream};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Mutex;

use crate::ledger::Ledger;
use crate::stream::create_stream;
use crate::survivor::unix_micros;

/// What the writer and those who disturb it share: whoever holds it, nobody publishes.
pub(crate) struct Book {
    pub(crate) jetstream: Context,
    pub(crate) ledger: Ledger,
    /// The number of the stream.
    pub(crate) stream: usize,
    /// The ledger has everything up to this seq.
    read_to: u64,
}

impl Book {
    pub(crate) async fn new(jetstream: Context) -> Self {
        create_stream(&jetstream).await;
        Self {
            jetstream,
            ledger: Ledger {
                lines: vec![Default::default()],
            },
            stream: 0,
            read_to: 0,
        }
    }

    /// The stream, which must be there within half a minute.
    pub(crate) async fn stream(&self) -> stream::Stream {
        for _ in 0..300 {
            if let Ok(stream) = self.jetstream.get_stream("ODIN_TOKENS").await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the stream cannot be read");
    }

    /// Reads into the ledger what was stored since it was last read.
    pub(crate) async fn read(&mut self) {
        loop {
            match self.try_read().await {
                Ok(()) => return,
                Err(error) => {
                    eprintln!("the stream is read again: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn try_read(&mut self) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut stream = self.stream().await;
        let last = stream
            .info()
            .await
            .map_err(|e| text(&e))?
            .state
            .last_sequence;
        if last <= self.read_to {
            return Ok(());
        }
        let config = consumer::pull::Config {
            ack_policy: consumer::AckPolicy::None,
            deliver_policy: consumer::DeliverPolicy::ByStartSequence {
                start_sequence: self.read_to + 1,
            },
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| text(&e))?;
        while self.read_to < last {
            let batch = consumer.batch().max_messages(5_000);
            let batch = batch.expires(Duration::from_secs(1)).messages().await;
            let messages = batch.map_err(|e| text(&e))?.try_collect::<Vec<_>>().await;
            let messages = messages.map_err(|e| text(&e))?;
            if messages.is_empty() {
                // What is left until the end was purged before.
                self.read_to = last;
            }
            for message in messages {
                let seq = message.info().map_err(|e| text(&e))?.stream_sequence;
                let channel = message.subject.strip_prefix("odin.token.").unwrap_or("");
                let data = serde_json::from_slice(&message.payload).map_err(|e| text(&e))?;
                let line = &mut self.ledger.lines[self.stream];
                line.entry(channel.to_owned())
                    .or_default()
                    .insert(seq, data);
                self.read_to = self.read_to.max(seq);
            }
        }
        Ok(())
    }

    /// Deletes the stream and makes it again.
    pub(crate) async fn recreate(&mut self) {
        self.read().await;
        for _ in 0..300 {
            match self.jetstream.delete_stream("ODIN_TOKENS").await {
                Ok(_) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        create_stream(&self.jetstream).await;
        self.ledger.lines.push(Default::default());
        self.stream += 1;
        self.read_to = 0;
    }

    /// Purges the stream: all of it, or of one channel, or all up to a seq.
    pub(crate) async fn purge(&mut self, channel: Option<&str>, up_to: Option<u64>) {
        self.read().await;
        let subject = channel.map(|channel| format!("odin.token.{channel}"));
        for _ in 0..300 {
            let stream = self.stream().await;
            let purge = stream.purge();
            let purged = match (&subject, up_to) {
                (Some(subject), _) => purge.filter(subject.clone()).await.is_ok(),
                (None, Some(seq)) => purge.sequence(seq).await.is_ok(),
                (None, None) => purge.await.is_ok(),
            };
            if purged {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the stream cannot be purged");
    }

    /// The last seq that the ledger has.
    pub(crate) fn read_to(&self) -> u64 {
        self.read_to
    }
}

/// The channel of the message with this number.
pub(crate) fn channel(n: u64, channels: u64) -> String {
    let n = n % channels;
    format!("g{}.c{}", n % 5, n / 5)
}

/// Publishes until it is dropped: so many messages every 20 ms, each until it is acknowledged or failed.
pub(crate) async fn write(
    book: Arc<Mutex<Book>>,
    published: Arc<AtomicU64>,
    channels: u64,
    batch: u64,
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let book = book.lock().await;
        let mut acks = Vec::new();
        for _ in 0..batch {
            let n = published.fetch_add(1, Ordering::Relaxed);
            let subject = format!("odin.token.{}", channel(n, channels));
            let at = unix_micros();
            let data = json!({"stream": book.stream, "n": n, "at": at}).to_string();
            acks.push(book.jetstream.publish(subject, data.into()).await);
        }
        // Whether it was stored or not shows when the stream is read.
        let acks = acks.into_iter().flatten();
        join_all(acks.map(std::future::IntoFuture::into_future)).await;
    }
}
