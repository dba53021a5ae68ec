//! Who may connect.
//!
//! The Gate decides, for each upgrade, whether the server has room for it now: capacity, memory, CPU,
//! the rate of new connections, the share of one address, and whether the server is about to go. It says
//! when a refused client should come again, so that a crowd of refused clients comes back spread out.
//! Whose address a connection counts for (proxies, loopback) and how a refusal looks on the wire
//! are the shell's.
//!
//! One per server. `admit` and `closed` are to be called in pairs.

mod record;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use crate::config::GateConfig;
use crate::limiter::{Rate, TokenBucket};
use crate::load::{Load, Sample};
use crate::mutant::{self, Mutant};
use crate::reason::Refusal;
use crate::record::Tape;
use crate::stats::GateStats;
use crate::time::Instant;
pub use record::Call;

/// The longest time a refused client is told to stay away.
pub const RETRY_MAX: Duration = Duration::from_secs(30);

/// The shortest time a client is told to stay away from a server that is full, pressed or draining;
/// none of these passes sooner.
pub const RETRY_STANDING: Duration = Duration::from_secs(5);

/// Over how long the clients refused for such a reason are spread.
const STANDING_SPREAD: Duration = Duration::from_secs(10);

/// Over how long clients are spread that were refused because of a rate, beyond their place in line.
const RATE_SPREAD: Duration = Duration::from_secs(1);

/// Addresses without a connection that are remembered because their bucket is not full. Beyond it
/// all of them are forgotten: who has so many addresses is not held by a limit per address.
const PEERS_IDLE_MAX: usize = 65_536;

/// The size from which the table of addresses is swept.
const PEERS_SWEEP_MIN: usize = 1_024;

/// An upgrade was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// When to come again; above zero, at most [`RETRY_MAX`].
    pub retry_after: Duration,
}

/// What is known of one address.
#[derive(Clone, Copy, Debug)]
struct Peer {
    connections: u32,
    bucket: TokenBucket,
}

/// Who may connect: see the module.
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    load: Load,
    stats: GateStats,
    connections: u64,
    draining: bool,
    accepts: TokenBucket,
    /// Where the line of those refused for the accept rate ends: the next place that is free.
    line_end: Instant,
    peers: BTreeMap<IpAddr, Peer>,
    /// The size of `peers` at which it is swept next; twice what the last sweep left, so that
    /// sweeping costs a constant per admission.
    sweep_at: usize,
    random: u64,
    /// What happened, for the flight recorder; `None`: it is off.
    tape: Option<Box<Tape>>,
}

impl Gate {
    /// An open Gate without connections. `seed` feeds the jitter of `retry_after`.
    #[must_use]
    pub fn new(config: GateConfig, seed: u64, now: Instant) -> Self {
        Self {
            config,
            load: Load::new(&config),
            stats: GateStats::default(),
            connections: 0,
            draining: false,
            accepts: TokenBucket::full(now, &accept_rate(&config)),
            line_end: now,
            peers: BTreeMap::new(),
            sweep_at: PEERS_SWEEP_MIN,
            random: seed,
            tape: None,
        }
    }

    /// Lets a connection in, and counts it as open until [`Self::closed`] with the same `peer`.
    ///
    /// `peer` is the address that the connection counts for, `None` where the limits per address do
    /// not apply (loopback, a trusted proxy). An IPv6 address counts as its /64, which is what one host
    /// is given.
    ///
    /// # Errors
    /// The first limit that forbids it. Nothing was taken from any limit, except a place in line.
    pub fn admit(&mut self, now: Instant, peer: Option<IpAddr>) -> Result<(), Refused> {
        let peer = self.limited(peer);
        if self.tape.is_some() {
            self.note_admit(now, peer);
        }
        match self.try_admit(now, peer) {
            Ok(()) => {
                self.connections += 1;
                self.stats.admitted += 1;
                Ok(())
            }
            Err(refused) => {
                let count = &mut self.stats.refused[refused.reason as usize];
                *count = count.saturating_add(1);
                Err(refused)
            }
        }
    }

