//! The way of the Feed's events to the shards, and how much of them waits there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use odin_core::event::Event;
use tokio::sync::Notify;

use super::shared::Shared;
use crate::source::EventSink;

/// Bytes of events that may wait for one shard before the source is made to wait.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many bytes of events wait for each shard.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Vec<AtomicUsize>,
    drained: Notify,
}

impl Backlog {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            waiting: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            drained: Notify::new(),
        }
    }

    fn add(&self, bytes: usize) {
        for waiting in &self.waiting {
            waiting.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// A shard has handled so many bytes.
    pub(crate) fn took(&self, shard: usize, bytes: usize) {
        let before = self.waiting[shard].fetch_sub(bytes, Ordering::Relaxed);
        let low = QUEUE_BYTES_MAX / 2;
        if before > low && before - bytes <= low {
            self.drained.notify_waiters();
        }
    }

    fn longest(&self) -> usize {
        let lengths = self
            .waiting
            .iter()
            .map(|waiting| waiting.load(Ordering::Relaxed));
        lengths.max().unwrap_or(0)
    }

    /// Waits until half of the room is free again, so that the source does not stop and go with every
    /// event.
    async fn drained(&self) {
        loop {
            let notified = self.drained.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if self.longest() <= QUEUE_BYTES_MAX / 2 {
                return;
            }
            notified.await;
        }
    }
}

/// The way of the Feed's events to all shards.
pub(crate) struct Sink {
    pub(crate) shared: Arc<Shared>,
}

impl EventSink for Sink {
    fn send(&mut self, event: Event) {
        self.shared.backlog.add(event.queued_bytes());
        self.shared.ports.event(event);
    }

    fn is_full(&self) -> bool {
        self.shared.backlog.longest() >= QUEUE_BYTES_MAX
    }

    async fn drained(&mut self) {
        self.shared.backlog.drained().await;
    }
}
