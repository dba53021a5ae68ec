//! The second phase: nothing fails any more, and within a bound every client must have what it was promised.

use std::time::Duration;

use super::Failure;
use super::Report;
use super::peer::Outgoing;
use super::steps::{Resume, Wish};
use super::world::{Check, World};

/// Seconds after which all must be well.
const BOUND_SECS: u64 = 90;

/// Seconds without news after which all must have been told: three heartbeats show what was deleted at the
/// end of the stream.
const QUIET_SECS: u64 = 5;

impl World {
    pub(crate) fn heal(&mut self) -> Check {
        self.end_faults()?;
        let mut quiet = 0;
        for _ in 0..BOUND_SECS {
            let before = self.homes();
            self.comfort()?;
            self.advance(Duration::from_secs(1))?;
            quiet = match self.homes() == before && self.is_settled() {
                true => quiet + 1,
                false => 0,
            };
            if quiet >= QUIET_SECS {
                self.all_have_all()?;
                return self.all_get_more();
            }
        }
        let unread = (0..self.servers.len()).filter(|at| !self.in_sync(*at));
        let unread: Vec<_> = unread.map(|at| &self.servers[at].link).collect();
        let what = format!(
            "not well after {BOUND_SECS} s without faults; servers have yet to read: {unread:?}"
        );
        // Who comes and goes is the first to be asked.
        let absent = self.peers.iter().find(|peer| peer.home.is_none());
        match absent {
            Some(peer) => Err(self.oracle.accuse(peer.id, what).into()),
            None => Err(Failure(what)),
        }
    }

    fn end_faults(&mut self) -> Check {
        self.healing = true;
        for at in 0..self.servers.len() {
            if self.servers[at].drain_by.is_some() {
                self.restart(at)?;
            }
            let server = &mut self.servers[at];
            server.link.mute_until = self.now;
            server.link.failures = 0;
            server.link.gap = false;
            server.link.slow = false;
            for unit in &mut server.units {
                unit.held = false;
            }
        }
        for peer in &mut self.peers {
            peer.limit = None;
            peer.breaks = false;
            peer.window = usize::MAX;
            peer.outbox
                .retain(|what| matches!(what, Outgoing::Close | Outgoing::Pong));
        }
        self.pump()?;
        self.release()?;
        self.pump()
    }

    fn homes(&self) -> Vec<Option<(usize, usize, u32)>> {
        let homes = self.peers.iter().map(|peer| {
            let home = peer.home?;
            Some((home.server, home.conn.index(), home.conn.generation()))
        });
        homes.collect()
    }

    /// Brings back who is gone, and shows that the others live.
    fn comfort(&mut self) -> Check {
        for at in 0..self.servers.len() {
            self.sample_well(at);
        }
        for at in 0..self.peers.len() {
            if self.peers[at].home.is_some() {
                self.peers[at].outbox.push_back(Outgoing::Ping);
                continue;
            }
            self.connect(at, at % self.servers.len())?;
            let wish = self.peers[at].wish.clone();
            if let Some(wish) = wish {
                let wish = Wish {
                    names: Vec::new(),
                    resume: Resume::Memory,
                    ..wish
                };
                self.subscribe(at, &wish);
            }
        }
        self.pump()
    }

    fn is_settled(&self) -> bool {
        let synced = (0..self.servers.len()).all(|at| self.in_sync(at));
        let read = self
            .peers
            .iter()
            .all(|peer| peer.inflight.is_empty() && peer.outbox.is_empty());
        let ending = self
            .peers
            .iter()
            .any(|peer| peer.home.is_some() && peer.closing);
        let mut units = self.servers.iter().flat_map(|server| &server.units);
        let asking = units.any(|unit| !unit.past.is_empty());
        synced && read && !ending && !asking
    }

    fn all_have_all(&self) -> Check {
        for peer in &self.peers {
            let Some(home) = peer.home else { continue };
            self.oracle.at_head(peer.id, self.line_of(home.server))?;
            self.oracle.answered(peer.id)?;
        }
        Ok(())
    }

    /// A message more on every channel reaches everyone.
    fn all_get_more(&mut self) -> Check {
        for channel in 0..self.setup.channels.len() {
            self.publish(channel, 5)?;
            self.pump()?;
        }
        // Whoever falls off the log by that is refilled, which takes as long as the answers do.
        for _ in 0..BOUND_SECS * 10 {
            self.advance(Duration::from_millis(100))?;
            if self.all_have_all().is_ok() {
                break;
            }
        }
        self.all_have_all()
    }

    pub(crate) fn report(self, steps: u64) -> Report {
        Report {
            seeds: 1,
            simulated: Duration::from_nanos(self.now.as_nanos()),
            deliveries: self.oracle.deliveries(),
            inputs: self.inputs,
            steps,
            marks: self.marks,
        }
    }
}
