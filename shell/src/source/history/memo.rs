//! What a reading leaves for the one that goes on where it ended: the last message of each subject. It need not be
//! looked up again, only proven.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use async_nats::Subject;
use odin_core::history::Anchor;

/// Readings that are remembered.
const READINGS_MAX: usize = 16;
/// Subjects of one reading; with more it is not remembered.
const SUBJECTS_MAX: usize = 10_000;

/// The last message of each subject.
pub(super) type Known = BTreeMap<Subject, Anchor>;

/// What the latest readings left.
#[derive(Debug, Default)]
pub(super) struct Memo(Mutex<VecDeque<Left>>);

#[derive(Debug)]
struct Left {
    filter: String,
    /// Where the reading ended.
    to: u64,
    /// The stream, by the time of its creation.
    created: u64,
    known: Known,
}

impl Memo {
    /// What is known where a reading is to begin. It may be gone from the stream meanwhile.
    pub(super) fn get(&self, filter: &str, after: u64, created: u64) -> Known {
        let memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = memo
            .iter()
            .find(|left| left.to == after && left.created == created && left.filter == filter);
        left.map(|left| left.known.clone()).unwrap_or_default()
    }

    /// Remembers where a reading ended.
    pub(super) fn put(&self, filter: &str, to: u64, created: u64, known: Known) {
        if known.is_empty() || known.len() > SUBJECTS_MAX {
            return;
        }
        let mut memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memo.retain(|left| left.to != to || left.filter != filter);
        memo.truncate(READINGS_MAX - 1);
        memo.push_front(Left {
            filter: filter.to_owned(),
            to,
            created,
            known,
        });
    }
}
