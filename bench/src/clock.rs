//! The clock that all programs of a measurement share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock, which reads the same in every process.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (time.tv_sec.max(0), time.tv_nsec.max(0));
    seconds.unsigned_abs() * 1_000_000_000 + nanos.unsigned_abs()
}
