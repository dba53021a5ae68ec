//! A token bucket: so many a second for long, so many at once.
//!
//! It decides whether one more is within the rate, and if not, when it will be. What is counted (a
//! client's messages, new connections) and what happens to the excess is the caller's.
//!
//! The level is kept in billionths of a token, so that a nanosecond at a rate of `n` a second adds
//! exactly `n` of them: nothing is ever rounded, and a bucket gives out `burst + rate * seconds` tokens
//! over any span, to the token.

use core::time::Duration;

use crate::mutant::{self, Mutant};
use crate::record::codec::coded;
use crate::time::Instant;

/// One token, in the unit of [`TokenBucket::level`].
const TOKEN: u64 = 1_000_000_000;

/// How many are allowed. Kept once by the owner of the limit, not in every bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Tokens a second; 0: no limit.
    pub per_second: u32,
    /// Tokens at once, which is what a full bucket holds; 0 counts as 1, for a bucket that holds
    /// nothing would refuse for ever.
    pub burst: u32,
}

impl Rate {
    /// Whether there is a limit.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.per_second != 0
    }

    const fn capacity(&self) -> u64 {
        let burst = if self.burst == 0 { 1 } else { self.burst };
        // At most 2^32 * 10^9, which is below 2^62.
        burst as u64 * TOKEN
    }
}

/// The state of one limit: 16 bytes, for there is one in every idle connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenBucket {
    /// Billionths of a token that were there at `at`.
    level: u64,
    /// When `level` was true. It never moves back: a clock that does must not fill the bucket twice.
    at: Instant,
}

impl TokenBucket {
    /// A bucket with `rate.burst` tokens in it.
    #[must_use]
    pub const fn full(now: Instant, rate: &Rate) -> Self {
        Self {
            level: rate.capacity(),
            at: now,
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none: the time from `now` until there is one. Nothing was taken.
    pub fn take(&mut self, now: Instant, rate: &Rate) -> Result<(), Duration> {
        if !rate.is_on() {
            return Ok(());
        }
        self.level = self.level_at(now, rate);
        self.at = self.at.max(now);
        match self.level.checked_sub(TOKEN) {
            Some(rest) => {
                self.level = rest;
                Ok(())
            }
            None => Err(self.wait(now, rate)),
        }
    }

    /// The time from `now` until there is a token; zero if there is one. Takes nothing.
    #[must_use]
    pub fn wait(&self, now: Instant, rate: &Rate) -> Duration {
        if !rate.is_on() {
            return Duration::ZERO;
        }
        let missing = TOKEN.saturating_sub(self.level_at(now, rate));
        if missing == 0 {
            return Duration::ZERO;
        }
        // Where the clock went back, refilling starts only when it has caught up.
        self.at.saturating_since(now)
            + Duration::from_nanos(missing.div_ceil(u64::from(rate.per_second)))
    }

    /// Whether the bucket remembers nothing: a new one would be the same.
    #[must_use]
    pub fn is_full(&self, now: Instant, rate: &Rate) -> bool {
        !rate.is_on() || self.level_at(now, rate) == rate.capacity()
    }

    fn level_at(&self, now: Instant, rate: &Rate) -> u64 {
        let nanos = match mutant::is(Mutant::BucketNeverRefilled) {
            true => 0,
            false => now.as_nanos().saturating_sub(self.at.as_nanos()),
        };
        // Saturating is exact here: what does not fit is far above the capacity.
        nanos
            .saturating_mul(u64::from(rate.per_second))
            .saturating_add(self.level)
            .min(rate.capacity())
    }
}

coded!(TokenBucket { level, at });

const _: () = assert!(size_of::<TokenBucket>() <= 16);