    fn try_admit(&mut self, now: Instant, peer: Option<IpAddr>) -> Result<(), Refused> {
        if let Some(reason) = self.closed_by() {
            return Err(self.refuse(reason, RETRY_STANDING, STANDING_SPREAD));
        }
        if let Some(known) = peer.and_then(|address| self.peers.get(&address).copied()) {
            let max = self.config.ip_max_connections;
            let over = u32::from(mutant::is(Mutant::AddressOffByOne));
            if max != 0 && known.connections >= max + over {
                return Err(self.refuse(Refusal::IpCapacity, RETRY_STANDING, STANDING_SPREAD));
            }
            let wait = known.bucket.wait(now, &ip_rate(&self.config));
            if !wait.is_zero() {
                return Err(self.refuse(Refusal::IpRate, wait, RATE_SPREAD));
            }
        }
        if let Err(wait) = self.accepts.take(now, &accept_rate(&self.config)) {
            return Err(self.queue(now, wait));
        }
        if let Some(address) = peer {
            self.enter(now, address);
        }
        Ok(())
    }

    /// A connection that was admitted is gone. `peer` as it was given to [`Self::admit`].
    pub fn closed(&mut self, now: Instant, peer: Option<IpAddr>) {
        let peer = self.limited(peer);
        if self.tape.is_some() {
            self.note_closed(now, peer);
        }
        debug_assert!(self.connections > 0, "closed without admit");
        self.connections = self.connections.saturating_sub(1);
        let Some(address) = peer else {
            return;
        };
        let rate = ip_rate(&self.config);
        if let Some(known) = self.peers.get_mut(&address) {
            known.connections = known.connections.saturating_sub(1);
            if known.connections == 0 && known.bucket.is_full(now, &rate) {
                self.peers.remove(&address);
            }
        }
    }

    /// The machine's load was measured.
    pub fn sample(&mut self, now: Instant, sample: Sample) {
        if self.tape.is_some() {
            self.note_sample(now, sample);
        }
        self.load.sample(now, sample);
    }

    /// Whether memory is so short, as of the latest sample, that connections whose client takes nothing
    /// are to be let go.
    #[must_use]
    pub fn sheds(&self) -> bool {
        let most = u64::from(self.config.memory_shed_percent) * 10;
        let used = self.load.last().memory_permille();
        most > 0 && used.is_some_and(|used| used > most)
    }

    /// From now on nobody is let in.
    pub fn drain(&mut self) {
        if self.tape.is_some() {
            self.note_drain();
        }
        self.draining = true;
    }

