//! The history of a JetStream stream.
//!
//! A page is read in this order: the messages, then the state of the stream, then what precedes the messages, so that
//! what is read later proves what was read before.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use odin_core::history::{Encoding, Extent, Fetch, Page};
use odin_core::name::check_channel;
use tokio::time::{sleep, timeout};

use super::api::{Api, Away, StreamState};
use super::chain::Chain;
use super::lookup::Lookup;
use super::memo::Memo;
use super::read::{Reader, Reading};
use super::{History, subject};
use crate::source::requests::{RequestKind, Requests};

/// How long a whole page may take.
const PAGE_TIME_MAX: Duration = Duration::from_secs(10);
/// More deleted messages than these are not looked through.
const DELETED_MAX: u64 = 100_000;
/// How often a replica that is behind is asked again, and how long it is given, longer each time.
const BEHIND_TRIES: u32 = 4;
const BEHIND_PAUSE: Duration = Duration::from_millis(5);

/// The history of a JetStream stream, by batched direct get where the server has it, else by short-lived consumers.
pub struct JetStreamHistory {
    api: Api,
    reader: Reader,
    /// The subjects that are followed.
    filter: String,
    strip: String,
    payload_bytes_max: usize,
    memo: Memo,
}

impl std::fmt::Debug for JetStreamHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamHistory")
            .field("stream", &self.api.stream())
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl History for JetStreamHistory {
    fn fetch(&self, fetch: Fetch) -> BoxFuture<'_, Option<Page>> {
        async move {
            let page = timeout(PAGE_TIME_MAX, self.page(&fetch)).await;
            page.ok().and_then(Result::ok)
        }
        .boxed()
    }

    fn requests(&self) -> [u64; RequestKind::COUNT] {
        self.api.requests().get()
    }
}

impl JetStreamHistory {
    /// `filter`: the subjects that are followed; `strip`: what they have in front of channels.
    pub(in crate::source) fn new(
        client: async_nats::Client,
        stream: &str,
        filter: &str,
        encoding: &Encoding<'_>,
        requests: Arc<Requests>,
    ) -> Self {
        let api = Api::new(client, stream, requests);
        Self {
            reader: Reader::new(api.clone()),
            api,
            filter: filter.to_owned(),
            strip: encoding.strip.to_owned(),
            payload_bytes_max: encoding.payload_bytes_max,
            memo: Memo::default(),
        }
    }

    async fn page(&self, fetch: &Fetch) -> Result<Page, Away> {
        self.api.connected()?;
        let wanted = subject::of_topic(&self.strip, &fetch.topic);
        let filter = subject::both(&wanted, &self.filter);
        let mut reading = Reading::new(fetch.after);
        let (state, to) = match &filter {
            Some(filter) => self.read(filter, &mut reading).await?,
            None => {
                let state = self.api.state(false).await?;
                let to = state.last_seq.max(fetch.after);
                (state, to)
            }
        };
        let known = self.memo.get(&wanted, fetch.after, state.created);
        let channel = check_channel(&fetch.topic).is_ok();
        let own = filter.filter(|_| channel).map(Subject::from);
        let lookup = Lookup {
            api: &self.api,
            reader: &self.reader,
            state: &state,
            doubtful: state.replicated || reading.mirrored,
        };
        let is_followed = |subject: &str| self.is_followed(subject);
        let chain = Chain::of(&reading, &lookup, own.as_ref(), is_followed, &known).await?;
        let anchor = match (&own, &reading.anchor) {
            (Some(own), _) => chain.before(own),
            (None, Some((subject, _))) if is_followed(subject) => {
                chain.before(subject).filter(|at| at.seq == fetch.after)
            }
            (None, _) => None,
        };
        let needed = !(channel && anchor.is_some());
        let intact = self.is_intact(&state, fetch.after, to, needed).await;
        let extent = Extent {
            created: state.created,
            last_seq: state.last_seq,
            to,
            intact,
            anchor,
        };
        let encoding = Encoding {
            strip: &self.strip,
            payload_bytes_max: self.payload_bytes_max,
        };
        let page = Page::new(fetch, extent, &encoding, chain.stored(&reading, &state));
        // What is beyond the end may yet come.
        if to <= state.last_seq {
            let known = chain.known(&reading, known);
            self.memo.put(&wanted, to, state.created, known);
        }
        Ok(page)
    }

    /// Reads the messages, then the state, and says how far the reading reaches.
    async fn read(&self, filter: &str, reading: &mut Reading) -> Result<(StreamState, u64), Away> {
        let mut tries = 0;
        loop {
            self.reader.read(filter, reading, tries > 0).await?;
            let state = self.api.state(false).await?;
            if !reading.ended {
                return Ok((state, reading.last()));
            }
            // Whoever answered may be behind the leader, and more may have come meanwhile.
            let last = reading.last();
            let next = self.api.first_from(filter, last.saturating_add(1)).await?;
            let Some(next) = next else {
                let to = state.last_seq.max(last);
                return Ok((state, to));
            };
            tries += 1;
            // With something to show it goes on once at most, and only where it may have ended too early.
            let enough = !reading.messages.is_empty() && (self.reader.has_batches() || tries > 1);
            if enough || reading.is_full() || tries == BEHIND_TRIES {
                let to = (next.seq - 1).min(state.last_seq).max(last);
                return Ok((state, to));
            }
            sleep(BEHIND_PAUSE * tries).await;
        }
    }

    /// Whether messages of this subject are of a channel.
    fn is_followed(&self, subject: &str) -> bool {
        subject
            .strip_prefix(&*self.strip)
            .is_some_and(|name| check_channel(name).is_ok())
    }

    /// Whether the stream provably deleted nothing in (`after`, `to`]. `needed`: it is worth a question.
    async fn is_intact(&self, state: &StreamState, after: u64, to: u64, needed: bool) -> bool {
        let next = after.saturating_add(1);
        if state.first_seq > next || state.num_deleted == 0 {
            return state.first_seq <= next;
        }
        if !needed || state.num_deleted > DELETED_MAX {
            return false;
        }
        // Where the details cannot be had, it is not known.
        let Ok(detailed) = self.api.state(true).await else {
            return false;
        };
        let deleted = detailed.deleted.unwrap_or_default();
        detailed.created == state.created
            && detailed.first_seq <= next
            && !deleted.iter().any(|seq| (next..=to).contains(seq))
    }
}
