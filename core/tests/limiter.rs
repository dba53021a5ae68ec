//! The token bucket: exact over any span, and total in time.

use std::time::Duration;

use odin_core::limiter::{Rate, TokenBucket};
use odin_core::time::Instant;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { per_second, burst }
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

#[test]
fn is_small() {
    assert_eq!(size_of::<TokenBucket>(), 16);
}

#[test]
fn gives_the_burst_then_says_when() {
    let rate = rate(3, 2);
    let mut bucket = TokenBucket::full(at(0), &rate);
    assert_eq!(bucket.take(at(0), &rate), Ok(()));
    assert_eq!(bucket.take(at(0), &rate), Ok(()));
    // A third of a second, rounded up so that coming then succeeds.
    let wait = Duration::from_nanos(333_333_334);
    assert_eq!(bucket.take(at(0), &rate), Err(wait));
    assert_eq!(
        bucket.take(at(333_333_333), &rate),
        Err(Duration::from_nanos(1))
    );
    assert_eq!(bucket.take(at(333_333_334), &rate), Ok(()));
    // A billionth of a token was left over and is kept: three thirds make exactly one second.
    assert_eq!(bucket.take(at(666_666_667), &rate), Ok(()));
    assert_eq!(
        bucket.take(at(SECOND - 1), &rate),
        Err(Duration::from_nanos(1))
    );
    assert_eq!(bucket.take(at(SECOND), &rate), Ok(()));
}

#[test]
fn is_exact_over_a_year() {
    let rate = rate(7, 5);
    let mut bucket = TokenBucket::full(at(0), &rate);
    for _ in 0..5 {
        assert_eq!(bucket.take(at(0), &rate), Ok(()));
    }
    // A step that no rate divides. The bucket never fills, so nothing may be lost.
    let step = 123_456_789;
    let (mut taken, mut now) = (5u64, 0u64);
    for _ in 0..300_000 {
        now += step;
        while bucket.take(at(now), &rate).is_ok() {
            taken += 1;
        }
    }
    assert_eq!(taken, 5 + (u128::from(now) * 7 / u128::from(SECOND)) as u64);
    let year = now + 365 * 24 * 3600 * SECOND;
    assert!(bucket.is_full(at(year), &rate));
    for _ in 0..5 {
        assert_eq!(bucket.take(at(year), &rate), Ok(()));
    }
    assert!(bucket.take(at(year), &rate).is_err());
}

#[test]
fn rate_zero_is_off() {
    let rate = rate(0, 0);
    let mut bucket = TokenBucket::full(at(0), &rate);
    for _ in 0..1_000 {
        assert_eq!(bucket.take(at(0), &rate), Ok(()));
    }
    assert!(bucket.is_full(at(0), &rate));
}

#[test]
fn burst_zero_counts_as_one() {
    let rate = rate(10, 0);
    let mut bucket = TokenBucket::full(at(0), &rate);
    assert_eq!(bucket.take(at(0), &rate), Ok(()));
    assert_eq!(bucket.take(at(0), &rate), Err(Duration::from_millis(100)));
    assert_eq!(bucket.take(at(SECOND / 10), &rate), Ok(()));
}

#[test]
fn a_clock_that_goes_back_neither_fills_nor_empties() {
    let rate = rate(1, 2);
    let mut bucket = TokenBucket::full(at(10 * SECOND), &rate);
    assert_eq!(bucket.take(at(10 * SECOND), &rate), Ok(()));
    assert_eq!(bucket.take(at(4 * SECOND), &rate), Ok(()));
    assert_eq!(
        bucket.take(at(4 * SECOND), &rate),
        Err(Duration::from_secs(7))
    );
    assert_eq!(
        bucket.take(at(10 * SECOND), &rate),
        Err(Duration::from_secs(1))
    );
    assert_eq!(bucket.take(at(11 * SECOND), &rate), Ok(()));
    assert!(bucket.take(at(11 * SECOND), &rate).is_err());
}

proptest! {
    /// For any times and rates: no panic; the wait that is told is the least that is enough; and no
    /// span gives more than burst + rate * length.
    #[test]
    fn laws(
        per_second in 1u32..,
        burst in any::<u32>(),
        times in prop::collection::vec(any::<u64>(), 1..40),
    ) {
        let rate = Rate { per_second, burst };
        let mut bucket = TokenBucket::full(at(times[0]), &rate);
        let (mut taken, mut earliest, mut latest) = (0u128, times[0], times[0]);
        for now in times {
            earliest = earliest.min(now);
            latest = latest.max(now);
            match bucket.take(at(now), &rate) {
                Ok(()) => taken += 1,
                Err(wait) => {
                    prop_assert_eq!(bucket.wait(at(now), &rate), wait);
                    let then = at(now) + wait;
                    if then.as_nanos() != u64::MAX {
                        prop_assert!(bucket.clone().take(then, &rate).is_ok());
                        let before = then - Duration::from_nanos(1);
                        prop_assert!(bucket.clone().take(before, &rate).is_err());
                    }
                }
            }
        }
        let span = u128::from(latest - earliest) * u128::from(per_second) / u128::from(SECOND);
        prop_assert!(taken <= u128::from(burst.max(1)) + span);
    }
}
