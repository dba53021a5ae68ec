//! What shards ask of the past of the stream: answered late, out of order, or not at all.

use std::sync::Arc;
use std::time::Duration;

use odin_core::history::{Fetch, Page};
use odin_core::shard::Input;
use odin_core::time::Instant;

use super::STRIP;
use super::rng::Rng;
use super::world::World;
use crate::marks::Mark;
use crate::past::Past;

/// For so long after a question went wrong a server may say that it could not ask.
const TROUBLE: Duration = Duration::from_secs(10);

/// A question that is under way.
#[derive(Debug)]
pub(super) struct Asked {
    /// When it is answered.
    pub(super) due: Instant,
    fetch: Fetch,
    answer: Answer,
}

/// What becomes of a question.
#[derive(Debug)]
enum Answer {
    /// What the stream held when it was asked.
    Early(Arc<Page>),
    /// What it holds when it answers.
    Late,
    /// There is none.
    Failure,
}

impl World {
    /// A shard asks.
    pub(super) fn ask_past(&mut self, at: usize, unit: usize, fetch: Fetch) {
        self.asked += 1;
        let mut rng = Rng::new(self.setup.seed ^ self.asked << 20);
        let connected = self.servers[at].link.connected;
        let troubled = !self.healing && self.setup.history_faults;
        let fails = !connected || troubled && rng.one_in(8);
        let millis = match troubled {
            true => rng.pick(&[0, 0, 5, 80, 700, 3_000]),
            false => rng.pick(&[0, 0, 1, 20]),
        };
        let answer = match fails {
            true => Answer::Failure,
            false if rng.one_in(2) => Answer::Early(Arc::new(self.past(&fetch))),
            false => Answer::Late,
        };
        if fails || millis >= 700 {
            self.trouble(at, Duration::from_millis(millis));
        }
        self.marks.hit_if(Mark::HistoryFailed, fails);
        let due = self.now + Duration::from_millis(millis);
        let past = &mut self.servers[at].units[unit].past;
        past.push(Asked { due, fetch, answer });
        self.marks.hit_if(Mark::HistoryAtOnce, past.len() > 1);
    }

    /// Answers a question that is due. `false`: there is none.
    pub(super) fn answer_past(&mut self, at: usize, unit: usize) -> Result<bool, super::Failure> {
        let now = self.now;
        let past = &mut self.servers[at].units[unit].past;
        let Some(next) = past.iter().position(|asked| asked.due <= now) else {
            return Ok(false);
        };
        let asked = past.remove(next);
        let page = match asked.answer {
            Answer::Early(page) => Some(page),
            Answer::Late => Some(Arc::new(self.past(&asked.fetch))),
            Answer::Failure => None,
        };
        if let Some(page) = &page {
            self.marks.hit(Mark::HistoryAnswered);
            let more = page.to() < page.extent.last_seq;
            self.marks.hit_if(Mark::HistoryInPages, more);
            self.marks
                .hit_if(Mark::HistoryUnproven, !page.extent.intact);
        } else {
            self.trouble(at, Duration::ZERO);
        }
        let request = asked.fetch.request;
        self.handle(at, unit, Input::History { request, page })?;
        Ok(true)
    }

    fn past(&self, fetch: &Fetch) -> Page {
        let past = Past {
            created: self.stream.held.created(),
            last_seq: self.stream.held.last_seq(),
            strip: STRIP,
            payload_bytes_max: self.setup.feed.payload_bytes_max,
            messages_max: self.setup.page_messages,
        };
        past.page(fetch, self.stream.held.held())
    }

    /// From now on, and for a while, a server may say that it could not ask.
    pub(super) fn trouble(&mut self, at: usize, wait: Duration) {
        let until = self.now + wait + TROUBLE;
        let server = &mut self.servers[at];
        server.trouble_until = server.trouble_until.max(until);
        for peer in 0..self.peers.len() {
            if self.peers[peer].home.is_some_and(|home| home.server == at) {
                self.excuse(peer, at);
            }
        }
    }

    /// Whoever hears from a server in trouble may hear of it.
    pub(super) fn excuse(&mut self, peer: usize, at: usize) {
        if self.now <= self.servers[at].trouble_until {
            self.oracle.may_be_unavailable(self.peers[peer].id);
        }
    }
}

/// When the first question is answered.
pub(super) fn due(past: &[Asked]) -> Option<Instant> {
    past.iter().map(|asked| asked.due).min()
}
