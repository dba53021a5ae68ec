//! A sink that keeps every event, and a source that runs into it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use odin_core::config::FeedConfig;
use odin_core::event::{Event, Kind};
use odin_core::feed::{Feed, Source};
use odin_shell::source::jetstream::{JetStream, JetStreamOptions};
use odin_shell::source::nats::Nats;
use odin_shell::source::{
    Clock, EventSink, NatsOptions, Publisher, SharedStatus, SourceStatus, Upstream, run,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long anything may take.
const TIME_MAX: Duration = Duration::from_secs(30);

/// All events so far.
#[derive(Clone, Default)]
pub struct Collected {
    events: Arc<Mutex<Vec<Event>>>,
    more: Arc<Notify>,
    /// Whether the sink says that it is full.
    full: Arc<Mutex<bool>>,
    /// Whether the sink stops whoever hands it an event.
    stopped: Arc<(Mutex<bool>, Condvar)>,
}

impl EventSink for Collected {
    fn send(&mut self, event: Event) {
        let (stopped, changed) = &*self.stopped;
        if *stopped.lock().unwrap() {
            // What else this thread was to do is done by another.
            tokio::task::block_in_place(|| {
                let stopped = stopped.lock().unwrap();
                drop(changed.wait_while(stopped, |stopped| *stopped).unwrap());
            });
        }
        self.events.lock().unwrap().push(event);
        self.more.notify_waiters();
    }

    fn is_full(&self) -> bool {
        *self.full.lock().unwrap()
    }

    async fn drained(&mut self) {
        loop {
            let more = self.more.notified();
            if !self.is_full() {
                return;
            }
            more.await;
        }
    }
}

impl Collected {
    /// Waits until `enough` says so of all events so far.
    #[track_caller]
    pub fn wait(&self, enough: impl Fn(&[Event]) -> bool) -> impl Future<Output = Vec<Event>> {
        let caller = std::panic::Location::caller();
        let this = self.clone();
        async move {
            let found = tokio::time::timeout(TIME_MAX, async {
                loop {
                    let more = this.more.notified();
                    let events = this.events();
                    if enough(&events) {
                        return events;
                    }
                    more.await;
                }
            });
            found.await.unwrap_or_else(|_| {
                let events = this.events();
                let tail = &events[events.len().saturating_sub(5)..];
                panic!(
                    "waited in vain at {caller}; {} events end with {tail:#?}",
                    events.len()
                )
            })
        }
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Stops whoever hands over an event, in the middle of it, until this is taken back.
    pub fn set_stopped(&self, stopped: bool) {
        let (is_stopped, changed) = &*self.stopped;
        *is_stopped.lock().unwrap() = stopped;
        changed.notify_all();
    }

    pub fn set_full(&self, full: bool) {
        *self.full.lock().unwrap() = full;
        self.more.notify_waiters();
    }
}

/// A source that runs into a [`Collected`]; it stops when dropped.
pub struct Running {
    pub events: Collected,
    pub publisher: Publisher,
    status: SharedStatus,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.events.set_stopped(false);
        self.task.abort();
    }
}

impl Running {
    pub fn start<U: Upstream + 'static>(feed: Feed, upstream: U, publisher: Publisher) -> Self {
        let events = Collected::default();
        let status = SharedStatus::default();
        let running = run(
            feed,
            upstream,
            events.clone(),
            Clock::start(),
            status.clone(),
        );
        let task = tokio::spawn(running);
        Self {
            events,
            publisher,
            status,
            task,
        }
    }

    pub async fn jetstream(url: &str, seed: u64) -> Self {
        let config = FeedConfig::default();
        let options = NatsOptions {
            url: url.into(),
            ..NatsOptions::default()
        };
        let stream = JetStreamOptions {
            stream: "TEST".into(),
            subject: "odin.token.>".into(),
        };
        let (upstream, publisher) = JetStream::new(&options, stream, "odin.token.", &config)
            .await
            .unwrap();
        let source = Source::JetStream {
            stream: "TEST".into(),
        };
        Self::start(
            Feed::new(config, source, "odin.token.", seed),
            upstream,
            publisher,
        )
    }

    pub async fn nats(url: &str) -> Self {
        let config = FeedConfig::default();
        let options = NatsOptions {
            url: url.into(),
            ..NatsOptions::default()
        };
        let (upstream, publisher) = Nats::new(&options, "odin.token.>", "odin.token.", &config)
            .await
            .unwrap();
        let source = Source::Nats {
            epoch: "boot".into(),
        };
        Self::start(
            Feed::new(config, source, "odin.token.", 1),
            upstream,
            publisher,
        )
    }

    pub fn status(&self) -> SourceStatus {
        self.status.get()
    }

    /// Waits until the status is as wanted.
    #[track_caller]
    pub fn status_is(&self, wanted: impl Fn(SourceStatus) -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let found = tokio::time::timeout(TIME_MAX, async {
                while !wanted(self.status()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            found
                .await
                .unwrap_or_else(|_| panic!("at {caller}: status {:?}", self.status()));
        }
    }

    pub async fn ready(&self) {
        self.events.wait(|events| ready_count(events) > 0).await;
    }
}

pub fn ready_count(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, Event::SourceReady(_)))
        .count()
}

/// How many messages there are, last values included.
pub fn message_count(events: &[Event]) -> usize {
    let kinds = |event: &Event| match event {
        Event::Published(p) => matches!(p.kind, Kind::Message | Kind::Snapshot),
        _ => false,
    };
    events.iter().filter(|event| kinds(event)).count()
}

/// Follows every channel as a client does: each `prev` is the seq before it, unless a `lost` or `reset`
/// precedes. Gives the last seq of each channel and the number of notices.
#[track_caller]
pub fn check_chains(events: &[Event]) -> (BTreeMap<String, u64>, usize) {
    let mut last = BTreeMap::new();
    let mut notices = 0;
    for event in events {
        match event {
            Event::Published(p) => {
                let before = last.insert(p.name.to_string(), p.seq);
                match before {
                    Some(before) => assert_eq!(p.prev, Some(before), "{} {}", p.name, p.seq),
                    None => assert!(matches!(p.prev, None | Some(0)), "{} {}", p.name, p.seq),
                }
            }
            Event::Lost(_) => notices += 1,
            Event::Reset(_) => {
                last.clear();
                notices += 1;
            }
            Event::SourceReady(_) | Event::Evict { .. } => {}
        }
    }
    (last, notices)
}
