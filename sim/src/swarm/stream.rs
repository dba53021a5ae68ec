//! The stream of a world: the rules of [`crate::jetstream`], and what the oracle is told of them.

use crate::jetstream::{self, Purge, Stored};
use crate::oracle::{LineId, Oracle};

#[derive(Debug)]
pub(crate) struct Stream {
    /// The number line at hand, as the oracle calls it.
    pub(crate) line: LineId,
    pub(crate) held: jetstream::Stream,
}

impl Stream {
    pub(crate) fn store(&mut self, oracle: &mut Oracle, message: Stored) {
        self.held.store(message);
        self.tell(oracle);
    }

    pub(crate) fn purge(&mut self, oracle: &mut Oracle, keep: u64) {
        self.held.purge(Purge {
            keep,
            ..Purge::default()
        });
        self.tell(oracle);
    }

    pub(crate) fn delete(&mut self, oracle: &mut Oracle, back: u64) {
        self.held.delete(self.held.last_seq().saturating_sub(back));
        self.tell(oracle);
    }

    pub(crate) fn recreate(&mut self, oracle: &mut Oracle, created: u64) {
        self.line = oracle.line();
        self.held.recreate(created);
    }

    pub(crate) fn roll_back(&mut self, oracle: &mut Oracle, back: u64) {
        let last = self.held.last_seq().saturating_sub(back);
        self.line = oracle.rolled_back(self.line, last);
        self.held.roll_back(last);
    }

    fn tell(&mut self, oracle: &mut Oracle) {
        for range in self.held.take_gone() {
            oracle.gone(self.line, range.from, range.to);
        }
    }
}
