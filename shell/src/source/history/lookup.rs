//! What precedes a page: the last message of a subject up to a seq.
//!
//! From 2.11 on one request answers for many subjects (`multi_last`, ADR-31 of the NATS architecture), but perhaps by
//! a replica that is behind. The leader alone knows only the first message from a seq on: the last up to one is
//! found by going back in growing steps, and then by halving.

use async_nats::{StatusCode, Subject};
use futures_util::{StreamExt, TryStreamExt, stream};
use odin_core::history::Anchor;
use serde_json::json;

use super::api::{Api, Away, StreamState};
use super::memo::Known;
use super::read::{Direct, Reader, next, number};
use crate::source::requests::RequestKind;

/// Subjects of one request; a server refuses more than 1,024.
const SUBJECTS_MAX: usize = 512;
/// Bytes of one answer: each of the messages comes whole.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Subjects that the leader is asked for at once.
const AT_ONCE: usize = 32;
/// The first step back, and how much longer each is than the one before.
const STEP_FIRST: u64 = 16;
const STEP_GROWTH: u64 = 4;

/// Looks up what the stream holds up to a seq.
pub(super) struct Lookup<'a> {
    pub(super) api: &'a Api,
    pub(super) reader: &'a Reader,
    pub(super) state: &'a StreamState,
    /// Whether others than the leader answer as well, which may be behind.
    pub(super) doubtful: bool,
}

impl Lookup<'_> {
    /// The last message of each subject with a seq of at most `up_to`, of those that have one. `known`: what some of
    /// them were.
    pub(super) async fn last_of_each(
        &self,
        subjects: &[Subject],
        up_to: u64,
        known: &Known,
    ) -> Result<Known, Away> {
        let up_to = up_to.min(self.state.last_seq);
        if subjects.is_empty() || up_to < self.state.first_seq {
            return Ok(Known::new());
        }
        let mut hints = Known::new();
        if self.reader.has_batches() {
            for subjects in subjects.chunks(SUBJECTS_MAX) {
                self.last_messages(subjects, up_to, &mut hints).await?;
            }
            if !self.doubtful && self.reader.has_batches() {
                return Ok(hints);
            }
        }
        let hints = &hints;
        let found = stream::iter(subjects.to_vec()).map(|subject| async move {
            let hint = hints.get(&subject).or_else(|| known.get(&subject));
            let hint = hint.map(|hint| hint.seq);
            let last = self.last_of(&subject, up_to, hint).await?;
            Ok(last.map(|last| (subject, last)))
        });
        let found = found.buffer_unordered(AT_ONCE);
        let found: Vec<Option<_>> = found.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Asks for the last messages of many subjects, as far as the answering server knows.
    async fn last_messages(
        &self,
        subjects: &[Subject],
        up_to: u64,
        last: &mut Known,
    ) -> Result<(), Away> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.api.stream());
        let names: Vec<&str> = subjects.iter().map(Subject::as_str).collect();
        let mut from = 1;
        loop {
            let body = json!({
                "seq": from,
                "multi_last": names,
                "up_to_seq": up_to,
                "max_bytes": ANSWER_BYTES_MAX,
            });
            let asked = self.api.ask_many(RequestKind::Last, subject.clone(), &body);
            let mut answers = asked.await?;
            let before = from;
            let end = loop {
                let message = next(&mut answers).await?;
                let Some(direct) = Direct::parse(&message) else {
                    break message;
                };
                let (seq, time) = (direct.seq, direct.time);
                last.insert(direct.subject.into(), Anchor { seq, time });
                from = from.max(seq.saturating_add(1));
            };
            let headers = end.headers.as_ref();
            let pending = headers.and_then(|headers| number(headers, "Nats-Num-Pending"));
            match end.status {
                Some(StatusCode::NOT_FOUND) => return Ok(()),
                Some(StatusCode::NO_RESPONDERS) => {
                    self.reader.refuse_batches();
                    return Ok(());
                }
                Some(_) if pending == Some(0) => return Ok(()),
                Some(_) if pending.is_some() && from > before => {}
                Some(_) | None => return Err(Away),
            }
        }
    }

    /// The last message of a subject with a seq of at most `up_to`, as the leader has it. `hint`: there was one.
    async fn last_of(
        &self,
        subject: &str,
        up_to: u64,
        hint: Option<u64>,
    ) -> Result<Option<Anchor>, Away> {
        let floor = self.state.first_seq;
        let first_from = async |seq| {
            let found = self.api.first_from(subject, seq).await?;
            Ok(found.filter(|found| found.seq <= up_to))
        };
        // Nothing is above this one.
        let mut top = up_to;
        let mut from = hint.unwrap_or(up_to).clamp(floor, up_to);
        let mut step = STEP_FIRST;
        let mut last = loop {
            if let Some(found) = first_from(from).await? {
                break found;
            }
            if from <= floor {
                return Ok(None);
            }
            top = from - 1;
            from = up_to.saturating_sub(step).clamp(floor, top);
            step = step.saturating_mul(STEP_GROWTH);
        };
        // The very next is tried first: most often there is none.
        let mut above = last.seq + 1;
        while last.seq < top {
            match first_from(above).await? {
                Some(found) => last = found,
                None => top = above - 1,
            }
            above = last.seq + (top.saturating_sub(last.seq)).div_ceil(2);
        }
        Ok(Some(last))
    }
}
