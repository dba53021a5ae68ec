//! How often JetStream was asked for something, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What JetStream is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// The state of the stream (`STREAM.INFO`).
    Info,
    /// One message, of the stream's leader (`STREAM.MSG.GET`).
    Get,
    /// Many messages at once (`DIRECT.GET` with a batch).
    Batch,
    /// The last messages of many subjects at once (`DIRECT.GET` with `multi_last`).
    Last,
    /// A consumer (`CONSUMER.CREATE`).
    Consumer,
    /// Messages of a consumer (`CONSUMER.MSG.NEXT`).
    Next,
    /// The end of a consumer (`CONSUMER.DELETE`).
    Delete,
    /// Another configuration of the stream (`STREAM.UPDATE`), or a stream (`STREAM.CREATE`).
    Configure,
}

impl RequestKind {
    /// How many kinds there are.
    pub const COUNT: usize = 8;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Info,
        Self::Get,
        Self::Batch,
        Self::Last,
        Self::Consumer,
        Self::Next,
        Self::Delete,
        Self::Configure,
    ];

    /// Its label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Get => "get",
            Self::Batch => "batch",
            Self::Last => "last",
            Self::Consumer => "consumer",
            Self::Next => "next",
            Self::Delete => "delete",
            Self::Configure => "configure",
        }
    }
}

/// Counts requests by [`RequestKind`].
#[derive(Debug, Default)]
pub(super) struct Requests([AtomicU64; RequestKind::COUNT]);

impl Requests {
    /// Counts one.
    pub(super) fn count(&self, kind: RequestKind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were, in the order of [`RequestKind::ALL`].
    pub(super) fn get(&self) -> [u64; RequestKind::COUNT] {
        std::array::from_fn(|kind| self.0[kind].load(Ordering::Relaxed))
    }
}
