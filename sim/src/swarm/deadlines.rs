//! What time makes legal, and what it makes late.

use std::time::Duration;

use odin_core::time::Instant;

use super::world::{Check, World};

impl World {
    /// Closes that the time has made legal.
    pub(super) fn grant(&mut self) {
        let idle = self.setup.config.idle_timeout;
        for peer in &self.peers {
            if !idle.is_zero() && peer.heard + idle <= self.now {
                self.oracle.may_close(peer.id, 4009);
            }
        }
    }

    /// Connections that should have ended by now.
    pub(super) fn in_time(&self) -> Check {
        let config = &self.setup.config;
        let grace = config.close_timeout + Duration::from_millis(1_100);
        for peer in &self.peers {
            let Some(home) = peer.home else { continue };
            let idle =
                (!config.idle_timeout.is_zero()).then(|| peer.heard + config.idle_timeout + grace);
            let stalled = peer
                .blocked_since
                .map(|since| since + config.write_stall + grace);
            let drained = self.servers[home.server].drain_by.map(|by| by + grace);
            // A drain that has begun to flush has until its deadline.
            let or_drained = |limit: Instant| drained.map_or(limit, |drained| limit.max(drained));
            let (idle, stalled) = (idle.map(or_drained), stalled.map(or_drained));
            let limits = [
                (idle, "idle"),
                (stalled, "stalled"),
                (drained, "drained"),
                (peer.must_end, "at fault"),
            ];
            for (limit, what) in limits {
                if limit.is_some_and(|limit| limit < self.now) {
                    let unit = &self.servers[home.server].units[home.unit];
                    let stands = unit.shard.inspect(home.conn);
                    let what = format!("it is {what} for too long and still connected: {stands:?}");
                    return Err(self.oracle.accuse(peer.id, what).into());
                }
            }
        }
        Ok(())
    }
}
