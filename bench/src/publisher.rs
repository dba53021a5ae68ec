//! Publishes at a steady rate, on a thread of its own so that reading does not delay it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Result;
use crate::clock;
use crate::source::Source;
use crate::topology::Topology;

/// The most messages that go out together when the publisher is late.
const TOGETHER_MAX: u64 = 64;

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Messages a second.
    pub(crate) rate: f64,
    /// How long.
    pub(crate) span: Duration,
    /// Bytes of a payload.
    pub(crate) payload: usize,
    /// Which channels.
    pub(crate) topology: Topology,
    /// Clients that receive, for what is expected to be delivered.
    pub(crate) clients: u32,
}

/// A publisher at work.
#[derive(Debug)]
pub(crate) struct Publisher {
    thread: JoinHandle<Result<Source>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    published: AtomicU64,
    expected: AtomicU64,
    stop: AtomicBool,
}

impl Publisher {
    /// Begins to publish.
    pub(crate) fn start(plan: Plan, mut source: Source) -> Self {
        let shared = Arc::<Shared>::default();
        let told = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            publish(&plan, &mut source, &told)?;
            Ok(source)
        });
        Self { thread, shared }
    }

    /// Messages published so far.
    pub(crate) fn published(&self) -> u64 {
        self.shared.published.load(Ordering::Acquire)
    }

    /// Deliveries that these messages must lead to.
    pub(crate) fn expected(&self) -> u64 {
        self.shared.expected.load(Ordering::Acquire)
    }

    /// Whether all is published, or cannot be.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends and gives the source back.
    pub(crate) fn finish(self) -> Result<Source> {
        self.shared.stop.store(true, Ordering::Release);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err("the publisher panicked".into()))
    }
}

fn publish(plan: &Plan, source: &mut Source, shared: &Shared) -> Result<()> {
    let subscribers = plan.topology.subscribers(plan.clients);
    let span = u64::try_from(plan.span.as_nanos())?;
    let began = clock::now();
    let (mut published, mut expected) = (0, 0);
    while !shared.stop.load(Ordering::Acquire) {
        let passed = clock::now() - began;
        if passed >= span {
            break;
        }
        // The first is due at once.
        let due = (passed as f64 / 1e9 * plan.rate) as u64 + 1;
        let at = clock::now();
        for _ in 0..(due - published).min(TOGETHER_MAX) {
            let channel = plan.topology.channel(published, plan.clients);
            source.put(channel, plan.payload, at);
            published += 1;
            let subscribers = subscribers.get(channel as usize).copied();
            expected += u64::from(subscribers.unwrap_or(0));
        }
        source.flush()?;
        shared.published.store(published, Ordering::Release);
        shared.expected.store(expected, Ordering::Release);
        let next = Duration::from_secs_f64(published as f64 / plan.rate);
        let passed = Duration::from_nanos(clock::now() - began);
        std::thread::sleep(next.saturating_sub(passed));
    }
    Ok(())
}
