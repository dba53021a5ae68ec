//! How long a shard that is behind waits before it takes in more, so that its writes carry more.
//!
//! A write costs the kernel some ten times what one more message in it costs. A shard to which messages come while it
//! writes those before them would otherwise begin its next pass at once, with the few that came, and again, and so
//! take a whole core for small writes, from those who read as well. While it waits, more come. A shard that
//! finds its queue empty after a pass, which is every shard under light load, never waits.
//!
//! This decides how long; the loop waits, and the core knows nothing of it.

use std::time::Duration;

/// Messages per write from which on more of them would save little.
const ENOUGH: u64 = 16;

/// A shorter pass is followed by no pause: timers tick in milliseconds.
const PASS_MIN: Duration = Duration::from_millis(2);

/// A pause lasts this many times as long as the pass before it took. More saves little.
const PAUSE_PER_PASS: f64 = 1.5;

/// What is known of the pass under way.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest pause; 0: none at all.
    max: Duration,
    /// How long the writes of this pass have taken.
    took: Duration,
    /// Connections written to in this pass.
    writes: u64,
    /// Messages that the shard had sent when this pass began.
    sent: u64,
}

impl Pace {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            max,
            took: Duration::ZERO,
            writes: 0,
            sent: 0,
        }
    }

    /// A slice of the pass is done: how many connections were written to, and how long that took.
    pub(super) fn wrote(&mut self, writes: usize, took: Duration) {
        self.writes += writes as u64;
        self.took += took;
    }

    /// The pass is over, and the shard has now sent `sent` messages in all. Gives how long it is to wait, if
    /// events wait already.
    pub(super) fn pause(&mut self, sent: u64, events_wait: bool) -> Option<Duration> {
        let messages = sent - std::mem::replace(&mut self.sent, sent);
        let writes = std::mem::take(&mut self.writes);
        let took = std::mem::take(&mut self.took);
        let is_behind = events_wait && took >= PASS_MIN;
        let writes_little = messages < ENOUGH * writes;
        (is_behind && writes_little && !self.max.is_zero())
            .then(|| took.mul_f64(PAUSE_PER_PASS).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    const MS: Duration = Duration::from_millis(1);

    /// A pass over 100 connections in which each was sent `each` messages.
    fn pass(max: Duration, took: Duration, each: u64, events_wait: bool) -> Option<Duration> {
        let mut pace = Pace::new(max);
        pace.wrote(0, MS);
        assert_eq!(pace.pause(1_000, true), None, "nothing was written");
        pace.wrote(64, took / 2);
        pace.wrote(36, took / 2);
        let pause = pace.pause(1_000 + 100 * each, events_wait);
        assert_eq!(pace.pause(1_000 + 100 * each, true), None, "it is over");
        pause
    }

    #[test]
    fn who_is_behind_waits_in_proportion_and_not_for_longer_than_it_may() {
        assert_eq!(pass(10 * MS, 4 * MS, 1, true), Some(6 * MS));
        assert_eq!(pass(10 * MS, 4 * MS, 15, true), Some(6 * MS));
        assert_eq!(pass(10 * MS, 40 * MS, 1, true), Some(10 * MS));
    }

    #[test]
    fn nobody_else_waits() {
        let none = [
            ("events do not wait", pass(10 * MS, 4 * MS, 1, false)),
            ("a short pass", pass(10 * MS, MS, 1, true)),
            ("writes carry enough", pass(10 * MS, 4 * MS, 16, true)),
            ("it is off", pass(Duration::ZERO, 4 * MS, 1, true)),
        ];
        for (why, pause) in none {
            assert_eq!(pause, None, "{why}");
        }
    }
}
