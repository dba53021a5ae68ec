//! The history of a JetStream stream.
//!
//! A page is read in this order: the messages, then the state of the stream, then what precedes the messages. What is
//! read later proves what was read before: limits and purges take the oldest messages of a subject first, so that a
//! message which is there still at the end vouches for all of its subject behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use odin_core::history::{Anchor, Encoding, Extent, Fetch, Page, Stored};
use odin_core::name::check_channel;
use tokio::time::{sleep, timeout};

use super::api::{Api, Away, StreamState};
use super::lookup::Lookup;
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
/// Subjects that are verified at once.
const AT_ONCE: usize = 32;

/// The history of a JetStream stream, by batched direct get where the server has it, else by short-lived consumers.
pub struct JetStreamHistory {
    api: Api,
    reader: Reader,
    /// The subjects that are followed.
    filter: String,
    strip: String,
    payload_bytes_max: usize,
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

/// What precedes each message of a reading.
struct Before {
    /// Of the first message of each subject, where there is one.
    of_subject: BTreeMap<Subject, Anchor>,
    /// Up to this seq the messages of a subject may have lost others between them.
    broken_up_to: BTreeMap<Subject, u64>,
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
        let channel = check_channel(&fetch.topic).is_ok();
        let own = filter.filter(|_| channel).map(Subject::from);
        let before = self.before(&mut reading, &state, own.as_ref()).await?;
        let anchor = match own {
            Some(own) => before.of_subject.get(&own).copied(),
            None => reading.anchor,
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
        let stored = stored(&reading, &state, &before);
        Ok(Page::new(fetch, extent, &encoding, stored))
    }

    /// Reads the messages, then the state, and says how far the reading reaches.
    async fn read(&self, filter: &str, reading: &mut Reading) -> Result<(StreamState, u64), Away> {
        let mut tries = 0;
        loop {
            self.reader.read(filter, reading).await?;
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
            if !reading.messages.is_empty() || tries == BEHIND_TRIES {
                let to = (next.seq - 1).min(state.last_seq).max(last);
                return Ok((state, to));
            }
            sleep(BEHIND_PAUSE * tries).await;
        }
    }

    /// Finds out what precedes the messages. `own`: the subject of the channel, if it is one.
    async fn before(
        &self,
        reading: &mut Reading,
        state: &StreamState,
        own: Option<&Subject>,
    ) -> Result<Before, Away> {
        let after = reading.after();
        let mut counts: BTreeMap<Subject, (u64, usize)> = BTreeMap::new();
        for message in &reading.messages {
            let (_, count) = counts
                .entry(message.subject.clone())
                .or_insert((message.seq, 0));
            *count += 1;
        }
        let mut of_subject = BTreeMap::new();
        if let (Some(anchor), Some(subject)) = (reading.anchor, &reading.anchor_subject) {
            of_subject.insert(subject.clone(), anchor);
        }
        let wanted = counts.keys().chain(own);
        let wanted: std::collections::BTreeSet<_> = wanted
            .filter(|subject| !of_subject.contains_key(*subject) && self.is_followed(subject))
            .cloned()
            .collect();
        let wanted: Vec<Subject> = wanted.into_iter().collect();
        let lookup = Lookup {
            api: &self.api,
            reader: &self.reader,
            state,
            doubtful: state.replicated || reading.mirrored,
        };
        let looked_up = lookup.last_of_each(&wanted, after).await?;
        // These were found after the messages were read; the others have to be looked at again, unless nothing is
        // missing in the stream from them on.
        let at_anchor = of_subject
            .iter()
            .map(|(subject, anchor)| (subject.clone(), anchor.seq));
        let alone = counts
            .iter()
            .filter(|(subject, (_, count))| *count > 1 && !looked_up.contains_key(*subject))
            .filter(|(subject, _)| !of_subject.contains_key(*subject))
            .map(|(subject, (first, _))| (subject.clone(), *first));
        let unsettled = at_anchor
            .chain(alone)
            .filter(|(_, seq)| !state.is_whole_from(*seq));
        let found = stream::iter(unsettled.collect::<Vec<_>>()).map(|(subject, seq)| async move {
            let found = self.api.first_from(&subject, seq).await?;
            Ok((subject, seq, found.map_or(u64::MAX, |found| found.seq)))
        });
        let found: Vec<(Subject, u64, u64)> = found.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut broken_up_to = BTreeMap::new();
        for (subject, seq, found) in found {
            if found > seq {
                if reading.anchor_subject.as_ref() == Some(&subject) {
                    reading.anchor = None;
                }
                of_subject.remove(&subject);
                broken_up_to.insert(subject, found);
            }
        }
        of_subject.extend(looked_up);
        Ok(Before {
            of_subject,
            broken_up_to,
        })
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

/// The messages with what precedes them.
fn stored<'a>(
    reading: &'a Reading,
    state: &StreamState,
    before: &Before,
) -> impl Iterator<Item = Stored<'a>> {
    // Of a stream that never deleted anything, what is not there never was.
    let none = state.is_whole_from(1).then_some(0);
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    reading.messages.iter().map(move |message| {
        let subject = &message.subject;
        let broken = before.broken_up_to.get(subject);
        let known = last.insert(subject, message.seq);
        let prev = known.or_else(|| before.of_subject.get(subject).map(|anchor| anchor.seq));
        let prev = match broken {
            Some(up_to) if message.seq <= *up_to => None,
            Some(_) | None => prev.or(none),
        };
        Stored {
            seq: message.seq,
            prev,
            time: message.time,
            subject,
            payload: &message.payload,
        }
    })
}