    /// What [`Self::admit`] would answer to a connection that is exempt from the limits per address.
    /// Takes no token and no place in line, and counts nothing.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn would_admit(&self, now: Instant) -> Result<(), Refused> {
        // The clock stands in for the draws that are not made, so that callers are spread as well.
        let draw = mix(self.random ^ now.as_nanos());
        if let Some(reason) = self.closed_by() {
            return Err(refused(reason, RETRY_STANDING, STANDING_SPREAD, draw));
        }
        let wait = self.accepts.wait(now, &accept_rate(&self.config));
        if wait.is_zero() {
            return Ok(());
        }
        let place = self.line_end.saturating_since(now).max(wait);
        Err(refused(Refusal::AcceptRate, place, RATE_SPREAD, draw))
    }

    /// Why nobody is let in, whoever it is, until that changes; not for a rate, which passes by itself.
    #[must_use]
    pub fn closed_by(&self) -> Option<Refusal> {
        let max = u64::from(self.config.connections_max);
        if self.draining {
            Some(Refusal::Draining)
        } else if max != 0
            && self.connections >= max + u64::from(mutant::is(Mutant::CapacityOffByOne))
        {
            Some(Refusal::Capacity)
        } else {
            self.load.refusal()
        }
    }

    /// Whether new connections are let in, as far as their rate allows.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_by().is_none()
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Connections that are open.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// The latest sample; all unknown before the first.
    #[must_use]
    pub const fn last_sample(&self) -> Sample {
        self.load.last()
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &GateStats {
        &self.stats
    }

    /// The limits.
    #[must_use]
    pub const fn config(&self) -> &GateConfig {
        &self.config
    }

    /// Addresses that are remembered; bounded by the open connections and a constant.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// The key of the table, or `None` where no limit per address applies.
    fn limited(&self, peer: Option<IpAddr>) -> Option<IpAddr> {
        if self.config.ip_max_connections == 0 && self.config.ip_accept_rate == 0 {
            return None;
        }
        // An IPv4 client is the same client on a socket that shows it as ::ffff:a.b.c.d.
        Some(match peer?.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64))),
            v4 => v4,
        })
    }

    /// Counts a connection for its address, which has a token for it.
    fn enter(&mut self, now: Instant, address: IpAddr) {
        let rate = ip_rate(&self.config);
        if self.peers.len() >= self.sweep_at {
            self.sweep(now, &rate);
        }
        let peer = self.peers.entry(address).or_insert_with(|| Peer {
            connections: 0,
            bucket: TokenBucket::full(now, &rate),
        });
        peer.connections = peer.connections.saturating_add(1);
        let taken = peer.bucket.take(now, &rate);
        debug_assert!(taken.is_ok(), "the token was seen before");
    }

    fn sweep(&mut self, now: Instant, rate: &Rate) {
        self.peers
            .retain(|_, peer| peer.connections > 0 || !peer.bucket.is_full(now, rate));
        let idle = self.peers.values().filter(|p| p.connections == 0).count();
        if idle > PEERS_IDLE_MAX {
            self.peers.retain(|_, peer| peer.connections > 0);
        }
        self.sweep_at = (self.peers.len() * 2).max(PEERS_SWEEP_MIN);
    }

    /// Gives a client that was refused for the accept rate the next place in line: the time at which
    /// those before it will have been let in.
    fn queue(&mut self, now: Instant, wait: Duration) -> Refused {
        let place = self.line_end.saturating_since(now).max(wait);
        let rate = u64::from(self.config.accept_rate.max(1));
        if place + RATE_SPREAD <= RETRY_MAX {
            self.line_end = now + place + Duration::from_nanos(1_000_000_000 / rate);
            return self.refuse(Refusal::AcceptRate, place, RATE_SPREAD);
        }
        // The line is as long as it may be. Who does not fit cannot be promised a place; told all the
        // same time they would come as one crowd, so they are spread over the later half.
        self.refuse(Refusal::AcceptRate, RETRY_MAX / 2, RETRY_MAX / 2)
    }

    fn refuse(&mut self, reason: Refusal, after: Duration, spread: Duration) -> Refused {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let spread = match mutant::is(Mutant::RetryNotSpread) {
            true => Duration::ZERO,
            false => spread,
        };
        refused(reason, after, spread, mix(self.random))
    }
}

const fn accept_rate(config: &GateConfig) -> Rate {
    Rate {
        per_second: config.accept_rate,
        burst: config.accept_burst,
    }
}

const fn ip_rate(config: &GateConfig) -> Rate {
    Rate {
        per_second: config.ip_accept_rate,
        burst: config.ip_accept_burst,
    }
}

/// A refusal until `after` and a part of `spread` that `draw` decides.
fn refused(reason: Refusal, after: Duration, spread: Duration, draw: u64) -> Refused {
    let spread = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
    let jitter = Duration::from_nanos(draw % spread.max(1));
    let retry_after = after.saturating_add(jitter).min(RETRY_MAX);
    Refused {
        reason,
        retry_after: retry_after.max(Duration::from_nanos(1)),
    }
}

/// The output function of splitmix64 (Steele, Lea and Flood, 2014).
const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
