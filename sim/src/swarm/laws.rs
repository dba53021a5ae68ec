//! What admission and the rate of messages must be, computed anew: a bucket counted in whole numbers, the
//! order of the Gate's reasons, pressure with two thresholds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use odin_core::config::GateConfig;
use odin_core::reason::Refusal;
use odin_core::time::Instant;

/// Tokens, in billionths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    level: u128,
    at: u64,
    rate: u128,
    burst: u128,
}

impl Bucket {
    pub(super) fn new(now: Instant, rate: u32, burst: u32) -> Self {
        let burst = u128::from(burst.max(1)) * 1_000_000_000;
        Self {
            level: burst,
            at: now.as_nanos(),
            rate: rate.into(),
            burst,
        }
    }

    fn fill(&mut self, now: Instant) {
        let nanos = now.as_nanos() - self.at;
        self.at = now.as_nanos();
        self.level = (self.level + u128::from(nanos) * self.rate).min(self.burst);
    }

    pub(super) fn has(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.rate == 0 || self.level >= 1_000_000_000
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let has = self.has(now);
        if has && self.rate > 0 {
            self.level -= 1_000_000_000;
        }
        has
    }
}

/// One value with two thresholds, in thousandths.
#[derive(Clone, Copy, Debug)]
struct Pressure {
    refuse: u64,
    admit: u64,
    after_secs: u64,
    refusing: bool,
    since: Option<u64>,
}

impl Pressure {
    fn sample(&mut self, now: Instant, value: u64) {
        let turns = match (value, self.refusing) {
            (0, _) => false,
            (value, true) => value < self.admit,
            (value, false) => value > self.refuse,
        };
        let needed = if self.refusing { 5 } else { self.after_secs };
        self.since = turns.then(|| self.since.unwrap_or(now.as_nanos()));
        if self
            .since
            .is_some_and(|since| now.as_nanos() - since >= needed * 1_000_000_000)
        {
            self.refusing = !self.refusing;
            self.since = None;
        }
    }
}

/// What the Gate of a server must do.
#[derive(Debug)]
pub(super) struct GateLaw {
    config: GateConfig,
    pub(super) draining: bool,
    connections: u32,
    accepts: Bucket,
    peers: BTreeMap<IpAddr, (u32, Bucket)>,
    cpu: Pressure,
    memory: Pressure,
}

impl GateLaw {
    pub(super) fn new(config: GateConfig, now: Instant) -> Self {
        let pressure = |refuse: u32, admit: u32, after_secs| Pressure {
            refuse: u64::from(refuse) * 10,
            admit: u64::from(admit) * 10,
            after_secs,
            refusing: false,
            since: None,
        };
        Self {
            draining: false,
            connections: 0,
            accepts: Bucket::new(now, config.accept_rate, config.accept_burst),
            peers: BTreeMap::new(),
            cpu: pressure(config.cpu_refuse_percent, config.cpu_admit_percent, 5),
            memory: pressure(config.memory_refuse_percent, config.memory_admit_percent, 0),
            config,
        }
    }

    pub(super) fn sample(&mut self, now: Instant, cpu: u64, memory: u64) {
        self.cpu.sample(now, cpu);
        self.memory.sample(now, memory);
    }

    /// Why a connection must be refused; `None`: it must be let in, and is counted.
    pub(super) fn admit(&mut self, now: Instant, peer: Option<IpAddr>) -> Option<Refusal> {
        let config = self.config;
        if self.draining {
            return Some(Refusal::Draining);
        }
        if config.connections_max > 0 && self.connections >= config.connections_max {
            return Some(Refusal::Capacity);
        }
        if self.memory.refusing {
            return Some(Refusal::Memory);
        }
        if self.cpu.refusing {
            return Some(Refusal::Cpu);
        }
        let limited = config.ip_max_connections > 0 || config.ip_accept_rate > 0;
        let mut known = peer.filter(|_| limited).map(|peer| {
            self.peers.entry(peer).or_insert_with(|| {
                (
                    0,
                    Bucket::new(now, config.ip_accept_rate, config.ip_accept_burst),
                )
            })
        });
        if let Some((connections, bucket)) = &mut known {
            if config.ip_max_connections > 0 && *connections >= config.ip_max_connections {
                return Some(Refusal::IpCapacity);
            }
            if !bucket.has(now) {
                return Some(Refusal::IpRate);
            }
        }
        if !self.accepts.take(now) {
            return Some(Refusal::AcceptRate);
        }
        if let Some((connections, bucket)) = known {
            *connections += 1;
            bucket.take(now);
        }
        self.connections += 1;
        None
    }

    pub(super) fn closed(&mut self, peer: Option<IpAddr>) {
        self.connections -= 1;
        if let Some((connections, _)) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            *connections -= 1;
        }
    }
}
