//! When the machine's memory is short: what is written to sockets that take nothing is the kernel's to keep, and
//! counts as this server's. Some of those who have taken nothing for the longest time are let go, and if that was
//! not enough, some more when the shell asks again. They come back and resume.

use alloc::vec::Vec;
use core::time::Duration;

use super::Shard;
use crate::reason::CloseReason;
use crate::time::Instant;

/// Who has taken a byte since is no reason for the shortage.
const STALL_MIN: Duration = Duration::from_secs(1);

/// One of so many goes at a time, rounded up.
const SHARE: usize = 8;

impl Shard {
    pub(super) fn relieve(&mut self, now: Instant) {
        let mut stalled: Vec<(Instant, u32)> = Vec::new();
        for index in self.living() {
            let session = self.at(index);
            let is_dropped = session.closing().is_some_and(|closing| closing.dropped);
            if session.stalled && session.stalled_since + STALL_MIN <= now && !is_dropped {
                stalled.push((session.stalled_since, index));
            }
        }
        stalled.sort_unstable();
        stalled.truncate(stalled.len().div_ceil(SHARE));
        for (_, index) in stalled {
            // Its socket has no room for a farewell.
            self.close(index, now, CloseReason::Overload);
            self.drop_socket(index);
            self.check(self.conn_id(index));
        }
    }
}
