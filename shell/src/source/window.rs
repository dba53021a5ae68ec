//! The messages that the embedded source knows again: by a key that the publisher gave, for a while.
//!
//! A key is remembered from the moment at which its message has its place, and the source takes one message
//! after the other, so no two of one key can be on their way. How long and how many is bounded; what is
//! forgotten before its time is counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// For how long messages are known again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// How long a key is remembered.
    pub span: Duration,
    /// How many are, at the most; at least 1.
    pub keys_max: usize,
}

impl Default for Window {
    /// Two minutes, which is what JetStream does, and 10,000 keys.
    fn default() -> Self {
        Self {
            span: Duration::from_secs(120),
            keys_max: 10_000,
        }
    }
}

/// What was counted, for whoever asks from another thread.
#[derive(Debug, Default)]
pub(super) struct Counts {
    kept: AtomicU64,
    dropped: AtomicU64,
}

/// A copy of [`Counts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct KeyStats {
    /// Keys that are remembered.
    pub(crate) kept: u64,
    /// Keys forgotten before their time.
    pub(crate) dropped: u64,
}

impl Counts {
    pub(super) fn get(&self) -> KeyStats {
        KeyStats {
            kept: self.kept.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// The keys that are remembered.
#[derive(Debug)]
pub(super) struct Keys {
    window: Window,
    /// The seq of the message of each.
    seqs: HashMap<Arc<str>, u64>,
    /// Oldest first.
    order: VecDeque<(Instant, Arc<str>)>,
    counts: Arc<Counts>,
}

impl Keys {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            seqs: HashMap::new(),
            order: VecDeque::new(),
            counts: Arc::default(),
        }
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// The seq of the message that had this key.
    pub(super) fn find(&mut self, now: Instant, key: &str) -> Option<u64> {
        let span = self.window.span;
        while self
            .order
            .front()
            .is_some_and(|(since, _)| now.duration_since(*since) >= span)
        {
            self.forget();
        }
        self.seqs.get(key).copied()
    }

    /// Remembers a key that was not found.
    pub(super) fn insert(&mut self, now: Instant, key: String, seq: u64) {
        if self.order.len() >= self.window.keys_max.max(1) {
            self.forget();
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let key: Arc<str> = key.into();
        self.seqs.insert(Arc::clone(&key), seq);
        self.order.push_back((now, key));
        self.count();
    }

    fn forget(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.seqs.remove(&key);
        }
        self.count();
    }

    fn count(&self) {
        let kept = u64::try_from(self.order.len()).unwrap_or(u64::MAX);
        self.counts.kept.store(kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{KeyStats, Keys, Window};

    #[test]
    fn a_key_is_known_for_its_time_and_no_more_than_so_many_are() {
        let mut keys = Keys::new(Window {
            span: Duration::from_secs(10),
            keys_max: 2,
        });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(keys.find(at(0), "a"), None);
        keys.insert(at(0), "a".into(), 1);
        keys.insert(at(5), "b".into(), 2);
        assert_eq!(
            (keys.find(at(9), "a"), keys.find(at(9), "b")),
            (Some(1), Some(2))
        );
        assert_eq!(
            (keys.find(at(10), "a"), keys.find(at(10), "b")),
            (None, Some(2))
        );
        keys.insert(at(11), "c".into(), 3);
        let stats = |kept, dropped| KeyStats { kept, dropped };
        assert_eq!(keys.counts().get(), stats(2, 0));
        keys.insert(at(12), "d".into(), 4);
        assert_eq!(keys.counts().get(), stats(2, 1));
        assert_eq!(
            (keys.find(at(12), "b"), keys.find(at(12), "c")),
            (None, Some(3))
        );
        assert_eq!(keys.find(at(60), "d"), None);
        assert_eq!(keys.counts().get(), stats(0, 1));
    }
}
