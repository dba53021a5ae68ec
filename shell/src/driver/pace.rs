//! How long a shard that is behind waits before it takes in more, so that its writes carry more.
//!
//! A write costs the kernel some ten times what one more message in it costs. A shard to which messages come while it
//! writes those before them would otherwise begin its next pass at once, with the few that came, and again, and so
//! take a whole core for small writes, from those who read as well. While it waits, more come.
//!
//! That helps where they are for the same connections. Where they are for many different ones a write carries one
//! message however long the shard waits, so a pause whose pass did not carry more is followed by passes without any.
//!
//! This decides how long; the loop waits, and the core knows nothing of it.

use std::time::Duration;

/// Messages per write from which on more of them would save little.
const ENOUGH: u64 = 16;

/// Messages in two writes from which on a pause has paid.
const PAID: u64 = 3;

/// Pauses that are left out after one that has not paid: so many, doubled each time up to so many.
const LEFT_OUT: (u32, u32) = (4, 256);

/// A shorter pass is followed by no pause: timers tick in milliseconds.
const PASS_MIN: Duration = Duration::from_millis(2);

/// A pause lasts this many times as long as the pass before it took. More saves little.
const PAUSE_PER_PASS: f64 = 1.5;

/// What a pass over the connections did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// How long its writes took.
    took: Duration,
    /// Connections written to.
    writes: u64,
    /// Messages that were sent.
    messages: u64,
}

/// What is known of the pass under way, and what came of pauses.
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
    /// There was a pause, of which nothing has been seen yet.
    paused: bool,
    /// Pauses that are still left out.
    leave_out: u32,
    /// How many were left out the last time; 0: the last pause has paid.
    left_out: u32,
}

impl Pace {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            max,
            took: Duration::ZERO,
            writes: 0,
            sent: 0,
            paused: false,
            leave_out: 0,
            left_out: 0,
        }
    }

    /// A slice of the pass is done: how many connections were written to, and how long that took.
    pub(super) fn wrote(&mut self, writes: usize, took: Duration) {
        self.writes += writes as u64;
        self.took += took;
    }

    /// The pass is over, and the shard has now sent `sent` messages in all.
    pub(super) fn over(&mut self, sent: u64) -> Pass {
        Pass {
            took: std::mem::take(&mut self.took),
            writes: std::mem::take(&mut self.writes),
            messages: sent - std::mem::replace(&mut self.sent, sent),
        }
    }

    /// How long to wait after a pass, while `waiting` events wait, of which the next intake takes `intake` at most: more
    /// than that would not be carried by the next writes anyway.
    pub(super) fn pause(&mut self, pass: Pass, waiting: usize, intake: usize) -> Option<Duration> {
        if pass.writes > 0 && std::mem::take(&mut self.paused) {
            self.learn(pass);
        }
        let is_behind = (1..intake).contains(&waiting) && pass.took >= PASS_MIN;
        let writes_little = pass.messages < ENOUGH * pass.writes;
        if !is_behind || !writes_little || self.max.is_zero() {
            return None;
        }
        if self.leave_out > 0 {
            self.leave_out -= 1;
            return None;
        }
        self.paused = true;
        Some(pass.took.mul_f64(PAUSE_PER_PASS).min(self.max))
    }

    /// What a pause has brought shows in the pass after it.
    fn learn(&mut self, pass: Pass) {
        let (first, most) = LEFT_OUT;
        self.left_out = match 2 * pass.messages < PAID * pass.writes {
            true => (2 * self.left_out).clamp(first, most),
            false => 0,
        };
        self.leave_out = self.left_out;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, Pass};

    const MS: Duration = Duration::from_millis(1);

    /// A pass over 100 connections in which each was sent `each` messages.
    fn passed(pace: &mut Pace, took: Duration, each: u64) -> Pass {
        let sent = pace.sent;
        pace.wrote(64, took / 2);
        pace.wrote(36, took / 2);
        let pass = pace.over(sent + 100 * each);
        assert_eq!(pace.over(sent + 100 * each).messages, 0, "it is over");
        pass
    }

    fn after(max: Duration, took: Duration, each: u64, waiting: usize) -> Option<Duration> {
        let mut pace = Pace::new(max);
        let nothing = pace.over(1_000);
        assert_eq!(pace.pause(nothing, 1, 256), None, "nothing was written");
        let pass = passed(&mut pace, took, each);
        pace.pause(pass, waiting, 256)
    }

    #[test]
    fn who_is_behind_waits_in_proportion_and_not_for_longer_than_it_may() {
        assert_eq!(after(10 * MS, 4 * MS, 1, 1), Some(6 * MS));
        assert_eq!(after(10 * MS, 4 * MS, 15, 255), Some(6 * MS));
        assert_eq!(after(10 * MS, 40 * MS, 1, 1), Some(10 * MS));
    }

    #[test]
    fn nobody_else_waits() {
        let none = [
            ("events do not wait", after(10 * MS, 4 * MS, 1, 0)),
            ("a whole intake waits", after(10 * MS, 4 * MS, 1, 256)),
            ("a short pass", after(10 * MS, MS, 1, 1)),
            ("writes carry enough", after(10 * MS, 4 * MS, 16, 1)),
            ("it is off", after(Duration::ZERO, 4 * MS, 1, 1)),
        ];
        for (why, pause) in none {
            assert_eq!(pause, None, "{why}");
        }
    }

    /// How many pauses 10,000 passes have in which each write carries `each` messages.
    fn pauses(each: u64) -> usize {
        let mut pace = Pace::new(10 * MS);
        let paused = (0..10_000).filter(|_| {
            let pass = passed(&mut pace, 4 * MS, each);
            pace.pause(pass, 1, 256).is_some()
        });
        paused.count()
    }

    #[test]
    fn pauses_that_bring_nothing_become_rare() {
        assert_eq!(pauses(2), 10_000);
        // After the first seven 4, 8, … 256 are left out, and 256 after each of the others.
        assert_eq!(pauses(1), 44);
    }

    #[test]
    fn a_pause_that_pays_is_followed_by_more() {
        let mut pace = Pace::new(10 * MS);
        for _ in 0..100 {
            let pass = passed(&mut pace, 4 * MS, 1);
            pace.pause(pass, 1, 256);
        }
        while !pace.paused {
            let pass = passed(&mut pace, 4 * MS, 1);
            pace.pause(pass, 1, 256);
        }
        for _ in 0..10 {
            let pass = passed(&mut pace, 4 * MS, 2);
            assert_eq!(pace.pause(pass, 1, 256), Some(6 * MS));
        }
    }
}
